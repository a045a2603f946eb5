//! HTTP/2 without TLS, by prior knowledge, on the same port as HTTP/1.1.

use std::sync::{Arc, Barrier};

use http::Version;
use serde_json::Value;

use crate::support::client::H2;
use crate::support::{Answer, Gateway, Origin, RawOrigin};

fn gateway(up: &str) -> Gateway {
    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    Gateway::start(&format!(
        r#"
server:
  limits: {{ header: 8KiB, header_fields: 30, target: 1KiB, body: 1KiB }}
services:
  up: {{ targets: ["http://{up}"] }}
  refused: {{ targets: ["http://{refused}"] }}
  echo: {{ mock: {{ echo: true }} }}
routes:
  - {{ name: up, match: {{ path: "/up/{{rest...}}" }}, to: up }}
  - {{ name: refused, match: {{ path: /refused }}, to: refused }}
  - {{ name: echo, match: {{ path: "/echo/{{rest...}}" }}, to: echo }}
  - {{ name: closed, match: {{ path: /closed }}, policies: [request_id, api_key], to: up }}
"#
    ))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn requests_pass_with_their_bodies() {
    let up = Origin::answering(|seen| Answer::new(String::from_utf8(seen.body.to_vec()).unwrap()));
    let gateway = gateway(&up.address.to_string());
    block_on(async {
        let client = H2::connect(gateway.address).await;
        let (head, _) = client.get("/up/a?b=%2f").await;
        assert_eq!((head.status.as_u16(), head.version), (200, Version::HTTP_2));
        assert_eq!(head.headers["via"], "1.1 tidegate");
        assert!(!head.headers.contains_key("connection") && !head.headers.contains_key("transfer-encoding"), "{:?}", head.headers);
        let seen = up.last();
        assert_eq!((seen.target.as_str(), seen.version), ("/up/a?b=%2f", Version::HTTP_11));
        assert_eq!(seen.header("host"), Some(up.address.to_string().as_str()));
        assert_eq!(seen.header("x-forwarded-host"), Some("gateway.test"));
        assert_eq!(seen.header("via"), Some("2 tidegate"));

        let (head, body) = client.request("POST", "/up/a", &[], &["hello", " ", "world"]).await;
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"hello world"[..]));
        let (head, body) = client.request("POST", "/up/a", &[("content-length", "5")], &["hello"]).await;
        assert_eq!((head.status.as_u16(), &body[..]), (200, &b"hello"[..]));
        let (head, body) = client.request("PUT", "/echo/a", &[], &["hello"]).await;
        assert_eq!(head.status.as_u16(), 200);
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["body"], "hello");
        let (head, body) = client.request("HEAD", "/up/a", &[], &[]).await;
        assert_eq!((head.status.as_u16(), body.len()), (200, 0));
    });
    assert_eq!(gateway.await_log("the request", |line| line["path"] == "/echo/a")["host"], "gateway.test");
}

#[test]
fn a_body_whose_end_comes_by_itself_ends_once_at_the_service() {
    let up = RawOrigin::usual();
    let gateway = gateway(&up.address.to_string());
    block_on(async {
        let client = H2::connect(gateway.address).await;
        for _ in 0..3 {
            let (head, _) = client.request("POST", "/up/a", &[], &["hello", ""]).await;
            assert_eq!(head.status.as_u16(), 200);
        }
    });
    let received = up.received();
    assert_eq!(received.len(), 1, "the connection to the service is kept");
    let ends = received[0].windows(5).filter(|window| window == b"0\r\n\r\n").count();
    assert_eq!(ends, 3, "{:?}", String::from_utf8_lossy(&received[0]));
}

#[test]
fn problems_are_answered_as_on_http_1_and_leave_the_connection() {
    let up = Origin::start();
    let gateway = gateway(&up.address.to_string());
    block_on(async {
        let client = H2::connect(gateway.address).await;
        let long = format!("/up/{}", "x".repeat(1100));
        let large = "x".repeat(2000);
        let many: Vec<(String, &str)> = (0..40).map(|n| (format!("x-{n}"), "y")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let sized = [("content-length", "2000")];
        for (method, path, headers, body, status, kind) in [
            ("GET", "/closed", &[][..], "", 401, "unauthorized"),
            ("POST", "/closed", &[], "hello", 401, "unauthorized"),
            ("GET", "/nowhere", &[], "", 404, "not-found"),
            ("GET", "/refused", &[], "", 502, "bad-gateway"),
            ("POST", "/refused", &[], "hello", 502, "bad-gateway"),
            ("GET", &long, &[], "", 414, "uri-too-long"),
            ("GET", "/up/a", &many, "", 431, "header-too-large"),
            ("POST", "/up/a", &sized, large.leak(), 413, "content-too-large"),
        ] {
            let body: &'static str = body;
            let (head, answer) = client.request(method, path, headers, &[body]).await;
            assert_eq!(head.status.as_u16(), status, "{method} {path}");
            assert_eq!(head.headers["content-type"], "application/problem+json");
            let problem: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(problem["type"], format!("urn:tidegate:problem:{kind}"), "{problem}");
            let (head, body) = client.get("/up/next").await;
            assert_eq!((head.status.as_u16(), &body[..]), (200, &b"here"[..]), "after {method} {path}");
        }
        assert!(!client.closed());
    });
}

#[test]
fn many_streams_are_served_at_once() {
    // The service answers none of them before it has all.
    const STREAMS: usize = 20;
    let all = Arc::new(Barrier::new(STREAMS));
    let up = RawOrigin::start(move |mut talk| {
        let request = String::from_utf8(talk.request().unwrap()).unwrap();
        all.wait();
        let path = request.split(' ').nth(1).unwrap();
        talk.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{path}", path.len()));
    });
    let gateway = gateway(&up.address.to_string());
    block_on(async {
        let client = Arc::new(H2::connect(gateway.address).await);
        let requests: Vec<_> = (0..STREAMS)
            .map(|n| {
                let client = client.clone();
                tokio::spawn(async move { client.get(&format!("/up/{n}")).await })
            })
            .collect();
        for (n, request) in requests.into_iter().enumerate() {
            let (head, body) = request.await.unwrap();
            assert_eq!((head.status.as_u16(), &body[..]), (200, format!("/up/{n}").as_bytes()));
        }
    });
    assert_eq!(gateway.metric("tidegate_requests_total{route=\"up\",status=\"200\"}"), STREAMS as f64);
}
