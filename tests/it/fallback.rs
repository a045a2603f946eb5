//! What answers in the stead of a service that fails.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::StatusCode;

use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, RawOrigin, eventually};

/// A gateway whose service `up` has this target, and `stand-in` that one.
fn gateway(target: &str, settings: &str, stand_in: &str) -> Gateway {
    let services = format!("up: {{ targets: [\"http://{target}\"], {settings} }}, stand-in: {{ {stand_in} }}");
    Gateway::start(&format!("server:\n  workers: 1\nservices: {{ {services} }}\nroutes: [{{ name: up, to: up }}]\n"))
}

fn of(target: impl ToString) -> String {
    format!("targets: [\"http://{}\"]", target.to_string())
}

fn refusing() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn failing(status: u16) -> Origin {
    Origin::answering(move |_| {
        let mut answer = Answer::new("failing".to_owned());
        *answer.status_mut() = StatusCode::from_u16(status).unwrap();
        answer
    })
}

fn stalling() -> RawOrigin {
    RawOrigin::start(|mut talk| talk.until_closed())
}

fn resetting() -> RawOrigin {
    RawOrigin::start(|mut talk| {
        talk.request();
        talk.reset();
    })
}

const MOCK: &str = "mock: { text: unused }";

#[test]
fn a_fixed_answer_stands_in_for_each_failure_and_leaves_the_client_its_connection() {
    let (stalls, resets) = (stalling(), resetting());
    let reply = "fallback: { reply: { status: 203, headers: { X-From: gateway }, text: instead }, on: [connect, reset, timeout, 503] }";
    let ill = failing(503);
    for (target, times, reason) in [
        (refusing(), "", "connect"),
        (resets.address.to_string(), "", "reset"),
        (stalls.address.to_string(), "timeouts: { response: 500ms }, ", "timeout"),
        (stalls.address.to_string(), "timeouts: { total: 1s }, ", "timeout"),
        (ill.address.to_string(), "", "status"),
    ] {
        let gateway = gateway(&target, &format!("{times}{reply}"), MOCK);
        let mut client = gateway.client();
        for count in 1..=2 {
            let answer = client.get("/");
            assert_eq!((answer.status, answer.text().as_str(), answer.header("x-from")), (203, "instead", Some("gateway")), "{reason}");
            gateway.await_metric(&format!("tidegate_fallbacks_total{{reason=\"{reason}\",service=\"up\"}}"), f64::from(count));
        }
        let line = gateway.await_log("the answer that stood in", |line| line["fallback"] == "reply");
        assert_eq!((&line["service"], &line["status"]), (&"up".into(), &203.into()), "{line}");
    }
}

#[test]
fn what_is_not_named_is_told_as_it_is() {
    let ill = failing(503);
    let own = gateway(&ill.address.to_string(), "fallback: { reply: { text: instead } }", MOCK);
    assert_eq!(own.client().get("/").status, 503);
    let own = gateway(&refusing(), "fallback: { reply: { text: instead }, on: [503] }", MOCK);
    own.client().get("/").problem(502, "bad-gateway");
}

#[test]
fn another_service_gets_the_request_whole_and_with_its_own_settings() {
    let (ill, stand_in) = (failing(500), Origin::start());
    for (target, on) in [(refusing(), "[connect]"), (ill.address.to_string(), "[5xx]")] {
        let settings = format!("retry: {{ attempts: 2, on: [connect], methods: any }}, fallback: {{ to: stand-in, on: {on} }}");
        let own = gateway(&target, &settings, &format!("{}, host: stand-in.test", of(stand_in.address)));
        let mut client = own.client();
        client.send("POST /a?b=c HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello");
        assert_eq!(client.read().text(), "here");
        let seen = stand_in.seen().pop().unwrap();
        assert_eq!((seen.target.as_str(), &seen.body[..], seen.header("host")), ("/a?b=c", &b"hello"[..], Some("stand-in.test")));
        let line = own.await_log("the other service", |line| line["fallback"] == "stand-in");
        assert_eq!((&line["service"], &line["target"]), (&"up".into(), &stand_in.address.to_string().into()), "{line}");
    }
    assert_eq!((ill.seen().len(), stand_in.seen().len()), (1, 2));
}

#[test]
fn what_may_have_been_worked_on_is_not_handed_to_another_service() {
    let (resets, stand_in) = (resetting(), Origin::start());
    let own = gateway(&resets.address.to_string(), "fallback: { to: stand-in }", &of(stand_in.address));
    let mut client = own.client();
    client.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello");
    client.read().problem(502, "bad-gateway");
    assert!(stand_in.seen().is_empty());
    assert_eq!(own.client().get("/").text(), "here");
}

#[test]
fn while_the_breaker_is_open_the_service_is_not_asked() {
    let (ill, stand_in) = (failing(503), Origin::start());
    let breaker = "breaker: { failures: 2, open: 1m }";
    let own = gateway(&ill.address.to_string(), &format!("{breaker}, fallback: {{ to: stand-in }}"), &of(stand_in.address));
    let mut client = own.client();
    let answers: Vec<_> = (0..6).map(|_| client.get("/").text()).collect();
    assert_eq!(answers, ["failing", "failing", "here", "here", "here", "here"]);
    assert_eq!(ill.seen().len(), 2);
    assert_eq!(own.metric("tidegate_fallbacks_total{reason=\"breaker\",service=\"up\"}"), 4.0);
    let own = gateway(&ill.address.to_string(), &format!("{breaker}, fallback: {{ reply: {{ text: instead }} }}"), MOCK);
    let mut client = own.client();
    let answers: Vec<_> = (0..4).map(|_| client.get("/").text()).collect();
    assert_eq!(answers, ["failing", "failing", "instead", "instead"]);
}

#[test]
fn those_who_stand_in_have_others_behind_them_and_the_first_failure_is_told_in_the_end() {
    let (ill, sound) = (refusing(), Origin::start());
    let settings = "fallback: { to: stand-in }";
    let chain = |last: &str| {
        format!("{}, breaker: {{ failures: 1, open: 1m }}, fallback: {{ to: last }} }}, last: {{ {}", of(refusing()), of(last))
    };
    let own = gateway(&ill, settings, &chain(&sound.address.to_string()));
    let mut client = own.client();
    assert!((0..4).all(|_| client.get("/").text() == "here"));
    assert_eq!(own.metric("tidegate_fallbacks_total{reason=\"connect\",service=\"up\"}"), 4.0);
    assert_eq!(own.metric("tidegate_fallbacks_total{reason=\"breaker\",service=\"stand-in\"}"), 3.0);
    let breaker = "breaker: { failures: 1, open: 1m }";
    let own = gateway(&ill, settings, &format!("{}, {breaker}", of(refusing())));
    let mut client = own.client();
    for _ in 0..3 {
        client.get("/").problem(502, "bad-gateway");
    }
}

#[test]
fn no_time_is_left_that_was_used_up_before() {
    let (stalls, stand_in) = (stalling(), stalling());
    let own = gateway(
        &stalls.address.to_string(),
        "timeouts: { total: 600ms, response: 300ms }, fallback: { to: stand-in }",
        &of(stand_in.address),
    );
    let body = own.client().get("/").problem(504, "gateway-timeout");
    assert_eq!((&body["step"], stand_in.received().len()), (&"waiting".into(), 1), "{body}");
}

#[test]
fn a_service_that_stands_in_is_tried_again_by_those_who_come_from_a_broken_one() {
    let (resets, ill) = (resetting(), Arc::new(AtomicBool::new(true)));
    let state = ill.clone();
    let stand_in = Origin::answering(move |_| {
        let mut answer = Answer::new("here".to_owned());
        if state.load(Ordering::Relaxed) {
            *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    });
    let breaker = "breaker: { failures: 2, open: 1ms }";
    let own = gateway(&resets.address.to_string(), "fallback: { to: stand-in }", &format!("{}, {breaker}", of(stand_in.address)));
    let mut client = own.client();
    assert!((0..2).all(|_| client.get("/").status == 503));
    own.await_metric("tidegate_breaker_open{service=\"stand-in\"}", 1.0);
    ill.store(false, Ordering::Relaxed);
    eventually("the one that stands in is found well", || (client.get("/").status == 200).then_some(()));
    own.await_metric("tidegate_breaker_open{service=\"stand-in\"}", 0.0);
}

#[test]
fn the_time_of_a_service_that_stands_in_is_its_own() {
    let stalls = stalling();
    let quick = Origin::start();
    let first = "timeouts: { response: 600ms }, fallback: { to: stand-in }";
    let own = gateway(&stalls.address.to_string(), first, &format!("{}, timeouts: {{ total: 500ms }}", of(quick.address)));
    assert_eq!(own.client().get("/").text(), "here");
    // Where it is left alone, its time is nobody's.
    let slow = RawOrigin::start(|mut talk| {
        talk.request();
        let (_held, never) = std::sync::mpsc::channel::<()>();
        let _ = never.recv_timeout(std::time::Duration::from_millis(700));
        talk.say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nill");
    });
    let (first, last) = ("fallback: { to: stand-in, on: [503] }", "timeouts: { total: 500ms }, breaker: { failures: 1, open: 1m }");
    let own = gateway(&slow.address.to_string(), first, &format!("{}, {last}", of(refusing())));
    let mut client = own.client();
    client.get("/").problem(502, "bad-gateway");
    assert_eq!(client.get("/").text(), "ill");
}

#[test]
fn settings_that_cannot_be_are_told_with_their_place_and_their_fix() {
    for (settings, place, fix) in [
        ("fallback: {}", "fallback: one stands in", "`to: <service>` or `reply:`"),
        ("fallback: { to: b, reply: {} }", "fallback: one stands in", "`to: <service>` or `reply:`"),
        ("fallback: { to: stand-on }", "fallback.to: there is no service `stand-on`", "did you mean `stand-in`?"),
        ("fallback: { to: stand-in }", "fallback.to: `stand-in` is a mock", "`reply:`"),
        ("fallback: { to: up }", "fallback.to: the service would stand in for itself", "does not fall back to this one"),
        ("fallback: { to: [a] }", "fallback.to: ", "string"),
        ("fallback: { reply: { status: 99 } }", "fallback.reply.status: ", "200 to 599"),
        ("fallback: { reply: a }", "fallback.reply: ", "mapping"),
        ("fallback: { replay: {} }", "fallback.replay: unknown key", "did you mean `reply`?"),
        ("fallback: { reply: {}, on: [200] }", "fallback.on[0]: ", "400 to 599"),
        ("fallback: { reply: {}, on: [] }", "fallback.on: there is no failure and no breaker", "set `breaker`"),
        ("fallback: { reply: {}, on: all }", "fallback.on: ", "list"),
    ] {
        let services = format!("up: {{ targets: [\"http://127.0.0.1:9\"], {settings} }}, stand-in: {{ {MOCK} }}");
        let (content, said) = check(&format!("services: {{ {services} }}\n"));
        assert!(!content && said.contains(&format!("services.up.{place}")) && said.contains(fix), "{settings}:\n{said}");
    }
    let target = "targets: [\"http://127.0.0.1:9\"]";
    let ring = ["a", "b", "c"].map(|name| format!("{name}: {{ {target}, fallback: {{ to: {} }} }}", if name == "a" { "b" } else { "a" }));
    let (content, said) = check(&format!("services: {{ {} }}\n", ring.join(", ")));
    assert!(!content && said.matches("stand in for itself").count() == 2, "{said}");
    let (content, said) = check(&format!("services: {{ up: {{ {MOCK}, fallback: {{ reply: {{}} }} }} }}\n"));
    assert!(!content && said.contains("services.up.fallback: a mock has no targets"), "{said}");
    for fine in ["breaker: {}, fallback: { reply: {}, on: [] }", "fallback: { reply: {} }, retry: { attempts: 1, methods: any }"] {
        let (content, said) = check(&format!("services: {{ up: {{ targets: [\"http://127.0.0.1:9\"], {fine} }} }}\n"));
        assert!(content, "{fine}: {said}");
    }
}
