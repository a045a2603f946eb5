use std::path::Path;

use jsonwebtoken::crypto::JwtVerifier as _;
use jsonwebtoken::signature::Verifier as _;
use serde_json::json;

use super::key::{Key, object, thumbprint};
use super::testing::pem;
use super::{Algorithm, Signer, SigningConfig, SigningKeyConfig};
use crate::building::BuildError;
use crate::policy::auth::jwks::read_jwks;
use crate::state::Offload;

#[test]
fn the_thumbprint_is_that_of_the_standard() {
    // RFC 7638 §3.1 and RFC 8037 appendix A.3.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    let jwk = object(&[("e", "AQAB".to_owned()), ("kty", "RSA".to_owned()), ("n", n.to_owned())]);
    assert_eq!(thumbprint(&jwk), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".to_owned();
    let jwk = object(&[("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", x)]);
    assert_eq!(thumbprint(&jwk), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

fn key(pem: String, algorithm: Option<Algorithm>) -> Result<Key, BuildError> {
    let config = SigningKeyConfig { pem: Some(pem.as_str().into()), pem_file: None, algorithm };
    Key::build(&config, Path::new(""))
}

#[test]
fn what_a_key_signs_is_verified_with_what_is_published_of_it() {
    let generate = |kind| super::testing::pem_of(kind);
    let rsa = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/examples/oidc/issuer.key")).unwrap();
    let pems = [
        (generate(&rcgen::PKCS_ED25519), None, "EdDSA"),
        (generate(&rcgen::PKCS_ECDSA_P256_SHA256), None, "ES256"),
        (generate(&rcgen::PKCS_ECDSA_P384_SHA384), None, "ES384"),
        (rsa.clone(), None, "RS256"),
        (rsa, Some(Algorithm::PS384), "PS384"),
    ];
    for (pem, algorithm, name) in pems {
        let key = key(pem, algorithm).unwrap();
        assert_eq!(key.algorithm().name(), name);
        let set = json!({"keys": [key.published()]}).to_string();
        let read = read_jwks(set.as_bytes(), None).unwrap();
        let signature = key.sign(b"message").unwrap();
        assert!(read[0].verify(b"message", &signature).is_ok() && read[0].verify(b"another", &signature).is_err(), "{name}");
        assert_eq!(format!("{:?}", read[0].algorithm()), name);
    }
}

#[test]
fn what_cannot_sign_is_refused_and_not_shown() {
    assert_eq!(key(pem(), Some(Algorithm::RS256)).err().unwrap().path.to_string(), "algorithm");
    for wrong in ["", "secret", "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"] {
        let error = key(wrong.to_owned(), None).err().unwrap();
        assert_eq!(error.path.to_string(), "pem");
        assert!(!error.to_string().contains("c2VjcmV0") && !error.to_string().contains("secret"), "{error}");
    }
    assert!(!format!("{:?}", key(pem(), None).unwrap()).contains("PRIVATE"));
}

fn signer(keys: &serde_json::Value) -> Result<Signer, crate::building::Errors> {
    let config = json!({"issuer": "https://gateway.test", "keys": keys});
    Signer::build(&serde_json::from_value::<SigningConfig>(config).unwrap(), Path::new(""))
}

#[tokio::test]
async fn the_first_key_signs_and_all_are_published() {
    let (first, second) = (pem(), pem());
    let signer = signer(&json!([{"pem": first}, {"pem": second}])).unwrap();
    let keys = read_jwks(&signer.published(), None).unwrap();
    let token = signer.sign("JWT", r#"{"sub":"ada"}"#, &Offload::default()).await.unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature).unwrap();
    let verifies: Vec<_> = keys.iter().map(|key| key.verify(message.as_bytes(), &signature).is_ok()).collect();
    assert_eq!(verifies, [true, false]);
    assert!(!String::from_utf8_lossy(&signer.published()).contains("\"d\""));
}

#[test]
fn keys_that_stand_twice_and_none_at_all_are_refused() {
    let pem = pem();
    let place = |keys| signer(&keys).unwrap_err().0[0].path.to_string();
    assert_eq!(place(json!([{"pem": pem}, {"pem": pem}])), "keys[1]");
    assert_eq!(place(json!([])), "keys");
    assert_eq!(place(json!([{}])), "keys[0]");
    assert_eq!(place(json!([{"pem_file": "nowhere.pem"}])), "keys[0].pem_file");
}
