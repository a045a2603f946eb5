//! Bounds of some requests that are narrower than the server's.

use crate::support::client::H2;
use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, block_on};

fn gateway(origin: &Origin) -> Gateway {
    Gateway::start(&format!(
        r#"
server:
  limits: {{ body: 64KiB }}
services:
  up: {{ targets: ["http://{}"] }}
  echo: {{ mock: {{ echo: true }} }}
policies: [request_id]
routes:
  - {{ name: small, match: {{ path: /small }}, policies: [{{ size_limit: {{ body: 1KiB }} }}], to: up }}
  - {{ name: mock, match: {{ path: /mock }}, policies: [{{ size_limit: {{ body: 1KiB }} }}], to: echo }}
  - {{ name: two, match: {{ path: /two }}, policies: [{{ size_limit: {{ body: 10 }} }}, {{ size_limit: {{ body: 1KiB }} }}], to: up }}
  - {{ name: head, match: {{ path: /head }}, policies: [{{ size_limit: {{ header: 1KiB, header_fields: 10, target: 100 }} }}], to: up }}
  - {{ name: all, to: up }}
"#,
        origin.address
    ))
}

fn echo() -> Origin {
    Origin::answering(|seen| Answer::new(seen.body.len().to_string()))
}

fn metric(kind: &str) -> String {
    format!("tidegate_problems_total{{kind=\"{kind}\",policy=\"size_limit\"}}")
}

#[test]
fn a_body_said_to_be_too_large_is_refused_before_it_comes() {
    let origin = echo();
    let gateway = gateway(&origin);
    for path in ["/small", "/mock"] {
        let mut client = gateway.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\nExpect: 100-continue\r\n\r\n"));
        let answer = client.read();
        answer.problem(413, "content-too-large");
        assert!(answer.interim.is_empty() && answer.header("x-request-id").is_some());
    }
    // The client is kept where its body is short.
    let mut client = gateway.client();
    client.send([b"POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n".to_vec(), vec![b'x'; 1025]].concat());
    assert_eq!(client.read().status, 413);
    assert_eq!(client.get("/small").text(), "0");
    assert_eq!(origin.seen().len(), 1, "{:?}", origin.seen());
    gateway.await_metric(&metric("content-too-large"), 3.0);
}

#[test]
fn a_body_that_grows_too_large_is_cut_off() {
    let origin = echo();
    let gateway = gateway(&origin);
    for path in ["/small", "/mock"] {
        let mut client = gateway.client();
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
        // The body never ends.
        client.send([b"3ff\r\n".to_vec(), vec![b'x'; 1023], b"\r\n2\r\nyy\r\n".to_vec()].concat());
        client.read().problem(413, "content-too-large");
    }
    let line = gateway.await_log("the refusal", |line| line["path"] == "/small");
    assert_eq!((line["policy"].as_str(), line["status"].as_u64()), (Some("size_limit"), Some(413)), "{line}");
    // The origin keeps no body that breaks off.
    assert!(origin.seen().iter().all(|seen| seen.body.is_empty()), "what came of it has no end at the service");
}

#[test]
fn a_body_at_its_bound_passes_and_other_routes_have_the_servers() {
    let origin = echo();
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    let chunked = |path: &str, size: usize| {
        let head = format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n");
        [head.into_bytes(), vec![b'x'; size], b"\r\n0\r\n\r\n".to_vec()].concat()
    };
    for (path, size) in [("/small", 1024), ("/two", 10), ("/else", 65536)] {
        client.send(chunked(path, size));
        assert_eq!(client.read().text(), size.to_string(), "{path}");
        client.send([format!("POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n").into_bytes(), vec![b'x'; size]].concat());
        assert_eq!(client.read().text(), size.to_string(), "{path}");
    }
    client.send(chunked("/two", 11));
    client.read().problem(413, "content-too-large");
    let mut client = gateway.client();
    client.send("POST /else HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n");
    client.read().problem(413, "content-too-large");
    gateway.await_metric("tidegate_problems_total{kind=\"content-too-large\",policy=\"\"}", 1.0);
}

#[test]
fn over_http2_it_is_the_same() {
    let origin = echo();
    let gateway = gateway(&origin);
    static PIECE: [u8; 600] = [b'x'; 600];
    let piece = std::str::from_utf8(&PIECE).unwrap();
    block_on(async {
        let client = H2::connect(gateway.address).await;
        for (path, headers, pieces, status) in [
            ("/small", &[][..], &[piece][..], 200),
            ("/small", &[("content-length", "1200")], &[piece, piece], 413),
            ("/small", &[], &[piece, piece], 413),
            ("/mock", &[], &[piece, piece], 413),
            ("/else", &[], &[piece, piece], 200),
        ] {
            let (head, body) = client.request("POST", path, headers, pieces).await;
            assert_eq!(head.status.as_u16(), status, "{path} {body:?}");
        }
        let long = format!("/head?{}", "x".repeat(100));
        assert_eq!(client.get(&long).await.0.status, 414);
        let (head, _) = client.request("GET", "/head", &[("x-large", &"x".repeat(1000))], &[]).await;
        assert_eq!(head.status, 431);
        let many: Vec<_> = (0..11).map(|_| ("x-a", "b")).collect();
        assert_eq!(client.request("GET", "/head", &many, &[]).await.0.status, 431);
        assert_eq!(client.get("/head").await.0.status, 200);
    });
}

#[test]
fn a_header_beyond_the_bounds_of_its_route_is_refused_on_a_connection_that_goes_on() {
    let origin = echo();
    let gateway = gateway(&origin);
    let mut client = gateway.client();
    client.get(&format!("/head?{}", "x".repeat(100))).problem(414, "uri-too-long");
    client.get_with("/head", &format!("X-Large: {}\r\n", "x".repeat(1000))).problem(431, "header-too-large");
    client.get_with("/head", &"X-A: b\r\n".repeat(10)).problem(431, "header-too-large");
    assert_eq!(client.get_with("/head", &"X-A: b\r\n".repeat(9)).status, 200);
    assert_eq!(client.get_with("/else", &format!("X-Large: {}\r\n", "x".repeat(2000))).status, 200);
    gateway.await_metric(&metric("header-too-large"), 2.0);
    gateway.await_metric(&metric("uri-too-long"), 1.0);
}

#[test]
fn what_the_server_would_not_take_anyway_is_refused_as_a_setting() {
    let (right, said) = check(
        r#"
server: { limits: { body: 1MiB, header_fields: 50 } }
policies: [{ size_limit: { body: 1MiB } }]
services: { s: { mock: {}, policies: [{ size_limit: { body: 2MiB, header_fields: 51 } }] } }
routes: [{ name: a, policies: [{ size_limit: { target: 9KiB } }], to: s }]
"#,
    );
    assert!(!right);
    for wanted in [
        "the server takes 1048576 bytes at most, so this changes nothing",
        "write less, or raise `server.limits.body`",
        "the server takes 50 fields at most",
        "the server takes 8192 bytes at most",
        ":4:",
        ":5:",
    ] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    assert!(!said.contains(":3:"), "{said}");
}
