//! What it costs to find out who calls, among few and among many.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::HeaderValue;
use pingora_http::RequestHeader;
use tidegate::consumer::KeyHash;
use tidegate::ctx::Ctx;
use tidegate::observe::Metrics;
use tidegate::reload::Built;
use tidegate::state::Shared;
use tidegate::upstream::Client;

fn key(number: usize) -> String {
    format!("tg_bench_{number:08}_0123456789012345678901234567890123456789012")
}

/// A config with so many consumers, built as the gateway does at its start.
fn build(count: usize) -> Built {
    let mut text = "routes: [{ name: a, match: { path: / }, policies: [api_key], reply: {} }]\nconsumers:\n".to_owned();
    for number in 0..count {
        let hash = KeyHash::of(key(number).as_bytes()).hex();
        writeln!(text, "  - {{ name: consumer-{number}, groups: [gold], api_keys: [\"sha256:{hash}\"] }}").unwrap();
    }
    let path = std::env::temp_dir().join(format!("tidegate-bench-{}-{count}.yaml", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let built = tidegate::reload::build(&path, &Shared::default()).unwrap_or_else(|errors| panic!("{errors}"));
    std::fs::remove_file(path).unwrap();
    built
}

fn request(key: &str) -> (RequestHeader, Ctx) {
    let mut request = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in [("Host", "api.example.com"), ("User-Agent", "bench"), ("Accept", "*/*"), ("X-API-Key", key)] {
        request.append_header(name, value).unwrap();
    }
    (request, Ctx::new(HeaderValue::from_static("0123456789abcdef0123456789abcdef")))
}

fn client() -> Arc<Client> {
    Arc::new(Client::new(Metrics::new(1).unwrap().shards()[0].clone(), 1))
}

/// Whether the policies let it through.
fn down(built: &Built, (req, cx): &mut (RequestHeader, Ctx), client: &Arc<Client>) -> bool {
    let mut depth = 0;
    let chain = &built.snapshot.routes[0].ways[0].chain;
    let ready = pin!(chain.request(req, cx, &mut depth, client)).poll(&mut Context::from_waker(Waker::noop()));
    let Poll::Ready(result) = ready else { panic!("it waits") };
    result.is_ok()
}

fn consumers(c: &mut Criterion) {
    let mut group = c.benchmark_group("api_key");
    let client = client();
    for count in [10, 100_000] {
        let built = build(count);
        // Each request is another consumer's, so that nothing is found where the one before has left it.
        let mut turn = 0;
        let mut next = |strangers: usize| {
            turn = (turn + 7919) % count;
            request(&key(turn + strangers))
        };
        group.bench_function(format!("known, of {count}"), |b| {
            b.iter_batched_ref(|| next(0), |of| assert!(down(&built, of, &client)), BatchSize::SmallInput);
        });
        group.bench_function(format!("unknown, of {count}"), |b| {
            b.iter_batched_ref(|| next(count), |of| assert!(!down(&built, of, &client)), BatchSize::SmallInput);
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
