//! What a request may have at most and how long it may take: each bound is told, counted and logged.

use crate::support::{Answer, Client, End, Gateway, Origin, Response};

fn gateway(origin: &Origin) -> Gateway {
    Gateway::start(&format!(
        r#"
server:
  limits: {{ header: 4KiB, header_fields: 20, target: 1KiB, body: 64KiB }}
  timeouts: {{ header: 300ms, idle: 1s }}
services:
  up: {{ targets: ["http://{}"] }}
routes:
  - {{ name: up, match: {{ path: "/{{rest...}}" }}, to: up }}
"#,
        origin.address
    ))
}

/// The answer is a problem, it is counted, and it is in the log with its client.
fn told(gateway: &Gateway, answer: &Response, status: u16, kind: &str) {
    let problem = answer.problem(status, kind);
    gateway.await_metric(&format!("tidegate_problems_total{{kind=\"{kind}\",policy=\"\"}}"), 1.0);
    let line = gateway.await_log(kind, |line| line["problem"] == kind);
    assert_eq!(line["status"], status, "{line}");
    assert_eq!(line["request_id"], problem["request_id"], "{line}");
    assert_eq!(line["client"], "127.0.0.1", "{line}");
    let route = line["route"].as_str().unwrap();
    assert_eq!(gateway.metric(&format!("tidegate_requests_total{{route=\"{route}\",status=\"{status}\"}}")), 1.0);
}

fn refused(request: impl AsRef<[u8]>, status: u16, kind: &str) -> (Gateway, Origin, Client) {
    let origin = Origin::start();
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    client.send(request);
    let answer = client.read();
    told(&gateway, &answer, status, kind);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(origin.seen().is_empty());
    (gateway, origin, client)
}

#[test]
fn a_header_of_too_many_bytes_is_answered_with_431() {
    let (.., mut client) = refused(format!("GET /a HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(8000)), 431, "header-too-large");
    assert_eq!(client.ends(), End::Closed);
}

#[test]
fn a_header_that_never_ends_is_answered_with_431_before_it_does() {
    let (.., mut client) = refused(format!("GET /a HTTP/1.1\r\nHost: a\r\nX-Large: {}", "x".repeat(8000)), 431, "header-too-large");
    client.finish();
    assert_eq!(client.ends(), End::Closed);
}

#[test]
fn a_header_of_too_many_fields_is_answered_with_431() {
    refused(format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(20)), 431, "header-too-large");
}

#[test]
fn a_header_of_more_fields_than_any_parser_here_takes_is_answered_with_431() {
    refused(format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(300)), 431, "header-too-large");
}

#[test]
fn a_header_at_its_bounds_passes() {
    let origin = Origin::start();
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    let target = format!("/{}", "x".repeat(1023));
    let start = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{}X-Large: ", "X: y\r\n".repeat(18));
    client.send(format!("{start}{}\r\n\r\n", "x".repeat(4096 - start.len() - 4)));
    assert_eq!(client.read().status, 200);
    assert_eq!(origin.only().target, target);
}

#[test]
fn a_target_that_is_too_long_is_answered_with_414() {
    refused(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(1024)), 414, "uri-too-long");
}

#[test]
fn a_target_that_never_ends_is_answered_with_414() {
    refused(format!("GET /{}", "x".repeat(8000)), 414, "uri-too-long");
}

#[test]
fn a_header_that_comes_too_slowly_is_answered_with_408() {
    refused("GET /a HTTP/1.1\r\nHost: a\r\nX-Slow: ", 408, "request-timeout");
}

#[test]
fn a_second_header_that_comes_too_slowly_is_answered_with_408_too() {
    let origin = Origin::start();
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    assert_eq!(client.get("/a").status, 200);
    client.send("GET /b HTT");
    told(&gateway, &client.read(), 408, "request-timeout");
    client.finish();
    assert_eq!(client.ends(), End::Closed);
}

#[test]
fn a_malformed_header_is_answered_with_400() {
    for request in ["GET /a HTTP/1.1\nHost: a\n\n", "GET /a HTTP/1.1\r\nHost : a\r\n\r\n", "GET /a HTTP/1.1\r\n\r\n", "\0\x01\x02\r\n\r\n"]
    {
        refused(request, 400, "bad-request");
    }
}

#[test]
fn a_version_that_is_not_spoken_is_answered_with_505() {
    refused("GET /a HTTP/4.2\r\nHost: a\r\n\r\n", 505, "version-not-supported");
}

#[test]
fn a_body_said_to_be_too_large_is_answered_with_413_before_it_comes() {
    let origin = Origin::start();
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n");
    let answer = client.read();
    told(&gateway, &answer, 413, "content-too-large");
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(origin.seen().is_empty());
}

#[test]
fn a_chunked_body_that_grows_too_large_is_answered_with_413() {
    let origin = Origin::start();
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat();
    // 64 KiB are within the bound, the next piece is not; the body never ends.
    for _ in 0..5 {
        client.send(&chunk);
    }
    told(&gateway, &client.read(), 413, "content-too-large");
}

#[test]
fn a_body_at_its_bound_passes() {
    let origin = Origin::answering(|seen| Answer::new(seen.body.len().to_string()));
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    client.send([b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n".to_vec(), vec![b'x'; 65536]].concat());
    assert_eq!(client.read().text(), "65536");
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send([b"10000\r\n".to_vec(), vec![b'x'; 65536], b"\r\n0\r\n\r\n".to_vec()].concat());
    assert_eq!(client.read().text(), "65536");
}

#[test]
fn a_body_that_stops_coming_is_answered_with_408() {
    let origin = Origin::start();
    let gateway = Gateway::start(&format!(
        "server:\n  timeouts: {{ body: 300ms }}\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]",
        origin.address
    ));
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello");
    let answer = client.read();
    told(&gateway, &answer, 408, "request-timeout");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.ends(), End::Closed);
}

#[test]
fn a_connection_that_says_nothing_is_closed_without_a_word() {
    let origin = Origin::start();
    let gateway = gateway(&origin);
    let mut fresh = gateway.client();
    let mut used = gateway.client();
    assert_eq!(used.get("/a").status, 200);
    assert_eq!(fresh.ends(), End::Closed);
    assert_eq!(used.ends(), End::Closed);
    gateway.await_metric("tidegate_connections_ended_total{bound=\"idle\"}", 2.0);
    assert_eq!(gateway.metric("tidegate_problems_total{kind=\"request-timeout\",policy=\"\"}"), 0.0);
}
