//! Tokens that a provider knows: what it is asked and how often, what becomes of what it says, and what where it is down, slow, lying or gone.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::client::H2;
use crate::support::idp::{bearer, now};
use crate::support::origin::Seen;
use crate::support::{Answer, Client, Gateway, Origin, RawOrigin, Response, eventually, port};

/// Who knows tokens, at `/introspect`.
pub struct Knower {
    pub address: SocketAddr,
    tokens: Arc<Mutex<HashMap<String, Value>>>,
    manners: Arc<Mutex<Manners>>,
    origin: Mutex<Option<Origin>>,
}

#[derive(Default)]
struct Manners {
    /// What is answered to a path in the place of the truth.
    lies: HashMap<String, Answer>,
    /// How long it takes.
    delay: Duration,
    seen: Vec<Seen>,
}

impl Knower {
    pub fn start() -> Self {
        let knower = Self::down();
        knower.revive();
        knower
    }

    /// One that nobody can reach yet.
    pub fn down() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port()));
        Self { address, tokens: Arc::default(), manners: Arc::default(), origin: Mutex::default() }
    }

    pub fn kill(&self) {
        *self.origin.lock().unwrap() = None;
    }

    pub fn revive(&self) {
        let (tokens, manners) = (self.tokens.clone(), self.manners.clone());
        let answer = move |seen: &Seen| {
            let delay = {
                let mut manners = manners.lock().unwrap();
                manners.seen.push(seen.clone());
                manners.delay
            };
            std::thread::park_timeout(delay);
            if let Some(lie) = manners.lock().unwrap().lies.get(&seen.target) {
                return lie.clone();
            }
            let token = form(&seen.body).remove("token").unwrap_or_default();
            let told = tokens.lock().unwrap().get(&token).cloned().unwrap_or(json!({"active": false}));
            http::Response::builder().header("cache-control", "no-store").body(told.to_string()).unwrap()
        };
        *self.origin.lock().unwrap() = Some(Origin::at(self.address, answer));
    }

    pub fn url(&self) -> String {
        format!("http://{}/introspect", self.address)
    }

    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A good token.
    pub fn issue(&self, token: &str) {
        self.issue_with(token, json!({}));
    }

    /// The same, of which more is told, or other things.
    pub fn issue_with(&self, token: &str, more: Value) {
        let mut told = json!({"active": true, "aud": "api", "sub": "ada", "client_id": "shop", "scope": "read", "exp": now() + 3600});
        more.as_object().unwrap().iter().for_each(|(name, value)| told[name] = value.clone());
        self.tokens.lock().unwrap().insert(token.to_owned(), told);
    }

    pub fn revoke(&self, token: &str) {
        self.tokens.lock().unwrap().remove(token);
    }

    /// Answers this to a path from now on.
    pub fn lie(&self, path: &str, status: u16, body: impl Into<String>) {
        let lie = http::Response::builder().status(status).body(body.into()).unwrap();
        self.manners.lock().unwrap().lies.insert(path.to_owned(), lie);
    }

    pub fn repent(&self) {
        self.manners.lock().unwrap().lies.clear();
    }

    pub fn dawdle(&self, delay: Duration) {
        self.manners.lock().unwrap().delay = delay;
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.manners.lock().unwrap().seen.clone()
    }

    /// How often it was asked about a token.
    pub fn asked(&self, token: &str) -> usize {
        self.seen().iter().filter(|seen| form(&seen.body).get("token").is_some_and(|asked| asked == token)).count()
    }
}

fn form(body: &[u8]) -> HashMap<String, String> {
    form_urlencoded::parse(body).into_owned().collect()
}

/// A gateway with one route for tokens; `settings` are those of its `introspection` besides the client.
pub fn config(settings: &str) -> String {
    format!(
        "consumers: [{{ name: shop }}]\nservices: {{ echo: {{ mock: {{ echo: true }} }} }}\nroutes:\n  - name: api\n    match: {{ path: \"/{{rest...}}\" }}\n    policies:\n      - introspection: {{ client_id: gateway, client_secret: {SECRET}, allow_http: true, {settings} }}\n      - request: {{ headers: {{ set: {{ X-User: \"{{claims.sub}}\" }} }} }}\n    to: echo\n"
    )
}

const SECRET: &str = "hush-4711";

fn asking(knower: &Knower, more: &str) -> String {
    config(&format!("url: \"{}\", audience: api, {more}", knower.url()))
}

fn get(gateway: &Gateway, token: &str) -> Response {
    gateway.client().get_with("/", &bearer(token))
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    get(gateway, token).status
}

fn count(gateway: &Gateway, source: &str, result: &str) -> f64 {
    gateway.metric(&format!("tidegate_introspections_total{{result=\"{result}\",source=\"{source}\"}}"))
}

fn unavailable(answer: &Response) {
    let problem = answer.problem(503, "unavailable");
    assert_eq!(problem["detail"], "the token cannot be verified at the moment");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() <= 5);
    assert!(answer.header("www-authenticate").is_none(), "the token may be good");
}

#[test]
fn a_token_is_asked_about_once_as_the_standard_says_and_what_was_told_is_known() {
    let knower = Knower::start();
    knower.issue("t0ken~+/=");
    let gateway = Gateway::start(
        &asking(&knower, "consumer: client_id, forward: false, client_id: \"gate way:1\"").replace("client_id: gateway, ", ""),
    );
    for _ in 0..3 {
        let answer = get(&gateway, "t0ken~+/=");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["headers"]["x-user"], "ada");
        assert!(answer.json()["headers"].get("authorization").is_none());
    }
    let seen = knower.seen();
    assert_eq!(seen.len(), 1);
    let asked = &seen[0];
    assert_eq!((asked.method.as_str(), asked.target.as_str()), ("POST", "/introspect"));
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked.header("accept"), Some("application/json"));
    let basic = STANDARD.decode(asked.header("authorization").unwrap().strip_prefix("Basic ").unwrap()).unwrap();
    assert_eq!(
        String::from_utf8(basic).unwrap(),
        format!("gate+way%3A1:{SECRET}"),
        "escaped before they are joined (RFC 6749 \u{a7}2.3.1)"
    );
    let fields = form(&asked.body);
    assert_eq!((fields["token"].as_str(), fields["token_type_hint"].as_str(), fields.len()), ("t0ken~+/=", "access_token", 2));
    assert_eq!((count(&gateway, &knower.url(), "active"), count(&gateway, &knower.url(), "kept")), (1.0, 2.0));
    gateway.await_log("the consumer", |line| line["consumer"] == "shop");
    let spent = gateway.metric(&format!("tidegate_introspection_duration_seconds_count{{source=\"{}\"}}", knower.url()));
    assert_eq!(spent, 1.0);
}

#[test]
fn the_secret_goes_in_the_body_where_that_is_wanted() {
    let knower = Knower::start();
    knower.issue("t");
    let gateway = Gateway::start(&asking(&knower, "client_auth: client_secret_post"));
    assert_eq!(status(&gateway, "t"), 200);
    let asked = &knower.seen()[0];
    let fields = form(&asked.body);
    assert_eq!((fields["client_id"].as_str(), fields["client_secret"].as_str()), ("gateway", SECRET));
    assert_eq!(asked.header("authorization"), None);
}

#[tokio::test]
async fn it_is_the_same_over_http2() {
    let knower = Knower::start();
    knower.issue("t");
    let gateway = Gateway::start(&asking(&knower, "scopes: [read]"));
    let client = H2::connect(gateway.address).await;
    let request = async |token: &str| client.request("GET", "/", &[("authorization", &format!("Bearer {token}"))], &[]).await;
    let (head, body) = request("t").await;
    assert_eq!(head.status, 200);
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["headers"]["x-user"], "ada");
    let (head, _) = request("other").await;
    let challenge = r#"Bearer realm="tidegate", error="invalid_token", error_description="the token is not active""#;
    assert_eq!((head.status.as_u16(), head.headers["www-authenticate"].to_str().unwrap()), (401, challenge));
    let (head, _) = client.request("GET", "/", &[], &[]).await;
    assert_eq!((head.status.as_u16(), head.headers["www-authenticate"].to_str().unwrap()), (401, r#"Bearer realm="tidegate""#));
}

#[test]
fn many_that_come_with_one_token_at_once_cause_one_question() {
    let knower = Knower::start();
    knower.issue("t");
    knower.dawdle(Duration::from_millis(300));
    let gateway = Gateway::start(&asking(&knower, "cache: 0s"));
    let together = |token: &'static str, wanted: u16| {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..32).map(|_| scope.spawn(|| status(&gateway, token))).collect();
            assert!(asking.into_iter().all(|asked| asked.join().unwrap() == wanted));
        });
    };
    together("t", 200);
    together("bad", 401);
    // On a busy machine some may come when the first question is over.
    assert!(knower.asked("t") < 8 && knower.asked("bad") < 8, "{} {}", knower.asked("t"), knower.asked("bad"));
    knower.dawdle(Duration::ZERO);
    let before = knower.asked("t");
    (0..3).for_each(|_| assert_eq!(status(&gateway, "t"), 200));
    assert_eq!(knower.asked("t"), before + 3, "nothing is kept");
}

#[test]
fn a_client_that_leaves_takes_the_answer_from_nobody() {
    let knower = Knower::start();
    knower.issue("t");
    knower.dawdle(Duration::from_millis(200));
    let gateway = Gateway::start(&asking(&knower, ""));
    let mut leaving = gateway.client();
    leaving.send(format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", bearer("t")));
    eventually("it is asked", || (knower.asked("t") == 1).then_some(()));
    drop(leaving);
    assert_eq!((status(&gateway, "t"), knower.asked("t")), (200, 1));
}

#[test]
fn a_token_that_is_taken_back_is_good_for_no_longer_than_was_said() {
    let knower = Knower::start();
    knower.issue("t");
    let gateway = Gateway::start(&asking(&knower, "cache: 500ms, cache_inactive: 300ms, leeway: 0s"));
    assert_eq!([status(&gateway, "t"), status(&gateway, "new")], [200, 401]);
    knower.revoke("t");
    let revoked = Instant::now();
    eventually("it is refused", || (status(&gateway, "t") == 401).then_some(()));
    assert!(revoked.elapsed() < Duration::from_millis(1500), "{:?}", revoked.elapsed());
    // What was not good a moment ago may be so later.
    knower.issue("new");
    eventually("it is taken", || (status(&gateway, "new") == 200).then_some(()));
    // Its own end comes first.
    let gateway = Gateway::start(&asking(&knower, "cache: 1h, leeway: 0s"));
    knower.issue_with("brief", json!({"exp": now() + 3}));
    assert_eq!(status(&gateway, "brief"), 200);
    knower.revoke("brief");
    // In the moment of its end what is remembered of it says so too.
    eventually("it has ended, and was asked about anew", || {
        (status(&gateway, "brief") == 401 && count(&gateway, &knower.url(), "inactive") == 1.0).then_some(())
    });
}

#[test]
fn a_token_for_others_gets_the_right_refusal() {
    let knower = Knower::start();
    for (token, more) in [
        ("web", json!({"aud": "web"})),
        ("many", json!({"aud": ["web", "api"]})),
        ("old", json!({"exp": now() - 60})),
        ("issuer", json!({"iss": "https://other.test"})),
        ("list", json!({"scope": "list"})),
        ("proof", json!({"token_type": "DPoP", "cnf": {"jkt": "a"}})),
        ("stranger", json!({"client_id": "nobody"})),
    ] {
        let mut told = json!({"iss": knower.issuer()});
        more.as_object().unwrap().iter().for_each(|(name, value)| told[name] = value.clone());
        knower.issue_with(token, told);
    }
    let gateway = Gateway::start(&asking(&knower, &format!("issuer: \"{}\", scopes: [read], consumer: client_id", knower.issuer())));
    for (token, status, words) in [
        ("many", 200, ""),
        ("web", 401, "the token is for another audience (aud)"),
        ("old", 401, "the token has expired (exp)"),
        ("issuer", 401, "the token is from another issuer (iss)"),
        ("proof", 401, "the token is no bearer token (token_type)"),
        ("list", 403, "the token lacks a scope that is needed here"),
        ("stranger", 403, "the token names no known consumer"),
    ] {
        let answer = get(&gateway, token);
        assert_eq!(answer.status, status, "{token}: {}", answer.text());
        let detail = if status == 200 { String::new() } else { answer.json()["detail"].as_str().unwrap().to_owned() };
        assert_eq!(detail, words);
        let error = match status {
            401 => Some("error=\"invalid_token\""),
            403 if token == "list" => {
                Some("error=\"insufficient_scope\", error_description=\"the token lacks a scope that is needed here\", scope=\"read\"")
            }
            _ => None,
        };
        assert!(error.is_none_or(|error| answer.header("www-authenticate").unwrap().contains(error)), "{answer:?}");
    }
}

#[test]
fn what_cannot_be_a_token_is_asked_of_nobody() {
    let knower = Knower::start();
    let gateway = Gateway::start(&asking(&knower, "query: token, header: Authorization"));
    let mut client = gateway.client();
    let mut refused = |path: &str, lines: &str, status: u16, challenge: &str| {
        let answer = client.get_with(path, lines);
        assert_eq!((answer.status, answer.header("www-authenticate").unwrap()), (status, challenge), "{lines}");
    };
    let bare = r#"Bearer realm="tidegate""#;
    let invalid = |why: &str| format!("{bare}, error=\"invalid_token\", error_description=\"the token is {why}\"");
    refused("/", "", 401, bare);
    refused("/", "Authorization: Basic Og==\r\n", 401, bare);
    refused("/", "X-Token: t\r\nCookie: token=t\r\n", 401, bare);
    refused("/", "Authorization: Bearer\r\n", 401, &invalid("malformed"));
    refused("/", "Authorization: Bearer a b\r\n", 401, &invalid("malformed"));
    refused("/?token=%00", "", 401, &invalid("malformed"));
    refused("/?token=%C3%A4", "", 401, &invalid("malformed"));
    refused("/", &bearer(&"a".repeat(9000)), 401, &invalid("too long"));
    let several = format!("{bare}, error=\"invalid_request\", error_description=\"more than one token was sent\"");
    refused("/", "Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", 400, &several);
    refused("/?token=a", "Authorization: Bearer a\r\n", 400, &several);
    assert_eq!(knower.seen().len(), 0);
}

#[test]
fn a_provider_that_is_down_lets_nobody_new_through_and_nobody_wait() {
    let knower = Knower::start();
    knower.issue("known");
    knower.issue("new");
    let gateway = Gateway::start(&asking(&knower, ""));
    assert_eq!(status(&gateway, "known"), 200);
    knower.kill();
    let began = Instant::now();
    unavailable(&get(&gateway, "new"));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(status(&gateway, "known"), 200, "what was told a moment ago holds");
    gateway.client().get("/").problem(401, "unauthorized");
    let line = gateway.await_log("the reason", |line| line["status"] == 503);
    let cause = line["cause"].as_str().unwrap();
    assert!(cause.starts_with(&format!("{} cannot be asked: no connection came about: ", knower.url())), "{cause}");
    assert_eq!((line["policy"].as_str(), count(&gateway, &knower.url(), "unreachable")), (Some("introspection"), 1.0));
    gateway.await_said(&format!("{} cannot be asked about tokens, which get 503: no connection came about", knower.url()));
    knower.revive();
    assert_eq!(status(&gateway, "new"), 200);
    gateway.await_said("tells of tokens again");
}

#[test]
fn a_provider_that_is_slow_is_waited_for_so_long_and_by_so_many() {
    let silent = RawOrigin::start(|mut talk| talk.until_closed());
    let url = format!("http://{}/introspect", silent.address);
    let gateway = Gateway::start(&config(&format!("url: \"{url}\", audience: api, timeout: 3s, waiting: 3")));
    let ask = |token: &str| {
        let began = Instant::now();
        unavailable(&get(&gateway, token));
        began.elapsed()
    };
    std::thread::scope(|scope| {
        let ask = &ask;
        let waiting: Vec<_> = ["a", "b", "c"].map(|token| scope.spawn(move || ask(token))).into();
        eventually("three are asked about", || (silent.received().len() == 3).then_some(()));
        let crowded = ask("d");
        assert!(crowded < Duration::from_secs(2), "{crowded:?}");
        for took in waiting.into_iter().map(|waits| waits.join().unwrap()) {
            assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&took), "{took:?}");
        }
    });
    assert_eq!((count(&gateway, &url, "crowded"), count(&gateway, &url, "timeout")), (1.0, 3.0));
    gateway.await_log("the crowd", |line| line["cause"].as_str().is_some_and(|cause| cause.ends_with("too many requests wait for it")));
    gateway.await_log("the reason", |line| line["cause"].as_str().is_some_and(|cause| cause.ends_with("no answer began in time")));
}

#[test]
fn a_provider_that_lies_lets_nobody_through_and_no_secret_out() {
    let knower = Knower::start();
    knower.issue("truth");
    let gateway = Gateway::start(&asking(&knower, "cache: 0s"));
    let large = format!("{{\"active\":true,\"aud\":\"api\",\"x\":\"{}\"}}", "x".repeat(70_000));
    for (status, body, word) in [
        (200, "<html>sign in</html>", "malformed"),
        (200, "{\"active\":\"true\",\"aud\":\"api\"}", "malformed"),
        (200, "{\"active\":false,\"active\":true,\"aud\":\"api\"}", "malformed"),
        (200, "{\"sub\":\"ada\",\"aud\":\"api\"}", "malformed"),
        (200, &large, "too_large"),
        (401, "{\"error\":\"invalid_client\"}", "status"),
        (500, "{\"active\":true,\"aud\":\"api\"}", "status"),
        (302, "", "status"),
        (201, "{\"active\":true,\"aud\":\"api\"}", "status"),
    ] {
        let before = count(&gateway, &knower.url(), word);
        knower.lie("/introspect", status, body);
        unavailable(&get(&gateway, "truth"));
        assert_eq!(count(&gateway, &knower.url(), word), before + 1.0, "{status} {body}");
    }
    knower.repent();
    assert_eq!(status(&gateway, "truth"), 200);
    let broken = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"active\":true");
    });
    let url = format!("http://{}/introspect", broken.address);
    let other = Gateway::start(&config(&format!("url: \"{url}\", audience: any")));
    unavailable(&get(&other, "truth"));
    let written = |gateway: &Gateway| {
        let log: Vec<_> = gateway.log().iter().map(Value::to_string).collect();
        [gateway.said(), gateway.ask("/metrics").1, gateway.ask("/status").1, log.join("\n")].join("\n")
    };
    for text in [written(&gateway), written(&other)] {
        for secret in [SECRET, "truth", &STANDARD.encode(format!("gateway:{SECRET}"))] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn what_was_told_outlives_a_reload_though_the_provider_does_not() {
    let knower = Knower::start();
    knower.issue("t");
    // A worker leaves what it had with its next request, so there is one alone.
    let yaml = format!("server:\n  workers: 1\n{}", asking(&knower, ""));
    let gateway = Gateway::start(&yaml);
    assert_eq!(status(&gateway, "t"), 200);
    knower.kill();
    assert_eq!(gateway.rewrite(&yaml.replace("name: api", "name: other")), "done");
    assert_eq!((status(&gateway, "t"), knower.asked("t")), (200, 1));
    assert_eq!(gateway.rewrite(&yaml.replace("audience: api", "audience: web")), "done");
    assert_eq!(status(&gateway, "t"), 401, "the rules are those of the present config");
    assert_eq!(gateway.rewrite("server:\n  workers: 1\nroutes: [{ name: none, reply: { text: here } }]\n"), "done");
    eventually("its metrics are forgotten", || {
        gateway.client().get("/");
        (!gateway.ask("/metrics").1.contains(&knower.url())).then_some(())
    });
}

#[test]
fn an_issuer_says_where_it_is_asked() {
    const USUAL: &str = "/.well-known/openid-configuration";
    const OTHER: &str = "/.well-known/oauth-authorization-server";
    for (path, absent) in [(USUAL, OTHER), (OTHER, USUAL)] {
        let knower = Knower::down();
        knower.issue_with("t", json!({"iss": knower.issuer()}));
        let told = json!({"issuer": knower.issuer(), "introspection_endpoint": format!("{}/asked", knower.issuer())});
        knower.lie(absent, 404, "");
        knower.lie(path, 200, told.to_string());
        let yaml = config(&format!("issuer: \"{}\", audience: api", knower.issuer()));
        let gateway = Gateway::start(&yaml);
        unavailable(&get(&gateway, "t"));
        assert_eq!(count(&gateway, &knower.issuer(), "undiscovered"), 1.0);
        gateway.await_said("does not say where it is asked about tokens, tokens get 503: no connection came about");
        gateway.await_log("the reason", |line| {
            line["cause"].as_str().is_some_and(|cause| cause.ends_with("it has not said yet where it is to be asked"))
        });
        knower.revive();
        eventually("its tokens are good", || (status(&gateway, "t") == 200).then_some(()));
        gateway.await_said(&format!("{} is asked about tokens at {}/asked", knower.issuer(), knower.issuer()));
        assert!(knower.seen().iter().any(|seen| seen.target == "/asked"));
        // Where it was is not forgotten.
        knower.lie(path, 500, "");
        assert_eq!(gateway.rewrite(&yaml.replace("name: api", "name: other")), "done");
        knower.issue_with("u", json!({"iss": knower.issuer()}));
        assert_eq!(status(&gateway, "u"), 200);
    }
}

#[test]
fn an_issuer_that_calls_itself_otherwise_is_not_asked() {
    let knower = Knower::start();
    knower.issue("t");
    let path = "/.well-known/openid-configuration";
    for (told, words) in [
        (json!({"issuer": "https://evil.test", "introspection_endpoint": knower.url()}), "it calls itself \"https://evil.test\""),
        (json!({"issuer": knower.issuer()}), "no JSON object with `issuer` and `introspection_endpoint`"),
        (json!({"issuer": knower.issuer(), "introspection_endpoint": "ftp://a"}), "it is said to be elsewhere: `ftp://a` is not a URL"),
    ] {
        knower.lie(path, 200, told.to_string());
        let gateway = Gateway::start(&config(&format!("issuer: \"{}\", audience: api", knower.issuer())));
        gateway.await_said(words);
        unavailable(&get(&gateway, "t"));
    }
    assert!(knower.seen().iter().all(|seen| seen.target == path));
}

#[test]
fn a_provider_goes_by_a_name_too() {
    let knower = Knower::start();
    knower.issue("t");
    let url = format!("http://localhost:{}/introspect", knower.address.port());
    let gateway = Gateway::start(&config(&format!("url: \"{url}\", audience: api")));
    assert_eq!(status(&gateway, "t"), 200);
    assert_eq!(gateway.metric("tidegate_dns_addresses{name=\"localhost\"}"), 1.0);
    assert_eq!(knower.seen()[0].header("host"), Some(format!("localhost:{}", knower.address.port()).as_str()));
}

#[test]
fn connections_to_the_provider_are_kept() {
    let knower = Knower::start();
    let gateway = Gateway::start(&format!("server:\n  workers: 1\n{}", asking(&knower, "")));
    let mut client: Client = gateway.client();
    for number in 0..20 {
        assert_eq!(client.get_with("/", &bearer(&format!("t{number}"))).status, 401);
    }
    assert_eq!(knower.origin.lock().unwrap().as_ref().unwrap().connections(), 1);
}
