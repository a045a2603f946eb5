//! How long a look-up takes, with ten routes and with ten thousand, and how long the table takes to be built.
#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use tidegate::routing::{MatchConfig, OneOrMany, Outcome, PathMatch, PathOptions, Query, Router};

/// Half with a parameter, half exact, as APIs are.
fn routes(count: usize) -> Vec<(String, MatchConfig)> {
    let path = |index: usize| match index % 2 {
        0 => format!("/api/service-{}/items-{index}/{{id}}/parts", index % 97),
        _ => format!("/api/service-{}/items-{index}", index % 97),
    };
    let config = |index| MatchConfig { path: Some(OneOrMany::One(PathMatch::Pattern(path(index)))), ..MatchConfig::default() };
    (0..count).map(|index| (format!("route-{index}"), config(index))).collect()
}

fn build(routes: &[(String, MatchConfig)]) -> Router {
    let routes = routes.iter().map(|(name, config)| (name.as_str(), config));
    Router::build(routes, &PathOptions::default()).unwrap_or_default()
}

fn look_up(c: &mut Criterion) {
    let headers = HeaderMap::new();
    for count in [10, 10_000] {
        let router = build(&routes(count));
        let middle = count / 2 / 2 * 2;
        let param = format!("/api/service-{}/items-{middle}/42/parts", middle % 97);
        let exact = format!("/api/service-{}/items-{}", (middle + 1) % 97, middle + 1);
        for (name, path, found) in
            [("parameter", param.as_str(), true), ("exact", exact.as_str(), true), ("nothing", "/api/service-5/none", false)]
        {
            let query = Query { host: "api.example.com", method: &Method::GET, asks: None, path, headers: &headers, query: None };
            assert_eq!(matches!(router.find(&query), Outcome::Found { .. }), found, "{path}");
            c.bench_function(&format!("{count} routes, {name}"), |b| b.iter(|| black_box(router.find(black_box(&query)))));
        }
    }
}

fn table(c: &mut Criterion) {
    let routes = routes(10_000);
    c.benchmark_group("10000 routes").sample_size(10).bench_function("build", |b| b.iter(|| build(black_box(&routes))));
}

criterion_group!(benches, look_up, table);
criterion_main!(benches);
