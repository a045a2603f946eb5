//! Consumers and keys in a real Redis: made and taken away while the gateway runs, and known for as long as is said.

use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::introspection::Knower;
use crate::support::certificates::{Authority, Identity};
use crate::support::gateway::{Folder, check};
use crate::support::redis::{Redis, Slow};
use crate::support::{Client, Gateway, Response, eventually};

/// The SHA-256 of `key-1`, as `tidegate hash-key` prints it behind `sha256:`.
pub fn entry(key: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, key.as_bytes());
    format!("tidegate:key:{}", hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub fn gateway(redis: &str) -> Gateway {
    Gateway::start(&config(redis))
}

/// The same with one more route.
pub fn gateway_with(redis: &str, route: &str) -> Gateway {
    Gateway::start(&format!("{}{route}", config(redis)))
}

fn config(redis: &str) -> String {
    format!(
        r#"
redis: {{ {redis} }}
consumers: [{{ name: filed, groups: [paper], api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"] }}]
identity: {{ headers: {{ X-Who: "{{consumer.name}}", X-Groups: "{{consumer.groups}}", X-Tenant: "{{consumer.labels.tenant}}" }} }}
services: {{ echo: {{ mock: {{ echo: true }} }} }}
routes:
  - {{ name: keyed, match: {{ path: /keyed }}, policies: [api_key, rate_limit: {{ requests: 100000, per: 1m }}], to: echo }}
  - {{ name: open, match: {{ path: /open }}, to: echo }}
"#
    )
}

pub fn ask(client: &mut Client, key: &str) -> Response {
    client.get_with("/keyed", &format!("X-API-Key: {key}\r\n"))
}

/// Waits until the key is good or not, and says how long that took.
pub fn await_status(client: &mut Client, key: &str, status: u16) -> Duration {
    let started = Instant::now();
    eventually(&format!("{key} gets {status}"), || (ask(client, key).status == status).then_some(()));
    started.elapsed()
}

#[test]
fn a_key_is_good_from_when_it_is_made_until_it_is_taken_away() {
    let redis = Redis::start();
    let way = Slow::to(redis.address);
    let gateway = gateway(&format!("url: \"redis://{}\", consumers: {{ cache: 2s, unknown: 500ms }}", way.address));
    let mut client = gateway.client();
    assert_eq!(ask(&mut client, "key-1").problem(401, "unauthorized")["detail"], "the API key is not valid");
    redis.cli(&["HSET", "tidegate:consumer:app", "groups", "gold,eu", "label:tenant", "acme", "limit:default", "7/1h", "note", "of Ann"]);
    redis.cli(&["HSET", &entry("key-1"), "consumer", "app", "id", "tg_1"]);
    // That it was none is forgotten soon.
    let taken = await_status(&mut client, "key-1", 200);
    assert!(taken < Duration::from_millis(500) + Duration::from_millis(500), "{taken:?}");
    let answer = ask(&mut client, "key-1");
    let headers = answer.json()["headers"].clone();
    assert_eq!((&headers["x-who"], &headers["x-groups"], &headers["x-tenant"]), (&"app".into(), &"gold,eu".into(), &"acme".into()));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=7;w=3600"));
    assert!(headers.get("x-api-key").is_none());
    let line = gateway.await_log("the key", |line| line["status"] == 200);
    assert_eq!((&line["consumer"], &line["credential"]), (&"app".into(), &"tg_1".into()), "{line}");
    gateway.await_metric("tidegate_redis_lookups_total{result=\"found\",what=\"key\"}", 1.0);
    gateway.await_metric(&format!("tidegate_redis_up{{address=\"{}\"}}", way.address), 1.0);
    // Whoever goes on calling is refused as soon as is said, though it is looked up beside requests.
    redis.cli(&["HSET", "tidegate:consumer:app", "limit:default", "100000/1h"]);
    await_limit(&mut client);
    redis.cli(&["DEL", &entry("key-1")]);
    let taken = await_status(&mut client, "key-1", 401);
    assert!(taken <= Duration::from_secs(2) + Duration::from_secs(1), "{taken:?}");
    // What was sent there has no key in it, and no key is written down.
    assert!(way.sent().contains(&entry("key-1")) && !way.sent().contains("key-1\r"), "{}", way.sent());
    for said in [gateway.said(), gateway.ask("/metrics").1, gateway.ask("/status").1] {
        assert!(!said.contains("key-1") && !said.contains(&entry("key-1")[20..]), "{said}");
    }
}

/// Waits until the consumer has its new limit.
fn await_limit(client: &mut Client) {
    eventually("the consumer has another limit", || {
        let answer = ask(client, "key-1");
        (answer.header("ratelimit-policy") == Some("\"default\";q=100000;w=3600")).then_some(())
    });
}

#[test]
fn a_consumer_is_one_of_the_config_or_of_redis_and_its_end_is_that_of_its_keys() {
    let redis = Redis::start();
    let gateway = gateway(&format!("url: \"redis://{}\", consumers: {{ cache: 200ms, unknown: 100ms }}", redis.address));
    let mut client = gateway.client();
    redis.cli(&["HSET", &entry("of-filed"), "consumer", "filed"]);
    redis.cli(&["HSET", &entry("of-stored"), "consumer", "stored"]);
    redis.cli(&["HSET", &entry("of-nobody"), "consumer", "nobody"]);
    redis.cli(&["HSET", "tidegate:consumer:stored", "note", "no groups"]);
    // Of two the config has the say.
    redis.cli(&["HSET", "tidegate:consumer:filed", "groups", "forged"]);
    for (key, who, groups) in [("of-filed", "filed", Some("paper")), ("of-stored", "stored", None), ("test", "filed", Some("paper"))] {
        let headers = ask(&mut client, key).json()["headers"].clone();
        assert_eq!((headers["x-who"].as_str(), headers.get("x-groups").and_then(|groups| groups.as_str())), (Some(who), groups), "{key}");
    }
    assert_eq!(ask(&mut client, "of-nobody").status, 401);
    redis.cli(&["DEL", "tidegate:consumer:stored"]);
    await_status(&mut client, "of-stored", 401);
    assert_eq!(ask(&mut client, "of-filed").status, 200);
}

#[test]
fn a_token_may_name_a_consumer_of_redis_and_its_groups_let_it_in() {
    let mut redis = Redis::start();
    redis.cli(&["HSET", "tidegate:consumer:ada", "groups", "gold"]);
    let jwt =
        "jwt: { issuer: any, audience: any, consumer: sub, keys: [{ algorithm: HS256, secret: a-secret-of-at-least-thirty-two-bytes }] }";
    let url = format!("url: \"redis://{}\", consumers: {{}}", redis.address);
    let token_route = format!("  - {{ name: token, match: {{ path: /token }}, policies: [{jwt}], to: echo }}\n");
    let gold = format!("  - {{ name: gold, match: {{ path: /gold }}, policies: [{jwt}, acl: {{ groups: [gold] }}], to: echo }}\n");
    let gateway = gateway_with(&url, &(token_route + &gold));
    let mut client = gateway.client();
    let mut ask = |path: &str, sub: &str| client.get_with(path, &format!("Authorization: Bearer {}\r\n", token(sub)));
    assert_eq!(ask("/token", "ada").json()["headers"]["x-groups"], "gold");
    assert_eq!(ask("/token", "filed").json()["headers"]["x-groups"], "paper");
    ask("/token", "bob").problem(403, "forbidden");
    assert_eq!(ask("/gold", "ada").status, 200);
    ask("/gold", "filed").problem(403, "forbidden");
    redis.kill();
    gateway.await_metric(&format!("tidegate_redis_up{{address=\"{}\"}}", redis.address), 0.0);
    ask("/token", "cid").problem(503, "unavailable");
    assert_eq!((ask("/gold", "ada").status, ask("/token", "filed").status), (200, 200));
}

#[test]
fn a_provider_a_service_and_a_certificate_may_name_a_consumer_of_redis() {
    let (mut redis, knower) = (Redis::start(), Knower::start());
    redis.cli(&["HSET", "tidegate:consumer:ada", "groups", "gold"]);
    redis.cli(&["HSET", "tidegate:consumer:app.test", "groups", "gold"]);
    let (folder, server, clients) = (Folder::new(), Authority::new(), Authority::new());
    let identity = server.issue("a.test");
    for (name, text) in [("a.pem", &identity.cert), ("a.key", &identity.key), ("clients.pem", &clients.pem())] {
        folder.file(name, text);
    }
    let introspection =
        format!("url: \"{}\", client_id: a, client_secret: b, audience: any, consumer: sub, allow_http: true", knower.url());
    let tls = "certificates: [{ cert: a.pem, key: a.key }], client_ca: clients.pem, client_certificate: optional";
    let gateway = Gateway::start_in(
        folder,
        &format!(
            r#"
server:
  listeners: [{{ address: "127.0.0.1:0", tls: {{ {tls} }} }}]
redis: {{ url: "redis://{}", consumers: {{}} }}
consumers: [{{ name: filed, groups: [paper] }}]
identity: {{ headers: {{ X-Groups: "{{consumer.groups}}" }} }}
services:
  echo: {{ mock: {{ echo: true }} }}
  decides: {{ mock: {{ headers: {{ X-Who: ada }} }} }}
routes:
  - {{ name: token, match: {{ path: /token }}, policies: [introspection: {{ {introspection} }}], to: echo }}
  - {{ name: asked, match: {{ path: /asked }}, policies: [external: {{ service: decides, consumer: X-Who }}], to: echo }}
  - {{ name: shown, match: {{ path: /shown }}, policies: [mtls: {{ consumer: dns }}], to: echo }}
"#,
            redis.address
        ),
    );
    for (token, sub) in [("of-ada", "ada"), ("of-filed", "filed"), ("of-bob", "bob"), ("of-cid", "cid")] {
        knower.issue_with(token, serde_json::json!({"sub": sub}));
    }
    let shows = |name: &str| clients.issue(name);
    let get = |path: &str, own: Option<&Identity>, token: &str| {
        let tls = server.client(own, &["http/1.1"]);
        Client::secure(gateway.address, &tls, "a.test").get_with(path, &format!("Authorization: Bearer {token}\r\n"))
    };
    for (token, groups) in [("of-ada", "gold"), ("of-filed", "paper")] {
        assert_eq!(get("/token", None, token).json()["headers"]["x-groups"], groups);
    }
    get("/token", None, "of-bob").problem(403, "forbidden");
    assert_eq!(get("/asked", None, "").json()["headers"]["x-groups"], "gold");
    for (name, groups) in [("app.test", "gold"), ("filed", "paper")] {
        assert_eq!(get("/shown", Some(&shows(name)), "").json()["headers"]["x-groups"], groups);
    }
    get("/shown", Some(&shows("other.test")), "").problem(403, "forbidden");
    redis.kill();
    gateway.await_metric(&format!("tidegate_redis_up{{address=\"{}\"}}", redis.address), 0.0);
    get("/token", None, "of-cid").problem(503, "unavailable");
    get("/shown", Some(&shows("third.test")), "").problem(503, "unavailable");
    assert_eq!([get("/shown", Some(&shows("filed")), "").status, get("/token", None, "of-ada").status], [200, 200]);
}

pub fn token(sub: &str) -> String {
    let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"a-secret-of-at-least-thirty-two-bytes");
    let part = |json: String| URL_SAFE_NO_PAD.encode(json);
    let message = format!("{}.{}", part(r#"{"alg":"HS256"}"#.to_owned()), part(format!(r#"{{"sub":"{sub}","exp":4102444800}}"#)));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&secret, message.as_bytes())))
}

#[test]
fn a_key_ends_at_its_time_and_an_entry_with_a_slip_lets_nobody_in() {
    let redis = Redis::start();
    let gateway = gateway(&format!("url: \"redis://{}\", consumers: {{ cache: 200ms, unknown: 100ms }}", redis.address));
    let mut client = gateway.client();
    redis.cli(&["HSET", &entry("over"), "consumer", "filed", "expires", "2020-01-01"]);
    assert_eq!(ask(&mut client, "over").problem(401, "unauthorized")["detail"], "the API key has expired");
    redis.cli(&["HSET", &entry("ends"), "consumer", "filed", "expires", "2099-01-01T00:00:00Z"]);
    redis.cli(&["PEXPIRE", &entry("ends"), "1500"]);
    assert_eq!(ask(&mut client, "ends").status, 200);
    await_status(&mut client, "ends", 401);
    redis.cli(&["HSET", &entry("slip"), "consumer", "filed", "expire", "2020-01-01"]);
    assert_eq!(ask(&mut client, "slip").status, 401);
    gateway.await_said("in Redis counts as missing: there is no field `expire`");
    gateway.await_metric("tidegate_redis_lookups_total{result=\"void\",what=\"key\"}", 1.0);
    // So does one of another type; a note may be in any bytes, and nothing else may.
    redis.cli(&["SET", &entry("text"), "filed"]);
    assert_eq!(ask(&mut client, "text").status, 401);
    gateway.await_said("in Redis counts as missing: it is no hash");
    for (field, key, status) in [("note", "noted", 200), ("id", "named", 401)] {
        redis.cli(&["--quoted-input", "HSET", &entry(key), "consumer", "filed", field, r#""Ren\xe9""#]);
        assert_eq!(ask(&mut client, key).status, status, "{field}");
    }
    gateway.await_said("in Redis counts as missing: `id` is not written in UTF-8");
}

#[test]
fn of_two_keys_both_are_good_until_one_ends_though_it_is_known_for_longer() {
    let redis = Redis::start();
    let gateway = gateway(&format!("url: \"redis://{}\", consumers: {{ cache: 1h }}", redis.address));
    let mut client = gateway.client();
    gateway.await_metric(&format!("tidegate_redis_up{{address=\"{}\"}}", redis.address), 1.0);
    let (end, before) = (SystemTime::now() + Duration::from_secs(3), redis.lookups());
    redis.cli(&["HSET", &entry("old"), "consumer", "filed", "expires", &humantime::format_rfc3339(end).to_string()]);
    redis.cli(&["HSET", &entry("new"), "consumer", "filed"]);
    assert_eq!((ask(&mut client, "old").status, ask(&mut client, "new").status), (200, 200));
    await_status(&mut client, "old", 401);
    assert!(SystemTime::now() < end + Duration::from_secs(1));
    assert_eq!(ask(&mut client, "old").problem(401, "unauthorized")["detail"], "the API key has expired");
    assert_eq!((ask(&mut client, "new").status, redis.lookups() - before), (200, 2));
}

#[test]
fn what_is_known_is_not_asked_for_again_and_together_it_is_asked_for_once() {
    let redis = Redis::start();
    let way = Slow::to(redis.address);
    let gateway = gateway(&format!("url: \"redis://{}\", timeout: 5s, consumers: {{ cache: 1m, unknown: 1m }}", way.address));
    redis.cli(&["HSET", &entry("key-1"), "consumer", "filed"]);
    gateway.await_metric(&format!("tidegate_redis_up{{address=\"{}\"}}", way.address), 1.0);
    way.delay(Duration::from_millis(150));
    for (key, status) in [("key-1", 200), ("none", 401)] {
        let before = redis.lookups();
        let mut clients: Vec<_> = (0..40).map(|_| gateway.client()).collect();
        clients.iter_mut().for_each(|client| client.send(format!("GET /keyed HTTP/1.1\r\nHost: a\r\nX-API-Key: {key}\r\n\r\n")));
        clients.iter_mut().for_each(|client| assert_eq!(client.read().status, status));
        clients.iter_mut().for_each(|client| assert_eq!(ask(client, key).status, status));
        assert_eq!(redis.lookups() - before, 1, "{key}");
    }
    // A reload changes nothing of it, nor of the connection.
    let connections = redis.info("total_connections_received");
    let config = config(&format!("url: \"redis://{}\", timeout: 5s, consumers: {{ cache: 1m, unknown: 1m }}", way.address));
    assert_eq!(gateway.rewrite(&config.replace("/open }", "/opened }")), "done");
    let before = redis.lookups();
    assert_eq!(ask(&mut gateway.client(), "key-1").status, 200);
    assert_eq!(redis.lookups(), before);
    // Each look of ours is one.
    assert_eq!(redis.info("total_connections_received") - connections, 3);
}

#[test]
fn it_is_spoken_to_over_tls_by_a_user_with_few_rights_and_through_a_socket() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let own = authority.issue("127.0.0.1");
    folder.file("ca.pem", authority.pem());
    folder.file("redis.pem", own.cert);
    folder.file("redis.key", own.key);
    let secure = crate::support::port().to_string();
    let tls = [
        "--tls-port",
        &secure,
        "--tls-cert-file",
        "{dir}/redis.pem",
        "--tls-key-file",
        "{dir}/redis.key",
        "--tls-ca-cert-file",
        "{dir}/ca.pem",
        "--tls-auth-clients",
        "no",
    ];
    let redis = Redis::start_with(folder, &tls);
    redis.cli(&["ACL", "SETUSER", "gateway", "on", ">hunter2", "~tidegate:*", "+hgetall", "+ping"]);
    redis.cli(&["HSET", &entry("key-1"), "consumer", "filed"]);
    let (dir, user) = (redis.folder.path().display(), "username: gateway, password: hunter2, consumers: {}");
    let ca = format!("ca: {dir}/ca.pem");
    let in_third = format!("url: \"redis://{}/3\"", redis.address);
    let (secured, in_third) = (format!("url: \"rediss://127.0.0.1:{secure}\", {ca}"), in_third.as_str());
    for way in [&secured, &format!("url: \"unix://{dir}/redis.sock\""), in_third] {
        // Another database than the first has to be chosen.
        if way == in_third {
            redis.cli(&["-n", "3", "HSET", &entry("key-1"), "consumer", "filed"]);
            let refused = self::gateway(&format!("{way}, {user}"));
            refused.await_said("no connection to Redis");
            redis.cli(&["ACL", "SETUSER", "gateway", "+select"]);
        }
        let gateway = gateway(&format!("{way}, {user}"));
        let mut client = gateway.client();
        assert_eq!(ask(&mut client, "key-1").status, 200, "{way}");
        assert!(!gateway.said().contains("hunter2"));
    }
    // Nobody else vouches for it, and nobody else is let in.
    for (way, why) in [
        (format!("url: \"rediss://127.0.0.1:{secure}\", consumers: {{}}"), "UnknownIssuer"),
        (format!("url: \"rediss://localhost:{secure}\", {ca}, consumers: {{}}"), "not valid for name"),
        (format!("url: \"unix://{dir}/redis.sock\", username: gateway, password: wrong, consumers: {{}}"), "authentication failed"),
    ] {
        let gateway = gateway(&way);
        ask(&mut gateway.client(), "key-1").problem(503, "unavailable");
        let said = gateway.await_said("no connection to Redis");
        assert!(said.to_ascii_lowercase().contains(&why.to_ascii_lowercase()), "{why}: {said}");
    }
}

#[test]
fn a_group_may_be_one_that_only_redis_knows() {
    let acl = |redis: &str| {
        check(&format!(
            "{redis}routes: [{{ name: a, match: {{ path: /a }}, policies: [api_key, acl: {{ groups: [gold], consumers: [app] }}], reply: {{}} }}]"
        ))
    };
    let (right, said) = acl("redis: { url: \"redis://127.0.0.1\", consumers: {} }\n");
    assert!(right && !said.contains("warning"), "{said}");
    // One that has tokens alone knows neither, and no keys.
    let keys_of = |redis: &str| {
        check(&format!(
            "redis: {{ url: \"redis://127.0.0.1\", {redis}: {{}} }}\nroutes: [{{ name: a, match: {{ path: /a }}, policies: [api_key], reply: {{}} }}]"
        ))
    };
    assert!(!keys_of("consumers").1.contains("lets nobody through"));
    assert!(keys_of("revoked").1.contains("it lets nobody through: no consumer has an API key"));
    let (right, said) = acl("");
    assert!(!right && said.contains("there is no group of consumers `gold`") && said.contains("there is no consumer `app`"), "{said}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (redis, told) in [
        ("url: \"redis://a\"", "redis: nothing is looked up there"),
        ("url: \"redis://ann:hunter2@a\", consumers: {}", "redis.url: an address is shown in logs"),
        ("url: \"http://a\", consumers: {}", "redis.url: this is no address of a Redis"),
        ("url: \"redis://a\", ca: x, consumers: {}", "redis.ca: there is no TLS to `redis://`"),
        ("url: \"rediss://a\", ca: x, consumers: {}", "redis.ca: cannot read"),
        ("url: \"redis://a\", username: b, consumers: {}", "redis.username: a user without a password"),
        ("url: \"redis://a\", timeout: 0s, consumers: {}", "redis.timeout: a request cannot wait"),
        ("url: \"redis://a\", consumers: { entries: 0 }", "redis.consumers.entries: nothing could be known"),
        ("url: \"redis://a\", consumers: { cache: 1s, unknown: 2s }", "redis.consumers.unknown: what is none"),
        ("url: \"redis://a\", consumers: { on_error: open }", "unknown value `open`"),
    ] {
        let (right, said) = check(&config(redis));
        assert!(!right && said.contains(told), "{told}\nis not in\n{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}
