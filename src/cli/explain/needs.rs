use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;
use crate::policy::PolicyConfig;
use crate::policy::auth::{api_key, external, hmac, introspection, jwt, mtls};

/// What a policy wants of a request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Needs {
    Jwt(jwt::Needs),
    Introspection(introspection::Needs),
    External(external::Needs),
    Mtls(mtls::Needs),
    Hmac(hmac::Needs),
    Credential(Credential),
    AnyOf { any_of: Vec<Choice> },
}

/// One of several policies that may let it through.
#[derive(Debug, Serialize)]
pub(super) struct Choice {
    name: &'static str,
    needs: Option<Needs>,
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
    match policy {
        PolicyConfig::jwt(_) => read::<jwt::Config>(shown).map(|jwt| Needs::Jwt(jwt.needs())),
        PolicyConfig::introspection(_) => read::<introspection::Config>(shown).map(|asked| Needs::Introspection(asked.needs())),
        PolicyConfig::external(_) => read::<external::Config>(shown).map(|asked| Needs::External(asked.needs())),
        PolicyConfig::mtls(_) => read::<mtls::Config>(shown).map(|mtls| Needs::Mtls(mtls.needs())),
        PolicyConfig::hmac(_) => read::<hmac::Config>(shown).map(|hmac| Needs::Hmac(hmac.needs())),
        PolicyConfig::api_key(_) => Some(Needs::Credential(Credential {
            places: places(&read(shown)?),
            credential: "API key",
            known: consumers.map(|consumer| consumer.api_keys.len()).sum(),
            redis: config.stores_consumers(),
        })),
        PolicyConfig::basic(_) => Some(Needs::Credential(Credential {
            places: vec!["`Authorization: Basic …`".to_owned()],
            credential: "password",
            known: consumers.map(|consumer| consumer.passwords.len()).sum(),
            redis: false,
        })),
        PolicyConfig::any_of(any_of) => {
            let settings = any_of.settings().zip(shown.as_array()?);
            let choices = settings.map(|(policy, shown)| Choice {
                name: policy.name(),
                needs: needs(policy, shown.get(policy.name()).unwrap_or(&Value::Null), config),
            });
            Some(Needs::AnyOf { any_of: choices.collect() })
        }
        _ => None,
    }
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

fn read<C: DeserializeOwned>(shown: &Value) -> Option<C> {
    serde_json::from_value(shown.clone()).ok()
}

impl Needs {
    /// The same for people.
    pub(super) fn lines(&self) -> Vec<String> {
        match self {
            Needs::Jwt(needs) => needs.lines(),
            Needs::Introspection(needs) => needs.lines(),
            Needs::External(needs) => needs.lines(),
            Needs::Mtls(needs) => needs.lines(),
            Needs::Hmac(needs) => needs.lines(),
            Needs::Credential(needs) => vec![needs.line()],
            Needs::AnyOf { any_of } => any_of.iter().enumerate().flat_map(|(at, choice)| choice.lines(at)).collect(),
        }
    }
}

impl Choice {
    fn lines(&self, at: usize) -> Vec<String> {
        let start = format!("{} {}", if at == 0 { "either" } else { "or" }, self.name);
        match self.needs.as_ref().map(Needs::lines) {
            Some(lines) => lines
                .into_iter()
                .enumerate()
                .map(|(at, line)| if at == 0 { format!("{start}: {line}") } else { format!("  {line}") })
                .collect(),
            None => vec![start],
        }
    }
}
