//! A service that fails is left alone: what its clients see meanwhile, and how it comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, RawOrigin, eventually};

const OPEN: &str = "tidegate_breaker_open{service=\"up\"}";

fn config(target: &str, settings: &str) -> String {
    format!(
        "server:\n  workers: 2\nservices: {{ up: {{ targets: [\"http://{target}\"], {settings} }} }}\nroutes: [{{ name: up, to: up }}]\n"
    )
}

/// Answers 503 while it is ill.
fn patient() -> (Origin, Arc<AtomicBool>) {
    let ill = Arc::new(AtomicBool::new(true));
    let state = ill.clone();
    let origin = Origin::answering(move |_| {
        let mut answer = Answer::new("here".to_owned());
        if state.load(Ordering::Relaxed) {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    });
    (origin, ill)
}

#[test]
fn a_service_that_fails_is_left_alone_over_a_reload_until_a_probe_finds_it_well() {
    let (origin, ill) = patient();
    let target = origin.address.to_string();
    let gateway = Gateway::start(&config(&target, "breaker: { failures: 3, open: 3s }"));
    let mut client = gateway.client();
    assert!((0..3).all(|_| client.get("/").text() == "here"));
    let answer = client.get("/");
    answer.problem(503, "unavailable");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
    assert_ne!(answer.header("connection"), Some("close"));
    assert_eq!(gateway.metric(OPEN), 1.0);
    gateway.await_said("service up: 3 attempts in a row failed, and its breaker is open for");
    assert_eq!(gateway.rewrite(&config(&target, "breaker: { failures: 4, open: 3s }")), "done");
    // On the same connection, and on another worker.
    client.get("/").problem(503, "unavailable");
    gateway.client().get("/").problem(503, "unavailable");
    assert_eq!(origin.seen().len(), 3);
    ill.store(false, Ordering::Relaxed);
    eventually("a probe finds it well", || (client.get("/").status == 200).then_some(()));
    assert_eq!(origin.seen().len(), 4);
    // It is noted once the answer is out.
    gateway.await_metric(OPEN, 0.0);
    gateway.await_said("its breaker lets requests try it");
    gateway.await_said("it is well again, and its breaker is closed");
    assert!((0..10).all(|_| gateway.client().get("/").status == 200));
}

#[test]
fn a_probe_that_fails_leaves_the_service_alone_anew() {
    let (origin, _ill) = patient();
    let gateway = Gateway::start(&config(&origin.address.to_string(), "breaker: { failures: 1, open: 300ms }"));
    let mut client = gateway.client();
    eventually("two probes fail", || {
        client.get("/");
        (origin.seen().len() == 3).then_some(())
    });
    gateway.await_said("it fails still, and its breaker is open for");
    assert_eq!(gateway.metric(OPEN), 1.0);
}

#[test]
fn a_share_of_failures_is_enough_and_other_answers_are_none() {
    let turn = AtomicBool::new(false);
    let origin = Origin::answering(move |seen| {
        let mut answer = Answer::new("here".to_owned());
        if seen.target == "/lost" {
            *answer.status_mut() = StatusCode::NOT_FOUND;
        } else if turn.fetch_xor(true, Ordering::Relaxed) {
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
        }
        answer
    });
    let gateway =
        Gateway::start(&config(&origin.address.to_string(), "breaker: { failures: 5, error_rate: 40%, min_requests: 20, open: 1m }"));
    let mut client = gateway.client();
    assert!((0..10).all(|_| client.get("/lost").status == 404));
    for _ in 0..100 {
        client.get("/");
    }
    // 4 of ten answers are failures at the earliest with 40 of 50: half of the others.
    let asked = origin.seen().len();
    assert!((40..=60).contains(&asked), "{asked}");
    gateway.await_said("attempts failed, and its breaker is open for");
}

#[test]
fn while_the_breaker_is_open_nothing_is_sent_again() {
    let bad = RawOrigin::start(|mut talk| {
        talk.request();
        talk.reset();
    });
    let settings = "retry: { attempts: 10, budget: 100% }, breaker: { failures: 4, open: 1m }";
    let gateway = Gateway::start(&config(&bad.address.to_string(), settings));
    let mut client = gateway.client();
    client.get("/").problem(502, "bad-gateway");
    for _ in 0..20 {
        client.get("/").problem(503, "unavailable");
    }
    assert_eq!(bad.received().len(), 4);
}

#[test]
fn a_client_that_stops_sending_is_not_held_against_the_service() {
    let origin = Origin::start();
    let settings = "timeouts: { response: 200ms }, breaker: { failures: 2, open: 1m }, ejection: { failures: 2, max_ejected: 100% }";
    let yaml = config(&origin.address.to_string(), settings).replace("workers: 2", "workers: 2\n  timeouts: { body: 500ms }");
    let gateway = Gateway::start(&yaml);
    for _ in 0..4 {
        let mut client = gateway.client();
        client.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 10\r\n\r\nhalf");
        client.read().problem(408, "request-timeout");
    }
    assert_eq!(gateway.client().get("/").text(), "here");
    assert_eq!(gateway.metric(OPEN), 0.0);
}

#[test]
fn an_answer_that_has_begun_well_ends_a_probe_however_long_it_goes_on() {
    let ill = Arc::new(AtomicBool::new(true));
    let state = ill.clone();
    let origin = RawOrigin::start(move |mut talk| {
        while talk.request().is_some() {
            if state.load(Ordering::Relaxed) {
                talk.say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
            } else {
                talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst");
                talk.until_closed();
            }
        }
    });
    let settings = "breaker: { failures: 2, open: 1ms }, ejection: { failures: 2, for: 1ms, max_ejected: 100% }";
    let gateway = Gateway::start(&config(&origin.address.to_string(), settings));
    let mut client = gateway.client();
    assert!((0..2).all(|_| client.get("/").status == 503));
    gateway.await_metric(OPEN, 1.0);
    ill.store(false, Ordering::Relaxed);
    let ask = || {
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        let status = client.head().status;
        (status, client)
    };
    let _streams = [ask(), ask(), ask()].map(|(status, client)| {
        assert_eq!(status, 200);
        client
    });
    assert_eq!(gateway.metric(OPEN), 0.0);
    let standing = format!("tidegate_target_ejected{{service=\"up\",target=\"{}\"}}", origin.address);
    assert_eq!(gateway.metric(&standing), 0.0);
}

#[test]
fn settings_that_cannot_be_are_told_with_their_place_and_their_fix() {
    for (settings, place, fix) in [
        ("breaker: { failures: 0 }", "breaker.failures: zero can never be met", "at least 1"),
        ("breaker: { failures: few }", "breaker.failures: ", "number"),
        ("breaker: { error_rate: 0% }", "breaker.error_rate: ", "above `0%`"),
        ("breaker: { error_rate: 0.5 }", "breaker.error_rate: ", "`0%` to `100%`"),
        ("breaker: { window: 1h }", "breaker.window: ", "`100ms` to `5m`"),
        ("breaker: { min_requests: 0 }", "breaker.min_requests: ", "at least 1"),
        (
            "breaker: { on: [refused] }",
            "breaker.on[0]: ",
            "`connect`, `reset`, `malformed`, `timeout`, `5xx`, a status from 400 to 599, or one of gRPC",
        ),
        ("breaker: { on: [] }", "breaker.on: no failure at all would count", "remove it for the default"),
        ("breaker: { open: 0s }", "breaker.open: this leaves no time at all", "like `5s`"),
        ("breaker: { probes: 0 }", "breaker.probes: ", "at least 1"),
        ("breaker: { probe: 1 }", "breaker.probe: unknown key", "did you mean `probes`?"),
    ] {
        let (content, said) = check(&config("127.0.0.1:9", settings));
        assert!(!content && said.contains(&format!("services.up.{place}")) && said.contains(fix), "{settings}:\n{said}");
    }
    let (content, said) = check("services: { up: { mock: { text: a }, breaker: {} } }\n");
    assert!(!content && said.contains("services.up.breaker: a mock has no targets"), "{said}");
}
