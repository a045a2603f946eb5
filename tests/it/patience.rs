//! What is shown at once, what is waited for, and for how long.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::support::{End, Gateway, PATIENCE, RawOrigin};

fn gateway(timeouts: &str, origin: &RawOrigin) -> Gateway {
    Gateway::start(&format!(
        r#"
server:
  timeouts: {{ {timeouts} }}
services:
  up: {{ targets: ["http://{}"] }}
  echo: {{ mock: {{ echo: true }} }}
routes:
  - {{ name: echo, match: {{ path: /echo }}, to: echo }}
  - {{ name: up, match: {{ path: "/{{rest...}}" }}, to: up }}
"#,
        origin.address
    ))
}

#[test]
fn the_header_of_an_answer_is_shown_while_its_body_is_still_to_come() {
    let (go_on, wait) = mpsc::channel();
    let wait = Mutex::new(wait);
    let slow = RawOrigin::start(move |mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        let _ = wait.lock().unwrap().recv();
        talk.say("after");
    });
    let gateway = gateway("idle: 60s", &slow);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.bytes(5), b"first");
    go_on.send(()).unwrap();
    assert_eq!(client.bytes(5), b"after");
}

#[test]
fn an_answer_that_breaks_off_is_shown_as_far_as_it_came() {
    let dying = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
    });
    let gateway = gateway("idle: 60s", &dying);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.rest().1, b"first");
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let (endless, told) = RawOrigin::endless();
    let gateway = gateway("write: 300ms", &endless);
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    told.recv_timeout(PATIENCE).expect("the service is still being read from, for a client that takes nothing");
}

#[test]
fn a_read_that_just_filled_its_buffer_starts_no_clock_for_a_next_header() {
    let origin = RawOrigin::usual();
    let gateway = gateway("header: 100ms, idle: 60s", &origin);
    let mut client = gateway.client();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    client.send("hello");
    assert_eq!(client.read().status, 200);
    let padding = "x".repeat(4096 - "GET /echo HTTP/1.1\r\nHost: a\r\nX: \r\n\r\n".len());
    client.send(format!("GET /echo HTTP/1.1\r\nHost: a\r\nX: {padding}\r\n\r\n"));
    assert_eq!(client.read().status, 200);
    // Three times the header's time: a clock that ran would have ended the connection.
    assert!(client.is_silent_for(Duration::from_millis(300)));
    assert_eq!(client.get("/echo").status, 200);
    assert!(gateway.log().iter().all(|line| line["status"] == 200));
}

#[test]
fn a_chunk_that_is_malformed_later_is_answered_with_400_and_ends_the_connection() {
    let origin = RawOrigin::start(|mut talk| talk.until_closed());
    let gateway = gateway("idle: 60s", &origin);
    for path in ["/a", "/echo"] {
        let mut client = gateway.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"));
        client.send("zz\r\nGET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.read();
        answer.problem(400, "bad-request");
        assert_eq!(answer.header("connection"), Some("close"), "{path}");
        assert!(client.rest().1.is_empty(), "{path}: what follows a broken body is no request");
    }
}

#[test]
fn a_request_on_its_way_to_a_gateway_that_ends_is_answered_as_the_last() {
    let origin = RawOrigin::usual();
    let mut gateway = gateway("farewell: 30s", &origin);
    let mut clients: Vec<_> = (0..8).map(|_| gateway.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/a").header("connection"), Some("keep-alive"));
    }
    gateway.terminate();
    gateway.await_said("ending");
    for client in &mut clients {
        let answer = client.get("/a");
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(client.ends(), End::Closed);
    }
    assert!(gateway.ended().success());
}

#[test]
fn an_answer_that_drips_does_not_outlast_the_whole_time() {
    let dripping = RawOrigin::start(|mut talk| {
        let body = talk.request().unwrap().starts_with(b"GET /body");
        talk.say(if body { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { "HTTP/1.1 200 OK\r\nX: " });
        let (_held, never) = mpsc::channel::<()>();
        while talk.try_say(if body { "1\r\nx\r\n" } else { "x" }) {
            let _ = never.recv_timeout(Duration::from_millis(20));
        }
    });
    let gateway = Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{}\"], timeouts: {{ total: 400ms }} }} }}\nroutes: [{{ name: up, to: up }}]",
        dripping.address
    ));
    let mut client = gateway.client();
    client.send("GET /header HTTP/1.1\r\nHost: a\r\n\r\n");
    client.read().problem(504, "gateway-timeout");
    let mut client = gateway.client();
    client.send("GET /body HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert!(!client.rest().1.ends_with(b"0\r\n\r\n"), "what was cut off must not look whole");
}
