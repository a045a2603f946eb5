use std::path::Path;

use jsonwebtoken::crypto::JwtVerifier as _;
use jsonwebtoken::signature::Verifier as _;
use serde_json::{Value, json};

use super::key::{Key, object, thumbprint};
use super::testing::{RSA, pem, signer_of};
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
    let pems = [
        (generate(&rcgen::PKCS_ED25519), None, "EdDSA"),
        (generate(&rcgen::PKCS_ECDSA_P256_SHA256), None, "ES256"),
        (generate(&rcgen::PKCS_ECDSA_P384_SHA384), None, "ES384"),
        (RSA.to_owned(), None, "RS256"),
        (RSA.to_owned(), Some(Algorithm::PS384), "PS384"),
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

fn build(keys: &Value) -> Result<Signer, crate::building::Errors> {
    let config = json!({"issuer": "https://gateway.test", "keys": keys});
    Signer::build(&serde_json::from_value::<SigningConfig>(config).unwrap(), Path::new(""))
}

#[tokio::test]
async fn the_first_key_signs_and_all_are_published() {
    let (first, second) = (pem(), pem());
    let signer = build(&json!([{"pem": first}, {"pem": second}])).unwrap();
    let keys = read_jwks(&signer.published(), None).unwrap();
    let token = signer.sign(r#"{"sub":"ada"}"#, &Offload::default()).await.unwrap();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let head = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, message.split_once('.').unwrap().0).unwrap();
    let head: Value = serde_json::from_slice(&head).unwrap();
    let published: Value = serde_json::from_slice(&signer.published()).unwrap();
    assert_eq!(head, json!({"alg": "EdDSA", "typ": "JWT", "kid": published["keys"][0]["kid"]}));
    let signature = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature).unwrap();
    let verifies: Vec<_> = keys.iter().map(|key| key.verify(message.as_bytes(), &signature).is_ok()).collect();
    assert_eq!(verifies, [true, false]);
    assert!(!String::from_utf8_lossy(&signer.published()).contains("\"d\""));
}

#[test]
fn keys_that_stand_twice_and_none_at_all_are_refused() {
    let pem = pem();
    let place = |keys| build(&keys).unwrap_err().0[0].path.to_string();
    assert_eq!(place(json!([{"pem": pem}, {"pem": pem}])), "keys[1]");
    assert_eq!(place(json!([])), "keys");
    assert_eq!(place(json!([{}])), "keys[0]");
    assert_eq!(place(json!([{"pem_file": "nowhere.pem"}])), "keys[0].pem_file");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_takes_long_never_signs_on_the_worker_and_is_waited_for_so_long() {
    let p384 = super::testing::pem_of(&rcgen::PKCS_ECDSA_P384_SHA384);
    for (pem, algorithm) in [(RSA, "PS256"), (&*p384, "ES384")] {
        let (offload, signer) = (Offload::default(), signer_of(pem, algorithm));
        // Whichever place is lacking, it waits in vain.
        let all = offload.fill();
        assert_eq!(signer.sign("{}", &offload).await, Err("too many others are being signed"));
        drop(all);
        let own = signer.places.clone().try_acquire_many_owned(u32::try_from(super::PLACES).unwrap()).unwrap();
        assert_eq!(signer.sign("{}", &offload).await, Err("too many others are being signed"));
        // Who waits gets the next.
        tokio::time::resume();
        let (signed, ()) = tokio::join!(signer.sign("{}", &offload), async {
            tokio::task::yield_now().await;
            drop(own);
        });
        assert_eq!(signed.unwrap().split('.').count(), 3);
        tokio::time::pause();
    }
    // Others do not need them.
    let (offload, signer) = (Offload::default(), signer_of(&pem(), "EdDSA"));
    let _all = offload.fill();
    assert!(signer.sign("{}", &offload).await.is_ok());
}

#[tokio::test]
async fn many_more_than_have_a_place_are_signed_one_after_the_other() {
    let (offload, signer) = (Offload::default(), signer_of(RSA, "RS256"));
    let signed = futures_util::future::join_all((0..40).map(|_| signer.sign("{}", &offload))).await;
    assert!(signed.iter().all(Result::is_ok));
}

#[test]
fn another_name_key_or_algorithm_is_another_signer() {
    let own = signer_of(RSA, "RS256").id();
    assert_eq!(own, signer_of(RSA, "RS256").id());
    assert!(own != signer_of(RSA, "PS256").id() && own != signer_of(&pem(), "EdDSA").id());
}
