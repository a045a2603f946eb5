//! Tokens that are taken back in a real Redis before their time, of those that are verified here and those that others are asked about.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::introspection::Knower;
use crate::support::redis::{Redis, Slow};
use crate::support::{Client, Gateway, Response, block_on, client::H2, eventually};

const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";

fn gateway(redis: &str, knower: &Knower) -> Gateway {
    Gateway::start(&format!(
        r#"
redis: {{ {redis} }}
services: {{ echo: {{ mock: {{ echo: true }} }} }}
routes:
  - {{ name: signed, match: {{ path: /signed }}, policies: [jwt: {{ issuer: any, audience: any, keys: [{{ algorithm: HS256, secret: {SECRET} }}] }}], to: echo }}
  - {{ name: opaque, match: {{ path: /opaque }}, policies: [introspection: {{ url: "http://{}/introspect", allow_http: true, audience: api, client_id: gateway, client_secret: hush-4711-hush }}], to: echo }}
"#,
        knower.address
    ))
}

fn token(mut claims: Value) -> String {
    claims["exp"] = json!(4_102_444_800_u64);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes())))
}

fn ask(client: &mut Client, path: &str, token: &str) -> Response {
    client.get_with(path, &format!("Authorization: Bearer {token}\r\n"))
}

fn await_status(client: &mut Client, path: &str, token: &str, status: u16) -> Duration {
    let started = Instant::now();
    eventually(&format!("{path} is {status}"), || (ask(client, path, token).status == status).then_some(()));
    started.elapsed()
}

#[test]
fn a_token_that_is_taken_back_is_refused_in_time_and_no_other() {
    let (redis, knower) = (Redis::start(), Knower::start());
    let gateway = gateway(&format!("url: \"redis://{}\", revoked: {{ cache: 1s }}", redis.address), &knower);
    let mut client = gateway.client();
    knower.issue_with("opaque-of-ada", json!({"sub": "ada", "jti": "o-1"}));
    let (of_ada, other, of_bob) = (
        token(json!({"sub": "ada", "jti": "7"})),
        token(json!({"jti": "8"})),
        token(json!({"sub": "bob", "iat": 1_700_000_000, "iss": "https://a"})),
    );
    for (path, token) in
        [("/signed", &*of_ada), ("/signed", &other), ("/signed", &of_bob), ("/signed", &token(json!({}))), ("/opaque", "opaque-of-ada")]
    {
        assert_eq!(ask(&mut client, path, token).status, 200, "{path}");
    }
    // What is known holds no longer than is said, with a margin for a machine that is busy with others.
    redis.cli(&["HSET", "tidegate:revoked:jti:7", "note", "stolen"]);
    let took = await_status(&mut client, "/signed", &of_ada, 401);
    assert!(took < Duration::from_millis(1900), "{took:?}");
    let refused = ask(&mut client, "/signed", &of_ada);
    assert_eq!(refused.problem(401, "unauthorized")["detail"], "the token was revoked");
    assert!(refused.header("www-authenticate").unwrap().contains("error=\"invalid_token\""), "{refused:?}");
    let over_http2 = async {
        let h2 = H2::connect(gateway.address).await;
        h2.request("GET", "/signed", &[("authorization", &format!("Bearer {of_ada}"))], &[]).await.0.status
    };
    assert_eq!(block_on(over_http2), 401);
    assert_eq!([ask(&mut client, "/signed", &other).status, ask(&mut client, "/opaque", "opaque-of-ada").status], [200, 200]);
    redis.cli(&["HSET", "tidegate:revoked:sub:ada", "note", "left"]);
    await_status(&mut client, "/opaque", "opaque-of-ada", 401);
    // Narrower ones, and one with a slip, which is as wide as can be.
    for (fields, status) in [
        (&["before", "2023-01-01"][..], 200),
        (&["issuer", "https://b"], 200),
        (&["before", "2024-01-01", "issuer", "https://b"], 200),
        (&["before", "2024-01-01", "issuer", "https://a"], 401),
        (&["befor", "2023-01-01"], 401),
    ] {
        redis.cli(&["DEL", "tidegate:revoked:sub:bob"]);
        await_status(&mut client, "/signed", &of_bob, 200);
        redis.cli(&[&["HSET", "tidegate:revoked:sub:bob"], fields].concat());
        let before = redis.lookups();
        eventually("it is looked up again", || {
            ask(&mut client, "/signed", &of_bob);
            (redis.lookups() > before).then_some(())
        });
        await_status(&mut client, "/signed", &of_bob, status);
    }
    gateway.await_said("takes back more than it may mean to: there is no field `befor`");
    redis.cli(&["DEL", "tidegate:revoked:jti:7", "tidegate:revoked:sub:ada"]);
    await_status(&mut client, "/signed", &of_ada, 200);
}

#[test]
fn while_nobody_knows_tokens_wait_or_go_on_as_is_said() {
    for (on_error, status) in [("deny", 503), ("allow", 200)] {
        let (mut redis, knower) = (Redis::start(), Knower::start());
        let way = Slow::to(redis.address);
        let settings = format!("url: \"redis://{}\", timeout: 1s, revoked: {{ cache: 100ms, on_error: {on_error} }}", way.address);
        let gateway = gateway(&settings, &knower);
        let (mut client, good) = (gateway.client(), token(json!({"sub": "ada"})));
        assert_eq!(ask(&mut client, "/signed", &good).status, 200);
        assert_eq!(ask(&mut client, "/signed", "no.token.atall").status, 401);
        way.delay(Duration::from_secs(30));
        let started = Instant::now();
        let of = gateway.metric("tidegate_redis_lookups_total{result=\"late\",what=\"revocation\"}");
        eventually("an answer is late", || {
            ask(&mut client, "/signed", &good);
            (gateway.metric("tidegate_redis_lookups_total{result=\"late\",what=\"revocation\"}") > of).then_some(())
        });
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
        redis.kill();
        way.delay(Duration::ZERO);
        await_status(&mut client, "/signed", &good, status);
        if status == 503 {
            let answer = ask(&mut client, "/signed", &good);
            answer.problem(503, "unavailable");
            assert_eq!(answer.header("retry-after"), Some("1"));
        }
        redis.revive();
        await_status(&mut client, "/signed", &good, 200);
        redis.cli(&["HSET", "tidegate:revoked:sub:ada", "note", "left"]);
        await_status(&mut client, "/signed", &good, 401);
    }
}

#[test]
fn what_is_there_takes_a_token_back_whatever_it_is() {
    let (redis, knower) = (Redis::start(), Knower::start());
    let gateway = gateway(&format!("url: \"redis://{}\", revoked: {{ cache: 0s, on_error: allow }}", redis.address), &knower);
    let mut client = gateway.client();
    redis.cli(&["SET", "tidegate:revoked:jti:42", "1"]);
    redis.cli(&["--quoted-input", "HSET", "tidegate:revoked:jti:43", "issuer", r#""Ren\xe9""#]);
    redis.cli(&["--quoted-input", "HSET", "tidegate:revoked:sub:ada", "before", "2023-01-01", "note", r#""Ren\xe9""#]);
    redis.cli(&["HSET", "tidegate:revoked:sub:4711", "note", "left"]);
    for (claims, status) in [
        (json!({"jti": "42"}), 401),
        (json!({"jti": "43"}), 401),
        (json!({"jti": "44"}), 200),
        // Consumers may be named by numbers, and so may tokens and subjects.
        (json!({"jti": 42}), 401),
        (json!({"sub": 4711}), 401),
        (json!({"sub": "ada", "iat": 1_600_000_000}), 401),
        (json!({"sub": "ada", "iat": 1_700_000_000}), 200),
    ] {
        assert_eq!(ask(&mut client, "/signed", &token(claims.clone())).status, status, "{claims}");
    }
    gateway.await_said("takes back more than it may mean to: it is no hash");
    gateway.await_said("takes back more than it may mean to: `issuer` is not written in UTF-8");
}
