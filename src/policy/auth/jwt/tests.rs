use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::json;

use super::*;
use crate::consumer::Consumer;
use crate::policy::kit::{Kit, build};
use crate::problem::Kind;
use crate::state::Shared;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const CONFIG: &str =
    r#"{"issuer":"me","audience":"api","keys":[{"id":"k","algorithm":"HS256","secret":"0123456789abcdef0123456789abcdef"}]}"#;
const GOOD: &str = r#"{"iss":"me","aud":"api","exp":9999999999,"sub":"app","scope":"read","org":{"id":7}}"#;

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn signed(header: &str, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", b64(header), b64(claims));
    format!("{message}.{}", b64(sign(message.as_bytes())))
}

pub(super) fn hs256_of(secret: &str, header: &str, claims: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    signed(header, claims, |message| hmac::sign(&key, message).as_ref().to_vec())
}

fn hs256(header: &str, claims: &str) -> String {
    hs256_of(SECRET, header, claims)
}

/// A token that is signed with the key of `CONFIG`.
pub(crate) fn token_of(claims: &Value) -> String {
    token(&claims.to_string())
}

fn token(claims: &str) -> String {
    hs256(r#"{"alg":"HS256","kid":"k"}"#, claims)
}

/// `CONFIG` with these settings changed.
fn config(change: Value) -> String {
    let mut config: Value = serde_json::from_str(CONFIG).unwrap();
    for (name, value) in change.as_object().unwrap() {
        config[name] = value.clone();
    }
    config.to_string()
}

async fn answer(change: Value, token: &str) -> Result<Ctx, Problem> {
    let mut kit = Kit::<Jwt>::with_consumers(&config(change), r#"[{"name":"app"},{"name":"7"}]"#);
    kit.req.append_header("authorization", format!("Bearer {token}")).unwrap();
    kit.request().await.map(|_| kit.cx)
}

async fn why(change: Value, token: &str) -> String {
    answer(change, token).await.unwrap_err().detail.into_owned()
}

fn challenge(problem: &Problem) -> &str {
    problem.headers.iter().find(|(name, _)| name == header::WWW_AUTHENTICATE).unwrap().1.to_str().unwrap()
}

fn wrong(change: Value) -> String {
    build::<Jwt>(&config(change), "[]", &Shared::default()).unwrap_err().to_string()
}

#[tokio::test]
async fn a_good_token_passes_and_its_claims_are_known() {
    let cx = answer(json!({}), &token(GOOD)).await.unwrap();
    assert_eq!(cx.claims.unwrap()["org"]["id"], 7);
    assert!(cx.consumer.is_none());
}

#[tokio::test]
async fn without_a_token_the_challenge_tells_no_error() {
    let mut kit = Kit::<Jwt>::of(CONFIG).header("authorization", "Basic Og==");
    let problem = kit.request().await.unwrap_err();
    assert_eq!((problem.kind, challenge(&problem)), (Kind::Unauthorized, r#"Bearer realm="tidegate""#));
}

#[tokio::test]
async fn a_bad_token_is_told_what_is_wrong_with_it() {
    let problem = answer(json!({"realm": "shop api"}), &token(&GOOD.replace("9999999999", "1"))).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthorized);
    let wanted = r#"Bearer realm="shop api", error="invalid_token", error_description="the token has expired (exp)""#;
    assert_eq!(challenge(&problem), wanted);
}

#[tokio::test]
async fn two_tokens_are_a_bad_request() {
    let mut kit = Kit::<Jwt>::of(CONFIG).header("authorization", "Bearer a").header("authorization", "Bearer a");
    let problem = kit.request().await.unwrap_err();
    assert_eq!(problem.kind, Kind::BadRequest);
    assert!(challenge(&problem).contains(r#"error="invalid_request""#));
}

#[tokio::test]
async fn a_token_without_the_scopes_is_forbidden() {
    let problem = answer(json!({"scopes": ["read", "write"]}), &token(GOOD)).await.unwrap_err();
    assert_eq!(problem.kind, Kind::Forbidden);
    assert!(challenge(&problem).contains(r#"error="insufficient_scope""#) && challenge(&problem).ends_with(r#", scope="read write""#));
    assert!(answer(json!({"scopes": ["read"]}), &token(GOOD)).await.is_ok());
}

#[tokio::test]
async fn a_claim_names_the_consumer_and_strangers_are_refused() {
    let name = |change| async { answer(change, &token(GOOD)).await.map(|cx| cx.consumer.map(|consumer| consumer.name.clone())) };
    assert_eq!(name(json!({"consumer": "sub"})).await.unwrap().as_deref(), Some("app"));
    assert_eq!(name(json!({"consumer": "org.id"})).await.unwrap().as_deref(), Some("7"));
    assert_eq!(name(json!({"consumer": "iss"})).await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(name(json!({"consumer": "none"})).await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(name(json!({"consumer": "iss", "unknown_consumer": "allow"})).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_of_a_stranger_leaves_nobody_elses_name_behind() {
    for (change, left) in [(json!({"consumer": "iss", "unknown_consumer": "allow"}), None), (json!({}), Some("earlier"))] {
        let mut kit = Kit::<Jwt>::of(&config(change)).header("authorization", &format!("Bearer {}", token(GOOD)));
        kit.cx.identify(Some(Arc::new(Consumer { name: "earlier".to_owned(), ..Consumer::default() })), Some("earlier".into()));
        kit.request().await.unwrap();
        assert_eq!(kit.cx.consumer.as_ref().map(|consumer| consumer.name.as_str()), left);
        assert_eq!(kit.cx.credential.as_deref(), left);
    }
}

#[tokio::test]
async fn the_service_gets_the_token_unless_told_otherwise() {
    for (forward, left) in [(true, 1), (false, 0)] {
        let mut kit = Kit::<Jwt>::of(&config(json!({"forward": forward}))).header("authorization", &format!("Bearer {}", token(GOOD)));
        kit.request().await.unwrap();
        assert_eq!(kit.upstream_request().unwrap().headers.get_all("authorization").iter().count(), left);
    }
}

#[tokio::test]
async fn the_algorithm_of_a_token_is_that_of_its_key() {
    let unsigned = |header: &str| signed(header, GOOD, |_| vec![]);
    for header in
        [r#"{"alg":"none"}"#, r#"{"alg":"NONE","kid":"k"}"#, r#"{"alg":"nOnE"}"#, r#"{"alg":"RS256","kid":"k"}"#, r#"{"alg":"ES512"}"#]
    {
        assert_eq!(why(json!({}), &unsigned(header)).await, "the token's algorithm is not accepted", "{header}");
        assert_eq!(why(json!({}), &hs256(header, GOOD)).await, "the token's algorithm is not accepted", "{header}");
    }
    assert_eq!(why(json!({}), &unsigned(r#"{"alg":"HS256"}"#)).await, "the token's signature is not valid");
    assert_eq!(why(json!({}), &hs256(r#"{"alg":"HS256","kid":"x"}"#, GOOD)).await, "the token is signed with an unknown key");
    assert!(answer(json!({}), &hs256(r#"{"alg":"HS256"}"#, GOOD)).await.is_ok());
}

#[tokio::test]
async fn a_public_key_cannot_be_used_as_a_secret() {
    let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    let key = hmac::Key::new(hmac::HMAC_SHA256, pem.as_bytes());
    let forged = signed(r#"{"alg":"HS256","kid":"k"}"#, GOOD, |message| hmac::sign(&key, message).as_ref().to_vec());
    let config = json!({"keys": [{"id": "k", "algorithm": "EdDSA", "pem": pem}]});
    assert_eq!(why(config, &forged).await, "the token's algorithm is not accepted");
    assert!(wrong(json!({"keys": [{"algorithm": "HS256", "secret": pem}]})).contains("this secret is a PEM file"));
}

#[tokio::test]
async fn keys_that_the_token_brings_along_are_ignored() {
    let own = r#""jwk":{"kty":"oct","k":"AAAA"},"jku":"https://evil.example","x5u":"https://evil.example","x5c":["AAAA"]"#;
    assert!(answer(json!({}), &hs256(&format!(r#"{{"alg":"HS256",{own}}}"#), GOOD)).await.is_ok());
}

#[tokio::test]
async fn extensions_that_must_be_understood_are_refused() {
    for more in [r#""crit":["x"],"x":1"#, r#""crit":[]"#, r#""crit":["b64"],"b64":false"#, r#""b64":true"#] {
        let header = format!(r#"{{"alg":"HS256",{more}}}"#);
        assert_eq!(why(json!({}), &hs256(&header, GOOD)).await, "the token needs a JWS extension that is not supported");
    }
}

#[tokio::test]
async fn what_could_be_read_in_two_ways_is_refused() {
    let header = r#"{"alg":"HS256"}"#;
    for claims in [
        GOOD.replace(r#""iss""#, r#""aud":"x","iss""#),
        GOOD.replace(r#""id":7"#, r#""id":7,"id":8"#),
        GOOD.replace(r#""id":7"#, r#""id":7,"i\u0064":7"#),
        format!("{GOOD} {{}}"),
        format!("[{GOOD}]"),
        GOOD.replace('7', &format!("{}{}", "[".repeat(16), "]".repeat(16))),
    ] {
        assert!(why(json!({}), &hs256(header, &claims)).await.starts_with("the token's claims are not a JSON object"), "{claims}");
    }
    assert!(why(json!({}), &hs256(r#"{"alg":"none","alg":"HS256"}"#, GOOD)).await.contains("member twice"));
    assert!(why(json!({}), &hs256(r#"{"alg":"HS256","kid":7}"#, GOOD)).await.contains("wrong type"));
}

#[tokio::test]
async fn a_token_has_one_spelling() {
    let good = token(GOOD);
    let last = char::from(good.as_bytes()[good.len() - 1]);
    // The last character of 32 bytes carries 4 bits: the next one in the alphabet differs only in bits that must be zero.
    let spelled = format!("{}{}", &good[..good.len() - 1], char::from(last as u8 + 1));
    for bad in [
        format!("{good}="),
        spelled,
        good.replacen('.', ". ", 1),
        good.replace('.', ".."),
        format!("{good}."),
        format!(".{good}"),
        "x".into(),
        String::new(),
    ] {
        assert!(answer(json!({}), &bad).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_token_over_its_size_is_not_looked_at() {
    let long = GOOD.replace("app", &"a".repeat(8192));
    assert_eq!(why(json!({}), &token(&long)).await, "the token is too long");
    assert!(answer(json!({"max_size": "16KiB"}), &token(&long)).await.is_ok());
}

#[tokio::test]
async fn curves_verify_what_their_private_keys_signed() {
    let random = SystemRandom::new();
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let spki = [b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00".as_slice(), pair.public_key().as_ref()].concat();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", base64::engine::general_purpose::STANDARD.encode(spki));
    for alg in ["EdDSA", "Ed25519"] {
        let token = signed(&json!({"alg": alg}).to_string(), GOOD, |message| pair.sign(message).as_ref().to_vec());
        assert!(answer(json!({"keys": [{"pem": pem}]}), &token).await.is_ok());
    }

    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(48);
    let jwk = json!({"kty": "EC", "crv": "P-384", "kid": "e", "x": b64(x), "y": b64(y)});
    let token = signed(r#"{"alg":"ES384","kid":"e"}"#, GOOD, |message| pair.sign(&random, message).unwrap().as_ref().to_vec());
    let file = std::env::temp_dir().join(format!("tidegate-jwks-{}.json", std::process::id()));
    std::fs::write(&file, json!({"keys": [jwk]}).to_string()).unwrap();
    let verdict = answer(json!({"keys": [{"jwks_file": file}]}), &token).await;
    std::fs::remove_file(&file).unwrap();
    assert!(verdict.is_ok());
}

#[test]
fn each_mistake_in_the_settings_is_told_at_its_place() {
    for (change, wanted) in [
        (json!({"keys": []}), "keys: there is no key"),
        (json!({"keys": [{"algorithm": "HS256", "secret": "short"}]}), "keys[0].secret: a secret of 5 bytes is too short for HS256"),
        (json!({"keys": [{"secret": SECRET}]}), "keys[0].algorithm: a secret needs its algorithm"),
        (json!({"keys": [{"algorithm": "ES512", "pem": ""}]}), "keys[0].algorithm: ES512 is not supported"),
        (json!({"keys": [{"algorithm": "HS256", "secret": SECRET, "pem": ""}]}), "keys[0]: an entry gives exactly one"),
        (json!({"keys": [{"algorithm": "HS256", "secret_base64": "%"}]}), "keys[0].secret_base64: this is not base64"),
        (json!({"keys": [{"pem_file": "no/such.pem"}]}), "keys[0].pem_file: cannot read"),
        (json!({"keys": [{"jwks_file": "Cargo.toml"}]}), "keys[0].jwks_file: this is not a JWK Set"),
        (json!({"keys": [{"id": "k", "jwks_file": "x"}]}), "keys[0].id: the keys of a JWKS file"),
        (json!({"issuer": ""}), "issuer: an issuer is needed"),
        (json!({"audience": []}), "audience: an audience is needed"),
        (json!({"audience": ["any", "api"]}), "audience: `any` stands for every audience"),
        (json!({"leeway": "61s"}), "leeway: the leeway is too long"),
        (json!({"scopes": ["a b"]}), "scopes[0]: this is not one word"),
        (json!({"required": ["sub", ""]}), "required[1]: this is not one word"),
        (json!({"realm": "a\"b"}), "realm: this realm cannot"),
        (json!({"cookie": ""}), "cookie: a cookie needs a name"),
        (json!({"revoked": "Cargo.toml"}), "revoked: Cargo.toml, line 1: this is none of its lines"),
        (json!({"audience": null}), "audience: an audience is needed"),
        (json!({"issuer": null}), "issuer: an issuer is needed"),
        (json!({"algorithms": ["RS265"]}), "algorithms[0]: `RS265` is not an algorithm"),
        (json!({"algorithms": ["ES256"]}), "algorithms: no key is for one of these"),
        (json!({"claims": {"a b": 1}}), "claims.a b: this is not the name of a claim"),
        (json!({"claims": {"a": []}}), "claims.a: a claim is compared with a value"),
        (json!({"claims": {"a": [{"b": 1}]}}), "claims.a: a claim is compared with a value"),
        (json!({"jwks": "https://id.test/keys"}), "jwks: an issuer has its `keys` here or there"),
        (json!({"keys": [], "jwks": "id.test/keys"}), "jwks: `id.test/keys` is not a URL"),
        (json!({"keys": [], "jwks": "ftp://id.test/keys"}), "jwks: `ftp://id.test/keys` is not a URL"),
        (json!({"keys": [], "jwks": "https://id.test/keys#a"}), "jwks: `https://id.test/keys#a` has a fragment"),
        (json!({"keys": [], "jwks": "https://a:b@id.test/keys"}), "jwks: a URL that the gateway asks for has no user"),
        (json!({"keys": [], "jwks": "https://id..test/keys"}), "jwks: `id..test` is neither the name of a host nor"),
        (json!({"keys": [], "jwks": "http://id.test/keys"}), "jwks: the keys of `http://id.test/keys` would come without TLS"),
        (json!({"keys": [], "issuer": "HTTP://id.test"}), "issuer: the keys of `HTTP://id.test` would come without TLS"),
        (json!({"keys": [], "issuer": "https://id.test/?a=b"}), "issuer: `https://id.test/?a=b` has a query or a fragment"),
        (json!({"keys": [], "issuer": "https://id.test", "fetch": {"ca": "no/such.pem"}}), "fetch.ca: cannot read"),
        (json!({"keys": [], "issuer": "https://id.test", "fetch": {"wait": "0s"}}), "fetch.wait: this leaves no time at all"),
        (json!({"keys": [], "issuer": "https://id.test", "fetch": {"max_ttl": "1s"}}), "fetch.max_ttl: the longest time is shorter"),
        (json!({"keys": [], "issuer": "https://id.test", "fetch": {"waiting": 0}}), "fetch.waiting: no request could wait"),
        (json!({"issuers": [{"issuer": "a"}]}), "issuer: there are `issuers`, each with its own, and `issuer`"),
    ] {
        let told = wrong(change);
        assert!(told.starts_with(wanted), "{told}");
    }
    let told = serde_json::from_str::<Config>(r#"{"jwks_url":"https://id"}"#).unwrap_err().to_string();
    assert!(told.contains("unknown field `jwks_url`"), "{told}");
}

#[test]
fn no_secret_is_shown_by_the_settings_or_the_policy() {
    let config: Config = serde_json::from_str(CONFIG).unwrap();
    let shown = format!("{config:?} {} {:?}", serde_json::to_string(&config).unwrap(), Kit::<Jwt>::of(CONFIG).policy);
    assert!(!shown.contains(SECRET));
}

#[tokio::test]
async fn each_hash_of_an_hmac_is_its_own() {
    let secret = "s".repeat(64);
    for (name, hash) in [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
        let key = hmac::Key::new(hash, secret.as_bytes());
        let token = signed(&json!({"alg": name}).to_string(), GOOD, |message| hmac::sign(&key, message).as_ref().to_vec());
        for configured in ["HS256", "HS384", "HS512"] {
            let verdict = answer(json!({"keys": [{"algorithm": configured, "secret": secret}]}), &token).await;
            assert_eq!(verdict.is_ok(), configured == name, "{name} for {configured}");
        }
    }
}

#[test]
fn the_settings_read_from_yaml() {
    let yaml = "
- jwt:
    issuer: any
    audience: [api, web]
    keys:
      - { id: k, algorithm: HS256, secret_base64: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY= }
      - pem: |
          -----BEGIN PUBLIC KEY-----
          MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
          -----END PUBLIC KEY-----
    leeway: 10s
    expiry: optional
    typ: at+jwt
    scopes: [read]
    unknown_consumer: allow
    max_size: 4KiB
";
    let entries: Vec<crate::policy::Entry> = crate::policy::kit::yaml(yaml).unwrap();
    let Some(crate::policy::PolicyConfig::jwt(config)) = &entries[0].config else { panic!("not jwt") };
    build::<Jwt>(
        &serde_json::to_string(config).unwrap().replace("***", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        "[]",
        &Shared::default(),
    )
    .unwrap();
    let wrong = crate::policy::kit::yaml::<Vec<crate::policy::Entry>>("- jwt: { issuer: me, audience: { a: b } }").unwrap_err();
    assert!(wrong.contains("an audience must be text, like `api`, or a list of texts"), "{wrong}");
}
