//! API versions: from where the client says them, what an old one tells, and what becomes of those that are not there.

use serde_json::json;

use crate::support::gateway::check;
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

#[test]
fn a_media_type_that_is_not_there_gives_way_to_one_that_is() {
    let gateway = gateway();
    let mut client = gateway.client();
    let mut accept = |value: &str| client.get_with("/media", &format!("Accept: {value}\r\n"));
    assert_eq!(service(&accept("application/vnd.acme.v9+json, application/vnd.acme.V3+json;q=0.5")), "new");
    assert_eq!(service(&accept("application/vnd.acme.v9+json, */*;q=0.1")), "new");
    accept("application/vnd.acme.v3+json;Q=0").problem(406, "not-acceptable");
}

#[test]
fn credentials_are_not_told_in_addresses() {
    let gateway = Gateway::start(
        r#"
consumers:
  - { name: app, api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"] }
services:
  s: { mock: { echo: true, headers: { Deprecation: "true", Sunset: "never", Link: "</its>; rel=own" } } }
policies: [{ api_key: { header: X-API-Key, query: key } }]
routes:
  - name: header
    match: { path: /header }
    versions:
      from: { header: X-V }
      default: v1
      v1: { to: s, deprecated: 2026-01-01, sunset: 2099-01-01, successor: v2 }
      v2: { to: s }
      v0: { to: s, sunset: 2000-01-01, successor: v2 }
  - name: query
    match: { path: /query }
    versions: { from: { query: v }, default: v1, v1: { to: s, deprecated: 2026-01-01, successor: v2 }, v2: { to: s } }
  - { name: moved, match: { path: "/old/{rest...}" }, redirect: { to: "/new/{rest}" } }
"#,
    );
    let mut client = gateway.client();
    let answer = client.get("/header?a=%41&key=test&b");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.all("link"), ["</its>; rel=own", "</header?a=%41&b>; rel=\"successor-version\""]);
    // What the gateway knows better stands in the place of the service's words.
    assert_eq!((answer.header("deprecation"), answer.header("sunset")), (Some("@1767225600"), Some("Thu, 01 Jan 2099 00:00:00 GMT")));
    let answer = client.get_with("/header?k%65y=test", "X-V: v0\r\n");
    assert_eq!((answer.status, answer.all("link")), (410, vec!["</header>; rel=\"successor-version\""]));
    let answer = client.get("/query?key=test&a=%41&v=v1");
    assert!(answer.all("link").contains(&"</query?a=%41&v=v2>; rel=\"successor-version\""), "{answer:?}");
    assert_eq!(client.get("/old/x?key=test&a=+b").header("location"), Some("/new/x?a=+b"));
    assert_eq!(client.get("/old/x?key=test").header("location"), Some("/new/x"));
}

#[test]
fn versions_that_nobody_can_ask_for_are_refused() {
    for (versions, place) in [
        ("from: { header: X-V }, ' v3 ': { to: s }", "no request can ask for a version ` v3 `"),
        ("from: { header: X-V }, '': { to: s }", "no request can ask for a version ``"),
        ("from: { param: v }, a/b: { to: s }", "no request can ask for a version `a/b`"),
        ("from: { query: '' }, v1: { to: s }", "a query parameter needs a name"),
        ("from: { media_type: 'a/b.{version}' }, v1: { to: s }, V1: { to: s }", "there is a version `V1` already"),
        ("from: { header: X-V }, v1: { to: s, deprecated: 2026-01-01, docs: foo }", "`foo` is no URL"),
        ("from: { header: X-V }, v1: { to: s, sunset: '9999-12-31T23:59:59-01:00' }", "is not between 1970 and 9999"),
    ] {
        let config = format!(
            "services: {{ s: {{ mock: {{ echo: true }} }} }}\nroutes:\n  - {{ name: a, match: {{ path: '/{{v}}' }}, versions: {{ {versions} }} }}\n"
        );
        let (right, said) = check(&config);
        assert!(!right && said.contains(place), "{versions}: {said}");
    }
}
