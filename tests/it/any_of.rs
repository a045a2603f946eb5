//! Several ways to say who calls, of which one is enough, and none, where that is enough too.

use serde_json::{Value, json};

use crate::introspection::Knower;
use crate::support::client::H2;
use crate::support::gateway::{Folder, check};
use crate::support::idp::bearer;
use crate::support::{Gateway, Idp, Origin};

/// A key, a JWT, or another token: whoever asks first is none of them.
fn config(knower: &Knower, idp: &Idp, up: &Origin, more: &str) -> String {
    format!(
        r#"
consumers:
  - {{ name: app, api_keys: ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"] }}
  - {{ name: ada }}
  - {{ name: shop }}
  - {{ name: guest }}
services: {{ up: {{ targets: ["http://{}"] }} }}
routes:
  - name: api
    match: {{ path: "/{{rest...}}" }}
    policies:
      - any_of:
          - api_key: {{ query: key, header: X-API-Key }}
          - jwt: {{ issuer: "{}", audience: api, consumer: sub, forward: false, fetch: {{ allow_http: true }} }}
          - introspection: {{ url: "{}", client_id: a, client_secret: b, audience: api, consumer: client_id, allow_http: true, cache: 0s }}
{more}      - request: {{ headers: {{ set: {{ X-Consumer: "{{consumer.name}}" }} }} }}
    to: up
"#,
        up.address,
        idp.issuer,
        knower.url()
    )
}

#[test]
fn each_credential_alone_is_enough_and_the_service_sees_none() {
    let (knower, idp, up) = (Knower::start(), Idp::start(), Origin::start());
    knower.issue("opaque");
    let gateway = Gateway::start(&config(&knower, &idp, &up, ""));
    let mut client = gateway.client();
    for (path, lines, who) in [
        ("/?key=test&a=b", String::new(), "app"),
        ("/?a=b", "X-API-Key: test\r\n".to_owned(), "app"),
        ("/?a=b", bearer(&idp.token("k1")), "ada"),
        ("/?a=b", bearer("opaque"), "shop"),
        ("/?key=wrong&a=b", bearer(&idp.token("k1")), "ada"),
        ("/?a=b", format!("X-API-Key: test\r\n{}", bearer("bad")), "app"),
    ] {
        let answer = client.get_with(path, &lines);
        assert_eq!(answer.status, 200, "{path} {lines} {}", answer.text());
        let seen = up.last();
        assert_eq!((seen.header("x-consumer"), seen.target.as_str()), (Some(who), "/?a=b"));
        assert!(["x-api-key", "authorization"].iter().all(|name| seen.header(name).is_none()), "{seen:?}");
        gateway.await_log("the consumer", |line| line["consumer"] == who);
    }
    assert_eq!(knower.asked("bad"), 0, "who is known already is not asked about");
}

#[tokio::test]
async fn what_is_bad_gets_the_refusal_of_its_own_policy_over_http1_and_http2() {
    let (knower, idp, up) = (Knower::start(), Idp::start(), Origin::start());
    let gateway = Gateway::start(&config(&knower, &idp, &up, ""));
    let h2 = H2::connect(gateway.address).await;
    let expired = format!("Bearer {}", idp.token_of("k1", &json!({"iss": idp.issuer, "aud": "api", "exp": 1})));
    for (headers, challenges, policy) in [
        (vec![], vec!["ApiKey", r#"Bearer realm="tidegate""#], "any_of"),
        (vec![("x-api-key", "wrong")], vec!["ApiKey"], "api_key"),
        (
            vec![("authorization", expired.as_str())],
            vec![r#"Bearer realm="tidegate", error="invalid_token", error_description="the token has expired (exp)""#],
            "jwt",
        ),
    ] {
        let (head, body) = h2.request("GET", "/", &headers, &[]).await;
        let told: Vec<_> = head.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!((head.status.as_u16(), told.as_slice()), (401, challenges.as_slice()));
        assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["type"], "urn:tidegate:problem:unauthorized");
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let answer = gateway.client().get_with("/", &lines);
        assert_eq!((answer.status, answer.all("www-authenticate")), (401, challenges));
        gateway.await_log("the policy", |line| line["policy"] == policy);
    }
    assert!(up.seen().is_empty());
}

#[test]
fn a_token_that_nobody_can_judge_now_is_not_called_bad() {
    let (knower, idp, up) = (Knower::start(), Idp::start(), Origin::start());
    let gateway = Gateway::start(&config(&knower, &idp, &up, ""));
    knower.kill();
    let answer = gateway.client().get_with("/", &bearer("opaque"));
    answer.problem(503, "unavailable");
    assert!(answer.header("retry-after").is_some() && answer.header("www-authenticate").is_none());
    assert_eq!(gateway.client().get_with("/", "X-API-Key: test\r\n").status, 200);
}

#[test]
fn who_says_nothing_may_be_a_guest_and_who_lies_may_not() {
    let (knower, idp, up) = (Knower::start(), Idp::start(), Origin::start());
    let gateway = Gateway::start(&config(&knower, &idp, &up, "          - anonymous: { consumer: guest }\n"));
    let mut client = gateway.client();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(up.last().header("x-consumer"), Some("guest"));
    gateway.await_log("the guest", |line| line["consumer"] == "guest");
    for lines in ["X-API-Key: wrong\r\n".to_owned(), bearer("bad"), bearer(""), "X-API-Key: test\r\nX-API-Key: test\r\n".to_owned()] {
        assert_eq!(client.get_with("/", &lines).status, 401, "{lines}");
    }
    assert!(up.seen().is_empty());
}

#[test]
fn what_is_wrong_or_cannot_be_meant_is_told_at_its_place() {
    let (content, said) = check("policies:\n  - any_of:\n      - api_key\n      - cors: { origins: [\"*\"] }\n");
    assert!(!content && said.contains("tidegate.yaml:4:9: policies[0].any_of[1].cors: `cors` does not find out who calls"), "{said}");
    let (content, said) = check("policies:\n  - any_of:\n      - api_key: { haeder: X }\n");
    assert!(!content && said.contains("policies[0].any_of[0].api_key.haeder"), "{said}");
    let (content, said) = check("policies: [any_of: [basic, api_key]]\n");
    for wanted in ["any_of[0].basic: it lets nobody through: no consumer has a password", "any_of[1].api_key: it lets nobody through"] {
        assert!(content && said.contains(wanted), "{said}");
    }
    let (content, said) = check("policies: [any_of]\n");
    assert!(!content && said.contains("policies[0]"), "{said}");
    let (content, said) =
        check("consumers: [{ name: a }]\npolicies: [api_key, { anonymous: { consumer: a } }]\nroutes: [{ name: r, reply: {} }]\n");
    assert!(content && said.contains("`anonymous` stands below `api_key`"), "{said}");
}

#[test]
fn it_is_explained() {
    let folder = Folder::new();
    folder.file(
        "tidegate.yaml",
        "consumers: [{ name: a }]\npolicies:\n  - any_of: [api_key, { jwt: { issuer: me, audience: api, keys: [{ algorithm: HS256, secret: \"0123456789abcdef0123456789abcdef\" }] } }, { anonymous: { consumer: a } }]\n",
    );
    let explain = |form: &str| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(["explain", "-c"])
            .arg(folder.path().join("tidegate.yaml"))
            .args(["/", form].iter().filter(|word| !word.is_empty()))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let said = explain("");
    for line in [
        "needs      either api_key: an API key in the header `X-API-Key` (the config has none)",
        "           or jwt: a token in `Authorization: Bearer …`",
        "             of me for api (keys of the config)",
        "           or anonymous",
    ] {
        assert!(said.lines().any(|real| real == line), "{line}\n{said}");
    }
    assert!(said.contains("any_of [api_key, jwt {") && !said.contains("0123456789"), "{said}");
    let told: Value = serde_json::from_str(&explain("--json")).unwrap();
    assert_eq!(told["policies"][0]["needs"]["any_of"][1]["needs"]["issuers"][0]["issuer"], "me");
}
