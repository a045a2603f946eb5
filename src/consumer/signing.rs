//! Keys that consumers sign their requests with.

use std::collections::HashMap;
use std::fmt;
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::agreement::{self, agree_ephemeral};
use ring::rand::SystemRandom;
use ring::{hmac, signature};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_RSASSAPSS, OID_SIG_ED25519,
};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::RSAPublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::Consumer;
use crate::building::BuildError;
use crate::types::Secret;

/// A key that a consumer signs requests with: a secret that it shares with the gateway, or the public half of a key of its own.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningKeyConfig {
    /// What signatures call the key: `keyid`. Unique among all consumers.
    pub id: String,
    /// The secret, 16 bytes or more, as text. It belongs in the environment: `"${APP_SECRET}"`.
    #[serde(default)]
    pub secret: Option<Secret>,
    /// The same as base64.
    #[serde(default)]
    pub secret_base64: Option<Secret>,
    /// The public key as PEM, `-----BEGIN PUBLIC KEY-----`: of RSA, P-256, P-384 or Ed25519.
    #[serde(default)]
    pub public_key: Option<String>,
    /// For a public key of RSA what it signs with. Default: `rsa-pss-sha512`. All other keys tell it by themselves.
    #[serde(default)]
    pub algorithm: Option<RsaAlgorithm>,
}

/// What a key of RSA signs with (RFC 9421 §3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RsaAlgorithm {
    /// RSASSA-PSS with SHA-512.
    #[serde(rename = "rsa-pss-sha512")]
    PssSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256, for clients that cannot do the other.
    #[serde(rename = "rsa-v1_5-sha256")]
    V15Sha256,
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// HMAC with SHA-256.
    HmacSha256,
    /// HMAC with SHA-384.
    HmacSha384,
    /// HMAC with SHA-512.
    HmacSha512,
    /// RSASSA-PSS with SHA-512.
    RsaPssSha512,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaV15Sha256,
    /// ECDSA on P-256 with SHA-256, the two numbers side by side.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384, likewise.
    EcdsaP384Sha384,
    /// Ed25519.
    Ed25519,
}

/// A key that is known.
#[derive(Clone)]
pub struct SigningKey {
    /// Whose it is.
    pub consumer: Arc<Consumer>,
    /// What signatures call it.
    pub id: Arc<str>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    /// The secret, and what the usual hash makes of it.
    Secret(Box<[u8]>, hmac::Key),
    Rsa(RsaAlgorithm, Box<[u8]>),
    P256(Box<[u8]>),
    P384(Box<[u8]>),
    Ed25519(Box<[u8]>),
}

/// Those of all consumers by their ids.
#[derive(Debug, Default)]
pub struct SigningKeys {
    keys: HashMap<Arc<str>, SigningKey>,
    /// One of each sort, in the order in which they come.
    sorts: Vec<SigningKey>,
}

impl SigningKeys {
    /// Takes one more.
    ///
    /// # Errors
    /// It is no key, or not the only one of its id.
    pub(super) fn add(&mut self, consumer: &Arc<Consumer>, config: &SigningKeyConfig) -> Result<(), BuildError> {
        if config.id.is_empty() || !config.id.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(BuildError::new("signatures cannot name this id", "write letters, digits and punctuation of ASCII").at("id"));
        }
        let key = SigningKey { consumer: consumer.clone(), id: config.id.as_str().into(), material: Material::read(config)? };
        if let Some(other) = self.keys.get(&key.id) {
            let reason = format!("consumer `{}` has a key of the same id", other.consumer.name);
            return Err(BuildError::new(reason, "give each key its own id").at("id"));
        }
        if !self.sorts.iter().any(|other| other.material.sort() == key.material.sort()) {
            self.sorts.push(key.clone());
        }
        self.keys.insert(key.id.clone(), key);
        Ok(())
    }

    /// The key of that id.
    pub fn find(&self, id: &str) -> Option<&SigningKey> {
        self.keys.get(id)
    }

    /// One key of each sort that there is: those of one sort take the same time.
    pub fn sorts(&self) -> &[SigningKey] {
        &self.sorts
    }
}

impl SigningKey {
    /// Whether the signature of a text is by this key. `named` is how it says that it was made: where that is not how this key signs, it is wrong, and
    /// finding that out takes as long as with any other.
    pub fn verifies(&self, named: Option<SigningAlgorithm>, text: &[u8], signature: &[u8]) -> bool {
        use SigningAlgorithm::{EcdsaP256Sha256, EcdsaP384Sha384, Ed25519, HmacSha256, HmacSha384, HmacSha512, RsaPssSha512, RsaV15Sha256};
        let public = |algorithm: &'static dyn signature::VerificationAlgorithm, own, bytes: &[u8]| {
            let right = signature::UnparsedPublicKey::new(algorithm, bytes).verify(text, signature).is_ok();
            right && named.is_none_or(|named| named == own)
        };
        match &self.material {
            Material::Secret(secret, usual) => {
                let other = |algorithm| hmac::verify(&hmac::Key::new(algorithm, secret), text, signature).is_ok();
                match named {
                    Some(HmacSha512) => other(hmac::HMAC_SHA512),
                    Some(HmacSha384) => other(hmac::HMAC_SHA384),
                    _ => hmac::verify(usual, text, signature).is_ok() && named.is_none_or(|named| named == HmacSha256),
                }
            }
            Material::Rsa(RsaAlgorithm::PssSha512, key) => public(&signature::RSA_PSS_2048_8192_SHA512, RsaPssSha512, key),
            Material::Rsa(RsaAlgorithm::V15Sha256, key) => public(&signature::RSA_PKCS1_2048_8192_SHA256, RsaV15Sha256, key),
            Material::P256(key) => public(&signature::ECDSA_P256_SHA256_FIXED, EcdsaP256Sha256, key),
            Material::P384(key) => public(&signature::ECDSA_P384_SHA384_FIXED, EcdsaP384Sha384, key),
            Material::Ed25519(key) => public(&signature::ED25519, Ed25519, key),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Material {
    fn read(config: &SigningKeyConfig) -> Result<Self, BuildError> {
        let material = match (&config.secret, &config.secret_base64, &config.public_key) {
            (Some(text), None, None) => Self::secret(text.reveal().as_bytes().into()).map_err(|error| error.at("secret"))?,
            (None, Some(text), None) => {
                let wrong = || BuildError::new("this is not base64", "write it as base64, or the text itself as `secret`");
                let bytes = STANDARD.decode(text.reveal().trim()).map_err(|_| wrong());
                bytes.and_then(|bytes| Self::secret(bytes.into())).map_err(|error| error.at("secret_base64"))?
            }
            (None, None, Some(pem)) => Self::public(pem, config.algorithm).map_err(|error| error.at("public_key"))?,
            _ => {
                let fix = "write one of `secret`, `secret_base64` and `public_key`";
                return Err(BuildError::new("a signing key is one secret or one public key", fix));
            }
        };
        if config.algorithm.is_some() && !matches!(material, Self::Rsa(..)) {
            return Err(BuildError::new("this key tells by itself how it signs", "remove `algorithm`").at("algorithm"));
        }
        Ok(material)
    }

    fn secret(bytes: Box<[u8]>) -> Result<Self, BuildError> {
        /// Less can be found by trying.
        const LEAST: usize = 16;
        if bytes.len() < LEAST {
            return Err(BuildError::new(
                "this secret is too short",
                format!("make one of {LEAST} bytes or more: `openssl rand -base64 32`"),
            ));
        }
        let usual = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        Ok(Self::Secret(bytes, usual))
    }

    fn public(text: &str, algorithm: Option<RsaAlgorithm>) -> Result<Self, BuildError> {
        let wanted = || BuildError::new("this is no public key in PEM", "write one block `-----BEGIN PUBLIC KEY-----`");
        let (rest, pem) = parse_x509_pem(text.trim().as_bytes()).map_err(|_| wanted())?;
        if pem.label.contains("PRIVATE") {
            let fix = "make the public key with `openssl pkey -pubout`; then change this key, for it was copied";
            return Err(BuildError::new("this is a private key", fix));
        }
        if pem.label != "PUBLIC KEY" || !rest.trim_ascii().is_empty() {
            return Err(wanted());
        }
        let (rest, info) = SubjectPublicKeyInfo::from_der(&pem.contents).map_err(|_| wanted())?;
        let (kind, key): (_, Box<[u8]>) = (&info.algorithm.algorithm, (&*info.subject_public_key.data).into());
        let curve = info.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
        let material = match curve {
            _ if !rest.is_empty() => return Err(wanted()),
            _ if *kind == OID_PKCS1_RSAENCRYPTION => Self::Rsa(algorithm.unwrap_or(RsaAlgorithm::PssSha512), key),
            // RFC 4055 §1.2: it may sign with nothing else.
            _ if *kind == OID_PKCS1_RSASSAPSS && algorithm != Some(RsaAlgorithm::V15Sha256) => Self::Rsa(RsaAlgorithm::PssSha512, key),
            Some(curve) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_EC_P256 && key.len() == 65 => Self::P256(key),
            Some(curve) if *kind == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == OID_NIST_EC_P384 && key.len() == 97 => Self::P384(key),
            None if *kind == OID_SIG_ED25519 && key.len() == 32 => Self::Ed25519(key),
            _ => return Err(BuildError::new("keys of this kind are not supported", "use one of RSA, P-256, P-384 or Ed25519")),
        };
        let broken = || BuildError::new("this is no public key: its numbers are none of such a key", "copy it again, or make a new one");
        match &material {
            Self::Rsa(_, key) => rsa(key).ok_or_else(broken)??,
            Self::P256(point) if !is_on(&agreement::ECDH_P256, point) => return Err(broken()),
            Self::P384(point) if !is_on(&agreement::ECDH_P384, point) => return Err(broken()),
            _ => {}
        }
        Ok(material)
    }

    /// What the time of a verification depends on.
    fn sort(&self) -> (Discriminant<Self>, Option<RsaAlgorithm>, usize) {
        match self {
            Self::Rsa(algorithm, key) => (discriminant(self), Some(*algorithm), key.len()),
            _ => (discriminant(self), None, 0),
        }
    }
}

/// Whether a point is on its curve: whoever agrees on a key has to look.
fn is_on(curve: &'static agreement::Algorithm, point: &[u8]) -> bool {
    let own = agreement::EphemeralPrivateKey::generate(curve, &SystemRandom::new());
    own.is_ok_and(|own| agree_ephemeral(own, &agreement::UnparsedPublicKey::new(curve, point), |_| ()).is_ok())
}

/// Whether RSA can be verified with such a key; none where it is no key at all.
fn rsa(key: &[u8]) -> Option<Result<(), BuildError>> {
    let (rest, RSAPublicKey { modulus, exponent }) = RSAPublicKey::from_der(key).ok()?;
    let [0, modulus @ ..] = modulus else { return None };
    let (first, last) = (modulus.first()?, exponent.last()?);
    let bits = 8 * modulus.len() - usize::try_from(first.leading_zeros()).ok()?;
    let exponents = 3..1 << 33;
    let exponent = exponent.iter().try_fold(0_u64, |number, byte| number.checked_mul(256)?.checked_add((*byte).into()))?;
    if !rest.is_empty() || modulus.last()? % 2 == 0 || last % 2 == 0 || !exponents.contains(&exponent) {
        return None;
    }
    Some(match bits {
        ..2048 => Err(BuildError::new("this key of RSA is too short", "use one of 2048 bits or more")),
        8193.. => Err(BuildError::new("this key of RSA is too long", "use one of 8192 bits or fewer")),
        _ => Ok(()),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::testing::{ED25519, P256, RSA, RSA_1024, RSA_4096};
    use super::*;

    fn read(key: Value) -> Result<SigningKey, BuildError> {
        let mut keys = SigningKeys::default();
        keys.add(&Arc::default(), &serde_json::from_value(key).unwrap())?;
        Ok(keys.find("k").unwrap().clone())
    }

    #[test]
    fn a_secret_signs_with_each_hash_and_is_for_no_other_algorithm() {
        let key = read(json!({"id": "k", "secret": "sixteen-bytes-or"})).unwrap();
        let secret = hmac::Key::new(hmac::HMAC_SHA512, b"sixteen-bytes-or");
        let tag = hmac::sign(&secret, b"text");
        assert!(key.verifies(Some(SigningAlgorithm::HmacSha512), b"text", tag.as_ref()));
        assert!(!key.verifies(None, b"text", tag.as_ref()) && !key.verifies(Some(SigningAlgorithm::Ed25519), b"text", tag.as_ref()));
        assert!(!key.verifies(Some(SigningAlgorithm::HmacSha512), b"Text", tag.as_ref()));
        assert_eq!(format!("{key:?}"), "SigningKey { id: \"k\", .. }");
    }

    #[test]
    fn keys_that_cannot_be_meant_are_refused() {
        for (key, place, reason) in [
            (json!({"id": "k"}), "", "one secret or one public key"),
            (json!({"id": "k", "secret": "0123456789abcdef", "public_key": ED25519}), "", "one secret or one public key"),
            (json!({"id": "k", "secret": "short"}), "secret", "too short"),
            (json!({"id": "k", "secret_base64": "?"}), "secret_base64", "not base64"),
            (json!({"id": "", "secret": "0123456789abcdef"}), "id", "cannot name"),
            (json!({"id": "k", "public_key": "hello"}), "public_key", "no public key"),
            (json!({"id": "k", "public_key": ED25519.replace("PUBLIC", "PRIVATE")}), "public_key", "a private key"),
            (json!({"id": "k", "public_key": ED25519.replace("VwAyEA", "VxAyEA")}), "public_key", "not supported"),
            (json!({"id": "k", "public_key": ED25519, "algorithm": "rsa-v1_5-sha256"}), "algorithm", "by itself"),
            (json!({"id": "k", "public_key": P256.replace("XQ==", "XA==")}), "public_key", "its numbers"),
            (json!({"id": "k", "public_key": RSA.replace("IDAQAB", "IDAQAC")}), "public_key", "its numbers"),
            (json!({"id": "k", "public_key": RSA.replace("2wID", "2gID")}), "public_key", "its numbers"),
            (json!({"id": "k", "public_key": RSA_1024}), "public_key", "too short"),
        ] {
            let error = read(key.clone()).unwrap_err();
            assert_eq!(error.path.to_string(), place, "{key}");
            assert!(error.reason.contains(reason), "{key}: {}", error.reason);
        }
        for key in [ED25519, P256, RSA] {
            read(json!({"id": "k", "public_key": key})).unwrap();
        }
    }

    #[test]
    fn keys_of_one_sort_take_the_same_time() {
        let mut keys = SigningKeys::default();
        let all = [
            (json!({"secret": "sixteen-bytes-or"}), 1),
            (json!({"secret": "sixteen-bytes-or-more"}), 1),
            (json!({"public_key": P256}), 2),
            (json!({"public_key": RSA}), 3),
            (json!({"public_key": RSA, "algorithm": "rsa-v1_5-sha256"}), 4),
            (json!({"public_key": RSA_4096}), 5),
            (json!({"public_key": RSA_4096}), 5),
        ];
        for (number, (mut key, sorts)) in all.into_iter().enumerate() {
            key["id"] = number.to_string().into();
            keys.add(&Arc::default(), &serde_json::from_value(key).unwrap()).unwrap();
            assert_eq!(keys.sorts().len(), sorts, "{number}");
        }
    }

    #[test]
    fn an_id_names_one_key() {
        let mut keys = SigningKeys::default();
        let config = serde_json::from_value(json!({"id": "k", "secret": "0123456789abcdef"})).unwrap();
        keys.add(&Arc::default(), &config).unwrap();
        assert_eq!(keys.add(&Arc::default(), &config).unwrap_err().path.to_string(), "id");
    }
}
