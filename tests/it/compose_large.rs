//! What is large is put together beside the workers, which have other requests.

use std::fs::read_to_string;

use crate::support::{Gateway, Origin};

/// An origin whose every item is just short of what is read beside the workers by itself.
fn up() -> Origin {
    Origin::answering(|seen| {
        let answer = http::Response::builder().header("content-type", "application/json");
        match &*seen.target {
            "/list" => answer.body(format!("[{}]", (0..20).map(|item| item.to_string()).collect::<Vec<_>>().join(","))),
            "/items/7" => answer.status(404).body(String::new()),
            target => answer.body(item(target)),
        }
        .unwrap()
    })
}

fn item(target: &str) -> String {
    format!(" {{\"of\":\"{target}\",\"text\":\"{}\"}} ", "x".repeat(40_000))
}

/// Whether any thread beside the workers was needed yet.
fn is_offloaded(gateway: &Gateway) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap().map(|task| task.unwrap().path());
    tasks.map(|task| read_to_string(task.join("comm")).unwrap_or_default()).any(|name| name.trim() == "offload")
}

fn gateway(up: &Origin, compose: &str) -> Gateway {
    Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes:\n  - {{ name: all, match: {{ path: /all }}, compose: {{ {compose} }} }}\n",
        up.address
    ))
}

#[test]
fn many_answers_are_joined_beside_the_workers() {
    let up = up();
    let parts =
        |list: &str| format!("parts: {{ list: {{ {list} }}, all: {{ get: \"up:/items/{{item}}\", each: \"{{parts.list.body}}\" }} }}");
    let few = gateway(&up, &parts("value: [1, 7]"));
    let answer = few.client().get("/all").json();
    assert_eq!((&answer["all"][0]["of"], &answer["all"][1]), (&"/items/1".into(), &serde_json::Value::Null));
    assert!(!is_offloaded(&few), "two are not many");
    let many = gateway(&up, &parts("get: \"up:/list\""));
    let answer = many.client().get("/all").json();
    let all = answer["all"].as_array().unwrap();
    assert_eq!(all.len(), 20);
    for (place, found) in all.iter().enumerate() {
        let expected = if place == 7 { "null".to_owned() } else { item(&format!("/items/{place}")) };
        assert_eq!(found, &serde_json::from_str::<serde_json::Value>(&expected).unwrap(), "{place}");
    }
    assert!(is_offloaded(&many));
}

#[test]
fn a_long_value_is_read_beside_the_workers() {
    let up = up();
    let value = |parts: &str| {
        format!(
            "parts: {{ a: {{ get: \"up:/a\" }}, b: {{ get: \"up:/b\" }}, both: {{ value: {{ {parts} }} }} }}, template: \"{{parts.both.body}}\""
        )
    };
    for (parts, long) in [("a: \"{parts.a.body}\"", false), ("a: \"{parts.a.body}\", b: \"{parts.b.body}\"", true)] {
        let gateway = gateway(&up, &value(parts));
        let answer = gateway.client().get("/all").json();
        assert_eq!((&answer["a"]["of"], answer.get("b").is_some()), (&"/a".into(), long));
        assert_eq!(is_offloaded(&gateway), long, "{parts}");
    }
}
