//! Answers that go out shorter, read back by clients as they came from the service.

use std::io::Read;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use http_body_util::BodyExt;

use crate::support::client::{H2, Response};
use crate::support::frames::Frames;
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
            "/json" | "/image" if seen.header("if-none-match").is_some_and(|tags| tags.split(", ").any(|tag| tag == "\"a\"")) => {
                answer.status(304).header("etag", "\"a\"").body(String::new())
            }
            "/json" if seen.header("if-match").is_some_and(|tag| tag != "\"a\"") => answer.status(412).body(String::new()),
            "/json" if seen.method == "PUT" => answer.status(204).header("etag", "\"b\"").body(String::new()),
            "/json" if seen.header("range").is_some() && seen.header("if-range").is_none_or(|tag| tag == "\"a\"") => {
                answer.status(206).header("etag", "\"a\"").header("content-range", "bytes 0-9/100").body(text()[..10].to_owned())
            }
            "/json" => answer.header("etag", "\"a\"").header("accept-ranges", "bytes").body(text()),
            "/small" => answer.body("{\"id\":1}".to_owned()),
            "/encoded" => answer.header("content-encoding", "br").body(text()),
            "/fixed" => answer.header("cache-control", "no-transform").body(text()),
            "/part" => answer.status(206).header("content-range", "bytes 0-9999/20000").body(text()[..10_000].to_owned()),
            "/none" => answer.status(204).body(String::new()),
            _ => http::Response::builder().header("content-type", "image/png").header("etag", "\"a\"").body(text()),
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
fn the_tag_of_an_encoded_answer_is_as_good_as_the_services() {
    let up = up();
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    for path in ["/json", "/composed"] {
        let plain = client.get(path).header("etag").unwrap().to_owned();
        let first = client.get_with(path, "Accept-Encoding: gzip\r\n");
        let tag = first.header("etag").unwrap().to_owned();
        assert_eq!(tag, format!("W/{}~encoded\"", plain.strip_suffix('"').unwrap()));
        // A 304 has the tag that the client has; whoever has both forms is told which one is meant.
        for (named, told) in [(tag.clone(), &tag), (plain.clone(), &plain), (format!("\"b\", {tag}"), &tag)] {
            let again = client.get_with(path, &format!("Accept-Encoding: gzip\r\nIf-None-Match: {named}\r\n"));
            assert_eq!((again.status, again.header("etag"), again.header("vary")), (304, Some(&**told), Some("Accept-Encoding")), "{path}");
            assert!(again.body.is_empty() && again.header("content-encoding").is_none());
        }
        let other = client.get_with(path, &format!("If-None-Match: {tag}\r\n"));
        assert_eq!((other.status, other.header("etag")), (200, Some(&*plain)), "{path}: it cannot read what it has");
    }
    // Neither was that encoded.
    let image = client.get_with("/image", "Accept-Encoding: gzip\r\nIf-None-Match: \"a\"\r\n");
    assert_eq!((image.status, image.header("etag")), (304, Some("\"a\"")));
}

#[test]
fn who_changes_what_it_got_encoded_is_taken_at_its_word() {
    let up = up();
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    let tag = client.get_with("/json", "Accept-Encoding: br\r\n").header("etag").unwrap().to_owned();
    let mut put = |tag: &str| {
        client.send(format!("PUT /json HTTP/1.1\r\nHost: a\r\nAccept-Encoding: br\r\nIf-Match: {tag}\r\nContent-Length: 2\r\n\r\n{{}}"));
        let answer = client.read();
        (answer.status, answer.header("etag").map(ToOwned::to_owned))
    };
    assert_eq!(put(&tag), (204, Some("\"b\"".to_owned())));
    assert_eq!(put("W/\"old~encoded\"").0, 412);
    assert_eq!(put("W/\"a\"").0, 412, "a tag that the service made weak is none of the gateway's");
}

#[test]
fn a_part_is_never_put_to_what_came_encoded() {
    let up = up();
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    let tag = client.get_with("/json", "Accept-Encoding: gzip\r\n").header("etag").unwrap().to_owned();
    let range = |tag: &str| format!("Accept-Encoding: gzip\r\nRange: bytes=0-9\r\nIf-Range: {tag}\r\n");
    let answer = client.get_with("/json", &range(&tag));
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    assert!(decoded("gzip", &answer.body) == text().as_bytes());
    assert_eq!(client.get_with("/json", &range("\"a\"")).status, 206);
}

/// The gateway, encoding events too, so many answers at once.
fn streaming(up: std::net::SocketAddr, encoders: usize) -> Gateway {
    Gateway::start(&format!(
        r#"
server:
  limits: {{ encoders: {encoders}, streams: 1000 }}
services: {{ up: {{ targets: ["http://{up}"] }} }}
policies: [compress: {{ types: [text/event-stream, text/plain] }}]
routes: [{{ name: up, to: up }}]
"#
    ))
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
    let gateway = streaming(up.address, 128);
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
    let gateway = streaming(up.address, 128);
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
    (0..3).for_each(|_| go.send(()).unwrap());
    assert_eq!(client.get("/again").text(), sent, "the connection goes on");
}

#[test]
fn events_stay_as_they_are_where_nobody_has_named_them() {
    let (up, go) = events();
    let gateway = gateway(up.address);
    (0..3).for_each(|_| go.send(()).unwrap());
    let answer = gateway.client().get_with("/events", "Accept-Encoding: gzip, identity;q=0\r\n");
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, None));
    assert_eq!(answer.text(), "data: 0\n\ndata: 1\n\ndata: 2\n\n");
}

/// An origin whose answers wait behind their first piece until they are let go, or with `/stays` for ever; `/long` says its length before.
fn waiting() -> (RawOrigin, std::sync::mpsc::Sender<()>) {
    let (go, told) = channel::<()>();
    let told = Mutex::new(told);
    let up = RawOrigin::start(move |mut talk| {
        while let Some(request) = talk.request() {
            if request.starts_with(b"GET /long") {
                talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nETag: \"a\"\r\nContent-Length: 5000\r\n\r\n");
                talk.say("x".repeat(5000));
                continue;
            }
            let piece = "one line like the other\n".repeat(1000);
            talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
            talk.say(format!("{:x}\r\n{piece}\r\n", piece.len()));
            if request.starts_with(b"GET /stays") {
                return talk.until_closed();
            }
            if told.lock().unwrap().recv_timeout(PATIENCE).is_err() {
                return;
            }
            talk.say("0\r\n\r\n");
        }
    });
    (up, go)
}

#[tokio::test]
async fn what_comes_beyond_the_bound_goes_out_as_it_is() {
    let (up, go) = waiting();
    let gateway = streaming(up.address, 2);
    let client = H2::connect(gateway.address).await;
    let gzip = [("accept-encoding", "gzip")];
    let mut leaving = gateway.client();
    leaving.send("GET /stays HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    assert_eq!(leaving.head().header("content-encoding"), Some("gzip"));
    let (head, ending) = client.begin("GET", "/ends", &gzip, &[]).await;
    assert_eq!(head.headers["content-encoding"], "gzip");
    gateway.await_metric("tidegate_encoders", 2.0);
    let (head, body) = client.request("GET", "/long", &gzip, &[]).await;
    assert!(!head.headers.contains_key("content-encoding") && body.len() == 5000, "{head:?}");
    assert_eq!(
        (&head.headers["etag"], &head.headers["content-length"], &head.headers["vary"]),
        (
            &http::HeaderValue::from_static("\"a\""),
            &http::HeaderValue::from_static("5000"),
            &http::HeaderValue::from_static("Accept-Encoding"),
        )
    );
    assert_eq!((gateway.metric("tidegate_encoders_full_total"), gateway.metric("tidegate_encoders")), (1.0, 2.0));
    // One comes to its end, and the client of the other leaves: both make room.
    go.send(()).unwrap();
    let rest = ending.collect().await.unwrap().to_bytes();
    gateway.await_metric("tidegate_encoders", 1.0);
    assert_eq!(decoded("gzip", &rest).len(), 24_000);
    drop(leaving);
    gateway.await_metric("tidegate_encoders", 0.0);
    let (head, _) = client.request("GET", "/long", &gzip, &[]).await;
    assert_eq!(head.headers["content-encoding"], "gzip");
}

#[tokio::test]
async fn a_stream_under_way_takes_little_memory() {
    const STREAMS: u64 = 100;
    for (coding, most) in [("zstd", 500), ("br", 1200), ("gzip", 340)] {
        let (up, _go) = waiting();
        let gateway = streaming(up.address, 1000);
        let client = H2::connect(gateway.address).await;
        let mut open = Vec::new();
        let mut grown = Vec::new();
        for coding in ["identity", coding] {
            let before = gateway.memory();
            for _ in 0..STREAMS {
                let (head, mut body) = client.begin("GET", "/stays", &[("accept-encoding", coding)], &[]).await;
                assert_eq!(head.headers.contains_key("content-encoding"), coding != "identity");
                tokio::time::timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap();
                open.push(body);
            }
            grown.push((gateway.memory() - before) / STREAMS);
        }
        assert!(grown[1] < grown[0] + most, "{coding}: {} KiB for each stream, and {} for one that is not encoded", grown[1], grown[0]);
    }
}

#[tokio::test]
async fn trailers_that_are_announced_arrive_and_others_are_lost() {
    let up = RawOrigin::start(|talk| {
        let Some(mut frames) = Frames::open(talk) else { return };
        while let Some(stream) = frames.request() {
            let announced = [("content-type", "text/plain"), ("trailer", "x-sum")];
            frames.head_with(stream, if stream == 1 { &announced } else { &announced[..1] });
            frames.body(stream, "one line like the other", false);
            frames.trailers(stream, "x-sum", "5");
        }
    });
    let gateway = Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{}\"], protocol: http2 }} }}\npolicies: [compress]\nroutes: [{{ name: up, to: up }}]\n",
        up.address
    ));
    let client = H2::connect(gateway.address).await;
    let asked = [("accept-encoding", "gzip"), ("te", "trailers")];
    let (head, body, trailers) = client.whole("GET", "/", &asked, &[]).await;
    assert_eq!((head.headers.get("content-encoding"), &*body), (None, &b"one line like the other"[..]));
    assert_eq!(trailers.unwrap()["x-sum"], "5");
    let (head, body, trailers) = client.whole("GET", "/", &asked, &[]).await;
    assert_eq!((head.headers["content-encoding"].to_str().unwrap(), trailers), ("gzip", None));
    assert_eq!(decoded("gzip", &body), b"one line like the other");
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
