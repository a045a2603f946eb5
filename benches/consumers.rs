//! What it costs to find out who calls, among few and among many.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

mod kit;

use std::fmt::Write as _;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tidegate::consumer::KeyHash;
use tidegate::snapshot::Snapshot;

fn key(number: usize) -> String {
    format!("tg_bench_{number:08}_0123456789012345678901234567890123456789012")
}

/// A config with so many consumers.
fn build(count: usize) -> Snapshot {
    let mut text = "routes: [{ name: a, match: { path: / }, policies: [api_key], reply: {} }]\nconsumers:\n".to_owned();
    for number in 0..count {
        let hash = KeyHash::of(key(number).as_bytes()).hex();
        writeln!(text, "  - {{ name: consumer-{number}, groups: [gold], api_keys: [\"sha256:{hash}\"] }}").unwrap();
    }
    kit::snapshot(&text, &[])
}

fn consumers(c: &mut Criterion) {
    let mut group = c.benchmark_group("api_key");
    let client = kit::client();
    for count in [10, 100_000] {
        let snapshot = build(count);
        let chain = &snapshot.routes[0].ways[0].chain;
        // Each request is another consumer's, so that nothing is found where the one before has left it.
        let mut turn = 0;
        let mut next = |strangers: usize| {
            turn = (turn + 7919) % count;
            (kit::request("/", &[("X-API-Key", &key(turn + strangers))]), kit::ctx("/"))
        };
        group.bench_function(format!("known, of {count}"), |b| {
            b.iter_batched_ref(|| next(0), |(req, cx)| assert!(kit::down(chain, req, cx, &client).is_some()), BatchSize::SmallInput);
        });
        group.bench_function(format!("unknown, of {count}"), |b| {
            b.iter_batched_ref(|| next(count), |(req, cx)| assert!(kit::down(chain, req, cx, &client).is_none()), BatchSize::SmallInput);
        });
    }
    group.finish();
}

fn start(c: &mut Criterion) {
    let mut group = c.benchmark_group("start");
    group.sample_size(10);
    group.bench_function("100000 consumers", |b| b.iter_batched(|| (), |()| build(100_000), BatchSize::PerIteration));
    group.finish();
}

criterion_group!(benches, consumers, start);
criterion_main!(benches);
