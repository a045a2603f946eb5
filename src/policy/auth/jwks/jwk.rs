//! JSON Web Keys (RFC 7517) and sets of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{Key, Public, algorithm};
use crate::building::BuildError;

/// How many keys a set may hold.
const MOST: usize = 256;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

/// The members that matter here. No `Debug`: `k` is a secret.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    alg: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    k: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
}

/// What became of one JWK.
enum Read {
    /// One key for each algorithm that it is for.
    Usable(Vec<Key>),
    /// Passed over, as RFC 7517 §5 asks for keys that are not understood, with the reason.
    Other(String),
}

/// The keys of a set that an issuer has published.
pub struct Published {
    /// Those that verify signatures.
    pub keys: Vec<Key>,
    /// Why others do not.
    pub others: Vec<String>,
}

/// Every key of a set, or of a single JWK, that verifies signatures. Keys for encryption and of unknown kinds are passed over; `fallback` is for keys
/// of RSA and secrets that do not say their algorithm.
///
/// # Errors
/// The text is not a JWK Set, a key in it is private, short or malformed, or none is left.
pub fn read(json: &[u8], fallback: Option<Algorithm>) -> Result<Vec<Key>, BuildError> {
    let not_a_set = |error: serde_json::Error| {
        // serde's text may quote what it read, and a JWK may be a secret: only the place is told.
        let reason = format!("this is not a JWK Set (line {}, column {})", error.line(), error.column());
        BuildError::new(reason, "write `{\"keys\": […]}` (RFC 7517 §5)")
    };
    let whole: Value = serde_json::from_slice(json).map_err(not_a_set)?;
    let jwks = if whole.get("keys").is_some() { serde_json::from_value::<Set>(whole).map_err(not_a_set)?.keys } else { vec![whole] };
    if jwks.len() > MOST {
        return Err(BuildError::new(format!("this set has {} keys", jwks.len()), format!("keep at most {MOST}")));
    }
    let (mut keys, mut others) = (Vec::new(), Vec::new());
    for (index, jwk) in jwks.into_iter().enumerate() {
        match one(jwk, fallback.as_slice()) {
            Ok(Read::Usable(found)) => keys.extend(found),
            Ok(Read::Other(why)) => others.push(format!("key {index} {why}")),
            Err(error) => return Err(BuildError::new(format!("key {index}: {}", error.reason), error.fix)),
        }
    }
    if keys.is_empty() {
        let why = if others.is_empty() { "it is empty".to_owned() } else { others.join(", ") };
        return Err(BuildError::new(format!("no key of this set can verify a signature: {why}"), "add the issuer's public signing keys"));
    }
    Ok(keys)
}

/// What is usable of a set that came over the network; keys of RSA that do not say their algorithm are for each of `fallback`. One bad key spoils no
/// other. A secret is none any more once it is published, and so is a private key.
///
/// # Errors
/// The text is not a JWK Set, or holds too many keys.
pub fn published(json: &[u8], fallback: &[Algorithm]) -> Result<Published, String> {
    let set: Set = serde_json::from_slice(json)
        .map_err(|error| format!("what came is not a JWK Set (line {}, column {})", error.line(), error.column()))?;
    if set.keys.len() > MOST {
        return Err(format!("there are {} keys, and at most {MOST} are taken", set.keys.len()));
    }
    let mut published = Published { keys: Vec::new(), others: Vec::new() };
    for (index, jwk) in set.keys.into_iter().enumerate() {
        let why = match jwk.get("kty").and_then(Value::as_str) {
            Some("oct") => "is a secret, which nobody may publish".to_owned(),
            _ => match one(jwk, fallback) {
                Ok(Read::Usable(found)) => {
                    published.keys.extend(found);
                    continue;
                }
                Ok(Read::Other(why)) => why,
                Err(error) => format!("cannot be used: {}", error.reason),
            },
        };
        published.others.push(format!("key {index} {why}"));
    }
    Ok(published)
}

fn one(jwk: Value, fallback: &[Algorithm]) -> Result<Read, BuildError> {
    let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else {
        return Err(BuildError::new("this is not a JWK", "give it `kty` and the members of that type, as text (RFC 7517 §4)"));
    };
    let ops = jwk.key_ops.as_deref();
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") || ops.is_some_and(|ops| !ops.iter().any(|op| op == "verify")) {
        return Ok(Read::Other("is not for signatures".to_owned()));
    }
    if jwk.d.is_some() || jwk.p.is_some() || jwk.q.is_some() {
        let fix = "keep the private key with the issuer and give the public members only; then change this key, for it was copied";
        return Err(BuildError::new("this is a private key", fix));
    }
    let named = match jwk.alg.as_deref() {
        None => None,
        Some(name) => match algorithm(name) {
            None => return Ok(Read::Other(format!("has the algorithm {name:?}, which is not supported"))),
            known => known,
        },
    };
    let or_else = |family| -> Vec<Algorithm> {
        let fits = |algorithm: &Algorithm| algorithm.family() == family;
        named.map_or_else(|| fallback.iter().copied().filter(fits).collect(), |named| vec![named])
    };
    let id = jwk.kid.as_deref();
    let keys: Result<Vec<Key>, BuildError> = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("oct", _) => {
            let secret = decode(jwk.k.as_deref())?;
            or_else(AlgorithmFamily::Hmac).into_iter().map(|algorithm| Key::secret(id, algorithm, &secret)).collect()
        }
        ("RSA", _) => {
            let public = Public::Rsa(decode(jwk.n.as_deref())?, decode(jwk.e.as_deref())?);
            or_else(AlgorithmFamily::Rsa).into_iter().map(|algorithm| Key::public(id, Some(algorithm), public.clone())).collect()
        }
        ("EC", Some("P-256")) => Key::public(id, named, Public::P256(point(&jwk, 32)?)).map(|key| vec![key]),
        ("EC", Some("P-384")) => Key::public(id, named, Public::P384(point(&jwk, 48)?)).map(|key| vec![key]),
        ("OKP", Some("Ed25519")) => Key::public(id, named, Public::Ed25519(decode(jwk.x.as_deref())?)).map(|key| vec![key]),
        ("EC" | "OKP", Some(curve)) => return Ok(Read::Other(format!("is on the curve {curve:?}, which is not supported"))),
        (other, _) => return Ok(Read::Other(format!("is of the type {other:?}, which is not supported"))),
    };
    match keys? {
        none if none.is_empty() => Ok(Read::Other("does not say its `alg`".to_owned())),
        keys => Ok(Read::Usable(keys)),
    }
}

fn decode(member: Option<&str>) -> Result<Vec<u8>, BuildError> {
    member.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).filter(|bytes| !bytes.is_empty()).ok_or_else(super::malformed)
}

/// An uncompressed point. Each coordinate has the full width of the field (RFC 7518 §6.2.1.2).
fn point(jwk: &Jwk, width: usize) -> Result<Vec<u8>, BuildError> {
    let mut point = vec![4];
    for coordinate in [&jwk.x, &jwk.y] {
        let bytes = decode(coordinate.as_deref())?;
        if bytes.len() != width {
            return Err(super::malformed());
        }
        point.extend(bytes);
    }
    Ok(point)
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256: &str =
        r#""kty":"EC","crv":"P-256","x":"04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY","y":"UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw""#;
    const SECRET: &str = r#"{"kty":"oct","k":"hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"}"#;

    fn why(json: &str) -> String {
        read(json.as_bytes(), None).unwrap_err().reason
    }

    #[test]
    fn a_curve_tells_its_algorithm_and_a_secret_needs_it_told() {
        assert_eq!(read(format!("{{{P256}}}").as_bytes(), None).unwrap()[0].algorithm, Algorithm::ES256);
        assert!(why(SECRET).contains("does not say its `alg`"));
        assert_eq!(read(SECRET.as_bytes(), Some(Algorithm::HS256)).unwrap()[0].algorithm, Algorithm::HS256);
        assert!(read(SECRET.as_bytes(), Some(Algorithm::RS256)).is_err());
    }

    #[test]
    fn keys_for_encryption_and_of_unknown_kinds_are_passed_over() {
        let set = format!(r#"{{"keys":[{{{P256},"use":"enc"}},{{"kty":"EC","crv":"P-521"}},{{"kty":"new"}},{{{P256},"kid":"good"}}]}}"#);
        let keys = read(set.as_bytes(), None).unwrap();
        assert_eq!(keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(), [Some("good")]);
        assert!(why(&format!(r#"{{"keys":[{{{P256},"key_ops":["encrypt"]}}]}}"#)).contains("key 0 is not for signatures"));
    }

    #[test]
    fn a_private_a_mismatched_and_a_malformed_key_are_refused() {
        assert!(why(&format!(r#"{{{P256},"d":"yy49"}}"#)).contains("private"));
        assert!(why(&format!(r#"{{{P256},"alg":"HS256"}}"#)).contains("cannot be used with HS256"));
        assert!(why(&format!(r#"{{{P256},"alg":"ES384"}}"#)).contains("cannot be used with ES384"));
        assert!(why(r#"{"kty":"EC","crv":"P-256","x":"AAA","y":"AAA"}"#).contains("malformed"));
        assert!(why(r#"{"kty":"oct","alg":"HS256","k":"c2hvcnQ"}"#).contains("too short"));
    }

    #[test]
    fn of_a_published_set_each_key_is_taken_by_itself_and_no_secret() {
        let n = URL_SAFE_NO_PAD.encode([0xff; 256]);
        let set = format!(
            r#"{{"keys":[{{{P256},"kid":"a"}},{SECRET},{{{P256},"d":"yy49"}},{{"kty":"EC","crv":"P-256","x":"AAA","y":"AAA"}},
                {{"kty":"RSA","kid":"r","n":"{n}","e":"AQAB"}},{{"kty":"RSA","kid":"x","alg":"PS384","n":"{n}","e":"AQAB"}},7]}}"#
        );
        let published = published(set.as_bytes(), &[Algorithm::RS256, Algorithm::PS256]).unwrap();
        let keys: Vec<_> = published.keys.iter().map(|key| (key.id.as_deref().unwrap(), key.algorithm)).collect();
        use Algorithm::{ES256, PS256, PS384, RS256};
        assert_eq!(keys, [("a", ES256), ("r", RS256), ("r", PS256), ("x", PS384)]);
        let why = ["key 1 is a secret", "key 2 cannot be used: this is a private key", "key 3 cannot be used", "key 6 cannot be used"];
        assert!(published.others.len() == 4 && published.others.iter().zip(why).all(|(other, why)| other.starts_with(why)));
    }

    #[test]
    fn what_is_no_set_is_never_taken_for_one_of_no_keys() {
        let why = |json: &str| super::published(json.as_bytes(), &[]).map(|_| ()).unwrap_err();
        for wrong in ["", "<html>", "{}", "[]", r#"{"keys":{}}"#, r#"{"keys":"hunter2"}"#, r#"{"kty":"OKP"}"#] {
            assert!(why(wrong).starts_with("what came is not a JWK Set") && !why(wrong).contains("hunter2"), "{wrong}");
        }
        assert!(why(&format!(r#"{{"keys":[{}1]}}"#, "1,".repeat(256))).contains("257 keys"));
    }

    #[test]
    fn an_error_never_quotes_the_file() {
        assert!(!why(r#"{"keys": "hunter2"}"#).contains("hunter2"));
        assert!(!why(r#"{"kty":"oct","alg":"HS256","k":["hunter2"]}"#).contains("hunter2"));
    }
}
