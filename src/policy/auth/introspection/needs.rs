//! What a request needs to get through, told from the config alone.

use serde::Serialize;

use super::config::Config;
use crate::building::BuildError;
use crate::policy::auth::jwt::{Audience, is_exposed, places};

/// What a request needs.
#[derive(Debug, Serialize)]
pub struct Needs {
    /// Where the token may stand, in words.
    places: Vec<String>,
    /// Who is asked about it.
    provider: String,
    issuer: Option<String>,
    /// Of these one; `any`.
    audience: Vec<String>,
    scopes: Vec<String>,
}

impl Config {
    /// What a request needs.
    pub fn needs(&self) -> Needs {
        let audience = match &self.audience {
            Audience::One(name) => vec![name.clone()],
            Audience::Several(names) => names.clone(),
        };
        Needs {
            places: places(self.header.as_deref(), self.query.as_deref(), self.cookie.as_deref()),
            provider: self.url.as_ref().or(self.issuer.as_ref()).cloned().unwrap_or_default(),
            issuer: self.issuer.clone(),
            audience,
            scopes: self.scopes.clone(),
        }
    }
}

impl Config {
    /// What is doubtful: a provider on another machine that is asked without TLS.
    pub fn plain(&self) -> Option<BuildError> {
        let (key, url) = self.url.as_ref().map(|url| ("url", url)).or(self.issuer.as_ref().map(|issuer| ("issuer", issuer)))?;
        let reason =
            "a provider on another machine is asked without TLS: anyone on the way sees the secret, and can say that any token is good";
        let fix = "write `https://`, and name the `ca` of the provider where it has its own";
        is_exposed(url).then(|| BuildError::new(reason, fix).at(key))
    }
}

impl Needs {
    /// The same for people.
    pub fn lines(&self) -> Vec<String> {
        let audience = match self.audience.as_slice() {
            [any] if any == "any" => "anyone".to_owned(),
            names => names.join(" or "),
        };
        let mut line = format!("that {} says is good for {audience}", self.provider);
        if let Some(issuer) = self.issuer.as_ref().filter(|issuer| **issuer != self.provider) {
            line.push_str(&format!(" and of {issuer}"));
        }
        if !self.scopes.is_empty() {
            line.push_str(&format!(", with the scopes {}", self.scopes.join(" ")));
        }
        vec![format!("a token in {}", self.places.join(" or ")), line]
    }
}
