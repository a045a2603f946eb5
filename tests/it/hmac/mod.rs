//! Requests that are signed, by the packages `http-message-signatures` and `http-signature`.

mod bodies;
mod once;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::support::client::{H2, Response};
use crate::support::peers::Peer;
use crate::support::{Answer, Client, Gateway, Origin, block_on};

const SECRET: &str = "a-secret-that-nobody-may-see-anywhere";
const HOST: &str = "gateway.test";
const FIELDS: [&str; 4] = ["@method", "@authority", "@path", "@query"];
const OLDER: [&str; 4] = ["(request-target)", "host", "date", "digest"];

/// A client that signs.
struct Signer {
    peer: Mutex<(Peer, usize)>,
    keys: Map<String, Value>,
}

/// A request, with the headers that sign it.
#[derive(Clone)]
struct Signed {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Signer {
    fn start() -> Self {
        let peer = Peer::start("signer.mjs", &[SECRET]);
        let keys = serde_json::from_str(peer.await_line("keys ").trim_start_matches("keys ")).unwrap();
        Self { peer: Mutex::new((peer, 0)), keys }
    }

    /// What it says to this.
    fn ask(&self, what: &Value) -> Vec<(String, String)> {
        let (peer, asked) = &mut *self.peer.lock().unwrap();
        peer.say(&what.to_string());
        *asked += 1;
        let said: Map<String, Value> = serde_json::from_str(peer.await_lines("signed ", *asked).trim_start_matches("signed ")).unwrap();
        said.into_iter().map(|(name, value)| (name, value.as_str().unwrap().to_owned())).collect()
    }

    /// Signed over the usual, and the digest of the body where there is one; `more` overrides what the signer is told.
    fn sign(&self, method: &'static str, path: &str, body: &[u8], more: Value) -> Signed {
        let mut headers = vec![("x-tenant".to_owned(), "blue".to_owned())];
        let mut fields: Vec<_> = FIELDS.into_iter().filter(|name| *name != "@query" || path.contains('?')).chain(["x-tenant"]).collect();
        if !body.is_empty() {
            headers.push(("content-digest".to_owned(), format!("sha-256=:{}:", STANDARD.encode(digest(&SHA256, body)))));
            fields.push("content-digest");
        }
        let map: Map<_, _> = headers.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
        let mut what =
            json!({"method": method, "url": format!("http://{HOST}{path}"), "headers": map, "key": "hmac-sha256", "fields": fields});
        what.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        headers.extend(self.ask(&what));
        Signed { method, path: path.to_owned(), headers, body: body.to_owned() }
    }

    /// The same in the older form.
    fn older(&self, method: &'static str, path: &str, body: &[u8], date: &str, more: Value) -> Signed {
        let mut headers: Vec<_> = [("date", date), ("host", HOST)].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let covered = if body.is_empty() { &OLDER[..3] } else { &OLDER[..] };
        if !body.is_empty() {
            headers.push(("digest".to_owned(), format!("SHA-256={}", STANDARD.encode(digest(&SHA256, body)))));
        }
        let map: Map<_, _> = headers.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
        let mut what =
            json!({"method": method, "url": format!("http://{HOST}{path}"), "headers": map, "secret": SECRET, "covered": covered});
        what.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        headers.extend(self.ask(&what));
        headers.retain(|(name, _)| name != "host");
        Signed { method, path: path.to_owned(), headers, body: body.to_owned() }
    }
}

impl Signed {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    fn path(self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    fn body(self, body: &[u8]) -> Self {
        Self { body: body.to_owned(), ..self }
    }

    /// Over HTTP/1.1, with its length.
    fn send(&self, client: &mut Client) -> Response {
        let length = if self.body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", self.body.len()) };
        client.send([self.head(&length).into_bytes(), self.body.clone()].concat());
        client.read()
    }

    fn head(&self, more: &str) -> String {
        let lines: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("{} {} HTTP/1.1\r\nHost: {HOST}\r\n{lines}{more}\r\n", self.method, self.path)
    }

    /// In chunks, so that its end tells its length.
    fn send_chunked(&self, client: &mut Client) -> Response {
        let chunk = |piece: &[u8]| [format!("{:x}\r\n", piece.len()).into_bytes(), piece.to_vec(), b"\r\n".to_vec()].concat();
        let body: Vec<u8> = self.body.chunks(10_000).flat_map(chunk).chain(*b"0\r\n\r\n").collect();
        client.send([self.head("Transfer-Encoding: chunked\r\n").into_bytes(), body].concat());
        client.read()
    }

    /// Over HTTP/2, without its length.
    async fn send_h2(&self, client: &H2) -> (u16, String) {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let body: &'static str = String::from_utf8(self.body.clone()).unwrap().leak();
        let pieces: Vec<&'static str> = if body.is_empty() { Vec::new() } else { vec![&body[..1], &body[1..]] };
        let (parts, body) = client.request(self.method, &self.path, &headers, &pieces).await;
        (parts.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
    }
}

fn config(signer: &Signer, origin: &Origin) -> String {
    let keys = signer.keys.iter().map(|(name, pem)| {
        let algorithm = if name.starts_with("rsa") { format!(", algorithm: {name}") } else { String::new() };
        format!("      - {{ id: {name}-1, public_key: {pem}{algorithm} }}\n")
    });
    format!(
        r#"
consumers:
  - name: app
    api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
    signing_keys: [{{ id: hmac-sha256-1, secret: {SECRET} }}]
  - name: partner
    signing_keys:
{}
services:
  up: {{ targets: ["http://{}"] }}
  echo: {{ mock: {{ echo: true }} }}
policies:
  - request: {{ headers: {{ set: {{ X-Consumer: "{{consumer.name}}" }} }} }}
routes:
  - {{ name: small, match: {{ path: "/small/{{rest...}}" }}, policies: [hmac: {{ max_body: 1KiB }}], to: up }}
  - {{ name: echo, match: {{ path: "/echo" }}, policies: [hmac], to: echo }}
  - {{ name: older, match: {{ path: "/older" }}, policies: [hmac: {{ forms: [cavage, rfc9421] }}], to: up }}
  - {{ name: either, match: {{ path: "/either" }}, policies: [any_of: [api_key, hmac]], to: up }}
  - {{ name: all, policies: [hmac], to: up }}
"#,
        keys.collect::<String>(),
        origin.address
    )
}

fn counting() -> Origin {
    Origin::answering(|seen| Answer::new(seen.body.len().to_string()))
}

fn why(answer: &Response) -> String {
    answer.problem(401, "unauthorized")["detail"].as_str().unwrap().to_owned()
}

#[test]
fn what_others_sign_is_taken_with_each_algorithm_over_both_protocols() {
    let (signer, origin) = (Signer::start(), counting());
    let gateway = Gateway::start(&config(&signer, &origin));
    let algorithms: Vec<_> = std::iter::once("hmac-sha256").chain(signer.keys.keys().map(String::as_str)).collect();
    assert_eq!(algorithms.len(), 6);
    let body = br#"{"amount": 1}"#;
    for algorithm in algorithms {
        let consumer = if algorithm == "hmac-sha256" { "app" } else { "partner" };
        let sign = |method, path: &str, body: &[u8]| signer.sign(method, path, body, json!({"key": algorithm}));
        let answer = sign("GET", "/orders?since=a%20b", b"").send(&mut gateway.client());
        assert_eq!((answer.status, answer.text().as_str()), (200, "0"), "{algorithm}: {answer:?}");
        let mut client = gateway.client();
        let answer = sign("POST", "/orders", body).send(&mut client);
        assert_eq!((answer.status, answer.text().as_str()), (200, "13"), "{algorithm}: {answer:?}");
        let seen = origin.last();
        assert_eq!((&*seen.body, seen.header("x-consumer")), (&body[..], Some(consumer)));
        assert!(seen.header("signature").is_none() && seen.header("signature-input").is_none());
        assert!(seen.header("content-digest").is_some(), "what the digest says stays true");
        assert_eq!(sign("POST", "/orders?n=2", body).send_chunked(&mut client).text(), "13");
        let (get, post) = (sign("GET", "/h2?n=1", b""), sign("POST", "/h2", body));
        block_on(async {
            let client = H2::connect(gateway.address).await;
            assert_eq!(get.send_h2(&client).await, (200, "0".to_owned()), "{algorithm}");
            assert_eq!(post.send_h2(&client).await, (200, "13".to_owned()), "{algorithm}");
        });
    }
}

#[test]
fn what_is_not_as_it_was_signed_is_refused_and_reaches_no_service() {
    let (signer, origin) = (Signer::start(), counting());
    let gateway = Gateway::start(&config(&signer, &origin));
    let body = br#"{"amount": 1}"#;
    let number = AtomicUsize::new(0);
    let usual = || {
        let nonce = number.fetch_add(1, Ordering::Relaxed).to_string();
        signer.sign("POST", "/orders?n=1", body, json!({"params": {"nonce": nonce}}))
    };
    let params = |params: Value| signer.sign("POST", "/orders?n=1", body, json!({ "params": params }));
    let other = signer.sign("POST", "/orders?n=1", body, json!({"key": "ed25519"}));
    let swap = |signed: Signed, from: &str, to: &str| {
        let input = signed.headers.iter().find(|(name, _)| name == "signature-input").unwrap().1.replace(from, to);
        signed.header("signature-input", &input)
    };
    let two = |signed: Signed| {
        let value = |name: &str| signed.headers.iter().find(|(known, _)| known == name).unwrap().1.clone();
        let (input, signature) = (value("signature-input"), value("signature"));
        let signed = signed.header("signature-input", &format!("{input}, {}", input.replacen("sig=", "two=", 1)));
        signed.header("signature", &format!("{signature}, {}", signature.replacen("sig=", "two=", 1)))
    };
    let fewer = signer.sign("POST", "/orders?n=1", body, json!({"fields": ["@method", "@authority", "@path", "content-digest"]}));
    let unsigned = signer.sign("POST", "/orders?n=1", body, json!({"fields": FIELDS}));
    let cases = [
        ("the body is not the one that was signed", usual().body(br#"{"amount": 9}"#)),
        ("the body is not the one that was signed", usual().body(b"")),
        ("the signature is not valid", usual().header("x-tenant", "red")),
        ("the signature is not valid", usual().path("/orders?n=2")),
        ("the signature is not valid", Signed { method: "PUT", ..usual() }),
        ("the signature covers `x-tenant`, which the request does not have", usual().without("x-tenant")),
        ("the signature does not cover `@query`", signer.sign("POST", "/orders", body, json!({})).path("/orders?n=1")),
        ("the signature does not cover `@query`", fewer),
        ("the signature covers no digest of the body", unsigned),
        ("the signature is too old", params(json!({"created": -302}))),
        ("the signature is from the future", params(json!({"created": 60}))),
        ("the signature has expired", params(json!({"created": -9, "expires": -2}))),
        ("the signature has no `created`", params(json!({"created": null}))),
        ("the signature is not valid", params(json!({"keyid": "nobody"}))),
        ("the signature is not valid", params(json!({"keyid": "ed25519-1"}))),
        ("the signature is not valid", swap(other, "\"ed25519\"", "\"hmac-sha256\"")),
        ("there is more than one signature", two(usual())),
        ("`Signature-Input` and `Signature` belong together", usual().without("signature")),
        ("`Signature-Input` is malformed", usual().header("signature-input", "sig=(")),
        ("`Signature` is malformed", usual().header("signature", "sig=:?:")),
        ("a signature is required", usual().without("signature").without("signature-input")),
    ];
    for (expected, signed) in &cases {
        let answer = signed.send(&mut gateway.client());
        assert_eq!(&why(&answer), expected);
        assert_eq!(answer.header("www-authenticate"), Some("Signature"));
        assert!(answer.header("accept-signature").is_some_and(|value| value.starts_with("sig=(\"@method\" ")));
    }
    block_on(async {
        for (_, signed) in &cases {
            let client = H2::connect(gateway.address).await;
            let (status, body) = signed.send_h2(&client).await;
            assert_eq!(status, 401, "{body}");
        }
    });
    assert_eq!((origin.seen().len(), origin.connections()), (0, 0));
    let line = gateway.await_log("an unknown key", |line| line["cause"] == "no consumer has the key \"nobody\"");
    assert!(line["policy"] == "hmac" && line["consumer"].is_null(), "{line}");
    let told = [gateway.said(), gateway.ask("/metrics").1, gateway.ask("/status").1, format!("{:?}", gateway.log())];
    assert!(told.iter().all(|told| !told.contains(SECRET)));
}

#[test]
fn a_signature_is_good_once_over_both_protocols_and_a_reload() {
    let (signer, origin) = (Signer::start(), counting());
    let yaml = config(&signer, &origin);
    let gateway = Gateway::start(&yaml);
    let once = signer.sign("GET", "/once", b"", json!({}));
    assert_eq!(once.send(&mut gateway.client()).status, 200);
    assert_eq!(why(&once.send(&mut gateway.client())), "the signature was used before");
    block_on(async {
        let (status, body) = once.send_h2(&H2::connect(gateway.address).await).await;
        assert!(status == 401 && body.contains("used before"), "{status} {body}");
    });
    assert_eq!(gateway.rewrite(&yaml.replace("max_body: 1KiB", "max_body: 2KiB")), "done");
    assert_eq!(why(&once.send(&mut gateway.client())), "the signature was used before");
    // Of a nonce, even in the same second.
    for nonce in ["1", "2"] {
        let answer = signer.sign("GET", "/once", b"", json!({"params": {"nonce": nonce}})).send(&mut gateway.client());
        assert_eq!(answer.status, 200);
    }
    // All at once: one of them is the first.
    let raced = signer.sign("GET", "/once", b"", json!({"params": {"nonce": "3"}}));
    let good = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| raced.send(&mut gateway.client()).status)).collect();
        all.into_iter().map(|one| one.join().unwrap()).filter(|status| *status == 200).count()
    });
    assert_eq!(good, 1);
}

#[test]
fn the_older_form_is_taken_where_it_is_asked_for_and_held_to_the_same() {
    let (signer, origin) = (Signer::start(), counting());
    let gateway = Gateway::start(&config(&signer, &origin));
    let date = |ahead: i64| {
        let now = std::time::SystemTime::now();
        let ago = std::time::Duration::from_secs(ahead.unsigned_abs());
        httpdate::fmt_http_date(if ahead < 0 { now - ago } else { now + ago })
    };
    let body = br#"{"amount": 1}"#;
    let usual = |number: u8| signer.older("POST", &format!("/older?n={number}"), body, &date(0), json!({}));
    let first = usual(0);
    let sent = first.send(&mut gateway.client());
    assert_eq!((sent.status, sent.text().as_str()), (200, "13"), "{sent:?}");
    let seen = origin.last();
    assert!(seen.header("authorization").is_none() && seen.header("x-consumer") == Some("app"), "{seen:?}");
    let strong = signer.older("GET", "/older?n=1", b"", &date(0), json!({"algorithm": "hmac-sha512"}));
    assert_eq!(strong.send(&mut gateway.client()).status, 200);
    let over_h2 = usual(2);
    block_on(async { assert_eq!(over_h2.send_h2(&H2::connect(gateway.address).await).await, (200, "13".to_owned())) });
    let new = signer.sign("GET", "/older", b"", json!({}));
    assert_eq!(new.send(&mut gateway.client()).status, 200);
    for (expected, signed) in [
        ("the signature was used before", first),
        ("the body is not the one that was signed", usual(3).body(br#"{"amount": 9}"#)),
        ("the signature is not valid", usual(4).path("/older?n=9")),
        ("the signature is not valid", usual(5).header("date", &date(-1))),
        ("the signature is not valid", signer.older("GET", "/older", b"", &date(0), json!({"secret": "another-secret-altogether"}))),
        ("the signature is too old", signer.older("GET", "/older", b"", &date(-302), json!({}))),
        ("the signature is from the future", signer.older("GET", "/older", b"", &date(60), json!({}))),
        (
            "the signature does not cover `@authority`",
            signer.older("GET", "/older", b"", &date(0), json!({"covered": ["(request-target)", "date"]})),
        ),
        ("the signature covers no digest of the body", signer.older("POST", "/older", body, &date(0), json!({"covered": OLDER[..3]}))),
        ("`Authorization` is malformed", usual(6).header("authorization", "Signature keyId=\"a")),
        ("a signature is required", usual(7).without("authorization")),
        ("a signature is required", usual(8).path("/orders")),
    ] {
        let answer = signed.send(&mut gateway.client());
        assert_eq!(why(&answer), expected);
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge == "Signature" || challenge == "Signature headers=\"(request-target) host date digest\"", "{challenge}");
    }
}

#[test]
fn where_an_api_key_is_enough_too_a_signed_body_is_held_to_its_digest_and_no_other() {
    let (signer, origin) = (Signer::start(), counting());
    let gateway = Gateway::start(&config(&signer, &origin));
    let bare = signer.sign("POST", "/either", b"hello", json!({})).without("signature").without("signature-input");
    let keyed = bare.clone().header("x-api-key", "test").body(b"hallo!");
    assert_eq!(keyed.send(&mut gateway.client()).text(), "6");
    let signed = signer.sign("POST", "/either", b"hello", json!({}));
    assert_eq!(signed.send(&mut gateway.client()).text(), "5");
    let seen = origin.last();
    assert!(seen.header("signature").is_none() && seen.header("x-consumer") == Some("app"), "{seen:?}");
    let tampered = signer.sign("POST", "/either", b"hello", json!({"params": {"nonce": "2"}})).body(b"hallo");
    assert_eq!(why(&tampered.send(&mut gateway.client())), "the body is not the one that was signed");
    gateway.await_log("who refused", |line| line["policy"] == "hmac" && line["status"] == 401);
    let answer = bare.send(&mut gateway.client());
    answer.problem(401, "unauthorized");
    assert_eq!(answer.all("www-authenticate"), ["ApiKey", "Signature"]);
    assert!(answer.header("accept-signature").is_some());
    assert_eq!(origin.seen().len(), 0, "the service saw the two that are good");
}
