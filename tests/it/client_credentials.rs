//! Tokens of OAuth 2 providers for services: fetched early, once for all, again for a service that does not take one, and what becomes of requests without.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::certificates::signing_key;
use crate::support::gateway::Folder;
use crate::support::peers::Peer;
use crate::support::{Answer, Gateway, Origin, eventually, port};

const SECRET: &str = "hunter2:of %";

/// A running `oauth2-mock-server`.
struct Provider {
    peer: Peer,
    issuer: String,
    told: usize,
}

impl Provider {
    fn at(port: u16) -> Self {
        let peer = Peer::start("oauth2_tokens.mjs", &[&port.to_string()]);
        let issuer = format!("http://127.0.0.1:{}", peer.await_line("listening ").trim_start_matches("listening "));
        Self { peer, issuer, told: 0 }
    }

    fn start() -> Self {
        Self::at(0)
    }

    fn tell(&mut self, what: &str) {
        self.peer.say(what);
        self.told += 1;
        self.peer.await_lines("done ", self.told);
    }

    /// What it was asked for, each time.
    fn asked(&self) -> Vec<String> {
        self.peer.lines().iter().filter_map(|line| line.strip_prefix("asked ").map(ToOwned::to_owned)).collect()
    }

    fn url(&self) -> String {
        format!("{}/token", self.issuer)
    }

    fn series(&self, result: &str) -> String {
        format!(
            "tidegate_token_refreshes_total{{audience=\"\",client=\"gateway\",result=\"{result}\",scope=\"\",source=\"{}\"}}",
            self.url()
        )
    }

    /// The settings of a client of it.
    fn client(&self, more: &str) -> String {
        format!("oauth2: {{ url: \"{}\", client_id: gateway, client_secret: \"{SECRET}\", allow_http: true, {more} }}", self.url())
    }
}

/// A service with these credentials, behind every path.
fn config(up: &Origin, credentials: &str, more: &str) -> String {
    format!(
        "services:\n  up: {{ targets: [\"http://{}\"], credentials: {{ {credentials} }}{more} }}\nroutes: [{{ name: up, to: up }}]\n",
        up.address
    )
}

/// An origin that keeps what it was shown.
fn keeping() -> (Origin, Arc<Mutex<Vec<String>>>) {
    let shown = Arc::<Mutex<Vec<String>>>::default();
    let kept = shown.clone();
    let up = Origin::answering(move |seen| {
        kept.lock().unwrap().push(seen.header("authorization").unwrap().to_owned());
        Answer::new("here".to_owned())
    });
    (up, shown)
}

#[test]
fn a_certified_provider_knows_the_gateway_however_it_shows_who_it_is() {
    let (own, theirs, folder) = (port(), port(), Folder::new());
    folder.file("signing.pem", signing_key());
    let jwks = format!("http://127.0.0.1:{own}/keys");
    let provider = Peer::start("oidc_clients.mjs", &[&theirs.to_string(), &jwks]);
    provider.await_line("listening ");
    let issuer = format!("http://127.0.0.1:{theirs}");
    let service = |name: &str, place: &str, how: &str| {
        format!(
            "  {name}: {{ targets: [\"http://127.0.0.1:{own}\"], credentials: {{ oauth2: {{ {place}, client_id: {name}, {how}, resource: \"urn:api\", scopes: [read, write], allow_http: true }} }} }}\n"
        )
    };
    let (told, here) = (format!("issuer: \"{issuer}\""), format!("url: \"{issuer}/token\""));
    let services = [
        service("basic", &told, "client_secret: \"s3cret:of %\""),
        service("post", &here, "client_auth: client_secret_post, client_secret: \"s3cret:of %\""),
        service("signed", &told, "client_auth: private_key_jwt"),
    ]
    .concat();
    let routes: String = ["basic", "post", "signed"]
        .map(|name| format!("  - {{ name: {name}, match: {{ path: /{name} }}, to: {name}, path: /back }}\n"))
        .concat();
    let gateway = Gateway::start_in(
        folder,
        &format!(
            r#"
server:
  listeners: [{{ address: "127.0.0.1:{own}" }}]
signing: {{ issuer: "http://127.0.0.1:{own}", keys: [{{ pem_file: signing.pem }}] }}
services:
{services}  echo: {{ mock: {{ echo: true }} }}
routes:
{routes}  - {{ name: keys, match: {{ path: /keys }}, jwks: {{}} }}
  - name: back
    match: {{ path: /back }}
    policies:
      - jwt: {{ issuer: "{issuer}", audience: api, typ: at+jwt, scopes: [read, write], fetch: {{ allow_http: true }} }}
      - request: {{ headers: {{ set: {{ X-Client: "{{claims.client_id}}" }} }} }}
    to: echo
"#
        ),
    );
    for name in ["basic", "post", "signed"] {
        let answer =
            eventually("there is a token", || Some(gateway.client().get(&format!("/{name}"))).filter(|answer| answer.status == 200));
        assert_eq!(answer.json()["headers"]["x-client"], name, "{}", answer.text());
    }
    let status: Value = serde_json::from_str(&gateway.ask("/status").1).unwrap();
    let token = &status["services"]["basic"]["token"];
    assert_eq!((&token["source"], &token["client_id"]), (&Value::from(issuer), &Value::from("basic")));
    assert!(token["until"].as_str().unwrap().starts_with("20") && token["failing"].is_null(), "{status}");
    assert!(!gateway.said().contains("s3cret") && !status.to_string().contains("s3cret"));
}

#[test]
fn one_token_is_fetched_for_all_however_many_wait_for_it() {
    let mut provider = Provider::start();
    // Longer than a new config waits for it.
    provider.tell("delay 2600");
    let (up, shown) = keeping();
    // Two services that show the same.
    let own = provider.client("scopes: [a, b], audience: api, wait: 10s");
    let yaml = format!(
        "services:\n  up: {{ targets: [\"http://{0}\"], credentials: {{ {own} }} }}\n  too: {{ targets: [\"http://{0}\"], credentials: {{ {own} }} }}\nroutes:\n  - {{ name: up, match: {{ path: /up }}, to: up }}\n  - {{ name: too, match: {{ path: /too }}, to: too }}\n  - {{ name: none, match: {{ path: /none }}, reply: {{}} }}\n",
        up.address
    );
    let without = "routes: [{ name: none, reply: {} }]\n";
    let gateway = Gateway::start(without);
    let (asked, gateway) = (AtomicUsize::new(0), &gateway);
    std::thread::scope(|scope| {
        scope.spawn(|| assert_eq!(gateway.rewrite(&yaml), "done"));
        for number in 0..32 {
            let asked = &asked;
            scope.spawn(move || {
                let path = if number % 2 == 0 { "/up" } else { "/too" };
                // Until the config is taken it is answered here.
                eventually("the service answers", || {
                    let answer = gateway.client().get(path);
                    asked.fetch_add(1, Ordering::Relaxed);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    (answer.text() == "here").then_some(())
                });
            });
        }
    });
    let tokens: HashSet<_> = shown.lock().unwrap().iter().cloned().collect();
    assert_eq!((tokens.len(), shown.lock().unwrap().len()), (1, 32));
    let asked = provider.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    // `gateway:hunter2%3Aof+%25`, as RFC 6749 §2.3.1 wants it.
    assert_eq!(asked[0], "grant_type=client_credentials&scope=a+b&audience=api&authorization=Basic+Z2F0ZXdheTpodW50ZXIyJTNBb2YrJTI1");
    // A reload asks nobody anew.
    assert_eq!(gateway.rewrite(&yaml.replace("reply: {}", "reply: { status: 204 }")), "done");
    assert_eq!(gateway.client().get("/up").status, 200);
    assert_eq!(provider.asked().len(), 1);
}

#[test]
fn a_token_is_fetched_again_before_its_time_is_over_and_no_request_waits() {
    let mut provider = Provider::start();
    provider.tell("expires 6");
    let (up, shown) = keeping();
    let began = Instant::now();
    // Who had to wait for one would get none.
    let gateway = Gateway::start(&config(&up, &provider.client("wait: 1ms"), ""));
    let mut client = gateway.client();
    while provider.asked().len() < 3 || shown.lock().unwrap().iter().collect::<HashSet<_>>().len() < 3 {
        let answer = client.get("/");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(began.elapsed() < Duration::from_secs(30));
        std::thread::park_timeout(Duration::from_millis(5));
    }
    // Each holds for six seconds, and is fetched again after 70 to 80% of that.
    assert!(began.elapsed() > Duration::from_millis(2 * 4150), "{:?}", began.elapsed());
    assert_eq!(provider.asked().len(), 3);
    gateway.await_metric(&provider.series("renewed"), 3.0);
    let ends = gateway
        .metric(&format!("tidegate_token_expiry_seconds{{audience=\"\",client=\"gateway\",scope=\"\",source=\"{}\"}}", provider.url()));
    assert!(ends > 1_700_000_000.0, "{ends}");
}

#[test]
fn a_provider_that_dies_is_felt_when_the_token_ends_and_no_more_once_it_is_back() {
    let place = port();
    let mut provider = Provider::at(place);
    provider.tell("expires 3");
    let (up, _) = keeping();
    let gateway = Gateway::start(&config(&up, &provider.client("wait: 1s, timeout: 500ms"), ""));
    let (end, dead, counts) = (AtomicBool::new(false), AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let (gateway, end, dead, counts) = (&gateway, &end, &dead, &counts);
            scope.spawn(move || {
                let mut client = gateway.client();
                while !end.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    let answer = client.get("/");
                    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
                    match answer.status {
                        200 => counts[0].fetch_add(1, Ordering::Relaxed),
                        _ => {
                            assert!(dead.load(Ordering::Relaxed), "{}", answer.text());
                            let problem = answer.problem(503, "unavailable");
                            assert_eq!(problem["detail"], "the gateway has no credentials to show to the service");
                            assert_eq!(problem["step"], "authenticating");
                            assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
                            counts[1].fetch_add(1, Ordering::Relaxed)
                        }
                    };
                    std::thread::park_timeout(Duration::from_millis(2));
                }
            });
        }
        provider.peer.kill();
        gateway.await_said("could be fetched, the last one stays until its end: no connection came about");
        // Meanwhile the last one does.
        let seen = counts[0].load(Ordering::Relaxed);
        eventually("requests go on", || (counts[0].load(Ordering::Relaxed) > seen + 5).then_some(()));
        assert_eq!(counts[1].load(Ordering::Relaxed), 0);
        dead.store(true, Ordering::Relaxed);
        gateway.await_said("has ended, and there is no other: requests get 503");
        eventually("requests fail", || (counts[1].load(Ordering::Relaxed) > 5).then_some(()));
        provider = Provider::at(place);
        let seen = counts[0].load(Ordering::Relaxed);
        eventually("requests go well", || (counts[0].load(Ordering::Relaxed) > seen + 20).then_some(()));
        end.store(true, Ordering::Relaxed);
    });
    assert_eq!(gateway.client().get("/").status, 200);
    assert!(gateway.metric(&provider.series("unreachable")) >= 2.0);
    assert!(gateway.metric("tidegate_credentials_missing_total{service=\"up\"}") > 5.0);
    let line = gateway.await_log("the lack", |line| line["status"] == 503);
    let cause = line["cause"].as_str().unwrap();
    assert!(cause.starts_with(&format!("there is no token of {} for gateway: no connection came about", provider.url())), "{cause}");
}

#[test]
fn a_service_that_does_not_take_the_token_gets_another_with_the_next_request_once_in_a_while() {
    let provider = Provider::start();
    let taken = Arc::new(Mutex::new(HashSet::<String>::new()));
    let refused = taken.clone();
    // Tokens of before are not taken any more.
    let up = Origin::answering(move |seen| {
        let is_old = refused.lock().unwrap().contains(seen.header("authorization").unwrap());
        http::Response::builder().status(if is_old { 401 } else { 200 }).body(seen.header("authorization").unwrap().to_owned()).unwrap()
    });
    let yaml = config(&up, &provider.client("cooldown: 1h"), "");
    let gateway = Gateway::start(&format!(
        "{}  - {{ name: whole, match: {{ path: /whole }}, compose: {{ parts: {{ one: {{ get: \"up:/\", required: true }} }} }} }}\n",
        yaml.replace("routes: [{ name: up, to: up }]", "routes:\n  - { name: up, to: up }")
    ));
    let first = gateway.client().get("/").text();
    taken.lock().unwrap().insert(first.clone());
    // A part finds it out as well.
    assert_eq!(gateway.client().get("/whole").status, 502);
    let answer = gateway.client().get("/");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_ne!(answer.text(), first);
    assert_eq!(provider.asked().len(), 2);
    gateway.await_said("was not taken, and another is fetched");
    // It may mean something else: no service makes the gateway ask without end.
    taken.lock().unwrap().insert(answer.text());
    for _ in 0..5 {
        assert_eq!(gateway.client().get("/").status, 401);
    }
    assert_eq!(provider.asked().len(), 2);
}

#[test]
fn a_check_that_is_not_known_gets_another_token_too() {
    let provider = Provider::start();
    let first = Arc::new(Mutex::new(None::<String>));
    // As after a new start of one that has forgotten what it has given.
    let up = Origin::answering(move |seen| {
        let shown = seen.header("authorization").unwrap().to_owned();
        let is_first = *first.lock().unwrap().get_or_insert_with(|| shown.clone()) == shown;
        http::Response::builder().status(if is_first { 401 } else { 200 }).body(shown).unwrap()
    });
    let gateway = Gateway::start(&config(&up, &provider.client(""), ", health: { path: /healthz, interval: 100ms }"));
    gateway.await_said("was not taken, and another is fetched");
    eventually("another token is fetched", || (provider.asked().len() == 2).then_some(()));
    gateway.await_said("it is healthy again");
    assert_eq!(gateway.client().get("/").status, 200);
}

#[test]
fn each_answer_of_a_provider_has_its_time_and_each_token_its_metrics() {
    let mut provider = Provider::start();
    // Together they take longer than one may.
    provider.tell("delay 1500");
    let (up, _) = keeping();
    let service = |name: &str| {
        let own = format!("issuer: \"{}\", client_id: gateway, client_secret: \"{SECRET}\", allow_http: true", provider.issuer);
        format!(
            "  {name}: {{ targets: [\"http://{}\"], credentials: {{ oauth2: {{ {own}, scopes: [{name}], timeout: 2500ms, wait: 10s }} }} }}\n",
            up.address
        )
    };
    let route = |name: &str| format!("  - {{ name: {name}, match: {{ path: /{name} }}, to: {name} }}\n");
    let gateway =
        Gateway::start(&format!("services:\n{}{}routes:\n{}{}", service("read"), service("write"), route("read"), route("write")));
    for scope in ["read", "write"] {
        let answer = gateway.client().get(&format!("/{scope}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let labels = format!("audience=\"\",client=\"gateway\",scope=\"{scope}\",source=\"{}\"", provider.issuer);
        assert!(gateway.metric(&format!("tidegate_token_expiry_seconds{{{labels}}}")) > 1_700_000_000.0);
    }
}

#[test]
fn a_provider_that_gives_none_lets_requests_fail_and_its_words_are_told_without_the_secret() {
    for (auth, how) in [("client_secret_basic", 401), ("client_secret_post", 400)] {
        let mut provider = Provider::start();
        provider.tell(&format!("status {how}"));
        let (up, shown) = keeping();
        let parts = "  - { name: whole, match: { path: /whole }, compose: { parts: { one: { get: \"up:/\", required: true } } } }\n";
        let yaml = config(&up, &provider.client(&format!("client_auth: {auth}")), "")
            .replace("routes: [{ name: up, to: up }]", "routes:\n  - { name: up, to: up }");
        let gateway = Gateway::start(&format!("{yaml}{parts}"));
        gateway.client().get("/").problem(503, "unavailable");
        let whole = gateway.client().get("/whole").problem(503, "unavailable");
        assert!(whole.to_string().contains("the gateway has no credentials to show to its service"), "{whole}");
        let said = gateway.await_said(&format!("requests get 503: it answered {how}, \"invalid_client\""));
        let line = gateway.await_log("the lack", |line| line["route"] == "up" && line["status"] == 503);
        for text in [&said, &line.to_string(), &gateway.ask("/status").1, &gateway.ask("/metrics").1] {
            for secret in ["hunter2", "aHVudGVyMi", "Z2F0ZXdheTpodW50ZXIy"] {
                assert!(!text.contains(secret), "{secret} is in {text}");
            }
        }
        assert!(shown.lock().unwrap().is_empty());
        assert!(gateway.metric(&provider.series("refused")) >= 1.0);
        // As soon as it gives one, all is well.
        provider.tell("status 200");
        eventually("requests go well", || (gateway.client().get("/").status == 200).then_some(()));
    }
}

#[test]
fn who_stands_in_for_a_failing_service_does_so_where_there_is_no_token() {
    let (up, _) = keeping();
    let other = Origin::start();
    let nobody = format!("oauth2: {{ url: \"http://127.0.0.1:{}/\", client_id: a, client_secret: b, allow_http: true }}", port());
    let gateway = Gateway::start(&format!(
        "services:\n  up: {{ targets: [\"http://{}\"], credentials: {{ {nobody} }}, fallback: {{ on: [connect], to: other }} }}\n  other: {{ targets: [\"http://{}\"], credentials: {{ headers: {{ X-Key: b }} }} }}\nroutes: [{{ name: up, to: up }}]\n",
        up.address, other.address
    ));
    let answer = gateway.client().get_with("/", "Authorization: Bearer theirs\r\n");
    assert_eq!((answer.status, answer.text()), (200, "here".to_owned()));
    let seen = other.only();
    assert_eq!((seen.header("authorization"), seen.header("x-key")), (None, Some("b")));
    assert!(up.seen().is_empty());
}
