//! A service that decides: what it is told and how often, what goes on of what it says, and what happens where it says nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::client::H2;
use crate::support::origin::Seen;
use crate::support::{Answer, Gateway, Origin, RawOrigin, eventually};

/// Says yes to who has the cookie `good`, and calls it `ada`; 403 to who has `bad`, and 401 to all others.
fn decides(seen: &Seen) -> Answer {
    let cookie = seen.headers.get("cookie").map(|value| value.to_str().unwrap()).unwrap_or_default();
    let answer = http::Response::builder();
    match cookie {
        "good" => {
            answer.header("x-user", "ada").header("x-roles", "a").header("x-roles", "b").header("x-inner", "1").body("welcome".into())
        }
        "bad" => answer.status(403).header("content-type", "application/json").header("x-inner", "1").body("{\"no\":true}".into()),
        "long" => answer.status(401).header("www-authenticate", "Login").body("x".repeat(100_000)),
        "tedious" => answer.status(401).header("www-authenticate", "Login").body("x".repeat(2000)),
        "odd" => answer.status(500).body("{}".into()),
        _ => answer.status(401).header("www-authenticate", "Login").header("set-cookie", "a=b").body("sign in".into()),
    }
    .unwrap()
}

fn config(decider: &str, up: &Origin, settings: &str) -> String {
    format!(
        r#"
consumers: [{{ name: ada }}]
services:
  decider: {{ targets: ["http://{decider}"] }}
  up: {{ targets: ["http://{}"] }}
routes:
  - name: api
    match: {{ path: "/{{rest...}}" }}
    policies: [external: {{ service: decider, path: "/check?a=b", headers: [Cookie], copy: [X-User, X-Roles], {settings} }}]
    to: up
"#,
        up.address
    )
}

fn count(gateway: &Gateway, result: &str) -> f64 {
    gateway.metric(&format!("tidegate_external_total{{result=\"{result}\",service=\"decider\"}}"))
}

#[test]
fn it_is_told_what_is_asked_for_and_a_yes_goes_on_with_what_it_says() {
    let (decider, up) = (Origin::answering(decides), Origin::start());
    let gateway = Gateway::start(&config(&decider.address.to_string(), &up, "consumer: X-User"));
    let body = "secret body";
    let mut client = gateway.client();
    client.send(format!(
        "POST /a/../b%20c?q=1 HTTP/1.1\r\nHost: Shop.test\r\nCookie: good\r\nAuthorization: Bearer t\r\nX-User: root\r\nX-Roles: admin\r\nX-Forwarded-Uri: /forged\r\nX-Forwarded-For: 192.0.2.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.read().status, 200);
    let asked = decider.only();
    assert_eq!((asked.method.as_str(), asked.target.as_str(), asked.body.len()), ("GET", "/check?a=b", 0));
    for (name, value) in [
        ("cookie", Some("good")),
        ("authorization", None),
        ("content-length", None),
        ("x-user", None),
        ("x-forwarded-method", Some("POST")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("shop.test")),
        ("x-forwarded-uri", Some("/b%20c?q=1")),
        ("x-forwarded-for", Some("127.0.0.1")),
    ] {
        assert_eq!(asked.header(name), value, "{name}");
    }
    let seen = up.only();
    assert_eq!((seen.header("x-user"), seen.header("x-inner"), seen.header("cookie")), (Some("ada"), None, Some("good")));
    assert_eq!(seen.headers.get_all("x-roles").iter().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(&seen.body[..], body.as_bytes());
    let line = gateway.await_log("the consumer", |line| line["consumer"] == "ada");
    assert_eq!(asked.header("x-request-id"), line["request_id"].as_str());
    assert_eq!(count(&gateway, "allowed"), 1.0);
    assert_eq!(gateway.metric("tidegate_external_duration_seconds_count{service=\"decider\"}"), 1.0);
}

#[tokio::test]
async fn a_no_is_the_clients_over_http1_and_http2_and_within_bounds() {
    let (decider, up) = (Origin::answering(decides), Origin::start());
    let gateway = Gateway::start(&config(&decider.address.to_string(), &up, "refusal_size: 1KiB"));
    let h2 = H2::connect(gateway.address).await;
    let mut client = gateway.client();
    for (cookie, status, kind, body) in [("none", 401, None, "sign in"), ("bad", 403, Some("application/json"), "{\"no\":true}")] {
        let (head, text) = h2.request("GET", "/", &[("cookie", cookie)], &[]).await;
        assert_eq!((head.status.as_u16(), &text[..]), (status, body.as_bytes()));
        let answer = client.get_with("/", &format!("Cookie: {cookie}\r\n"));
        assert_eq!((answer.status, answer.header("content-type"), answer.text().as_str()), (status, kind, body));
        assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Login"));
        assert!(answer.header("x-inner").is_none() && answer.header("set-cookie").is_none());
    }
    let long = client.get_with("/", "Cookie: long\r\n");
    assert_eq!(long.problem(401, "unauthorized")["detail"], "the request may not go on");
    let tedious = client.get_with("/", "Cookie: tedious\r\n");
    assert_eq!(tedious.problem(401, "unauthorized")["detail"], "the request may not go on");
    assert_eq!(tedious.header("www-authenticate"), Some("Login"));
    assert!(up.seen().is_empty());
    assert_eq!(count(&gateway, "refused"), 6.0);
}

#[test]
fn where_it_says_nothing_nobody_gets_through_unless_that_is_wanted() {
    for (on_error, passes) in [("deny", false), ("allow", true)] {
        let (decider, up) = (Origin::answering(decides), Origin::start());
        let address = decider.address.to_string();
        let gateway = Gateway::start(&config(&address, &up, &format!("timeout: 500ms, on_error: {on_error}")));
        let mut client = gateway.client();
        let mut ends = |cookie: &str, word: &str| {
            let before = count(&gateway, word);
            let answer = client.get_with("/", &format!("Cookie: {cookie}\r\nX-User: root\r\n"));
            if passes {
                assert_eq!((answer.status, up.last().header("x-user")), (200, None), "what the client claims goes no further");
            } else {
                answer.problem(503, "unavailable");
                assert_eq!(answer.header("retry-after"), Some("5"));
            }
            assert_eq!(count(&gateway, word), before + 1.0, "{word}");
        };
        ends("odd", "status");
        drop(decider);
        ends("good", "unreachable");
        gateway.await_said("service decider cannot be asked whether requests may go on: it answered 500");
        if !passes {
            gateway.await_log("the reason", |line| {
                line["policy"] == "external" && line["cause"].as_str().is_some_and(|cause| cause.contains("no connection came about"))
            });
        }
    }
}

#[test]
fn one_that_is_slow_is_waited_for_so_long_and_by_so_many() {
    let (silent, up) = (RawOrigin::start(|mut talk| talk.until_closed()), Origin::start());
    let gateway = Gateway::start(&config(&silent.address.to_string(), &up, "timeout: 3s, waiting: 2"));
    let ask = || {
        let began = Instant::now();
        gateway.client().get("/").problem(503, "unavailable");
        began.elapsed()
    };
    std::thread::scope(|scope| {
        let waiting = [(); 2].map(|()| scope.spawn(ask));
        eventually("it is asked twice", || (silent.received().len() == 2).then_some(()));
        let crowded = ask();
        assert!(crowded < Duration::from_secs(2), "{crowded:?}");
        for took in waiting.map(|waits| waits.join().unwrap()) {
            assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&took), "{took:?}");
        }
    });
    assert_eq!((count(&gateway, "crowded"), count(&gateway, "timeout")), (1.0, 2.0));
    assert!(up.seen().is_empty());
}

#[test]
fn what_it_says_is_kept_for_its_time_for_those_who_are_alike() {
    let (decider, up) = (Origin::answering(decides), Origin::start());
    let address = decider.address.to_string();
    let gateway = Gateway::start(&config(&address, &up, "cache: { time: 1h }"));
    let mut client = gateway.client();
    let mut ask = |path: &str, cookie: &str| client.get_with(path, &format!("Cookie: {cookie}\r\nX-Other: {path}\r\n")).status;
    assert_eq!([ask("/", "good"), ask("/", "good"), ask("/", "bad"), ask("/", "bad")], [200, 200, 403, 403]);
    assert_eq!(decider.seen().len(), 2);
    assert_eq!([ask("/other", "good"), ask("/?a", "good")], [200, 200]);
    assert_eq!(decider.seen().len(), 4, "another address is another question");
    assert_eq!(count(&gateway, "kept"), 2.0);
    assert!(up.seen().iter().all(|seen| seen.header("x-user") == Some("ada")));
    // By the cookie alone, over a reload too, and failures never.
    let yaml = config(&address, &up, "cache: { time: 1h, by: [Cookie] }");
    assert_eq!(gateway.rewrite(&yaml), "done");
    assert_eq!([ask("/", "good"), ask("/other", "good"), ask("/", "odd"), ask("/", "odd")], [200, 200, 503, 503]);
    assert_eq!(decider.seen().len(), 7);
    assert_eq!(gateway.rewrite(&yaml.replace("name: api", "name: other")), "done");
    assert_eq!((ask("/third", "good"), decider.seen().len()), (200, 7));
    let gateway = Gateway::start(&config(&address, &up, "cache: { time: 100ms }"));
    let before = decider.seen().len();
    eventually("it is asked again", || {
        assert_eq!(gateway.client().get_with("/", "Cookie: good\r\n").status, 200);
        (decider.seen().len() >= before + 2).then_some(())
    });
}

#[test]
fn many_that_ask_the_same_at_once_ask_once() {
    let (count, up) = (Arc::<AtomicUsize>::default(), Origin::start());
    let counted = count.clone();
    let decider = Origin::answering(move |seen| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::thread::park_timeout(Duration::from_millis(300));
        decides(seen)
    });
    let gateway = Gateway::start(&config(&decider.address.to_string(), &up, "cache: { time: 1h }, timeout: 5s"));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| assert_eq!(gateway.client().get_with("/", "Cookie: good\r\n").status, 200));
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn its_breaker_leaves_it_alone_and_says_for_how_long() {
    let (decider, up) = (Origin::answering(decides), Origin::start());
    let yaml = config(&decider.address.to_string(), &up, "")
        .replace("decider: { targets", "decider: { breaker: { failures: 1, on: [500], open: 60s }, targets");
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.client();
    client.get_with("/", "Cookie: odd\r\n").problem(503, "unavailable");
    let answer = client.get_with("/", "Cookie: good\r\n");
    answer.problem(503, "unavailable");
    assert!((50..=70).contains(&answer.header("retry-after").unwrap().parse::<u64>().unwrap()), "{answer:?}");
    assert_eq!((count(&gateway, "left_alone"), decider.seen().len()), (1.0, 1));
}

#[test]
fn in_a_list_of_several_it_is_asked_last_and_its_headers_are_nobodys_else() {
    let (decider, up) = (Origin::answering(decides), Origin::start());
    let keys = "consumers: [{ name: app, api_keys: [\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"] }, { name: ada }]";
    let yaml = config(&decider.address.to_string(), &up, "consumer: X-User").replace("consumers: [{ name: ada }]", keys);
    let yaml =
        yaml.replace("policies: [external: {", "policies: [any_of: [api_key, external: {").replace("}]\n    to: up", "}]]\n    to: up");
    let gateway = Gateway::start(&yaml);
    let mut client = gateway.client();
    assert_eq!(client.get_with("/", "X-API-Key: test\r\nX-User: root\r\n").status, 200);
    assert_eq!(up.last().header("x-user"), None, "nobody has said so");
    assert_eq!(client.get_with("/", "Cookie: good\r\nX-User: root\r\n").status, 200);
    assert_eq!(up.last().header("x-user"), Some("ada"));
    let refused = client.get_with("/", "X-API-Key: wrong\r\n");
    assert_eq!((refused.status, refused.json()["detail"].as_str()), (401, Some("the API key is not valid")));
}
