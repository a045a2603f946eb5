//! What the gateway signs with, and what it publishes of that: tokens in its own name.

// Each uses only those above it.
mod config;
mod key;
#[cfg(test)]
mod tests;

pub use config::{Algorithm, SigningConfig, SigningKeyConfig};

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::key::Key;
use crate::building::{BuildError, Errors};
use crate::state::Offload;

/// `signing`, ready to sign.
pub struct Signer {
    issuer: Box<str>,
    /// The one that signs.
    first: Arc<Key>,
    /// How each of its tokens begins: the header (RFC 7515 §4.1), encoded, and a dot.
    head: Box<str>,
    /// For tokens that are signed beside the workers.
    places: Arc<Semaphore>,
    /// What is published.
    jwks: Bytes,
}

/// So many tokens may be signed beside the workers at once: a quarter of what is done there at all.
const PLACES: usize = 4;

/// For so long a token waits for its turn there.
const PATIENCE: Duration = Duration::from_secs(1);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("issuer", &self.issuer).field("first", &self.first).finish_non_exhaustive()
    }
}

impl Signer {
    /// Reads the keys.
    ///
    /// # Errors
    /// Those that cannot be used, no key at all, no issuer; below `signing`.
    pub fn build(config: &SigningConfig, folder: &Path) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let mut keys: Vec<Arc<Key>> = Vec::new();
        if config.issuer.trim().is_empty() {
            let error = BuildError::new("tokens say who has signed them", "write `issuer: https://gateway.example.com`");
            errors.push(error.at("issuer"));
        }
        for (place, config) in config.keys.iter().enumerate() {
            let Some(key) = errors.keep(&["keys".into(), place.into()], Key::build(config, folder)) else { continue };
            if let Some(first) = keys.iter().position(|other| other.id() == key.id()) {
                let error = BuildError::new("the same key stands here twice", "remove one of them");
                errors.push(error.beside([first.into()]).at(place).at("keys"));
            }
            keys.push(Arc::new(key));
        }
        if config.keys.is_empty() {
            errors.push(BuildError::new("there is no key to sign with", "write `keys: [{ pem_file: signing.pem }]`").at("keys"));
        }
        let jwks = json!({"keys": keys.iter().map(|key| key.published()).collect::<Vec<_>>()}).to_string().into();
        match keys.into_iter().next() {
            Some(first) => {
                let head = json!({"alg": first.algorithm().name(), "typ": "JWT", "kid": first.id()}).to_string();
                let head = format!("{}.", URL_SAFE_NO_PAD.encode(head)).into();
                let places = Arc::new(Semaphore::new(PLACES));
                errors.finish(Self { issuer: config.issuer.as_str().into(), first, head, places, jwks })
            }
            None => Err(errors),
        }
    }

    /// In whose name it signs.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The public keys, as a JWK Set (RFC 7517 §5).
    pub fn published(&self) -> Bytes {
        self.jwks.clone()
    }

    /// Another for each other name, key and algorithm.
    pub fn id(&self) -> String {
        format!("{:?} {}", self.issuer, self.head)
    }

    /// Whether it signs beside the worker, so that a token may have to wait for its turn.
    pub fn is_slow(&self) -> bool {
        self.first.is_slow()
    }

    /// A token with these claims, JSON (RFC 7515 §7.1).
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn sign(&self, claims: &str, offload: &Offload) -> Result<String, &'static str> {
        let mut token = self.head.to_string();
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let key = self.first.clone();
        let work = move || {
            let signature = key.sign(token.as_bytes()).ok_or("the system has no random numbers")?;
            token.push('.');
            URL_SAFE_NO_PAD.encode_string(signature, &mut token);
            Ok(token)
        };
        if !self.is_slow() {
            return work();
        }
        let beside = async {
            let place = self.places.clone().acquire_owned().await;
            let work = move || {
                let signed = work();
                // Whoever waits may stop waiting, the work does not.
                drop(place);
                signed
            };
            offload.run_in_turn(work).await.unwrap_or_else(|work| work())
        };
        timeout(PATIENCE, beside).await.unwrap_or(Err("too many others are being signed"))
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Signer, SigningConfig};

    /// A new key of Ed25519 in PEM.
    pub fn pem() -> String {
        pem_of(&rcgen::PKCS_ED25519)
    }

    /// The same of another kind.
    pub fn pem_of(kind: &'static rcgen::SignatureAlgorithm) -> String {
        let der = STANDARD.encode(rcgen::KeyPair::generate_for(kind).unwrap().serialize_der());
        format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n")
    }

    /// A key of RSA in PEM.
    pub const RSA: &str = include_str!("../../conf/examples/oidc/issuer.key");

    /// Signs with a new key.
    pub fn signer() -> Signer {
        signer_of(&pem(), "EdDSA")
    }

    /// Signs with this key in this way.
    pub fn signer_of(pem: &str, algorithm: &str) -> Signer {
        let config = serde_json::json!({"issuer": "https://gateway.test", "keys": [{"pem": pem, "algorithm": algorithm}]});
        Signer::build(&serde_json::from_value::<SigningConfig>(config).unwrap(), Path::new("")).unwrap()
    }
}
