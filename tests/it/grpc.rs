//! Calls of gRPC through the gateway, with a real server and real clients: those of grpcio, and grpcurl.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Mutex;

use crate::support::certificates::Authority;
use crate::support::client::H2;
use crate::support::frames::Frames;
use crate::support::gateway::{Folder, check};
use crate::support::peers::{Peer, grpc_client, grpc_server};
use crate::support::speaker::{DATA, END_HEADERS, END_STREAM, HEADERS, Speaker, block};
use crate::support::{Answer, Gateway, Origin, RawOrigin, tools};

/// A gateway before this server, with more settings of its service and its route.
fn before(address: SocketAddr, service: &str, route: &str) -> Gateway {
    Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{address}\"], protocol: http2{service} }} }}\nroutes: [{{ name: up, to: up{route} }}]\n"
    ))
}

/// What callers of the methods of `Tide` are told, one after the other: `CODE | words | metadata`.
struct Asking(Peer, usize);

impl Asking {
    fn of(gateway: &Gateway) -> Self {
        Self(grpc_client(gateway.address, &["told"]), 0)
    }

    fn call(&mut self, what: &str) -> String {
        self.0.say(what);
        self.1 += 1;
        self.0.await_lines("", self.1)
    }
}

fn calls(gateway: &Gateway, route: &str, code: &str) -> f64 {
    gateway.metric(&format!("tidegate_grpc_calls_total{{code=\"{code}\",route=\"{route}\"}}"))
}

#[test]
fn every_kind_of_call_passes_with_tls_and_without_on_both_sides() {
    let scenes = ["unary", "uploads", "downloads", "talks", "large", "many", "compressed", "fails", "unknown", "breaks", "late"];
    let authority = Authority::new();
    for (above, below) in [(false, false), (true, true), (false, true), (true, false)] {
        let folder = Folder::new();
        let identity = authority.issue("a.test");
        let (cert, key) = (folder.file("a.pem", &identity.cert), folder.file("a.key", &identity.key));
        let ca = folder.file("ca.pem", authority.pem()).display().to_string();
        let (cert, key) = (cert.display().to_string(), key.display().to_string());
        let (_server, address) = if below { grpc_server(&[&cert, &key]) } else { grpc_server(&[]) };
        let tls = if above { ", tls: { certificates: [{ cert: a.pem, key: a.key }] }" } else { "" };
        let (scheme, trust) = if below { ("https", ", tls: { ca: ca.pem, server_name: a.test }") } else { ("http", "") };
        let yaml = format!(
            "server:\n  listeners: [{{ address: \"127.0.0.1:0\"{tls} }}]\nservices: {{ up: {{ targets: [\"{scheme}://{address}\"], protocol: http2{trust} }} }}\nroutes: [{{ name: up, to: up }}]\n"
        );
        let gateway = Gateway::start_in(folder, &yaml);
        let arguments = if above { vec!["--ca", &ca] } else { vec![] };
        grpc_client(gateway.address, &[&arguments[..], &scenes].concat()).done();
        assert!(calls(&gateway, "up", "OK") >= 507.0, "{above} {below}");
        assert_eq!(calls(&gateway, "up", "DATA_LOSS"), 1.0);
        gateway.await_log("a call's end by its trailers", |line| line["grpc_status"] == 10 && line["status"] == 200);
    }
}

#[test]
fn grpcurl_asks_by_reflection_and_calls() {
    let (_server, address) = grpc_server(&[]);
    let gateway = before(address, "", "");
    let at = gateway.address.to_string();
    let run = |arguments: &[&str]| {
        let output = Command::new(tools::program("grpcurl")).arg("-plaintext").args(arguments).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert_eq!(run(&[&at, "list"]), "grpc.reflection.v1alpha.ServerReflection\ntide.Tide\n");
    let said = run(&["-v", "-H", "x-ascii: hello", "-d", "{\"text\": \"from grpcurl\"}", &at, "tide.Tide/Echo"]);
    assert!(
        said.contains("\"text\": \"from grpcurl\"") && said.contains("x-ascii-back: hello") && said.contains("via: 2 tidegate"),
        "{said}"
    );
    let said = run(&["-d", "{\"text\": \"a\"}{\"text\": \"b\"}", &at, "tide.Tide/Chat"]);
    assert!(said.contains("\"text\": \"a\"") && said.contains("\"count\": 1"), "{said}");
    let said = run(&["-d", "{\"fail\": 7, \"text\": \"not you\"}", &at, "tide.Tide/Echo"]);
    assert!(said.contains("Code: PermissionDenied") && said.contains("Message: not you"), "{said}");
}

#[test]
fn the_gateway_says_no_in_words_of_grpc() {
    let (_server, address) = grpc_server(&[]);
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::start(&format!(
        r#"
services:
  up: {{ targets: ["http://{address}"], protocol: http2 }}
  old: {{ targets: ["http://{address}"] }}
  gone: {{ targets: ["http://{refused}"], protocol: http2 }}
  replaced: {{ targets: ["http://{refused}"], protocol: http2, fallback: {{ reply: {{ status: 503, text: later }} }} }}
routes:
  - {{ name: closed, match: {{ path: /tide.Tide/Echo }}, policies: [api_key], to: up }}
  - {{ name: old, match: {{ path: /tide.Tide/Gather }}, to: old }}
  - {{ name: gone, match: {{ path: /tide.Tide/Count }}, to: gone }}
  - {{ name: scarce, match: {{ path: /tide.Tide/Chat }}, policies: [rate_limit: {{ requests: 1, per: 1h }}], to: up }}
  - {{ name: late, match: {{ path: /tide.Tide/Wait }}, timeout: 200ms, to: up }}
  - {{ name: replaced, match: {{ path: /tide.Tide/Refuse }}, to: replaced }}
"#
    ));
    let mut asking = Asking::of(&gateway);
    for (method, code, words) in [
        ("echo", "UNAUTHENTICATED", "an API key is required"),
        ("gather", "UNIMPLEMENTED", "the service is not spoken to in HTTP/2, which gRPC needs"),
        ("count", "UNAVAILABLE", "the service could not be reached"),
        ("watch", "UNIMPLEMENTED", "no route takes this request"),
        ("wait", "DEADLINE_EXCEEDED", "the time of the request was used up while waiting for the service's answer"),
        ("refuse", "UNAVAILABLE", "the gateway answered 503 Service Unavailable"),
    ] {
        let told = asking.call(method);
        assert!(told.starts_with(&format!("{code} | {words} | ")), "{method}: {told}");
        assert_eq!(told.contains("x-request-id="), method != "refuse", "{told}");
    }
    assert!(asking.call("chat").starts_with("OK"));
    let told = asking.call("chat");
    assert!(
        told.starts_with("RESOURCE_EXHAUSTED | ") && told.contains("grpc-retry-pushback-ms=") && told.contains("retry-after="),
        "{told}"
    );
    let line = gateway.await_log("the refusal", |line| line["route"] == "closed");
    assert_eq!((&line["status"], &line["grpc_status"], &line["problem"]), (&200.into(), &16.into(), &"unauthorized".into()), "{line}");
    assert_eq!(gateway.metric("tidegate_problems_total{kind=\"unauthorized\",policy=\"api_key\"}"), 1.0);
    assert_eq!(calls(&gateway, "late", "DEADLINE_EXCEEDED"), 1.0);
    assert_eq!(gateway.await_log("the fallback", |line| line["route"] == "replaced")["fallback"], "reply");
}

#[tokio::test]
async fn a_refusal_is_one_header_and_a_client_of_plain_http_gets_json() {
    let origin = Origin::http2(|_| Answer::new("here".to_owned()));
    let gateway = before(origin.address, "", ", policies: [api_key]");
    let client = H2::connect(gateway.address).await;
    let (parts, body, trailers) = client.whole("POST", "/a.B/C", &[("content-type", "application/grpc+proto")], &["x"]).await;
    assert_eq!((parts.status.as_u16(), body.len(), trailers), (200, 0, None));
    assert_eq!(parts.headers["content-type"], "application/grpc");
    assert_eq!(parts.headers["grpc-status"], "16");
    assert!(!parts.headers.contains_key("content-length"));
    for kind in ["application/grpc-web+proto", "application/json"] {
        let (parts, _) = client.request("POST", "/a.B/C", &[("content-type", kind)], &["x"]).await;
        assert_eq!(parts.status.as_u16(), 401, "{kind}");
        assert_eq!(parts.headers["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn a_deadline_that_cannot_be_read_is_refused() {
    let origin = Origin::http2(|_| Answer::new("here".to_owned()));
    let gateway = before(origin.address, "", "");
    let client = H2::connect(gateway.address).await;
    for wrong in ["1", "S", "1.5S", "123456789m", "1s"] {
        let headers = [("content-type", "application/grpc"), ("grpc-timeout", wrong), ("te", "trailers")];
        let (parts, _) = client.request("POST", "/a.B/C", &headers, &["\0\0\0\0\0"]).await;
        assert_eq!(parts.headers["grpc-status"], "13", "{wrong}");
        assert_eq!(parts.headers["grpc-message"], "the grpc-timeout is malformed");
    }
    assert_eq!(origin.seen().len(), 0);
    let headers = [("content-type", "application/grpc"), ("grpc-timeout", "1H"), ("te", "trailers")];
    client.request("POST", "/a.B/C", &headers, &["\0\0\0\0\0"]).await;
    let seen = origin.last();
    assert_eq!(seen.header("te"), Some("trailers"), "it belongs to this hop, and to the next one as well");
    let left: u64 = seen.header("grpc-timeout").unwrap().trim_end_matches('m').parse().unwrap();
    assert!((3_590_000..3_600_000).contains(&left), "{left}");
}

#[test]
fn the_least_of_all_deadlines_holds_and_what_is_left_is_handed_on() {
    let (_server, address) = grpc_server(&[]);
    for (service, route) in [("", ", timeout: 5s"), (", timeouts: { total: 5s }", ", timeout: 1m")] {
        grpc_client(before(address, service, route).address, &["bounded"]).done();
    }
}

#[test]
fn a_deadline_of_the_callers_is_not_held_against_the_target() {
    let (_server, address) = grpc_server(&[]);
    let gateway = before(address, ", breaker: { failures: 1, open: 1m }, ejection: { failures: 1 }", "");
    grpc_client(gateway.address, &["late", "late", "unary"]).done();
    assert_eq!(gateway.metric("tidegate_breaker_open{service=\"up\"}"), 0.0);
}

#[test]
fn a_call_that_is_given_up_is_given_up_at_the_target() {
    let (server, address) = grpc_server(&[]);
    let gateway = before(address, "", "");
    grpc_client(gateway.address, &["cancels"]).done();
    server.await_line("gone Watch");
    let mut waiting = grpc_client(gateway.address, &["cancels_waiting"]);
    server.await_line("begun Wait");
    waiting.await_line("waiting");
    waiting.say("");
    server.await_line("gone Wait");
    waiting.done();
    let mut holding = grpc_client(gateway.address, &["holds"]);
    holding.await_line("holding");
    holding.kill();
    server.await_lines("gone Watch", 6);
    gateway.await_metric("tidegate_grpc_calls_total{code=\"CANCELLED\",route=\"up\"}", 7.0);
    assert_eq!(gateway.metric("tidegate_problems_total{kind=\"bad-request\",policy=\"\"}"), 0.0, "nobody did anything wrong");
}

#[tokio::test]
async fn a_target_that_breaks_off_ends_the_call_with_a_status() {
    let origin = RawOrigin::start(|talk| {
        let Some(mut frames) = Frames::open(talk) else { return };
        let stream = frames.request().unwrap();
        frames.head(stream);
        frames.body(stream, "\0\0\0\0\u{1}x", false);
        frames.reset(stream, 2);
        // The next one loses its connection.
        let Some(stream) = frames.request() else { return };
        frames.head(stream);
        frames.body(stream, "\0\0\0\0\u{1}x", false);
    });
    let gateway = before(origin.address, "", "");
    let client = H2::connect(gateway.address).await;
    for _ in 0..2 {
        let headers = [("content-type", "application/grpc"), ("te", "trailers")];
        let (parts, body, trailers) = client.whole("POST", "/a.B/C", &headers, &["\0\0\0\0\0"]).await;
        let trailers = trailers.unwrap();
        assert_eq!((parts.status.as_u16(), body.len()), (200, 6));
        assert_eq!(trailers["grpc-status"], "14");
        assert_eq!(trailers["grpc-message"], "the service broke off the connection");
        assert!(trailers.contains_key("x-request-id"));
    }
    gateway.await_metric("tidegate_grpc_calls_total{code=\"UNAVAILABLE\",route=\"up\"}", 2.0);
}

#[test]
fn a_stream_may_be_quiet_for_longer_than_an_answer_may_and_not_for_ever() {
    let (_server, address) = grpc_server(&[]);
    let gateway = Gateway::start(&format!(
        "server:\n  timeouts: {{ body: 100ms }}\nservices: {{ up: {{ targets: [\"http://{address}\"], protocol: http2, timeouts: {{ response: 100ms }} }} }}\nroutes: [{{ name: up, to: up }}]\n"
    ));
    let mut quiet = grpc_client(gateway.address, &["quiet"]);
    quiet.await_line("pausing");
    // This takes longer than the pause would be allowed to.
    assert!(Asking::of(&gateway).call("wait 0.4").starts_with("DEADLINE_EXCEEDED"));
    quiet.say("");
    quiet.done();
    let gateway = before(address, ", timeouts: { stream: 200ms }", "");
    let told = Asking::of(&gateway).call("watch");
    assert!(told.starts_with("UNAVAILABLE | the service did not answer in time"), "{told}");
}

#[test]
fn a_call_that_the_target_turned_away_is_sent_again_where_the_config_says_so() {
    let (server, address) = grpc_server(&[]);
    let turned_away = |service: &str| {
        let before_it = server.lines().len();
        let gateway = before(address, service, "");
        let told = Asking::of(&gateway).call("refuse");
        assert!(told.starts_with("UNAVAILABLE | not now"), "{told}");
        let attempts = server.lines().len() - before_it;
        let again = gateway.metric("tidegate_retries_total{reason=\"grpc_unavailable\",service=\"up\"}");
        assert_eq!(again, (attempts - 1) as f64);
        attempts
    };
    assert_eq!(turned_away(""), 1);
    assert_eq!(turned_away(", retry: { attempts: 3, on: [grpc_aborted], methods: [POST] }"), 1);
    assert_eq!(turned_away(", retry: { attempts: 3, on: [grpc_unavailable], methods: [POST] }"), 3);
}

#[tokio::test]
async fn a_target_says_when_it_wants_a_call_again_or_that_it_never_does() {
    let count = std::sync::Arc::new(Mutex::new(0));
    for (pushback, attempts) in [("0", 3), ("-1", 1), ("3600000", 1)] {
        *count.lock().unwrap() = 0;
        let seen = count.clone();
        let origin = Origin::http2(move |_| {
            *seen.lock().unwrap() += 1;
            http::Response::builder().header("grpc-status", "14").header("grpc-retry-pushback-ms", pushback).body(String::new()).unwrap()
        });
        let gateway = before(origin.address, ", retry: { attempts: 3, on: [grpc_unavailable], methods: any }", "");
        let client = H2::connect(gateway.address).await;
        let (parts, _) = client.request("POST", "/a.B/C", &[("content-type", "application/grpc")], &["\0\0\0\0\0"]).await;
        assert_eq!(parts.headers["grpc-status"], "14");
        assert_eq!(*count.lock().unwrap(), attempts, "{pushback}");
    }
}

#[test]
fn statuses_of_grpc_open_a_breaker_and_let_others_stand_in() {
    let (server, address) = grpc_server(&[]);
    let gateway = before(address, ", breaker: { failures: 2, open: 1m }", "");
    let mut asking = Asking::of(&gateway);
    for _ in 0..2 {
        assert!(asking.call("refuse").starts_with("UNAVAILABLE | not now"));
    }
    let told = asking.call("refuse");
    assert!(told.starts_with("UNAVAILABLE | the service fails too often") && told.contains("grpc-retry-pushback-ms="), "{told}");
    assert_eq!(server.lines().iter().filter(|line| line.starts_with("refused")).count(), 2);
    let gateway =
        before(address, ", fallback: { on: [grpc_unavailable], reply: { headers: { grpc-status: \"9\", grpc-message: instead } } }", "");
    let told = Asking::of(&gateway).call("refuse");
    assert!(told.starts_with("FAILED_PRECONDITION | instead"), "{told}");
}

#[test]
fn the_bound_of_a_body_holds_for_each_message() {
    let (_server, address) = grpc_server(&[]);
    let gateway = Gateway::start(&format!(
        "server:\n  limits: {{ body: 2KiB }}\nservices: {{ up: {{ targets: [\"http://{address}\"], protocol: http2 }} }}\nroutes: [{{ name: up, to: up }}]\n"
    ));
    let narrower = before(address, "", ", policies: [{ size_limit: { body: 2KiB } }]");
    for gateway in [gateway, narrower] {
        grpc_client(gateway.address, &["uploads", "outsizes"]).done();
        let line = gateway.await_log("the refusal", |line| line["grpc_status"] == 8);
        assert_eq!(line["problem"], "content-too-large", "{line}");
    }
}

#[tokio::test]
async fn what_is_called_grpc_and_is_not_has_no_bounds_of_its_own() {
    let origin = Origin::http2(|_| http::Response::new("here".to_owned()));
    let gateway = before(origin.address, "", "");
    let client = H2::connect(gateway.address).await;
    let (parts, _) = client.request("POST", "/a.B/C", &[("content-type", "application/grpc")], &["{\"a\": 1}"]).await;
    assert_eq!(parts.headers["grpc-status"], "13");
    gateway.await_log("the refusal", |line| line["problem"] == "bad-request");
}

#[tokio::test]
async fn a_stream_that_the_client_keeps_busy_is_not_quiet() {
    let origin = Origin::http2(|seen| http::Response::new(format!("{} bytes", seen.body.len())));
    let gateway = before(origin.address, ", timeouts: { stream: 400ms }", "");
    let mut speaker = Speaker::connect(gateway.address);
    assert!(speaker.say(HEADERS, END_HEADERS, 1, &block("POST", "/a.B/C", &[("content-type", "application/grpc"), ("te", "trailers")])));
    for _ in 0..8 {
        std::thread::park_timeout(std::time::Duration::from_millis(150));
        assert!(speaker.say(DATA, 0, 1, b"\0\0\0\0\x01x"));
    }
    assert!(speaker.say(DATA, END_STREAM, 1, b""));
    assert_eq!(String::from_utf8(speaker.hear_of(DATA, 1).unwrap().payload).unwrap(), "48 bytes");
}

#[tokio::test]
async fn an_answer_without_a_grpc_status_counts_as_clients_take_it() {
    let origin = Origin::http2(|_| http::Response::builder().status(503).body("busy".to_owned()).unwrap());
    let gateway = before(origin.address, "", "");
    let client = H2::connect(gateway.address).await;
    let (parts, body) = client.request("POST", "/a.B/C", &[("content-type", "application/grpc")], &["\0\0\0\0\0"]).await;
    assert_eq!((parts.status.as_u16(), &*body), (503, &b"busy"[..]));
    gateway.await_metric("tidegate_grpc_calls_total{code=\"UNAVAILABLE\",route=\"up\"}", 1.0);
}

#[test]
fn settings_of_grpc_that_cannot_work_are_told() {
    for (settings, told) in [
        ("retry: { on: [grpc_unavailable] }", "services.up.retry.on: a call of gRPC is a POST"),
        ("retry: { on: [grpc_unavailable], methods: idempotent }", "add `methods: [POST]`"),
        ("retry: { on: [grpc_ok] }", "or one of gRPC like `grpc_unavailable`"),
        ("breaker: { on: [unavailable] }", "or one of gRPC like `grpc_unavailable`"),
        ("timeouts: { stream: 0s }", "services.up.timeouts.stream: "),
    ] {
        let (right, said) = check(&format!("services: {{ up: {{ targets: [\"http://127.0.0.1:9\"], protocol: http2, {settings} }} }}\n"));
        assert!(!right && said.contains(told), "{settings}: {said}");
    }
}
