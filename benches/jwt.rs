//! What a token costs a request: verified anew, by algorithm, and when it was seen before.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs, reason = "a benchmark fails by panicking")]

mod kit;

use std::hint::black_box;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use ring::rand::SystemRandom;
use ring::{hmac, signature};
use serde_json::{Value, json};
use signature::KeyPair as _;
use tidegate::snapshot::Snapshot;

/// A public key as an issuer publishes it, and a signature with its other half.
type Signer = (Value, Box<dyn Fn(&[u8]) -> Vec<u8>>);

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(padding: &'static dyn signature::RsaEncoding) -> Signer {
    let pem = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples/oidc/issuer.key")).unwrap();
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with("--")).collect::<String>()).unwrap();
    let pair = signature::RsaKeyPair::from_pkcs8(&der).unwrap();
    let public = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
    let n = b64(public.n);
    let sign = move |message: &[u8]| {
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    };
    (json!({"kty": "RSA", "n": n, "e": "AQAB"}), Box::new(sign))
}

fn curve(algorithm: &'static signature::EcdsaSigningAlgorithm, name: &str) -> Signer {
    let random = SystemRandom::new();
    let pkcs8 = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let pair = signature::EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    (
        json!({"kty": "EC", "crv": name, "x": b64(x), "y": b64(y)}),
        Box::new(move |message| pair.sign(&random, message).unwrap().as_ref().to_vec()),
    )
}

fn ed25519() -> Signer {
    let pkcs8 = signature::Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let pair = signature::Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    (json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())}), Box::new(move |message| pair.sign(message).as_ref().to_vec()))
}

fn secret() -> Signer {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]);
    (json!({"kty": "oct", "k": b64([7; 32])}), Box::new(move |message| hmac::sign(&key, message).as_ref().to_vec()))
}

/// One route whose only policy is `jwt`, which keeps so much.
fn snapshot(jwk: &Value, cache: &str) -> Snapshot {
    let jwt = format!(
        "jwt: {{ issuer: \"https://id.example.com\", audience: api, scopes: [read], cache: {cache}, keys: [{{ jwks_file: keys.json }}] }}"
    );
    let config = format!("routes: [{{ name: a, policies: [{jwt}], reply: {{ text: here }} }}]\n");
    kit::snapshot(&config, &[("keys.json", json!({"keys": [jwk]}).to_string())])
}

/// A token of about the size that providers give.
fn token(alg: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>) -> String {
    let claims = json!({
        "iss": "https://id.example.com", "aud": ["api", "web"], "exp": 4_102_444_800_u64, "iat": 1_700_000_000, "nbf": 1_700_000_000,
        "sub": "5be86359-073c-434b-ad2d-a3932222dabe", "jti": "ImETo2Ag8lpUdE11IoaCN", "client_id": "mobile-app", "scope": "openid read write profile",
        "email": "ada@example.com", "realm_access": { "roles": ["offline_access", "editor", "viewer"] },
    });
    let message = format!("{}.{}", b64(json!({"alg": alg, "typ": "at+jwt", "kid": "k"}).to_string()), b64(claims.to_string()));
    format!("{message}.{}", b64(sign(message.as_bytes())))
}

fn jwt(c: &mut Criterion) {
    let mut group = c.benchmark_group("jwt");
    let client = kit::client();
    let signers = [
        ("HS256", secret()),
        ("RS256", rsa(&signature::RSA_PKCS1_SHA256)),
        ("PS256", rsa(&signature::RSA_PSS_SHA256)),
        ("ES256", curve(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, "P-256")),
        ("ES384", curve(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, "P-384")),
        ("EdDSA", ed25519()),
    ];
    for (alg, (mut jwk, sign)) in signers {
        (jwk["alg"], jwk["kid"]) = (alg.into(), "k".into());
        let request = kit::request("/", &[("Authorization", &format!("Bearer {}", token(alg, &sign)))]);
        for (how, cache) in [("verified", "0"), ("seen before", "1MiB")] {
            let snapshot = snapshot(&jwk, cache);
            let chain = &snapshot.routes[0].ways[0].chain;
            group.bench_function(format!("{alg}, {how}"), |b| {
                b.iter_batched_ref(
                    || (request.clone(), kit::ctx("/")),
                    |(req, cx)| {
                        assert!(black_box(kit::down(chain, req, cx, &client)).is_some());
                    },
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

criterion_group!(benches, jwt);
criterion_main!(benches);
