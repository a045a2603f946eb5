//! How long a request over HTTP/2 may take, what it may have, and how its connection ends: as over HTTP/1.1, and with the same words.

use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

use crate::support::client::H2;
use crate::support::speaker::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RESET, Speaker, WINDOW, block};
use crate::support::{Answer, Gateway, Origin, RawOrigin};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn gateway(server: &str, service: &str, up: std::net::SocketAddr) -> Gateway {
    Gateway::start(&format!(
        "server:\n  workers: 1\n  {server}\nservices: {{ up: {{ targets: [\"http://{up}\"]{service} }} }}\nroutes: [{{ name: up, to: up }}]\n"
    ))
}

/// The answer on a stream, as a problem.
fn problem(speaker: &mut Speaker, stream: u32) -> Value {
    let body = speaker.hear_of(DATA, stream).expect("an answer");
    serde_json::from_slice(&body.payload).unwrap_or_else(|error| panic!("{error}: {body:?}"))
}

/// Drips its header, or its body.
fn dripping() -> RawOrigin {
    RawOrigin::start(|mut talk| {
        let body = talk.request().unwrap().starts_with(b"GET /body");
        talk.say(if body { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { "HTTP/1.1 200 OK\r\nX: " });
        let (_held, never) = mpsc::channel::<()>();
        while talk.try_say(if body { "1\r\nx\r\n" } else { "x" }) {
            let _ = never.recv_timeout(Duration::from_millis(20));
        }
    })
}

#[test]
fn an_answer_that_drips_does_not_outlast_the_whole_time() {
    let up = dripping();
    let gateway = gateway("", ", timeouts: { total: 400ms }", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    assert!(speaker.get(1, "/header"));
    assert_eq!(problem(&mut speaker, 1)["type"], "urn:tidegate:problem:gateway-timeout");
    assert!(speaker.get(3, "/body"));
    assert_eq!(speaker.hear_of(RESET, 3).unwrap().code(), 2, "what was cut off must not look whole");
    gateway.await_log("the answer that was cut", |line| line["path"] == "/body" && line["status"] == 200 && line["cause"].is_string());
}

#[test]
fn a_body_that_stops_coming_is_answered_with_408() {
    let up = RawOrigin::start(|mut talk| talk.until_closed());
    let gateway = gateway("timeouts: { body: 300ms }", "", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    assert!(speaker.post(1, "/a") && speaker.say(DATA, 0, 1, b"hello"));
    assert_eq!(problem(&mut speaker, 1)["type"], "urn:tidegate:problem:request-timeout");
    gateway.await_log("the request", |line| line["status"] == 408 && line["problem"] == "request-timeout");
    assert_eq!(gateway.metric("tidegate_slow_clients_total{direction=\"upload\"}"), 1.0);
}

#[test]
fn a_client_that_grants_no_room_is_given_up_and_costs_little() {
    let up = Origin::answering(|_| crate::support::Answer::new("x".repeat(4 << 20)));
    let gateway = gateway("timeouts: { write: 500ms }", "", up.address);
    let before = gateway.memory();
    // No room at all, or a byte now and then, or all that the connection has and not read.
    let mut stalled = Speaker::greeting(gateway.address, &[0, 4, 0, 0, 0, 0]);
    let mut sipping = Speaker::greeting(gateway.address, &[0, 4, 0, 0, 0, 0]);
    for n in 0..50 {
        assert!(stalled.get(2 * n + 1, "/a"));
    }
    assert!(sipping.get(1, "/a"));
    let mut sips = sipping.other();
    let (stop, stopped) = mpsc::channel::<()>();
    let sipper = std::thread::spawn(move || {
        while stopped.recv_timeout(Duration::from_millis(50)).is_err_and(|error| error == mpsc::RecvTimeoutError::Timeout) {
            sips.say(WINDOW, 0, 1, &[0, 0, 0, 1]);
        }
    });
    assert_eq!(sipping.hear_of(RESET, 1).unwrap().code(), 2);
    drop(stop);
    sipper.join().unwrap();
    let mut resets = 0;
    while resets < 50 {
        resets += usize::from(stalled.hear().unwrap().kind == RESET);
    }
    assert_eq!(gateway.metric("tidegate_slow_clients_total{direction=\"download\"}"), 51.0);
    let grown = gateway.peak_memory().saturating_sub(before);
    assert!(grown < 60 * 1024, "{grown} KiB");
}

#[test]
fn a_request_that_is_cut_off_at_the_end_of_the_process_is_written_down() {
    let up = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        talk.until_closed();
    });
    let mut gateway = gateway("timeouts: { drain: 300ms }", "", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    assert!(speaker.get(1, "/a"));
    assert_eq!(speaker.hear_of(DATA, 1).unwrap().payload, b"first");
    let mut client = gateway.client();
    client.send("GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.bytes(5), b"first");
    gateway.terminate();
    gateway.await_said("cut off");
    gateway.ended();
    for path in ["/a", "/b"] {
        let line = gateway.await_log("the request", |line| line["path"] == path);
        assert_eq!((&line["status"], &line["sent"]), (&Value::from(200), &Value::from(5)), "{line}");
        assert_eq!(line["cause"], "the request was cut off when the process ended", "{line}");
    }
}

#[test]
fn what_is_refused_is_refused_by_the_one_door() {
    let up = Origin::start();
    let gateway = gateway("limits: { header: 2KiB }", "", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    let large = "x".repeat(3000);
    let field = |name, value| block("GET", "/a", &[(name, value)]);
    // CONNECT has no scheme and no path (RFC 9113 §8.5).
    let connect = [&[0x02, 7][..], b"CONNECT", &[0x01, 8], b"a.test:1"].concat();
    // One without any host.
    let homeless = [0x82, 0x86, 0x84].to_vec();
    for (n, (block, status, kind)) in [
        (field("host", "b.test"), 400, "bad-request"),
        (homeless, 400, "bad-request"),
        (connect, 501, "not-implemented"),
        (field("x-large", large.as_str()), 431, "header-too-large"),
    ]
    .into_iter()
    .enumerate()
    {
        let stream = 2 * u32::try_from(n).unwrap() + 1;
        assert!(speaker.say(HEADERS, END_STREAM | END_HEADERS, stream, &block));
        let problem = problem(&mut speaker, stream);
        assert_eq!(problem["status"], status, "{problem}");
        gateway.await_log(kind, |line| line["request_id"] == problem["request_id"] && line["problem"] == kind && line["status"] == status);
    }
    assert!(up.seen().is_empty());
}

#[test]
fn pieces_of_a_cookie_are_one_for_the_service() {
    let up = Origin::start();
    let gateway = gateway("", "", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    assert!(speaker.say(HEADERS, END_STREAM | END_HEADERS, 1, &block("GET", "/a", &[("cookie", "a=1"), ("cookie", "b=2")])));
    assert_eq!(speaker.hear_of(DATA, 1).unwrap().payload, b"here");
    assert_eq!(up.only().header("cookie"), Some("a=1; b=2"));
}

#[test]
fn the_last_request_of_a_connection_is_told_to_be_the_last() {
    let up = Origin::start();
    let gateway = gateway("limits: { requests: 3 }", "", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    for stream in [1, 3] {
        assert!(speaker.get(stream, "/a"));
        assert_eq!(speaker.hear_of(DATA, stream).unwrap().payload, b"here", "{stream}");
    }
    assert!(speaker.get(5, "/a"));
    let ping = speaker.hear_of(PING, 0).expect("a PING after the first GOAWAY");
    assert!(speaker.say(PING, 1, 0, &ping.payload));
    let heard = speaker.until_closed();
    let word = heard.iter().rfind(|heard| heard.kind == GOAWAY).unwrap_or_else(|| panic!("{heard:?}"));
    assert_eq!((word.code(), &word.payload[..4]), (0, &5_u32.to_be_bytes()[..]));
    assert!(heard.iter().any(|heard| heard.stream == 5 && heard.kind == DATA && heard.payload == b"here"), "{heard:?}");
    gateway.await_metric("tidegate_connections_ended_total{bound=\"requests\"}", 1.0);
}

/// The gateway says goodbye, asks whether it was heard, and names the last request that it has served.
fn goodbye(speaker: &mut Speaker, last: u32) {
    let ping = speaker.hear_of(PING, 0).expect("a PING after the first GOAWAY");
    assert!(speaker.say(PING, 1, 0, &ping.payload));
    let word = speaker.hear_of(GOAWAY, 0).expect("the last GOAWAY");
    assert_eq!((word.code(), &word.payload[..4]), (0, &last.to_be_bytes()[..]));
    assert!(speaker.until_closed().is_empty());
}

#[test]
fn an_idle_connection_is_told_goodbye() {
    let up = Origin::start();
    let gateway = gateway("timeouts: { idle: 300ms }", "", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    assert!(speaker.get(1, "/a"));
    assert_eq!(speaker.hear_of(DATA, 1).unwrap().payload, b"here");
    goodbye(&mut speaker, 1);
    gateway.await_metric("tidegate_connections_ended_total{bound=\"idle\"}", 1.0);
}

#[test]
fn a_gateway_that_ends_finishes_what_was_asked_before_and_closes() {
    let (go_on, wait) = mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let up = RawOrigin::start(move |mut talk| {
        talk.request();
        let _ = wait.lock().unwrap().recv();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
    });
    let mut gateway = gateway("timeouts: { farewell: 30s }", "", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    assert!(speaker.get(1, "/a"));
    speaker.hear_of(4, 0).unwrap();
    gateway.terminate();
    gateway.await_said("ending");
    let ping = speaker.hear_of(PING, 0).unwrap();
    // It was on its way already.
    assert!(speaker.get(3, "/b") && speaker.say(PING, 1, 0, &ping.payload));
    let word = speaker.hear_of(GOAWAY, 0).unwrap();
    assert_eq!(word.payload[..4], 3_u32.to_be_bytes());
    go_on.send(()).unwrap();
    go_on.send(()).unwrap();
    let heard = speaker.until_closed();
    assert_eq!(heard.iter().filter(|heard| heard.kind == DATA && heard.payload == b"here").count(), 2, "{heard:?}");
    assert!(gateway.ended().success());
}

#[test]
fn answers_that_wait_for_their_client_are_not_cut_off_when_the_gateway_ends() {
    const SIZE: usize = 60_000;
    let up = Origin::answering(|_| Answer::new("x".repeat(SIZE)));
    let mut gateway = gateway("timeouts: { farewell: 200ms, idle: 200ms }", "", up.address);
    let mut speaker = Speaker::narrow(gateway.address);
    let streams = (0..16).map(|number| 2 * number + 1);
    assert!(streams.clone().all(|stream| speaker.get(stream, "/a")));
    // All of them are made, and wait for a client that reads none.
    gateway.await_metric("tidegate_requests_total{route=\"up\",status=\"200\"}", 16.0);
    gateway.terminate();
    gateway.await_said("ending");
    // Longer than a connection that rests is kept, and than a next request is waited for.
    std::thread::park_timeout(Duration::from_secs(1));
    let mut sent = 0;
    while let Some(heard) = speaker.hear() {
        match heard.kind {
            DATA => sent += heard.payload.len(),
            PING if heard.flags == 0 => assert!(speaker.say(PING, 1, 0, &heard.payload)),
            _ => {}
        }
    }
    assert_eq!(sent, streams.len() * SIZE);
    assert!(gateway.ended().success());
}

#[test]
fn who_agrees_upon_http2_alone_and_speaks_something_else_is_told_so() {
    let up = Origin::start();
    let gateway = Gateway::start(&format!(
        "server:\n  listeners: [{{ address: \"127.0.0.1:0\", protocols: [http2] }}, {{ address: \"127.0.0.1:0\", protocols: [http1] }}]\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
        up.address
    ));
    let addresses = gateway.addresses();
    let mut speaker = Speaker::silent(addresses[0]);
    assert!(speaker.say_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    let heard = speaker.until_closed();
    assert_eq!(heard.iter().map(|heard| heard.kind).collect::<Vec<_>>(), [4, GOAWAY]);
    assert_eq!(heard[1].code(), 1, "PROTOCOL_ERROR");
    block_on(async { assert_eq!(H2::connect(addresses[0]).await.get("/a").await.0.status.as_u16(), 200) });

    let mut client = crate::support::Client::connect(addresses[1]);
    assert_eq!(client.get("/a").status, 200);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.read().problem(400, "bad-request");
}

#[test]
fn what_comes_before_the_answer_comes_through() {
    let up = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        talk.until_closed();
    });
    let gateway = gateway("", "", up.address);
    let mut speaker = Speaker::connect(gateway.address);
    assert!(speaker.get(1, "/a"));
    let hints = speaker.hear_of(HEADERS, 1).unwrap();
    assert_eq!(hints.flags & END_STREAM, 0);
    speaker.hear_of(HEADERS, 1).unwrap();
    assert_eq!(speaker.hear_of(DATA, 1).unwrap().payload, b"here");
}
