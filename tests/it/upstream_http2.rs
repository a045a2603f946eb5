//! Services over HTTP/2: by prior knowledge to servers of others' making, and to one that breaks the rules frame by frame.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use http::Version;

use crate::support::client::H2;
use crate::support::frames::Frames;
use crate::support::{Answer, Client, Gateway, Nginx, Origin, PATIENCE, RawOrigin};

fn gateway(target: &str, settings: &str) -> Gateway {
    Gateway::start(&format!(
        "server:\n  workers: 1\nservices: {{ up: {{ targets: [\"{target}\"], protocol: http2{settings} }} }}\nroutes: [{{ name: up, to: up }}]\n"
    ))
}

fn before(origin: &RawOrigin, settings: &str) -> Gateway {
    gateway(&format!("http://{}", origin.address), settings)
}

/// A server that does this with each request, given its number over all connections and its stream.
fn framed(act: impl Fn(&mut Frames, usize, u32) + Send + Sync + 'static) -> RawOrigin {
    let count = AtomicUsize::new(0);
    RawOrigin::start(move |talk| {
        let Some(mut frames) = Frames::open(talk) else { return };
        while let Some(stream) = frames.request() {
            act(&mut frames, count.fetch_add(1, Ordering::Relaxed), stream);
        }
    })
}

fn post(client: &mut Client, body: &str) -> u16 {
    client.send(format!("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    client.read().status
}

const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

#[test]
fn a_request_reaches_the_target_as_it_would_over_http1() {
    let origin = Origin::http2(|seen| Answer::new(format!("{} {}", seen.method, seen.body.len())));
    let gateway = gateway(&format!("http://{}", origin.address), "");
    let mut client = gateway.client();
    assert_eq!(client.get_with("/a?b=c", "X-Own: 1\r\nConnection: close-me\r\nClose-Me: 1\r\n").text(), "GET 0");
    let seen = origin.last();
    assert_eq!((seen.version, seen.target.as_str()), (Version::HTTP_2, &*format!("http://{}/a?b=c", origin.address)));
    assert_eq!((seen.header("x-own"), seen.header("close-me"), seen.header("x-forwarded-proto")), (Some("1"), None, Some("http")));
    let large = "x".repeat(3_000_000);
    client.send(format!("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n{large}", large.len()));
    assert_eq!(client.read().text(), "POST 3000000");
    client.send("PUT / HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
    assert_eq!(client.read().text(), "PUT 5");
    client.send("HEAD / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert_eq!(client.read_head().status, 200);
    assert_eq!(origin.connections(), 1, "one connection serves all");
}

#[tokio::test]
async fn a_client_of_http2_gets_the_same() {
    let origin = Origin::http2(|seen| Answer::new(format!("{} {}", seen.method, seen.body.len())));
    let gateway = gateway(&format!("http://{}", origin.address), "");
    let client = H2::connect(gateway.address).await;
    let mut all = tokio::task::JoinSet::new();
    let client = Arc::new(client);
    for _ in 0..20 {
        let client = client.clone();
        all.spawn(async move { client.request("POST", "/", &[], &["some", "thing"]).await });
    }
    while let Some(done) = all.join_next().await {
        let (parts, body) = done.unwrap();
        assert_eq!((parts.status.as_u16(), &*body), (200, &b"POST 9"[..]));
    }
    assert_eq!(origin.seen().len(), 20);
}

#[test]
fn nginx_is_spoken_to_over_http2() {
    let nginx = Nginx::speaking("http2", "location / { dav_methods PUT; } location = /say { return 200 \"$server_protocol $http_host\"; }");
    let gateway = gateway(&format!("http://{}", nginx.address), "");
    let mut client = gateway.client();
    assert_eq!(client.get("/say").text(), format!("HTTP/2.0 {}", nginx.address));
    let large = "tide".repeat(1_000_000);
    client.send(format!("PUT /file HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n{large}", large.len()));
    assert_eq!(client.read().status, 201);
    let answer = client.get("/file");
    assert!(answer.body == large.as_bytes());
    assert_eq!(answer.header("content-length"), Some("4000000"));
    assert_eq!(client.get("/nothing").status, 404);
}

#[test]
fn an_answer_streams_as_it_comes() {
    let (go, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let origin = framed(move |frames, _, stream| {
        frames.head(stream);
        frames.body(stream, "first", false);
        gate.lock().unwrap().recv().unwrap();
        frames.body(stream, "second", true);
    });
    let gateway = before(&origin, "");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.bytes(10), b"5\r\nfirst\r\n");
    go.send(()).unwrap();
    assert_eq!(client.bytes(16), b"6\r\nsecond\r\n0\r\n\r\n");
}

#[tokio::test]
async fn trailers_reach_a_client_that_can_have_them() {
    let origin = framed(|frames, _, stream| {
        frames.head(stream);
        frames.body(stream, "body", false);
        frames.trailers(stream, "grpc-status", "0");
    });
    let gateway = before(&origin, "");
    let (parts, body, trailers) = H2::connect(gateway.address).await.whole("POST", "/", &[("te", "trailers")], &["a"]).await;
    assert_eq!((parts.status.as_u16(), &*body), (200, &b"body"[..]));
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
    let answer = tokio::task::spawn_blocking(move || gateway.client().get("/")).await.unwrap();
    assert_eq!(answer.text(), "body", "HTTP/1.1 goes without");
}

#[test]
fn an_answer_that_comes_before_the_body_has_gone_is_passed_on() {
    let origin = framed(|frames, _, stream| {
        frames.answer(stream, "enough");
        frames.reset(stream, 0);
    });
    let gateway = before(&origin, "");
    let mut client = gateway.client();
    let body = "x".repeat(9_000_000);
    let _ = client.try_send(format!("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    assert_eq!(client.read().text(), "enough");
    assert_eq!(gateway.client().get("/").text(), "enough");
}

#[test]
fn what_the_target_refused_unseen_is_sent_again_whatever_it_is() {
    let origin =
        framed(|frames, count, stream| if count == 0 { frames.reset(stream, REFUSED_STREAM) } else { frames.answer(stream, "here") });
    let gateway = before(&origin, ", retry: {}");
    assert_eq!(post(&mut gateway.client(), "once"), 200);
    gateway.await_metric("tidegate_retries_total{reason=\"refused\",service=\"up\"}", 1.0);
}

#[test]
fn a_target_that_refuses_all_is_told_of_as_one() {
    let origin = framed(|frames, _, stream| frames.reset(stream, REFUSED_STREAM));
    let gateway = before(&origin, ", breaker: { failures: 2 }");
    let mut client = gateway.client();
    for _ in 0..2 {
        client.get("/").problem(502, "bad-gateway");
    }
    client.get("/").problem(503, "unavailable");
}

#[test]
fn a_target_that_leaves_loses_no_request() {
    let origin = framed(|frames, count, stream| match count {
        1 => {
            frames.go_away(stream - 2, 0);
            frames.until_closed();
        }
        _ => frames.answer(stream, "here"),
    });
    let gateway = before(&origin, "");
    let mut client = gateway.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(post(&mut client, "on the connection that is closing"), 200);
    assert_eq!(origin.received().len(), 2);
    gateway.await_metric("tidegate_retries_total{reason=\"leaving\",service=\"up\"}", 1.0);
}

#[test]
fn a_stream_that_is_reset_is_a_failure_of_the_target_and_not_repeated() {
    let origin = framed(|frames, _, stream| frames.reset(stream, CANCEL));
    let gateway = before(&origin, "");
    let mut client = gateway.client();
    client.get("/").problem(502, "bad-gateway");
    assert_eq!(post(&mut client, "once"), 502);
    let line = gateway.await_log("the reset", |line| line["method"] == "GET");
    assert!(line["attempts"].is_null(), "{line}");
}

#[test]
fn a_target_that_says_nothing_is_given_up_in_time() {
    let origin = framed(|_, _, _| {});
    let gateway = before(&origin, ", timeouts: { response: 200ms }");
    let problem = gateway.client().get("/").problem(504, "gateway-timeout");
    assert_eq!(problem["step"], "waiting");
}

#[test]
fn an_answer_that_breaks_off_is_cut_and_not_ended() {
    let origin = framed(|frames, _, stream| {
        frames.head(stream);
        frames.body(stream, "half", false);
        frames.reset(stream, CANCEL);
    });
    let gateway = before(&origin, "");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    let (_, rest) = client.rest();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.starts_with("HTTP/1.1 200") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    gateway.await_log("the cut", |line| line["status"] == 200 && line["cause"].is_string());
}

#[test]
fn the_time_of_the_whole_request_ends_an_answer_that_drips() {
    let origin = framed(|frames, _, stream| {
        frames.head(stream);
        let (_held, never) = mpsc::channel::<()>();
        while frames.drip(stream) {
            let _ = never.recv_timeout(Duration::from_millis(20));
        }
    });
    let gateway = before(&origin, ", timeouts: { total: 400ms }");
    let mut client = gateway.client();
    let started = Instant::now();
    client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    client.rest();
    assert!(started.elapsed() >= Duration::from_millis(350) && started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
    gateway.await_log("the end of its time", |line| line["cause"].as_str().is_some_and(|cause| cause.contains("time of the request")));
}

#[test]
fn a_target_that_speaks_no_http2_is_told_of_as_malformed() {
    let origin = RawOrigin::start(|mut talk| {
        talk.say("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        talk.until_closed();
    });
    let gateway = before(&origin, "");
    let answer = gateway.client().get("/");
    answer.problem(502, "bad-gateway");
}

#[test]
fn so_many_requests_share_a_connection_as_the_config_says() {
    for (streams, wanted) in [(1, 3), (2, 2), (100, 1)] {
        let (begun, started) = mpsc::channel();
        let begun = Mutex::new(begun);
        let origin = framed(move |frames, _, stream| {
            begun.lock().unwrap().send(()).unwrap();
            frames.head(stream);
        });
        let gateway = before(&origin, &format!(", connections: {{ streams: {streams} }}"));
        let mut clients: Vec<_> = (0..3).map(|_| gateway.client()).collect();
        for client in &mut clients {
            client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
            started.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(origin.received().len(), wanted, "{streams}");
    }
}
