//! What it costs a request to be asked whether it may: by its address among 100,000 networks, by its groups, scopes and claims, and by conditions in CEL.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

mod kit;

use std::fmt::Write as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use pingora_http::RequestHeader;
use tidegate::consumer::{ConsumerConfig, Consumers};
use tidegate::ctx::Ctx;
use tidegate::expr::{Condition, Names, Said};
use tidegate::policy::Chain;

const CONSUMERS: &str =
    r#"[{"name": "app", "groups": ["gold", "eu", "beta"], "labels": {"region": "eu"}}, {"name": "other", "groups": ["silver"]}]"#;

/// Its caller is known.
fn ctx() -> Ctx {
    let consumers = Consumers::build(&serde_json::from_str::<Vec<ConsumerConfig>>(CONSUMERS).unwrap()).unwrap();
    let claims = serde_json::json!({
        "sub": "ann", "scope": "orders.read orders.write users.read", "roles": ["editor", "viewer"], "org": {"id": 7, "plan": "pro"}
    });
    Ctx { consumer: consumers.named("app").cloned(), claims: Some(Arc::new(claims)), ..kit::ctx("/orders/42") }
}

fn request() -> RequestHeader {
    kit::request("/orders/42?page=2", &[("X-Region", "eu")])
}

/// A chain of these policies, as a config builds it.
fn chain(policies: &str, files: &[(&str, String)]) -> Chain {
    let snapshot = kit::snapshot(&format!("consumers: {CONSUMERS}\npolicies: {policies}\n"), files);
    snapshot.unmatched.ways.into_iter().next().unwrap().chain
}

fn networks(c: &mut Criterion) {
    let mut text = String::new();
    for number in 0..50_000_u32 {
        // Apart from each other, so that none can be put together.
        let v4 = Ipv4Addr::from(0x1400_0000 + number * 1024);
        let v6 = Ipv6Addr::from((0x2001_0db8_u128 << 96) + (u128::from(number) << 81));
        writeln!(text, "{v4}/24\n{v6}/48").unwrap();
    }
    let chain = chain("[ip_filter: { deny_files: [blocked.txt] }]", &[("blocked.txt", text)]);
    let (mut req, mut cx, client) = (request(), ctx(), kit::client());
    let mut group = c.benchmark_group("ip_filter");
    for (name, first, step, listed) in
        [("IPv4, denied, of 100,000", 0x1400_0000_u32, 1024, true), ("IPv4, passed, of 100,000", 0x1400_0200, 1024, false)]
    {
        let mut number = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                number = (number + 7919) % 50_000;
                cx.client = IpAddr::V4((first + number * step).into());
                assert_eq!(kit::down(&chain, &mut req, black_box(&mut cx), &client).is_none(), listed);
            });
        });
    }
    let mut number = 0;
    group.bench_function("IPv6, passed, of 100,000", |b| {
        b.iter(|| {
            number = (number + 7919) % 50_000;
            cx.client = IpAddr::V6(((0x2001_0db8_u128 << 96) + (number << 81) + (1 << 80)).into());
            kit::down(&chain, &mut req, black_box(&mut cx), &client)
        });
    });
    group.finish();
}

fn lists(c: &mut Criterion) {
    let (mut req, mut cx, client) = (request(), ctx(), kit::client());
    let mut group = c.benchmark_group("acl");
    for (name, acl) in [
        ("groups", "{ groups: [silver, gold] }"),
        ("scopes", "{ scopes: { all: [users.read, orders.write] } }"),
        (
            "groups, scopes, roles, claims",
            "{ groups: [beta], scopes: [orders.read], roles: { none: [guest] }, claims: { org.plan: [pro] } }",
        ),
        ("condition", "{ condition: \"'gold' in consumer.groups && 'orders.read' in scopes\" }"),
    ] {
        let chain = chain(&format!("[acl: {acl}]"), &[]);
        group.bench_function(name, |b| b.iter(|| assert!(kit::down(&chain, &mut req, black_box(&mut cx), &client).is_some())));
    }
    group.finish();
}

fn conditions(c: &mut Criterion) {
    let (req, cx) = (request(), ctx());
    let mut group = c.benchmark_group("condition");
    for text in [
        "request.method == 'GET'",
        "id == '42' && query.page == '2' && header['x-region'] == 'eu'",
        "consumer.labels.region == header['x-region']",
        "'gold' in consumer.groups",
        "'orders.write' in scopes",
        "claims.org.plan == 'pro' && claims.roles.exists(r, r == 'viewer')",
        "request.path.matches('^/orders/[0-9]+$')",
    ] {
        let condition = Condition::parse(text, Names { params: &["id".into()], parts: &[] }).unwrap();
        group.bench_function(text, |b| b.iter(|| assert!(condition.holds(black_box(&req), &cx, &|_| Said::default()))));
    }
    group.finish();
}

criterion_group!(benches, networks, lists, conditions);
criterion_main!(benches);
