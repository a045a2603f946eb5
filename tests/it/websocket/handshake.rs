//! How WebSockets begin, and what is no WebSocket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::sync::mpsc;

use super::gateway;
use crate::support::certificates::Authority;
use crate::support::client::H2;
use crate::support::gateway::Folder;
use crate::support::origin::RawOrigin;
use crate::support::websocket::{ACCEPT, Got, KEY, Socket, TEXT, asking, closing, echoing};
use crate::support::{Client, Gateway, Origin, PATIENCE};

fn ask(client: &mut Client, lines: &str) -> crate::support::Response {
    client.get_with("/chat", lines)
}

#[test]
fn what_is_malformed_is_refused_with_what_would_do_and_the_connection_goes_on() {
    let origin = echoing();
    let gateway = gateway(origin.address, "");
    let mut client = gateway.client();
    for (wrong, status, kind) in [
        (asking().replace(KEY, "c2hvcnQ="), 400, "bad-request"),
        (asking().replace("Sec-WebSocket-Key", "X-Key"), 400, "bad-request"),
        (asking() + &format!("Sec-WebSocket-Key: {KEY}\r\n"), 400, "bad-request"),
        (asking().replace("Sec-WebSocket-Version", "X-Version"), 400, "bad-request"),
        (asking().replace("13", "8"), 426, "upgrade-required"),
        (asking() + "Sec-WebSocket-Protocol: a b\r\n", 400, "bad-request"),
        (asking().replace("Connection: Upgrade", "Connection: Upgrade, Host"), 400, "bad-request"),
    ] {
        let answer = ask(&mut client, &wrong);
        answer.problem(status, kind);
        if !wrong.contains("Host") {
            assert_eq!(answer.header("sec-websocket-version"), Some("13"), "{answer:?}");
        }
        assert_eq!(answer.header("upgrade").is_some(), status == 426, "{answer:?}");
    }
    client.send(format!("POST /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n{}\r\n", asking()));
    client.read().problem(400, "bad-request");
    client.send(format!("GET /chat HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{}\r\nhi", asking()));
    client.read().problem(400, "bad-request");
    assert!(origin.received().is_empty());
    Socket::over(client, "/chat").close(1000);
}

#[test]
fn a_service_gets_the_handshake_as_any_request_and_no_more() {
    let origin = RawOrigin::start(|mut talk| {
        talk.agree("Sec-WebSocket-Protocol: v2\r\nKeep-Alive: 5\r\nX-Own: 1\r\n", b"");
        talk.echo();
    });
    let gateway = gateway(
        origin.address,
        ", policies: [request: { headers: { set: { X-From: gateway } } }, response: { headers: { set: { X-Up: \"1\" } } }]",
    );
    let mut client = gateway.client();
    client.send(format!(
        "GET /chat?a=1 HTTP/1.1\r\nHost: gateway.test\r\n{}Keep-Alive: 9\r\nX-Hop: 1\r\nConnection: X-Hop\r\nTE: trailers\r\nSec-WebSocket-Protocol: v1, v2\r\nSec-WebSocket-Extensions: x-own, permessage-deflate\r\nOrigin: http://a.test\r\n\r\n",
        asking()
    ));
    let answer = client.head();
    assert_eq!((answer.status, answer.header("sec-websocket-accept")), (101, Some(ACCEPT)), "{answer:?}");
    assert_eq!((answer.header("upgrade"), answer.header("connection")), (Some("websocket"), Some("Upgrade")));
    assert_eq!(
        (answer.header("x-up"), answer.header("x-own"), answer.header("sec-websocket-protocol")),
        (Some("1"), Some("1"), Some("v2"))
    );
    assert_eq!((answer.header("keep-alive"), answer.header("content-length"), answer.header("transfer-encoding")), (None, None, None));
    let seen = String::from_utf8(origin.received()[0].clone()).unwrap();
    assert!(seen.starts_with("GET /chat?a=1 HTTP/1.1\r\n"), "{seen}");
    let seen = seen.to_ascii_lowercase();
    for line in [
        "connection: upgrade",
        "upgrade: websocket",
        "sec-websocket-version: 13",
        "sec-websocket-protocol: v1, v2",
        "sec-websocket-extensions: permessage-deflate",
        "x-from: gateway",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-host: gateway.test",
        "origin: http://a.test",
        &format!("host: {}", origin.address),
    ] {
        assert!(seen.lines().any(|seen| seen == line), "{line} is not in {seen}");
    }
    for line in ["keep-alive:", "x-hop:", "te:", "content-length:", "transfer-encoding:"] {
        assert!(!seen.lines().any(|seen| seen.starts_with(line)), "{line} is in {seen}");
    }
}

#[test]
fn a_service_that_agrees_to_something_else_is_not_believed() {
    for (from, to) in [
        (ACCEPT, "AAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ("Sec-WebSocket-Accept", "X-Accept"),
        ("Upgrade: websocket", "Upgrade: h2c"),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: unasked\r\n\r\n"),
        ("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
    ] {
        let origin = RawOrigin::start(move |mut talk| {
            talk.header();
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
            );
            talk.say(answer.replace(from, to));
            talk.until_closed();
        });
        let gateway = gateway(origin.address, ", breaker: { failures: 1 }");
        let mut client = gateway.client();
        ask(&mut client, &asking()).problem(502, "bad-gateway");
        ask(&mut client, &asking()).problem(503, "unavailable");
    }
}

#[test]
fn an_answer_that_is_no_101_goes_to_the_client_as_any_other() {
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = RawOrigin::start(move |mut talk| {
        while let Some(request) = talk.request() {
            if request.starts_with(b"GET /until") {
                talk.say("HTTP/1.1 200 OK\r\n\r\nto the end");
                return;
            }
            talk.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
            wait.lock().unwrap().recv().unwrap();
            talk.say("5\r\nafter\r\n0\r\n\r\n");
        }
    });
    let gateway = gateway(origin.address, ", policies: [response: { headers: { set: { X-Up: \"1\" } } }]");
    let mut client = gateway.client();
    client.send(format!("GET /chat HTTP/1.1\r\nHost: a\r\n{}\r\n", asking()));
    // The first half comes before the service says the second.
    let head = client.head();
    assert_eq!((head.status, head.header("x-up"), head.header("www-authenticate")), (401, Some("1"), Some("Basic")), "{head:?}");
    assert_eq!(client.bytes(10), b"5\r\nfirst\r\n");
    go_on.send(()).unwrap();
    assert_eq!(client.bytes(15), b"5\r\nafter\r\n0\r\n\r\n");
    let whole = client.get_with("/until", &asking());
    assert_eq!((whole.status, whole.text()), (200, "to the end".to_owned()));
    let line = gateway.await_log("the second", |line| line["path"] == "/until");
    assert_eq!((&line["status"], &line["service"], &line["sent"]), (&200.into(), &"a".into(), &10.into()));
    assert_eq!(line.get("websocket"), None);
}

#[test]
fn where_they_are_off_or_cannot_be_a_request_goes_on_as_any_other() {
    let origin = Origin::start();
    let gateway = gateway(origin.address, ", websocket: off");
    assert_eq!(ask(&mut gateway.client(), &asking()).text(), "here");
    assert_eq!(origin.last().header("upgrade"), None);
    let other = super::gateway(origin.address, "");
    let mut client = other.client();
    client.send(format!("GET / HTTP/1.0\r\nHost: a\r\n{}\r\n", asking()));
    assert_eq!(client.read().text(), "here");
    assert_eq!(origin.last().header("upgrade"), None);
    assert_eq!(
        other.client().get_with("/", "Upgrade: websocket\r\n").text(),
        "here",
        "without `Connection: upgrade` it is not meant for us"
    );
    assert_eq!(other.client().get_with("/", "Connection: upgrade\r\nUpgrade: h2c\r\n").text(), "here");
    assert_eq!(origin.seen().len(), 2);
    assert!(origin.seen().iter().all(|seen| seen.header("upgrade").is_none() && seen.header("connection").is_none()));
}

#[tokio::test]
async fn over_http2_it_is_not_offered() {
    let origin = Origin::start();
    let gateway = gateway(origin.address, "");
    let (parts, body) = H2::connect(gateway.address).await.get("/").await;
    assert_eq!((parts.status.as_u16(), &body[..]), (200, &b"here"[..]));
    // RFC 8441 §3: who has not said that it takes an extended CONNECT gets none.
    let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut request = http::Request::builder().method("CONNECT").uri(format!("http://{}/chat", gateway.address)).body(()).unwrap();
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    assert!(!sender.is_extended_connect_protocol_enabled());
    let answered = match sender.send_request(request, true) {
        Ok((answer, _)) => tokio::time::timeout(PATIENCE, answer).await.unwrap().ok().map(|answer| answer.status()),
        Err(_) => None,
    };
    assert!(answered.is_none_or(|status| !status.is_success()), "{answered:?}");
    assert_eq!(origin.seen().len(), 1);
}

fn dead() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_target_that_is_not_there_is_passed_over_and_none_at_all_is_told() {
    let origin = echoing();
    let config = |targets: &str, more: &str| {
        format!(
            "services: {{ a: {{ targets: [{targets}]{more} }} }}\nroutes: [{{ name: a, match: {{ path: \"/{{rest...}}\" }}, to: a }}]\n"
        )
    };
    let gateway = Gateway::start(&config(&format!("\"http://{}\", \"http://{}\"", dead(), origin.address), ""));
    for _ in 0..4 {
        let mut socket = Socket::open(gateway.address, "/");
        socket.send(TEXT, "hi");
        socket.expect(TEXT, "hi");
        socket.close(1000);
    }
    assert_eq!(origin.received().len(), 4);
    assert!(gateway.metric("tidegate_retries_total{reason=\"connect\",service=\"a\"}") >= 1.0);
    let gone = Gateway::start(&config(&format!("\"http://{}\"", dead()), ", fallback: { reply: { status: 418 } }"));
    assert_eq!(ask(&mut gone.client(), &asking()).status, 418);
    let gone = Gateway::start(&config(&format!("\"http://{}\"", dead()), ""));
    let mut client = gone.client();
    ask(&mut client, &asking()).problem(502, "bad-gateway");
    ask(&mut client, &asking()).problem(502, "bad-gateway");
}

#[test]
fn the_handshake_is_bounded_by_the_timeouts_and_what_comes_after_is_not() {
    let origin = RawOrigin::start(|mut talk| {
        let request = talk.header().unwrap_or_default();
        if request.starts_with(b"GET /never") {
            // A byte now and then is no answer.
            talk.say("HTTP/1.1 200 OK\r\nX-Long: ");
            while talk.try_say("a") {
                std::thread::park_timeout(std::time::Duration::from_millis(50));
            }
            return;
        }
        talk.say(format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
        ));
        talk.echo();
    });
    let gateway = Gateway::start(&format!(
        "services: {{ a: {{ targets: [\"http://{}\"], timeouts: {{ response: 400ms }} }} }}\nroutes:\n  - {{ name: a, match: {{ path: \"/{{rest...}}\" }}, to: a }}\n  - {{ name: b, match: {{ path: /never/total }}, timeout: 300ms, to: a }}\n  - {{ name: c, match: {{ path: /short }}, timeout: 300ms, to: a }}\n",
        origin.address
    ));
    let mut client = gateway.client();
    client.get_with("/never", &asking()).problem(504, "gateway-timeout");
    client.get_with("/never/total", &asking()).problem(504, "gateway-timeout");
    let mut socket = Socket::over(client, "/short");
    assert!(socket.client.is_silent_for(std::time::Duration::from_millis(700)));
    socket.send(TEXT, "still here");
    socket.expect(TEXT, "still here");
}

#[test]
fn a_client_that_leaves_before_the_answer_frees_the_service() {
    let (tell, told) = mpsc::channel();
    let tell = std::sync::Mutex::new(tell);
    let origin = RawOrigin::start(move |mut talk| {
        talk.header();
        tell.lock().unwrap().send(()).unwrap();
        talk.until_closed();
        tell.lock().unwrap().send(()).unwrap();
    });
    let gateway = Gateway::start(&format!(
        "server:\n  timeouts: {{ farewell: 100ms }}\nservices: {{ a: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: a, match: {{ path: / }}, to: a }}]\n",
        origin.address
    ));
    let mut client = gateway.client();
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", asking()));
    told.recv_timeout(PATIENCE).unwrap();
    drop(client);
    told.recv_timeout(PATIENCE).unwrap();
    let line = gateway.await_log("the client", |line| line["status"] == 0);
    assert_eq!(line["service"], "a");
}

#[test]
fn over_tls_and_unix_sockets_it_is_the_same() {
    let folder = Folder::new();
    let authority = Authority::new();
    let identity = authority.issue("localhost");
    folder.file("cert.pem", &identity.cert);
    folder.file("key.pem", &identity.key);
    let path = folder.path().join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let echo = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        stream.write_all(format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\r\n").as_bytes()).unwrap();
        stream.write_all(b"\x81\x02hi").unwrap();
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    // The second gateway speaks TLS to the clients of the first.
    let inner = Gateway::start_in(
        folder,
        "server:\n  listeners: [{ address: \"127.0.0.1:0\", tls: { certificates: [{ cert: cert.pem, key: key.pem }] } }]\nservices: { a: { targets: [\"unix://{dir}/echo.sock\"] } }\nroutes: [{ name: a, match: { path: / }, to: a }]\n",
    );
    let outer = Folder::new();
    outer.file("ca.pem", authority.pem());
    let gateway = Gateway::start_in(
        outer,
        &format!(
            "services: {{ a: {{ targets: [\"https://127.0.0.1:{}\"], protocol: auto, tls: {{ ca: ca.pem, server_name: localhost }} }} }}\nroutes: [{{ name: a, match: {{ path: / }}, to: a }}]\n",
            inner.address.port()
        ),
    );
    let mut socket = Socket::open(gateway.address, "/");
    socket.expect(TEXT, "hi");
    socket.send(TEXT, "and back");
    socket.close(1000);
    let _ = socket.read();
    drop(socket);
    let rest = echo.join().unwrap();
    assert!(rest.len() > 8 && rest[0] == TEXT, "{rest:x?}");
}

#[test]
fn no_more_than_the_service_may_have_are_let_in() {
    let origin = echoing();
    let gateway = gateway(origin.address, ", websocket: { connections: 2 }");
    let mut first = Socket::open(gateway.address, "/");
    let second = Socket::open(gateway.address, "/");
    let answer = ask(&mut gateway.client(), &asking());
    answer.problem(503, "unavailable");
    assert_eq!(origin.received().len(), 2, "the service was not asked");
    first.close(1000);
    assert_eq!(first.read(), Got::Frame(0x88, closing(1000, "")));
    assert_eq!(first.read(), Got::End);
    gateway.await_metric("tidegate_websockets{service=\"a\"}", 1.0);
    let third = Socket::open(gateway.address, "/");
    drop((second, third));
}

#[test]
fn a_service_that_stands_in_has_bounds_of_its_own() {
    let origin = echoing();
    let before = |stand_in: &str| {
        Gateway::start(&format!(
            "services:\n  a: {{ targets: [\"http://{}\"], fallback: {{ to: b }} }}\n  b: {{ targets: [\"http://{}\"]{stand_in} }}\nroutes: [{{ name: a, to: a }}]\n",
            dead(),
            origin.address
        ))
    };
    let off = before(", websocket: off");
    ask(&mut off.client(), &asking()).problem(502, "bad-gateway");
    assert!(origin.received().is_empty(), "it has none");
    let one = before(", websocket: { connections: 1, compression: false }");
    let first = Socket::open(one.address, "/");
    ask(&mut one.client(), &asking()).problem(503, "unavailable");
    one.await_metric("tidegate_websockets{service=\"b\"}", 1.0);
    drop(first);
}

#[test]
fn an_open_one_counts_at_its_target() {
    let (one, two) = (echoing(), echoing());
    let gateway = Gateway::start(&format!(
        "services: {{ a: {{ targets: [\"http://{}\", \"http://{}\"], balance: least_requests }} }}\nroutes: [{{ name: a, match: {{ path: / }}, to: a }}]\n",
        one.address, two.address
    ));
    let open: Vec<_> = (0..8).map(|_| Socket::open(gateway.address, "/")).collect();
    assert_eq!((one.received().len(), two.received().len()), (4, 4));
    drop(open);
}
