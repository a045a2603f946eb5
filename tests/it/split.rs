//! A route to several services: who gets which, and what is known of it afterwards.

use std::collections::HashSet;
use std::process::Command;

use serde_json::Value;

use crate::support::gateway::{Folder, check};
use crate::support::{Gateway, Origin, Response};

const SERVICES: &str = r#"
services:
  stable: { mock: { text: stable } }
  canary:
    mock: { text: canary }
    policies: [{ response: { headers: { set: { X-Lane: canary } } } }]
"#;

fn gateway(rest: &str) -> Gateway {
    Gateway::start(&format!("{SERVICES}{rest}"))
}

fn cookie(answer: &Response) -> Option<String> {
    answer.header("set-cookie").map(|value| value.split(';').next().unwrap().to_owned())
}

#[test]
fn the_log_and_the_metrics_know_the_service_that_was_chosen_and_its_policies_run() {
    let gateway = gateway("routes: [{ name: shop, to: { stable: 1, canary: 1 }, sticky: { header: X-Tenant } }]");
    let mut client = gateway.client();
    let mut counts = [0, 0];
    for tenant in 0..40 {
        let answer = client.get_with(&format!("/{tenant}"), &format!("X-Tenant: {tenant}\r\n"));
        let again = client.get_with("/again", &format!("X-Tenant: {tenant}\r\n"));
        assert_eq!(answer.text(), again.text(), "the same tenant");
        let canary = answer.text() == "canary";
        counts[usize::from(canary)] += 1;
        assert_eq!(answer.header("x-lane"), canary.then_some("canary"));
        let line = gateway.await_log("the request", |line| line["path"] == format!("/{tenant}"));
        assert_eq!(line["service"], answer.text());
    }
    assert!(counts[0] > 5 && counts[1] > 5, "{counts:?}");
    for (service, count) in ["stable", "canary"].iter().zip(counts) {
        let series = format!("tidegate_split_requests_total{{route=\"shop\",service=\"{service}\",status=\"200\"}}");
        gateway.await_metric(&series, f64::from(2 * count));
    }
}

#[test]
fn a_consumer_stays_where_it_is_once_a_policy_has_found_out_who_it_is() {
    let key = |number: usize| {
        let hash = ring::digest::digest(&ring::digest::SHA256, format!("key-{number}").as_bytes());
        hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let consumers: String = (0..20).map(|number| format!("  - {{ name: c{number}, api_keys: [\"sha256:{}\"] }}\n", key(number))).collect();
    let split = "to: { stable: 50, canary: 50 }, sticky: { by: consumer }";
    for (document, route, services) in [
        ("policies: [api_key]", "", SERVICES),
        ("", "policies: [api_key], ", "services:\n  stable: { mock: { text: stable } }\n  canary: { mock: { text: canary } }\n"),
    ] {
        let gateway = Gateway::start(&format!("consumers:\n{consumers}{services}{document}\nroutes: [{{ name: shop, {route}{split} }}]\n"));
        let home = |number: usize| gateway.client().get_with("/", &format!("X-API-Key: key-{number}\r\n")).text();
        let homes: Vec<_> = (0..20).map(home).collect();
        assert_eq!((0..20).map(home).collect::<Vec<_>>(), homes);
        assert_eq!(homes.iter().collect::<HashSet<_>>().len(), 2, "{homes:?}");
        gateway.client().get("/refused").problem(401, "unauthorized");
        let line = gateway.await_log("the refusal", |line| line["path"] == "/refused");
        assert_eq!(line["service"], Value::Null, "none was chosen yet");
    }
}

#[test]
fn a_cookie_keeps_a_client_at_its_service() {
    let origin = Origin::start();
    let config = |stable: u32, canary: u32| {
        format!(
            "services: {{ stable: {{ targets: [\"http://{}\"] }}, canary: {{ mock: {{ text: canary }} }} }}\nroutes: [{{ name: shop, to: {{ stable: {stable}, canary: {canary} }}, sticky: {{ cookie: lane, ttl: 1h }} }}]\n",
            origin.address
        )
    };
    let gateway = Gateway::start(&config(1, 0));
    let first = gateway.client().get("/");
    assert_eq!(first.text(), "here");
    let line = format!("Cookie: {}\r\n", cookie(&first).unwrap());
    assert_eq!(gateway.rewrite(&config(1, 1_000_000)), "done");
    for _ in 0..10 {
        let again = gateway.client().get_with("/", &line);
        assert_eq!((again.text(), cookie(&again)), ("here".to_owned(), None));
    }
    assert_eq!(gateway.rewrite(&config(0, 1)), "done");
    let moved = gateway.client().get_with("/", &line);
    assert_eq!(moved.text(), "canary");
    assert!(cookie(&moved).is_some_and(|pair| !line.contains(&pair)), "{moved:?}");
}

#[test]
fn a_tester_gets_the_service_that_it_names_even_one_without_a_share() {
    let gateway = gateway("routes: [{ name: shop, to: { stable: 1, canary: 0 }, force: { header: X-Service } }]");
    let mut client = gateway.client();
    for (line, service) in [("X-Service: canary\r\n", "canary"), ("X-Service: nobody\r\n", "stable"), ("", "stable")] {
        assert_eq!(client.get_with("/", line).text(), service, "{line}");
    }
}

#[test]
fn versions_have_shares_of_their_own_and_policies_that_all_share_run_once() {
    let gateway = gateway(
        r#"
policies: [{ rate_limit: { requests: 10, per: 1h, by: route } }]
routes:
  - name: shop
    match: { path: "/{id}" }
    policies: [{ response: { headers: { add: { X-Route: "once" } } } }]
    versions:
      from: { header: X-Version }
      default: v2
      v1: { to: { stable: 0, canary: 1 }, deprecated: 2024-01-01 }
      v2: { to: { stable: 1, canary: 0 }, path: "/v2/{id}" }
"#,
    );
    let mut client = gateway.client();
    let old = client.get_with("/1", "X-Version: v1\r\n");
    assert_eq!((old.text().as_str(), old.header("deprecation"), old.header("x-route")), ("canary", Some("@1704067200"), Some("once")));
    let new = client.get("/1");
    assert_eq!((new.text().as_str(), new.header("deprecation"), new.header("x-route")), ("stable", None, Some("once")));
    assert!(new.header("ratelimit").unwrap().contains("r=8"), "{new:?}");
}

#[test]
fn mistakes_are_told_with_their_place_and_the_way_out() {
    let told = |rest: &str| {
        let (content, said) = check(&format!("{SERVICES}{rest}\n"));
        assert!(!content, "{rest}");
        said
    };
    for (route, words) in [
        ("to: { stable: 1, canry: 1 }", "to.canry: there is no service `canry`\n    fix: did you mean `canary`?"),
        ("to: { stable: 0, canary: 0 }", "to: every share is zero\n    fix: give at least one service a share above zero"),
        ("to: {}", "to: there is no service\n"),
        ("to: { stable: -1 }", "to.stable: expected a whole number from 0 to 4294967295, found the number `-1`"),
        ("to: { stable: 95% }", "to.stable: expected a whole number from 0 to 4294967295, found a string `95%`"),
        (
            "to: [stable, canary]",
            "to: expected the name of a service, or several with their shares like `{ stable: 95, canary: 5 }`, found a list",
        ),
        (
            "to: stable, sticky: { by: client_ip }",
            "sticky: `sticky` chooses between several services, and there is one\n    fix: give each its share",
        ),
        ("to: stable, force: { header: X }", "force: `force` chooses between several services, and there is one"),
        ("reply: {}, sticky: { by: client_ip }", "sticky: `sticky` keeps callers at one of several services, and there is no `to`"),
        ("to: { stable: 1, canary: 1 }, sticky: {}", "sticky: one thing to go by is needed, no more and no less"),
        ("to: { stable: 1, canary: 1 }, sticky: { by: client_ip, header: X }", "sticky: one thing to go by is needed"),
        ("to: { stable: 1, canary: 1 }, sticky: { by: client }", "sticky.by: unknown value `client`"),
        ("to: { stable: 1, canary: 1 }, sticky: { heder: X }", "sticky.heder: unknown key `heder`\n    fix: did you mean `header`?"),
        ("to: { stable: 1, canary: 1 }, sticky: { header: \"a b\" }", "sticky.header: `a b` is not a header name"),
        ("to: { stable: 1, canary: 1 }, sticky: { cookie: \"a;b\" }", "sticky.cookie: `a;b` is not the name of a cookie"),
        ("to: { stable: 1, canary: 1 }, sticky: { header: X, ttl: 1h }", "sticky.ttl: only a cookie has a `ttl`"),
        ("to: { stable: 1, canary: 1 }, sticky: { cookie: c, ttl: 1ms }", "sticky.ttl: this is not a whole number of seconds"),
        ("to: { stable: 1, canary: 1 }, sticky: header", "sticky: expected a mapping, found a string `header`"),
        ("to: { stable: 1, canary: 1 }, force: { head: X }", "force.head: unknown key `head`\n    fix: did you mean `header`?"),
        ("to: { stable: 1, canary: 1 }, force: { cookie: \"\" }", "force.cookie: `` is not the name of a cookie"),
        ("to: { stable: 1, canary: 1 }, sticky: { by: consumer }", "sticky.by: no policy finds out who the consumer is"),
        (
            "to: { stable: 1, canary: 1 }, policies: [api_key], sticky: { by: consumer }",
            "sticky.by: `api_key` finds out the consumer only after a service is chosen, since policies of the services come before it\n    fix: put `api_key` into the document's `policies`",
        ),
    ] {
        let said = told(&format!("routes: [{{ name: a, {route} }}]"));
        assert!(said.contains(&format!("routes[0].{words}")), "{route}: {said}");
    }
    let said = told("routes: [{ name: a, versions: { from: { header: V }, v1: { to: { stable: 1, x: 1 }, sticky: { by: consumer } } } }]");
    assert!(said.contains("routes[0].versions.v1.to.x: ") && said.contains("routes[0].versions.v1.sticky.by: "), "{said}");
}

#[test]
fn explain_tells_the_shares_and_the_service_where_the_request_alone_decides() {
    let folder = Folder::new();
    let config = folder.file(
        "tidegate.yaml",
        format!("{SERVICES}routes: [{{ name: shop, to: {{ stable: 95, canary: 5 }}, sticky: {{ header: X-Tenant }}, force: {{ cookie: use }} }}]"),
    );
    let explain = |line: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["explain", "/x", "-H", line, "-c"]).arg(&config).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for (line, to, rest) in [
        ("A: b", "one of these services, path /x", ""),
        ("X-Tenant: a", "service stable (a mock), path /x", "; this request has its service"),
        ("Cookie: use=canary", "service canary (a mock), path /x", "; this request names its service"),
    ] {
        let said = explain(line);
        let split = format!("split      stable 95%, canary 5%; sticky by header `x-tenant`{rest}");
        assert!(said.lines().any(|line| line == format!("to         {to}")) && said.lines().any(|line| line == split), "{said}");
    }
    assert!(explain("Cookie: use=canary").contains("policies   1. response"), "its policies");
}
