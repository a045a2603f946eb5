//! How a refusal tells the client what to do (RFC 6750 §3).

use std::borrow::Cow;

use http::{HeaderValue, header};

use super::token::Refusal;
use crate::building::BuildError;
use crate::problem::{Kind, Problem};

/// `Bearer` with its realm.
#[derive(Debug)]
pub(super) struct Challenge(HeaderValue);

impl Challenge {
    /// # Errors
    /// A realm that cannot stand in a header.
    pub(super) fn new(realm: &str) -> Result<Self, BuildError> {
        let plain = realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        let value = HeaderValue::from_str(&format!("Bearer realm=\"{realm}\"")).ok().filter(|_| plain);
        value
            .map(Challenge)
            .ok_or_else(|| BuildError::new("this realm cannot stand in a header", "use plain letters, digits and spaces").at("realm"))
    }

    /// No token: the client learns what is asked for, and no error (RFC 6750 §3.1).
    pub(super) fn missing(&self) -> Problem {
        Problem::new(Kind::Unauthorized, "a bearer token is required").header(header::WWW_AUTHENTICATE, self.0.clone())
    }

    pub(super) fn several(&self) -> Problem {
        self.refuse(Kind::BadRequest, "invalid_request", "more than one token was sent".into(), "")
    }

    pub(super) fn invalid(&self, refusal: Refusal) -> Problem {
        let problem = self.refuse(Kind::Unauthorized, "invalid_token", refusal.detail, "");
        Problem { cause: refusal.cause, ..problem }
    }

    pub(super) fn insufficient(&self, scopes: &[String]) -> Problem {
        let scope = format!(", scope=\"{}\"", scopes.join(" "));
        self.refuse(Kind::Forbidden, "insufficient_scope", "the token lacks a scope that is needed here".into(), &scope)
    }

    fn refuse(&self, kind: Kind, error: &str, detail: Cow<'static, str>, more: &str) -> Problem {
        let bare = self.0.to_str().unwrap_or_default();
        let value = HeaderValue::from_str(&format!("{bare}, error=\"{error}\", error_description=\"{detail}\"{more}"));
        Problem::new(kind, detail).header(header::WWW_AUTHENTICATE, value.unwrap_or_else(|_| self.0.clone()))
    }
}
