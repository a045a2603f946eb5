//! Identical calls inside one composed answer: made once, and each part goes by its own bounds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::support::{Answer, Gateway, Origin, PATIENCE, RawOrigin};

fn gateway(address: std::net::SocketAddr, compose: &str) -> Gateway {
    Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{address}\"], deadline_header: X-Left, timeouts: {{ total: 1m }} }}, other: {{ targets: [\"http://{address}\"] }} }}\nroutes: [{{ name: whole, match: {{ path: \"/whole/{{id}}\" }}, compose: {{ {compose} }} }}]\n"
    ))
}

/// A service that tells of each request, and answers it with 20 bytes of JSON once it is told to.
fn waiting() -> (RawOrigin, Receiver<&'static str>, Sender<()>) {
    let ((told, events), (go, waits)) = (channel(), channel::<()>());
    let (told, waits) = (Mutex::new(told), Mutex::new(waits));
    let origin = RawOrigin::start(move |mut talk| {
        while talk.request().is_some() {
            let _ = told.lock().unwrap().send("asked");
            if waits.lock().unwrap().recv_timeout(PATIENCE).is_err() {
                return;
            }
            if !talk.try_say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"a\":\"0123456789ab\"}") {
                return;
            }
        }
    });
    (origin, events, go)
}

const ALL: &str = "{\"a\":\"0123456789ab\"}";

#[test]
fn what_several_parts_ask_for_is_asked_for_once() {
    let up = Origin::answering(|seen| Answer::new(format!("{{\"id\":7,\"of\":\"{}\"}}", seen.target)));
    let gateway = gateway(
        up.address,
        r#"parts: {
          a: { get: "up:/users/{id}" }, b: { get: "up:/users/7", shape: { take: of } }, later: { get: "up:/users/{parts.a.body.id}" },
          page: { get: "up:/users/7?page=1" }, lang: { get: "up:/users/7", headers: { Accept-Language: de } },
          made: { post: "up:/users/7" }, elsewhere: { get: "other:/users/7" } }"#,
    );
    let answer = gateway.client().get("/whole/7");
    let user = "{\"id\":7,\"of\":\"/users/7\"}";
    assert_eq!(
        answer.text(),
        format!(
            "{{\"a\":{user},\"b\":\"/users/7\",\"later\":{user},\"page\":{{\"id\":7,\"of\":\"/users/7?page=1\"}},\"lang\":{user},\"made\":{user},\"elsewhere\":{user}}}"
        )
    );
    // a, b and later together; page, lang, made and elsewhere each for itself.
    assert_eq!(up.seen().len(), 5, "{:?}", up.seen());
    for part in ["a", "b", "later", "page", "lang", "made", "elsewhere"] {
        gateway.await_metric(&format!("tidegate_parts_total{{part=\"{part}\",result=\"ok\",route=\"whole\"}}"), 1.0);
    }
    let line = gateway.await_log("the request", |line| line["route"] == "whole");
    assert!(line["parts"].as_array().unwrap().iter().all(|part| part["status"] == 200), "{line}");
    assert_eq!(gateway.client().get("/whole/7").status, 200);
    assert_eq!(up.seen().len(), 10, "the next answer asks anew");
}

#[test]
fn each_part_keeps_its_own_time_and_size_and_none_ends_the_call_of_another() {
    let (up, events, go) = waiting();
    let gateway = gateway(
        up.address,
        "timeout: 19s, parts: { short: { get: \"other:/\", timeout: 300ms }, small: { get: \"other:/\", size: 19B }, a: { get: \"other:/\" }, b: { get: \"other:/\", required: true } }",
    );
    let mut client = gateway.client();
    client.send("GET /whole/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(events.recv_timeout(PATIENCE), Ok("asked"));
    gateway.await_metric("tidegate_parts_running{route=\"whole\"}", 3.0);
    go.send(()).unwrap();
    let answer = client.read();
    assert_eq!(answer.text(), format!("{{\"short\":null,\"small\":null,\"a\":{ALL},\"b\":{ALL}}}"));
    assert_eq!(
        answer.header("tidegate-parts"),
        Some("short;error=http_response_timeout, small;error=http_response_body_size, a;received-status=200, b;received-status=200")
    );
    assert!(events.try_recv().is_err(), "asked once");
    let line = gateway.await_log("the request", |line| line["route"] == "whole");
    // The parts begin one after the other: of their own times the first may be the longest. The whole ends after it.
    let (short, whole) = (line["parts"][0]["duration_ms"].as_f64().unwrap(), line["duration_ms"].as_f64().unwrap());
    assert!(short >= 300.0 && short < whole, "{line}");
}

#[test]
fn a_service_that_was_told_of_less_time_is_asked_again_by_who_has_more() {
    let up = Origin::answering(|seen| Answer::new(seen.header("x-left").unwrap().to_owned()));
    let gateway = gateway(
        up.address,
        "timeout: 19s, parts: { short: { get: \"up:/\", timeout: 2s }, a: { get: \"up:/\" }, b: { get: \"up:/\", timeout: 18s } }",
    );
    let answer = gateway.client().get("/whole/1").json();
    let left = |part: &str| answer[part].as_u64().unwrap();
    assert!((1000..=2000).contains(&left("short")) && (18_001..=19_000).contains(&left("a")), "{answer}");
    assert_eq!(left("b"), left("a"), "{answer}");
    assert_eq!(up.seen().len(), 2);
}

#[test]
fn a_call_that_nobody_waits_for_any_more_ends() {
    let (told, events) = channel();
    let told = Mutex::new(told);
    let up = RawOrigin::start(move |mut talk| {
        talk.request();
        told.lock().unwrap().send("asked").unwrap();
        talk.until_closed();
        told.lock().unwrap().send("left").unwrap();
    });
    let gateway = gateway(up.address, "timeout: 60s, parts: { a: { get: \"up:/\" }, b: { get: \"up:/\" } }");
    let mut client = gateway.client();
    client.send("GET /whole/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(events.recv_timeout(PATIENCE), Ok("asked"));
    drop(client);
    assert_eq!(events.recv_timeout(PATIENCE), Ok("left"));
    gateway.await_metric("tidegate_parts_running{route=\"whole\"}", 0.0);
    let short = Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{}\"], breaker: {{ failures: 1 }} }} }}\nroutes: [{{ name: whole, match: {{ path: /whole }}, compose: {{ timeout: 300ms, parts: {{ a: {{ get: \"up:/\" }}, b: {{ get: \"up:/\" }} }} }} }}]\n",
        up.address
    ));
    let answer = short.client().get("/whole");
    assert_eq!(answer.header("tidegate-parts"), Some("a;error=http_response_timeout, b;error=http_response_timeout"));
    assert_eq!(events.recv_timeout(PATIENCE), Ok("asked"));
    assert_eq!(events.recv_timeout(PATIENCE), Ok("left"));
    let answer = short.client().get("/whole");
    let left_alone = "a;error=destination_unavailable, b;error=destination_unavailable";
    assert_eq!(answer.header("tidegate-parts"), Some(left_alone), "its breaker has learned of it");
}

#[test]
fn a_call_that_failed_is_made_again_for_who_comes_later() {
    let ((told, events), (go, waits)) = (channel(), channel::<()>());
    // Each is locked for itself: what waits in one must not hold up another.
    let (told, waits, is_new) = (Mutex::new(told), Mutex::new(waits), AtomicBool::new(true));
    let up = RawOrigin::start(move |mut talk| {
        while let Some(request) = talk.request() {
            let target = String::from_utf8_lossy(&request).split(' ').nth(1).unwrap().to_owned();
            told.lock().unwrap().send(target.clone()).unwrap();
            if target == "/b" && is_new.swap(false, Ordering::Relaxed) {
                talk.say("what is this\r\n\r\n");
                return;
            }
            if target == "/first" {
                waits.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"x\":\"b\"}");
        }
    });
    let gateway = gateway(
        up.address,
        "timeout: 19s, parts: { b: { get: \"up:/b\" }, first: { post: \"up:/first\" }, later: { get: \"up:/{parts.first.body.x}\" } }",
    );
    let mut client = gateway.client();
    client.send("GET /whole/1 HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut asked = [events.recv_timeout(PATIENCE).unwrap(), events.recv_timeout(PATIENCE).unwrap()];
    asked.sort();
    assert_eq!(asked, ["/b", "/first"]);
    // `b` is over before `later` can ask for the same.
    gateway.await_metric("tidegate_parts_running{route=\"whole\"}", 1.0);
    go.send(()).unwrap();
    assert_eq!(client.read().text(), "{\"b\":null,\"first\":{\"x\":\"b\"},\"later\":{\"x\":\"b\"}}");
    assert_eq!(events.recv_timeout(PATIENCE).unwrap(), "/b");
}
