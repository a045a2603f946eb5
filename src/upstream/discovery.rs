//! Where an issuer has its keys and endpoints, and the way there: OpenID Connect Discovery 1.0 §4, RFC 8414 §3.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;

use super::{Base, Missed, Names, Resource, TlsConfig};
use crate::state::Shared;

/// Where an issuer tells of itself. A slash at its end is not doubled (§4.1).
pub fn place(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// Where one tells of itself that is no OpenID provider (RFC 8414 §3.1): between its host and its path.
pub fn place_of_oauth(issuer: &str) -> String {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let host = issuer.find("://").map_or(0, |at| at + 3);
    let path = issuer.get(host..).and_then(|rest| rest.find('/')).map_or(issuer.len(), |at| host + at);
    let (origin, path) = issuer.split_at(path);
    format!("{origin}/.well-known/oauth-authorization-server{path}")
}

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Its keys.
    Keys,
    /// Who knows its tokens (RFC 7662).
    Introspection,
    /// Who gives them (RFC 6749 §3.2).
    Tokens,
}

/// What matters here of what it tells.
#[derive(Deserialize)]
struct Told {
    issuer: String,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
    token_endpoint: Option<String>,
}

/// Where that is of the issuer that tells this of itself. It must call itself just as the config does (§4.3, RFC 8414 §3.3): one issuer could
/// otherwise give out its keys as another's.
///
/// # Errors
/// It is another one, or does not say it.
pub fn told(json: &[u8], issuer: &str, wanted: Wanted) -> Result<String, Missed> {
    let member = match wanted {
        Wanted::Keys => "jwks_uri",
        Wanted::Introspection => "introspection_endpoint",
        Wanted::Tokens => "token_endpoint",
    };
    let malformed =
        |place| Missed::new("malformed", format!("what it tells of itself is no JSON object with `issuer` and `{member}`{place}"));
    let told: Told =
        serde_json::from_slice(json).map_err(|error| malformed(format!(" (line {}, column {})", error.line(), error.column())))?;
    if told.issuer != issuer {
        let other: String = told.issuer.chars().take(200).collect();
        return Err(Missed::new("wrong_issuer", format!("it calls itself {other:?}, which must be {issuer:?} to the letter")));
    }
    let url = match wanted {
        Wanted::Keys => told.jwks_uri,
        Wanted::Introspection => told.introspection_endpoint,
        Wanted::Tokens => told.token_endpoint,
    };
    url.ok_or_else(|| malformed(String::new()))
}

/// Finds the way to what an issuer tells, over the same TLS as the issuer itself.
#[derive(Debug)]
pub struct Ways {
    tls: TlsConfig,
    allow_http: bool,
    shared: Shared,
    folder: PathBuf,
    names: Arc<Names>,
    /// The last one.
    found: Mutex<Option<(String, Arc<Resource>)>>,
}

impl Ways {
    /// Nothing is found yet.
    pub fn new(tls: TlsConfig, allow_http: bool, base: &Base<'_>) -> Self {
        let (shared, folder, names) = (base.shared.clone(), base.folder.to_owned(), base.names.clone());
        Self { tls, allow_http, shared, folder, names, found: Mutex::default() }
    }

    /// The way to a URL; the same one again, where it has not changed.
    ///
    /// # Errors
    /// One that is none, or without TLS where that is needed.
    pub fn to(&self, url: &str) -> Result<Arc<Resource>, Missed> {
        if is_plain(url) && !self.allow_http {
            return Err(Missed::new("insecure", format!("it is said to be at {url:?}, without TLS")));
        }
        if let Some((_, known)) = self.found.lock().as_ref().filter(|(known, _)| known == url) {
            return Ok(known.clone());
        }
        let base = Base { shared: &self.shared, folder: &self.folder, names: &self.names };
        let resource = Resource::build(url, Some(&self.tls), &base);
        let resource =
            Arc::new(resource.map_err(|error| Missed::new("malformed", format!("it is said to be elsewhere: {}", error.reason)))?);
        *self.found.lock() = Some((url.to_owned(), resource.clone()));
        Ok(resource)
    }

    /// The names that the host of the last one goes by.
    pub fn hosts(&self) -> Vec<String> {
        self.found.lock().iter().flat_map(|(_, resource)| resource.names()).collect()
    }
}

/// Whether a URL is one without TLS.
pub fn is_plain(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_tells_of_itself_below_its_own_path() {
        for (issuer, url) in [
            ("https://id.test", "https://id.test/.well-known/openid-configuration"),
            ("https://id.test/", "https://id.test/.well-known/openid-configuration"),
            ("https://id.test/realms/a", "https://id.test/realms/a/.well-known/openid-configuration"),
        ] {
            assert_eq!(place(issuer), url);
        }
    }

    #[test]
    fn one_that_is_no_openid_provider_tells_of_itself_before_its_path() {
        for (issuer, url) in [
            ("https://id.test", "https://id.test/.well-known/oauth-authorization-server"),
            ("https://id.test/", "https://id.test/.well-known/oauth-authorization-server"),
            ("https://id.test/realms/a", "https://id.test/.well-known/oauth-authorization-server/realms/a"),
        ] {
            assert_eq!(place_of_oauth(issuer), url);
        }
    }

    #[test]
    fn it_must_be_called_as_the_config_calls_it() {
        let told = |issuer: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://id.test/keys","token_endpoint":"x"}}"#);
        let keys = |issuer: &str| super::told(told(issuer).as_bytes(), "https://id.test", Wanted::Keys);
        assert_eq!(keys("https://id.test").unwrap(), "https://id.test/keys");
        for other in ["https://id.test/", "https://ID.test", "http://id.test", "https://evil.test", ""] {
            assert_eq!(keys(other).unwrap_err().word, "wrong_issuer", "{other}");
        }
        assert_eq!(super::told(told("https://id.test").as_bytes(), "https://id.test", Wanted::Tokens).unwrap(), "x");
        let other = super::told(told("https://id.test").as_bytes(), "https://id.test", Wanted::Introspection).unwrap_err();
        assert_eq!(other.text, "what it tells of itself is no JSON object with `issuer` and `introspection_endpoint`");
        for wrong in
            ["", "<html>", "[]", r#"{"issuer":"https://id.test"}"#, r#"{"issuer":["https://id.test"],"jwks_uri":"https://id.test/keys"}"#]
        {
            assert_eq!(super::told(wrong.as_bytes(), "https://id.test", Wanted::Keys).unwrap_err().word, "malformed", "{wrong}");
        }
    }
}
