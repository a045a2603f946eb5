//! Answers that go out shorter, read back by clients as they came from the service.

use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use http_body_util::BodyExt;

use crate::support::client::{H2, Response};
use crate::support::gateway::check;
use crate::support::{Gateway, Origin, PATIENCE, RawOrigin};

/// As far as it can be read: the end may be missing yet.
fn decoded(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut read: Box<dyn Read> = match coding {
        "zstd" => Box::new(zstd::stream::read::Decoder::new(bytes).unwrap()),
        "br" => Box::new(brotli::Decompressor::new(bytes, 4096)),
        "gzip" => Box::new(flate2::read::GzDecoder::new(bytes)),
        other => panic!("{other}"),
    };
    let (mut out, mut byte) = (Vec::new(), [0]);
    while matches!(read.read(&mut byte), Ok(1)) {
        out.push(byte[0]);
    }
    out
}

fn text() -> String {
    (0..5000).map(|number| format!("{{\"id\":{number},\"name\":\"user {number}\"}}\n")).collect()
}

/// `/json` is large, `/small` is not, and the others are what must be left alone.
fn up() -> Origin {
    Origin::answering(|seen| {
        let answer = http::Response::builder().header("content-type", "application/json");
        match &*seen.target {
            "/json" if seen.header("if-none-match").is_some_and(|tag| tag == "W/\"a\"") => {
                answer.status(304).header("etag", "\"a\"").body(String::new())
            }
            "/json" => answer.header("etag", "\"a\"").header("accept-ranges", "bytes").body(text()),
            "/small" => answer.body("{\"id\":1}".to_owned()),
            "/encoded" => answer.header("content-encoding", "br").body(text()),
            "/fixed" => answer.header("cache-control", "no-transform").body(text()),
            "/part" => answer.status(206).header("content-range", "bytes 0-9999/20000").body(text()[..10_000].to_owned()),
            "/none" => answer.status(204).body(String::new()),
            _ => http::Response::builder().header("content-type", "image/png").body(text()),
        }
        .unwrap()
    })
}

fn gateway(up: std::net::SocketAddr) -> Gateway {
    Gateway::start(&format!(
        r#"
services: {{ up: {{ targets: ["http://{up}"] }}, mocked: {{ mock: {{ json: [{}] }} }}, small: {{ mock: {{ json: {{ a: 1 }} }} }} }}
policies: [compress]
routes:
  - {{ name: composed, match: {{ path: /composed }}, compose: {{ parts: {{ a: {{ get: "mocked:/" }} }} }} }}
  - {{ name: few, match: {{ path: /few }}, compose: {{ parts: {{ a: {{ get: "small:/" }} }} }} }}
  - {{ name: mocked, match: {{ path: /mocked }}, to: mocked }}
  - {{ name: up, to: up }}
"#,
        vec!["\"the same again\""; 5000].join(",")
    ))
}

#[test]
fn every_client_reads_what_the_service_has_said() {
    let up = up();
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    for coding in ["zstd", "br", "gzip"] {
        for path in ["/json", "/composed", "/mocked"] {
            let whole = client.get_with(path, "Accept-Encoding: identity\r\n");
            assert_eq!((whole.header("content-encoding"), whole.header("vary")), (None, Some("Accept-Encoding")), "{path}");
            let answer = client.get_with(path, &format!("Accept-Encoding: deflate, {coding}\r\n"));
            assert_eq!(
                (answer.status, answer.header("content-encoding"), answer.header("vary")),
                (200, Some(coding), Some("Accept-Encoding")),
                "{path}"
            );
            assert!(answer.body.len() < whole.body.len() / 3, "{coding} {path}: {} of {}", answer.body.len(), whole.body.len());
            assert!(decoded(coding, &answer.body) == whole.body, "{coding} {path}");
            assert_eq!(answer.header("accept-ranges"), None);
            // What is here as a whole says its length, and what comes bit by bit cannot.
            assert_eq!(answer.header("content-length").is_some(), path != "/json", "{coding} {path}");
        }
    }
    assert!(gateway.metric("tidegate_encoded_bytes_total{coding=\"br\",when=\"before\"}") > 2.0 * text().len() as f64);
    assert!(gateway.metric("tidegate_encoded_bytes_total{coding=\"br\",when=\"after\"}") > 100.0);
}

#[tokio::test]
async fn so_does_every_client_of_http2() {
    let up = up();
    let gateway = gateway(up.address);
    let client = H2::connect(gateway.address).await;
    for coding in ["zstd", "br", "gzip"] {
        for path in ["/json", "/composed", "/mocked"] {
            let (_, whole) = client.get(path).await;
            let (head, body) = client.request("GET", path, &[("accept-encoding", coding)], &[]).await;
            assert_eq!((head.status.as_u16(), head.headers["content-encoding"].to_str().unwrap()), (200, coding), "{path}");
            assert!(body.len() < whole.len() / 3 && decoded(coding, &body) == whole, "{coding} {path}");
            let (head, body) = client.request("HEAD", path, &[("accept-encoding", coding)], &[]).await;
            assert_eq!((&head.headers["content-encoding"], body.len()), (&http::HeaderValue::from_static(coding), 0), "{path}");
        }
    }
}

#[test]
fn what_must_not_change_comes_as_it_is() {
    let up = up();
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    for (path, status, coding, varies) in [
        ("/small", 200, None, false),
        ("/few", 200, None, false),
        ("/encoded", 200, Some("br"), false),
        ("/fixed", 200, None, false),
        ("/part", 206, None, false),
        ("/none", 204, None, false),
        ("/image", 200, None, false),
    ] {
        let answer = client.get_with(path, "Accept-Encoding: br, gzip\r\n");
        assert_eq!((answer.status, answer.header("content-encoding"), answer.header("vary").is_some()), (status, coding, varies), "{path}");
        let plain = client.get(path);
        assert!(answer.body == plain.body && answer.header("content-length") == plain.header("content-length"), "{path}");
    }
    let answer = client.get_with("/few", "Accept-Encoding: gzip, identity;q=0\r\n");
    assert_eq!(decoded(answer.header("content-encoding").unwrap(), &answer.body), b"{\"a\":{\"a\":1}}");
    client.send("GET /json HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let answer = client.read();
    assert_eq!((answer.header("content-encoding"), answer.text() == text()), (None, true));
}

#[test]
fn head_says_what_get_would() {
    let up = up();
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    for path in ["/json", "/composed"] {
        let shown = |answer: &Response| {
            let mut headers: Vec<_> = answer
                .headers
                .iter()
                .filter(|(name, _)| !matches!(&**name, "date" | "content-length" | "transfer-encoding"))
                .cloned()
                .collect();
            headers.sort();
            (answer.status, headers)
        };
        let whole = client.get_with(path, "Accept-Encoding: gzip\r\n");
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: gateway.test\r\nAccept-Encoding: gzip\r\n\r\n"));
        let head = client.read_head();
        assert_eq!(shown(&head), shown(&whole), "{path}");
        assert_eq!(client.get("/small").status, 200, "the connection goes on");
    }
}

#[test]
fn a_weak_tag_is_as_good_as_before() {
    let up = up();
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    for path in ["/json", "/composed"] {
        let first = client.get_with(path, "Accept-Encoding: gzip\r\n");
        let tag = first.header("etag").unwrap().to_owned();
        assert!(tag.starts_with("W/\""), "{tag}");
        let again = client.get_with(path, &format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n"));
        assert_eq!((again.status, again.header("etag"), again.header("vary")), (304, Some(&*tag), Some("Accept-Encoding")), "{path}");
        assert!(again.body.is_empty() && again.header("content-encoding").is_none());
        let strong = client.get(path);
        assert_eq!(strong.header("etag"), tag.strip_prefix("W/"), "{path}");
    }
}

/// An origin that says one event after the other, each when it is told to.
fn events() -> (RawOrigin, std::sync::mpsc::Sender<()>) {
    let (go, told) = channel::<()>();
    let told = Mutex::new(told);
    let up = RawOrigin::start(move |mut talk| {
        while talk.request().is_some() {
            talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
            for number in 0..3 {
                if told.lock().unwrap().recv_timeout(PATIENCE).is_err() {
                    return;
                }
                let event = format!("data: {number}\n\n");
                talk.say(format!("{:x}\r\n{event}\r\n", event.len()));
            }
            talk.say("0\r\n\r\n");
        }
    });
    (up, go)
}

#[tokio::test]
async fn an_event_can_be_read_before_the_next_one_comes() {
    let (up, go) = events();
    let gateway = gateway(up.address);
    let client = H2::connect(gateway.address).await;
    for coding in ["zstd", "br", "gzip"] {
        let (head, mut body) = client.begin("GET", "/events", &[("accept-encoding", coding)], &[]).await;
        assert_eq!(head.headers["content-encoding"], coding);
        let (mut bytes, mut sent) = (Vec::new(), String::new());
        for number in 0..3 {
            go.send(()).unwrap();
            sent.push_str(&format!("data: {number}\n\n"));
            while decoded(coding, &bytes) != sent.as_bytes() {
                let piece = tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
                bytes.extend_from_slice(&piece.into_data().unwrap());
            }
        }
        bytes.extend_from_slice(&body.collect().await.unwrap().to_bytes());
        assert_eq!(decoded(coding, &bytes), sent.as_bytes());
    }
}

#[test]
fn an_event_can_be_read_over_http1_too() {
    let (up, go) = events();
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    client.send("GET /events HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    let head = client.head();
    assert_eq!(
        (head.header("content-encoding"), head.header("transfer-encoding"), head.header("content-length")),
        (Some("gzip"), Some("chunked"), None)
    );
    let (mut bytes, mut sent) = (Vec::new(), String::new());
    let chunk = |client: &mut crate::support::Client| {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(client.bytes(1));
        }
        let size = usize::from_str_radix(String::from_utf8(line).unwrap().trim(), 16).unwrap();
        let chunk = client.bytes(size);
        client.bytes(2);
        chunk
    };
    for number in 0..3 {
        go.send(()).unwrap();
        sent.push_str(&format!("data: {number}\n\n"));
        while decoded("gzip", &bytes) != sent.as_bytes() {
            bytes.extend(chunk(&mut client));
        }
    }
    loop {
        let last = chunk(&mut client);
        if last.is_empty() {
            break;
        }
        bytes.extend(last);
    }
    let mut whole = String::new();
    flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut whole).unwrap();
    assert_eq!(whole, sent, "to its end, with the right checksum");
    assert_eq!(client.get("/composed").status, 200, "the connection goes on");
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    let up = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n");
        talk.say("x".repeat(50_000));
    });
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    client.send("GET /broken HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert!(client.try_read().is_err(), "the last chunk never comes");
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    for (settings, words) in [
        ("with: [deflate]", "deflate"),
        ("with: []", "policies[0].compress.with: there is nothing to do it with"),
        ("with: [gzip, gzip]", "policies[0].compress.with[1]: `gzip` stands here twice"),
        ("types: [\"*/*\"]", "policies[0].compress.types[0]: `*/*` is no type of content"),
        ("types: []", "policies[0].compress.types: no answer is of these types"),
        ("from: much", "from"),
        ("level: 9", "level"),
    ] {
        let (right, said) =
            check(&format!("policies: [compress: {{ {settings} }}]\nroutes: [{{ name: a, match: {{ path: /a }}, reply: {{}} }}]\n"));
        assert!(!right && said.contains(words), "{settings}:\n{said}");
    }
}
