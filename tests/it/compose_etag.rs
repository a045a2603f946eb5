//! What a client that has an answer already is told: the tag of a composed answer, and 304.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::client::{H2, Response};
use crate::support::{Gateway, Origin, port};

/// A composition of one part, which says whatever `body` is, may be kept for a minute and depends on a header; and one of a part that is down.
fn gateway(up: &Origin) -> Gateway {
    Gateway::start(&format!(
        r#"
services: {{ up: {{ targets: ["http://{}"] }}, down: {{ targets: ["http://127.0.0.1:{}"] }} }}
routes:
  - {{ name: whole, match: {{ path: /whole }}, compose: {{ parts: {{ a: {{ get: "up:/", headers: {{ Accept-Language: "{{header.Accept-Language}}" }} }} }} }} }}
  - {{ name: partial, match: {{ path: /partial }}, compose: {{ parts: {{ a: {{ get: "up:/" }}, b: {{ get: "down:/" }} }} }} }}
  - {{ name: refused, match: {{ path: /refused }}, compose: {{ parts: {{ b: {{ get: "down:/", required: true }} }} }} }}
  - {{ name: passed, match: {{ path: /passed }}, compose: {{ parts: {{ a: {{ get: "up:/absent", required: true }} }} }} }}
"#,
        up.address,
        port()
    ))
}

fn up(other: &Arc<AtomicBool>) -> Origin {
    let other = other.clone();
    Origin::answering(move |seen| {
        let answer = http::Response::builder().header("cache-control", "max-age=60").header("etag", "\"its own\"");
        let answer = if seen.target == "/absent" { answer.status(404) } else { answer };
        answer.body(format!("{{\"n\":{}}}", if other.load(Ordering::SeqCst) { 2 } else { 1 })).unwrap()
    })
}

fn tag(answer: &Response) -> String {
    answer.header("etag").unwrap().to_owned()
}

#[test]
fn who_has_the_answer_gets_304_until_it_is_another() {
    let other = Arc::<AtomicBool>::default();
    let up = up(&other);
    let gateway = gateway(&up);
    let mut client = gateway.client();
    let whole = client.get("/whole");
    let tag = tag(&whole);
    assert!(tag.len() == 34 && tag.starts_with('"') && tag.ends_with('"'), "{tag}");
    for (lines, status) in [
        (format!("If-None-Match: {tag}\r\n"), 304),
        (format!("If-None-Match: W/{tag}\r\n"), 304),
        (format!("If-None-Match: \"a\", W/\"b\",{tag}\r\n"), 304),
        (format!("If-None-Match: \"a\"\r\nIf-None-Match: {tag}\r\n"), 304),
        ("If-None-Match: *\r\n".to_owned(), 304),
        ("If-None-Match: \"a\"\r\n".to_owned(), 200),
        (format!("If-None-Match: {}\r\n", tag.trim_matches('"')), 200),
    ] {
        let answer = client.get_with("/whole", &lines);
        assert_eq!((answer.status, answer.header("etag")), (status, Some(&*tag)), "{lines}");
        // RFC 9110 §15.4.5: what a 200 would say of caching, and nothing of the body.
        for (name, value) in [("cache-control", Some("max-age=60")), ("vary", Some("accept-language"))] {
            assert_eq!(answer.header(name), value, "{lines}");
        }
        assert!(answer.header("date").is_some());
        if status == 304 {
            for name in ["content-type", "content-length", "transfer-encoding"] {
                assert_eq!(answer.header(name), None, "{lines}");
            }
            assert!(answer.body.is_empty());
        }
    }
    other.store(true, Ordering::SeqCst);
    let answer = client.get_with("/whole", &format!("If-None-Match: {tag}\r\n"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "{\"a\":{\"n\":2}}"));
    assert_ne!(answer.header("etag"), Some(&*tag));
}

#[test]
fn head_is_get_without_its_body() {
    let up = up(&Arc::default());
    let gateway = gateway(&up);
    let mut client = gateway.client();
    let whole = client.get("/whole");
    client.send("HEAD /whole HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    let head = client.read_head();
    let shown = |answer: &Response| {
        let mut headers = answer.headers.clone();
        headers.retain(|(name, _)| name != "date");
        (answer.status, headers)
    };
    assert_eq!(shown(&head), shown(&whole));
    assert_eq!(head.header("content-length"), Some("13"));
    client.send(format!("HEAD /whole HTTP/1.1\r\nHost: gateway.test\r\nIf-None-Match: {}\r\n\r\n", tag(&whole)));
    assert_eq!(client.read_head().status, 304);
    assert_eq!(client.get("/whole").status, 200, "the connection goes on");
    assert!(up.seen().iter().all(|seen| seen.method == http::Method::GET));
}

#[test]
fn what_is_not_whole_or_no_answer_to_get_has_no_tag() {
    let up = up(&Arc::default());
    let gateway = gateway(&up);
    let mut client = gateway.client();
    for (path, status) in [("/partial", 200), ("/refused", 502), ("/passed", 404)] {
        let answer = client.get_with(path, "If-None-Match: *\r\n");
        assert_eq!((answer.status, answer.header("etag")), (status, None), "{path}");
    }
    client.send("POST /whole HTTP/1.1\r\nHost: gateway.test\r\nIf-None-Match: *\r\nContent-Length: 0\r\n\r\n");
    let answer = client.read();
    assert_eq!((answer.status, answer.header("etag")), (200, None));
}

#[tokio::test]
async fn http2_gets_304_too() {
    let up = up(&Arc::default());
    let gateway = gateway(&up);
    let client = H2::connect(gateway.address).await;
    let (whole, _) = client.get("/whole").await;
    let tag = whole.headers["etag"].to_str().unwrap().to_owned();
    let (answer, body) = client.request("GET", "/whole", &[("if-none-match", &tag)], &[]).await;
    assert_eq!((answer.status.as_u16(), body.len(), &answer.headers["etag"]), (304, 0, &whole.headers["etag"]));
}
