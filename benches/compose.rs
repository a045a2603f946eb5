//! What it costs to answer with three parts of 1 KB, of services that answer at once, and to make a composition ready.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

mod body;
mod kit;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, StatusCode};
use pingora_http::{RequestHeader, ResponseHeader};
use serde_json::{Value, json};
use tidegate::compose::Composition;
use tidegate::ctx::Ctx;
use tidegate::handler::{Conversation, Failed, Inside, Relay, Said, Switch};
use tidegate::observe::{Metrics, PartTold, Shard};
use tidegate::policy::Chain;
use tidegate::problem::Problem;
use tidegate::routing::Destination;
use tidegate::snapshot::Snapshot;
use tidegate::types::Reply;
use tidegate::upstream::Client;

const PATH: &str = "/profiles/42";

/// A request of which all is here, and whoever waits for its answer.
struct Talk {
    req: RequestHeader,
    cx: Ctx,
    client: Arc<Client>,
    shard: Arc<Shard>,
    reply: Option<Reply>,
}

impl Conversation for Talk {
    fn request(&self) -> &RequestHeader {
        &self.req
    }

    fn cx(&self) -> &Ctx {
        &self.cx
    }

    fn client(&self) -> Arc<Client> {
        self.client.clone()
    }

    fn shard(&self) -> Arc<Shard> {
        self.shard.clone()
    }

    fn bound(&mut self, total: Duration) -> Instant {
        Instant::now() + total
    }

    fn introduction(&mut self) -> Result<HeaderMap, Problem> {
        let mut told = HeaderMap::new();
        told.insert("x-request-id", self.cx.request_id.clone());
        Ok(told)
    }

    fn inside(&mut self) -> Result<Arc<dyn Inside>, Problem> {
        panic!("there are no requests in this one")
    }

    fn note(&mut self, _: Vec<PartTold>) {}

    fn is_bodiless(&mut self) -> bool {
        true
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Failed> {
        Ok(None)
    }

    async fn reply(&mut self, reply: &Reply) -> Result<(), Failed> {
        self.reply = Some(reply.clone());
        Ok(())
    }

    async fn head(&mut self, _: Box<ResponseHeader>) -> Result<(), Failed> {
        panic!("it comes as a whole")
    }

    async fn write(&mut self, _: Bytes) -> Result<(), Failed> {
        panic!("it comes as a whole")
    }

    async fn end(&mut self) -> Result<(), Failed> {
        panic!("it comes as a whole")
    }

    async fn left(&mut self) -> Failed {
        std::future::pending().await
    }

    async fn ask(&mut self, _: &impl Switch) -> Result<Said, Failed> {
        panic!("it is for no service alone")
    }

    fn hand_over(&mut self, _: Relay) {
        panic!("it is HTTP to the end")
    }
}

/// The services, and a route with this composition.
fn snapshot(compose: &Value) -> Snapshot {
    let list: Value = serde_json::from_slice(&body::body(3)).unwrap();
    let service = |name: &str| json!({ "mock": { "headers": { "Cache-Control": "max-age=60" }, "json": { name: list["items"] } } });
    let config = json!({
        "services": { "users": service("users"), "orders": service("orders"), "preferences": service("preferences") },
        "routes": [{ "name": "profile", "match": { "path": "/profiles/{id}" }, "policies": ["request_id"], "compose": compose }],
    });
    kit::snapshot(&config.to_string(), &[])
}

fn parts() -> Value {
    json!({
        "user": { "get": "users:/users/{id}", "required": true },
        "orders": { "get": "orders:/users/{id}/orders", "timeout": "800ms" },
        "preferences": { "get": "preferences:/users/{id}/preferences" },
    })
}

/// The policies of the route, and its composition.
fn way(snapshot: &Snapshot) -> (&Chain, &Composition) {
    let way = &snapshot.routes[0].ways[0];
    let Destination::Composition(composition) = &way.destination else { panic!("{:?}", way.destination) };
    (&way.chain, composition)
}

/// From the policies to the whole answer.
fn answer(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (client, shard) = (kit::client(), Metrics::new(1).unwrap().shards()[0].clone());
    let template = json!({
        "name": "{parts.user.body.users.0.name}", "all": ["{parts.orders.body.orders...}", "{parts.preferences.body.preferences...}"]
    });
    let mut dependent = parts();
    dependent["orders"]["get"] = "orders:/users/{parts.user.body.users.0.id}/orders".into();
    dependent["preferences"]["get"] = "preferences:/orders/{parts.orders.body.orders.0.id}".into();
    let mut group = c.benchmark_group("compose, three parts of 1 KB");
    for (name, compose) in [
        ("by name", json!({ "parts": parts() })),
        ("merged", json!({ "parts": parts(), "merge": "root" })),
        ("template", json!({ "parts": parts(), "template": template })),
        ("one after the other", json!({ "parts": dependent })),
    ] {
        let snapshot = snapshot(&compose);
        let (chain, composition) = way(&snapshot);
        let request = kit::request(PATH, &[]);
        let fresh = || Talk { req: request.clone(), cx: kit::ctx(PATH), client: client.clone(), shard: shard.clone(), reply: None };
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                fresh,
                |talk| {
                    kit::down(chain, &mut talk.req, &mut talk.cx, &client).unwrap();
                    runtime.block_on(composition.answer(talk)).unwrap();
                    let reply = talk.reply.as_ref().unwrap();
                    assert!(reply.status == StatusCode::OK && reply.headers.iter().all(|(name, _)| name != "tidegate-parts"));
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

/// What a start or a reload does for each composition, and `explain` to tell of it.
fn plan(c: &mut Criterion) {
    let compose = json!({ "parts": parts() });
    let snapshot = snapshot(&compose);
    let config = serde_json::from_value(compose).unwrap();
    let mut find = |name: &str| Ok(snapshot.services.iter().find(|service| *service.name == *name).cloned());
    let mut group = c.benchmark_group("compose, plan");
    group.bench_function("build", |b| b.iter(|| Composition::build(&config, "profile", &["id".into()], &mut find).unwrap()));
    group.bench_function("steps", |b| b.iter(|| way(&snapshot).1.steps().len()));
    group.finish();
}

criterion_group!(benches, answer, plan);
criterion_main!(benches);
