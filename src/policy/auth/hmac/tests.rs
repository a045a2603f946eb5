use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::*;
use crate::policy::kit::{Kit, build, mistakes};
use crate::state::Shared;

const CONSUMERS: &str = r#"[{"name":"app","signing_keys":[{"id":"k","secret":"a-secret-of-some-length"}]}]"#;
const COMPONENTS: &str = r#"("@method" "@authority" "@path" "@query")"#;

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn kit(config: &str) -> Kit<Hmac> {
    let kit = Kit::<Hmac>::with_consumers(config, CONSUMERS).header("Host", "API.example.com:80").uri("/users/42?a=1");
    kit.header("X-Tenant", " a ").header("X-Tenant", "b").header("X-Dict", "a=1,  b=(x  y);q")
}

fn mac(base: &[u8], secret: &str) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), base))
}

/// Signed over these components with these parameters, by the text that RFC 9421 §2.5 has for this request.
fn signed(kit: Kit<Hmac>, components: &str, params: &str, lines: &[&str]) -> Kit<Hmac> {
    let input = format!("{components}{params}");
    let base = lines.iter().map(|line| format!("{line}\n")).collect::<String>() + &format!("\"@signature-params\": {input}");
    let signature = mac(base.as_bytes(), "a-secret-of-some-length");
    kit.header("Signature-Input", &format!("s={input}")).header("Signature", &format!("s=:{signature}:"))
}

const LINES: [&str; 4] = ["\"@method\": GET", "\"@authority\": api.example.com", "\"@path\": /users/42", "\"@query\": ?a=1"];

fn usual(config: &str, params: &str) -> Kit<Hmac> {
    signed(kit(config), COMPONENTS, params, &LINES)
}

async fn why(mut kit: Kit<Hmac>) -> String {
    let problem = kit.request().await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthorized);
    assert!(problem.headers.iter().any(|(name, _)| name == header::WWW_AUTHENTICATE));
    problem.detail.into_owned()
}

fn params() -> String {
    format!(";created={};keyid=\"k\"", now())
}

#[tokio::test]
async fn a_signature_identifies_the_consumer_and_stays_hidden_from_the_service() {
    let mut kit = usual("{}", &params());
    kit.request().await.unwrap();
    assert_eq!((kit.cx.consumer.as_ref().unwrap().name.as_str(), kit.cx.credential.as_deref()), ("app", Some("k")));
    assert_eq!(kit.cx.whole_body, Some(BodyLimit { bytes: 1024 * 1024, policy: "hmac" }));
    let sent = kit.upstream_request().unwrap();
    assert!(sent.headers.get("signature").is_none() && sent.headers.get("signature-input").is_none());
    let mut kit = usual(r#"{"forward":true}"#, &params());
    kit.request().await.unwrap();
    assert!(kit.upstream_request().unwrap().headers.contains_key("signature"));
}

#[tokio::test]
async fn every_component_that_is_known_is_read_as_the_standard_says() {
    for (component, line) in [
        (r#""@target-uri""#, "\"@target-uri\": http://api.example.com/users/42?a=1"),
        (r#""@scheme""#, "\"@scheme\": http"),
        (r#""@request-target""#, "\"@request-target\": /users/42?a=1"),
        (r#""@query-param";name="a""#, "\"@query-param\";name=\"a\": 1"),
        (r#""x-tenant""#, "\"x-tenant\": a, b"),
        (r#""x-tenant";bs"#, "\"x-tenant\";bs: :YQ==:, :Yg==:"),
        (r#""x-dict";key="a""#, "\"x-dict\";key=\"a\": 1"),
        (r#""x-dict";key="b""#, "\"x-dict\";key=\"b\": (x y);q"),
    ] {
        let lines: Vec<_> = LINES.into_iter().chain([line]).collect();
        let components = COMPONENTS.replace(')', &format!(" {component})"));
        signed(kit("{}"), &components, &params(), &lines).request().await.unwrap_or_else(|problem| panic!("{component}: {problem:?}"));
    }
}

#[tokio::test]
async fn components_that_are_not_supported_are_refused_by_name() {
    for (component, expected) in [
        (r#""@status""#, "`@status` is not supported"),
        (r#""@method";req"#, "`@method;req` cannot be signed"),
        (r#""x-tenant";tr"#, "`x-tenant;tr` cannot be signed"),
        (r#""x-tenant";sf"#, "`x-tenant;sf` is not supported"),
        (r#""x-tenant";xy"#, "`x-tenant` is covered in a way"),
        (r#""x-dict";key="c""#, "`x-dict` has no `c`"),
        (r#""X-Tenant""#, "`X-Tenant` is not in lower case"),
        (r#""x-absent""#, "the signature covers `x-absent`, which"),
        (r#""@method";a"#, "`@method` knows no `a`"),
        (r#""@query-param""#, "`@query-param` needs a `name`"),
        (r#""@query-param";name="b""#, "the query has no `b`"),
        (r#""@query-param";name="b%2f""#, "the name `b%2f` is not encoded as it has to be"),
        (&(0..29).map(|number| format!("\"x-{number}\" ")).collect::<String>(), "the signature covers more than 32 components"),
        (r#""@path""#, "the signature covers \"@path\" twice"),
        ("1", "`Signature-Input` is malformed"),
    ] {
        let components = COMPONENTS.replace(')', &format!(" {component})"));
        let why = why(signed(kit("{}"), &components, &params(), &LINES)).await;
        assert!(why.starts_with(expected), "{component}: {why}");
    }
}

#[tokio::test]
async fn what_a_signature_says_is_held_to_what_is_asked_of_it() {
    let at = |offset: i64| i64::try_from(now()).unwrap() + offset;
    for (params, expected) in [
        (format!(";created={};keyid=\"k\"", at(-302)), "the signature is too old"),
        (format!(";created={};keyid=\"k\"", at(60)), "the signature is from the future"),
        (format!(";created={};expires={};keyid=\"k\"", at(-9), at(-2)), "the signature has expired"),
        (";keyid=\"k\"".to_owned(), "the signature has no `created`"),
        (";created=-1;keyid=\"k\"".to_owned(), "`created` of the signature is no time"),
        (format!(";created={}", at(0)), "the signature has no `keyid`"),
        (format!(";created={};keyid=1", at(0)), "`keyid` of the signature is no string"),
        (format!(";created={};keyid=\"k\";alg=\"none\"", at(0)), "`alg` of the signature is not supported"),
        (format!(";created={};keyid=\"k\";alg=\"ed25519\"", at(0)), "the signature is not valid"),
        (format!(";created={};keyid=\"other\"", at(0)), "the signature is not valid"),
    ] {
        assert_eq!(why(usual("{}", &params)).await, expected, "{params}");
    }
    let fewer = [LINES[0], LINES[1], LINES[2]];
    let of_fewer = |config| signed(kit(config), r#"("@method" "@authority" "@path")"#, &params(), &fewer);
    assert_eq!(why(of_fewer("{}")).await, "the signature does not cover `@query`");
    of_fewer(r#"{"components":["@method"]}"#).request().await.unwrap();
}

#[tokio::test]
async fn of_several_signatures_the_config_says_which_counts() {
    let two = |config: &str| {
        let mut kit = usual(config, &params());
        let input =
            format!("{}, t=(\"@method\");created=1;keyid=\"x\";tag=\"proxy\"", kit.req.headers["signature-input"].to_str().unwrap());
        let signature = format!("{}, t=:AA==:", kit.req.headers["signature"].to_str().unwrap());
        kit.req.insert_header("signature-input", input).unwrap();
        kit.req.insert_header("signature", signature).unwrap();
        kit
    };
    assert_eq!(why(two("{}")).await, "there is more than one signature");
    two(r#"{"label":"s"}"#).request().await.unwrap();
    assert_eq!(why(two(r#"{"label":"u"}"#)).await, "a signature is required");
    assert_eq!(why(two(r#"{"tag":"proxy"}"#)).await, "the signature is too old");
    usual(r#"{"tag":"app"}"#, &format!("{};tag=\"app\"", params())).request().await.unwrap();
    let sees = |config: &str| {
        let kit = two(config);
        kit.policy.sees(&kit.req, &kit.cx)
    };
    assert!(sees("{}") && sees(r#"{"label":"s"}"#) && sees(r#"{"tag":"proxy"}"#));
    assert!(!sees(r#"{"label":"u"}"#) && !sees(r#"{"tag":"other"}"#) && !sees(r#"{"forms":["cavage"]}"#));
    // The service gets what is not for the gateway.
    for config in [r#"{"label":"s"}"#, r#"{"label":"s","tag":"app"}"#] {
        let mut kit = two(config);
        kit.req
            .insert_header("signature-input", kit.req.headers["signature-input"].to_str().unwrap().replace("\"k\",", "\"k\";tag=\"app\","))
            .unwrap();
        let sent = kit.upstream_request().unwrap();
        let value = |name: &str| sent.headers[name].to_str().unwrap();
        assert_eq!(value("signature-input"), r#"t=("@method");created=1;keyid="x";tag="proxy""#);
        assert_eq!(value("signature"), "t=:AA==:");
    }
    for config in ["{}", r#"{"tag":"other"}"#] {
        let sent = two(config).upstream_request().unwrap();
        assert_eq!(sent.headers.contains_key("signature"), config != "{}", "{config}");
    }
}

#[tokio::test]
async fn a_signature_is_good_once() {
    let mut kit = usual("{}", &params());
    kit.request().await.unwrap();
    kit.cx.signature = None;
    assert_eq!(kit.request().await.unwrap_err().detail, "the signature was used before");
    kit.policy.notes = None;
    kit.request().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_remembered_is_not_let_through() {
    let mut kit = usual(r#"{"remember":1}"#, &params());
    kit.request().await.unwrap();
    kit.req = usual("{}", &format!("{};nonce=\"2\"", params())).req;
    kit.cx.signature = None;
    let problem = kit.request().await.unwrap_err();
    assert_eq!(problem.kind, Kind::Unavailable);
    assert!(problem.headers.iter().any(|(name, _)| name == header::RETRY_AFTER));
}

#[tokio::test]
async fn what_was_used_at_one_policy_was_used_at_all_but_for_the_request_itself() {
    let shared = Shared::default();
    let among = |config: &str| build::<Hmac>(config, CONSUMERS, &shared).unwrap();
    let (one, mut kit) = (among("{}"), usual("{}", &params()));
    kit.policy = among(r#"{"max_age":"1m"}"#);
    one.request(&mut kit.req, &mut kit.cx).await.unwrap();
    kit.request().await.unwrap();
    kit.cx = usual("{}", &params()).cx;
    assert_eq!(why(kit).await, "the signature was used before");
}

#[tokio::test]
async fn the_body_has_to_be_the_one_that_was_signed() {
    let digest = "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:";
    let components = COMPONENTS.replace(')', " \"content-digest\")");
    let line = format!("\"content-digest\": {digest}");
    let lines: Vec<_> = LINES.into_iter().chain([line.as_str()]).collect();
    let mut of_body = signed(kit("{}").header("Content-Digest", digest).header("Content-Length", "18"), &components, &params(), &lines);
    of_body.request().await.unwrap();
    for (body, expected) in
        [(&br#"{"hello": "world"}"#[..], None), (br#"{"hello": "earth"}"#, Some("the body is not the one that was signed"))]
    {
        let mut came = of_body.cx.signed_body.clone();
        came.as_mut().unwrap().update(body);
        let asked = std::mem::replace(&mut of_body.cx.signed_body, came);
        let problem = of_body.policy.request_body(body, &mut of_body.cx).err();
        assert_eq!(problem.as_ref().map(|problem| &*problem.detail), expected);
        of_body.cx.signed_body = asked;
    }
    let mut of_none = usual("{}", &params());
    of_none.request().await.unwrap();
    of_none.policy.request_body(b"", &mut of_none.cx).unwrap();
    assert_eq!(of_none.policy.request_body(b"x", &mut of_none.cx).unwrap_err().detail, UNSIGNED);
    for header in [("Content-Length", "1"), ("Transfer-Encoding", "chunked")] {
        assert_eq!(why(usual("{}", &params()).header(header.0, header.1)).await, UNSIGNED);
    }
    let mut ignored = usual(r#"{"body":"ignore"}"#, &params()).header("Content-Length", "1");
    ignored.request().await.unwrap();
    assert_eq!(ignored.cx.whole_body, None);
    for digest in ["md5=:AA==:", "sha-256=1", "sha-256=(:AA==:)", "?"] {
        let line = format!("\"content-digest\": {digest}");
        let lines: Vec<_> = LINES.into_iter().chain([line.as_str()]).collect();
        let why = why(signed(kit("{}").header("Content-Digest", digest), &components, &params(), &lines)).await;
        assert!(why.starts_with("`Content-Digest` "), "{why}");
    }
}

/// Signed as draft-cavage-http-signatures-12 §2.3 has it.
fn older(config: &str, headers: &str, lines: &[String]) -> Kit<Hmac> {
    let signature = mac(lines.join("\n").as_bytes(), "a-secret-of-some-length");
    let credential = format!("Signature keyId=\"k\",algorithm=\"hmac-sha256\",headers=\"{headers}\",signature=\"{signature}\"");
    kit(config).header("Authorization", &credential)
}

const CAVAGE: &str = r#"{"forms":["cavage","rfc9421"]}"#;

fn lines(date: &str) -> Vec<String> {
    vec!["(request-target): get /users/42?a=1".to_owned(), "host: API.example.com:80".to_owned(), format!("date: {date}")]
}

#[tokio::test]
async fn the_older_form_is_taken_where_it_is_asked_for() {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let sent = |config: &str| older(config, "(request-target) host date", &lines(&date)).header("Date", &date);
    let mut taken = sent(CAVAGE);
    taken.request().await.unwrap();
    assert_eq!(taken.cx.consumer.as_ref().unwrap().name, "app");
    assert!(taken.upstream_request().unwrap().headers.get("authorization").is_none());
    assert_eq!(why(sent("{}")).await, "a signature is required");
    assert_eq!(why(sent(CAVAGE).uri("/users/43?a=1")).await, "the signature is not valid");
    let both = sent(CAVAGE).header("Signature-Input", &format!("s=(){}", params())).header("Signature", "s=:AA==:");
    assert_eq!(why(both).await, "there is more than one signature");
    assert_eq!(why(sent(CAVAGE).header("Authorization", "Basic Og==")).await, "there is more than one `Authorization`");
    assert_eq!(why(older(CAVAGE, "host date", &lines(&date)[1..]).header("Date", &date)).await, "the signature does not cover `@method`");
    let kong = [format!("date: {date}"), "GET /users/42?a=1 HTTP/1.1".to_owned(), "host: API.example.com:80".to_owned()];
    let mut kong = older(CAVAGE, "date request-line host", &kong).header("Date", &date);
    let credential = kong.req.headers["authorization"].to_str().unwrap().replacen("Signature keyId", "hmac username", 1);
    kong.req.insert_header("authorization", credential).unwrap();
    kong.request().await.unwrap();
}

#[tokio::test]
async fn the_older_form_needs_a_date_of_now_that_is_covered() {
    let at = |ago| httpdate::fmt_http_date(SystemTime::now() - std::time::Duration::from_secs(ago));
    for (date, expected) in [(at(302), "the signature is too old"), ("today".to_owned(), "`date` is no date")] {
        assert_eq!(why(older(CAVAGE, "(request-target) host date", &lines(&date)).header("Date", &date)).await, expected);
    }
    let undated = older(CAVAGE, "(request-target) host", &lines("")[..2]).header("Date", &at(0));
    assert!(why(undated).await.starts_with("the signature covers none of `date`"));
    let mut x_date = lines(&at(0));
    x_date[2] = format!("x-date: {}", at(0));
    older(CAVAGE, "(request-target) host x-date", &x_date).header("X-Date", &at(0)).header("Date", &at(999)).request().await.unwrap();
    let created = older(CAVAGE, "(request-target) host (created)", &lines(""));
    assert_eq!(why(created).await, "`(created)` is covered, and cannot be here", "only `hs2019` signs it");
}

#[tokio::test]
async fn what_is_malformed_is_refused() {
    for credential in ["Signature x", "Signature keyId=\"k", "Signature keyId=\"k\",keyId=\"l\"", "Signature keyId=\"k\" algorithm=\"x\""] {
        let why = why(kit(CAVAGE).header("Authorization", credential)).await;
        assert_eq!(why, "`Authorization` is malformed", "{credential}");
    }
    for (input, signature, expected) in [
        ("s=(", "s=:AA==:", "`Signature-Input` is malformed"),
        ("s=1", "s=:AA==:", "`Signature-Input` is malformed"),
        ("s=();created=1;keyid=\"k\"", "s=AA", "`Signature` is malformed"),
        ("s=();created=1;keyid=\"k\"", "t=:AA==:", "`Signature` has no `s`"),
    ] {
        let why = why(kit("{}").header("Signature-Input", input).header("Signature", signature)).await;
        assert_eq!(why, expected, "{input} {signature}");
    }
    assert_eq!(why(kit("{}").header("Signature", "s=:AA==:")).await, "`Signature-Input` and `Signature` belong together");
    assert_eq!(why(kit("{}")).await, "a signature is required");
}

#[test]
fn a_client_is_told_what_to_sign() {
    let told = |config: &str| {
        let config: Config = serde_json::from_str(config).unwrap();
        let headers = challenge::of(&config).unwrap();
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(
        told(r#"{"tag":"app"}"#),
        [
            "www-authenticate: Signature",
            r#"accept-signature: sig=("@method" "@authority" "@path" "@query" "content-digest");created;keyid;tag="app""#
        ]
    );
    assert_eq!(
        told(r#"{"forms":["cavage"],"realm":"api"}"#),
        [r#"www-authenticate: Signature realm="api", headers="(request-target) host date digest""#]
    );
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (config, expected) in [
        (r#"{"forms":[]}"#, "forms: no form"),
        (r#"{"max_age":"0s"}"#, "max_age: this leaves no time"),
        (r#"{"max_age":"10ms"}"#, "max_age: signatures tell their time in seconds"),
        (r#"{"components":[]}"#, "components: a signature that covers nothing"),
        (r#"{"components":["@methd"]}"#, "components[0]: there is no component `@methd`"),
        (r#"{"components":["@query-param"]}"#, "components[0]: there is no component"),
        (r#"{"components":["@method","X-A"]}"#, "components[1]: `X-A` cannot be asked for"),
        (r#"{"components":["content-digest"]}"#, "components[0]: `content-digest` cannot be asked for"),
        (r#"{"forms":["cavage"],"components":["@target-uri"]}"#, "components[0]: signatures of the older form cannot cover"),
        (r#"{"forms":["cavage"],"tag":"a"}"#, "tag: signatures of these forms have no tag"),
        (r#"{"label":"A"}"#, "label: no signature has this label"),
        (r#"{"realm":"a\"b"}"#, "realm: this cannot stand in a header"),
    ] {
        let mistakes = mistakes::<Hmac>(config);
        assert!(mistakes.len() == 1 && mistakes[0].starts_with(expected), "{config}: {mistakes:?}");
    }
}
