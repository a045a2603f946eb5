//! What is shown at once, what is waited for, and for how long.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use crate::support::speaker::{DATA, END_HEADERS, HEADERS, Speaker, block};
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

/// Another moment of a script.
fn moment(time: u64) {
    std::thread::park_timeout(Duration::from_millis(time));
}

fn slow(direction: &str) -> String {
    format!("tidegate_slow_clients_total{{direction=\"{direction}\"}}")
}

#[test]
fn a_body_that_drips_is_answered_with_408_though_it_never_stops() {
    let origin = RawOrigin::start(|mut talk| talk.until_closed());
    let gateway = gateway("body: 1s", &origin);
    for (path, framing) in [("/a", "Content-Length: 100000"), ("/echo", "Content-Length: 100000"), ("/a", "Transfer-Encoding: chunked")] {
        let mut client = gateway.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
        let mut pieces = 0;
        while client.is_silent_for(Duration::from_millis(50)) {
            pieces += 1;
            let _ = client.try_send(if framing.contains("chunked") { "1\r\nx\r\n" } else { "x" });
        }
        let answer = client.read();
        answer.problem(408, "request-timeout");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(pieces > 5, "it was given its time: {pieces}");
    }
    gateway.await_metric(&slow("upload"), 3.0);
    gateway.await_log("the slow client", |line| line["cause"].as_str().is_some_and(|cause| cause.contains("too slowly")));
}

#[test]
fn a_client_that_pauses_and_then_makes_good_for_it_is_served() {
    let origin = RawOrigin::usual();
    let gateway = gateway("body: 1s", &origin);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n");
    for _ in 0..4 {
        moment(600);
        client.send([b'x'; 250]);
    }
    assert_eq!(client.read().status, 200);
    assert_eq!(gateway.metric(&slow("upload")), 0.0);
}

#[test]
fn a_service_that_takes_the_body_late_is_not_the_clients_fault() {
    const LENGTH: usize = 32 << 20;
    let origin = RawOrigin::start(|mut talk| {
        talk.header();
        moment(1500);
        let mut left = LENGTH;
        while left > 0 {
            let piece = left.min(1 << 20);
            if talk.take(piece).is_none() {
                return;
            }
            left -= piece;
        }
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
    });
    let gateway = gateway("body: 300ms", &origin);
    let mut client = gateway.client();
    client.send(format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"));
    client.send(vec![b'x'; LENGTH]);
    assert_eq!(client.read().status, 200);
    assert_eq!(gateway.metric(&slow("upload")), 0.0);
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_not_slow() {
    let origin = RawOrigin::start(|mut talk| {
        talk.header();
        moment(1000);
        talk.say("HTTP/1.1 100 Continue\r\n\r\n");
        talk.take(5);
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        talk.until_closed();
    });
    let gateway = gateway("body: 300ms", &origin);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("hello");
    assert_eq!(client.read().status, 200);
    // Once asked, it may not wait longer than others.
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.read().problem(408, "request-timeout");
}

#[test]
fn a_service_that_says_nothing_to_a_client_that_waits_for_its_word_is_late() {
    let origin = RawOrigin::start(|mut talk| talk.until_closed());
    let text = format!(
        "services: {{ up: {{ targets: [\"http://{}\"], timeouts: {{ response: 300ms }} }} }}\nroutes: [{{ name: up, to: up }}]\n",
        origin.address
    );
    let gateway = Gateway::start(&text);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    client.read().problem(504, "gateway-timeout");
    let mut speaker = Speaker::connect(gateway.address);
    let head = block("POST", "/a", &[("expect", "100-continue")]);
    assert!(speaker.say(HEADERS, END_HEADERS, 1, &head));
    let body = speaker.hear_of(DATA, 1).unwrap().payload;
    assert!(String::from_utf8(body).unwrap().contains("gateway-timeout"));
}

/// A client whose system holds next to nothing of what it does not read.
fn narrow(gateway: &Gateway) -> std::net::TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&gateway.address.into()).unwrap();
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Write::write_all(&mut stream, b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    stream
}

#[test]
fn a_client_that_takes_its_answer_too_slowly_is_cut_off_though_it_never_stops() {
    // The system holds megabytes of an answer, and says that some were taken once they are many: who is not to seem slow takes them faster.
    for (rate, pace, is_cut) in [("1MiB", 400, true), ("240", 4_000, false), ("0", 4_000, false)] {
        let (endless, told) = RawOrigin::endless();
        let gateway = Gateway::start(&format!(
            "server:\n  timeouts: {{ write: 2s }}\n  limits: {{ slowest_download: {rate} }}
services: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
            endless.address
        ));
        let mut stream = narrow(&gateway);
        let mut piece = [0; 4000];
        let (begun, mut taken) = (std::time::Instant::now(), 0);
        let gone = loop {
            // Where it has come too late to its turn it takes what it would have had.
            while taken > begun.elapsed().as_millis() * pace {
                moment(5);
            }
            match std::io::Read::read(&mut stream, &mut piece) {
                Ok(more @ 1..) if told.try_recv().is_err() => taken += more as u128,
                _ => break true,
            }
            if begun.elapsed() > if is_cut { PATIENCE } else { Duration::from_secs(5) } {
                break false;
            }
        };
        assert_eq!(gone, is_cut, "{rate}");
        gateway.await_metric(&slow("download"), f64::from(u8::from(is_cut)));
    }
}

#[test]
fn a_stream_of_events_may_be_as_slow_as_it_likes() {
    let origin = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..4 {
            talk.say("6\r\ndata:\n\r\n");
            moment(500);
        }
        talk.say("0\r\n\r\n");
    });
    let gateway = gateway("write: 300ms, body: 300ms", &origin);
    let mut client = gateway.client();
    assert_eq!(client.get("/a").text(), "data:\n".repeat(4));
    assert_eq!(gateway.metric(&slow("download")), 0.0);
}

#[test]
fn the_time_of_the_service_begins_when_it_has_the_whole_request() {
    let origins = [(); 2].map(|()| {
        RawOrigin::start(|mut talk| {
            while let Some(request) = talk.request() {
                if request.starts_with(b"POST /silent") {
                    return talk.until_closed();
                }
                talk.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                // Each piece begins it anew.
                for _ in 0..4 {
                    moment(200);
                    talk.say("4\r\nhere\r\n");
                }
                if request.starts_with(b"POST /stalls") {
                    return talk.until_closed();
                }
                talk.say("0\r\n\r\n");
            }
        })
    });
    let gateway = Gateway::start(&format!(
        "server:\n  timeouts: {{ body: 10s }}
services: {{ up: {{ targets: [\"http://{}\", \"http://{}\"], timeouts: {{ response: 400ms }}, retry: {{ attempts: 2, on: [timeout], budget: 100% }} }} }}
routes: [{{ name: up, to: up }}]\n",
        origins[0].address, origins[1].address
    ));
    // A client may pause for longer than the service may take.
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
        moment(900);
        client.send("again");
        assert_eq!(client.read().text(), "here".repeat(4));
    }
    assert_eq!(gateway.metric("tidegate_retries_total{reason=\"timeout\",service=\"up\"}"), 0.0);

    // A service that says nothing after that is late, and held to be so.
    client.send("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    client.send("again");
    assert_eq!(client.read().status, 200);
    client.send("POST /silent HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nIdempotency-Key: a\r\n\r\nhello");
    moment(900);
    client.send("again");
    let problem = client.read().problem(504, "gateway-timeout");
    assert_eq!((&problem["step"], &problem["attempts"]), (&"waiting".into(), &2.into()), "{problem}");
    assert_eq!(gateway.metric("tidegate_retries_total{reason=\"timeout\",service=\"up\"}"), 1.0);
    assert_eq!(client.get("/a").status, 200, "the connection goes on");

    // One that stops within its answer is cut off.
    client.send("POST /stalls HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    moment(100);
    client.send("again");
    assert_eq!(client.head().status, 200);
    assert!(!client.rest().1.ends_with(b"0\r\n\r\n"));
}
