//! Listeners that speak TLS: what is agreed upon in the handshake, which certificate is shown, and that new ones are taken while the gateway runs.

use std::process::Command;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::Version;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind};

use crate::support::certificates::{Authority, Identity};
use crate::support::client::H2;
use crate::support::gateway::{Folder, check};
use crate::support::{Answer, Client, End, Gateway, Origin};

const H1: &[&str] = &["http/1.1"];

/// Lays a certificate and its key into a folder.
fn lay(folder: &Folder, name: &str, identity: &Identity) {
    folder.file(&format!("{name}.pem"), &identity.cert);
    folder.file(&format!("{name}.key"), &identity.key);
}

/// `certificates:` of these names.
fn pairs(names: &[&str]) -> String {
    let pairs: Vec<_> = names.iter().map(|name| format!("{{ cert: {name}.pem, key: {name}.key }}")).collect();
    format!("certificates: [{}]", pairs.join(", "))
}

fn yaml(tls: &str, server: &str, up: &str) -> String {
    format!(
        "server:\n  listeners: [{{ address: \"127.0.0.1:0\", tls: {{ {tls} }} }}]\n{server}services: {{ up: {{ targets: [\"http://{up}\"], balance: {{ sticky: {{ cookie: lane }} }} }} }}\nroutes: [{{ name: up, to: up }}]\n"
    )
}

/// A gateway with one certificate, for `a.test`.
fn gateway(authority: &Authority, server: &str, up: &Origin) -> Gateway {
    let folder = Folder::new();
    lay(&folder, "a", &authority.issue("a.test"));
    Gateway::start_in(folder, &yaml(&pairs(&["a"]), server, &up.address.to_string()))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// The common name of the certificate that a client is shown.
fn shown(gateway: &Gateway, config: &Arc<ClientConfig>, host: &str) -> String {
    let client = Client::secure(gateway.address, config, host);
    let cert = client.tls().peer_certificates().unwrap()[0].clone();
    tidegate::types::Certificate::read(&cert).unwrap().common_name.unwrap().into()
}

#[test]
fn http_1_over_tls_is_http_1_and_the_service_is_told_of_the_tls() {
    let up = Origin::answering(|seen| Answer::new(String::from_utf8(seen.body.to_vec()).unwrap()));
    let authority = Authority::new();
    let gateway = gateway(&authority, "", &up);
    let port = gateway.address.port().to_string();
    let mut client = Client::secure(gateway.address, &authority.client(None, H1), "a.test");
    assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = client.get("/a");
    assert_eq!((answer.status, answer.line.as_str()), (200, "HTTP/1.1 200 OK"));
    assert!(answer.header("set-cookie").unwrap().contains("; Secure"), "{answer:?}");
    let seen = up.last();
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-port"), Some(port.as_str()));
    assert!(seen.header("forwarded").unwrap().ends_with(";proto=https"));
    // Larger than every buffer on the way, in both directions.
    let large = "x".repeat(3_000_000);
    client.send(format!("POST /b HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{large}", large.len()));
    assert_eq!(client.read().body.len(), large.len());
    client.send("POST /c HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /d HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!((client.read().text().as_str(), client.read().status), ("hello", 200), "the connection is kept");
    client.get_with("/e", "Connection: close\r\n");
    assert_eq!(client.ends(), End::Closed, "with the end that TLS has for it");
    gateway.await_metric("tidegate_handshakes_total{result=\"full\"}", 1.0);
}

#[test]
fn http_2_is_agreed_upon_in_the_handshake() {
    let up = Origin::answering(|seen| Answer::new(String::from_utf8(seen.body.to_vec()).unwrap()));
    let authority = Authority::new();
    let gateway = gateway(&authority, "", &up);
    block_on(async {
        let client = H2::secure(gateway.address, &authority.client(None, &["h2", "http/1.1"]), "a.test").await;
        let (head, body) = client.request("POST", "/a", &[], &["hello", " ", "world"]).await;
        assert_eq!((head.status.as_u16(), head.version, &body[..]), (200, Version::HTTP_2, &b"hello world"[..]));
        assert_eq!(up.last().header("x-forwarded-proto"), Some("https"));
        let requests = (0..20).map(|_| client.get("/b"));
        for (head, _) in futures_all(requests).await {
            assert_eq!(head.status.as_u16(), 200);
        }
    });
    // By prior knowledge it is spoken only without TLS (RFC 9113 §3.2).
    let mut client = Client::secure(gateway.address, &authority.client(None, &[]), "a.test");
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert!(client.read().problem(400, "bad-request")["detail"].as_str().unwrap().contains("ALPN"));
    let mut client = Client::secure(gateway.address, &authority.client(None, &["h2"]), "a.test");
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    client.try_read().expect_err("HTTP/2 was agreed upon");
    Client::try_secure(gateway.address, &authority.client(None, &["spdy"]), "a.test").err().expect("there is no common protocol");
}

/// The results of all, one begun after the other and none waited for before.
async fn futures_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut all: Vec<_> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (future, result) in all.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[test]
fn clients_by_other_hands_are_served() {
    let (up, authority, files) = (Origin::start(), Authority::new(), Folder::new());
    let gateway = gateway(&authority, "", &up);
    let (port, ca) = (gateway.address.port(), files.file("ca.pem", authority.pem()).display().to_string());
    let curl = |more: &str| {
        let command = format!(
            "curl -sS --max-time 20 --cacert {ca} --resolve a.test:{port}:127.0.0.1 {more} -o /dev/null -w '%{{http_code}} %{{http_version}}' https://a.test:{port}/"
        );
        let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(curl(""), "200 2");
    assert_eq!(curl("--http1.1"), "200 1.1");
    assert_eq!(curl("--tls-max 1.2"), "200 2");
    assert_eq!(curl("--http2-prior-knowledge"), "200 2");
    assert!(curl("--http1.1 --no-alpn").starts_with("200 1.1"));
}

#[test]
fn a_client_is_shown_the_certificate_of_the_host_it_asks_for() {
    let (up, authority, folder) = (Origin::start(), Authority::new(), Folder::new());
    for (name, host) in [("first", "first.test"), ("a", "a.test"), ("wild", "*.b.test")] {
        lay(&folder, name, &authority.issue(host));
    }
    let gateway = Gateway::start_in(folder, &yaml(&pairs(&["first", "a", "wild"]), "", &up.address.to_string()));
    let config = authority.client(None, H1);
    for (host, name) in [("a.test", "a.test"), ("A.test", "a.test"), ("x.b.test", "*.b.test"), ("first.test", "first.test")] {
        assert_eq!(shown(&gateway, &config, host), name);
    }
    for host in ["other.test", "b.test", "y.x.b.test", "127.0.0.1"] {
        let error = Client::try_secure(gateway.address, &config, host).err().expect("the first is shown, which is for another host");
        assert!(error.to_string().contains("first.test"), "{host}: {error}");
    }
}

#[test]
fn a_session_is_resumed_wherever_the_next_connection_lands() {
    let (up, authority) = (Origin::start(), Authority::new());
    let gateway = gateway(&authority, "", &up);
    for version in [&TLS12, &TLS13] {
        let config = authority.client_of(None, H1, &[version]);
        // Each is held: with two workers, the next one lands on the other.
        let mut held = Vec::new();
        for turn in 0..4 {
            let mut client = Client::secure(gateway.address, &config, "a.test");
            assert_eq!(client.get("/").status, 200);
            let kind = if turn == 0 { HandshakeKind::Full } else { HandshakeKind::Resumed };
            assert_eq!(client.tls().handshake_kind(), Some(kind), "{version:?} {turn}");
            held.push(client);
        }
    }
    for worker in 0..2 {
        gateway.await_metric(&format!("tidegate_connections{{worker=\"{worker}\"}}"), 0.0);
    }
    gateway.await_metric("tidegate_handshakes_total{result=\"full\"}", 2.0);
    gateway.await_metric("tidegate_handshakes_total{result=\"resumed\"}", 6.0);
    // A new config, and the same tickets.
    let config = authority.client(None, H1);
    assert_eq!(Client::secure(gateway.address, &config, "a.test").get("/").status, 200);
    assert_eq!(gateway.reload(), "unchanged");
    assert_eq!(Client::secure(gateway.address, &config, "a.test").tls().handshake_kind(), Some(HandshakeKind::Resumed));
}

#[test]
fn a_handshake_has_a_deadline_and_one_that_fails_ends_the_connection() {
    let (up, authority) = (Origin::start(), Authority::new());
    let gateway = gateway(&authority, "  timeouts: { handshake: 300ms, discard: 300ms }\n", &up);
    let mut silent = gateway.client();
    assert_eq!(silent.ends(), End::Closed);
    gateway.await_metric("tidegate_handshakes_total{result=\"late\"}", 1.0);
    let mut wrong = gateway.client();
    wrong.send([0; 100]);
    wrong.try_read().expect_err("there is no answer without TLS");
    gateway.await_metric("tidegate_handshakes_total{result=\"failed\"}", 1.0);
    // The bound is for the handshake alone.
    let mut client = Client::secure(gateway.address, &authority.client(None, H1), "a.test");
    assert!(client.is_silent_for(Duration::from_millis(400)));
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn a_client_without_tls_is_told_to_come_with_it() {
    let (up, authority) = (Origin::start(), Authority::new());
    let gateway = gateway(&authority, "", &up);
    let mut plain = gateway.client();
    plain.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let answer = plain.read();
    assert!(answer.problem(400, "bad-request")["detail"].as_str().unwrap().contains("`https://`"));
    assert_eq!((answer.header("connection"), plain.ends()), (Some("close"), End::Closed));
    gateway.await_metric("tidegate_handshakes_total{result=\"plain\"}", 1.0);
    gateway.await_log("the refusal", |line| line["status"] == 400);
    assert!(up.seen().is_empty());
}

#[test]
fn an_idle_connection_is_told_of_the_end_as_tls_has_it() {
    let (up, authority) = (Origin::start(), Authority::new());
    let mut gateway = gateway(&authority, "  timeouts: { farewell: 200ms }\n", &up);
    let mut client = Client::secure(gateway.address, &authority.client(None, H1), "a.test");
    assert_eq!(client.get("/").status, 200);
    gateway.terminate();
    assert_eq!(client.ends(), End::Closed);
    assert_eq!(gateway.ended().code(), Some(0));
}

#[test]
fn new_certificates_are_taken_when_their_files_change_and_broken_ones_are_not() {
    let (up, authority) = (Origin::start(), Authority::new());
    let gateway = gateway(&authority, "", &up);
    let fingerprint = || {
        // A new client: one that has been here may resume its session, and is shown nothing.
        let client = Client::secure(gateway.address, &authority.client(None, H1), "a.test");
        tidegate::types::Certificate::read(&client.tls().peer_certificates().unwrap()[0]).unwrap().fingerprint
    };
    let mut held = Client::secure(gateway.address, &authority.client(None, H1), "a.test");
    let first = fingerprint();
    let put = |name: &str, text: &str| {
        let new = gateway.folder.file("new", text);
        std::fs::rename(new, gateway.folder.path().join(name)).unwrap();
    };
    let next = authority.issue("a.test");
    // The key is still the old one's.
    assert_eq!(gateway.reloaded(|| put("a.pem", &next.cert)), "refused");
    gateway.await_said("server.listeners[0].tls.certificates[0].key: ");
    gateway.await_said("a.key does not fit a.pem");
    assert_eq!(fingerprint(), first);
    assert_eq!(gateway.reloaded(|| put("a.key", &next.key)), "unchanged");
    gateway.await_said("the file says the same, and the certificates are new");
    assert_ne!(fingerprint(), first);
    assert_eq!(held.get("/").status, 200, "a connection of before goes on");
    gateway.folder.file("a.pem", "nothing");
    assert_eq!(gateway.reload(), "refused");
    gateway.await_said("a.pem holds no certificate");
    assert_ne!(fingerprint(), first);
}

#[test]
fn the_end_of_a_certificate_is_a_metric_and_a_warning() {
    let (up, authority, folder) = (Origin::start(), Authority::new(), Folder::new());
    let expired = authority.issue_with("old.test", |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    });
    lay(&folder, "old", &expired);
    let text = yaml(&pairs(&["old"]), "", &up.address.to_string());
    let cert = folder.path().join("old.pem").display().to_string();
    let (content, said) = check(&text.replace("old.", &format!("{}/old.", folder.path().display())));
    assert!(content, "{said}");
    assert!(said.contains("server.listeners[0].tls.certificates[0].cert: the certificate has expired on 2021-01-01"), "{said}");
    assert!(said.contains("warning: tidegate.yaml:2:"), "{said} {cert}");
    let gateway = Gateway::start_in(folder, &text);
    gateway.await_said("the certificate has expired on 2021-01-01");
    let series = "tidegate_certificate_expiry_seconds{certificate=\"old.pem\",listener=\"127.0.0.1:0\"}";
    gateway.await_metric(series, 1_609_459_200.0);
    let next = authority.issue_with("old.test", |params| params.not_after = rcgen::date_time_ymd(2050, 1, 1));
    lay(&gateway.folder, "old", &next);
    gateway.await_metric(series, 2_524_608_000.0);
}
