//! Identity providers by other hands: `oauth2-mock-server` and `oidc-provider`.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::jwks::{config, refreshes, status};
use crate::support::certificates::Authority;
use crate::support::gateway::Folder;
use crate::support::idp::bearer;
use crate::support::peers::Peer;
use crate::support::{Client, Gateway, Response, eventually, port};

/// A running `oauth2-mock-server`.
struct Mock {
    peer: Peer,
    issuer: String,
    asked: usize,
}

impl Mock {
    fn start(scheme: &str, arguments: &[&str]) -> Self {
        let peer = Peer::start("oauth2_mock.mjs", arguments);
        let line = peer.await_line("listening ");
        Self { peer, issuer: format!("{scheme}://localhost:{}", line.trim_start_matches("listening ")), asked: 0 }
    }

    /// Without TLS.
    fn plain(folder: &Folder) -> Self {
        Self::start("http", &["0", folder.path().join("idp-keys.json").to_str().unwrap()])
    }

    /// Tells it to do something, and waits for what it says to that.
    fn ask(&mut self, what: &str) -> String {
        self.peer.say(what);
        self.asked += 1;
        self.peer.await_lines("done ", self.asked).trim_start_matches("done ").to_owned()
    }

    fn token(&mut self, kid: &str, claims: &Value) -> String {
        self.ask(&format!("token {kid} {claims}"))
    }

    fn tokens(&mut self, kid: &str, count: usize) -> Vec<String> {
        (0..count).map(|number| self.token(kid, &json!({"aud": "api", "sub": "ada", "jti": number.to_string()}))).collect()
    }
}

#[test]
fn a_provider_behind_a_private_authority_is_asked_over_tls_and_no_other() {
    let (authority, other, folder) = (Authority::new(), Authority::new(), Folder::new());
    let own = authority.issue("localhost");
    let [cert, key] = [("idp.pem", &own.cert), ("idp.key", &own.key)].map(|(name, text)| folder.file(name, text));
    folder.file("ca.pem", authority.pem());
    folder.file("other.pem", other.pem());
    let keys = folder.path().join("idp-keys.json");
    let mut idp = Mock::start("https", &["0", keys.to_str().unwrap(), key.to_str().unwrap(), cert.to_str().unwrap()]);
    for algorithm in ["RS256", "PS384", "ES256", "ES384", "EdDSA"] {
        idp.ask(&format!("rotate {algorithm} {algorithm}"));
    }
    let yaml = config(&format!("issuer: \"{}\", audience: api, fetch: {{ ca: other.pem }}", idp.issuer));
    let gateway = Gateway::start_in(folder, &yaml);
    let token = idp.token("RS256", &json!({"aud": "api", "sub": "ada"}));
    let answer = gateway.client().get_with("/", &bearer(&token));
    answer.problem(503, "unavailable");
    let said = gateway.await_said("could not be fetched, tokens get 503: no connection came about: TLS");
    assert!(said.contains("invalid peer certificate"), "{said}");
    assert_eq!(gateway.rewrite(&yaml.replace("other.pem", "ca.pem")), "done");
    for algorithm in ["RS256", "PS384", "ES256", "ES384", "EdDSA"] {
        let token = idp.token(algorithm, &json!({"aud": "api", "sub": "ada"}));
        let answer = gateway.client().get_with("/", &bearer(&token));
        assert_eq!((answer.status, answer.json()["headers"]["x-user"].as_str()), (200, Some("ada")), "{algorithm}");
    }
    assert_eq!(refreshes(&gateway, &idp.issuer, "renewed"), 1.0);
}

/// Another token with the same words, signed by nobody that the issuer shows.
fn forged(token: &str) -> String {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    bytes[10] ^= 1;
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(bytes))
}

#[test]
fn keys_rotate_under_load_and_no_token_is_refused_or_accepted_wrongly() {
    let folder = Folder::new();
    let mut idp = Mock::plain(&folder);
    idp.ask("rotate k0 RS256");
    let fetch = "fetch: { allow_http: true, min_ttl: 200ms, max_ttl: 200ms, cooldown: 20ms }";
    let gateway = Gateway::start_in(folder, &config(&format!("issuer: \"{}\", audience: api, {fetch}", idp.issuer)));
    // Good ones, and bad ones. They are replaced while no request with one is under way.
    let tokens = RwLock::new((idp.tokens("k0", 4), Vec::<String>::new()));
    let (end, counts) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (gateway, tokens, end, counts) = (&gateway, &tokens, &end, &counts);
            scope.spawn(move || {
                let mut client = gateway.client();
                for number in (worker..).take_while(|_| !end.load(Ordering::Relaxed)) {
                    let tokens = tokens.read().unwrap();
                    let (good, bad) = (&tokens.0[number % tokens.0.len()], tokens.1.get(number % tokens.1.len().max(1)));
                    let answer = client.get_with("/", &bearer(good));
                    assert_eq!(answer.status, 200, "wrongly refused: {}", answer.text());
                    counts[0].fetch_add(1, Ordering::Relaxed);
                    if let Some(bad) = bad {
                        let answer = client.get_with("/", &bearer(bad));
                        assert_eq!(answer.status, 401, "wrongly accepted: {}", answer.text());
                        counts[1].fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for (round, algorithm) in (1..).zip(["ES256", "RS256", "EdDSA", "PS256"]) {
            let (old, new) = (format!("k{}", round - 1), format!("k{round}"));
            // The new key is shown and used at once.
            idp.ask(&format!("rotate {new} {algorithm}"));
            let (mut both, fresh) = (idp.tokens(&old, 2), idp.tokens(&new, 4));
            both.extend(fresh.clone());
            let mut bad: Vec<_> = both.iter().map(|token| forged(token)).collect();
            let withdrawn = both[0].clone();
            *tokens.write().unwrap() = (both, bad.clone());
            let seen = counts[0].load(Ordering::Relaxed);
            eventually("both are used", || (counts[0].load(Ordering::Relaxed) > seen + 50).then_some(()));
            // The old one is taken back: its tokens are good for no longer than the keys hold.
            *tokens.write().unwrap() = (fresh.clone(), bad.clone());
            idp.ask(&format!("only {new}"));
            let gone = Instant::now();
            eventually("tokens of the old key are refused", || (status(&gateway, &withdrawn) == 401).then_some(()));
            assert!(gone.elapsed() < Duration::from_secs(2), "{:?}", gone.elapsed());
            bad.push(withdrawn);
            *tokens.write().unwrap() = (fresh, bad);
            let seen = counts[1].load(Ordering::Relaxed);
            eventually("they stay refused", || (counts[1].load(Ordering::Relaxed) > seen + 50).then_some(()));
        }
        end.store(true, Ordering::Relaxed);
    });
    let [good, bad] = counts.map(AtomicUsize::into_inner);
    assert!(good > 400 && bad > 200, "{good} {bad}");
}

#[test]
fn a_provider_that_is_killed_and_started_anew_under_load_costs_no_good_token() {
    let folder = Folder::new();
    let (port, keys) = (port().to_string(), folder.path().join("idp-keys.json"));
    let start = || Mock::start("http", &[&port, keys.to_str().unwrap()]);
    let mut idp = start();
    idp.ask("rotate k0 RS256");
    let fetch = "fetch: { allow_http: true, min_ttl: 100ms, max_ttl: 100ms }";
    let gateway = Gateway::start_in(folder, &config(&format!("issuer: \"{}\", audience: api, cache: 0, {fetch}", idp.issuer)));
    let (tokens, end) = (idp.tokens("k0", 8), AtomicBool::new(false));
    let (missed, source) = (AtomicUsize::new(0), idp.issuer.clone());
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let (gateway, tokens, end) = (&gateway, &tokens, &end);
            scope.spawn(move || {
                let mut client = gateway.client();
                for number in (worker..).take_while(|_| !end.load(Ordering::Relaxed)) {
                    let began = Instant::now();
                    let answer = client.get_with("/", &bearer(&tokens[number % tokens.len()]));
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
                }
            });
        }
        idp.peer.kill();
        eventually("it is missed", || (refreshes(&gateway, &source, "unreachable") >= 2.0).then_some(()));
        missed.store(1, Ordering::Relaxed);
        idp = start();
        gateway.await_said("are fetched again");
        end.store(true, Ordering::Relaxed);
    });
    assert_eq!(missed.into_inner(), 1);
    assert_eq!(status(&gateway, &idp.token("k0", &json!({"aud": "api", "sub": "ada"}))), 200);
}

/// What a certified provider gives to the client `shop`.
fn granted(address: &str, body: &str, more: &str) -> Value {
    posted(address, "/token", body, more).json()
}

fn posted(address: &str, path: &str, body: &str, more: &str) -> Response {
    // shop:secret
    let line = format!("Authorization: Basic c2hvcDpzZWNyZXQ=\r\nContent-Type: application/x-www-form-urlencoded\r\n{more}");
    let mut client = Client::connect(address.parse().unwrap());
    client.send(format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{line}Content-Length: {}\r\n\r\n{body}", body.len()));
    let answer = client.read();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer
}

/// An opaque token of that provider.
fn opaque(address: &str, scope: &str) -> String {
    let body = format!("grant_type=client_credentials&scope={scope}&resource=urn:api:opaque");
    granted(address, &body, "")["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn opaque_tokens_of_a_certified_provider_are_asked_about_and_those_taken_back_are_refused_in_time() {
    let at = port().to_string();
    let mut peer = Peer::start("oidc_provider.mjs", &[&at]);
    peer.await_line("listening ");
    let address = format!("127.0.0.1:{at}");
    let asked = |more: &str| {
        format!(
            "introspection: {{ issuer: \"http://{address}\", audience: api, consumer: client_id, allow_http: true, cache: 500ms, {more} }}"
        )
    };
    let basic = "client_id: gate way, client_secret: \"s3:cr%t\"";
    let route = |path: &str, more: &str| {
        let name = path.trim_start_matches('/');
        format!("  - {{ name: {name}, match: {{ path: {path} }}, policies: [{}], to: echo }}\n", asked(more))
    };
    let gateway = Gateway::start(&format!(
        "consumers: [{{ name: shop }}]\nservices: {{ echo: {{ mock: {{ echo: true }} }} }}\nroutes:\n{}{}{}{}",
        route("/read", &format!("{basic}, scopes: [read]")),
        route("/write", &format!("{basic}, scopes: [write]")),
        route("/post", "client_id: post, client_secret: \"s3:cr%t\", client_auth: client_secret_post"),
        route("/wrong", "client_id: gate way, client_secret: wrong"),
    ));
    let status = |path: &str, token: &str| gateway.client().get_with(path, &bearer(token)).status;
    let token = opaque(&address, "read");
    assert_eq!([status("/read", &token), status("/write", &token), status("/post", &token)], [200, 403, 200]);
    assert_eq!(status("/read", "nobodys"), 401);
    assert_eq!(status("/wrong", &token), 503, "the provider does not know us");
    gateway.await_log("the reason", |line| line["cause"].as_str().is_some_and(|cause| cause.ends_with("it answered 401")));
    gateway.await_log("the consumer", |line| line["consumer"] == "shop");
    posted(&address, "/token/revocation", &format!("token={token}"), "");
    let revoked = Instant::now();
    eventually("it is refused", || (status("/read", &token) == 401).then_some(()));
    assert!(revoked.elapsed() < Duration::from_secs(2), "{:?}", revoked.elapsed());
    // While the provider is dead, nobody new gets through; when it is back, nobody is kept out.
    peer.kill();
    assert_eq!(status("/read", "another"), 503);
    peer = Peer::start("oidc_provider.mjs", &[&at]);
    peer.await_line("listening ");
    let token = opaque(&address, "read");
    eventually("it is asked again", || (status("/read", &token) == 200).then_some(()));
    peer.done();
}

#[test]
fn access_tokens_of_a_certified_provider_are_taken_for_what_they_say() {
    let peer = Peer::start("oidc_provider.mjs", &[]);
    let address = format!("127.0.0.1:{}", peer.await_line("listening ").trim_start_matches("listening "));
    let jwt = |more: &str| format!("issuer: \"http://{address}\", typ: at+jwt, consumer: client_id, fetch: {{ allow_http: true }}, {more}");
    let route = |path: &str, more: &str| {
        let name = path.trim_start_matches('/');
        format!("  - {{ name: {name}, match: {{ path: {path} }}, policies: [jwt: {{ {} }}], to: echo }}\n", jwt(more))
    };
    let gateway = Gateway::start(&format!(
        "consumers: [{{ name: shop }}]\nservices: {{ echo: {{ mock: {{ echo: true }} }} }}\nroutes:\n{}{}{}",
        route("/read", "audience: api, scopes: [read]"),
        route("/write", "audience: api, scopes: [read, write]"),
        route("/elsewhere", "audience: other"),
    ));
    for algorithm in ["RS256", "ES256", "EdDSA"] {
        let body = |scope: &str| format!("grant_type=client_credentials&scope={scope}&resource=urn:api:{algorithm}");
        let read = granted(&address, &body("read"), "")["access_token"].as_str().unwrap().to_owned();
        let write = granted(&address, &body("read+write"), "")["access_token"].as_str().unwrap().to_owned();
        let status = |path: &str, token: &str| gateway.client().get_with(path, &bearer(token)).status;
        assert_eq!((status("/read", &read), status("/write", &read), status("/write", &write)), (200, 403, 200), "{algorithm}");
        assert_eq!(status("/elsewhere", &read), 401);
        gateway.await_log("the consumer", |line| line["consumer"] == "shop");
    }
    assert_eq!(refreshes(&gateway, &format!("http://{address}"), "renewed"), 1.0);
    peer.done();
}
