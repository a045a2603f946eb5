//! What an attempt costs beside the request itself when nothing fails: may it go, to whom, and how did it end. Bare, and with all that may be set.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderValue, StatusCode};
use pingora_http::RequestHeader;
use serde_json::{Value, json};
use tidegate::ctx::Ctx;
use tidegate::observe::Metrics;
use tidegate::state::Shared;
use tidegate::upstream::{Backend, Base, Breaker, DnsConfig, Failure, Names, Service, ServiceConfig};

const TARGETS: [&str; 3] = ["http://10.0.0.1:8080", "http://10.0.0.2:8080", "http://10.0.0.3:8080"];

fn attempts(c: &mut Criterion) {
    let all = json!({
        "targets": TARGETS, "balance": "least_requests", "timeouts": {"total": "10s"}, "ejection": {}, "breaker": {},
        "retry": {"attempts": 3, "on": ["connect", "reset", "timeout", 503]}, "fallback": {"reply": {}},
    });
    let mut group = c.benchmark_group("attempt");
    for (name, config) in [("bare", json!({"targets": TARGETS})), ("with all", all)] {
        group.bench_function(name, |b| attempt(b, &config));
    }
    group.finish();
}

fn attempt(b: &mut criterion::Bencher<'_>, config: &Value) {
    let metrics = Metrics::new(1).unwrap();
    let shard = metrics.shards().first().unwrap().clone();
    let config: ServiceConfig<()> = serde_json::from_value(config.clone()).unwrap();
    let base = Base { shared: &Shared::default(), folder: Path::new(""), names: &Arc::new(Names::new(&DnsConfig::default())) };
    let service = Service::build("bench", &config, &base).unwrap();
    let Backend::Targets(targets) = &service.backend else { panic!("this is no mock") };
    let req = RequestHeader::build("GET", b"/", None).unwrap();
    let cx = Ctx::new(HeaderValue::from_static("0123456789abcdef0123456789abcdef"));
    b.iter(|| {
        let probe = targets.breaker.as_ref().map_or(Ok(None), Breaker::admit).unwrap();
        targets.retry.begin();
        let pool: Arc<_> = targets.pool();
        let picked = pool.pick(&pool.asking(&req, &cx, &[])).unwrap();
        let failure = Failure::Status(black_box(StatusCode::OK));
        black_box(targets.retry.minds(failure));
        if let Some(breaker) = &targets.breaker {
            breaker.note(probe, breaker.minds(failure), &shard);
        }
        pool.note(&service.name, picked.index, failure, picked.in_flight.is_probe(), &shard);
    });
}

criterion_group!(benches, attempts);
criterion_main!(benches);
