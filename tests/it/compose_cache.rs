//! Answers of parts that are kept for all requests, and cookies, which are for one client.

use std::time::{Duration, Instant};

use crate::support::client::Client;
use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, PATIENCE};

fn yaml(up: &Origin, more: &str, compose: &str) -> String {
    format!(
        "{more}\nservices: {{ up: {{ targets: [\"http://{}\"] }}, down: {{ targets: [\"http://127.0.0.1:9\"] }} }}\nroutes: [{{ name: whole, match: {{ path: \"/whole/{{id}}\" }}, compose: {{ {compose} }} }}]\n",
        up.address
    )
}

fn gateway(up: &Origin, compose: &str) -> Gateway {
    Gateway::start(&yaml(up, "", compose))
}

/// A service that says its target, with these headers.
fn saying(headers: &[(&'static str, &'static str)]) -> Origin {
    let headers = headers.to_vec();
    Origin::answering(move |seen| {
        let mut answer = Answer::new(format!("\"{}\"", seen.target));
        for (name, value) in &headers {
            answer.headers_mut().append(*name, value.parse().unwrap());
        }
        answer
    })
}

#[test]
fn an_answer_that_is_kept_is_given_to_all_workers_and_says_so() {
    let up = saying(&[("cache-control", "max-age=600")]);
    let compose = "server_timing: true, parts: { a: { get: \"up:/{id}\", cache: 1h }, b: { get: \"down:/\" } }";
    let gateway = gateway(&up, compose);
    let first = gateway.client().get("/whole/1");
    assert!(first.header("tidegate-parts").unwrap().starts_with("a;received-status=200, b;"), "{first:?}");
    for _ in 0..8 {
        let answer = gateway.client().get("/whole/1");
        assert_eq!(answer.text(), "{\"a\":\"/1\",\"b\":null}");
        assert!(answer.header("tidegate-parts").unwrap().starts_with("a;received-status=200;hit, b;"), "{answer:?}");
        assert!(answer.header("server-timing").unwrap().contains(";desc=hit, b;"), "{answer:?}");
    }
    assert_eq!(up.seen().len(), 1);
    gateway.client().get("/whole/2");
    assert_eq!(up.seen().len(), 2, "another target is another answer");
    let of = |result: &str| format!("tidegate_part_cache_total{{part=\"a\",result=\"{result}\",route=\"whole\"}}");
    gateway.await_metric(&of("hit"), 8.0);
    gateway.await_metric(&of("miss"), 2.0);
    gateway.await_metric(&of("stored"), 2.0);
    assert!(gateway.metric("tidegate_part_cache_bytes") > 500.0);
    gateway.await_metric("tidegate_part_cache_evicted_total", 0.0);
    let line = gateway.await_log("a hit", |line| line["parts"][0]["cache"] == "hit");
    assert_eq!((&line["parts"][0]["result"], &line["parts"][0]["status"]), (&"ok".into(), &200.into()), "{line}");
    let line = gateway.await_log("the first", |line| line["path"] == "/whole/2");
    assert_eq!(line["parts"][0].get("cache"), None, "{line}");
}

#[test]
fn what_is_kept_survives_a_reload_and_goes_when_nobody_keeps_anything() {
    let up = saying(&[]);
    let keeping = yaml(&up, "", "parts: { a: { get: \"up:/\", cache: 1h } }");
    let gateway = Gateway::start(&keeping);
    let ask = || assert_eq!(gateway.client().get("/whole/1").text(), "{\"a\":\"/\"}");
    ask();
    let other = keeping.replace("name: whole", "name: another");
    assert_eq!((gateway.rewrite(&other), ask(), up.seen().len()), ("done", (), 1));
    let none = other.replace(", cache: 1h", "");
    assert_eq!((gateway.rewrite(&none), ask(), up.seen().len()), ("done", (), 2));
    assert_eq!((gateway.rewrite(&keeping), ask(), ask(), up.seen().len()), ("done", (), (), 3));
    let fresher = keeping.replace("1h", "1ms");
    assert_eq!((gateway.rewrite(&fresher), ask(), up.seen().len()), ("done", (), 4));
    let new = saying(&[]);
    let moved = keeping.replace(&up.address.to_string(), &new.address.to_string());
    assert_eq!((gateway.rewrite(&moved), ask(), new.seen().len()), ("done", (), 1));
}

#[test]
fn an_answer_is_kept_for_its_time_and_no_longer() {
    let up = saying(&[]);
    let gateway = gateway(&up, "parts: { a: { get: \"up:/\", cache: 400ms } }");
    let mut client = gateway.client();
    // It cannot be fresh for longer than since before it was asked for.
    client.get("/whole/0");
    let started = Instant::now();
    let second = loop {
        client.get("/whole/0");
        if up.seen().len() == 2 {
            break Instant::now();
        }
        assert!(started.elapsed() < PATIENCE);
    };
    assert!(second - started > Duration::from_millis(350), "{:?}", second - started);
}

#[test]
fn what_the_service_or_its_answer_forbids_is_asked_for_each_time() {
    let up = Origin::answering(|seen| {
        let answer = http::Response::builder();
        match &*seen.target {
            "/no-store" => answer.header("cache-control", "no-store"),
            "/private" => answer.header("cache-control", "private, max-age=60"),
            "/over" => answer.header("cache-control", "max-age=0"),
            "/cookie" => answer.header("set-cookie", "a=b"),
            "/varies" => answer.header("vary", "Accept, *"),
            "/via" => answer.header("vary", "Via"),
            "/absent" => answer.status(404),
            "/partial" => answer.status(206),
            "/binary" => answer.header("content-type", "image/png"),
            "/secret" => answer.header("cache-control", "max-age=60"),
            "/public" => answer.header("cache-control", "public, max-age=60"),
            _ => answer.header("vary", "Accept-Language, X-Forwarded-For"),
        }
        .body("1".to_owned())
        .unwrap()
    });
    let gateway = gateway(
        &up,
        "parts: { a: { get: \"up:/{id}\", cache: 1h, headers: { Authorization: \"{header.Authorization}\", Accept-Language: \"{header.Accept-Language}\" } } }",
    );
    let mut client = gateway.client();
    let mut asks = |path: &str, lines: &str| {
        let before = up.seen().len();
        for _ in 0..2 {
            client.get_with(&format!("/whole/{path}"), lines);
        }
        up.seen().len() - before
    };
    for path in ["no-store", "private", "over", "cookie", "varies", "via", "absent", "partial", "binary"] {
        assert_eq!(asks(path, ""), 2, "{path}");
    }
    assert_eq!(asks("varies-by-what-is-said", "Accept-Language: de\r\n"), 1);
    assert_eq!(asks("varies-by-what-is-said", "Accept-Language: en\r\n"), 1, "another language, another answer");
    // RFC 9111 §3.5.
    assert_eq!(asks("secret", "Authorization: Basic eDp5\r\n"), 2);
    assert_eq!(asks("secret", ""), 1);
    assert_eq!(asks("public", "Authorization: Basic eDp5\r\n"), 1);
    assert_eq!(asks("public", "Authorization: Basic eDp6\r\n"), 1, "another caller, another answer");
    assert_eq!(asks("public", ""), 1);
}

#[test]
fn nobody_gets_an_answer_that_was_made_for_another() {
    let up = Origin::answering(|seen| {
        let said = |name: &str| seen.header(name).unwrap_or("-").to_owned();
        Answer::new(format!("\"{} {} {} {}\"", said("x-user"), said("x-ip"), said("x-forwarded-for"), said("x-request-id")))
    });
    let policies = "policies: [request_id: { accept: true }, api_key, request: { headers: { set: { X-User: \"{consumer.name}\" } } }]\nconsumers: [{ name: ann, api_keys: [\"sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb\"] }, { name: bob, api_keys: [\"sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\"] }]";
    let compose = "parts: { a: { get: \"up:/\", cache: 1h, headers: { X-Ip: \"{client.ip}\" } } }";
    let gateway = Gateway::start(&yaml(&up, policies, compose));
    let ask = |from: u8, key: &str| {
        let mut client = Client::connect_from([127, 0, 0, from], gateway.address);
        // An id of the client's choice, which is also the value of what the service goes by.
        let answer = client.get_with("/whole/1", &format!("X-Api-Key: {key}\r\nX-Request-Id: ann\r\n"));
        assert_eq!(answer.header("cache-control"), Some("private"), "{answer:?}");
        answer.json()["a"].as_str().unwrap().to_owned()
    };
    for _ in 0..2 {
        // The forwarded address and the request id are another for each request: such a call does without.
        assert_eq!(ask(1, "a"), "ann 127.0.0.1 - -");
        assert_eq!(ask(1, "b"), "bob 127.0.0.1 - -");
        assert_eq!(ask(2, "a"), "ann 127.0.0.2 - -");
    }
    assert_eq!(up.seen().len(), 3);
}

#[test]
fn what_depends_on_more_than_the_parts_own_headers_is_for_its_client_alone() {
    let policies = "policies: [request: { headers: { set: { X-User: \"{client.ip}\" } } }]";
    for (vary, control) in [
        ("X-User", "private, max-age=60"),
        ("Accept, x-forwarded-for", "private, max-age=60"),
        ("Accept, Accept-Encoding, X-Own", "max-age=60"),
    ] {
        let up = saying(&[("cache-control", "public, max-age=60"), ("vary", vary)]);
        let compose = "parts: { a: { get: \"up:/\", headers: { X-Own: own } }, b: { get: \"up:/{id}\", cache: 1h } }";
        let gateway = Gateway::start(&yaml(&up, policies, compose));
        for _ in 0..2 {
            assert_eq!(gateway.client().get("/whole/1").header("cache-control"), Some(control), "{vary}");
        }
    }
}

#[test]
fn the_whole_is_fresh_for_as_long_as_what_is_kept_still_is() {
    let up = saying(&[("cache-control", "max-age=60"), ("age", "20")]);
    let gateway = gateway(&up, "parts: { a: { get: \"up:/\", cache: 1h } }");
    let mut client = gateway.client();
    let left = |answer: &crate::support::client::Response| {
        answer.header("cache-control").unwrap().strip_prefix("max-age=").unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(left(&client.get("/whole/1")), 40);
    let started = Instant::now();
    let later = loop {
        let left = left(&client.get("/whole/1"));
        if left < 40 {
            break left;
        }
        assert!(started.elapsed() < PATIENCE);
    };
    assert_eq!((later, up.seen().len()), (39, 1));
}

#[test]
fn what_is_kept_is_bounded() {
    let up = Origin::answering(|seen| Answer::new(format!("\"{}{}\"", seen.target, "x".repeat(3000))));
    let gateway = Gateway::start(&yaml(&up, "cache: { size: 16KiB }", "parts: { a: { get: \"up:/{id}\", cache: 1h } }"));
    let mut client = gateway.client();
    for id in 0..20 {
        client.get(&format!("/whole/{id}"));
        let bytes = gateway.metric("tidegate_part_cache_bytes");
        assert!(bytes > 0.0 && bytes <= 16.0 * 1024.0, "{bytes}");
    }
}

#[test]
fn cookies_go_to_the_client_where_asked_and_make_the_answer_its_own() {
    let up = saying(&[("set-cookie", "session=1; Path=/"), ("set-cookie", "theme=dark"), ("cache-control", "public, max-age=60")]);
    for (settings, cookies, control) in [
        ("", &[][..], "max-age=60"),
        (", set_cookie: false", &[], "max-age=60"),
        (", set_cookie: true", &["session=1; Path=/", "theme=dark"], "private, max-age=60"),
        (", set_cookie: [theme]", &["theme=dark"], "private, max-age=60"),
        (", set_cookie: [other]", &[], "max-age=60"),
    ] {
        let gateway = gateway(&up, &format!("parts: {{ a: {{ get: \"up:/\"{settings} }} }}"));
        let mut client = gateway.client();
        let answer = client.get("/whole/1");
        assert_eq!((answer.all("set-cookie"), answer.header("cache-control")), (cookies.to_vec(), Some(control)), "{settings}");
        let again = client.get_with("/whole/1", &format!("If-None-Match: {}\r\n", answer.header("etag").unwrap()));
        assert_eq!((again.status, again.all("set-cookie"), again.header("cache-control")), (304, cookies.to_vec(), Some(control)));
    }
    let gateway = gateway(&up, "parts: { a: { get: \"up:/\", set_cookie: true }, b: { get: \"down:/\" } }");
    let answer = gateway.client().get("/whole/1");
    assert_eq!((answer.all("set-cookie").len(), answer.header("cache-control")), (2, Some("no-store")));
}

#[test]
fn what_cannot_be_kept_is_refused() {
    for (part, words) in [
        ("post: \"up:/\", cache: 1s", "parts.a.cache: the answer to a POST is never kept"),
        ("get: \"up:/\", cache: 0s", "parts.a.cache: this leaves no time at all"),
        ("get: \"up:/\", cache: often", "`often` is not a duration"),
        ("get: \"up:/\", cache: 1s, set_cookie: true", "parts.a.set_cookie: an answer that sets cookies is never kept"),
        ("get: \"up:/?id={request.id}\", cache: 1s", "parts.a.cache: `{request.id}` makes another call of each"),
        ("get: \"up:/\", headers: { X: \"{request.id}\" }, cache: 1s", "parts.a.cache: `{request.id}` makes another call of each"),
        ("get: \"up:/\", set_cookie: []", "parts.a.set_cookie: this names no cookie"),
        ("get: \"up:/\", set_cookie: [\"a b\"]", "parts.a.set_cookie[0]: `a b` is no name of a cookie"),
        ("get: \"up:/\", set_cookie: some", "this must be `true` for all cookies, or a list of their names"),
    ] {
        let (right, said) = check(&format!(
            "services: {{ up: {{ mock: {{ json: 1 }} }} }}\nroutes: [{{ name: whole, match: {{ path: /whole }}, compose: {{ parts: {{ a: {{ {part} }} }} }} }}]\n"
        ));
        assert!(!right && said.contains(words), "{part}:\n{said}");
    }
    let (right, said) = check("cache: { size: 0B }\nroutes: [{ name: a, match: { path: /a }, reply: {} }]\n");
    assert!(!right && said.contains("cache.size: nothing could be kept"), "{said}");
}
