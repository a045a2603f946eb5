//! The keys that tokens are verified with: read once, checked once, each for one algorithm only.

mod fetch;
mod jwk;
mod keyring;
mod pem;
mod provider;
mod status;

pub use fetch::FetchConfig;
pub use jwk::read as read_jwks;
pub use keyring::{Known, Wish};
pub use pem::read as read_pem;
pub use provider::{Provider, Source};
pub use status::KeysStatus;

use std::fmt;

use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::signature::{Error, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use ring::{agreement, hmac, rand, signature};
use smallvec::SmallVec;

use crate::building::{BuildError, did_you_mean};

/// The algorithms that a key can have (RFC 7518 §3.1, RFC 8037 §3.1).
pub const ALGORITHMS: &[&str] =
    &["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// How many keys one token may be tried with: each try is a signature verification that an anonymous caller makes us do.
const TRIES: usize = 8;

/// The algorithm of that name, in a token or a key. `Ed25519` is the newer name of what `EdDSA` means here (RFC 9864 §2.2).
pub fn algorithm(name: &str) -> Option<Algorithm> {
    if name == "Ed25519" { Some(Algorithm::EdDSA) } else { name.parse().ok() }
}

/// The algorithm that a user wrote.
///
/// # Errors
/// It is not known, or known and not supported; the fix says what to write.
pub fn configured(name: &str) -> Result<Algorithm, BuildError> {
    algorithm(name).ok_or_else(|| match name {
        "none" => BuildError::new("`none` is no signature", "give a key and its algorithm"),
        "ES512" => BuildError::new("ES512 is not supported: the crypto library has no P-521", "sign with ES256, ES384 or EdDSA"),
        "ES256K" => BuildError::new("ES256K is not supported: the crypto library has no secp256k1", "sign with ES256, ES384 or EdDSA"),
        other => {
            let fix = match did_you_mean(other, ALGORITHMS.iter().copied()) {
                Some(near) => format!("write `{near}`"),
                None => format!("write one of {}", ALGORITHMS.join(", ")),
            };
            BuildError::new(format!("`{other}` is not an algorithm"), fix)
        }
    })
}

/// One key. It verifies signatures of its own algorithm and no other (RFC 8725 §3.1), so that a public key is never taken for a secret.
pub struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
}

/// As far prepared as `ring` offers: it takes decoded numbers and points, and derives the rest (a few µs for RSA) on each verification.
enum Material {
    Secret(hmac::Key),
    Rsa(&'static signature::RsaParameters, signature::RsaPublicKeyComponents<Vec<u8>>),
    Curve(signature::UnparsedPublicKey<Vec<u8>>),
}

/// A public key as read, before it is tied to an algorithm.
#[derive(Clone)]
pub enum Public {
    /// Modulus and exponent, big-endian.
    Rsa(Vec<u8>, Vec<u8>),
    /// A point on P-256, uncompressed: `04`, x, y.
    P256(Vec<u8>),
    /// A point on P-384, uncompressed.
    P384(Vec<u8>),
    /// The 32 bytes of an Ed25519 key.
    Ed25519(Vec<u8>),
}

impl Key {
    /// Whether tokens can name it.
    pub fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// A shared secret for an HMAC.
    ///
    /// # Errors
    /// The secret is shorter than the hash (RFC 7518 §3.2) or is a public key, or the algorithm is not an HMAC.
    pub fn secret(id: Option<&str>, algorithm: Algorithm, secret: &[u8]) -> Result<Self, BuildError> {
        let (hash, least) = match algorithm {
            Algorithm::HS256 => (hmac::HMAC_SHA256, 32),
            Algorithm::HS384 => (hmac::HMAC_SHA384, 48),
            Algorithm::HS512 => (hmac::HMAC_SHA512, 64),
            other => return Err(BuildError::new(format!("{other:?} does not use a secret"), "give the public key of the signer")),
        };
        if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Err(BuildError::new("this secret is a PEM file", "give it as `pem` or `pem_file`, with an algorithm for public keys"));
        }
        if secret.len() < least {
            let reason = format!("a secret of {} bytes is too short for {algorithm:?}", secret.len());
            return Err(BuildError::new(reason, format!("use at least {least} random bytes (RFC 7518 §3.2)")));
        }
        Ok(Self { id: id.map(Box::from), algorithm, material: Material::Secret(hmac::Key::new(hash, secret)) })
    }

    /// A public key. A curve has one algorithm; an RSA key needs it said.
    ///
    /// # Errors
    /// The key is too short (RFC 7518 §3.3), malformed, or not of that algorithm.
    pub fn public(id: Option<&str>, algorithm: Option<Algorithm>, public: Public) -> Result<Self, BuildError> {
        let (natural, what) = match public {
            Public::Rsa(..) => (None, "an RSA key"),
            Public::P256(_) => (Some(Algorithm::ES256), "a P-256 key"),
            Public::P384(_) => (Some(Algorithm::ES384), "a P-384 key"),
            Public::Ed25519(_) => (Some(Algorithm::EdDSA), "an Ed25519 key"),
        };
        let Some(algorithm) = algorithm.or(natural) else {
            return Err(BuildError::new("an RSA key needs its algorithm", "write `algorithm: RS256`, or what the issuer signs with"));
        };
        let fits = natural.map_or(algorithm.family() == AlgorithmFamily::Rsa, |natural| natural == algorithm);
        if !fits {
            let fix = format!("write `algorithm: {}`", natural.map_or("RS256".to_owned(), |natural| format!("{natural:?}")));
            return Err(BuildError::new(format!("{what} cannot be used with {algorithm:?}"), fix));
        }
        let material = match public {
            Public::Rsa(n, e) => rsa(algorithm, n, e)?,
            Public::P256(point) => curve(&signature::ECDSA_P256_SHA256_FIXED, Some(&agreement::ECDH_P256), point)?,
            Public::P384(point) => curve(&signature::ECDSA_P384_SHA384_FIXED, Some(&agreement::ECDH_P384), point)?,
            Public::Ed25519(point) if point.len() == 32 => curve(&signature::ED25519, None, point)?,
            Public::Ed25519(_) => return Err(malformed()),
        };
        Ok(Self { id: id.map(Box::from), algorithm, material })
    }
}

fn malformed() -> BuildError {
    BuildError::new("this key is malformed", "export the public key again from the issuer")
}

fn rsa(algorithm: Algorithm, n: Vec<u8>, e: Vec<u8>) -> Result<Material, BuildError> {
    let parameters = match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        _ => &signature::RSA_PSS_2048_8192_SHA512,
    };
    let (n, e) = (unpadded(n), unpadded(e));
    let bits = n.first().map_or(0, |first| 8 * n.len() - first.leading_zeros() as usize);
    if !(2048..=8192).contains(&bits) {
        return Err(BuildError::new(format!("an RSA key of {bits} bits is refused"), "use 2048 to 8192 bits (RFC 7518 §3.3)"));
    }
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !odd(&n) || !odd(&e) || e == [1] || e.len() > 4 {
        return Err(malformed());
    }
    Ok(Material::Rsa(parameters, signature::RsaPublicKeyComponents { n, e }))
}

/// Without leading zeros, which some issuers write against RFC 7518 §2 and `ring` refuses on each verification.
fn unpadded(mut number: Vec<u8>) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.drain(..zeros);
    number
}

fn curve(
    verification: &'static dyn signature::VerificationAlgorithm,
    curve: Option<&'static agreement::Algorithm>,
    point: Vec<u8>,
) -> Result<Material, BuildError> {
    if let Some(curve) = curve {
        // A point off the curve would build and then refuse every token; a key agreement is what tells now.
        let own = agreement::EphemeralPrivateKey::generate(curve, &rand::SystemRandom::new()).map_err(|_| malformed())?;
        agreement::agree_ephemeral(own, &agreement::UnparsedPublicKey::new(curve, &point), |_| ()).map_err(|_| malformed())?;
    }
    Ok(Material::Curve(signature::UnparsedPublicKey::new(verification, point)))
}

impl Verifier<Vec<u8>> for Key {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), Error> {
        match &self.material {
            Material::Secret(key) => hmac::verify(key, message, signature),
            Material::Rsa(parameters, key) => key.verify(parameters, message, signature),
            Material::Curve(key) => key.verify(message, signature),
        }
        // Why it failed is nobody's business: the reason could be an oracle.
        .map_err(|_| Error::new())
    }
}

impl JwtVerifier for Key {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet(Vec<Key>);

/// Why no key was found for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// No key has the token's `kid`.
    Unknown,
    /// The token is signed with an algorithm that its key is not for, or that no key is for.
    Algorithm,
    /// The token has no `kid`, and too many keys could have signed it.
    Ambiguous,
}

/// Keys told in the log; the rest is a number.
const TOLD: usize = 8;

impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, key) in self.0.iter().take(TOLD).enumerate() {
            // Whoever publishes it can write anything.
            let id: Option<String> = key.id.as_deref().map(|id| id.chars().take(64).collect());
            let before = if place == 0 { "" } else { ", " };
            match id {
                Some(id) => write!(f, "{before}{id:?} ({:?})", key.algorithm)?,
                None => write!(f, "{before}one without id ({:?})", key.algorithm)?,
            }
        }
        if self.0.len() > TOLD { write!(f, " and {} more", self.0.len() - TOLD) } else { Ok(()) }
    }
}

impl KeySet {
    /// A set of these keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// Whether one of them is for one of these algorithms.
    pub fn is_for(&self, algorithms: &[Algorithm]) -> bool {
        self.0.iter().any(|key| algorithms.contains(&key.algorithm))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys that may have signed a token: those of its `kid` and algorithm. `kid` only selects; it is never trusted (RFC 8725 §3.10).
    /// A key without id is tried for each token of its algorithm that names no known key, a token without `kid` with each key of its algorithm.
    ///
    /// # Errors
    /// There is none, or there are too many to try.
    pub fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<SmallVec<[&Key; 2]>, NoKey> {
        let named = |key: &&Key| kid.is_some() && key.id.as_deref() == kid;
        let known = self.0.iter().any(|key| named(&key));
        let selected = |key: &&Key| if known { named(key) } else { kid.is_none() || key.id.is_none() };
        let found: SmallVec<[&Key; 2]> = self.0.iter().filter(selected).filter(|key| key.algorithm == algorithm).take(TRIES + 1).collect();
        match found.len() {
            0 if known || kid.is_none() || self.0.iter().any(|key| selected(&key)) => Err(NoKey::Algorithm),
            0 => Err(NoKey::Unknown),
            tries if tries > TRIES => Err(NoKey::Ambiguous),
            _ => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: Option<&str>, algorithm: Algorithm) -> Key {
        Key::secret(id, algorithm, &[7; 64]).unwrap()
    }

    #[test]
    fn a_secret_shorter_than_its_hash_is_refused() {
        for (algorithm, least) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
            assert!(Key::secret(None, algorithm, &vec![7; least]).is_ok());
            assert!(Key::secret(None, algorithm, &vec![7; least - 1]).unwrap_err().reason.contains("too short"));
        }
    }

    #[test]
    fn a_public_key_is_never_a_secret_and_a_secret_never_a_public_key() {
        let pem = b"-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----";
        assert!(Key::secret(None, Algorithm::HS256, pem).unwrap_err().reason.contains("PEM"));
        assert!(Key::secret(None, Algorithm::RS256, &[7; 64]).is_err());
        let mut n = vec![0xff; 256];
        assert!(Key::public(None, Some(Algorithm::HS256), Public::Rsa(n.clone(), vec![1, 0, 1])).is_err());
        assert!(Key::public(None, Some(Algorithm::RS256), Public::Rsa(n.clone(), vec![1, 0, 1])).is_ok());
        n.truncate(255);
        assert!(Key::public(None, Some(Algorithm::RS256), Public::Rsa(n, vec![1, 0, 1])).unwrap_err().reason.contains("2040 bits"));
    }

    #[test]
    fn a_point_off_its_curve_is_refused_at_build() {
        let mut point = vec![4];
        point.extend([1; 64]);
        assert_eq!(Key::public(None, None, Public::P256(point)).unwrap_err().reason, "this key is malformed");
    }

    #[test]
    fn a_kid_selects_and_the_algorithm_stays_pinned() {
        let set = KeySet::new(vec![key(Some("a"), Algorithm::HS256), key(Some("b"), Algorithm::HS512), key(Some("c"), Algorithm::HS256)]);
        let ids = |alg, kid| set.find(alg, kid).map(|found| found.iter().map(|key| key.id.clone().unwrap()).collect::<String>());
        assert_eq!(ids(Algorithm::HS256, Some("a")), Ok("a".into()));
        assert_eq!(ids(Algorithm::HS256, Some("b")), Err(NoKey::Algorithm));
        assert_eq!(ids(Algorithm::HS256, Some("x")), Err(NoKey::Unknown));
        assert_eq!(ids(Algorithm::HS256, None), Ok("ac".into()));
        assert_eq!(ids(Algorithm::RS256, None), Err(NoKey::Algorithm));
    }

    #[test]
    fn a_key_without_id_fits_any_kid_and_tries_are_bounded() {
        let set = KeySet::new(vec![key(None, Algorithm::HS256), key(Some("a"), Algorithm::HS256)]);
        assert_eq!(set.find(Algorithm::HS256, Some("x")).unwrap().len(), 1);
        assert_eq!(set.find(Algorithm::HS384, Some("x")).unwrap_err(), NoKey::Algorithm);
        let many = KeySet::new((0..9).map(|_| key(None, Algorithm::HS256)).collect());
        assert_eq!(many.find(Algorithm::HS256, None).unwrap_err(), NoKey::Ambiguous);
    }

    #[test]
    fn an_unsupported_algorithm_is_refused_with_its_reason() {
        assert!(configured("ES512").unwrap_err().reason.contains("P-521"));
        assert!(configured("none").is_err());
        assert_eq!(configured("RS265").unwrap_err().fix, "write `RS256`");
        assert!(ALGORITHMS.iter().all(|name| configured(name).is_ok()));
    }
}
