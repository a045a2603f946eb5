//! API versions: from where the client says them, what an old one tells, and what becomes of those that are not there.

use serde_json::json;

use crate::support::{Gateway, Response};

fn gateway() -> Gateway {
    let versions = |from: &str, default: &str| {
        format!(
            r#"
    versions:
      from: {from}
      {default}
      v1: {{ to: old, deprecated: 2024-01-01, sunset: 2025-06-30T12:00:00Z, successor: v3 }}
      v2: {{ to: old, path: /v2/users, deprecated: 2024-06-01, sunset: 2099-12-31, successor: v3, docs: "https://docs.test/v3" }}
      v3: {{ to: new }}"#
        )
    };
    Gateway::start(&format!(
        r#"
services:
  old: {{ mock: {{ echo: true, headers: {{ X-Service: old }} }} }}
  new: {{ mock: {{ echo: true, headers: {{ X-Service: new }} }} }}
routes:
  - name: header
    match: {{ path: /header }}{}
  - name: query
    match: {{ path: /query }}{}
  - name: param
    match: {{ path: "/param/{{v}}/users" }}{}
  - name: media
    match: {{ path: /media }}{}
"#,
        versions("{ header: X-Version }", "default: v3"),
        versions("{ query: version }", "default: v3"),
        versions("{ param: v }", "# no default"),
        versions("{ media_type: \"application/vnd.acme.{version}+json\" }", "default: v3"),
    ))
}

fn service(answer: &Response) -> &str {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("x-service").unwrap()
}

/// A version that is to end tells so in the words of RFC 9745 and RFC 8594.
fn told(answer: &Response, successor: &str) {
    assert_eq!(service(answer), "old");
    assert_eq!(answer.header("deprecation"), Some("@1717200000"), "2024-06-01T00:00:00Z");
    assert_eq!(answer.header("sunset"), Some("Thu, 31 Dec 2099 00:00:00 GMT"));
    let mut links = answer.all("link");
    links.sort_unstable();
    let successor = format!("<{successor}>; rel=\"successor-version\"");
    let mut expected = [
        successor.as_str(),
        "<https://docs.test/v3>; rel=\"deprecation\"; type=\"text/html\"",
        "<https://docs.test/v3>; rel=\"sunset\"; type=\"text/html\"",
    ];
    expected.sort_unstable();
    assert_eq!(links, expected);
    assert_eq!(answer.json()["path"], "/v2/users");
}

#[test]
fn a_version_is_taken_from_a_header() {
    let gateway = gateway();
    let mut client = gateway.client();
    let answer = client.get_with("/header", "X-Version: v3\r\n");
    assert_eq!((service(&answer), answer.header("deprecation"), answer.header("sunset")), ("new", None, None));
    assert_eq!(answer.header("vary"), Some("x-version"));
    told(&client.get_with("/header?a=b", "X-Version: v2\r\n"), "/header?a=b");
}

#[test]
fn a_version_is_taken_from_the_query() {
    let gateway = gateway();
    let mut client = gateway.client();
    assert_eq!(service(&client.get("/query?version=v3")), "new");
    told(&client.get("/query?a=b&version=v2"), "/query?a=b&version=v3");
    told(&client.get("/query?version=%762"), "/query?version=v3");
}

#[test]
fn a_version_is_taken_from_the_path() {
    let gateway = gateway();
    let mut client = gateway.client();
    assert_eq!(service(&client.get("/param/v3/users")), "new");
    told(&client.get("/param/v2/users?a=b"), "/param/v3/users?a=b");
}

#[test]
fn a_version_is_taken_from_the_media_type_that_is_liked_best() {
    let gateway = gateway();
    let mut client = gateway.client();
    let mut accept = |value: &str| client.get_with("/media", &format!("Accept: {value}\r\n"));
    let answer = accept("application/vnd.acme.v3+json");
    assert_eq!((service(&answer), answer.header("vary")), ("new", Some("accept")));
    told(&accept("text/html, application/vnd.acme.v3+json;q=0.5, Application/Vnd.Acme.v2+JSON;q=0.8"), "/media");
    assert_eq!(service(&accept("application/vnd.acme.v2+json;q=0, application/vnd.acme.v3+json;q=0.1")), "new");
    assert_eq!(service(&accept("*/*")), "new");
    let problem = accept("application/vnd.acme.v9+json").problem(406, "not-acceptable");
    assert_eq!(problem["versions"], json!(["v1", "v2", "v3"]));
}

#[test]
fn a_request_that_names_no_version_gets_the_default() {
    let gateway = gateway();
    let mut client = gateway.client();
    for path in ["/header", "/query", "/query?other=v2", "/media"] {
        assert_eq!(service(&client.get(path)), "new", "{path}");
    }
}

#[test]
fn a_version_that_is_not_there_is_refused_with_those_that_are() {
    let gateway = gateway();
    let mut client = gateway.client();
    for (path, lines) in [("/header", "X-Version: v9\r\n"), ("/query?version=", ""), ("/query?version=v9", ""), ("/param/V2/users", "")] {
        let answer = client.get_with(path, lines);
        let problem = answer.problem(400, "unknown-version");
        assert_eq!(problem["versions"], json!(["v1", "v2", "v3"]), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains("v1, v2, v3"), "{problem}");
    }
    assert_eq!(client.get_with("/header", "X-Version: v9\r\n").header("vary"), Some("x-version"), "a cache must know it, too");
}

#[test]
fn a_version_that_has_ended_is_gone_and_names_its_successor() {
    let gateway = gateway();
    let mut client = gateway.client();
    for (path, lines, successor) in [
        ("/header", "X-Version: v1\r\n", "/header"),
        ("/query?version=v1", "", "/query?version=v3"),
        ("/param/v1/users", "", "/param/v3/users"),
        ("/media", "Accept: application/vnd.acme.v1+json\r\n", "/media"),
    ] {
        let answer = client.get_with(path, lines);
        let problem = answer.problem(410, "gone");
        assert_eq!(problem["successor"], "v3");
        assert_eq!(answer.header("sunset"), Some("Mon, 30 Jun 2025 12:00:00 GMT"), "{path}");
        assert_eq!(answer.header("deprecation"), Some("@1704067200"), "{path}");
        assert_eq!(answer.header("link"), Some(format!("<{successor}>; rel=\"successor-version\"").as_str()), "{path}");
    }
}
