//! What it costs to read JSON and write it again: spliced, shaped, assembled; beside `serde_json`, which makes a tree of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

mod body;

use std::hint::black_box;

use body::body;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use tidegate::body::json::{Assembly, AssemblyConfig, Bounds, Document, Out, Shape, ShapeConfig, check};

fn shape(config: Value) -> Shape {
    Shape::build(&serde_json::from_value::<ShapeConfig>(config).unwrap()).unwrap()
}

fn write(shape: &Shape, document: &Document) -> Vec<u8> {
    let mut out = Out::new(usize::MAX, document.text().len());
    shape.of(document.root()).unwrap().write(&mut out);
    out.finish().unwrap()
}

fn json(c: &mut Criterion) {
    let as_it_came = shape(json!({}));
    let dropped = shape(json!({"drop": ["items.email", "items.address.geo"]}));
    let edited = shape(json!({"pick": ["items"], "rename": {"items.id": "key"}, "flatten": ["items.address"]}));
    for (name, users) in [("1 KB", 3), ("100 KB", 310)] {
        let text = body(users);
        let mut group = c.benchmark_group(format!("json, {name} ({} bytes)", text.len()));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function("check", |b| b.iter(|| check(black_box(&text), Bounds::default()).unwrap()));
        group.bench_function("parse", |b| b.iter(|| Document::parse(text.clone(), Bounds::default()).unwrap()));
        for (how, shape) in [("as it came", &as_it_came), ("drop", &dropped), ("pick, rename, flatten", &edited)] {
            group.bench_function(format!("parse and write, {how}"), |b| {
                b.iter(|| write(shape, &Document::parse(text.clone(), Bounds::default()).unwrap()));
            });
        }
        group.bench_function("serde_json, parse and write", |b| {
            b.iter(|| serde_json::to_vec(&serde_json::from_slice::<Value>(black_box(&text)).unwrap()).unwrap());
        });
        group.finish();
    }
}

/// Three parts of 1 KB become one answer.
fn assembly(c: &mut Criterion) {
    let texts = [body(3), body(3), body(3)];
    let names = ["users", "orders", "preferences"];
    let mut group = c.benchmark_group("json, three parts of 1 KB");
    let template =
        json!({ "user": "{parts.users.body.items.0}", "orders": "{parts.orders.body}", "text": "{parts.preferences.body.total} of them" });
    for (how, config) in [("by name", json!({})), ("merged", json!({"merge": "root"})), ("template", json!({ "template": template }))] {
        let config: AssemblyConfig = serde_json::from_value(config).unwrap();
        let parts = names.map(|name| (name, Shape::default())).into();
        let assembly: Assembly<()> = Assembly::build(&config, parts, &mut |name| panic!("{name}")).unwrap();
        group.bench_function(how, |b| {
            b.iter(|| {
                let documents = texts.each_ref().map(|text| Document::parse(text.clone(), Bounds::default()).unwrap());
                let mut out = Out::new(usize::MAX, 4096);
                assembly.write(&documents.each_ref().map(|document| Some(document.root())), &|()| None, &mut out);
                out.finish().unwrap()
            });
        });
    }
    group.bench_function("serde_json, by name", |b| {
        b.iter(|| {
            let parts = texts.iter().zip(names).map(|(text, name)| (name.to_owned(), serde_json::from_slice::<Value>(text).unwrap()));
            serde_json::to_vec(&Value::Object(parts.collect())).unwrap()
        });
    });
}

criterion_group!(benches, json, assembly);
criterion_main!(benches);
