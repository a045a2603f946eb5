//! Services behind TLS: who is believed, who the gateway is to them, and that no connection is used by those who would not have made it.

use crate::support::certificates::{Authority, Identity};
use crate::support::gateway::{Folder, check};
use crate::support::{Dns, Gateway, Nginx};

/// Says the name that was asked for, the `Host`, who the client is, and the protocol.
const SAYING: &str = "location / { return 200 \"$ssl_server_name|$http_host|$ssl_client_s_dn|$server_protocol\"; }";

/// An nginx with this certificate.
fn nginx(folder: &Folder, protocol: &str, identity: &Identity, more: &str) -> Nginx {
    let cert = folder.file("server.pem", &identity.cert);
    let key = folder.file("server.key", &identity.key);
    let files = format!("ssl_certificate {}; ssl_certificate_key {};", cert.display(), key.display());
    Nginx::speaking(protocol, &format!("{files} {more} {SAYING}"))
}

fn config(target: &str, settings: &str) -> String {
    format!("server:\n  workers: 1\nservices: {{ up: {{ targets: [\"{target}\"]{settings} }} }}\nroutes: [{{ name: up, to: up }}]\n")
}

/// A gateway with these files beside its config.
fn gateway(files: &[(&str, &str)], yaml: &str) -> Gateway {
    let folder = Folder::new();
    files.iter().for_each(|(name, text)| drop(folder.file(name, text)));
    Gateway::start_in(folder, yaml)
}

/// What the target says of one request.
fn said(gateway: &Gateway) -> String {
    let answer = gateway.client().get("/");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// That no connection came about, and why.
fn refused(gateway: &Gateway) -> String {
    let problem = gateway.client().get("/").problem(502, "bad-gateway");
    assert_eq!(problem["detail"], "no trusted connection to the service could be made");
    gateway.await_log("the refusal", |line| line["status"] == 502)["cause"].as_str().unwrap().to_owned()
}

#[test]
fn a_target_is_believed_by_its_ca_and_its_name() {
    let (dns, authority, files) = (Dns::start(), Authority::new(), Folder::new());
    let nginx = nginx(&files, "ssl", &authority.issue("users.test"), "");
    let port = nginx.address.port();
    for name in ["users.test", "other.test"] {
        dns.addresses(name, 60, &["127.0.0.1"]);
    }
    let own = authority.pem();
    let with = |host: &str, tls: &str, ca: &str| {
        let yaml = config(&format!("https://{host}:{port}"), &format!(", tls: {{ {tls} }}"));
        gateway(&[("ca.pem", ca)], &format!("dns: {{ servers: [\"{}\"] }}\n{yaml}", dns.address))
    };
    let host = |name: &str| format!("{name}:{port}");
    assert_eq!(said(&with("users.test", "ca: ca.pem", &own)), format!("users.test|{}||HTTP/1.1", host("users.test")));
    assert_eq!(
        said(&with("other.test", "ca: ca.pem, server_name: users.test", &own)),
        format!("users.test|{}||HTTP/1.1", host("other.test"))
    );
    assert_eq!(
        said(&with("127.0.0.1", "ca: ca.pem, server_name: users.test", &own)),
        format!("users.test|{}||HTTP/1.1", host("127.0.0.1"))
    );
    assert!(refused(&with("other.test", "ca: ca.pem", &own)).contains("certificate not valid for name"));
    assert!(refused(&with("127.0.0.1", "ca: ca.pem", &own)).contains("certificate not valid for name"));
    assert!(refused(&with("users.test", "ca: ca.pem", &Authority::new().pem())).contains("invalid peer certificate"));
    assert!(refused(&with("users.test", "verify: full", &own)).contains("UnknownIssuer"), "the system does not know it");
    assert_eq!(said(&with("other.test", "ca: ca.pem, verify: chain", &own)), format!("other.test|{}||HTTP/1.1", host("other.test")));
    let other = Authority::new().pem();
    assert!(refused(&with("other.test", "ca: ca.pem, verify: chain", &other)).contains("invalid peer certificate"));
    let blind = with("other.test", "verify: off", &own);
    assert_eq!(said(&blind), format!("other.test|{}||HTTP/1.1", host("other.test")));
    blind.await_said("service up: its targets are believed without a look at their certificates");
}

#[test]
fn the_gateway_shows_its_certificate_to_those_who_ask() {
    let (authority, files) = (Authority::new(), Folder::new());
    let ca = files.file("ca.pem", authority.pem());
    let asks = format!("ssl_client_certificate {}; ssl_verify_client on;", ca.display());
    let nginx = nginx(&files, "ssl", &authority.issue("127.0.0.1"), &asks);
    let target = format!("https://{}", nginx.address);
    let own = authority.issue("tidegate.test");
    let stranger = Authority::new().issue("tidegate.test");
    let pem = authority.pem();
    let with = |identity: &Identity, client: &str| {
        let yaml = config(&target, &format!(", tls: {{ ca: ca.pem{client} }}"));
        gateway(&[("ca.pem", &pem), ("own.pem", &identity.cert), ("own.key", &identity.key)], &yaml)
    };
    let shown = ", client_certificate: { cert: own.pem, key: own.key }";
    assert!(said(&with(&own, shown)).contains("|CN=tidegate.test"));
    assert_eq!(with(&own, "").client().get("/").status, 400, "nginx asks for one");
    assert_ne!(with(&stranger, shown).client().get("/").status, 200);
}

#[test]
fn a_reload_with_another_ca_or_certificate_uses_no_connection_of_before() {
    let (authority, files) = (Authority::new(), Folder::new());
    let nginx = nginx(&files, "ssl", &authority.issue("127.0.0.1"), "");
    let gateway = gateway(&[("ca.pem", &authority.pem())], &config(&format!("https://{}", nginx.address), ", tls: { ca: ca.pem }"));
    assert!(said(&gateway).ends_with("HTTP/1.1"));
    gateway.folder.file("ca.pem", Authority::new().pem());
    assert_eq!(gateway.reload(), "unchanged");
    refused(&gateway);
    gateway.folder.file("ca.pem", authority.pem());
    assert_eq!(gateway.reload(), "unchanged");
    assert!(said(&gateway).ends_with("HTTP/1.1"));
    gateway.folder.file("ca.pem", "nothing");
    assert_eq!(gateway.reload(), "refused");
    assert!(said(&gateway).ends_with("HTTP/1.1"));
}

#[test]
fn services_of_the_same_target_share_no_connection() {
    let (authority, files) = (Authority::new(), Folder::new());
    let nginx = nginx(&files, "ssl", &authority.issue("127.0.0.1"), "");
    let targets = format!("targets: [\"https://{}\"]", nginx.address);
    let yaml = format!(
        "server:\n  workers: 1\nservices:\n  one: {{ {targets}, tls: {{ ca: ca.pem }} }}\n  two: {{ {targets}, tls: {{ ca: other.pem }} }}\nroutes:\n  - {{ name: one, match: {{ path: /one }}, to: one }}\n  - {{ name: two, match: {{ path: /two }}, to: two }}\n"
    );
    let gateway = gateway(&[("ca.pem", &authority.pem()), ("other.pem", &Authority::new().pem())], &yaml);
    let mut client = gateway.client();
    assert_eq!((client.get("/one").status, client.get("/two").status, client.get("/one").status), (200, 502, 200));
}

#[test]
fn the_protocol_is_agreed_upon_where_the_service_leaves_it_open() {
    let authority = Authority::new();
    for (offers, protocol, spoken) in [
        ("ssl http2", "auto", "HTTP/2.0"),
        ("ssl http2", "http2", "HTTP/2.0"),
        ("ssl http2", "http1", "HTTP/1.1"),
        ("ssl", "auto", "HTTP/1.1"),
    ] {
        let files = Folder::new();
        let nginx = nginx(&files, offers, &authority.issue("127.0.0.1"), "");
        let settings = format!(", protocol: {protocol}, tls: {{ ca: ca.pem }}");
        let gateway = gateway(&[("ca.pem", &authority.pem())], &config(&format!("https://{}", nginx.address), &settings));
        for _ in 0..2 {
            assert!(said(&gateway).ends_with(spoken), "{offers} {protocol}");
        }
    }
    let files = Folder::new();
    let nginx = nginx(&files, "ssl", &authority.issue("127.0.0.1"), "");
    let settings = ", protocol: http2, tls: { ca: ca.pem }";
    refused(&gateway(&[("ca.pem", &authority.pem())], &config(&format!("https://{}", nginx.address), settings)));
}

#[test]
fn certificates_that_nobody_looks_at_are_warned_of() {
    let (content, said) = check("services: { up: { targets: [\"https://users.test\"], tls: { verify: off } } }\n");
    assert!(content, "{said}");
    assert!(said.contains("warning: tidegate.yaml:1:67: services.up.tls.verify: certificates are not looked at"), "{said}");
}

#[test]
fn settings_of_tls_that_cannot_be_are_told_with_their_place_and_their_fix() {
    let folder = Folder::new();
    let (one, two) = (Authority::new().issue("a.test"), Authority::new().issue("b.test"));
    let path = |name: &str, text: &str| folder.file(name, text).display().to_string();
    let (cert, key, other) = (path("one.pem", &one.cert), path("one.key", &one.key), path("two.key", &two.key));
    let (empty, broken) =
        (path("empty.pem", "hello"), path("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    let client = |cert: &str, key: &str| format!("tls: {{ client_certificate: {{ cert: \"{cert}\", key: \"{key}\" }} }}");
    for (settings, place, fix) in [
        ("tls: { ca: gone.pem }".to_owned(), "tls.ca: cannot read gone.pem: No such file", "check the name"),
        (format!("tls: {{ ca: \"{empty}\" }}"), "empty.pem holds no certificate", "BEGIN CERTIFICATE"),
        (format!("tls: {{ ca: \"{broken}\" }}"), "broken.pem holds a certificate that cannot", "remove it"),
        ("tls: { ca: [a] }".to_owned(), "tls.ca: ", "string"),
        ("tls: { cas: a }".to_owned(), "tls.cas: unknown key", "did you mean `ca`?"),
        (client(&cert, &other), "two.key does not fit", "private key of `cert`"),
        (client(&cert, &cert), "holds no private key", "without a passphrase"),
        (client(&key, &key), "client_certificate.cert: ", "BEGIN CERTIFICATE"),
        (client(&cert, "gone.key"), "client_certificate.key: cannot read gone.key", "check the name"),
        ("tls: { client_certificate: own.pem }".to_owned(), "tls.client_certificate: ", "mapping"),
        (format!("tls: {{ client_certificate: {{ cert: \"{cert}\" }} }}"), "client_certificate: ", "key"),
        (format!("tls: {{ client_certificate: {{ certs: \"{cert}\", key: \"{key}\" }} }}"), "unknown key `certs`", "did you mean `cert`?"),
        ("tls: { server_name: \"a b\" }".to_owned(), "tls.server_name: `a b` is no name of a host", "users.internal"),
        ("tls: { server_name: [a] }".to_owned(), "tls.server_name: ", "string"),
        ("tls: { verify: no }".to_owned(), "tls.verify: ", "full"),
        ("tls: { verify: chain }".to_owned(), "tls.verify: without a name", "your own `ca`"),
        ("tls: []".to_owned(), "tls: ", "mapping"),
    ] {
        let (content, said) = check(&format!("services: {{ up: {{ targets: [\"https://a.test\"], {settings} }} }}\n"));
        assert!(!content && said.contains("services.up.tls") && said.contains(place) && said.contains(fix), "{settings}:\n{said}");
    }
    let (content, said) = check("services: { up: { targets: [\"http://a.test\"], tls: {} }, mock: { mock: {}, tls: {} } }\n");
    assert!(!content && said.contains("services.up.tls: no target is spoken to over TLS"), "{said}");
    assert!(said.contains("services.mock.tls: a mock has no targets"), "{said}");
}
