//! Whom the services of a batch's requests believe: nothing is shed, smuggled in or shown that would not be without the batch.

use serde_json::json;

use super::{KEY, answers, get, post, statuses};
use crate::support::{Gateway, Origin};

/// A gateway behind a proxy that it trusts, with `batch` as the rest of that route.
fn behind_a_proxy(origin: &Origin, top: &str, batch: &str) -> Gateway {
    Gateway::start(&format!(
        "server:\n  trusted_proxies: [127.0.0.1/32]\nconsumers: [{{ name: demo, api_keys: [\"{KEY}\"] }}]\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\n{top}routes:\n  - {{ name: up, match: {{ path: \"/up/{{rest...}}\" }}, to: up }}\n  - {{ name: private, match: {{ path: /private }}, policies: [api_key], to: up }}\n  - {{ name: batch, match: {{ path: /batch }}, {batch} }}\n",
        origin.address
    ))
}

#[test]
fn no_connection_header_sheds_who_asks() {
    let origin = Origin::start();
    let gateway = behind_a_proxy(&origin, "", "batch: {}");
    let requests = json!([get("1", "/up/1")]);
    for name in ["X-Forwarded-For", "x-forwarded-proto", "Forwarded", "close, X-Real-IP", "Via", "Host", "Authorization"] {
        let lines = format!("X-Forwarded-For: 192.0.2.9\r\nX-Real-IP: 192.0.2.9\r\nConnection: {name}\r\n");
        post(&mut gateway.client(), &lines, &requests).problem(400, "bad-request");
        let mut own = get("1", "/up/1");
        own["headers"] = json!({ "Connection": name });
        let all = answers(&mut gateway.client(), "X-Forwarded-For: 192.0.2.9\r\n", &json!([own]));
        assert_eq!(statuses(&all), [400], "{name}");
    }
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
    // What is said of the connection alone, or of what no other is told of, stays allowed.
    let lines = "X-Forwarded-For: 192.0.2.9\r\nX-Hop: 1\r\nConnection: keep-alive, X-Hop\r\n";
    assert_eq!(statuses(&answers(&mut gateway.client(), lines, &requests)), [200]);
    let seen = origin.only();
    assert_eq!((seen.header("x-forwarded-for"), seen.header("x-hop")), (Some("192.0.2.9, 127.0.0.1"), None));
}
