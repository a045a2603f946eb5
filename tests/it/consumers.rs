//! Consumers: who they are found to be, by which key or password, and what services, the log and the metrics are told of it.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::support::gateway::check;
use crate::support::{Client, Gateway, Origin, client::H2, eventually};

/// Of `pencil`, as dear as `tidegate hash-key` makes it.
const PENCIL: &str = "$argon2id$v=19$m=19456,t=2,p=1$ZmVkY2JhOTg3NjU0MzIxMA$QRElNu0DNGBiMd9jX9ye2U3QvCns/HLhIDLrdgJaIIM";
/// Of `pencil`, ten times as dear.
const DEAR: &str = "$argon2id$v=19$m=65536,t=6,p=1$ZmVkY2JhOTg3NjU0MzIxMA$shXkwbpqAC/6wPVLRNfWmnSkqW75dQHnXQyCG/u41kQ";

/// Runs the command with this on standard input: whether it succeeds, and what it prints.
fn tidegate(arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let printed = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(printed).unwrap().trim_end().to_owned())
}

fn basic(pair: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

#[test]
fn a_key_that_was_made_is_good_as_its_hash_stands_in_the_config() {
    let (right, printed) = tidegate(&["new-key", "--prefix", "acme_live", "--json"], "");
    assert!(right, "{printed}");
    let made: Value = serde_json::from_str(&printed).unwrap();
    let (key, id, hash) = (made["key"].as_str().unwrap(), made["id"].as_str().unwrap(), made["hash"].as_str().unwrap());
    assert!(id.starts_with("acme_live_") && id.len() == 18 && key.starts_with(id) && key.len() == id.len() + 1 + 43, "{printed}");
    assert_eq!(tidegate(&["hash-key", key], ""), (true, hash.to_owned()));
    assert_eq!(tidegate(&["hash-key"], &format!("{key}\n")), (true, hash.to_owned()));
    let (_, other) = tidegate(&["new-key"], "");
    assert!(other.starts_with("key   tg_") && other.lines().count() == 3 && !other.contains(key), "{other}");

    let gateway = Gateway::start(&format!(
        "consumers: [{{ name: app, api_keys: [{{ hash: \"{hash}\", id: {id} }}] }}]
routes: [{{ name: a, match: {{ path: /a }}, policies: [api_key], reply: {{ text: here }} }}]"
    ));
    let mut client = gateway.client();
    assert_eq!(client.get_with("/a", &format!("X-API-Key: {key}\r\n")).status, 200);
    client.get_with("/a", &format!("X-API-Key: {id}_guessed\r\n")).problem(401, "unauthorized");
    let line = gateway.await_log("the key", |line| line["status"] == 200);
    assert_eq!((&line["consumer"], &line["credential"]), (&"app".into(), &id.into()), "{line}");
    let line = gateway.await_log("the refusal", |line| line["status"] == 401);
    assert!(line["consumer"].is_null() && line["credential"].is_null(), "{line}");
    gateway.await_metric("tidegate_consumer_requests_total{class=\"2xx\",consumer=\"app\"}", 1.0);
    for shown in [gateway.ask("/metrics").1, gateway.ask("/status").1, gateway.said(), format!("{:?}", gateway.log())] {
        assert!(!shown.contains(&key[id.len() + 1..]) && !shown.contains(&hash[7..]), "{shown}");
    }
}

#[test]
fn a_key_is_changed_without_an_interruption_and_ends_when_it_shall() {
    let hash = |key: &str| tidegate(&["hash-key"], key).1;
    let [old, new] = ["tg_old", "tg_new"].map(|key| format!("\"{}\"", hash(key)));
    let config = |keys: &str| {
        format!(
            "consumers: [{{ name: app, api_keys: [{keys}] }}]
routes: [{{ name: a, match: {{ path: /a }}, policies: [api_key], reply: {{ text: here }} }}]"
        )
    };
    let gateway = Gateway::start(&config(&old));
    let mut client = gateway.client();
    let mut ask = |key: &str| client.get_with("/a", &format!("X-API-Key: {key}\r\n"));
    assert_eq!((ask("tg_old").status, ask("tg_new").status), (200, 401));
    assert_eq!(gateway.rewrite(&config(&format!("{old}, {new}"))), "done");
    assert_eq!((ask("tg_old").status, ask("tg_new").status), (200, 200));
    let end = SystemTime::now() + Duration::from_secs(4);
    let ending = format!("{{ hash: {old}, expires: {} }}, {new}", humantime::format_rfc3339(end));
    assert_eq!(gateway.rewrite(&config(&ending)), "done");
    assert_eq!((ask("tg_old").status, ask("tg_new").status), (200, 200));
    let refused = eventually("the old key ends", || Some(ask("tg_old")).filter(|answer| answer.status == 401));
    assert!(SystemTime::now() < end + Duration::from_secs(1));
    assert_eq!(refused.problem(401, "unauthorized")["detail"], "the API key has expired");
    assert_eq!(gateway.rewrite(&config(&new)), "done");
    assert_eq!(ask("tg_old").problem(401, "unauthorized")["detail"], "the API key is not valid");
    assert_eq!(ask("tg_new").status, 200);
}

#[test]
fn what_cannot_be_hashed_is_told() {
    for (arguments, input, words) in [
        (&["hash-key"][..], "\n", "nothing to hash"),
        (&["hash-key", "a b"], "", "white space"),
        (&["new-key", "--prefix", "a-b"], "", "no beginning of a key"),
    ] {
        let (right, said) = tidegate(arguments, input);
        assert!(!right && said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn a_password_that_was_hashed_is_good_and_tried_once() {
    let (right, hash) = tidegate(&["hash-key", "--password"], "correct horse: battery\n");
    assert!(right && hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let routes = "routes: [{ name: a, match: { path: /a }, policies: [basic], reply: { text: here } }]";
    let config = |hash: &str| format!("consumers: [{{ name: app, passwords: [{{ user: ann, hash: \"{hash}\" }}] }}]\n{routes}");
    let gateway = Gateway::start(&config(&hash));
    let mut client = gateway.client();
    let pair = basic("ann:correct horse: battery");
    assert_eq!(client.get_with("/a", &pair).status, 200);
    let line = gateway.await_log("the password", |line| line["status"] == 200);
    assert_eq!((&line["consumer"], &line["credential"]), (&"app".into(), &"ann".into()), "{line}");
    // Another hash makes it wrong at once.
    assert_eq!(gateway.rewrite(&config(PENCIL)), "done");
    assert_eq!(client.get_with("/a", &pair).problem(401, "unauthorized")["detail"], "the user name or the password is wrong");
    // From the second time on it is known: that takes a small part of what it took to try it.
    assert_eq!(gateway.rewrite(&config(DEAR)), "done");
    let mut took = || {
        let started = Instant::now();
        assert_eq!(client.get_with("/a", &basic("ann:pencil")).status, 200);
        started.elapsed()
    };
    let tried = took();
    let known: Duration = (0..20).map(|_| took()).sum();
    assert!(known < tried * 10, "tried {tried:?}, known {known:?}");
}

#[test]
fn a_user_that_nobody_is_takes_as_long_as_a_wrong_password() {
    let gateway = Gateway::start(&format!(
        "consumers: [{{ name: ann, passwords: [{{ hash: \"{PENCIL}\" }}] }}]
routes: [{{ name: a, match: {{ path: /a }}, policies: [basic], reply: {{ text: here }} }}]"
    ));
    let mut client = gateway.client();
    let mut cost = |user: &str| {
        let before = ticks(&gateway);
        for number in 0..20 {
            client.get_with("/a", &basic(&format!("{user}:wrong-{number}"))).problem(401, "unauthorized");
        }
        ticks(&gateway) - before
    };
    let (known, unknown) = (cost("ann"), cost("bob"));
    assert!(known > 10 && unknown > known / 2 && unknown < known * 2, "known {known}, unknown {unknown}");
}

/// What the gateway has taken of the processor, in hundredths of a second: the time itself is that of a machine which has more to do.
fn ticks(gateway: &Gateway) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn a_flood_of_wrong_passwords_holds_up_nobody_else() {
    let dear = DEAR.replace("t=6", "t=3");
    let gateway = Gateway::start(&format!(
        "consumers: [{{ name: ann, passwords: [{{ hash: \"{PENCIL}\" }}, {{ user: dear, hash: \"{dear}\" }}] }}]
routes:
  - {{ name: a, match: {{ path: /a }}, policies: [basic], reply: {{ text: here }} }}
  - {{ name: open, match: {{ path: /open }}, reply: {{ text: here }} }}"
    ));
    let mut known = gateway.client();
    assert_eq!(known.get_with("/a", &basic("ann:pencil")).status, 200);
    // Of one address half of those that may wait at all.
    let mut flood: Vec<_> = (0..160).map(|_| gateway.client()).collect();
    for (number, client) in flood.iter_mut().enumerate() {
        client.send(format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", basic(&format!("dear:wrong-{number}"))));
    }
    // Meanwhile the others are served as ever.
    let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
    for _ in 0..50 {
        let started = Instant::now();
        assert_eq!(known.get("/open").status, 200);
        assert_eq!(known.get_with("/a", &basic("ann:pencil")).status, 200);
        slowest = slowest.max(started.elapsed());
    }
    let answers: Vec<_> = flood.iter_mut().map(|client| client.read()).collect();
    let flood = begun.elapsed();
    let busy: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
    assert!(busy.len() >= 160 - 128 && busy.len() < 160, "{} of 160", busy.len());
    for answer in &busy {
        answer.problem(503, "unavailable");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(answers.iter().all(|answer| matches!(answer.status, 401 | 503)));
    assert!(slowest < flood / 4, "{slowest:?} of {flood:?}");
}

#[test]
fn many_who_come_at_once_wait_for_their_turn_and_no_address_holds_up_another() {
    // As cheap as may be: what is waited for is the turn.
    let cheap = "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$TNXVaepwoQBOVs70Xg+kbVgzd21gRaq+ul2VEICRv7g";
    let users: Vec<_> = (0..100).map(|number| format!("{{ user: user-{number}, hash: \"{cheap}\" }}")).collect();
    let dear = DEAR.replace("t=6", "t=1");
    let gateway = Gateway::start(&format!(
        "consumers: [{{ name: ann, passwords: [{{ hash: \"{PENCIL}\" }}, {{ user: dear, hash: \"{dear}\" }}, {}] }}]
routes: [{{ name: a, match: {{ path: /a }}, policies: [basic], reply: {{ text: here }} }}]",
        users.join(", ")
    ));
    let mut clients: Vec<_> = (0..100).map(|_| gateway.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", basic(&format!("user-{number}:pencil"))));
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.read().status, 200));
    // All the wrong ones of one address wait behind the right one of another.
    let mut flood: Vec<_> = (0..100).map(|_| gateway.client()).collect();
    for (number, client) in flood.iter_mut().enumerate() {
        client.send(format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", basic(&format!("dear:wrong-{number}"))));
    }
    assert_eq!(Client::connect_from([127, 0, 0, 9], gateway.address).get_with("/a", &basic("ann:pencil")).status, 200);
    let answered = gateway.log().iter().filter(|line| line["status"] != 200).count();
    assert!(answered < 50, "{answered} of 100 came first");
    flood.iter_mut().for_each(|client| assert!(matches!(client.read().status, 401 | 503)));
}

#[test]
fn what_no_client_can_send_as_a_password_is_not_hashed() {
    let long = "x".repeat(1100);
    let too_long = "k".repeat(70_000);
    for (arguments, input, words) in [
        (&["hash-key", "--password"][..], "pen\tcil", "control characters"),
        (&["hash-key", "--password"], &*long, "too long"),
        (&["hash-key"], &too_long, "too long"),
    ] {
        let (right, said) = tidegate(arguments, input);
        assert!(!right && said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn many_with_the_same_password_are_not_too_many() {
    let gateway = Gateway::start(&format!(
        "consumers: [{{ name: ann, passwords: [{{ hash: \"{PENCIL}\" }}] }}]
routes: [{{ name: a, match: {{ path: /a }}, policies: [basic], reply: {{ text: here }} }}]"
    ));
    let mut clients: Vec<_> = (0..40).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(|client| client.send(format!("GET /a HTTP/1.1\r\nHost: a\r\n{}\r\n", basic("ann:pencil"))));
    clients.iter_mut().for_each(|client| assert_eq!(client.read().status, 200));
}

const FORGED: [(&str, &str); 4] =
    [("X-Consumer-Name", "forged"), ("x_consumer_name", "forged"), ("X-Consumer_Groups", "forged"), ("Connection", "X-Consumer-Name")];

#[test]
fn no_client_can_say_who_it_is() {
    let up = Origin::start();
    let gateway = Gateway::start(&format!(
        r#"
identity: {{ headers: {{ X-Consumer-Name: "{{consumer.name}}", X-Consumer-Groups: "{{consumer.groups}}" }} }}
consumers:
  - name: app
    groups: [gold, eu]
    api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]
services: {{ up: {{ targets: ["http://{}"] }} }}
routes:
  - {{ name: known, match: {{ path: /known }}, policies: [api_key], to: up }}
  - {{ name: open, match: {{ path: /open }}, to: up }}
  - {{ name: copied, match: {{ path: /copied }}, policies: [request: {{ headers: {{ set: {{ X-Copy: "{{header.X-Consumer-Name}}" }} }} }}], to: up }}
  - {{ name: whole, match: {{ path: /whole }}, policies: [api_key], compose: {{ parts: {{ a: {{ get: "up:/part" }} }} }} }}
  - {{ name: anonymous, match: {{ path: /anonymous }}, compose: {{ parts: {{ a: {{ get: "up:/part", headers: {{ X-Copy: "{{header.X-Consumer-Name}}" }} }} }} }} }}
  - {{ name: batch, match: {{ path: /batch }}, batch: {{}} }}
"#,
        up.address
    ));
    let lines: String = FORGED.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let mut client = gateway.client();
    for (path, key, told) in [
        ("/known", "X-API-Key: test\r\n", (Some("app"), Some("gold,eu"))),
        ("/open", "", (None, None)),
        ("/copied", "", (None, None)),
        ("/whole", "X-API-Key: test\r\n", (Some("app"), Some("gold,eu"))),
        ("/anonymous", "", (None, None)),
    ] {
        client.get_with(path, &format!("{key}{lines}"));
        let seen = up.seen().pop().unwrap();
        assert_eq!((seen.header("x-consumer-name"), seen.header("x-consumer-groups")), told, "{path}: {:?}", seen.headers);
        assert!(!format!("{:?}", seen.headers).contains("forged"), "{path}: {:?}", seen.headers);
    }
    // Inside of a batch too, and over HTTP/2.
    let body = r#"{"requests":[{"id":"1","method":"GET","url":"/open","headers":{"X-Consumer-Name":"forged"}},{"id":"2","method":"GET","url":"/known","headers":{"X-API-Key":"test","X_Consumer_Name":"forged"}}]}"#;
    client.send(format!(
        "POST /batch HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nX-Consumer-Name: forged\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    assert_eq!(client.read().status, 200);
    let seen = up.seen();
    for seen in &seen[seen.len() - 2..] {
        let told = if seen.target == "/known" { Some("app") } else { None };
        assert_eq!(seen.header("x-consumer-name"), told, "{seen:?}");
        assert!(!format!("{:?}", seen.headers).contains("forged"), "{seen:?}");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let h2 = H2::connect(gateway.address).await;
        for (path, told) in [("/known", Some("app")), ("/open", None)] {
            let headers = [("x-consumer-name", "forged"), ("x_consumer_name", "forged"), ("x-api-key", "test")];
            assert_eq!(h2.request("GET", path, &headers, &[]).await.0.status, 200);
            let seen = up.seen().pop().unwrap();
            assert_eq!(seen.header("x-consumer-name"), told, "{seen:?}");
            assert!(!format!("{:?}", seen.headers).contains("forged"), "{seen:?}");
        }
    });
}

#[test]
fn what_is_hardly_meant_is_warned_of() {
    let (right, said) = check(
        r#"
consumers:
  - name: app
    api_keys: [{ hash: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", expires: 2020-01-01 }]
    limits: { dayly: { requests: 1, per: 1s } }
routes:
  - { name: a, match: { path: /a }, policies: [api_key, rate_limit: { requests: 1, per: 1s }], reply: {} }
  - { name: b, match: { path: /b }, policies: [basic], reply: {} }
"#,
    );
    assert!(right, "{said}");
    for told in [
        "tidegate.yaml:4:108: consumers[0].api_keys[0].expires: this key has expired",
        "tidegate.yaml:5:15: consumers[0].limits.dayly: there is no `rate_limit` named `dayly`",
        "tidegate.yaml:8:48: routes[1].policies[0].basic: it lets nobody through: no consumer has a password",
    ] {
        assert!(said.contains(told), "{told}\nis not in\n{said}");
    }
    assert_eq!(said.matches("warning:").count(), 3, "{said}");
}

#[test]
fn a_policy_that_asks_for_signatures_which_nobody_can_make_is_warned_of() {
    let with = |keys: &str| {
        let (right, said) = check(&format!(
            r#"
consumers: [{{ name: app, signing_keys: {keys} }}]
routes:
  - {{ name: a, match: {{ path: /a }}, policies: [hmac], reply: {{}} }}
  - {{ name: b, match: {{ path: /b }}, policies: [any_of: [api_key: {{}}, hmac: {{ forms: [cavage] }}]], reply: {{}} }}
"#
        ));
        assert!(right, "{said}");
        said
    };
    let said = with("[]");
    for told in [
        "routes[0].policies[0].hmac: it lets nobody through: no consumer has a key to sign with",
        "routes[1].policies[0].any_of[1].hmac: it lets nobody through: no consumer has a key to sign with",
    ] {
        assert!(said.contains(told), "{told}\nis not in\n{said}");
    }
    let public = r#"[{ id: a, public_key: "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n-----END PUBLIC KEY-----" }]"#;
    let said = with(public);
    assert!(
        said.contains("any_of[1].hmac: it lets nobody through: no consumer has a secret to sign with") && !said.contains("routes[0]"),
        "{said}"
    );
    assert!(!with("[{ id: a, secret: a-secret-of-some-length }]").contains("hmac"));
}
