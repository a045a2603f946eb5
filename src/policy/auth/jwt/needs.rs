//! What a request needs to get through, and what is doubtful, told from the config alone.

use std::net::IpAddr;

use http::Uri;
use serde::Serialize;

use super::config::{Audience, Config, IssuerConfig};
use crate::building::BuildError;

/// What a request needs.
#[derive(Debug, Serialize)]
pub struct Needs {
    /// Where the token may stand, in words.
    places: Vec<String>,
    issuers: Vec<OfIssuer>,
}

#[derive(Debug, Serialize)]
struct OfIssuer {
    issuer: String,
    /// Of these one; `any`.
    audience: Vec<String>,
    /// Where its keys come from: `config`, `jwks URL` or `discovery`.
    keys: String,
    algorithms: Vec<String>,
    typ: Option<String>,
    scopes: Vec<String>,
}

impl Config {
    /// What a request needs.
    pub fn needs(&self) -> Needs {
        Needs {
            places: places(self.header.as_deref(), self.query.as_deref(), self.cookie.as_deref()),
            issuers: self.all().into_iter().map(|(_, issuer)| OfIssuer::of(issuer)).collect(),
        }
    }
}

/// Where a token may stand, in words.
pub(crate) fn places(header: Option<&str>, query: Option<&str>, cookie: Option<&str>) -> Vec<String> {
    let header = match header {
        None if query.is_some() || cookie.is_some() => None,
        None => Some("`Authorization: Bearer …`".to_owned()),
        Some(name) if name.eq_ignore_ascii_case("authorization") => Some("`Authorization: Bearer …`".to_owned()),
        Some(name) => Some(format!("the header `{name}`")),
    };
    let query = query.map(|name| format!("the query parameter `{name}`"));
    let cookie = cookie.map(|name| format!("the cookie `{name}`"));
    header.into_iter().chain(query).chain(cookie).collect()
}

impl OfIssuer {
    fn of(config: IssuerConfig) -> Self {
        let audience = match config.audience {
            None => Vec::new(),
            Some(Audience::One(name)) => vec![name],
            Some(Audience::Several(names)) => names,
        };
        let keys = match &config.jwks {
            _ if !config.keys.is_empty() => "config".to_owned(),
            Some(url) => format!("jwks {url}"),
            None => "discovery".to_owned(),
        };
        let (algorithms, scopes) = (config.algorithms.unwrap_or_default(), config.scopes.unwrap_or_default());
        Self { issuer: config.issuer, audience, keys, algorithms, typ: config.typ, scopes }
    }

    fn line(&self) -> String {
        let issuer = if self.issuer == "any" { "any issuer".to_owned() } else { self.issuer.clone() };
        let audience = match self.audience.as_slice() {
            [any] if any == "any" => "anyone".to_owned(),
            names => names.join(" or "),
        };
        let mut line = format!("of {issuer} for {audience}");
        if let Some(typ) = &self.typ {
            line.push_str(&format!(", of the type {typ}"));
        }
        if !self.algorithms.is_empty() {
            line.push_str(&format!(", signed with {}", self.algorithms.join(" or ")));
        }
        if !self.scopes.is_empty() {
            line.push_str(&format!(", with the scopes {}", self.scopes.join(" ")));
        }
        let keys = match self.keys.as_str() {
            "config" => "keys of the config".to_owned(),
            "discovery" => "keys where the issuer says".to_owned(),
            url => format!("keys of {}", url.trim_start_matches("jwks ")),
        };
        format!("{line} ({keys})")
    }
}

impl Needs {
    /// The same for people: where the token may stand, then a line for each issuer.
    pub fn lines(&self) -> Vec<String> {
        let first = format!("a token in {}", self.places.join(" or "));
        std::iter::once(first).chain(self.issuers.iter().map(OfIssuer::line)).collect()
    }
}

impl Config {
    /// What is doubtful: keys that come from another machine without TLS.
    pub fn plain(&self) -> Vec<BuildError> {
        let told = |(place, issuer): (Option<usize>, IssuerConfig)| {
            let (key, url) = issuer.jwks.as_ref().map_or(("issuer", &issuer.issuer), |url| ("jwks", url));
            if !issuer.keys.is_empty() || !is_exposed(url) {
                return None;
            }
            let reason = "the keys come from another machine without TLS: anyone on the way can sign tokens";
            let error = BuildError::new(reason, "write `https://`, and name the `ca` of the issuer where it has its own").at(key);
            Some(match place {
                Some(place) => error.at(place).at("issuers"),
                None => error,
            })
        };
        self.all().into_iter().filter_map(told).collect()
    }
}

/// Whether a URL leads to another machine without TLS.
pub(crate) fn is_exposed(url: &str) -> bool {
    let Some(uri) = url.parse::<Uri>().ok().filter(|uri| uri.scheme_str() == Some("http")) else { return false };
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host != "localhost" && !host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
