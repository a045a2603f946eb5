//! What the five policies of `loadtest/tidegate.yaml` cost a request: down, on the attempt, and up.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::HeaderValue;
use pingora_http::{RequestHeader, ResponseHeader};
use tidegate::ctx::{Ctx, Params};
use tidegate::observe::Metrics;
use tidegate::policy::{Chain, Flow};
use tidegate::state::Shared;
use tidegate::upstream::Client;

fn ctx() -> Ctx {
    Ctx {
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        host: "api.example.com".into(),
        port: 80,
        path: "/policies/42".into(),
        params: Params { names: ["id".into()].into(), ranges: std::iter::once(10..12).collect() },
        ..Ctx::new(HeaderValue::from_static("0123456789abcdef0123456789abcdef"))
    }
}

/// The way down, which here never waits.
fn down(chain: &Chain, req: &mut RequestHeader, cx: &mut Ctx, client: &Arc<Client>) -> usize {
    let mut depth = 0;
    let ready = pin!(chain.request(req, cx, &mut depth, client)).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(Flow::Next))), "{ready:?}");
    depth
}

fn policies(c: &mut Criterion) {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/tidegate.yaml");
    let built = tidegate::reload::build(&config, &Shared::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let route = built.snapshot.routes.iter().find(|route| &*route.name == "policies").unwrap();
    let chain = &route.ways[0].chain;
    let mut request = RequestHeader::build("GET", b"/policies/42", None).unwrap();
    for (name, value) in [("Host", "api.example.com"), ("User-Agent", "bench"), ("Accept", "*/*"), ("X-API-Key", "demo-key")] {
        request.append_header(name, value).unwrap();
    }
    let response = ResponseHeader::build(200, None).unwrap();
    let client = Arc::new(Client::new(Metrics::new(1).unwrap().shards()[0].clone(), 1));
    let fresh = || (request.clone(), ctx(), response.clone());
    let mut group = c.benchmark_group(chain.names().collect::<Vec<_>>().join(", "));
    group.bench_function("down", |b| {
        b.iter_batched_ref(fresh, |(req, cx, _)| black_box(down(chain, req, cx, &client)), BatchSize::SmallInput);
    });
    group.bench_function("down, attempt, up", |b| {
        b.iter_batched_ref(
            fresh,
            |(req, cx, res)| {
                let depth = down(chain, req, cx, &client);
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
