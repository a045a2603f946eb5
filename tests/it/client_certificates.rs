//! Clients that show certificates: who is let in, what services and the log are told of them, and that a revoked one is out at once.

use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};

use crate::support::certificates::{Authority, Identity};
use crate::support::gateway::{Folder, check};
use crate::support::{Client, Gateway, Origin};

const H1: &[&str] = &["http/1.1"];

/// A gateway for `a.test` that asks clients who they are.
fn gateway(server: &Authority, files: &[(&str, &str)], settings: &str, up: &Origin) -> Gateway {
    let (folder, identity) = (Folder::new(), server.issue("a.test"));
    for (name, text) in [("a.pem", identity.cert.as_str()), ("a.key", &identity.key)].iter().chain(files) {
        folder.file(name, text);
    }
    let yaml = format!(
        r#"
server:
  listeners: [{{ address: "127.0.0.1:0", tls: {{ certificates: [{{ cert: a.pem, key: a.key }}], {settings} }} }}]
policies:
  - request:
      headers:
        set:
          X-Subject: "{{client_cert.subject}}"
          X-Name: "{{client_cert.common_name}}"
          X-Print: "{{client_cert.fingerprint}}"
          X-Names: "{{client_cert.names}}"
services: {{ up: {{ targets: ["http://{}"] }} }}
routes: [{{ name: up, to: up }}]
"#,
        up.address
    );
    Gateway::start_in(folder, &yaml)
}

/// The status of an answer; none where the gateway wants nothing to do with the client. With TLS 1.3 a client learns so after its own part of the handshake.
fn status(gateway: &Gateway, config: &Arc<ClientConfig>) -> Option<u16> {
    let mut client = Client::try_secure(gateway.address, config, "a.test").ok()?;
    client.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").ok()?;
    client.try_read().ok().map(|answer| answer.status)
}

#[test]
fn who_the_client_is_reaches_the_service_and_the_log() {
    let (up, server, clients) = (Origin::start(), Authority::new(), Authority::new());
    let gateway = gateway(&server, &[("clients.pem", &clients.pem())], "client_ca: clients.pem", &up);
    let own = clients.issue("app.example.com");
    assert_eq!(status(&gateway, &server.client(Some(&own), H1)), Some(200));
    let seen = up.last();
    assert_eq!(seen.header("x-subject"), Some("CN=app.example.com"));
    assert_eq!(seen.header("x-name"), Some("app.example.com"));
    assert_eq!(seen.header("x-names"), Some("app.example.com"));
    assert_eq!(seen.header("x-print").unwrap().len(), 64);
    gateway.await_log("the client", |line| line["client_cert"] == "CN=app.example.com");
}

#[test]
fn a_variable_of_certificates_is_doubted_where_nobody_is_asked_for_one() {
    let (content, said) = check("routes: [{ name: a, redirect: { to: \"/{client_cert.names}\" } }]\n");
    assert!(content && said.contains("`{client_cert.names}` never has a value here"), "{said}");
    let (content, said) = check("routes: [{ name: a, redirect: { to: \"/{client_cert.name}\" } }]\n");
    assert!(!content && said.contains("did you mean `{client_cert.names}`?"), "{said}");
}

#[test]
fn only_clients_with_a_certificate_of_the_authority_are_let_in_where_it_is_required() {
    let (up, server, clients) = (Origin::start(), Authority::new(), Authority::new());
    let files = [("clients.pem", clients.pem())];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let old = clients.issue_with("old.test", |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2020, 1, 1), rcgen::date_time_ymd(2021, 1, 1));
    });
    let with = |own: Option<&Identity>| server.client(own, H1);
    let required = gateway(&server, &files, "client_ca: clients.pem", &up);
    assert_eq!(status(&required, &with(Some(&clients.issue("app.test")))), Some(200));
    for own in [None, Some(&Authority::new().issue("app.test")), Some(&server.issue("app.test")), Some(&old)] {
        assert_eq!(status(&required, &with(own)), None);
    }
    required.await_metric("tidegate_handshakes_total{result=\"failed\"}", 4.0);
    let optional = gateway(&server, &files, "client_ca: clients.pem, client_certificate: optional", &up);
    up.last();
    assert_eq!(status(&optional, &with(None)), Some(200));
    assert_eq!(up.last().header("x-subject"), None, "nobody has shown a certificate");
    assert_eq!(status(&optional, &with(Some(&Authority::new().issue("app.test")))), None, "a wrong one is worse than none");
    assert_eq!(status(&optional, &with(Some(&clients.issue("app.test")))), Some(200));
}

#[test]
fn a_revoked_client_is_out_with_its_session() {
    let (up, server, clients) = (Origin::start(), Authority::new(), Authority::new());
    let files = [("clients.pem", clients.pem()), ("revoked.pem", clients.revoked(&[7]))];
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let gateway = gateway(&server, &files, "client_ca: clients.pem, client_crl: revoked.pem", &up);
    let one = server.client(Some(&clients.issue_numbered("one.test", 7)), H1);
    let two = server.client(Some(&clients.issue_numbered("two.test", 8)), H1);
    assert_eq!((status(&gateway, &one), status(&gateway, &two)), (None, Some(200)));
    let mut again = Client::secure(gateway.address, &two, "a.test");
    assert_eq!(again.tls().handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(again.get("/").status, 200);
    assert_eq!(up.last().header("x-name"), Some("two.test"), "a resumed session is still its client's");
    // A session is resumed without another look at the certificate: so it is not resumed once others are believed.
    gateway.reloaded(|| {
        gateway.folder.file("revoked.pem", clients.revoked(&[8]));
    });
    gateway.reload();
    assert_eq!((status(&gateway, &one), status(&gateway, &two)), (Some(200), None));
    gateway.folder.file("revoked.pem", clients.revoked_until(2021, &[8]));
    gateway.reload();
    gateway.await_said("tls.client_crl: a list of revoked certificates was to be made anew by 2021-01-01");
    assert_eq!((status(&gateway, &one), status(&gateway, &two)), (Some(200), None));
    gateway.folder.file("revoked.pem", "nothing");
    assert_eq!(gateway.reload(), "refused");
    gateway.await_said("server.listeners[0].tls.client_crl: revoked.pem holds no list of revoked certificates");
    assert_eq!((status(&gateway, &one), status(&gateway, &two)), (Some(200), None));
}

#[test]
fn a_ticket_of_one_listener_proves_nothing_at_another_that_believes_others() {
    let (up, server, one, two, folder) = (Origin::start(), Authority::new(), Authority::new(), Authority::new(), Folder::new());
    let identity = server.issue("a.test");
    for (name, text) in [("a.pem", &identity.cert), ("a.key", &identity.key), ("one.pem", &one.pem()), ("two.pem", &two.pem())] {
        folder.file(name, text);
    }
    let socket = folder.path().join("two.sock").display().to_string();
    let listener = |address: &str, ca: &str| {
        format!("{{ address: \"{address}\", tls: {{ certificates: [{{ cert: a.pem, key: a.key }}], client_ca: {ca}.pem }} }}")
    };
    let port = crate::support::port();
    let listeners =
        [listener("127.0.0.1:0", "one"), listener(&format!("127.0.0.1:{port}"), "two"), listener(&format!("unix:{socket}"), "one")];
    let gateway = Gateway::start_in(
        folder,
        &format!(
            "server:\n  listeners: [{}]\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
            listeners.join(", "),
            up.address
        ),
    );
    let config = server.client(Some(&one.issue("app.test")), H1);
    assert_eq!(status(&gateway, &config), Some(200));
    let mut other = Client::try_secure(([127, 0, 0, 1], port).into(), &config, "a.test").unwrap();
    assert_eq!(other.tls().handshake_kind(), Some(HandshakeKind::Full));
    let _ = other.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    other.try_read().expect_err("another authority is believed there");
}
