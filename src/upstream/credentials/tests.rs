use std::path::Path;
use std::sync::Arc;

use http::HeaderMap;
use pingora_http::RequestHeader;
use serde_json::{Value, json};

use super::{About, Credentials, CredentialsConfig};
use crate::building::Errors;
use crate::consumer::{ConsumerConfig, Consumers};
use crate::ctx::{Ctx, testing};
use crate::signing::Signer;
use crate::signing::testing::{RSA, signer, signer_of};
use crate::state::Shared;
use crate::upstream::testing::service;
use crate::upstream::{Base, DnsConfig, Names};

fn build(config: Value) -> Result<Arc<Credentials>, Errors> {
    build_on(&Shared::default(), config, signer())
}

fn build_on(shared: &Shared, config: Value, signer: Signer) -> Result<Arc<Credentials>, Errors> {
    let config: CredentialsConfig = serde_json::from_value(config).unwrap();
    let names = Arc::new(Names::new(&DnsConfig::default()));
    let base = Base { shared, folder: Path::new(""), names: &names };
    Credentials::build(&config, &base, Some(&Arc::new(signer))).map(Arc::new)
}

/// What a service gets of a request that has credentials of its own.
async fn shown(config: Value) -> HeaderMap {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    for value in ["Bearer theirs", "Basic theirs"] {
        head.append_header("Authorization", value).unwrap();
        head.append_header("X-Key", value).unwrap();
    }
    let ready = build(config).unwrap().ready(&About::default()).await.unwrap();
    ready.show(&mut head);
    head.headers.clone()
}

#[test]
fn who_is_shown_another_secret_may_answer_otherwise() {
    let source = |credentials: Value| service("up", &json!({"targets": ["http://127.0.0.1:9"], "credentials": credentials})).source;
    for with in [
        |secret: &str| json!({"headers": {"X-Key": secret}}),
        |secret: &str| json!({"basic": {"username": "a", "password": secret}}),
        |secret: &str| json!({"oauth2": {"url": "https://id.test/token", "client_id": "a", "client_secret": secret}}),
    ] {
        assert_eq!(source(with("one")), source(with("one")));
        assert_ne!(source(with("one")), source(with("other")));
    }
}

#[tokio::test]
async fn they_take_the_place_of_the_clients_own() {
    for (config, authorization, key) in [
        (json!({"basic": {"username": "ada", "password": "pässword"}}), vec!["Basic YWRhOnDDpHNzd29yZA=="], 2),
        (json!({"headers": {"Authorization": "Key a", "X-Key": "b"}}), vec!["Key a"], 1),
        (json!({"headers": {"x-key": "b"}}), vec![], 1),
        (json!({"headers": {"x-key": "b"}, "keep_authorization": true}), vec!["Bearer theirs", "Basic theirs"], 1),
    ] {
        let headers = shown(config.clone()).await;
        assert_eq!(headers.get_all("authorization").iter().collect::<Vec<_>>(), authorization, "{config}");
        assert_eq!(headers.get_all("x-key").iter().count(), key, "{config}");
    }
}

#[test]
fn what_is_wrong_is_told_at_its_place_without_a_secret() {
    let oauth2 = |more: Value| {
        let mut config = json!({"url": "https://id.test/token", "client_id": "gateway", "client_secret": "hunter2"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"oauth2": config})
    };
    let jwt = |more: Value| {
        let mut config = json!({"audience": "users"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"jwt": config})
    };
    for (config, place) in [
        (json!({}), ""),
        (json!({"headers": {"Content-Length": "hunter2"}}), "headers.Content-Length"),
        (json!({"headers": {"X-Forwarded-For": "hunter2"}}), "headers.X-Forwarded-For"),
        (json!({"headers": {"a b": "hunter2"}}), "headers.a b"),
        (json!({"headers": {"X-Key": " "}}), "headers.X-Key"),
        (json!({"headers": {"X-Key": "hunter2\n"}}), "headers.X-Key"),
        (json!({"headers": {"X-Key": "hunter2", "x-key": "hunter2"}}), "headers.x-key"),
        (json!({"headers": {"Authorization": "hunter2"}, "basic": {"username": "a", "password": "hunter2"}}), "basic"),
        (json!({"basic": {"username": "a:b", "password": "hunter2"}}), "basic.username"),
        (json!({"basic": {"username": "a", "password": ""}}), "basic.password"),
        (json!({"basic": {"username": "a", "password": "hunter2"}, "jwt": {"audience": "a"}}), "jwt"),
        (json!({"basic": {"username": "a", "password": "hunter2"}, "keep_authorization": true}), "keep_authorization"),
        (oauth2(json!({"url": "http://id.test/token"})), "oauth2.url"),
        (oauth2(json!({"url": "id.test"})), "oauth2.url"),
        (oauth2(json!({"issuer": "https://id.test"})), "oauth2.issuer"),
        (oauth2(json!({"url": null, "issuer": "http://id.test"})), "oauth2.issuer"),
        (oauth2(json!({"url": null})), "oauth2"),
        (oauth2(json!({"client_id": ""})), "oauth2.client_id"),
        (oauth2(json!({"client_secret": null})), "oauth2.client_secret"),
        (oauth2(json!({"client_secret": ""})), "oauth2.client_secret"),
        (oauth2(json!({"client_auth": "private_key_jwt"})), "oauth2.client_secret"),
        (oauth2(json!({"client_auth": "tls_client_auth", "client_secret": null})), "oauth2.client_auth"),
        (oauth2(json!({"scopes": ["a", "b c"]})), "oauth2.scopes[1]"),
        (oauth2(json!({"ca": "nowhere.pem"})), "oauth2.ca"),
        (oauth2(json!({"wait": "0s"})), "oauth2.wait"),
        (oauth2(json!({"waiting": 0})), "oauth2.waiting"),
        (jwt(json!({"audience": " "})), "jwt.audience"),
        (jwt(json!({"subject": "{nobody}"})), "jwt.subject"),
        (jwt(json!({"claims": {"sub": "a"}})), "jwt.claims.sub"),
        (jwt(json!({"claims": {"a": "{nobody}"}})), "jwt.claims.a"),
        (jwt(json!({"header": "Host"})), "jwt.header"),
        (jwt(json!({"ttl": "9s"})), "jwt.ttl"),
        (jwt(json!({"ttl": "2h"})), "jwt.ttl"),
    ] {
        let errors = build(config.clone()).err().unwrap_or_else(|| panic!("{config} is taken"));
        let error = &errors.0[0];
        assert_eq!(error.path.to_string(), place, "{config}: {error}");
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
    let names = Arc::new(Names::new(&DnsConfig::default()));
    let base = Base { shared: &Shared::default(), folder: Path::new(""), names: &names };
    for (config, place) in
        [(jwt(json!({})), "jwt"), (oauth2(json!({"client_auth": "private_key_jwt", "client_secret": null})), "oauth2.client_auth")]
    {
        let errors = Credentials::build(&serde_json::from_value(config).unwrap(), &base, None).err().unwrap();
        assert_eq!((errors.0[0].path.to_string().as_str(), errors.0[0].reason.as_str()), (place, "the gateway has no keys to sign with"));
    }
}

#[test]
fn nothing_shows_a_secret() {
    let config = json!({
        "headers": {"X-Key": "hunter2"},
        "oauth2": {"url": "https://id.test/token", "client_id": "gateway", "client_secret": "hunter2", "client_auth": "client_secret_post"},
    });
    let read: CredentialsConfig = serde_json::from_value(config.clone()).unwrap();
    let told = format!("{read:?} {} {:?}", serde_json::to_string(&read).unwrap(), build(config).unwrap());
    assert!(!told.contains("hunter2"), "{told}");
}

fn caller(name: &str) -> Ctx {
    let config: Vec<ConsumerConfig> = serde_json::from_value(json!([{"name": name, "groups": ["gold", "eu"]}])).unwrap();
    let mut cx = testing::ctx("/", &[]);
    cx.consumer = Consumers::build(&config).unwrap().named(name).cloned();
    cx.claims = Some(Arc::new(json!({"email": "a@b.test", "roles": ["x", "y"], "age": 7, "scope": "read write", "none": null})));
    cx
}

/// The claims of the token that a request gets, and the token.
async fn told(credentials: &Arc<Credentials>, cx: &Ctx) -> (Value, String) {
    use base64::Engine as _;
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    let about = credentials.about(&head, cx);
    credentials.ready(&about).await.unwrap().show(&mut head);
    let token = head.headers["x-identity"].to_str().unwrap().to_owned();
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    (serde_json::from_slice(&claims).unwrap(), token)
}

#[tokio::test]
async fn a_token_tells_who_calls_and_is_used_again_for_the_same_caller_alone() {
    let claims = json!({"email": "{claims.email}", "roles": "{claims.roles}", "age": "{claims.age}", "ip": "ip-{client.ip}", "no": "{claims.none}", "nor": "{claims.absent}"});
    let credentials = build(json!({"jwt": {"audience": "users", "header": "X-Identity", "claims": claims}})).unwrap();
    let (mut said, token) = told(&credentials, &caller("ada")).await;
    let (iat, exp) = (said["iat"].as_u64().unwrap(), said["exp"].as_u64().unwrap());
    assert_eq!((exp - iat, said["jti"].as_str().unwrap().len()), (60, 32));
    for name in ["iat", "exp", "jti"] {
        said.as_object_mut().unwrap().remove(name);
    }
    let expected = json!({
        "iss": "https://gateway.test", "aud": "users", "sub": "ada", "groups": ["gold", "eu"], "scope": "read write",
        "email": "a@b.test", "roles": ["x", "y"], "age": 7, "ip": "ip-192.0.2.1",
    });
    assert_eq!(said, expected);
    assert_eq!(told(&credentials, &caller("ada")).await.1, token);
    assert_eq!(told(&credentials, &caller("eve")).await.0["sub"], "eve");
    let (said, _) = told(&credentials, &testing::ctx("/", &[])).await;
    assert!(said.get("sub").is_none() && said.get("groups").is_none() && said.get("scope").is_none(), "{said}");
    let each = build(json!({"jwt": {"audience": "users", "header": "X-Identity", "cache": 0}})).unwrap();
    assert_ne!(told(&each, &caller("ada")).await.1, told(&each, &caller("ada")).await.1);
}

/// With one claim, which says whatever the client sends, and another cache where that is written.
fn sent(more: Value) -> Value {
    let mut jwt = json!({"audience": "users", "header": "X-Identity", "claims": {"all": "{header.X-All}"}});
    jwt.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "jwt": jwt })
}

fn about(credentials: &Credentials, text: &str) -> About {
    let mut head = RequestHeader::build("GET", b"/", None).unwrap();
    head.insert_header("X-All", text).unwrap();
    credentials.about(&head, &testing::ctx("/", &[]))
}

#[tokio::test]
async fn a_caller_of_whom_there_is_too_much_to_tell_gets_no_token() {
    let credentials = build(sent(json!({}))).unwrap();
    let about = about(&credentials, &"a".repeat(20_000));
    assert!(credentials.ready(&about).await.unwrap_err().cause.contains("16 KiB"));
}

#[tokio::test]
async fn tokens_that_are_kept_take_no_more_bytes_than_they_may_whatever_clients_send() {
    let credentials = build(sent(json!({"cache": "200KiB"}))).unwrap();
    let mint = &credentials.signed.as_ref().unwrap().mint;
    for number in 0..100 {
        let about = about(&credentials, &format!("{number}{}", "x".repeat(10_000)));
        assert!(credentials.ready(&about).await.is_ok() && mint.held() <= 200 * 1024, "{}", mint.held());
    }
    assert!(mint.held() > 100 * 1024, "{}", mint.held());
}

#[tokio::test]
async fn a_token_is_signed_once_for_all_who_need_it_at_the_same_time() {
    let credentials = build_on(&Shared::default(), sent(json!({})), signer_of(RSA, "RS256")).unwrap();
    let (ada, eve) = (caller("ada"), caller("eve"));
    let all = futures_util::future::join_all((0..50).map(|number| told(&credentials, if number % 2 == 0 { &ada } else { &eve }))).await;
    let tokens: std::collections::BTreeSet<_> = all.iter().map(|(said, token)| (said["sub"].as_str().unwrap(), token)).collect();
    assert_eq!(tokens.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), ["ada", "eve"]);
}

#[tokio::test]
async fn a_token_outlives_its_snapshot_unless_the_key_or_a_setting_is_another() {
    let (shared, ada) = (Shared::default(), caller("ada"));
    let rsa = |algorithm| signer_of(RSA, algorithm);
    let before = build_on(&shared, sent(json!({})), rsa("RS256")).unwrap();
    let token = told(&before, &ada).await.1;
    let after = build_on(&shared, sent(json!({})), rsa("RS256")).unwrap();
    drop(before);
    assert_eq!(told(&after, &ada).await.1, token);
    for (change, signer) in [
        (json!({}), signer()),
        (json!({}), rsa("PS256")),
        (json!({"ttl": "2m"}), rsa("RS256")),
        (json!({"audience": "orders"}), rsa("RS256")),
        (json!({"cache": "1MiB"}), rsa("RS256")),
        (json!({"cache": 0}), rsa("RS256")),
    ] {
        let other = build_on(&shared, sent(change.clone()), signer).unwrap();
        assert_ne!(told(&other, &ada).await.1, token, "{change}");
    }
}
