//! What the five policies of `loadtest/tidegate.yaml` cost a request: down, on the attempt, and up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

mod kit;

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pingora_http::ResponseHeader;

fn policies(c: &mut Criterion) {
    let snapshot = kit::snapshot(include_str!("../loadtest/tidegate.yaml"), &[]);
    let route = snapshot.routes.iter().find(|route| &*route.name == "policies").unwrap();
    let chain = &route.ways[0].chain;
    let request = kit::request("/policies/42", &[("X-API-Key", "demo-key")]);
    let response = ResponseHeader::build(200, None).unwrap();
    let client = kit::client();
    let fresh = || (request.clone(), kit::ctx("/policies/42"), response.clone());
    let mut group = c.benchmark_group(chain.names().collect::<Vec<_>>().join(", "));
    group.bench_function("down", |b| {
        b.iter_batched_ref(fresh, |(req, cx, _)| black_box(kit::down(chain, req, cx, &client)).unwrap(), BatchSize::SmallInput);
    });
    group.bench_function("down, attempt, up", |b| {
        b.iter_batched_ref(
            fresh,
            |(req, cx, res)| {
                let depth = kit::down(chain, req, cx, &client).unwrap();
                let mut sent = req.clone();
                chain.upstream_request(&mut sent, cx).unwrap();
                chain.response(res, req, cx, depth);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, policies);
criterion_main!(benches);
