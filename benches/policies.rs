//! What a policy costs a request that goes on, by itself: down, on the attempt and up, as far as it has a word there. `api_key` is measured in
//! `consumers`, `ip_filter` and `acl` in `guard`, and `jwt` by itself.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

mod body;
mod kit;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use http::Method;
use pingora_http::{RequestHeader, ResponseHeader};
use ring::hmac::{HMAC_SHA256, Key};
use ring::signature::Ed25519KeyPair;
use tidegate::body::{Encoder, Flush};
use tidegate::ctx::Ctx;
use tidegate::policy::{Chain, Flow};
use tidegate::types::{Certificate, Recoding};
use tokio::runtime::{Builder, Runtime};

/// `app` has the key `demo-key`, the password `pencil`, a secret, and the key for Ed25519 of RFC 9421 §B.1.4.
const CONFIG: &str = r#"
consumers:
  - name: app
    api_keys: ["sha256:c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c"]
    passwords: [{ hash: "$argon2id$v=19$m=19456,t=2,p=1$ZmVkY2JhOTg3NjU0MzIxMA$QRElNu0DNGBiMd9jX9ye2U3QvCns/HLhIDLrdgJaIIM" }]
    signing_keys:
      - { id: secret, secret: a-secret-of-some-length }
      - id: ed25519
        public_key: "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----"
services:
  orders: { mock: {} }
  sessions: { mock: { headers: { X-User: ann } } }
"#;
const ED25519: &str = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";

const KEY: (&str, &str) = ("X-API-Key", "demo-key");
const PASSWORD: (&str, &str) = ("Authorization", "Basic YXBwOnBlbmNpbA==");
const ORIGIN: (&str, &str) = ("Origin", "https://app.example.com");
const FORMS: (&str, &str) = ("Accept-Encoding", "gzip, deflate, br, zstd");

/// A policy with these settings, as a route has it.
fn chain(policy: &str, settings: &str) -> Chain {
    let route = r#"name: orders, match: { path: "/orders/{id}" }, to: orders"#;
    let snapshot = kit::snapshot(&format!("{CONFIG}\nroutes: [{{ {route}, policies: [{{ {policy}: {settings} }}] }}]\n"), &[]);
    snapshot.routes.into_iter().next().unwrap().ways.into_iter().next().unwrap().chain
}

fn request(headers: &[(&'static str, &str)]) -> RequestHeader {
    kit::request("/orders/42?page=2", headers)
}

fn ctx() -> Ctx {
    kit::ctx("/orders/42")
}

/// An answer of so many bytes.
fn response(length: usize) -> ResponseHeader {
    let mut response = ResponseHeader::build(200, None).unwrap();
    for (name, value) in [("Server", "nginx"), ("Content-Type", "application/json"), ("ETag", "\"1a2b\""), ("X-Powered-By", "PHP")] {
        response.append_header(name, value).unwrap();
    }
    response.append_header("Content-Length", length).unwrap();
    response
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The benchmarks of one policy.
struct Group<'c>(&'static str, BenchmarkGroup<'c, WallTime>);

impl<'c> Group<'c> {
    fn of(c: &'c mut Criterion, policy: &'static str) -> Self {
        Self(policy, c.benchmark_group(policy))
    }

    /// Requests with these headers.
    fn plain(&mut self, case: &str, settings: &str, headers: &[(&'static str, &str)]) -> &mut Self {
        let request = request(headers);
        self.each(case, settings, || (request.clone(), ctx()))
    }

    /// Requests that are made one by one.
    fn each(&mut self, case: &str, settings: &str, mut fresh: impl FnMut() -> (RequestHeader, Ctx)) -> &mut Self {
        let (chain, client, response, runtime) = (chain(self.0, settings), kit::client(), response(1024), runtime());
        // What the first of them waits for is remembered.
        let ((mut req, mut cx), mut depth) = (fresh(), 0);
        let first = runtime.block_on(chain.request(&mut req, &mut cx, &mut depth, &client));
        assert!(matches!(first, Ok(Flow::Next)), "{}, {case}: {first:?}", self.0);
        let mut fresh = || {
            let (req, cx) = fresh();
            (req.clone(), req, cx, response.clone())
        };
        let _inside = runtime.enter();
        self.1.bench_function(case, |b| {
            b.iter_batched_ref(
                &mut fresh,
                |(req, sent, cx, res)| {
                    let depth = kit::down(&chain, req, cx, &client).unwrap();
                    if cx.whole_body.is_some() {
                        chain.request_body(&[], cx).unwrap();
                    }
                    chain.upstream_request(sent, cx).unwrap();
                    chain.response(res, req, cx, depth);
                },
                BatchSize::SmallInput,
            );
        });
        self
    }
}

fn auth(c: &mut Criterion) {
    Group::of(c, "basic").plain("password remembered", "{ cache: 1h }", &[PASSWORD]);
    let certificate = Arc::new(Certificate {
        common_name: Some("app".into()),
        uris: ["spiffe://example.com/app".into()].into(),
        ..Certificate::default()
    });
    let shown = || (request(&[]), Ctx { client_cert: Some(certificate.clone()), ..ctx() });
    Group::of(c, "mtls").each("by name", "{ consumer: common_name }", shown).each(
        "listed",
        r#"{ certificates: [{ consumer: app, uri: "spiffe://example.com/app" }] }"#,
        shown,
    );
    let sessions = "service: sessions, headers: [Cookie], copy: [X-User]";
    let cookie = [("Cookie", "session=5be86359073c434bad2da3932222dabe")];
    Group::of(c, "external").plain("answer remembered", &format!("{{ {sessions}, cache: {{ time: 1h }} }}"), &cookie);
    let provider = format!("url: \"http://{}/\", allow_http: true, client_id: gateway, client_secret: secret", provider());
    Group::of(c, "introspection").plain(
        "answer remembered",
        &format!("{{ {provider}, audience: any, scopes: [read], consumer: client_id, cache: 1h }}"),
        &[("Authorization", &format!("Bearer {TOKEN}"))],
    );
    let methods = "[api_key: {}, basic: { cache: 1h }, anonymous: {}]";
    Group::of(c, "any_of").plain("the first of three", methods, &[KEY]).plain("the second", methods, &[PASSWORD]).plain(
        "the last",
        methods,
        &[],
    );
    Group::of(c, "anonymous").plain("named", "{ consumer: app }", &[]);
}

const TOKEN: &str = "2YotnFZFEjr1zCsicMWpAA";

/// Who says the same of every token, and where.
fn provider() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let said = r#"{"active":true,"client_id":"app","sub":"ann","scope":"read write","exp":4102444800}"#;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut read, mut piece) = (stream.unwrap(), Vec::new(), [0; 4096]);
            while !read.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()) {
                let length = stream.read(&mut piece).unwrap();
                assert!(length > 0, "it broke off");
                read.extend_from_slice(&piece[..length]);
            }
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", said.len());
            stream.write_all(format!("{head}{said}").as_bytes()).unwrap();
        }
    });
    address
}

fn hmac(c: &mut Criterion) {
    let secret = Key::new(HMAC_SHA256, b"a-secret-of-some-length");
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&STANDARD.decode(ED25519).unwrap()).unwrap();
    let mut number = 0;
    let mut next = |key: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        // Each signature is good once.
        number += 1;
        (signed(key, number, sign), ctx())
    };
    // As many as are made in the time of a benchmark.
    let settings = "{ remember: 100000000 }";
    let mut group = Group::of(c, "hmac");
    group.each("HMAC-SHA256", settings, || next("secret", &|base| ring::hmac::sign(&secret, base).as_ref().to_vec()));
    group.each("Ed25519", settings, || next("ed25519", &|base| pair.sign(base).as_ref().to_vec()));
}

/// A request that is signed as RFC 9421 has it.
fn signed(key: &str, number: u64, sign: &dyn Fn(&[u8]) -> Vec<u8>) -> RequestHeader {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let input = format!(r#"("@method" "@authority" "@path" "@query");created={now};nonce="{number}";keyid="{key}""#);
    let lines = ["\"@method\": GET", "\"@authority\": api.example.com", "\"@path\": /orders/42", "\"@query\": ?page=2"];
    let base = format!("{}\n\"@signature-params\": {input}", lines.join("\n"));
    let signature = STANDARD.encode(sign(base.as_bytes()));
    request(&[("Signature-Input", &format!("s={input}")), ("Signature", &format!("s=:{signature}:"))])
}

fn guard(c: &mut Criterion) {
    Group::of(c, "security_headers").plain("defaults", "{}", &[]).plain(
        "with a policy of content",
        r#"{ content_security_policy: "default-src 'self'" }"#,
        &[],
    );
    Group::of(c, "bot").plain("of three patterns", r#"{ deny: ["bot|crawler|spider", "^curl/", "^python-requests/"] }"#, &[]);
    Group::of(c, "size_limit").plain("everything", "{ body: 64KiB, header: 4KiB, header_fields: 40, target: 1KiB }", &[]);
    let (listed, any) = (r#"{ origins: ["https://app.example.com"] }"#, r#"{ origins: ["https://*.example.com"] }"#);
    let mut group = Group::of(c, "cors");
    group.plain("no origin", listed, &[]).plain("origin", listed, &[ORIGIN]).plain("origin by wildcard", any, &[ORIGIN]);
    preflight(&mut group, &chain("cors", listed));
}

/// It is answered at once, and its answer goes up.
fn preflight(group: &mut Group<'_>, chain: &Chain) {
    let mut asks = request(&[ORIGIN, ("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "authorization")]);
    asks.set_method(Method::OPTIONS);
    let (client, response) = (kit::client(), ResponseHeader::build(204, None).unwrap());
    group.1.bench_function("preflight", |b| {
        b.iter_batched_ref(
            || (asks.clone(), ctx(), response.clone()),
            |(req, cx, res)| {
                assert!(kit::down(chain, req, cx, &client).is_none());
                chain.response(res, req, cx, chain.len());
            },
            BatchSize::SmallInput,
        );
    });
}

fn traffic(c: &mut Criterion) {
    let mut turn = 0_u32;
    let mut next = || {
        turn = (turn + 7919) % 100_000;
        (request(&[]), Ctx { client: IpAddr::V4((0x0a00_0000 + turn).into()), ..ctx() })
    };
    let rate = "requests: 1000000000, per: 1m";
    let of_clients = format!("{{ {rate}, by: client_ip }}");
    Group::of(c, "rate_limit")
        .plain("one for all", &format!("{{ {rate}, by: route }}"), &[])
        .plain("by client, one", &of_clients, &[])
        .each("by client, of 100,000", &of_clients, &mut next)
        .plain("by header", &format!("{{ {rate}, by: {{ header: X-Tenant }} }}"), &[("X-Tenant", "acme")]);
}

fn transform(c: &mut Criterion) {
    let id = [("X-Request-Id", "5be86359-073c-434b-ad2d-a3932222dabe")];
    Group::of(c, "request_id").plain("made", "{}", &[]).plain("accepted", "{ accept: true }", &id);
    let over_tls = || (request(&[]), Ctx { scheme: "https", ..ctx() });
    Group::of(c, "hsts").each("over TLS", "{}", over_tls).plain("over plain HTTP", "{}", &[]);
    let edits = |other: &str| format!(r#"{{ headers: {{ remove: [X-Debug], rename: {{ X-Old: X-New }}, set: {{ {other} }} }} }}"#);
    let of_client = edits(r#"X-Order: "order-{id}", X-Client: "{client.ip}", X-Gateway: "1.0""#);
    Group::of(c, "request").plain("five edits", &of_client, &[("X-Debug", "1"), ("X-Old", "1")]);
    let of_request = edits(r#"Server: tidegate, X-Request: "{request.id}", X-Page: "{query.page}""#);
    Group::of(c, "response").plain("five edits", &of_request, &[]);
}

/// The header, and a body that is here as a whole.
fn compress(c: &mut Criterion) {
    let (text, client, mut group) = (body::body(200), kit::client(), Group::of(c, "compress"));
    group.plain("not asked for", "{}", &[]);
    for (size, length) in [("1 KB", 1024), ("64 KB", 64 * 1024)] {
        let (text, request, response) = (&text[..length], request(&[FORMS]), response(length));
        group.1.throughput(Throughput::Bytes(length as u64));
        for coding in ["gzip", "br", "zstd"] {
            let chain = chain("compress", &format!("{{ with: [{coding}] }}"));
            group.1.bench_function(format!("{coding}, {size}"), |b| {
                b.iter_batched_ref(
                    || (request.clone(), ctx(), response.clone()),
                    |(req, cx, res)| {
                        let depth = kit::down(&chain, req, cx, &client).unwrap();
                        chain.response(res, req, cx, depth);
                        let Some(Recoding::To { coding, length, place: _place }) = cx.recoding.take() else { panic!("{res:?}") };
                        let mut encoder = Encoder::new(coding, length).unwrap();
                        (encoder.push(text, Flush::No).unwrap(), encoder.finish().unwrap())
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

criterion_group!(benches, auth, hmac, guard, traffic, transform, compress);
criterion_main!(benches);
