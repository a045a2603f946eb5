//! Keys that are fetched: from a URL or where the issuer says, beside the requests, anew in time, and at once for a key that is not known.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::idp::{bearer, now};
use crate::support::{Gateway, Idp, eventually};

/// A gateway with one route for tokens; `settings` are those of its `jwt`.
pub fn config(settings: &str) -> String {
    format!(
        "services: {{ echo: {{ mock: {{ echo: true }} }} }}\nroutes:\n  - name: api\n    match: {{ path: \"/{{rest...}}\" }}\n    policies:\n      - jwt: {{ {settings} }}\n      - request: {{ headers: {{ set: {{ X-User: \"{{claims.sub}}\" }} }} }}\n    to: echo\n"
    )
}

/// The settings for an issuer that says where its keys are; `fetch` are those of `fetch`.
pub fn discovering(idp: &Idp, fetch: &str) -> String {
    config(&format!("issuer: \"{}\", audience: api, fetch: {{ allow_http: true, {fetch} }}", idp.issuer))
}

/// The status of a request with this token.
pub fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.client().get_with("/", &bearer(token)).status
}

pub fn refreshes(gateway: &Gateway, source: &str, result: &str) -> f64 {
    gateway.metric(&format!("tidegate_jwks_refreshes_total{{result=\"{result}\",source=\"{source}\"}}"))
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

#[test]
fn keys_come_from_a_url_and_verify_tokens() {
    let idp = Idp::start();
    let url = format!("{}/keys", idp.issuer);
    let gateway =
        Gateway::start(&config(&format!("issuer: \"{}\", audience: api, jwks: \"{url}\", fetch: {{ allow_http: true }}", idp.issuer)));
    let answer = gateway.client().get_with("/", &bearer(&idp.token("k1")));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["headers"]["x-user"], "ada");
    assert_eq!((idp.asked("/keys"), idp.asked(DISCOVERY)), (1, 0));
    assert_eq!(gateway.metric(&format!("tidegate_jwks_keys{{source=\"{url}\"}}")), 1.0);
    assert!(gateway.metric(&format!("tidegate_jwks_fetched_seconds{{source=\"{url}\"}}")) > now() as f64 - 60.0);
    assert_eq!(refreshes(&gateway, &url, "renewed"), 1.0);
    gateway.await_said(&format!("the keys of {url} are now \"k1\" (EdDSA)"));
    let status: serde_json::Value = serde_json::from_str(&gateway.ask("/status").1).unwrap();
    let keys = &status["keys"][0];
    assert_eq!((keys["source"].as_str(), &keys["usable"], &keys["failing"]), (Some(&*url), &json!(1), &json!(null)), "{status}");
    assert!(keys["fetched"].as_str().unwrap().starts_with("20"), "{status}");
}

#[test]
fn an_issuer_says_where_its_keys_are() {
    let idp = Idp::start();
    let gateway = Gateway::start(&discovering(&idp, ""));
    for _ in 0..3 {
        assert_eq!(status(&gateway, &idp.token("k1")), 200);
    }
    assert_eq!((idp.asked(DISCOVERY), idp.asked("/keys")), (1, 1));
    assert_eq!(refreshes(&gateway, &idp.issuer, "renewed"), 1.0);
}

#[test]
fn keys_are_fetched_again_before_their_time_is_over_and_within_the_bounds_of_the_config() {
    for (control, fetch, least, most) in [
        ("max-age=1", "min_ttl: 10ms", 700, 800),
        ("max-age=3600", "min_ttl: 10ms, max_ttl: 500ms", 350, 400),
        ("no-store", "min_ttl: 400ms", 280, 320),
        ("public, max-age=0", "min_ttl: 400ms", 280, 320),
    ] {
        let idp = Idp::start();
        idp.cache_control(control);
        let gateway = Gateway::start(&discovering(&idp, fetch));
        let asked = eventually("they are fetched four times", || Some(idp.asked_at("/keys")).filter(|asked| asked.len() >= 4));
        for pair in asked.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart >= Duration::from_millis(least - 20), "{control}: {apart:?}");
            assert!(apart < Duration::from_millis(most) + Duration::from_secs(1), "{control}: {apart:?}");
        }
        assert_eq!(status(&gateway, &idp.token("k1")), 200);
        assert!(refreshes(&gateway, &idp.issuer, "unchanged") >= 2.0);
    }
}

#[test]
fn a_new_key_is_found_at_once_and_strangers_cause_one_fetch_in_a_while() {
    let idp = Idp::start();
    let gateway = Gateway::start(&discovering(&idp, "cooldown: 1h"));
    assert_eq!(status(&gateway, &idp.token("k1")), 200);
    idp.publish("k2");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| status(&gateway, &idp.token("k2")))).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!((statuses, idp.asked("/keys")), (vec![200; 16], 2), "one fetch for all");
    idp.make("stranger");
    for number in 0..50 {
        let token = idp.signed(&json!({"alg": "EdDSA", "kid": format!("random-{number}")}), "stranger", &idp.claims());
        let problem = gateway.client().get_with("/", &bearer(&token));
        problem.problem(401, "unauthorized");
        let challenge = problem.header("www-authenticate").unwrap();
        assert!(
            challenge.ends_with("error=\"invalid_token\", error_description=\"the token is signed with an unknown key\""),
            "{challenge}"
        );
    }
    assert_eq!(idp.asked("/keys"), 2);
    let line = gateway.await_log("the key", |line| line["cause"].as_str().is_some_and(|cause| cause.contains("random-7")));
    assert_eq!(line["cause"], "the token is signed with an unknown key: alg EdDSA, kid \"random-7\"");
}

#[test]
fn strangers_never_cause_more_than_one_fetch_in_each_cooldown() {
    let idp = Idp::start();
    idp.make("stranger");
    let gateway = Gateway::start(&discovering(&idp, "cooldown: 300ms"));
    let (end, began) = (AtomicBool::new(false), Instant::now());
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (gateway, idp, end) = (&gateway, &idp, &end);
            scope.spawn(move || {
                let mut client = gateway.client();
                for number in (0..).take_while(|_| !end.load(Ordering::Relaxed)) {
                    let token = idp.signed(&json!({"alg": "EdDSA", "kid": format!("{worker}-{number}")}), "stranger", &idp.claims());
                    assert_eq!(client.get_with("/", &bearer(&token)).status, 401);
                }
            });
        }
        eventually("they cause five", || (idp.asked("/keys") >= 6).then_some(()));
        end.store(true, Ordering::Relaxed);
    });
    let (asked, took) = (idp.asked("/keys") - 1, began.elapsed());
    assert!(asked as u128 <= took.as_millis() / 300 + 1, "{asked} in {took:?}");
    // What would be refused anyway causes none.
    let gateway = Gateway::start(&discovering(&idp, "cooldown: 1ms"));
    let asked = idp.asked("/keys");
    let expired = json!({"iss": idp.issuer, "aud": "api", "exp": 1});
    assert_eq!(status(&gateway, &idp.signed(&json!({"alg": "EdDSA", "kid": "other"}), "stranger", &expired)), 401);
    assert_eq!(idp.asked("/keys"), asked);
}

#[test]
fn a_key_that_is_taken_back_is_not_believed_any_more_nor_are_tokens_that_were_seen() {
    let idp = Idp::start();
    idp.publish("k2");
    let gateway = Gateway::start(&discovering(&idp, "min_ttl: 100ms, max_ttl: 100ms"));
    let (gone, stays) = (idp.token("k1"), idp.token("k2"));
    assert_eq!([&gone, &stays].map(|token| status(&gateway, token)), [200; 2]);
    idp.withdraw("k1");
    eventually("the first is refused", || (status(&gateway, &gone) == 401).then_some(()));
    assert_eq!(status(&gateway, &stays), 200);
    gateway.await_said("are now \"k2\" (EdDSA)");
}

#[test]
fn a_token_without_the_name_of_its_key_is_verified_with_keys_that_are_new() {
    let idp = Idp::start();
    let gateway = Gateway::start(&discovering(&idp, "cooldown: 1h"));
    let nameless = |kid: &str| idp.signed(&json!({"alg": "EdDSA"}), kid, &idp.claims());
    assert_eq!(status(&gateway, &nameless("k1")), 200);
    idp.publish("k2");
    assert_eq!(status(&gateway, &nameless("k2")), 200);
}

#[test]
fn keys_outlive_a_reload_though_the_issuer_does_not() {
    let idp = Idp::start();
    let yaml = format!("server:\n  workers: 1\n{}", discovering(&idp, "cooldown: 1h"));
    let gateway = Gateway::start(&yaml);
    let token = idp.token("k1");
    assert_eq!(status(&gateway, &token), 200);
    idp.kill();
    let began = Instant::now();
    assert_eq!(gateway.rewrite(&yaml.replace("name: api", "name: other").replace("cooldown: 1h", "stale: 5h")), "done");
    assert!(began.elapsed() < Duration::from_secs(2), "nobody waits for keys that are there: {:?}", began.elapsed());
    assert_eq!(status(&gateway, &token), 200);
    assert_eq!(idp.asked("/keys"), 1);
    // Another audience is another policy: what was good for the first one is not for it.
    assert_eq!(gateway.rewrite(&yaml.replace("audience: api", "audience: web")), "done");
    assert_eq!(status(&gateway, &token), 401);
    assert_eq!(gateway.rewrite("server:\n  workers: 1\nroutes: [{ name: none, reply: { text: here } }]\n"), "done");
    eventually("its metrics are forgotten", || {
        gateway.client().get("/");
        (!gateway.ask("/metrics").1.contains(&idp.issuer)).then_some(())
    });
}

#[test]
fn several_issuers_have_their_own_keys_and_one_that_is_down_harms_no_other() {
    let (one, two, down) = (Idp::start(), Idp::start(), Idp::down());
    down.make("k1");
    let entry = |idp: &Idp, more: &str| format!("{{ issuer: \"{}\"{more} }}", idp.issuer);
    let gateway = Gateway::start(&config(&format!(
        "audience: api, fetch: {{ allow_http: true }}, issuers: [{}, {}, {}]",
        entry(&one, ""),
        entry(&two, ", audience: web, scopes: [write]"),
        entry(&down, "")
    )));
    assert_eq!(status(&gateway, &one.token("k1")), 200);
    let mut claims = two.claims();
    (claims["aud"], claims["scope"]) = ("web".into(), "read write".into());
    assert_eq!(status(&gateway, &two.token_of("k1", &claims)), 200);
    claims["scope"] = "read".into();
    let answer = gateway.client().get_with("/", &bearer(&two.token_of("k1", &claims)));
    answer.problem(403, "forbidden");
    assert!(answer.header("www-authenticate").unwrap().ends_with("scope=\"write\""));
    // Signed by one in the name of the other, with a key of the same name.
    assert_eq!(status(&gateway, &two.token_of("k1", &one.claims())), 401);
    assert_eq!(status(&gateway, &one.token_of("k1", &claims)), 401);
    assert_eq!(status(&gateway, &down.token("k1")), 503);
    assert_eq!(status(&gateway, &one.token("k1")), 200);
}

#[test]
fn policies_with_the_same_issuer_fetch_its_keys_once() {
    let idp = Idp::start();
    let jwt = format!("jwt: {{ issuer: \"{}\", audience: api, fetch: {{ allow_http: true }} }}", idp.issuer);
    let route = |name: &str| format!("  - {{ name: {name}, match: {{ path: /{name} }}, policies: [{jwt}], reply: {{ text: {name} }} }}\n");
    let gateway = Gateway::start(&format!("routes:\n{}{}", route("a"), route("b")));
    for path in ["/a", "/b"] {
        assert_eq!(gateway.client().get_with(path, &bearer(&idp.token("k1"))).status, 200);
    }
    assert_eq!(idp.asked("/keys"), 1);
}

#[test]
fn a_file_of_keys_is_read_again_when_it_changes() {
    let (before, after) = (Idp::start(), Idp::start());
    let set = |idp: &Idp| {
        let answer = crate::support::Client::connect(idp.issuer.trim_start_matches("http://").parse().unwrap()).get("/keys");
        assert_eq!(answer.status, 200);
        answer.body
    };
    let folder = crate::support::gateway::Folder::new();
    folder.file("keys.json", set(&before));
    let gateway = Gateway::start_in(folder, &config("issuer: any, audience: api, keys: [{ jwks_file: keys.json }]"));
    let (old, new) = (before.token("k1"), after.token("k1"));
    assert_eq!((status(&gateway, &old), status(&gateway, &new)), (200, 401));
    let result = gateway.reloaded(|| {
        let file = gateway.folder.file("new.json", set(&after));
        std::fs::rename(file, gateway.folder.path().join("keys.json")).unwrap();
    });
    assert_eq!(result, "unchanged");
    assert_eq!((status(&gateway, &old), status(&gateway, &new)), (401, 200));
}
