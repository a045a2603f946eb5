//! How a refusal tells the client what to do (RFC 6750 §3).

use http::{HeaderValue, header};
use serde_json::{Map, Value};

use super::claims::quoted;
use super::token::Refusal;
use crate::building::BuildError;
use crate::problem::{Kind, Problem};

/// `Bearer` with its realm.
#[derive(Debug)]
pub(crate) struct Challenge(HeaderValue);

impl Challenge {
    /// # Errors
    /// A realm that cannot stand in a header.
    pub(crate) fn new(realm: &str) -> Result<Self, BuildError> {
        let plain = realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        let value = HeaderValue::from_str(&format!("Bearer realm=\"{realm}\"")).ok().filter(|_| plain);
        value
            .map(Challenge)
            .ok_or_else(|| BuildError::new("this realm cannot stand in a header", "use plain letters, digits and spaces").at("realm"))
    }

    /// What it says where there is no error.
    pub(crate) fn bare(&self) -> HeaderValue {
        self.0.clone()
    }

    /// No token: the client learns what is asked for, and no error (RFC 6750 §3.1).
    pub(crate) fn missing(&self) -> Problem {
        Problem::new(Kind::Unauthorized, "a bearer token is required").header(header::WWW_AUTHENTICATE, self.0.clone())
    }

    pub(crate) fn several(&self) -> Problem {
        self.refuse(Kind::BadRequest, "invalid_request", "more than one token was sent".into(), "")
    }

    pub(crate) fn invalid(&self, refusal: Refusal) -> Problem {
        self.refuse(Kind::Unauthorized, "invalid_token", refusal, "")
    }

    pub(crate) fn insufficient(&self, scopes: &[String], claims: &Map<String, Value>) -> Problem {
        let scope = format!(", scope=\"{}\"", scopes.join(" "));
        let granted = claims
            .get("scope")
            .or_else(|| claims.get("scp"))
            .map_or_else(|| "it has none".to_owned(), |scope| format!("it has {}", quoted(scope)));
        let refusal = Refusal::because("the token lacks a scope that is needed here", granted);
        self.refuse(Kind::Forbidden, "insufficient_scope", refusal, &scope)
    }

    fn refuse(&self, kind: Kind, error: &str, refusal: Refusal, more: &str) -> Problem {
        let (bare, Refusal { detail, cause }) = (self.0.to_str().unwrap_or_default(), refusal);
        let value = HeaderValue::from_str(&format!("{bare}, error=\"{error}\", error_description=\"{detail}\"{more}"));
        // The log has the whole reason: it does not have what the client is told.
        let cause = cause.map_or_else(|| detail.to_string(), |cause| format!("{detail}: {cause}"));
        Problem::new(kind, detail).cause(cause).header(header::WWW_AUTHENTICATE, value.unwrap_or_else(|_| self.0.clone()))
    }
}
