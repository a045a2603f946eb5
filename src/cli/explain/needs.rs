use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::policy::PolicyConfig;
use crate::policy::auth::{api_key, jwt};

/// What a policy wants of a request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Needs {
    Token(jwt::Needs),
    Credential(Credential),
}

/// A key or a password.
#[derive(Debug, Serialize)]
pub(super) struct Credential {
    /// Where it may stand, in words.
    places: Vec<String>,
    /// `API key` or `password`.
    credential: &'static str,
    /// How many the config has.
    known: usize,
    /// Whether more are looked up in Redis.
    redis: bool,
}

/// What a policy wants of a request, as far as its settings may be shown.
pub(super) fn needs(policy: &PolicyConfig, shown: &Value, config: &Config) -> Option<Needs> {
    let consumers = config.consumers.iter();
    let credential = match policy {
        PolicyConfig::jwt(_) => {
            let jwt = serde_json::from_value::<jwt::Config>(shown.clone()).ok()?;
            return Some(Needs::Token(jwt.needs()));
        }
        PolicyConfig::api_key(_) => Credential {
            places: places(&serde_json::from_value(shown.clone()).ok()?),
            credential: "API key",
            known: consumers.map(|consumer| consumer.api_keys.len()).sum(),
            redis: config.redis.is_some(),
        },
        PolicyConfig::basic(_) => Credential {
            places: vec!["`Authorization: Basic …`".to_owned()],
            credential: "password",
            known: consumers.map(|consumer| consumer.passwords.len()).sum(),
            redis: false,
        },
        _ => return None,
    };
    Some(Needs::Credential(credential))
}

fn places(config: &api_key::Config) -> Vec<String> {
    let api_key::Config { header, scheme, query, cookie, .. } = config;
    let header = match header.as_deref() {
        None if query.is_some() || cookie.is_some() => None,
        None => Some("X-API-Key"),
        Some(name) => Some(name),
    };
    let header = header.map(|name| match scheme.as_deref() {
        Some(word) => format!("`{name}: {word} …`"),
        None if name.eq_ignore_ascii_case("authorization") => "`Authorization: Bearer …`".to_owned(),
        None => format!("the header `{name}`"),
    });
    let query = query.as_ref().map(|name| format!("the query parameter `{name}`"));
    let cookie = cookie.as_ref().map(|name| format!("the cookie `{name}`"));
    header.into_iter().chain(query).chain(cookie).collect()
}

impl Needs {
    /// The same for people.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Needs::Token(token) => token.lines(),
            Needs::Credential(needs) => vec![needs.line()],
        }
    }
}

impl Credential {
    fn line(&self) -> String {
        let what = if self.credential == "password" { "a user name with its password" } else { "an API key" };
        let of = match (self.known, self.redis) {
            (known, true) => format!("one of {known} of the config, or one that Redis has"),
            (0, false) => "the config has none".to_owned(),
            (known, false) => format!("one of {known} of the config"),
        };
        format!("{what} in {} ({of})", self.places.join(" or "))
    }
}
