//! One connection, many requests: what ends it and what must not.

use std::net::TcpListener;

use crate::support::{Answer, Client, End, Gateway, Origin, RawOrigin};

/// A gateway with a route for each way a request can end.
pub fn gateway(up: &str, reset: &str, slow: &str) -> Gateway {
    // A port that was free a moment ago refuses.
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Gateway::start(&format!(
        r#"
consumers: [{{ name: app, api_keys: ["sha256:c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c"] }}]
services:
  up: {{ targets: ["http://{up}"] }}
  refused: {{ targets: ["http://{refused}"] }}
  reset: {{ targets: ["http://{reset}"] }}
  slow: {{ targets: ["http://{slow}"], timeouts: {{ response: 200ms }} }}
  late: {{ targets: ["http://{slow}"], timeouts: {{ total: 200ms }} }}
  echo: {{ mock: {{ echo: true }} }}
routes:
  - {{ name: up, match: {{ path: "/up/{{rest...}}" }}, to: up }}
  - {{ name: refused, match: {{ path: /refused }}, to: refused }}
  - {{ name: reset, match: {{ path: /reset }}, to: reset }}
  - {{ name: slow, match: {{ path: /slow }}, to: slow }}
  - {{ name: late, match: {{ path: /late }}, to: late }}
  - {{ name: echo, match: {{ path: "/echo/{{rest...}}" }}, to: echo }}
  - {{ name: empty, match: {{ path: /empty }}, reply: {{ status: 204 }} }}
  - {{ name: get, match: {{ path: /get, methods: [GET] }}, to: echo }}
  - {{ name: closed, match: {{ path: /closed }}, policies: [api_key], to: echo }}
  - {{ name: limited, match: {{ path: /limited }}, policies: [rate_limit: {{ requests: 1, per: 1h }}], to: echo }}
"#
    ))
}

pub fn with(up: &Origin) -> Gateway {
    let address = up.address.to_string();
    gateway(&address, &address, &address)
}

pub fn telling_the_target() -> Origin {
    Origin::answering(|seen| Answer::new(format!("{} {} {}", seen.method, seen.target, String::from_utf8_lossy(&seen.body))))
}

fn goes_on(client: &mut Client) {
    let answer = client.get("/up/next");
    assert_eq!((answer.status, answer.text().as_str()), (200, "GET /up/next "), "the next request on the connection: {answer:?}");
}

#[test]
fn a_request_that_comes_byte_by_byte_is_one_request() {
    let up = telling_the_target();
    let gateway = with(&up);
    let mut client = gateway.client();
    for byte in b"POST /up/a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello" {
        client.send([*byte]);
    }
    assert_eq!(client.read().text(), "POST /up/a hello");
    for byte in b"POST /up/b HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\n\r\n" {
        client.send([*byte]);
    }
    assert_eq!(client.read().text(), "POST /up/b hello");
    goes_on(&mut client);
    assert_eq!(up.seen().len(), 3);
}

#[test]
fn pipelined_requests_in_one_segment_are_answered_in_their_order() {
    let up = telling_the_target();
    let gateway = with(&up);
    for kind in ["/up", "/echo"] {
        let mut client = gateway.client();
        let requests: String = (0..5).map(|n| format!("GET {kind}/{n} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")).collect();
        client.send(requests);
        for n in 0..5 {
            let answer = client.read();
            assert_eq!(answer.status, 200);
            assert!(answer.text().contains(&format!("{kind}/{n}")), "answer {n}: {}", answer.text());
        }
        goes_on(&mut client);
    }
}

#[test]
fn pipelined_requests_that_are_refused_are_answered_in_their_order_too() {
    let up = telling_the_target();
    let gateway = with(&up);
    let mut client = gateway.client();
    let paths = ["/closed", "/nowhere", "/refused", "/up/a", "/empty", "/closed"];
    client.send(paths.map(|path| format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n")).concat());
    let statuses: Vec<_> = paths.iter().map(|_| client.read().status).collect();
    assert_eq!(statuses, [401, 404, 502, 200, 204, 401]);
    goes_on(&mut client);
}

#[test]
fn a_body_and_the_next_request_in_one_segment_are_told_apart() {
    let up = telling_the_target();
    let gateway = with(&up);
    let next = "GET /up/get HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
    for (framing, body) in
        [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Trailer: a\r\n\r\n")]
    {
        let mut client = gateway.client();
        client.send(format!("POST /up/post HTTP/1.1\r\nHost: gateway.test\r\n{framing}\r\n\r\n{body}{next}"));
        assert_eq!(client.read().text(), "POST /up/post hello", "{framing}");
        assert_eq!(client.read().text(), "GET /up/get ", "{framing}");
        client.send(format!("POST /echo/post HTTP/1.1\r\nHost: gateway.test\r\n{framing}\r\n\r\n{body}{next}"));
        assert_eq!(client.read().json()["body"], "hello", "{framing}");
        assert_eq!(client.read().text(), "GET /up/get ", "{framing}");
    }
    assert_eq!(up.seen().len(), 6);
}

#[test]
fn what_the_gateway_refuses_leaves_the_client_its_connection() {
    let up = telling_the_target();
    let reset = RawOrigin::start(|mut talk| {
        talk.request();
        talk.reset();
    });
    let silent = RawOrigin::start(|mut talk| talk.until_closed());
    let gateway = gateway(&up.address.to_string(), &reset.address.to_string(), &silent.address.to_string());
    let mut client = gateway.client();
    for (path, status, kind) in [
        ("/closed", 401, "unauthorized"),
        ("/nowhere", 404, "not-found"),
        ("/refused", 502, "bad-gateway"),
        ("/reset", 502, "bad-gateway"),
        ("/slow", 504, "gateway-timeout"),
        ("/late", 504, "gateway-timeout"),
    ] {
        let answer = client.get(path);
        answer.problem(status, kind);
        assert_ne!(answer.header("connection"), Some("close"), "{path}");
        goes_on(&mut client);
    }
    client.send("DELETE /get HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    client.read().problem(405, "method-not-allowed");
    goes_on(&mut client);
    assert_eq!(client.get("/limited").status, 200);
    client.get("/limited").problem(429, "quota-exceeded");
    goes_on(&mut client);
    gateway.await_metric("tidegate_problems_total{kind=\"bad-gateway\",policy=\"\"}", 2.0);
    gateway.await_metric("tidegate_problems_total{kind=\"gateway-timeout\",policy=\"\"}", 2.0);
    gateway.await_metric("tidegate_problems_total{kind=\"unauthorized\",policy=\"api_key\"}", 1.0);
}

#[test]
fn a_post_that_fails_at_its_service_leaves_the_client_its_connection() {
    let up = telling_the_target();
    let reset = RawOrigin::start(|mut talk| {
        talk.request();
        talk.reset();
    });
    let silent = RawOrigin::start(|mut talk| talk.until_closed());
    let gateway = gateway(&up.address.to_string(), &reset.address.to_string(), &silent.address.to_string());
    for (path, status) in [("/refused", 502), ("/reset", 502), ("/slow", 504)] {
        for (framing, body) in [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")] {
            let mut client = gateway.client();
            client.send(format!("POST {path} HTTP/1.1\r\nHost: gateway.test\r\n{framing}\r\n\r\n{body}"));
            let answer = client.read();
            assert_eq!(answer.status, status, "{path} {framing}");
            assert_ne!(answer.header("connection"), Some("close"), "{path} {framing}");
            goes_on(&mut client);
        }
    }
}

#[test]
fn a_small_body_that_is_refused_is_read_away() {
    let up = telling_the_target();
    let gateway = with(&up);
    for (framing, body) in [("Content-Length: 5", "hello"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n")] {
        let mut client = gateway.client();
        client.send(format!("POST /closed HTTP/1.1\r\nHost: gateway.test\r\n{framing}\r\n\r\n{body}"));
        let answer = client.read();
        answer.problem(401, "unauthorized");
        assert_ne!(answer.header("connection"), Some("close"));
        goes_on(&mut client);
        // The body may come after the answer to it as well.
        client.send(format!("POST /closed HTTP/1.1\r\nHost: gateway.test\r\n{framing}\r\n\r\n"));
        client.read().problem(401, "unauthorized");
        client.send(body);
        goes_on(&mut client);
    }
}

#[test]
fn a_large_body_that_is_refused_costs_the_connection_but_not_the_answer() {
    let up = telling_the_target();
    let gateway = with(&up);
    const LARGE: usize = 1024 * 1024;
    let mut client = gateway.client();
    client.send(format!("POST /closed HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {LARGE}\r\n\r\n"));
    // As simple clients do: all is sent before anything is read.
    client.send(vec![b'x'; LARGE]);
    let answer = client.read();
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.ends(), End::Closed);

    let mut client = gateway.client();
    client.send("POST /closed HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n".to_vec(), vec![b'x'; 65536], b"\r\n".to_vec()].concat();
    for _ in 0..16 {
        client.send(&chunk);
    }
    client.send("0\r\n\r\n");
    client.read().problem(401, "unauthorized");
}

#[test]
fn an_answer_to_head_has_the_header_of_one_to_get_and_no_body() {
    let up = RawOrigin::start(|mut talk| {
        while let Some(request) = talk.request() {
            let body = if request.starts_with(b"HEAD") { "" } else { "hello" };
            talk.say(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}"));
        }
    });
    let address = up.address.to_string();
    let gateway = gateway(&address, &address, &address);
    let mut client = gateway.client();
    for (path, status, length) in [("/up/a", 200, Some("5")), ("/closed", 401, None), ("/nowhere", 404, None), ("/echo/a", 200, None)] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"));
        let answer = client.read_head();
        assert_eq!(answer.status, status, "{path}");
        let told: usize = answer.header("content-length").unwrap().parse().unwrap();
        assert!(length.is_none_or(|length| length == told.to_string()) && told > 0, "{path}: {answer:?}");
        assert_eq!(client.get("/up/next").text(), "hello", "{path}");
    }
}

#[test]
fn an_answer_that_cannot_have_a_body_is_followed_by_the_next() {
    let up = RawOrigin::start(|mut talk| {
        while let Some(request) = talk.request() {
            talk.say(match request.starts_with(b"GET /up/204 ") {
                true => "HTTP/1.1 204 No Content\r\n\r\n",
                false if request.starts_with(b"GET /up/304 ") => "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
                false => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            });
        }
    });
    let address = up.address.to_string();
    let gateway = gateway(&address, &address, &address);
    let mut client = gateway.client();
    for (path, status) in [("/up/204", 204), ("/up/304", 304), ("/empty", 204)] {
        let answer = client.get(path);
        assert_eq!(answer.status, status);
        assert_eq!((answer.header("content-length"), answer.header("transfer-encoding")), (None, None), "{path}");
        assert_eq!(client.get("/up/next").text(), "hello", "after {path}");
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_told_to_go_on() {
    let up = telling_the_target();
    let gateway = with(&up);
    let mut client = gateway.client();
    for kind in ["/up", "/echo"] {
        client.send(format!("POST {kind}/a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"));
        assert_eq!(client.head().status, 100, "{kind}");
        client.send("hello");
        let answer = client.read();
        assert_eq!((answer.status, answer.interim.len()), (200, 0), "{kind}");
        assert!(answer.text().contains("hello"), "{kind}: {}", answer.text());
        goes_on(&mut client);
    }
}

#[test]
fn a_client_that_waits_for_100_continue_is_refused_without_it() {
    let up = telling_the_target();
    let gateway = with(&up);
    let mut client = gateway.client();
    client.send("POST /closed HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.read();
    answer.problem(401, "unauthorized");
    assert_eq!(answer.interim, [0_u16; 0]);
    // Whether the body follows cannot be known, so that the connection cannot go on.
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.ends(), End::Closed);
}

#[test]
fn a_kept_connection_to_a_service_is_used_again() {
    let up = telling_the_target();
    let gateway = with(&up);
    let mut client = gateway.client();
    for _ in 0..20 {
        goes_on(&mut client);
    }
    client.send("POST /up/a HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.read().text(), "POST /up/a hello");
    goes_on(&mut client);
    assert_eq!(up.connections(), 1);
}
