//! Who may do what, once it is known who calls.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::support::client::H2;
use crate::support::gateway::check;
use crate::support::{Gateway, block_on};

const SECRET: &str = "a-secret-of-at-least-thirty-two-bytes";

const CONFIG: &str = r#"
consumers:
  - { name: app, groups: [gold], labels: { region: eu }, api_keys: ["sha256:c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c"] }
  - { name: trial, groups: [trials], api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"] }
policies: [request_id]
routes:
  - name: groups
    match: { path: /groups }
    policies: [api_key, { acl: { groups: { any: [gold], none: [trials] } } }]
    reply: { text: in }
  - name: region
    match: { path: "/region/{region}" }
    policies: [api_key, { acl: { condition: "consumer.labels.region == region" } }]
    reply: { text: in }
  - name: token
    match: { path: /token }
    policies:
      - jwt: { issuer: me, audience: api, realm: shop, consumer: sub, unknown_consumer: allow, keys: [{ algorithm: HS256, secret: a-secret-of-at-least-thirty-two-bytes }] }
      - acl: { scopes: [read, write], roles: { none: [guest] }, claims: { "org.id": [7] } }
      - acl: { when: "request.method != 'GET'", consumers: [app], scopes: { all: [write, read] } }
    reply: { text: in }
  - name: guests
    match: { path: /guests }
    policies:
      - any_of: [api_key, { jwt: { issuer: me, audience: api, consumer: sub, keys: [{ algorithm: HS256, secret: a-secret-of-at-least-thirty-two-bytes }] } }, anonymous]
      - acl: { when: "request.method != 'GET'", groups: [gold] }
    reply: { text: in }
  - { name: nobody, match: { path: /nobody }, policies: [{ acl: { groups: [gold] } }], reply: { text: in } }
"#;

fn token(claims: &str) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#),
        URL_SAFE_NO_PAD.encode(format!(r#"{{"iss":"me","aud":"api","exp":9999999999,{claims}}}"#))
    );
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
    format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Who asks for what (method, target, credentials), and what becomes of it: the status, and the cause in the log.
type Case = (&'static str, &'static str, (&'static str, String), u16, &'static str);

fn cases() -> Vec<Case> {
    let key = |key: &str| ("x-api-key", key.to_owned());
    let token = |claims: &str| ("authorization", token(claims));
    vec![
        ("GET", "/groups", key("demo-key"), 200, ""),
        ("GET", "/groups", key("test"), 403, "groups: one of `none`"),
        ("GET", "/region/eu", key("demo-key"), 200, ""),
        ("GET", "/region/us", key("demo-key"), 403, "the condition does not hold"),
        ("GET", "/region/eu", key("test"), 403, "the condition does not hold"),
        ("GET", "/token", token(r#""sub":"x","scope":"read","org":{"id":7}"#), 200, ""),
        ("GET", "/token", token(r#""sub":"x","scp":["write"],"org":{"id":7},"roles":["user"]"#), 200, ""),
        ("GET", "/token", token(r#""sub":"x","scope":"reader","org":{"id":7}"#), 403, "scopes: none of `any`"),
        ("GET", "/token", token(r#""sub":"x","scope":"read","org":{"id":7},"roles":["guest"]"#), 403, "roles: one of `none`"),
        ("GET", "/token", token(r#""sub":"x","scope":"read","org":{"id":8}"#), 403, "claims.org.id: none of `any`"),
        ("POST", "/token", token(r#""sub":"app","scope":"read write","org":{"id":7}"#), 200, ""),
        ("POST", "/token", token(r#""sub":"app","scope":"read","org":{"id":7}"#), 403, "scopes: not each of `all`"),
        ("POST", "/token", token(r#""sub":"x","scope":"read write","org":{"id":7}"#), 403, "consumers: this caller has no consumer"),
    ]
}

#[test]
fn callers_are_let_through_by_what_is_known_of_them() {
    let gateway = Gateway::start(CONFIG);
    let mut client = gateway.client();
    for (method, path, (name, value), status, cause) in cases() {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{name}: {value}\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.read();
        assert_eq!(answer.status, status, "{method} {path} {value}: {answer:?}");
        if status == 200 {
            continue;
        }
        let problem = answer.problem(403, "forbidden");
        let line = gateway.await_log("the refusal", |line| line["request_id"] == problem["request_id"]);
        assert_eq!((line["cause"].as_str(), line["policy"].as_str()), (Some(cause), Some("acl")), "{line}");
        let challenge = answer.header("www-authenticate");
        match cause {
            "scopes: none of `any`" => assert!(challenge.unwrap().ends_with(
                "error=\"insufficient_scope\", error_description=\"the token lacks a scope that is needed here\", scope=\"read write\""
            )),
            "scopes: not each of `all`" => assert!(
                challenge.unwrap().starts_with("Bearer realm=\"shop\", error=\"insufficient_scope\"")
                    && challenge.unwrap().ends_with(", scope=\"write read\"")
            ),
            _ => assert_eq!(challenge, None),
        }
    }
    block_on(async {
        let client = H2::connect(gateway.address).await;
        for (method, path, (name, value), status, _) in cases() {
            let (head, _) = client.request(method, path, &[(name, &value)], &[]).await;
            assert_eq!(head.status.as_u16(), status, "{method} {path} {value}");
        }
    });
}

#[test]
fn who_calls_is_asked_before_what_it_may_do() {
    let gateway = Gateway::start(CONFIG);
    let mut client = gateway.client();
    let answer = client.get("/groups");
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("www-authenticate"), Some("ApiKey"));
    // Where nothing finds out who calls, nobody may.
    let answer = client.get_with("/nobody", "X-API-Key: demo-key\r\n");
    answer.problem(403, "forbidden");
    assert_eq!(answer.header("www-authenticate"), None);
}

#[test]
fn guests_may_do_what_needs_no_name_and_are_asked_for_one_for_the_rest() {
    let gateway = Gateway::start(CONFIG);
    let mut client = gateway.client();
    let mut ask = |method: &str, lines: &str| {
        client.send(format!("{method} /guests HTTP/1.1\r\nHost: a\r\n{lines}Content-Length: 0\r\n\r\n"));
        client.read()
    };
    let challenges = ["ApiKey", r#"Bearer realm="tidegate""#];
    assert_eq!(ask("GET", "").status, 200);
    let answer = ask("POST", "");
    let problem = answer.problem(401, "unauthorized");
    assert_eq!(
        (problem["detail"].as_str(), answer.all("www-authenticate")),
        (Some("only known callers are allowed to do this"), challenges.to_vec())
    );
    gateway.await_log("the refusal", |line| line["request_id"] == problem["request_id"] && line["policy"] == "acl");
    assert_eq!(ask("POST", "X-API-Key: demo-key\r\n").status, 200);
    ask("POST", "X-API-Key: test\r\n").problem(403, "forbidden");
    let mine = token(r#""sub":"app""#);
    assert_eq!(ask("POST", &format!("Authorization: {mine}\r\n")).status, 200);
    // Who says a name wrongly is no guest.
    assert_eq!(ask("GET", "X-API-Key: wrong\r\n").problem(401, "unauthorized")["detail"], "the API key is not valid");
    block_on(async {
        let client = H2::connect(gateway.address).await;
        let none: &[(&str, &str)] = &[];
        for (method, headers, status) in [
            ("GET", none, 200),
            ("POST", none, 401),
            ("POST", &[("x-api-key", "demo-key")], 200),
            ("POST", &[("x-api-key", "test")], 403),
            ("GET", &[("x-api-key", "wrong")], 401),
        ] {
            let (head, _) = client.request(method, "/guests", headers, &[]).await;
            assert_eq!(head.status.as_u16(), status, "{method} {headers:?}");
            if (method, status) == ("POST", 401) {
                let told: Vec<_> = head.headers.get_all("www-authenticate").iter().collect();
                assert_eq!(told, challenges);
            }
        }
    });
}

#[test]
fn an_acl_above_all_authentication_is_warned_of() {
    let (right, said) = check(
        r#"
consumers: [{ name: app, groups: [gold], api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"] }]
policies: [{ acl: { groups: [gold] } }]
routes:
  - { name: a, match: { path: /a }, policies: [api_key], reply: { text: a } }
  - { name: b, match: { path: /b }, reply: { text: b } }
  - name: c
    match: { path: /c }
    policies: [{ acl: off }]
    reply: { text: c }
  - name: d
    match: { path: /d }
    policies: [api_key, { acl: { groups: [gold], roles: [admin] } }]
    reply: { text: d }
"#,
    );
    assert!(right, "{said}");
    let warnings: Vec<_> = said.lines().filter(|line| line.contains("warning")).collect();
    for wanted in [
        "`acl` stands above `api_key`, which finds out who the consumer is: it lets nobody through",
        "no policy above `acl` finds out who the consumer is: it lets nobody through",
        "no policy above `acl` finds out what the token says: it lets nobody through",
    ] {
        assert!(warnings.iter().any(|warning| warning.contains(wanted)), "{wanted}: {said}");
    }
    assert_eq!(warnings.len(), 4, "{said}");
}

#[test]
fn every_mistake_of_an_acl_is_told_at_once_with_its_place() {
    let (right, said) = check(
        r#"
consumers: [{ name: app, groups: [gold] }]
routes:
  - name: a
    policies:
      - api_key
      - acl:
          groups: [glod]
          scopes: { all: ["a b"] }
          condition: "consumer.nam == 'app'"
    reply: { text: a }
"#,
    );
    assert!(!right);
    for wanted in
        [":8:20", "did you mean `gold`?", ":9:27", "this is not one scope", ":10:22", "`consumer.nam` is nothing that a consumer has"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
