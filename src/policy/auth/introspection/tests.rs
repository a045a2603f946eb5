use http::header;
use serde_json::json;

use super::*;
use crate::policy::kit::{Kit, build, client};
use crate::problem::Kind;
use crate::state::Shared;

const SECRET: &str = "hush: 100% secret";

/// As if the provider of policies with these settings had told this of a token. One of them must be there.
pub(crate) fn told(shared: &Shared, config: &Value, token: &[u8], told: &Value) {
    let policy = build::<Introspection>(&config.to_string(), "[]", shared).unwrap();
    policy.endpoint.tell(token, told);
}

fn config(change: Value) -> Value {
    let mut config = json!({"url": "https://id.test/introspect", "client_id": "gateway", "client_secret": SECRET, "audience": "api"});
    change.as_object().unwrap().iter().for_each(|(name, value)| config[name] = value.clone());
    config
}

fn kit(change: Value) -> Kit<Introspection> {
    Kit::with_consumers(&config(change).to_string(), r#"[{"name":"app"},{"name":"7"}]"#)
}

fn good() -> Value {
    json!({"active": true, "aud": "api", "sub": "app", "client_id": "shop", "scope": "read", "exp": 9_999_999_999_u64, "org": {"id": 7}})
}

/// The answer to a token of which the provider has told this.
async fn answer(change: Value, told: &Value) -> Result<Ctx, Problem> {
    let mut kit = kit(change).header("authorization", "Bearer t");
    kit.policy.endpoint.tell(b"t", told);
    kit.request().await.map(|_| kit.cx)
}

fn challenge(problem: &Problem) -> &str {
    problem.headers.iter().find(|(name, _)| name == header::WWW_AUTHENTICATE).unwrap().1.to_str().unwrap()
}

#[tokio::test]
async fn a_good_token_passes_and_what_was_told_of_it_is_known() {
    let cx = answer(json!({}), &good()).await.unwrap();
    assert_eq!(cx.claims.unwrap()["org"]["id"], 7);
    assert!(cx.consumer.is_none());
}

#[tokio::test]
async fn a_token_that_is_not_active_is_refused_and_nothing_more_is_told() {
    let problem = answer(json!({}), &json!({"active": false})).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthorized);
    assert_eq!(challenge(&problem), r#"Bearer realm="tidegate", error="invalid_token", error_description="the token is not active""#);
}

#[tokio::test]
async fn a_token_that_is_good_for_others_is_not_good_here() {
    for (change, wanted) in [
        (json!({"aud": "web"}), "the token is for another audience (aud)"),
        (json!({"aud": null}), "the token is for another audience (aud)"),
        (json!({"exp": 1}), "the token has expired (exp)"),
        (json!({"exp": "soon"}), "a time in the token is not a number of seconds"),
        (json!({"nbf": 9_999_999_999_u64}), "the token is not valid yet (nbf)"),
        (json!({"iss": "https://other.test"}), "the token is from another issuer (iss)"),
        (json!({"jti": null}), "the token lacks the claim jti"),
        (json!({"tenant": "other"}), "the claim tenant of the token has no value that is accepted"),
        (json!({"cnf": {"jkt": "a"}}), "the token is bound to a key (cnf), and is no bearer token"),
        (json!({"token_type": "DPoP"}), "the token is no bearer token (token_type)"),
        (json!({"token_type": "refresh_token"}), "the token is no bearer token (token_type)"),
        (json!({"token_type": ["Bearer"]}), "the token is no bearer token (token_type)"),
    ] {
        let mut told = good();
        (told["iss"], told["jti"], told["tenant"]) = ("https://id.test".into(), "1".into(), "acme".into());
        let strict = json!({"issuer": "https://id.test", "required": ["jti"], "claims": {"tenant": "acme"}});
        assert!(answer(strict.clone(), &told).await.is_ok());
        change.as_object().unwrap().iter().for_each(|(name, value)| told[name] = value.clone());
        let problem = answer(strict, &told).await.unwrap_err();
        assert_eq!((problem.kind, &*problem.detail), (Kind::Unauthorized, wanted), "{change}");
        assert!(challenge(&problem).contains(r#"error="invalid_token""#));
    }
    let mut silent = good();
    silent.as_object_mut().unwrap().remove("aud");
    assert_eq!(answer(json!({}), &silent).await.unwrap_err().detail, "the token has no audience (aud)");
    assert!(answer(json!({"audience": "any"}), &silent).await.is_ok());
    assert_eq!(answer(json!({"issuer": "https://id.test"}), &good()).await.unwrap_err().detail, "the token has no issuer (iss)");
    for kind in [json!("bearer"), json!("Bearer"), json!("access_token"), json!(null)] {
        let mut told = good();
        told["token_type"] = kind;
        assert!(answer(json!({}), &told).await.is_ok());
    }
}

#[tokio::test]
async fn a_token_without_the_scopes_is_forbidden() {
    let problem = answer(json!({"scopes": ["read", "write"]}), &good()).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Forbidden);
    assert!(challenge(&problem).contains(r#"error="insufficient_scope""#) && challenge(&problem).ends_with(r#", scope="read write""#));
    assert!(answer(json!({"scopes": ["read"]}), &good()).await.is_ok());
}

#[tokio::test]
async fn what_was_told_names_the_consumer_and_strangers_are_refused() {
    let name = |change| async { answer(change, &good()).await.map(|cx| cx.consumer.map(|consumer| consumer.name.clone())) };
    assert_eq!(name(json!({"consumer": "sub"})).await.unwrap().as_deref(), Some("app"));
    assert_eq!(name(json!({"consumer": "org.id"})).await.unwrap().as_deref(), Some("7"));
    assert_eq!(name(json!({"consumer": "client_id"})).await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(name(json!({"consumer": "client_id", "unknown_consumer": "allow"})).await.unwrap(), None);
}

#[tokio::test]
async fn a_request_without_a_token_learns_what_is_asked_for_and_two_tokens_are_a_bad_request() {
    let mut none = kit(json!({"realm": "shop"})).header("authorization", "Basic Og==");
    let problem = none.request().await.unwrap_err();
    assert_eq!((problem.kind, challenge(&problem)), (Kind::Unauthorized, r#"Bearer realm="shop""#));
    let mut two = kit(json!({"query": "t"})).uri("/?t=a&t=a");
    assert_eq!(two.request().await.unwrap_err().kind, Kind::BadRequest);
}

#[tokio::test]
async fn what_cannot_be_a_token_is_not_asked_about() {
    let long = "a".repeat(9000);
    for (token, wanted) in [("", "malformed"), ("a b", "malformed"), (long.as_str(), "too long")] {
        let mut kit = kit(json!({})).header("authorization", &format!("Bearer {token}"));
        let problem = kit.request().await.unwrap_err();
        assert!(problem.kind == Kind::Unauthorized && problem.detail.ends_with(wanted), "{token}: {problem:?}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_asked_is_no_reason_to_let_anybody_through() {
    let mut kit = kit(json!({"url": "https://nowhere.invalid/introspect"})).header("authorization", "Bearer t");
    let problem = kit.request().await.unwrap_err();
    assert_eq!((problem.kind, &*problem.detail), (Kind::Unavailable, "the token cannot be verified at the moment"));
    let names: Vec<_> = problem.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["retry-after"], "the token may be good");
    assert!(problem.cause.unwrap().starts_with("https://nowhere.invalid/introspect cannot be asked: `nowhere.invalid` has no address"));
}

#[tokio::test]
async fn the_service_gets_the_token_unless_told_otherwise() {
    for (forward, left) in [(true, 1), (false, 0)] {
        let mut kit = kit(json!({"forward": forward})).header("authorization", "Bearer t");
        assert_eq!(kit.upstream_request().unwrap().headers.get_all("authorization").iter().count(), left);
    }
}

#[test]
fn each_mistake_in_the_settings_is_told_at_its_place() {
    for (change, wanted) in [
        (json!({"url": null}), ": there is nobody to ask about tokens"),
        (json!({"url": "id.test"}), "url: `id.test` is not a URL"),
        (json!({"url": "http://id.test/i"}), "url: `http://id.test/i` would be asked without TLS"),
        (json!({"url": null, "issuer": "http://id.test"}), "issuer: `http://id.test` would be asked without TLS"),
        (json!({"url": null, "issuer": "https://id.test?a"}), "issuer: `https://id.test?a` has a query"),
        (json!({"issuer": ""}), "issuer: `issuer` is empty"),
        (json!({"client_id": ""}), "client_id: the provider answers only those whom it knows"),
        (json!({"client_secret": ""}), "client_secret: the secret is empty"),
        (json!({"audience": ""}), "audience: an audience is needed"),
        (json!({"scopes": ["a b"]}), "scopes[0]: this is not one word"),
        (json!({"claims": {"a": []}}), "claims.a: a claim is compared with a value"),
        (json!({"timeout": "0s"}), "timeout: this leaves no time at all"),
        (json!({"waiting": 0}), "waiting: no request could wait"),
        (json!({"leeway": "2m"}), "leeway: the leeway is too long"),
        (json!({"max_size": 0}), "max_size: no token fits into nothing"),
        (json!({"ca": "no/such.pem"}), "ca: cannot read"),
        (json!({"revoked": "no/such.txt"}), "revoked: cannot read"),
        (json!({"consumer": ""}), "consumer: `consumer` is empty"),
        (json!({"realm": "a\"b"}), "realm: this realm cannot"),
        (json!({"query": ""}), "query: a query needs a name"),
    ] {
        let told = build::<Introspection>(&config(change).to_string(), "[]", &Shared::default()).unwrap_err().to_string();
        assert!(told.starts_with(wanted), "{told}");
    }
}

#[test]
fn the_secret_is_shown_nowhere() {
    for auth in ["client_secret_basic", "client_secret_post"] {
        let json = config(json!({"client_auth": auth}));
        let config: Config = serde_json::from_value(json.clone()).unwrap();
        let policy = build::<Introspection>(&json.to_string(), "[]", &Shared::default()).unwrap();
        let shown = format!("{config:?} {} {policy:?} {}", serde_json::to_string(&config).unwrap(), config.asking());
        for secret in [SECRET, "hush", "Basic Z"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn policies_that_ask_alike_ask_together_and_what_was_told_outlives_them() {
    let shared = Shared::default();
    let policy = |change| build::<Introspection>(&config(change).to_string(), "[]", &shared).unwrap();
    let first = policy(json!({}));
    first.endpoint.tell(b"t", &good());
    let known = |policy: &Introspection| policy.endpoint.known(&Key::of(b"t"), client().shard()).is_some();
    assert!(known(&policy(json!({"audience": "web", "scopes": ["a"], "timeout": "5s"}))));
    drop(first);
    assert!(!known(&policy(json!({}))), "nobody holds it any more");
    let first = policy(json!({}));
    first.endpoint.tell(b"t", &good());
    for other in [
        json!({"url": "https://other.test/introspect"}),
        json!({"client_id": "other"}),
        json!({"client_secret": "other"}),
        json!({"cache": "1s"}),
    ] {
        assert!(!known(&policy(other)));
    }
    let asking = |change| serde_json::from_value::<Config>(config(change)).unwrap().asking();
    assert_eq!(asking(json!({})), asking(json!({"audience": "web", "scopes": ["a"]})));
    for other in
        [json!({"client_secret": "other"}), json!({"client_auth": "client_secret_post"}), json!({"timeout": "1s"}), json!({"ca": "a"})]
    {
        assert_ne!(asking(json!({})), asking(other));
    }
}

#[tokio::test]
async fn the_way_down_stays_small() {
    let mut kit = kit(json!({}));
    let client = client();
    let size = size_of_val(&kit.policy.request_with(&mut kit.req, &mut kit.cx, &client));
    assert!(size <= 384, "{size} bytes");
}
