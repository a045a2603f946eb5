//! What HTTP means stays the same whatever is spoken on either side (RFC 9110): each case with HTTP/1.1 and HTTP/2 before and behind the gateway.

use std::sync::{Mutex, mpsc};

use http::{Method, StatusCode, Version};
use http_body_util::BodyExt;

use crate::support::client::H2;
use crate::support::frames::Frames;
use crate::support::{Answer, Client, Gateway, Origin, PATIENCE, RawOrigin};

/// HTTP/1.1 and HTTP/2.
const BOTH: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

fn before(address: std::net::SocketAddr, behind: Version) -> Gateway {
    let protocol = if behind == Version::HTTP_2 { "http2" } else { "http1" };
    Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{address}\"], protocol: {protocol} }} }}\nroutes: [{{ name: up, to: up }}]\n"
    ))
}

/// A client of either kind, on one connection.
enum Asking {
    One(Box<Client>),
    Two(H2),
}

/// What it got.
struct Got {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

impl Asking {
    async fn of(gateway: &Gateway, version: Version) -> Self {
        if version == Version::HTTP_2 { Self::Two(H2::connect(gateway.address).await) } else { Self::One(Box::new(gateway.client())) }
    }

    /// A request with a body whose length is told, or not, or without one.
    async fn ask(&mut self, method: &str, path: &str, body: Option<(&'static str, bool)>) -> Got {
        let length = body.filter(|(_, told)| *told).map(|(text, _)| text.len().to_string());
        match self {
            Self::One(client) => {
                client.send(format!("{method} {path} HTTP/1.1\r\nHost: gateway.test\r\n"));
                let _ = match (body, length) {
                    (Some((text, _)), Some(length)) => client.try_send(format!("Content-Length: {length}\r\n\r\n{text}")),
                    (Some(("", _)), None) => client.try_send("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
                    (Some((text, _)), None) => {
                        client.try_send(format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n0\r\n\r\n", text.len()))
                    }
                    (None, _) => client.try_send("\r\n"),
                };
                let answer = if method == "HEAD" { client.read_head() } else { client.read() };
                Got { status: answer.status, headers: answer.headers, body: answer.body }
            }
            Self::Two(client) => {
                let headers: Vec<_> = length.iter().map(|length| ("content-length", &**length)).collect();
                let pieces: Vec<_> = body.iter().map(|(text, _)| *text).collect();
                let (parts, body) = client.request(method, path, &headers, &pieces).await;
                let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
                Got { status: parts.status.as_u16(), headers: headers.collect(), body: body.to_vec() }
            }
        }
    }
}

#[tokio::test]
async fn what_has_no_body_says_so_and_leaves_the_connection() {
    for behind in BOTH {
        let answer = |seen: &crate::support::origin::Seen| {
            let path = seen.target.rsplit_once('/').unwrap().1;
            let answer = http::Response::builder();
            match path {
                "204" => answer.status(204).body(String::new()),
                "304" => answer.status(304).header("etag", "\"a\"").body(String::new()),
                "304-5" => answer.status(304).header("etag", "\"a\"").header("content-length", "5").body(String::new()),
                "empty" => answer.body(String::new()),
                // hyper sends a body to a HEAD over HTTP/2, unless it is kept from it.
                _ if seen.method == Method::HEAD => answer.header("content-length", "5").body(String::new()),
                _ => answer.body("hello".to_owned()),
            }
            .unwrap()
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let origin = if behind == Version::HTTP_2 { Origin::http2(answer) } else { Origin::at(any, answer) };
        let gateway = before(origin.address, behind);
        for ahead in BOTH {
            let mut asking = Asking::of(&gateway, ahead).await;
            for (method, path, status, length, body) in [
                ("HEAD", "/hello", 200, Some("5"), ""),
                ("GET", "/204", 204, None, ""),
                ("GET", "/304", 304, None, ""),
                ("GET", "/304-5", 304, Some("5"), ""),
                ("HEAD", "/304-5", 304, Some("5"), ""),
                ("GET", "/empty", 200, Some("0"), ""),
                ("POST", "/empty", 200, Some("0"), ""),
                ("GET", "/hello", 200, Some("5"), "hello"),
            ] {
                let got = asking.ask(method, path, None).await;
                let what = format!("{method} {path}, {ahead:?} to {behind:?}: {:?}", got.headers);
                assert_eq!((got.status, got.body), (status, body.as_bytes().to_vec()), "{what}");
                let header = |name: &str| got.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value);
                match (header("content-length"), path) {
                    // What a 304 says of the length is of no use to anyone, and may be left out.
                    (None, "/304-5") => {}
                    // Over HTTP/2 nobody needs to say that nothing comes.
                    (None, "/empty") if behind == Version::HTTP_2 => continue,
                    (said, _) => assert_eq!(said, length, "{what}"),
                }
                assert_eq!(header("transfer-encoding"), None, "{what}");
                assert_eq!(header("etag").is_some(), status == 304, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn bodies_pass_whole_however_they_are_framed() {
    let large: &'static str = "tide".repeat(500_000).leak();
    for behind in BOTH {
        let answer = |seen: &crate::support::origin::Seen| {
            let length = seen.header("content-length").unwrap_or("none").to_owned();
            http::Response::builder().header("x-length", length).body(String::from_utf8(seen.body.to_vec()).unwrap()).unwrap()
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let origin = if behind == Version::HTTP_2 { Origin::http2(answer) } else { Origin::at(any, answer) };
        let gateway = before(origin.address, behind);
        for ahead in BOTH {
            let mut asking = Asking::of(&gateway, ahead).await;
            for body in [("", true), ("", false), ("hello", true), ("hello", false), (large, true), (large, false), ("hello", true)] {
                let got = asking.ask("POST", "/", Some(body)).await;
                let what = format!("{} bytes, told: {}, {ahead:?} to {behind:?}", body.0.len(), body.1);
                assert_eq!((got.status, got.body.len()), (200, body.0.len()), "{what}");
                assert!(got.body == body.0.as_bytes(), "{what}");
                if body.1 {
                    assert_eq!(got.header("x-length"), Some(&*body.0.len().to_string()), "{what}");
                }
            }
        }
    }
}

/// Sends two events, the second when it is told to, and says when nobody listens any more.
fn events(behind: Version) -> (RawOrigin, mpsc::Sender<()>, mpsc::Receiver<()>) {
    let ((go, gate), (tell, told)) = (mpsc::channel(), mpsc::channel());
    let (gate, tell) = (Mutex::new(gate), Mutex::new(tell));
    let origin = RawOrigin::start(move |mut talk| {
        let wait = || gate.lock().unwrap().recv().unwrap();
        if behind == Version::HTTP_2 {
            let Some(mut frames) = Frames::open(talk) else { return };
            while let Some(stream) = frames.request() {
                frames.head(stream);
                frames.body(stream, "data: 1\n\n", false);
                wait();
                frames.body(stream, "data: 2\n\n", false);
                assert_eq!(frames.given_up(stream), Some(8), "CANCEL");
                tell.lock().unwrap().send(()).unwrap();
            }
        } else {
            talk.request();
            talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n");
            wait();
            talk.say("9\r\ndata: 2\n\n\r\n");
            talk.until_closed();
            tell.lock().unwrap().send(()).unwrap();
        }
    });
    (origin, go, told)
}

#[tokio::test]
async fn events_come_one_by_one_and_the_target_notices_that_nobody_listens() {
    for behind in BOTH {
        for ahead in BOTH {
            let (origin, go, told) = events(behind);
            let gateway = before(origin.address, behind);
            if ahead == Version::HTTP_2 {
                let client = H2::connect(gateway.address).await;
                let (parts, mut body) = client.begin("GET", "/", &[("accept", "text/event-stream")], &[]).await;
                assert_eq!(parts.status, StatusCode::OK);
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 1\n\n");
                go.send(()).unwrap();
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "data: 2\n\n");
                drop(body);
                // The connection is driven until the word is out.
                tokio::task::spawn_blocking(move || told.recv_timeout(PATIENCE).unwrap()).await.unwrap();
            } else {
                let mut client = gateway.client();
                client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
                assert_eq!(client.head().status, 200);
                assert_eq!(client.bytes(14), b"9\r\ndata: 1\n\n\r\n");
                go.send(()).unwrap();
                assert_eq!(client.bytes(14), b"9\r\ndata: 2\n\n\r\n");
                drop(client);
                told.recv_timeout(PATIENCE).unwrap();
            }
        }
    }
}

#[test]
fn a_client_that_waits_for_its_turn_gets_it_from_targets_of_both_kinds() {
    for behind in BOTH {
        let answer = |seen: &crate::support::origin::Seen| {
            // This is for the gateway's side alone, once the gateway has met it.
            assert_eq!(seen.header("expect").is_some(), seen.version == Version::HTTP_11);
            Answer::new(String::from_utf8(seen.body.to_vec()).unwrap())
        };
        let any = "127.0.0.1:0".parse().unwrap();
        let origin = if behind == Version::HTTP_2 { Origin::http2(answer) } else { Origin::at(any, answer) };
        let gateway = before(origin.address, behind);
        let mut client = gateway.client();
        for _ in 0..2 {
            client.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
            assert_eq!(client.head().status, 100, "{behind:?}");
            client.send("hello");
            let answer = client.read();
            assert_eq!((answer.status, &*answer.text()), (200, "hello"));
        }
    }
}

#[test]
fn a_refusal_by_the_target_comes_before_the_body_and_hints_before_the_answer() {
    let origin = RawOrigin::start(|mut talk| {
        while let Some(request) = talk.header() {
            if request.starts_with(b"POST") {
                talk.say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                return talk.until_closed();
            }
            talk.say("HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        }
    });
    let gateway = before(origin.address, Version::HTTP_11);
    let mut client = gateway.client();
    let answer = client.get("/");
    assert_eq!((answer.status, &*answer.text(), answer.interim), (200, "here", vec![103]));
    client.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.read();
    assert_eq!((answer.status, answer.interim), (413, vec![]));
}
