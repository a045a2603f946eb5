use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::policy::PolicyConfig;
use crate::policy::auth::{introspection, jwt};

/// What a policy wants of a request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Needs {
    Jwt(jwt::Needs),
    Introspection(introspection::Needs),
}

/// The same, as far as its settings may be shown.
pub(super) fn needs(policy: &PolicyConfig, shown: &Value) -> Option<Needs> {
    match policy {
        PolicyConfig::jwt(_) => read::<jwt::Config>(shown).map(|config| Needs::Jwt(config.needs())),
        PolicyConfig::introspection(_) => read::<introspection::Config>(shown).map(|config| Needs::Introspection(config.needs())),
        _ => None,
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
        }
    }
}
