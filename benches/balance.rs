//! What the choice of a target costs, its count of requests included: each balancer with 2, 10 and 100 targets.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use std::sync::Arc;
use tidegate::state::Shared;

use tidegate::upstream::{Asking, Backend, Base, DnsConfig, Names, Pool, Service, ServiceConfig};

/// A service with targets of these weights, over and over.
fn targets(balance: &Value, count: usize, weights: &[u32]) -> Arc<Pool> {
    let target = |(index, weight)| json!({"url": format!("http://10.0.0.{index}:8080"), "weight": weight});
    let targets: Vec<_> = weights.iter().cycle().take(count).enumerate().map(target).collect();
    let config: ServiceConfig<()> = serde_json::from_value(json!({"targets": targets, "balance": balance})).unwrap();
    let names = Arc::new(Names::new(&DnsConfig::default()));
    match Service::build("bench", &config, &Base { shared: &Shared::default(), folder: Path::new(""), names: &names }).unwrap().backend {
        Backend::Targets(targets) => targets.pool(),
        Backend::Mock(_) => panic!("this is no mock"),
    }
}

fn picks(c: &mut Criterion) {
    let hash = json!({"hash": {"header": "X-Key"}});
    let sticky = json!({"sticky": {"cookie": "at"}});
    for (name, balance, weights) in [
        ("round_robin", json!("round_robin"), &[1][..]),
        ("least_requests", json!("least_requests"), &[1]),
        ("random", json!("random"), &[1]),
        ("hash", hash.clone(), &[1]),
        ("hash, weighted", hash, &[1, 2, 3]),
        ("sticky", sticky, &[1]),
    ] {
        let mut group = c.benchmark_group(name);
        for count in [2, 10, 100] {
            let targets = targets(&balance, count, weights);
            // The last target's cookie, as its client sends it.
            let first =
                std::iter::repeat_with(|| targets.pick(&Asking::default()).unwrap()).take(10_000).find(|picked| picked.index + 1 == count);
            let cookie = first.and_then(|picked| picked.cookie).map(|cookie| cookie.to_str().unwrap().to_owned());
            let cookie = cookie.as_deref().and_then(|cookie| cookie.split(['=', ';']).nth(1)).map(str::as_bytes);
            let mut key = 0_u64;
            group.bench_function(BenchmarkId::from_parameter(count), |b| {
                b.iter(|| {
                    key = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
                    let asking = Asking { key: Some(key), cookie, ..Asking::default() };
                    black_box(targets.pick(black_box(&asking)).map(|picked| picked.index))
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, picks);
criterion_main!(benches);
