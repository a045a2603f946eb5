//! A signature is good once: whatever other policies, keys and reloads there are.

use serde_json::json;

use super::{Signer, config, counting, why};
use crate::support::{Gateway, Origin};

/// The usual consumers and services, with these routes.
fn gateway(signer: &Signer, origin: &Origin, routes: &str) -> (Gateway, String) {
    let usual = config(signer, origin);
    let yaml = format!("{}routes:\n{routes}", usual.split_once("routes:\n").unwrap().0);
    (Gateway::start(&yaml), yaml)
}

#[test]
fn a_policy_that_takes_no_old_ones_does_not_make_others_forget() {
    let (signer, origin) = (Signer::start(), counting());
    let routes = "  - { name: mixed, policies: [any_of: [hmac: { forms: [cavage], max_age: 1s }, hmac: { max_age: 5m }]], to: up }\n";
    let (gateway, _) = gateway(&signer, &origin, routes);
    let mut client = gateway.client();
    let old = signer.sign("GET", "/a", b"", json!({"params": {"created": -30}}));
    assert_eq!(old.send(&mut client).status, 200);
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    assert_eq!(signer.older("GET", "/a", b"", &now, json!({})).send(&mut client).status, 200);
    assert_eq!(why(&old.send(&mut client)), "the signature was used before");
}

#[test]
fn a_longer_age_takes_nothing_that_may_have_been_used_before() {
    let (signer, origin) = (Signer::start(), counting());
    let (gateway, yaml) = gateway(&signer, &origin, "  - { name: all, policies: [hmac: { max_age: 2m }], to: up }\n");
    let mut client = gateway.client();
    let old = signer.sign("GET", "/a", b"", json!({"params": {"created": -60}}));
    assert_eq!(old.send(&mut client).status, 200);
    assert_eq!(gateway.rewrite(&yaml.replace("max_age: 2m", "max_age: 10s")), "done");
    let fresh = |path: &str| signer.sign("GET", path, b"", json!({})).send(&mut gateway.client()).status;
    // Each worker comes to the shorter one.
    assert!((0..8).all(|number| fresh(&format!("/b/{number}")) == 200));
    assert_eq!(gateway.rewrite(&yaml.replace("max_age: 2m", "max_age: 3m")), "done");
    assert_eq!(fresh("/c"), 200);
    let told = why(&old.send(&mut gateway.client()));
    assert!(told.contains("used before"), "{told}");
}

#[test]
fn what_was_used_on_one_route_was_used_on_all() {
    let (signer, origin) = (Signer::start(), counting());
    let routes = "  - { name: blue, match: { path: /a, headers: { X-Side: blue } }, policies: [hmac], to: up }\n\
                  \x20 - { name: other, match: { path: /a }, policies: [hmac], to: up }\n";
    let (gateway, _) = gateway(&signer, &origin, routes);
    let once = signer.sign("GET", "/a", b"", json!({}));
    assert_eq!(once.send(&mut gateway.client()).status, 200);
    assert_eq!(why(&once.header("x-side", "blue").send(&mut gateway.client())), "the signature was used before");
}

#[test]
fn a_key_that_signs_much_leaves_others_their_room() {
    let (signer, origin) = (Signer::start(), counting());
    let (gateway, _) = gateway(&signer, &origin, "  - { name: all, policies: [hmac: { remember: 4 }], to: up }\n");
    let mut client = gateway.client();
    let mut send = |key: &str, path: &str| signer.sign("GET", path, b"", json!({ "key": key })).send(&mut client);
    for (path, expected) in [("/1", 200), ("/2", 200), ("/3", 503), ("/4", 503), ("/5", 503)] {
        let answer = send("hmac-sha256", path);
        assert_eq!(answer.status, expected, "{path}");
        if expected == 503 {
            answer.problem(503, "unavailable");
            assert!(
                answer.header("retry-after").is_some_and(|seconds| (280..320).contains(&seconds.parse::<u64>().unwrap())),
                "{answer:?}"
            );
        }
    }
    assert_eq!(send("ed25519", "/1").status, 200);
}
