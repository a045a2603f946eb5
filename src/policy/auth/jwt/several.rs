//! Several issuers, and tokens that were seen before.

use http::header;
use serde_json::json;

use super::tests::{hs256_of, token_of};
use super::*;
use crate::policy::kit::{Kit, build};
use crate::problem::Kind;
use crate::state::Shared;

const SECRETS: [&str; 2] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

/// Issuer `one` for `api`, issuer `two` for `web` with more to say; what is said beside them holds for `one`.
fn config() -> Value {
    json!({
        "audience": "api", "scopes": ["read"], "consumer": "sub",
        "issuers": [
            {"issuer": "one", "keys": [{"id": "k", "algorithm": "HS256", "secret": SECRETS[0]}]},
            {"issuer": "two", "audience": ["web"], "keys": [{"id": "k", "algorithm": "HS256", "secret": SECRETS[1]}],
             "required": ["jti"], "claims": {"tenant": "acme"}, "typ": "at+jwt", "scopes": [], "consumer": "client_id"},
        ],
    })
}

fn claims(issuer: &str) -> Value {
    match issuer {
        "one" => json!({"iss": "one", "aud": "api", "exp": 9_999_999_999_u64, "scope": "read", "sub": "app"}),
        _ => json!({"iss": "two", "aud": "web", "exp": 9_999_999_999_u64, "jti": "1", "tenant": "acme", "client_id": "shop"}),
    }
}

fn sign(secret: &str, claims: &Value) -> String {
    hs256_of(secret, r#"{"alg":"HS256","kid":"k","typ":"at+jwt"}"#, &claims.to_string())
}

async fn answer(kit: &mut Kit<Jwt>, token: &str) -> Result<Option<String>, Problem> {
    kit.req.remove_header("authorization");
    kit.req.append_header("authorization", format!("Bearer {token}")).unwrap();
    kit.request().await.map(|_| kit.cx.consumer.as_ref().map(|consumer| consumer.name.clone()))
}

fn kit(config: &Value) -> Kit<Jwt> {
    Kit::with_consumers(&config.to_string(), r#"[{"name":"app"},{"name":"shop"}]"#)
}

#[tokio::test]
async fn a_token_is_checked_by_the_keys_and_the_rules_of_its_own_issuer() {
    let mut kit = kit(&config());
    assert_eq!(answer(&mut kit, &sign(SECRETS[0], &claims("one"))).await.unwrap().as_deref(), Some("app"));
    assert_eq!(answer(&mut kit, &sign(SECRETS[1], &claims("two"))).await.unwrap().as_deref(), Some("shop"));
    let mut why = async |secret: usize, issuer: &str, change: Value| {
        let mut claims = claims(issuer);
        change.as_object().unwrap().iter().for_each(|(name, value)| claims[name] = value.clone());
        answer(&mut kit, &sign(SECRETS[secret], &claims)).await.unwrap_err().detail.into_owned()
    };
    // The same `kid`, the other's key.
    assert_eq!(why(1, "one", json!({})).await, "the token's signature is not valid");
    assert_eq!(why(0, "two", json!({})).await, "the token's signature is not valid");
    assert_eq!(why(0, "one", json!({"aud": "web"})).await, "the token is for another audience (aud)");
    assert_eq!(why(1, "two", json!({"aud": "api"})).await, "the token is for another audience (aud)");
    assert_eq!(why(0, "one", json!({"scope": ""})).await, "the token lacks a scope that is needed here");
    assert_eq!(why(1, "two", json!({"jti": null})).await, "the token lacks the claim jti");
    assert_eq!(why(1, "two", json!({"tenant": "other"})).await, "the claim tenant of the token has no value that is accepted");
    for other in [json!("three"), json!("One"), json!(["one"]), json!(null)] {
        assert_eq!(why(0, "one", json!({"iss": other})).await, "the token is from another issuer (iss)");
    }
}

#[tokio::test]
async fn a_token_without_an_issuer_is_of_none_of_several() {
    let mut kit = kit(&config());
    let mut nobody = claims("one");
    nobody.as_object_mut().unwrap().remove("iss");
    assert_eq!(answer(&mut kit, &sign(SECRETS[0], &nobody)).await.unwrap_err().detail, "the token has no issuer (iss)");
}

#[test]
fn issuers_that_contradict_each_other_are_told_at_their_place() {
    let wrong = |change: fn(&mut Value)| {
        let mut config = config();
        change(&mut config);
        build::<Jwt>(&config.to_string(), "[]", &Shared::default()).unwrap_err().to_string()
    };
    for (change, wanted) in [
        ((|config| config["issuers"][1]["issuer"] = "one".into()) as fn(&mut Value), "issuers[1].issuer: `one` is named twice"),
        (|config| config["issuers"][0]["issuer"] = "any".into(), "issuers[0].issuer: beside other issuers `any`"),
        (|config| config["issuers"][1]["issuer"] = "".into(), "issuers[1].issuer: an issuer is needed"),
        (|config| config["issuers"][1]["keys"] = json!([]), "issuers[1].keys: there is no key"),
        (|config| config["issuers"][1]["scopes"] = json!(["a b"]), "issuers[1].scopes[0]: this is not one word"),
        (|config| config["audience"] = Value::Null, "issuers[0].audience: an audience is needed"),
        (|config| config["jwks"] = "https://id.test".into(), "jwks: there are `issuers`, each with its own, and `jwks`"),
    ] {
        let told = wrong(change);
        assert!(told.starts_with(wanted), "{told}");
    }
}

#[tokio::test]
async fn only_algorithms_that_are_accepted_are_looked_at() {
    let mut config: Value = serde_json::from_str(super::tests::CONFIG).unwrap();
    let token = token_of(&json!({"iss": "me", "aud": "api", "exp": 9_999_999_999_u64}));
    for (algorithms, accepted) in [(json!([]), true), (json!(["HS256"]), true), (json!(["HS512"]), false)] {
        // A key for each, so that the list alone decides.
        config["keys"] = json!([
            {"id": "k", "algorithm": "HS256", "secret": SECRETS[0]}, {"id": "l", "algorithm": "HS512", "secret": SECRETS.concat()},
        ]);
        config["algorithms"] = algorithms;
        let verdict = answer(&mut kit(&config), &token).await;
        assert_eq!(verdict.is_ok(), accepted, "{verdict:?}");
        assert!(verdict.is_ok() || verdict.unwrap_err().detail == "the token's algorithm is not accepted");
    }
}

#[tokio::test]
async fn a_good_token_is_kept_until_it_expires_and_a_bad_one_is_not() {
    let mut kit = kit(&config());
    let expires = now() - 30.0 + 0.3;
    let mut brief = claims("one");
    brief["exp"] = expires.into();
    let token = sign(SECRETS[0], &brief);
    assert!(kit.policy.tokens.find(token.as_bytes()).is_none());
    answer(&mut kit, &token).await.unwrap();
    let kept = kit.policy.tokens.find(token.as_bytes()).unwrap();
    answer(&mut kit, &token).await.unwrap();
    assert!(Arc::ptr_eq(kit.cx.claims.as_ref().unwrap(), &kept.claims), "what was kept is used");
    let bad = sign(SECRETS[1], &brief);
    answer(&mut kit, &bad).await.unwrap_err();
    assert!(kit.policy.tokens.find(bad.as_bytes()).is_none());
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(answer(&mut kit, &token).await.unwrap_err().detail, "the token has expired (exp)");
}

#[tokio::test]
async fn what_is_kept_of_tokens_is_bounded_and_can_be_nothing() {
    for (cache, most) in [("16KiB", 16 * 1024), ("0", 0)] {
        let mut config = config();
        config["cache"] = cache.into();
        let mut kit = kit(&config);
        for number in 0..100 {
            let mut claims = claims("one");
            claims["jti"] = number.into();
            answer(&mut kit, &sign(SECRETS[0], &claims)).await.unwrap();
            assert!(kit.policy.tokens.held() <= most, "{}", kit.policy.tokens.held());
        }
        assert_eq!(kit.policy.tokens.held() > 0, most > 0);
    }
}

#[tokio::test]
async fn other_rules_begin_without_the_tokens_of_before() {
    let (shared, token) = (Shared::default(), sign(SECRETS[0], &claims("one")));
    let mut strict = config();
    strict["issuers"][0]["audience"] = "other".into();
    for (config, good) in [(config(), true), (strict, false)] {
        let policy = build::<Jwt>(&config.to_string(), r#"[{"name":"app"}]"#, &shared).unwrap();
        assert_eq!(answer(&mut Kit { policy, ..kit(&config) }, &token).await.is_ok(), good);
    }
}

#[tokio::test]
async fn without_keys_a_token_is_neither_good_nor_bad_unless_it_is_bad_by_itself() {
    let config = json!({"issuer": "https://id.test", "audience": "api", "fetch": {"wait": "1ms"}});
    let mut kit = kit(&config);
    let mut claims = json!({"iss": "https://id.test", "aud": "api", "exp": 9_999_999_999_u64});
    let problem = answer(&mut kit, &token_of(&claims)).await.unwrap_err();
    assert_eq!((problem.kind, &*problem.detail), (Kind::Unavailable, "the token cannot be verified at the moment"));
    assert!(problem.headers.iter().any(|(name, _)| name == header::RETRY_AFTER));
    assert!(problem.cause.unwrap().contains("https://id.test"));
    claims["exp"] = 1.into();
    assert_eq!(answer(&mut kit, &token_of(&claims)).await.unwrap_err().detail, "the token has expired (exp)");
}

#[tokio::test]
async fn the_way_down_stays_small() {
    let mut kit = kit(&config());
    let size = size_of_val(&kit.policy.request(&mut kit.req, &mut kit.cx));
    assert!(size <= 384, "{size} bytes");
}
