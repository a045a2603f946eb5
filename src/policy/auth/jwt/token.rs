//! A compact JWS (RFC 7515 §7.1), read strictly: what two parsers could read in two ways is refused.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use jsonwebtoken::signature::Verifier as _;
use serde::de::{self, DeserializeSeed};
use serde_json::{Map, Value};

use crate::policy::auth::jwks::{KeySet, NoKey, algorithm};

/// How deep header and claims may nest. Real tokens need 3 or 4.
const DEEPEST: usize = 16;

/// Why a token is refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// For the caller: printable ASCII without `"` and `\`, as `error_description` needs it (RFC 6750 §3).
    pub detail: Cow<'static, str>,
    /// For the log.
    pub cause: Option<String>,
}

impl From<&'static str> for Refusal {
    fn from(detail: &'static str) -> Self {
        Self { detail: detail.into(), cause: None }
    }
}

impl Refusal {
    /// With what only the operator may know.
    pub(crate) fn because(detail: &'static str, cause: String) -> Self {
        Self { detail: detail.into(), cause: Some(cause) }
    }
}

/// A compact JWS, taken apart. Nothing that it says is known to be true before [`Token::verify`].
#[derive(Debug)]
pub(super) struct Token<'a> {
    /// What is signed: header and payload as they came.
    message: &'a [u8],
    signature: Vec<u8>,
    alg: Algorithm,
    kid: Option<String>,
    /// The type that the token says it has (`typ`).
    pub typ: Option<String>,
    /// The payload, decoded: any bytes.
    pub payload: Vec<u8>,
}

/// Why a token is not verified.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unverified {
    /// It is wrong, whatever keys there are.
    Wrong(Refusal),
    /// Its key is not among these; another set may have it.
    Unknown(Refusal),
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// It is malformed, or asks for what is not supported.
    pub(super) fn read(token: &'a [u8]) -> Result<Self, Refusal> {
        let malformed = "the token is not a JWT: three parts in base64url, separated by dots";
        let last_dot = |text: &'_ [u8]| text.iter().rposition(|byte| *byte == b'.').ok_or(malformed);
        let (message, signature) = token.split_at(last_dot(token)?);
        let (header, payload) = message.split_at(last_dot(message)?);
        // This engine refuses padding, other alphabets, white space and left-over bits: one signature has one spelling.
        let decode = |part: &[u8]| URL_SAFE_NO_PAD.decode(part.strip_prefix(b".").unwrap_or(part)).map_err(|_| Refusal::from(malformed));
        let mut header = object(&decode(header)?).ok_or("the token's header is not a JSON object, or has a member twice")?;
        let signature = decode(signature)?;
        let text = |value: Option<Value>| match value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Refusal::from("the token's header has a member of the wrong type")),
        };
        // RFC 7515 §4.1.11: we understand no extension, so any that must be understood is refused; `b64` (RFC 7797) would change what is signed.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err("the token needs a JWS extension that is not supported".into());
        }
        let alg = text(header.remove("alg"))?.ok_or("the token's header has no alg")?;
        let kid = text(header.remove("kid"))?;
        let typ = text(header.remove("typ"))?;
        // RFC 8725 §3.2; the other spellings of `none` are no algorithms either.
        let alg = algorithm(&alg).ok_or_else(|| Refusal::because(ALGORITHM, format!("alg {}", shown(&alg))))?;
        Ok(Self { message, signature, alg, kid, typ, payload: decode(payload)? })
    }

    /// Verifies the signature with those of the keys that are for it, where these algorithms are accepted; none accepts all.
    ///
    /// # Errors
    /// No key of the set has signed it.
    pub(super) fn verify(&self, keys: &KeySet, algorithms: Option<&[Algorithm]>) -> Result<(), Unverified> {
        let named = || format!("alg {:?}, kid {}", self.alg, self.kid.as_deref().map_or("none".to_owned(), shown));
        if algorithms.is_some_and(|accepted| !accepted.contains(&self.alg)) {
            return Err(Unverified::Wrong(Refusal::because(ALGORITHM, named())));
        }
        let candidates = keys.find(self.alg, self.kid.as_deref()).map_err(|why| match why {
            NoKey::Unknown => Unverified::Unknown(Refusal::because("the token is signed with an unknown key", named())),
            NoKey::Algorithm => Unverified::Wrong(Refusal::because(ALGORITHM, named())),
            NoKey::Ambiguous => Unverified::Wrong(Refusal::because("the token does not say which key it is signed with", named())),
        })?;
        if candidates.iter().any(|key| key.verify(self.message, &self.signature).is_ok()) {
            return Ok(());
        }
        let refusal = Refusal::because("the token's signature is not valid", named());
        // Keys without ids can be replaced unseen.
        let named = candidates.iter().all(|key| key.has_id());
        Err(if named && self.kid.is_some() { Unverified::Wrong(refusal) } else { Unverified::Unknown(refusal) })
    }
}

const ALGORITHM: &str = "the token's algorithm is not accepted";

/// Text that a stranger wrote, for the log: bounded and escaped.
pub(crate) fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
}

/// A JSON object without doubled members at any depth (RFC 7515 §4, RFC 7519 §4), nested to a bound.
pub(crate) fn object(json: &[u8]) -> Option<Map<String, Value>> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = Strict(DEEPEST).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// Reads a value that nests at most this deep.
#[derive(Clone, Copy)]
struct Strict(usize);

impl Strict {
    fn deeper<E: de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Strict).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(inner)?;
            if members.insert(name, value).is_some() {
                return Err(de::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(members))
    }
}
