//! What a refused client is told to send (RFC 9110 §11.6.1).

use http::{HeaderValue, header};

use crate::building::BuildError;
use crate::problem::{Kind, Problem};

/// The value of `WWW-Authenticate`, as a policy asks for a credential.
#[derive(Debug)]
pub(super) struct Challenge {
    /// Where none was sent.
    missing: HeaderValue,
    /// Where one was sent that is not good.
    invalid: HeaderValue,
}

impl Challenge {
    /// A challenge of this scheme.
    ///
    /// # Errors
    /// A scheme that is no token, or a realm that cannot stand in quotes, at its place.
    pub(super) fn new(scheme: &str, realm: Option<&str>) -> Result<Self, BuildError> {
        // RFC 9110 §5.6.2.
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
            return Err(BuildError::new(format!("`{scheme}` is no scheme"), "write one word, like `Bearer` or `ApiKey`").at("scheme"));
        }
        let wrong = || BuildError::new("this realm cannot stand in a header", "use plain letters, digits and spaces").at("realm");
        let plain = |realm: &str| realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        let mut bare = scheme.to_owned();
        if let Some(realm) = realm {
            if !plain(realm) {
                return Err(wrong());
            }
            bare.push_str(&format!(" realm=\"{realm}\""));
        }
        // RFC 7617 §2.1.
        if scheme == "Basic" {
            bare.push_str(", charset=\"UTF-8\"");
        }
        // RFC 6750 §3.1: only what was sent can be invalid.
        let invalid = match (scheme.eq_ignore_ascii_case("Bearer"), realm) {
            (true, Some(_)) => format!("{bare}, error=\"invalid_token\""),
            (true, None) => format!("{bare} error=\"invalid_token\""),
            (false, _) => bare.clone(),
        };
        let value = |text: String| HeaderValue::try_from(text).map_err(|_| wrong());
        Ok(Self { missing: value(bare)?, invalid: value(invalid)? })
    }

    /// What it says where there is no error.
    pub(super) fn bare(&self) -> HeaderValue {
        self.missing.clone()
    }

    /// None was sent.
    pub(super) fn missing(&self, detail: &'static str) -> Problem {
        Problem::new(Kind::Unauthorized, detail).header(header::WWW_AUTHENTICATE, self.missing.clone())
    }

    /// One was sent, and it is not good.
    pub(super) fn invalid(&self, detail: &'static str) -> Problem {
        Problem::new(Kind::Unauthorized, detail).header(header::WWW_AUTHENTICATE, self.invalid.clone())
    }
}
