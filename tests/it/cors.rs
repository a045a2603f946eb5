//! Browsers of other origins: which route answers their preflights, and what it tells them.

use crate::support::gateway::check;
use crate::support::{Client, Gateway, Response};

const APP: &str = "https://app.example.com";

fn preflight(client: &mut Client, path: &str, method: &str) -> Response {
    client
        .send(format!("OPTIONS {path} HTTP/1.1\r\nHost: gateway.test\r\nOrigin: {APP}\r\nAccess-Control-Request-Method: {method}\r\n\r\n"));
    client.read()
}

fn allowed(answer: &Response) -> Option<&str> {
    answer.header("access-control-allow-origin")
}

#[test]
fn a_catch_all_swallows_no_preflight_of_a_route_with_its_own_cors() {
    let gateway = Gateway::start(
        r#"
services:
  s: { mock: { echo: true } }
routes:
  - { name: pre, match: { path: "/pre/{id}", methods: [GET, PUT] }, policies: [{ cors: { origins: ["https://app.example.com"] } }], to: s }
  - { name: off, match: { path: "/off/{id}", methods: [GET, PUT] }, to: s }
  - { name: own, match: { path: /own, methods: [GET] }, policies: [{ cors: { origins: ["https://app.example.com"] } }], to: s }
  - { name: options, match: { path: /own, methods: [OPTIONS] }, reply: { status: 200, text: mine } }
  - { name: any, match: { path: "/{rest...}" }, policies: [{ cors: { origins: ["*"] } }], to: s }
"#,
    );
    let mut client = gateway.client();
    let answer = preflight(&mut client, "/pre/1", "PUT");
    assert_eq!((answer.status, allowed(&answer)), (204, Some(APP)));
    // No route but the one behind it would take this one, so that one answers.
    assert_eq!(allowed(&preflight(&mut client, "/pre/1", "DELETE")), Some("*"));
    assert_eq!(allowed(&preflight(&mut client, "/else", "PUT")), Some("*"));
    // Its route has no `cors`, and no other may grant what it does not.
    let answer = preflight(&mut client, "/off/1", "PUT");
    answer.problem(405, "method-not-allowed");
    assert_eq!((answer.header("allow"), allowed(&answer)), (Some("GET, HEAD, PUT"), None));
    assert_eq!(preflight(&mut client, "/own", "GET").text(), "mine");
}

#[test]
fn a_preflight_meets_the_cors_of_a_service_that_all_versions_share() {
    let gateway = Gateway::start(
        r#"
services:
  c: { mock: { echo: true }, policies: [{ cors: { origins: ["https://app.example.com"] } }] }
routes:
  - { name: v, match: { path: /v, methods: [GET] }, versions: { from: { header: X-V }, v1: { to: c }, v2: { to: c } } }
"#,
    );
    let mut client = gateway.client();
    assert_eq!(allowed(&preflight(&mut client, "/v", "GET")), Some(APP));
    let answer = client.get_with("/v", &format!("Origin: {APP}\r\n"));
    assert_eq!((answer.status, allowed(&answer)), (400, Some(APP)), "a script can read which versions there are");
}

#[test]
fn every_chain_exposes_what_its_own_policies_write() {
    let gateway = Gateway::start(
        r#"
services:
  s: { mock: { echo: true } }
policies:
  - request_id: { header: X-Correlation-Id }
  - cors: { origins: ["*"] }
routes:
  - { name: a, match: { path: /a }, to: s }
  - { name: b, match: { path: /b }, policies: [{ cors: { origins: ["https://app.example.com"] } }], to: s }
  - { name: c, match: { path: /c }, policies: [{ request_id: { header: X-Own-Id } }], to: s }
  - { name: d, match: { path: /d }, policies: [{ request_id: off }], to: s }
"#,
    );
    let mut client = gateway.client();
    for (path, exposed) in [("/a", "x-correlation-id"), ("/b", "x-correlation-id"), ("/c", "x-own-id"), ("/d", "")] {
        let answer = client.get_with(path, &format!("Origin: {APP}\r\n"));
        let list = answer.header("access-control-expose-headers").unwrap();
        for name in ["x-correlation-id", "x-own-id"] {
            assert_eq!(list.contains(name), name == exposed, "{path}: {list}");
        }
    }
}

#[test]
fn a_list_says_cors_only_once() {
    let (right, said) = check(
        r#"
services: { s: { mock: { echo: true } } }
routes:
  - name: a
    match: { path: /a }
    policies: [{ cors: { origins: ["https://app.example.com"], credentials: true } }, { cors: { origins: ["*"] } }]
    to: s
"#,
    );
    assert!(!right && said.contains("`cors` stands twice in this list"), "{said}");
}

#[test]
fn origins_by_a_regex_are_allowed_as_a_whole_or_not_at_all() {
    let gateway = Gateway::start(
        r#"
routes:
  - name: a
    policies: [{ cors: { origins: ['^https://pr-[0-9]+\.example\.dev$', "https://app.example.com"], credentials: true } }]
    reply: { text: a }
"#,
    );
    let mut client = gateway.client();
    for (origin, expected) in [
        ("https://pr-7.example.dev", true),
        ("https://app.example.com", true),
        ("https://pr-7.example.dev.evil.example", false),
        ("https://evil.example?https://pr-7.example.dev", false),
        ("http://pr-7.example.dev", false),
        ("https://pr-7-example.dev", false),
    ] {
        let answer = client.get_with("/", &format!("Origin: {origin}\r\n"));
        assert_eq!((allowed(&answer), answer.header("vary")), (expected.then_some(origin), Some("Origin")), "{origin}");
        assert_eq!(answer.header("access-control-allow-credentials"), expected.then_some("true"));
    }
    let (right, said) =
        check("routes:\n  - name: a\n    policies: [{ cors: { origins: ['^https://app.example\\.com$'] } }]\n    reply: { text: a }\n");
    assert!(!right && said.contains("has a dot that stands for any character") && said.contains(":3:36"), "{said}");
}
