//! How a connection ends: by the client's wish or its absence, by its version, and by a service that dies.

use std::sync::{Mutex, mpsc};

use crate::keepalive::{gateway, telling_the_target, with};
use crate::support::{End, PATIENCE, RawOrigin};

#[test]
fn a_client_of_http_1_0_gets_its_connection_closed_unless_it_asks_for_it() {
    let up = telling_the_target();
    let gateway = with(&up);
    for path in ["/up/a", "/echo/a", "/nowhere", "/refused"] {
        let mut client = gateway.client();
        client.send(format!("GET {path} HTTP/1.0\r\nHost: gateway.test\r\n\r\n"));
        let answer = client.read();
        assert_eq!(answer.header("transfer-encoding"), None, "{path}");
        assert!(!answer.body.is_empty());
        assert_eq!(client.ends(), End::Closed, "{path}");

        let mut client = gateway.client();
        for _ in 0..2 {
            client.send(format!("GET {path} HTTP/1.0\r\nHost: gateway.test\r\nConnection: keep-alive\r\n\r\n"));
            let answer = client.read();
            assert!(answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive")), "{path}: {answer:?}");
        }
    }
}

#[test]
fn a_chunked_answer_reaches_a_client_of_http_1_0_without_chunks() {
    let chunked = RawOrigin::start(|mut talk| {
        while talk.request().is_some() {
            talk.say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            talk.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
        }
    });
    let address = chunked.address.to_string();
    let gateway = gateway(&address, &address, &address);
    let mut client = gateway.client();
    client.send("GET /up/a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.read();
    assert_eq!((answer.text().as_str(), answer.header("transfer-encoding")), ("hello world", None), "{answer:?}");
    assert_eq!(answer.interim, [0_u16; 0], "RFC 9110 §15.2");
    let mut client = gateway.client();
    let answer = client.get("/up/a");
    assert_eq!((answer.text().as_str(), answer.header("transfer-encoding")), ("hello world", Some("chunked")));
    assert_eq!(answer.interim, [103]);
    assert_eq!(client.get("/up/a").text(), "hello world");
}

#[test]
fn a_client_that_says_close_gets_its_answer_and_the_end() {
    let up = telling_the_target();
    let gateway = with(&up);
    for path in ["/up/a", "/echo/a", "/closed", "/refused", "/empty"] {
        let mut client = gateway.client();
        let answer = client.get_with(path, "Connection: close\r\n");
        assert_eq!(answer.header("connection"), Some("close"), "{path}: {answer:?}");
        assert_eq!(client.ends(), End::Closed, "{path}");
    }
}

#[test]
fn a_client_that_closes_its_side_after_a_request_still_gets_its_answer() {
    let up = telling_the_target();
    let gateway = with(&up);
    for (path, status) in [("/echo/a", 200), ("/closed", 401), ("/up/a", 200)] {
        let mut client = gateway.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"));
        client.finish();
        assert_eq!(client.read().status, status, "{path}");
        assert_eq!(client.ends(), End::Closed);
    }
    let mut client = gateway.client();
    client.send("GET /up/a HTTP/1.1\r\nHost: gateway.test\r\n\r\nGET /up/b HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    client.finish();
    assert_eq!(client.read().text(), "GET /up/a ");
    assert_eq!(client.read().text(), "GET /up/b ");
    assert_eq!(client.ends(), End::Closed);
}

#[test]
fn a_client_that_goes_away_mid_answer_frees_the_upstream() {
    let (endless, told) = RawOrigin::endless();
    let address = endless.address.to_string();
    let gateway = gateway(&address, &address, &address);
    let mut client = gateway.client();
    client.send("GET /up/endless HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert_eq!(client.head().status, 200);
    client.bytes(100_000);
    drop(client);
    told.recv_timeout(PATIENCE).expect("the upstream is still being read from");
    let line = gateway.await_log("the request that was left", |line| line["path"] == "/up/endless");
    assert_eq!(line["status"], 200);
    assert!(line["cause"].is_string(), "{line}");
    assert_eq!(gateway.client().get("/echo/a").status, 200);
}

#[test]
fn a_client_that_goes_away_before_its_answer_frees_the_upstream_too() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let thoughtful = RawOrigin::start(move |mut talk| {
        talk.request();
        tell.lock().unwrap().send("asked").unwrap();
        talk.until_closed();
        tell.lock().unwrap().send("left").unwrap();
    });
    let address = thoughtful.address.to_string();
    let gateway = gateway(&address, &address, &address);
    let mut client = gateway.client();
    client.send("GET /up/thoughtful HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert_eq!(told.recv_timeout(PATIENCE), Ok("asked"));
    drop(client);
    assert_eq!(told.recv_timeout(PATIENCE), Ok("left"));
    let line = gateway.await_log("the request that was left", |line| line["path"] == "/up/thoughtful");
    assert_eq!(line["status"], 0, "{line}");
}

#[test]
fn an_upstream_that_dies_mid_body_is_cut_off_and_not_made_whole() {
    let dying = RawOrigin::start(|mut talk| {
        let request = talk.request().unwrap();
        let framing = if request.starts_with(b"GET /up/chunked") { "Transfer-Encoding: chunked" } else { "Content-Length: 100" };
        talk.say(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n"));
    });
    let address = dying.address.to_string();
    let gateway = gateway(&address, &address, &address);
    for path in ["/up/chunked", "/up/length"] {
        let mut client = gateway.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"));
        let error = client.try_read().expect_err("an answer without its end is not whole");
        assert!(matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset), "{error}");
        let line = gateway.await_log("the answer that was cut off", |line| line["path"] == path);
        assert!(line["cause"].is_string() && line["status"] == 200, "{line}");
    }
}

#[test]
fn a_service_that_dies_after_a_100_continue_is_told_as_any_that_dies() {
    let dying = RawOrigin::start(|mut talk| {
        if talk.header().is_some() {
            talk.say("HTTP/1.1 100 Continue\r\n\r\n");
            talk.take(5);
            talk.reset();
        }
    });
    let address = dying.address.to_string();
    let gateway = gateway(&address, &address, &address);
    let mut client = gateway.client();
    client.send("POST /up/a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("hello");
    client.read().problem(502, "bad-gateway");
}

#[test]
fn a_service_that_switches_protocols_unasked_opens_no_tunnel() {
    let switching = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nHELLO");
        talk.until_closed();
    });
    let address = switching.address.to_string();
    let gateway = gateway(&address, &address, &address);
    let mut client = gateway.client();
    for lines in
        ["", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"]
    {
        client.get_with("/up/a", lines).problem(502, "bad-gateway");
    }
}

#[test]
fn a_204_says_nothing_of_a_length() {
    let odd = RawOrigin::start(|mut talk| {
        while talk.request().is_some() {
            talk.say("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let address = odd.address.to_string();
    let gateway = gateway(&address, &address, &address);
    let mut client = gateway.client();
    let answer = client.get("/up/a");
    assert_eq!((answer.status, answer.header("content-length")), (204, None));
    assert_eq!(client.get("/up/b").status, 204);
}
