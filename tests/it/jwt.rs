//! Tokens as they should not be: what the client is told in the words of RFC 6750, and what the log says.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::jwks::{config, status};
use crate::support::idp::{bearer, now};
use crate::support::{Client, Gateway, Idp};

/// What a token is refused with.
struct Refused {
    status: u16,
    /// What `WWW-Authenticate` says after the realm.
    challenge: String,
    /// What the log says begins with this.
    cause: Option<String>,
}

fn refused(status: u16, error: &str, description: &str, more: &str, cause: Option<&str>) -> Refused {
    let challenge = format!(", error=\"{error}\", error_description=\"{description}\"{more}");
    let cause = cause.map_or_else(|| description.to_owned(), |cause| format!("{description}: {cause}"));
    Refused { status, challenge, cause: Some(cause) }
}

fn invalid(description: &str, cause: Option<&str>) -> Refused {
    refused(401, "invalid_token", description, "", cause)
}

/// The claims with one of them changed; `null` takes it out.
fn with(idp: &Idp, name: &str, value: Value) -> Value {
    let mut claims = idp.claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

#[test]
fn each_wrong_token_gets_the_right_answer_and_the_log_has_the_whole_reason() {
    let idp = Idp::start();
    let fetch = "fetch: { allow_http: true }";
    let gateway = Gateway::start(&config(&format!("issuer: \"{}\", audience: api, scopes: [read], {fetch}", idp.issuer)));
    let address = idp.issuer.trim_start_matches("http://").parse().unwrap();
    let published = Client::connect(address).get("/keys").json()["keys"][0].clone();
    let signed = |header: Value, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(idp.claims().to_string()));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
    };
    // The public key as a secret, in each form that one may have it in.
    let hmac = |secret: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        signed(json!({"alg": "HS256", "kid": "k1"}), &|message| hmac::sign(&key, message).as_ref().to_vec())
    };
    let x = published["x"].as_str().unwrap();
    let good = idp.token("k1");
    let of = |name: &str, value: Value| bearer(&idp.token_of("k1", &with(&idp, name, value)));
    let shape = "the token is not a JWT: three parts in base64url, separated by dots";
    let algorithm = "the token's algorithm is not accepted";
    idp.make("stranger");
    let rows = [
        ("missing", String::new(), Refused { status: 401, challenge: String::new(), cause: None }),
        ("another scheme", "Authorization: Basic Og==\r\n".to_owned(), Refused { status: 401, challenge: String::new(), cause: None }),
        ("in a cookie", format!("Cookie: token={good}\r\n"), Refused { status: 401, challenge: String::new(), cause: None }),
        ("in another header", format!("X-Token: {good}\r\n"), Refused { status: 401, challenge: String::new(), cause: None }),
        ("empty", bearer(""), invalid(shape, None)),
        ("malformed", bearer("abc"), invalid(shape, None)),
        ("four parts", bearer(&format!("{good}.e30")), invalid(shape, None)),
        ("no JSON", bearer("AAAA.e30.AAAA"), invalid("the token's header is not a JSON object, or has a member twice", None)),
        ("expired", of("exp", json!(now() - 3600)), invalid("the token has expired (exp)", None)),
        ("without an end", of("exp", Value::Null), invalid("the token does not say when it expires (exp)", None)),
        ("not yet valid", of("nbf", json!(now() + 3600)), invalid("the token is not valid yet (nbf)", None)),
        ("of the future", of("iat", json!(now() + 3600)), invalid("the token was issued in the future (iat)", None)),
        ("for others", of("aud", json!("other")), invalid("the token is for another audience (aud)", Some("aud \"other\""))),
        (
            "of others",
            of("iss", json!("https://evil.test")),
            invalid("the token is from another issuer (iss)", Some("iss \"https://evil.test\"")),
        ),
        ("bound to a key", of("cnf", json!({"jkt": "a"})), invalid("the token is bound to a key (cnf), and is no bearer token", None)),
        ("alg none", bearer(&signed(json!({"alg": "none"}), &|_| Vec::new())), invalid(algorithm, Some("alg \"none\""))),
        ("alg nOnE", bearer(&signed(json!({"alg": "nOnE", "kid": "k1"}), &|_| Vec::new())), invalid(algorithm, Some("alg \"nOnE\""))),
        ("the key's text as a secret", bearer(&hmac(x.as_bytes())), invalid(algorithm, Some("alg HS256, kid \"k1\""))),
        ("the key as a secret", bearer(&hmac(&URL_SAFE_NO_PAD.decode(x).unwrap())), invalid(algorithm, Some("alg HS256, kid \"k1\""))),
        ("the JWK as a secret", bearer(&hmac(published.to_string().as_bytes())), invalid(algorithm, Some("alg HS256, kid \"k1\""))),
        (
            "a stranger's signature",
            bearer(&idp.signed(&json!({"alg": "EdDSA", "kid": "k1"}), "stranger", &idp.claims())),
            invalid("the token's signature is not valid", Some("alg EdDSA, kid \"k1\"")),
        ),
        (
            "an unknown key",
            bearer(&idp.signed(&json!({"alg": "EdDSA", "kid": "k9"}), "stranger", &idp.claims())),
            invalid("the token is signed with an unknown key", Some("alg EdDSA, kid \"k9\"")),
        ),
        (
            "a key of its own",
            bearer(&idp.signed(
                &json!({"alg": "EdDSA", "kid": "k8", "jwk": published, "jku": "https://evil.test"}),
                "stranger",
                &idp.claims(),
            )),
            invalid("the token is signed with an unknown key", Some("alg EdDSA, kid \"k8\"")),
        ),
        ("too long", of("sub", json!("a".repeat(9000))), invalid("the token is too long", None)),
        ("twice", format!("{}{}", bearer(&good), bearer(&good)), refused(400, "invalid_request", "more than one token was sent", "", None)),
        (
            "without the scope",
            of("scope", json!("readonly")),
            refused(
                403,
                "insufficient_scope",
                "the token lacks a scope that is needed here",
                ", scope=\"read\"",
                Some("it has \"readonly\""),
            ),
        ),
    ];
    for (number, (name, lines, refused)) in rows.iter().enumerate() {
        let answer = gateway.client().get_with(&format!("/{number}"), lines);
        let kind = match refused.status {
            400 => "bad-request",
            403 => "forbidden",
            _ => "unauthorized",
        };
        let problem = answer.problem(refused.status, kind);
        assert_eq!(answer.header("www-authenticate").unwrap(), format!("Bearer realm=\"tidegate\"{}", refused.challenge), "{name}");
        let line = gateway.await_log(name, |line| line["path"] == format!("/{number}"));
        let said = match (line["cause"].as_str(), &refused.cause) {
            (Some(said), Some(wanted)) => said.starts_with(wanted.as_str()),
            (said, wanted) => said.is_none() && wanted.is_none(),
        };
        assert!(said && line["policy"] == "jwt", "{name}: {line}");
        // Neither the key nor its name, nor what was sent, goes back to the client.
        let told = format!("{problem} {:?}", answer.headers);
        for secret in [x, "k1", "k9", "evil.test", good.rsplit('.').next().unwrap()] {
            assert!(!told.contains(secret), "{name}: {told}");
        }
    }
    assert_eq!(status(&gateway, &good), 200);
    let log = std::fs::read_to_string(gateway.folder.path().join("access.log")).unwrap();
    assert!(!log.contains(good.rsplit('.').next().unwrap()) && !gateway.said().contains(x), "no token and no key is written down");
}

#[test]
fn a_token_is_taken_from_where_it_is_to_be_and_from_nowhere_else() {
    let idp = Idp::start();
    let jwt = format!("issuer: \"{}\", audience: api, fetch: {{ allow_http: true }}", idp.issuer);
    let gateway = Gateway::start(&config(&format!("{jwt}, header: X-Token, query: t, cookie: jwt, forward: false")));
    let token = idp.token("k1");
    let places = [
        ("/".to_owned(), format!("X-Token: {token}\r\n")),
        ("/".to_owned(), format!("X-Token: Bearer {token}\r\n")),
        (format!("/?a=1&t={token}"), String::new()),
        ("/".to_owned(), format!("Cookie: a=1; jwt={token}\r\n")),
    ];
    for (target, lines) in &places {
        let answer = gateway.client().get_with(target, lines);
        assert_eq!(answer.status, 200, "{target} {lines}: {}", answer.text());
        assert!(!answer.text().contains(&token), "the service does not get it");
    }
    assert_eq!(status(&gateway, &token), 401);
    let [(_, header), _, (query, _), _] = &places;
    gateway.client().get_with(query, header).problem(400, "bad-request");
    let log = std::fs::read_to_string(gateway.folder.path().join("access.log")).unwrap();
    assert!(!log.contains(&token), "a token in an address is not written down");
}

#[test]
fn explain_says_what_a_request_needs() {
    let folder = crate::support::gateway::Folder::new();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/oidc.yaml");
    let explain = |config: &Path, more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate"));
        let output = command.args(["explain", "/orders", "-c"]).arg(config).args(more).output().unwrap();
        String::from_utf8(if output.status.success() { output.stdout } else { output.stderr }).unwrap()
    };
    let said = explain(&example, &[]);
    let needs = [
        "needs      a token in `Authorization: Bearer …`",
        "           of http://127.0.0.1:8080 for orders, of the type at+jwt, signed with RS256, with the scopes orders.read (keys where the issuer says)",
        "           of https://partner.example.com for orders, of the type at+jwt, with the scopes orders.read (keys of the config)",
    ];
    assert!(said.contains(&needs.join("\n")), "{said}");
    let told: Value = serde_json::from_str(&explain(&example, &["--json"])).unwrap();
    let needs = &told["policies"][0]["needs"];
    assert_eq!(needs["issuers"][0]["audience"], json!(["orders"]), "{told}");
    assert_eq!(told["policies"][1]["needs"], Value::Null);
    let other = folder.file(
        "tidegate.yaml",
        "routes: [{ name: a, policies: [jwt: { issuer: any, audience: any, jwks: \"https://id.test/keys\", query: t, cookie: jwt }], reply: {} }]\n",
    );
    let said = explain(&other, &[]);
    assert!(
        said.contains(
            "a token in the query parameter `t` or the cookie `jwt`\n           of any issuer for anyone (keys of https://id.test/keys)"
        ),
        "{said}"
    );
}
