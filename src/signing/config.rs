use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::Secret;

/// `signing:`: who the gateway is in tokens that it signs itself, and its keys for them. A service gets such tokens with `credentials: { jwt: … }`; the
/// handler `jwks` shows the public keys to those who verify them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SigningConfig {
    /// The claim `iss` of these tokens: a URL of the gateway.
    pub issuer: String,
    /// The keys. The first signs, all are published. To change keys without a token refused, add the new one behind, wait until those who verify have seen
    /// it (`max_age` of `jwks`), put it first, and remove the old one once its tokens have expired.
    #[schemars(length(min = 1))]
    pub keys: Vec<SigningKeyConfig>,
}

/// A private key: exactly one of `pem` and `pem_file`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SigningKeyConfig {
    /// The key in PEM (PKCS #8), such as `${SIGNING_KEY}`: Ed25519, P-256, P-384 or RSA of 2048 bits or more.
    pub pem: Option<Secret>,
    /// A file with it. It is read again when it changes.
    pub pem_file: Option<String>,
    /// What the key signs with. Default: what a curve tells; RS256 for RSA. Ed25519 and P-256 are quick. With P-384 and RSA a token takes about a millisecond,
    /// beside the workers, a few at once; a request whose token has no turn within a second gets 503.
    pub algorithm: Option<Algorithm>,
}

/// What a key signs with (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Algorithm {
    /// RSA, PKCS #1 v1.5 with SHA-256.
    RS256,
    /// The same with SHA-384.
    RS384,
    /// The same with SHA-512.
    RS512,
    /// RSA, PSS with SHA-256.
    PS256,
    /// The same with SHA-384.
    PS384,
    /// The same with SHA-512.
    PS512,
    /// ECDSA on P-256.
    ES256,
    /// ECDSA on P-384.
    ES384,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// Its name in tokens.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::EdDSA => "EdDSA",
        }
    }
}

impl SigningConfig {
    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(|key| key.pem_file.as_deref())
    }
}
