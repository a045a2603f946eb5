//! Who the gateway is to services: what it shows takes the place of the client's own, whichever way a request goes, and nobody else sees it.

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::certificates::{Authority, signing_key};
use crate::support::gateway::{Folder, check};
use crate::support::{Answer, Gateway, Nginx, Origin, port};

/// `gateway:hunter2-of-orders`, as the service gets it.
const BASIC: &str = "Basic Z2F0ZXdheTpodW50ZXIyLW9mLW9yZGVycw==";
const OWN: &str = "credentials: { basic: { username: gateway, password: hunter2-of-orders }, headers: { X-Key: hunter2-key } }";
const THEIRS: &str = "Authorization: Bearer theirs\r\nAuthorization: Basic theirs\r\nX-Key: theirs\r\n";

/// Nothing that the gateway tells has this in it.
fn conceals(gateway: &Gateway, secrets: &[&str]) {
    let log = gateway.log().iter().map(Value::to_string).collect::<String>();
    for (place, text) in
        [("said", gateway.said()), ("log", log), ("metrics", gateway.ask("/metrics").1), ("status", gateway.ask("/status").1)]
    {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in what is {place}:\n{text}");
        }
    }
}

#[test]
fn what_the_gateway_shows_takes_the_place_of_what_the_client_has_sent() {
    let (up, other) = (Origin::start(), Origin::http2(|_| Answer::new("here".to_owned())));
    let gateway = Gateway::start(&format!(
        r#"
services:
  own: {{ targets: ["http://{0}"], {OWN} }}
  two: {{ targets: ["http://{1}"], protocol: http2, health: {{ path: /well, interval: 1h }}, {OWN} }}
  kept: {{ targets: ["http://{0}"], credentials: {{ keep_authorization: true, headers: {{ X-Key: hunter2-key }} }} }}
  none: {{ targets: ["http://{0}"] }}
policies: [{{ request: {{ headers: {{ set: {{ X-Client: "{{header.X-Key}}" }}, add: {{ Authorization: Bearer policy, X-Key: policy }} }} }} }}]
routes:
  - {{ name: own, match: {{ path: /own }}, to: own }}
  - {{ name: two, match: {{ path: /two }}, to: two }}
  - {{ name: kept, match: {{ path: /kept }}, to: kept }}
  - {{ name: none, match: {{ path: /none }}, to: none }}
"#,
        up.address, other.address
    ));
    // By Connection a client cannot take them away either.
    for more in ["", "Connection: X-Key\r\n"] {
        assert_eq!(gateway.client().get_with("/own", &format!("{THEIRS}{more}")).status, 200);
        let seen = up.last();
        assert_eq!((seen.header("authorization"), seen.header("x-key")), (Some(BASIC), Some("hunter2-key")));
    }
    assert_eq!(gateway.client().get_with("/two", THEIRS).status, 200);
    for seen in other.seen() {
        assert_eq!((seen.header("authorization"), seen.header("x-key")), (Some(BASIC), Some("hunter2-key")), "{seen:?}");
    }
    assert_eq!(other.seen().len(), 2);
    assert_eq!(gateway.client().get_with("/kept", "Authorization: Bearer theirs\r\n").status, 200);
    let seen = up.last();
    assert_eq!(seen.headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Bearer theirs", "Bearer policy"]);
    assert_eq!(seen.header("x-key"), Some("hunter2-key"));
    assert_eq!(gateway.client().get_with("/none", "X-Key: theirs\r\n").status, 200);
    assert_eq!(up.last().headers.get_all("x-key").iter().collect::<Vec<_>>(), ["theirs", "policy"]);
    conceals(&gateway, &["hunter2", BASIC]);
}

#[test]
fn each_attempt_each_part_and_each_handshake_shows_them_and_so_does_each_check() {
    let failed = AtomicUsize::new(0);
    let up = Origin::answering(move |seen| match seen.target.as_str() {
        "/again" if failed.fetch_add(1, Ordering::Relaxed) < 2 => http::Response::builder().status(503).body(String::new()).unwrap(),
        "/part" => http::Response::builder().header("content-type", "application/json").body("{}".to_owned()).unwrap(),
        "/well" if seen.header("authorization") != Some(BASIC) => http::Response::builder().status(401).body(String::new()).unwrap(),
        _ => Answer::new("here".to_owned()),
    });
    let gateway = Gateway::start(&format!(
        r#"
services:
  own:
    targets: ["http://{}"]
    retry: {{ attempts: 3, on: [503], backoff: {{ base: 1ms }} }}
    health: {{ path: /well, interval: 1h }}
    {OWN}
routes:
  - name: whole
    match: {{ path: /whole }}
    compose: {{ parts: {{ one: {{ get: "own:/part", required: true }}, two: {{ get: "own:/again", headers: {{ Authorization: "{{header.Authorization}}" }} }} }} }}
  - {{ name: own, to: own }}
"#,
        up.address
    ));
    assert_eq!(gateway.metric(&format!("tidegate_target_healthy{{service=\"own\",target=\"{}\"}}", up.address)), 1.0);
    assert_eq!(up.seen().iter().filter(|seen| seen.target == "/well").count(), 1);
    assert_eq!(gateway.client().get_with("/again", THEIRS).status, 200);
    assert_eq!(gateway.client().get_with("/whole", "Authorization: Bearer theirs\r\n").status, 200);
    let socket =
        "Upgrade: websocket\r\nConnection: Upgrade, X-Key\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    gateway.client().get_with("/socket", &format!("{THEIRS}{socket}"));
    let mut targets: Vec<_> = up
        .seen()
        .into_iter()
        .map(|seen| {
            assert_eq!((seen.header("authorization"), seen.header("x-key")), (Some(BASIC), Some("hunter2-key")), "{seen:?}");
            seen.target
        })
        .collect();
    targets.sort();
    assert_eq!(targets, ["/again", "/again", "/again", "/again", "/part", "/socket", "/well"]);
}

#[test]
fn a_copy_shows_its_own_services_credentials_and_never_those_of_the_first() {
    let (real, copy) = (Origin::start(), Origin::start());
    for (credentials, authorization) in [("", None), (", credentials: { basic: { username: a, password: b } }", Some("Basic YTpi"))] {
        let gateway = Gateway::start(&format!(
            "services:\n  real: {{ targets: [\"http://{}\"], {OWN} }}\n  next: {{ targets: [\"http://{}\"]{credentials} }}\nroutes: [{{ name: shop, to: real, mirror: {{ to: next }} }}]\n",
            real.address, copy.address
        ));
        assert_eq!(gateway.client().get_with("/", THEIRS).status, 200);
        assert_eq!(real.last().header("authorization"), Some(BASIC));
        gateway.await_metric("tidegate_mirror_total{result=\"answered\",service=\"next\"}", 1.0);
        let seen = copy.last();
        assert_eq!((seen.header("authorization"), seen.header("x-key")), (authorization, None));
    }
}

/// What a token says.
fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

/// A gateway whose service is another route of its own, which verifies what the first signs; with this list of keys.
fn signing(port: u16, keys: &str) -> String {
    format!(
        r#"
server:
  listeners: [{{ address: "127.0.0.1:{port}" }}]
signing:
  issuer: "http://127.0.0.1:{port}"
  keys: {keys}
consumers:
  - {{ name: ada, groups: [gold], api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"] }}
services:
  self: {{ targets: ["http://127.0.0.1:{port}"], credentials: {{ jwt: {{ audience: users, claims: {{ ip: "{{client.ip}}" }} }} }} }}
  echo: {{ mock: {{ echo: true }} }}
routes:
  - name: front
    match: {{ path: /front }}
    policies: [api_key: {{ header: X-API-Key }}]
    to: self
    path: /back
  - name: whole
    match: {{ path: /whole }}
    policies: [api_key: {{ header: X-API-Key }}]
    compose: {{ parts: {{ back: {{ get: "self:/back", required: true }} }} }}
  - {{ name: open, match: {{ path: /open }}, to: self, path: /back }}
  - name: back
    match: {{ path: /back }}
    policies:
      - jwt: {{ issuer: "http://127.0.0.1:{port}", audience: users, required: [sub, jti], claims: {{ groups: gold }}, jwks: "http://127.0.0.1:{port}/.well-known/jwks.json", fetch: {{ allow_http: true, cooldown: 1ms }} }}
      - request: {{ headers: {{ set: {{ X-Sub: "{{claims.sub}}", X-Ip: "{{claims.ip}}" }} }} }}
    to: echo
  - {{ name: keys, match: {{ path: /.well-known/jwks.json, methods: [GET, HEAD] }}, jwks: {{ max_age: 5m }} }}
"#
    )
}

#[test]
fn a_token_that_the_gateway_signs_is_verified_with_the_keys_that_it_shows_and_tells_who_calls() {
    let (folder, port) = (Folder::new(), port());
    folder.file("one.pem", signing_key());
    folder.file("two.pem", signing_key());
    let gateway = Gateway::start_in(folder, &signing(port, "[{ pem_file: one.pem }]"));
    let ada = "X-API-Key: test\r\nAuthorization: Bearer theirs\r\n";
    let token = |gateway: &Gateway| {
        let answer = gateway.client().get_with("/front", ada);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let headers = answer.json()["headers"].clone();
        assert_eq!((&headers["x-sub"], &headers["x-ip"]), (&json!("ada"), &json!("127.0.0.1")));
        headers["authorization"].as_str().unwrap().trim_start_matches("Bearer ").to_owned()
    };
    let first = token(&gateway);
    assert_eq!(token(&gateway), first, "it is used again");
    let said = claims(&first);
    assert_eq!((&said["aud"], &said["sub"], &said["groups"]), (&json!("users"), &json!("ada"), &json!(["gold"])));
    let whole = gateway.client().get_with("/whole", ada);
    assert_eq!((whole.status, &whole.json()["back"]["headers"]["x-sub"]), (200, &json!("ada")), "{}", whole.text());
    // Of nobody it says nothing, which is not enough there.
    assert_eq!(gateway.client().get_with("/open", ada).status, 401);
    let keys = gateway.client().get("/.well-known/jwks.json");
    assert_eq!(
        (keys.header("content-type"), keys.header("cache-control")),
        (Some("application/jwk-set+json"), Some("public, max-age=300"))
    );
    let shown = keys.json()["keys"].as_array().unwrap().clone();
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(first.split('.').next().unwrap()).unwrap()).unwrap();
    assert_eq!((shown.len(), &shown[0]["kid"], &head["alg"]), (1, &head["kid"], &json!("EdDSA")));
    assert!(shown[0].get("d").is_none());
    // The next key is shown first, then signs; at last the former is gone.
    let mut last = first.clone();
    for (keys, count, is_same) in [
        ("[{ pem_file: one.pem }, { pem_file: two.pem }]", 2, true),
        ("[{ pem_file: two.pem }, { pem_file: one.pem }]", 2, false),
        ("[{ pem_file: two.pem }]", 1, true),
    ] {
        assert_eq!(gateway.rewrite(&signing(port, keys)), "done");
        let next = token(&gateway);
        assert_eq!(gateway.client().get("/.well-known/jwks.json").json()["keys"].as_array().unwrap().len(), count);
        assert_eq!(next == last, is_same, "a token is used again as long as its key signs");
        last = next;
    }
    assert_eq!((gateway.reload(), token(&gateway) == last), ("unchanged", true));
    // A file that changes is read again, though the config stays; nobody needs to say so.
    let write = |text: &str| {
        let new = gateway.folder.file("new.pem", text);
        std::fs::rename(new, gateway.folder.path().join("two.pem")).unwrap();
    };
    assert_eq!(gateway.reloaded(|| write(&signing_key())), "unchanged");
    let kid = |answer: &crate::support::Response| answer.json()["keys"][0]["kid"].clone();
    assert_ne!(kid(&gateway.client().get("/.well-known/jwks.json")), kid(&keys));
    assert_ne!(token(&gateway), last);
    assert_eq!(gateway.reloaded(|| write("nothing")), "refused");
    token(&gateway);
    conceals(&gateway, &[&first, "PRIVATE"]);
}

#[test]
fn a_key_of_rsa_signs_for_each_of_many_callers_at_once_and_one_token_for_all_requests_of_one() {
    let (folder, up) = (Folder::new(), Origin::start());
    folder.file("rsa.pem", include_str!("../../conf/examples/oidc/issuer.key"));
    let gateway = Gateway::start_in(
        folder,
        &format!(
            r#"
server:
  workers: 1
signing: {{ issuer: gateway, keys: [{{ pem_file: rsa.pem, algorithm: PS256 }}] }}
services: {{ up: {{ targets: ["http://{}"], credentials: {{ jwt: {{ audience: up, subject: "{{header.X-Who}}" }} }} }} }}
routes: [{{ name: up, to: up }}]
"#,
            up.address
        ),
    );
    // More than may be signed at once: the others wait, and are not refused.
    let (many, gate) = (24, Barrier::new(24));
    let ask = |number: usize, who: &dyn Fn(usize) -> String| {
        let mut client = gateway.client();
        gate.wait();
        assert_eq!(client.get_with("/", &format!("X-Who: {}\r\n", who(number))).status, 200);
    };
    let told = |who: &(dyn Fn(usize) -> String + Sync)| {
        std::thread::scope(|scope| (0..many).for_each(|number| drop(scope.spawn(move || ask(number, who)))));
        let tokens = up.seen().into_iter().map(|seen| seen.header("authorization").unwrap().to_owned());
        tokens.collect::<BTreeSet<_>>()
    };
    let each: BTreeSet<_> = told(&|number| format!("caller-{number}")).iter().map(|token| claims(token)["sub"].to_string()).collect();
    assert_eq!(each, (0..many).map(|number| format!("\"caller-{number}\"")).collect());
    // Those of before, and one more.
    assert_eq!(told(&|_| "one".to_owned()).len(), many + 1);
}

#[test]
fn a_token_tells_of_the_clients_own_request_whichever_way_it_goes() {
    let (up, decides, copy) = (Origin::start(), Origin::start(), Origin::start());
    let folder = Folder::new();
    folder.file("one.pem", signing_key());
    let service = |origin: &Origin| {
        let claims = "{ who: \"{header.X-Who}\", what: \"{query.what}\", how: \"{request.method}\" }";
        format!("{{ targets: [\"http://{}\"], credentials: {{ jwt: {{ audience: up, claims: {claims} }} }} }}", origin.address)
    };
    let gateway = Gateway::start_in(
        folder,
        &format!(
            r#"
signing: {{ issuer: gateway, keys: [{{ pem_file: one.pem }}] }}
services:
  up: {}
  decides: {}
  copy: {}
routes:
  - name: up
    policies:
      - external: {{ service: decides, path: /may, headers: [] }}
      - request: {{ headers: {{ set: {{ X-Who: the-gateway }} }} }}
    to: up
    mirror: {{ to: copy, methods: any }}
"#,
            service(&up),
            service(&decides),
            service(&copy)
        ),
    );
    for (body, copies) in [("", 1.0), ("hello", 2.0)] {
        let mut client = gateway.client();
        client.send(format!("DELETE /a?what=all HTTP/1.1\r\nHost: a\r\nX-Who: ada\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(client.read().status, 200);
        gateway.await_metric("tidegate_mirror_total{result=\"answered\",service=\"copy\"}", copies);
        for origin in [&up, &decides, &copy] {
            let seen = origin.last();
            let said = claims(seen.header("authorization").unwrap());
            assert_eq!((&said["who"], &said["what"], &said["how"]), (&json!("ada"), &json!("all"), &json!("DELETE")), "{seen:?}");
        }
    }
}

#[test]
fn a_client_certificate_is_read_again_when_its_file_changes() {
    let (authority, files) = (Authority::new(), Folder::new());
    let ca = files.file("ca.pem", authority.pem());
    let server = authority.issue("127.0.0.1");
    let [cert, key] = [("server.pem", &server.cert), ("server.key", &server.key)].map(|(name, text)| files.file(name, text));
    let nginx = Nginx::speaking(
        "ssl",
        &format!(
            "ssl_certificate {}; ssl_certificate_key {}; ssl_client_certificate {}; ssl_verify_client on; location / {{ return 200 \"$ssl_client_s_dn\"; }}",
            cert.display(),
            key.display(),
            ca.display()
        ),
    );
    let folder = Folder::new();
    let show = |folder: &Folder, name: &str| {
        let own = authority.issue(name);
        folder.file("own.pem", &own.cert);
        folder.file("own.key", &own.key);
    };
    folder.file("ca.pem", authority.pem());
    show(&folder, "first.test");
    let gateway = Gateway::start_in(
        folder,
        &format!(
            "services: {{ up: {{ targets: [\"https://{}\"], tls: {{ ca: ca.pem, client_certificate: {{ cert: own.pem, key: own.key }} }}, credentials: {{ headers: {{ X-Key: a }} }} }} }}\nroutes: [{{ name: up, to: up }}]\n",
            nginx.address
        ),
    );
    assert_eq!(gateway.client().get("/").text(), "CN=first.test");
    show(&gateway.folder, "second.test");
    assert_eq!(gateway.reload(), "unchanged");
    assert_eq!(gateway.client().get("/").text(), "CN=second.test");
}

#[test]
fn what_cannot_work_is_refused_at_its_place() {
    let service = |credentials: &str| {
        format!("services: {{ up: {{ targets: [\"http://127.0.0.1:9\"], {credentials} }} }}\nroutes: [{{ name: up, to: up }}]\n")
    };
    for (yaml, place, why) in [
        (service("credentials: {}"), "services.up.credentials", "there are no credentials"),
        (service("credentials: { jwt: { audience: up } }"), "services.up.credentials.jwt", "the gateway has no keys to sign with"),
        (service("credentials: { headers: { Host: a } }"), "services.up.credentials.headers.Host", "`Host` is no header for credentials"),
        (service("credentials: { bearer: a }"), "services.up.credentials.bearer", "unknown"),
        (
            service("credentials: { oauth2: { url: \"http://127.0.0.1/token\", client_id: a, client_secret: hunter2 } }"),
            "services.up.credentials.oauth2.url",
            "without TLS",
        ),
        (
            "services: { up: { mock: {}, credentials: { headers: { X-Key: a } } } }\nroutes: [{ name: up, to: up }]\n".to_owned(),
            "services.up.credentials",
            "a mock has no targets",
        ),
        ("routes: [{ name: keys, jwks: {} }]\n".to_owned(), "routes[0].jwks", "the gateway has no keys to show"),
        ("signing: { issuer: a, keys: [] }\nroutes: []\n".to_owned(), "signing.keys", "there is no key to sign with"),
        ("signing: { issuer: a, keys: [{ pem: hunter2 }] }\nroutes: []\n".to_owned(), "signing.keys[0].pem", "this is no private key"),
        (
            format!(
                "signing: {{ issuer: a, keys: [{{ pem: {:?} }}] }}\nservices: {{ up: {{ targets: [\"http://127.0.0.1:9\"], credentials: {{ jwt: {{ audience: a }} }} }} }}\nroutes:\n  - name: whole\n    compose: {{ parts: {{ one: {{ get: \"up:/\", cache: 1m }} }} }}\n",
                signing_key()
            ),
            "routes[0].compose.parts.one.cache",
            "its service is told who calls",
        ),
    ] {
        let (right, said) = check(&yaml);
        assert!(!right && said.contains(&format!("{place}: ")) && said.contains(why) && !said.contains("hunter2"), "{place}:\n{said}");
    }
}
