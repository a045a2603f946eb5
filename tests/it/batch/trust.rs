//! Whom the services of a batch's requests believe: nothing is shed, smuggled in or shown that would not be without the batch.

use serde_json::{Value, json};

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

#[test]
fn what_the_policies_of_the_batch_take_for_themselves_reaches_no_service() {
    let origin = Origin::start();
    let token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUuY29tIiwiYXVkIjoiYXBpIiwic3ViIjoiYWRhIiwic2NvcGUiOiJvcmRlcnMucmVhZCIsImV4cCI6NDEwMjQ0NDgwMH0.v3lXo_qApX2BDHSJUe4-E1B1W93zPnoLP7cBFsHsnqQ";
    let policies = "policies: [api_key: { header: X-API-Key }, jwt: { issuer: any, audience: any, cookie: token, forward: false, keys: [{ algorithm: HS256, secret: a-secret-of-at-least-thirty-two-bytes }] }, request: { headers: { set: { X-Trust: outer }, remove: [X-Debug] } }]";
    let gateway = behind_a_proxy(&origin, "", &format!("{policies}, batch: {{ parallel: 1 }}"));
    let lines = format!("X-API-Key: demo-key\r\nCookie: a=b; token={token}; c=d\r\nX-Trust: mine\r\nX-Debug: 1\r\nX-Other: 2\r\n");
    let requests = json!([
        get("1", "/up/1"),
        get("2", "/private"),
        { "id": "3", "method": "GET", "url": "/up/3", "headers": { "X-API-Key": "demo-key", "Cookie": "token=own" } },
        { "id": "4", "method": "GET", "url": "/private", "headers": { "X-API-Key": "wrong" } },
    ]);
    let all = answers(&mut gateway.client(), &lines, &requests);
    assert_eq!(statuses(&all), [200, 200, 200, 401], "{all:#?}");
    let seen = origin.seen();
    let said = |place: usize| ["x-api-key", "cookie", "x-trust", "x-debug", "x-other"].map(|name| seen[place].header(name));
    // The key serves another policy all the same, and a request may still say what it likes, as if it had come by itself.
    assert_eq!(said(0), [None, Some("a=b; c=d"), None, None, Some("2")]);
    assert_eq!(said(1), [None, Some("a=b; c=d"), None, None, Some("2")]);
    assert_eq!(said(2), [Some("demo-key"), Some("token=own"), None, None, Some("2")]);
    assert_eq!(seen.len(), 3);
}

#[test]
fn a_request_that_is_refused_at_once_is_logged_as_any() {
    let origin = Origin::start();
    let gateway = behind_a_proxy(&origin, "", "batch: {}");
    let requests = json!([get("1", "/up/a b?key=secret"), get("2", "https://ann:secret@gateway.test/up/")]);
    let all = answers(&mut gateway.client(), "X-Forwarded-For: 192.0.2.9\r\n", &requests);
    assert_eq!(statuses(&all), [400, 400]);
    for path in ["/up/a b", ""] {
        let line = gateway.await_log("the refused one", |line| line["batch"].is_string() && line["path"] == path);
        let said = ["client", "host", "method", "route"].map(|name| line[name].as_str().unwrap());
        assert_eq!(said, ["192.0.2.9", "gateway.test", "GET", "-"], "{line}");
        assert!(!line.to_string().contains("secret"), "{line}");
    }
}

#[test]
fn each_request_has_an_id_of_its_own_though_that_of_the_batch_was_accepted() {
    for (header, policy) in [("x-request-id", "request_id: { accept: true }"), ("x-trace", "request_id: { accept: true, header: X-Trace }")]
    {
        let origin = Origin::start();
        let gateway = behind_a_proxy(&origin, &format!("policies: [{policy}]\n"), "batch: { parallel: 1 }");
        let mut named = get("3", "/up/3");
        named["headers"] = json!({ header: "mine" });
        let requests = json!([get("1", "/up/1"), get("2", "/up/2"), named]);
        let outer = post(&mut gateway.client(), &format!("{header}: abc\r\nX-Correlation-Id: def\r\n"), &requests);
        assert_eq!(outer.header(header), Some("abc"));
        let seen = origin.seen();
        let ids: Vec<_> = seen.iter().map(|seen| seen.header(header).unwrap()).collect();
        assert!(ids[0] != "abc" && ids[1] != "abc" && ids[0] != ids[1] && ids[2] == "mine", "{ids:?}");
        assert_eq!(seen[0].header("x-correlation-id"), None);
        let lines = gateway.await_log("the last", |line| line["request_id"] == "mine");
        assert_eq!(lines["batch"], Value::from("abc"));
    }
}
