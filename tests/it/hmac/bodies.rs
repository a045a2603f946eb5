//! Their bodies: held to their digests before a service hears of them.

use serde_json::json;

use super::{Signer, config, counting, why};
use crate::support::client::H2;
use crate::support::{Answer, Gateway, Origin, RawOrigin, block_on};

#[test]
fn a_body_of_any_size_within_the_bound_reaches_the_service_whole() {
    let (signer, plain) = (Signer::start(), counting());
    let http2 = Origin::http2(|seen| Answer::new(seen.body.len().to_string()));
    let body = |size: usize| (0..size).map(|at| b"abcdefghijklmnopqrstuvwxyz"[(at / 7 + at) % 26]).collect::<Vec<_>>();
    for origin in [&plain, &http2] {
        let protocol = if std::ptr::eq(origin, &http2) { ", protocol: http2 }" } else { " }" };
        let gateway = Gateway::start(&config(&signer, origin).replace("\"] }", &format!("\"]{protocol}")));
        let mut client = gateway.client();
        for size in [1, 16_384, 65_535, 65_536, 65_537, 131_072, 200_000, 1_048_576] {
            let signed = signer.sign("POST", &format!("/sized?n={size}"), &body(size), json!({}));
            let answer = signed.send(&mut client);
            assert_eq!(answer.text(), size.to_string());
            assert!(origin.last().body == body(size), "{size}");
        }
        for size in [1, 16_384, 60_000, 65_536] {
            let signed = signer.sign("POST", &format!("/chunked?n={size}"), &body(size), json!({}));
            assert_eq!(signed.send_chunked(&mut client).text(), size.to_string());
            assert!(origin.last().body == body(size), "{size}");
            let signed = signer.sign("POST", &format!("/h2?n={size}"), &body(size), json!({}));
            let answer = block_on(async { signed.send_h2(&H2::connect(gateway.address).await).await });
            assert_eq!(answer, (200, size.to_string()));
            assert!(origin.last().body == body(size), "{size}");
        }
        for size in [65_537, 200_000] {
            let signed = signer.sign("POST", &format!("/long?n={size}"), &body(size), json!({}));
            signed.send_chunked(&mut gateway.client()).problem(411, "length-required");
            let known =
                signer.sign("POST", &format!("/long-h2?n={size}"), &body(size), json!({})).header("content-length", &size.to_string());
            let answer = block_on(async { known.send_h2(&H2::connect(gateway.address).await).await });
            assert_eq!(answer, (200, size.to_string()));
            let unknown = signer.sign("POST", &format!("/longer-h2?n={size}"), &body(size), json!({}));
            let (status, told) = block_on(async { unknown.send_h2(&H2::connect(gateway.address).await).await });
            assert!(status == 411 && told.contains("length-required"), "{told}");
        }
        assert_eq!(client.get("/after").status, 401, "the connection is kept");
    }
}

#[test]
fn a_body_over_the_bound_is_refused() {
    let (signer, origin) = (Signer::start(), counting());
    let gateway = Gateway::start(&config(&signer, &origin));
    let sign = |size: usize, path: &str| signer.sign("POST", path, &vec![b'x'; size], json!({}));
    assert_eq!(sign(1024, "/small/a").send(&mut gateway.client()).status, 200);
    sign(1025, "/small/b").send(&mut gateway.client()).problem(413, "content-too-large");
    sign(1025, "/small/c").send_chunked(&mut gateway.client()).problem(413, "content-too-large");
    let (status, _) = block_on(async { sign(1025, "/small/d").send_h2(&H2::connect(gateway.address).await).await });
    assert_eq!(status, 413);
    sign(1_048_577, "/large").send(&mut gateway.client()).problem(413, "content-too-large");
    gateway.await_metric("tidegate_problems_total{kind=\"content-too-large\",policy=\"hmac\"}", 4.0);
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_client_that_waits_is_told_to_go_on_only_where_its_signature_is_right() {
    let (signer, origin) = (Signer::start(), counting());
    let gateway = Gateway::start(&config(&signer, &origin));
    for (path, signed) in [("/go", "/go"), ("/no", "/other")] {
        let request = signer.sign("POST", signed, b"hello", json!({})).path(path);
        let mut client = gateway.client();
        client.send(request.head("Content-Length: 5\r\nExpect: 100-continue\r\n"));
        if path == "/go" {
            assert!(client.head().line.contains("100"), "it is told to go on");
            client.send("hello");
            assert_eq!(client.read().text(), "5");
            assert!(origin.last().header("expect").is_none());
        } else {
            assert_eq!(why(&client.read()), "the signature is not valid");
        }
    }
    assert_eq!(origin.seen().len(), 0, "the service saw the one that is good");
}

#[test]
fn what_answers_by_itself_gets_the_body_too() {
    let (signer, origin) = (Signer::start(), counting());
    let gateway = Gateway::start(&config(&signer, &origin));
    for size in [5, 100_000] {
        let body = "x".repeat(size);
        let answer = signer.sign("POST", "/echo", body.as_bytes(), json!({})).send(&mut gateway.client());
        assert_eq!((answer.status, answer.json()["body"].as_str()), (200, Some(body.as_str())), "{size}");
    }
    let tampered = signer.sign("POST", "/echo", b"hello", json!({})).body(b"hallo");
    assert_eq!(why(&tampered.send(&mut gateway.client())), "the body is not the one that was signed");
}

#[test]
fn a_body_is_sent_whole_again_where_a_target_breaks_off() {
    let (signer, origin) = (Signer::start(), counting());
    let fickle = RawOrigin::start(|mut talk| {
        talk.request();
        talk.reset();
    });
    let target = |text: &str| {
        text.replace("\"] }", &format!("\", \"http://{}\"], retry: {{ on: [reset], methods: any, budget: 100% }} }}", fickle.address))
    };
    let gateway = Gateway::start(&target(&config(&signer, &origin)));
    for size in [100, 65_537, 200_000] {
        // Each of the two is the first once.
        for turn in 0..2 {
            let signed = signer.sign("PUT", &format!("/again?n={size}&turn={turn}"), &vec![b'x'; size], json!({}));
            let answer = signed.send(&mut gateway.client());
            assert_eq!((answer.status, answer.text()), (200, size.to_string()));
        }
    }
    assert!(fickle.received().iter().map(Vec::len).max() > Some(200_000), "it had all of it");
}

#[test]
fn a_body_that_comes_slowly_is_waited_for_no_longer_than_the_whole_may_take() {
    let (signer, origin) = (Signer::start(), counting());
    let usual = config(&signer, &origin);
    let routes = "  - { name: plain, match: { path: /plain }, timeout: 400ms, to: up }\n\
                  \x20 - { name: route, match: { path: /route }, timeout: 400ms, policies: [hmac], to: up }\n\
                  \x20 - { name: service, match: { path: /service }, policies: [hmac], to: hasty }\n\
                  \x20 - { name: mock, match: { path: /mock }, timeout: 400ms, policies: [hmac], to: echo }\n\
                  \x20 - name: composed\n    match: { path: /composed }\n    policies: [hmac]\n    compose: { timeout: 400ms, parts: { one: { get: \"up:/one\" } } }\n";
    let services = format!("services:\n  hasty: {{ targets: [\"http://{}\"], timeouts: {{ total: 400ms }} }}\n", origin.address);
    let usual = usual.split_once("routes:\n").unwrap().0.replacen("services:\n", &services, 1);
    let gateway = Gateway::start(&format!("{usual}routes:\n{routes}"));
    for path in ["/plain", "/route", "/service", "/mock", "/composed"] {
        let signed = signer.sign("POST", path, &[b'x'; 9], json!({}));
        let mut client = gateway.client();
        client.send(signed.head("Content-Length: 9\r\n"));
        client.send("xxxx");
        let answer = client.read();
        let problem = answer.problem(504, "gateway-timeout");
        assert_eq!(problem["step"], if path == "/plain" { "sending" } else { "arriving" }, "{path}: {problem}");
        assert!(path == "/plain" || answer.header("connection") == Some("close"), "what comes of the body is no next request");
    }
    assert!(origin.seen().iter().all(|seen| seen.target != "/one"));
}
