//! What it costs to find out who calls, among few and among many.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

use std::fmt::Write as _;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

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

/// Says in one line each what is promised: what many cost at the start, in memory and at each request, beside few.
fn promise(_: &mut Criterion) {
    const MANY: usize = 100_000;
    let few = build(10);
    let (before, started) = (memory(), Instant::now());
    let many = build(MANY);
    eprintln!("{MANY} consumers: built in {:?}, {} MiB", started.elapsed(), memory().saturating_sub(before) / 1024);
    // In turn, and the least of each, so that what else the machine does counts for neither.
    let (mut of_few, mut of_many) = (Duration::MAX, Duration::MAX);
    for round in 0..200 {
        of_few = of_few.min(time(&few, 10, round));
        of_many = of_many.min(time(&many, MANY, round));
    }
    let ratio = of_many.as_secs_f64() / of_few.as_secs_f64();
    eprintln!("a request among {MANY}: {of_many:?}, among 10: {of_few:?}; ratio {ratio:.2}");
}

/// How long a request takes to find out who calls, on the average of a thousand consumers.
fn time(built: &Built, count: usize, round: usize) -> Duration {
    const REQUESTS: usize = 1000;
    let numbers = (0..REQUESTS).map(|number| (round * REQUESTS + number) * 7919 % count);
    let mut requests: Vec<_> = numbers.map(|number| request(&key(number))).collect();
    let client = client();
    let started = Instant::now();
    assert!(requests.iter_mut().all(|of| down(built, of, &client)));
    started.elapsed() / u32::try_from(REQUESTS).unwrap()
}

/// KiB that the process holds.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

criterion_group!(benches, promise, consumers, start);
criterion_main!(benches);
