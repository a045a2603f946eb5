use serde_json::{Value, json};

use super::*;
use crate::policy::auth::introspection::tests::told;
use crate::policy::auth::jwt::tests::{CONFIG, token_of};
use crate::policy::kit::{Kit, build, client, yaml};
use crate::state::Shared;
use crate::types::Certificate;

const CONSUMERS: &str = r#"[
    {"name":"app","api_keys":["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]},
    {"name":"ada"}, {"name":"guest"}, {"name":"machine"},
    {"name":"ann","passwords":[{"hash":"$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$TNXVaepwoQBOVs70Xg+kbVgzd21gRaq+ul2VEICRv7g"}]}
]"#;

/// The settings of `jwt` with these changed.
fn jwt(change: Value) -> Value {
    let mut config: Value = serde_json::from_str(CONFIG).unwrap();
    change.as_object().unwrap().iter().for_each(|(name, value)| config[name] = value.clone());
    config
}

fn introspection() -> Value {
    json!({"introspection": {"url": "https://id.test/i", "client_id": "a", "client_secret": "b", "audience": "any", "consumer": "sub"}})
}

fn kit(list: Value) -> Kit<AnyOf> {
    let policy = build::<AnyOf>(&list.to_string(), CONSUMERS, &Shared::default()).unwrap();
    let Kit { req, cx, .. } = Kit::<super::Anonymous>::of("{}");
    Kit { policy, req, cx }
}

fn both() -> Value {
    json!([{"api_key": {}}, {"jwt": jwt(json!({"consumer": "sub", "scopes": ["read"]}))}])
}

/// Who is let through with these headers, or why nobody is.
async fn outcome(list: Value, headers: &[(&str, &str)]) -> Result<Option<String>, Problem> {
    let mut kit = headers.iter().fold(kit(list), |kit, (name, value)| kit.header(name, value));
    kit.request().await.map(|flow| {
        assert!(matches!(flow, Flow::Next));
        kit.cx.consumer.map(|consumer| consumer.name.clone())
    })
}

fn good() -> String {
    format!("Bearer {}", token_of(&json!({"iss": "me", "aud": "api", "exp": 9_999_999_999_u64, "sub": "ada", "scope": "read"})))
}

fn expired() -> String {
    format!("Bearer {}", token_of(&json!({"iss": "me", "aud": "api", "exp": 1, "sub": "ada", "scope": "read"})))
}

#[tokio::test]
async fn the_first_that_is_there_and_good_lets_the_request_through() {
    let (good, bad) = (good(), expired());
    for (headers, who) in [
        (vec![("x-api-key", "test")], "app"),
        (vec![("authorization", good.as_str())], "ada"),
        (vec![("x-api-key", "test"), ("authorization", &good)], "app"),
        (vec![("x-api-key", "wrong"), ("authorization", &good)], "ada"),
        (vec![("x-api-key", "test"), ("authorization", &bad)], "app"),
    ] {
        assert_eq!(outcome(both(), &headers).await.unwrap().as_deref(), Some(who), "{headers:?}");
    }
}

#[tokio::test]
async fn what_is_there_and_bad_is_refused_as_that_refuses_it() {
    let bad = expired();
    for (headers, policy, detail) in [
        (vec![("x-api-key", "wrong")], "api_key", "the API key is not valid"),
        (vec![("x-api-key", "a"), ("x-api-key", "b")], "api_key", "more than one API key was sent"),
        (vec![("authorization", bad.as_str())], "jwt", "the token has expired (exp)"),
        (vec![("authorization", bad.as_str()), ("x-api-key", "wrong")], "api_key", "the API key is not valid"),
    ] {
        let problem = outcome(both(), &headers).await.unwrap_err();
        assert_eq!((problem.kind, problem.policy, &*problem.detail), (Kind::Unauthorized, Some(policy), detail));
    }
}

#[tokio::test]
async fn passwords_and_tokens_share_a_header_and_each_takes_its_own() {
    let list = || json!([{"basic": {}}, {"jwt": jwt(json!({"consumer": "sub", "forward": false}))}]);
    let (good, bad) = (good(), expired());
    for (value, who) in [("Basic YW5uOnBlbmNpbA==", "ann"), (good.as_str(), "ada")] {
        let mut kit = kit(list()).header("authorization", value);
        kit.request().await.unwrap();
        assert_eq!(kit.cx.consumer.as_ref().unwrap().name, who);
        assert!(kit.upstream_request().unwrap().headers.get("authorization").is_none());
    }
    for (value, policy, challenge) in [
        ("Basic YW5uOnBlbg==", "basic", "Basic realm=\"tidegate\", charset=\"UTF-8\""),
        ("Basic !", "basic", "Basic realm=\"tidegate\", charset=\"UTF-8\""),
        (bad.as_str(), "jwt", "Bearer realm=\"tidegate\", error=\"invalid_token\", error_description=\"the token has expired (exp)\""),
    ] {
        let problem = outcome(list(), &[("authorization", value)]).await.unwrap_err();
        assert_eq!((problem.kind, problem.policy, problem.headers[0].1.to_str().unwrap()), (Kind::Unauthorized, Some(policy), challenge));
    }
    let problem = outcome(list(), &[]).await.unwrap_err();
    let told: Vec<_> = problem.headers.iter().map(|(_, value)| value.to_str().unwrap()).collect();
    assert_eq!(told, ["Basic realm=\"tidegate\", charset=\"UTF-8\"", "Bearer realm=\"tidegate\""]);
    let problem = outcome(list(), &[("authorization", &good), ("authorization", "Basic YW5uOnBlbmNpbA==")]).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthorized, "which of the two is meant nobody knows");
}

#[tokio::test]
async fn who_says_nothing_is_told_all_that_could_be_said_each_once() {
    let list = json!([{"api_key": {}}, {"jwt": jwt(json!({}))}, introspection(), {"mtls": {"consumer": "common_name"}}]);
    let problem = outcome(list, &[("authorization", "Basic Og==")]).await.unwrap_err();
    let told: Vec<_> = problem.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    let challenge = "www-authenticate";
    let wanted = [(challenge, "ApiKey"), (challenge, r#"Bearer realm="tidegate""#), (challenge, r#"ClientCertificate realm="tidegate""#)];
    assert_eq!((problem.kind, told.as_slice()), (Kind::Unauthorized, wanted.as_slice()));
}

#[tokio::test]
async fn a_refusal_that_may_not_be_the_last_word_comes_before_one_that_is() {
    let list = json!([{"jwt": jwt(json!({}))}, introspection()]);
    // No JWT, and nobody can say whether it is another good token.
    let problem = outcome(list, &[("authorization", "Bearer opaque")]).await.unwrap_err();
    assert_eq!((problem.kind, problem.policy), (Kind::Unavailable, Some("introspection")));
    let list = json!([{"api_key": {}}, {"jwt": jwt(json!({"scopes": ["write"]}))}]);
    let problem = outcome(list, &[("x-api-key", "wrong"), ("authorization", &good())]).await.unwrap_err();
    assert_eq!((problem.kind, problem.policy), (Kind::Forbidden, Some("jwt")));
}

#[tokio::test]
async fn opaque_tokens_and_those_that_speak_go_together() {
    let shared = Shared::default();
    let list = json!([{"jwt": jwt(json!({"consumer": "sub"}))}, introspection()]).to_string();
    let policy = build::<AnyOf>(&list, CONSUMERS, &shared).unwrap();
    told(&shared, &introspection()["introspection"], b"opaque", &json!({"active": true, "sub": "machine"}));
    let mut kit = Kit { policy, ..kit(json!(["api_key"])) };
    for (token, who) in [(good(), "ada"), ("Bearer opaque".to_owned(), "machine")] {
        kit.req.insert_header("authorization", token).unwrap();
        kit.request().await.unwrap();
        assert_eq!(kit.cx.consumer.as_ref().unwrap().name, who);
    }
}

#[tokio::test]
async fn only_who_says_nothing_is_anonymous() {
    let list = || json!([{"api_key": {}}, {"jwt": jwt(json!({"consumer": "sub"}))}, {"anonymous": {"consumer": "guest"}}]);
    assert_eq!(outcome(list(), &[]).await.unwrap().as_deref(), Some("guest"));
    assert_eq!(outcome(list(), &[("x-api-key", "test")]).await.unwrap().as_deref(), Some("app"));
    for bad in [("x-api-key", "wrong".to_owned()), ("authorization", expired()), ("authorization", "Bearer".to_owned())] {
        assert_eq!(outcome(list(), &[(bad.0, &bad.1)]).await.unwrap_err().kind, Kind::Unauthorized);
    }
    assert_eq!(outcome(json!(["api_key", "anonymous"]), &[]).await.unwrap(), None);
}

#[tokio::test]
async fn a_certificate_is_one_of_several() {
    let mut kit = kit(json!([{"mtls": {"consumer": "common_name"}}, "api_key"]));
    kit.cx.client_cert = Some(Arc::new(Certificate { common_name: Some("machine".into()), ..Certificate::default() }));
    kit.request().await.unwrap();
    assert_eq!(kit.cx.consumer.unwrap().name, "machine");
}

#[tokio::test]
async fn the_service_gets_none_of_it_whoever_has_let_the_request_through() {
    let list = json!(["api_key", {"jwt": jwt(json!({"forward": false, "query": "t", "header": "authorization"}))}]);
    let mut kit = kit(list).header("x-api-key", "test").header("authorization", "Bearer x").uri("/?t=1&u=2");
    kit.request().await.unwrap();
    let sent = kit.upstream_request().unwrap();
    assert!(sent.headers.is_empty() && sent.uri == "/?u=2", "{sent:?}");
}

#[test]
fn each_mistake_is_told_at_its_place() {
    for (list, wanted) in [
        (json!([]), ": there is nothing to choose from"),
        (json!(["anonymous"]), ": there is nothing to choose from"),
        (json!(["request_id"]), "[0].request_id: `request_id` does not find out who calls"),
        (json!(["api_key", {"any_of": ["api_key"]}]), "[1].any_of: `any_of` does not find out who calls"),
        (json!([{"api_key": "off"}]), "[0].api_key: there is nothing to take off this list"),
        (json!([{"jwt": jwt(json!({"audience": ""}))}]), "[0].jwt.audience: an audience is needed"),
        (json!(["anonymous", "api_key"]), "[1].api_key: `anonymous` is for requests that carry none"),
        (json!(["api_key", {"anonymous": {"consumer": "x"}}]), "[1].anonymous.consumer: there is no consumer `x`"),
    ] {
        let told = match build::<AnyOf>(&list.to_string(), CONSUMERS, &Shared::default()) {
            Ok(_) => "nothing".to_owned(),
            Err(error) => error.to_string(),
        };
        assert!(told.starts_with(wanted), "{told}");
    }
    let wrong = yaml::<Vec<Entry>>("- any_of:\n    - api_key: { haeder: X }\n").unwrap_err();
    assert!(wrong.contains("test.yaml:2:18: [0].any_of[0].api_key.haeder"), "{wrong}");
    let wrong = yaml::<Vec<Entry>>("- any_of: { api_key: {} }\n").unwrap_err();
    assert!(wrong.contains("[0].any_of"), "{wrong}");
}

#[test]
fn its_settings_are_shown_as_they_are_written_and_secrets_are_not() {
    let entries: Vec<Entry> =
        yaml("- any_of: [api_key, { introspection: { url: 'https://a/i', client_id: a, client_secret: hush, audience: api } }]").unwrap();
    let shown = entries[0].config.as_ref().unwrap().settings();
    assert_eq!((&shown[0]["api_key"]["query"], &shown[1]["introspection"]["client_secret"]), (&json!(null), &json!("***")));
}

#[tokio::test]
async fn the_way_down_stays_small() {
    let (mut kit, client) = (kit(both()), client());
    let size = size_of_val(&kit.policy.request_with(&mut kit.req, &mut kit.cx, &client));
    assert!(size <= 384, "{size} bytes");
}
