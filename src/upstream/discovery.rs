//! Where an issuer is asked for something: what it tells of itself (OpenID Connect Discovery 1.0 §4, RFC 8414 §3), and the way there.

use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value};

use super::{Base, Missed, Names, Resource, TlsConfig};
use crate::state::Shared;

/// Where an issuer tells of itself. A slash at its end is not doubled (§4.1).
pub(super) fn place(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// Where one tells of itself that is no OpenID provider (RFC 8414 §3.1): between its host and its path.
pub(super) fn place_of_oauth(issuer: &str) -> String {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    let host = issuer.find("://").map_or(0, |at| at + 3);
    let path = issuer.get(host..).and_then(|rest| rest.find('/')).map_or(issuer.len(), |at| host + at);
    let (origin, path) = issuer.split_at(path);
    format!("{origin}/.well-known/oauth-authorization-server{path}")
}

/// What it tells under this name. It must call itself just as the config does (§4.3, RFC 8414 §3.3): another one could otherwise take its place.
///
/// # Errors
/// It is another one, or does not say it.
pub(super) fn told(json: &[u8], issuer: &str, member: &str) -> Result<String, Missed> {
    let malformed = |more: String| {
        let text = format!("what it tells of itself is no JSON object with `issuer` and `{member}`{more}");
        Missed::new("malformed", text)
    };
    let told: Map<String, Value> =
        serde_json::from_slice(json).map_err(|error| malformed(format!(" (line {}, column {})", error.line(), error.column())))?;
    let text = |name: &str| told.get(name).and_then(Value::as_str).ok_or_else(|| malformed(String::new()));
    let own = text("issuer")?;
    if own != issuer {
        let other: String = own.chars().take(200).collect();
        return Err(Missed::new("wrong_issuer", format!("it calls itself {other:?}, which must be {issuer:?} to the letter")));
    }
    text(member).map(ToOwned::to_owned)
}

/// The way to a URL that an issuer tells, over the same TLS as the issuer itself.
#[derive(Debug)]
pub(super) struct Ways {
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
    pub(super) fn new(tls: TlsConfig, allow_http: bool, base: &Base<'_>) -> Self {
        let (shared, folder, names) = (base.shared.clone(), base.folder.to_owned(), base.names.clone());
        Self { tls, allow_http, shared, folder, names, found: Mutex::default() }
    }

    /// The same one again, where the URL has not changed.
    ///
    /// # Errors
    /// It is none, or without TLS where that is needed.
    pub(super) fn to(&self, url: &str) -> Result<Arc<Resource>, Missed> {
        if is_plain(url) && !self.allow_http {
            return Err(Missed::new("insecure", format!("it says to ask at {url:?}, without TLS")));
        }
        if let Some((_, known)) = self.found.lock().as_ref().filter(|(known, _)| known == url) {
            return Ok(known.clone());
        }
        let base = Base { shared: &self.shared, folder: &self.folder, names: &self.names };
        let resource = Resource::build(url, Some(&self.tls), &base);
        let resource = resource.map_err(|error| Missed::new("malformed", format!("it says to ask elsewhere: {}", error.reason)))?;
        let resource = Arc::new(resource);
        *self.found.lock() = Some((url.to_owned(), resource.clone()));
        Ok(resource)
    }

    /// The names that the host of the last one goes by.
    pub(super) fn hosts(&self) -> Vec<String> {
        self.found.lock().iter().flat_map(|(_, resource)| resource.names()).collect()
    }
}

/// Whether a URL is one without TLS.
pub(super) fn is_plain(url: &str) -> bool {
    url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_tells_of_itself_below_its_own_path_or_before_it() {
        for (issuer, openid, oauth) in [
            ("https://id.test", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            ("https://id.test/", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"),
            ("https://id.test/a/b", "/a/b/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/a/b"),
        ] {
            assert_eq!((place(issuer), place_of_oauth(issuer)), (format!("https://id.test{openid}"), format!("https://id.test{oauth}")));
        }
    }

    #[test]
    fn it_must_be_called_as_the_config_calls_it() {
        let ask = |json: &str| told(json.as_bytes(), "https://id.test", "token_endpoint").map_err(|missed| missed.word);
        let of = |issuer: &str| format!(r#"{{"issuer":"{issuer}","token_endpoint":"https://id.test/token","other":1}}"#);
        assert_eq!(ask(&of("https://id.test")).unwrap(), "https://id.test/token");
        for other in ["https://id.test/", "https://ID.test", "http://id.test", "https://evil.test", ""] {
            assert_eq!(ask(&of(other)), Err("wrong_issuer"), "{other}");
        }
        for wrong in ["", "<html>", "[]", r#"{"issuer":"https://id.test"}"#, r#"{"issuer":"https://id.test","token_endpoint":7}"#] {
            assert_eq!(ask(wrong), Err("malformed"), "{wrong}");
        }
    }
}
