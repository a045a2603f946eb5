use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Map, Value, json};

use super::{Algorithm, SigningKeyConfig};
use crate::building::{BuildError, read_file};

/// A private key, and what is published of it.
pub(super) struct Key {
    algorithm: Algorithm,
    material: Material,
    jwk: Map<String, Value>,
    id: Box<str>,
}

enum Material {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Key {
    /// # Errors
    /// None is there, or two; it cannot be read, or not sign that way.
    pub fn build(config: &SigningKeyConfig, folder: &Path) -> Result<Self, BuildError> {
        let (place, text) = match (&config.pem, &config.pem_file) {
            (Some(pem), None) => ("pem", pem.reveal().as_bytes().to_vec()),
            (None, Some(name)) => ("pem_file", read_file(folder, name).map_err(|error| error.at("pem_file"))?),
            (Some(_), Some(_)) => return Err(BuildError::new("a key is written once", "remove one of them").at("pem_file")),
            (None, None) => return Err(BuildError::new("there is no key", "write `pem_file: signing.pem`")),
        };
        let (material, natural, jwk) = read(&text).map_err(|error| error.at(place))?;
        let algorithm = config.algorithm.unwrap_or(natural);
        let fits = algorithm == natural || (matches!(material, Material::Rsa(_)) && encoding(algorithm).is_some());
        if !fits {
            let reason = format!("this key does not sign with {}", algorithm.name());
            return Err(BuildError::new(reason, format!("write `{}`, or remove it", natural.name())).at("algorithm"));
        }
        let id = thumbprint(&jwk).into();
        Ok(Self { algorithm, material, jwk, id })
    }

    /// Its thumbprint (RFC 7638): those who verify know it by that.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as a JWK (RFC 7517 §4).
    pub fn published(&self) -> Value {
        let mut jwk = self.jwk.clone();
        for (name, value) in [("use", "sig"), ("alg", self.algorithm.name()), ("kid", &self.id)] {
            jwk.insert(name.to_owned(), value.into());
        }
        Value::Object(jwk)
    }

    /// Whether a signature takes more than 100 µs: one of P-384 takes 800, one of RSA a thousand and more.
    pub fn is_slow(&self) -> bool {
        !matches!(self.algorithm, Algorithm::ES256 | Algorithm::EdDSA)
    }

    /// None where the system has no random numbers.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        match &self.material {
            Material::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(encoding(self.algorithm)?, &random, message, &mut signature).ok()?;
                Some(signature)
            }
            Material::Ecdsa(key) => Some(key.sign(&random, message).ok()?.as_ref().to_vec()),
            Material::Ed25519(key) => Some(key.sign(message).as_ref().to_vec()),
        }
    }
}

fn encoding(algorithm: Algorithm) -> Option<&'static dyn RsaEncoding> {
    Some(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
        Algorithm::ES256 | Algorithm::ES384 | Algorithm::EdDSA => return None,
    })
}

/// The key of a PEM text, what it signs with by itself, and its public half as a JWK with no member but those of its thumbprint, in their order.
fn read(pem: &[u8]) -> Result<(Material, Algorithm, Map<String, Value>), BuildError> {
    let unusable = || {
        let fix = "make one with `openssl genpkey -algorithm ed25519`, or write yours anew with `openssl pkcs8 -topk8 -nocrypt`";
        BuildError::new("this is no private key of Ed25519, P-256, P-384 or RSA (2048 bits or more) in PEM (PKCS #8)", fix)
    };
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unusable())?;
    let der = key.secret_der();
    if let PrivateKeyDer::Pkcs1(_) = key {
        return RsaKeyPair::from_der(der).map(rsa).map_err(|_| unusable());
    }
    if let Ok(key) = RsaKeyPair::from_pkcs8(der) {
        return Ok(rsa(key));
    }
    let random = SystemRandom::new();
    for (signing, algorithm, curve) in
        [(&ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256, "P-256"), (&ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384, "P-384")]
    {
        let Ok(key) = EcdsaKeyPair::from_pkcs8(signing, der, &random) else { continue };
        // The point uncompressed: 04, x, y.
        let point = key.public_key().as_ref().split_first().map_or(&[][..], |(_, point)| point);
        let (x, y) = point.split_at(point.len() / 2);
        let jwk = object(&[("crv", curve.to_owned()), ("kty", "EC".to_owned()), ("x", base64(x)), ("y", base64(y))]);
        return Ok((Material::Ecdsa(Box::new(key)), algorithm, jwk));
    }
    // OpenSSL writes it without the public half.
    let key = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| unusable())?;
    let jwk = object(&[("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", base64(key.public_key().as_ref()))]);
    Ok((Material::Ed25519(Box::new(key)), Algorithm::EdDSA, jwk))
}

fn rsa(key: RsaKeyPair) -> (Material, Algorithm, Map<String, Value>) {
    let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
    let jwk = object(&[("e", base64(&public.e)), ("kty", "RSA".to_owned()), ("n", base64(&public.n))]);
    (Material::Rsa(Box::new(key)), Algorithm::RS256, jwk)
}

pub(super) fn object(members: &[(&str, String)]) -> Map<String, Value> {
    members.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect()
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// RFC 7638 §3: the SHA-256 of the members that make the key, in the order of their names.
pub(super) fn thumbprint(jwk: &Map<String, Value>) -> String {
    let text = Value::Object(jwk.clone()).to_string();
    base64(digest(&SHA256, text.as_bytes()).as_ref())
}
