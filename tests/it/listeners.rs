//! Several addresses: IPv6, Unix sockets, PROXY headers in front, and the way from plain HTTP to TLS.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};

use crate::support::client::H2;
use crate::support::gateway::{Folder, check};
use crate::support::{Client, End, Gateway, Origin, PATIENCE, port};

const ROUTES: &str = "services: { echo: { mock: { echo: true } } }\nroutes: [{ name: echo, to: echo }]\n";

/// Sends one request to a Unix socket and reads to the end.
fn ask(path: &std::path::Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /a HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn each_address_is_listened_on() {
    let (folder, port) = (Folder::new(), port());
    let path = folder.path().join("gate.sock");
    // What a process leaves behind that was killed.
    drop(UnixListener::bind(&path).unwrap());
    let listeners =
        format!("[{{ address: \"127.0.0.1:0\" }}, {{ address: \"[::1]:{port}\" }}, {{ address: \"unix:{{dir}}/gate.sock\", mode: 0620 }}]");
    let up = Origin::start();
    let mut gateway = Gateway::start_in(
        folder,
        &format!(
            "server:\n  listeners: {listeners}\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
            up.address
        ),
    );
    assert_eq!(gateway.client().get("/").status, 200);
    assert_eq!(Client::connect(format!("[::1]:{port}").parse().unwrap()).get("/").status, 200);
    assert_eq!(up.last().header("x-forwarded-for"), Some("::1"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o620);
    for _ in 0..3 {
        assert!(ask(&path).starts_with("HTTP/1.1 200 OK\r\n"));
    }
    let seen = up.last();
    assert_eq!((seen.header("x-forwarded-for"), seen.header("x-forwarded-port")), (Some("127.0.0.1"), Some("80")));
    gateway.terminate();
    assert_eq!(gateway.ended().code(), Some(0));
    assert!(!path.exists(), "the socket goes with the process");
}

#[test]
fn a_socket_or_file_of_somebody_else_is_not_taken() {
    let folder = Folder::new();
    let path = folder.path().join("gate.sock");
    let held = UnixListener::bind(&path).unwrap();
    let config = |path: &std::path::Path| {
        format!("server: {{ listeners: [{{ address: \"unix:{}\" }}] }}\nadmin: {{ address: \"127.0.0.1:0\" }}\n", path.display())
    };
    let run = |path: &std::path::Path| {
        let file = folder.file("tidegate.yaml", config(path));
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["run", "-c"]).arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run(&path).contains("gate.sock: Address already in use"));
    drop(held);
    let file = folder.file("file", "mine");
    assert!(run(&file).contains("file: Address already in use"));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "mine");
}

/// A gateway whose listener wants a PROXY header, and believes 127.0.0.1 alone.
fn proxied(up: &Origin) -> Gateway {
    Gateway::start(&format!(
        "server:\n  listeners: [{{ address: \"127.0.0.1:0\", proxy_protocol: true }}]\n  trusted_proxies: [127.0.0.1/32]\n  timeouts: {{ handshake: 300ms }}\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
        up.address
    ))
}

#[test]
fn a_trusted_proxy_says_whose_connection_it_is() {
    let up = Origin::start();
    let gateway = proxied(&up);
    let four = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x09\x0a\x00\x00\x01\x12\x67\x01\xbb";
    let own = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
    let local = gateway.address.port().to_string();
    for (header, client, port) in [
        (&b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 8443\r\n"[..], "192.0.2.7", "8443"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", "2001:db8::7", "443"),
        (four, "192.0.2.9", "443"),
        (own, "127.0.0.1", &local),
    ] {
        let mut client_of = gateway.client();
        client_of.send([header, b"GET /a HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n"].concat());
        assert_eq!(client_of.read().status, 200);
        let seen = up.last();
        let hops = seen.header("x-forwarded-for").unwrap();
        // What a client says of itself is believed as little as ever.
        let expected = if client == "127.0.0.1" { "198.51.100.1, 127.0.0.1" } else { client };
        assert_eq!((hops, seen.header("x-forwarded-port")), (expected, Some(port)));
        assert_eq!(client_of.get("/b").status, 200, "one header for the whole connection");
    }
    gateway.await_log("the client", |line| line["client"] == "2001:db8::7");
    gateway.await_metric("tidegate_proxy_headers_total{result=\"taken\"}", 3.0);
    gateway.await_metric("tidegate_proxy_headers_total{result=\"without_address\"}", 1.0);
}

#[test]
fn who_may_not_or_does_not_say_it_is_refused() {
    let up = Origin::start();
    let gateway = proxied(&up);
    let mut stranger = Client::connect_from([127, 0, 0, 2], gateway.address);
    let _ = stranger.try_send("PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    stranger.try_read().expect_err("it is not trusted");
    gateway.await_metric("tidegate_proxy_headers_total{result=\"untrusted\"}", 1.0);
    let mut plain = gateway.client();
    plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    plain.try_read().expect_err("there is no header");
    gateway.await_metric("tidegate_proxy_headers_total{result=\"malformed\"}", 1.0);
    let mut slow = gateway.client();
    slow.send("PROXY TCP4 192.0.2.7");
    assert_eq!(slow.ends(), End::Closed);
    gateway.await_metric("tidegate_proxy_headers_total{result=\"late\"}", 1.0);
    assert!(up.seen().is_empty());
}

#[test]
fn a_plain_listener_sends_requests_to_tls_before_anything_is_asked_of_them() {
    let gateway = Gateway::start(
        "server:\n  listeners: [{ address: \"127.0.0.1:0\", redirect_https: true }]\n  trusted_proxies: [127.0.0.2/32]\npolicies: [hsts, api_key]\nservices: { echo: { mock: { echo: true } } }\nroutes: [{ name: echo, to: echo }]\n",
    );
    let mut client = gateway.client();
    let mut to = |request: &str| {
        client.send(format!("{request}\r\n\r\n"));
        let answer = client.read();
        assert_eq!(answer.header("strict-transport-security"), None, "{answer:?}");
        (answer.status, answer.header("location").unwrap_or_default().to_owned())
    };
    for (request, place) in [
        ("GET /a/b?c=d HTTP/1.1\r\nHost: API.example.com:8080", "https://api.example.com/a/b?c=d"),
        ("POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi\r\n\r\nGET /b HTTP/1.1\r\nHost: a.test", "https://a.test/a"),
    ] {
        assert_eq!(to(request), (308, place.to_owned()));
    }
    let mut client = gateway.client();
    let mut to = |request: &str| {
        client.send(format!("{request}\r\n\r\n"));
        (client.read().header("location").unwrap_or_default()).to_owned()
    };
    assert_eq!(to("GET //evil.test/ HTTP/1.1\r\nHost: a.test"), "https://a.test//evil.test/");
    assert_eq!(to("GET http://a.test/b HTTP/1.1\r\nHost: a.test"), "https://a.test/b");
    assert_eq!(to("OPTIONS * HTTP/1.1\r\nHost: [::1]:80"), "https://[::1]");
    assert_eq!(to("GET / HTTP/1.1\r\nHost:"), "");
    // Over TLS to the proxy, who is trusted: there is nothing to redirect, and HSTS may be said.
    let mut behind = Client::connect_from([127, 0, 0, 2], gateway.address);
    let answer = behind.get_with("/", "X-Forwarded-Proto: https\r\n");
    assert_eq!((answer.status, answer.header("strict-transport-security")), (401, Some("max-age=31536000")));
    assert_eq!(behind.get("/").status, 308);
    gateway.await_log("the redirect", |line| line["status"] == 308 && line["route"] == "-");
    let other = Gateway::start(&format!("server:\n  listeners: [{{ address: \"127.0.0.1:0\", redirect_https: 8443 }}]\n{ROUTES}"));
    assert_eq!(other.client().get("/a").header("location"), Some("https://gateway.test:8443/a"));
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let (head, _) = H2::connect(other.address).await.get("/a?b").await;
        assert_eq!((head.status.as_u16(), &head.headers["location"]), (308, &"https://gateway.test:8443/a?b".parse().unwrap()));
    });
}

#[test]
fn settings_of_listeners_that_cannot_be_are_told_with_their_place_and_their_fix() {
    let folder = Folder::new();
    let authority = crate::support::certificates::Authority::new();
    let (one, two) = (authority.issue("a.test"), authority.issue("b.test"));
    let nameless = authority.issue_with("x.test", |params| params.subject_alt_names.clear());
    let path = |name: &str, text: &str| folder.file(name, text).display().to_string();
    let (cert, key) = (path("one.pem", &one.cert), path("one.key", &one.key));
    let (other, empty, nobody) = (path("two.key", &two.key), path("empty.pem", "hello"), path("nobody.pem", &nameless.cert));
    let nobodys = path("nobody.key", &nameless.key);
    let pair = |cert: &str, key: &str| format!("{{ cert: \"{cert}\", key: \"{key}\" }}");
    let tls = |certificates: &str, more: &str| format!("tls: {{ certificates: [{certificates}]{more} }}");
    let right = pair(&cert, &key);
    for (settings, place, fix) in [
        ("tls: true".to_owned(), "tls: ", "mapping"),
        ("tls: {}".to_owned(), "tls: `certificates` is missing", "add `certificates:`"),
        (tls("", ""), "tls.certificates: there is no certificate to show", "cert: api.pem"),
        (tls(&pair("gone.pem", &key), ""), "tls.certificates[0].cert: cannot read gone.pem: No such file", "check the name"),
        (tls(&pair(&cert, "gone.key"), ""), "tls.certificates[0].key: cannot read gone.key", "check the name"),
        (tls(&format!("{right}, {}", pair(&cert, &other)), ""), "tls.certificates[1].key: ", "private key of `cert`"),
        (tls(&pair(&empty, &key), ""), "empty.pem holds no certificate", "BEGIN CERTIFICATE"),
        (tls(&pair(&cert, &cert), ""), "holds no private key", "without a passphrase"),
        (tls(&format!("{right}, {}", pair(&nobody, &nobodys)), ""), "nobody.pem names no host", "put it first"),
        (tls("a.pem", ""), "tls.certificates[0]: ", "mapping"),
        (tls(&format!("{{ cert: \"{cert}\" }}"), ""), "tls.certificates[0]: ", "add `key:`"),
        (tls(&right, ", client_cas: a"), "tls.client_cas: unknown key", "did you mean `client_ca`?"),
        (tls(&right, ", client_ca: gone.pem"), "tls.client_ca: cannot read gone.pem", "check the name"),
        (tls(&right, &format!(", client_ca: \"{empty}\"")), "empty.pem holds no certificate", "BEGIN CERTIFICATE"),
        (tls(&right, ", client_certificate: optional"), "tls.client_certificate: no client is asked", "name the `client_ca`"),
        (tls(&right, ", client_crl: a.pem"), "tls.client_crl: no client is asked", "name the `client_ca`"),
        (tls(&right, &format!(", client_ca: \"{cert}\", client_certificate: maybe")), "tls.client_certificate: ", "optional"),
        (tls(&right, &format!(", client_ca: \"{cert}\", client_crl: \"{cert}\"")), "holds no list of revoked", "BEGIN X509 CRL"),
        (format!("{}, redirect_https: true", tls(&right, "")), "redirect_https: what comes here is over TLS", "take it out"),
        (tls(&right, ", min_version: 1.1"), "tls.min_version: ", "1.2"),
        ("mode: 0660".to_owned(), "mode: only a Unix socket has permissions", "unix:/run/tidegate.sock"),
        ("redirect_https: 0".to_owned(), "redirect_https: ", "from 1 to 65535"),
        ("redirect_https: 70000".to_owned(), "redirect_https: ", "from 1 to 65535"),
        ("redirect_https: always".to_owned(), "redirect_https: ", "`true`, `false`, or a port"),
        ("redirect_http: true".to_owned(), "unknown key `redirect_http`", "did you mean `redirect_https`?"),
        ("proxy_protocol: true".to_owned(), "proxy_protocol: nobody could connect", "server.trusted_proxies"),
        ("proxy_protocol: v2".to_owned(), "proxy_protocol: ", "true"),
    ] {
        let (content, said) = check(&format!("server: {{ listeners: [{{ address: \"127.0.0.1:8443\", {settings} }}] }}\n"));
        assert!(!content && said.contains("server.listeners[0]") && said.contains(place) && said.contains(fix), "{settings}:\n{said}");
    }
    let long = format!("unix:/{}", "x".repeat(200));
    for (address, reason, fix) in [
        ("localhost", "not an IP address with a port", "`127.0.0.1:8080`"),
        ("unix:gate.sock", "not a whole path", "unix:/run/tidegate.sock"),
        (&long, "at most 107 bytes", "shorter"),
    ] {
        let (content, said) = check(&format!("server: {{ listeners: [{{ address: \"{address}\" }}] }}\n"));
        assert!(
            !content && said.contains("server.listeners[0].address: ") && said.contains(reason) && said.contains(fix),
            "{address}:\n{said}"
        );
    }
    for mode in ["rw", "0880", "66", "01777"] {
        let (content, said) = check(&format!("server: {{ listeners: [{{ address: \"unix:/a\", mode: {mode} }}] }}\n"));
        assert!(!content && said.contains("server.listeners[0].mode: ") && said.contains("like `0660`"), "{mode}:\n{said}");
    }
    let (content, said) = check("server: { listeners: [{ address: \"[::]:80\" }, { address: \"[::]:80\" }] }\n");
    assert!(!content && said.contains("server.listeners[1].address: [::]:80 is listened on already"), "{said}");
    let (content, said) = check("server: { timeouts: { handshake: 0s } }\n");
    assert!(!content && said.contains("server.timeouts.handshake: this leaves no time"), "{said}");
}
