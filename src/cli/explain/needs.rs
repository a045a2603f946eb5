use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::policy::PolicyConfig;
use crate::policy::auth::{external, introspection, jwt, mtls};

/// What a policy wants of a request.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Needs {
    Jwt(jwt::Needs),
    Introspection(introspection::Needs),
    External(external::Needs),
    Mtls(mtls::Needs),
    AnyOf { any_of: Vec<Choice> },
}

/// One of several policies that may let it through.
#[derive(Debug, Serialize)]
pub(super) struct Choice {
    name: &'static str,
    needs: Option<Needs>,
}

/// The same, as far as its settings may be shown.
pub(super) fn needs(policy: &PolicyConfig, shown: &Value) -> Option<Needs> {
    match policy {
        PolicyConfig::jwt(_) => read::<jwt::Config>(shown).map(|config| Needs::Jwt(config.needs())),
        PolicyConfig::introspection(_) => read::<introspection::Config>(shown).map(|config| Needs::Introspection(config.needs())),
        PolicyConfig::external(_) => read::<external::Config>(shown).map(|config| Needs::External(config.needs())),
        PolicyConfig::mtls(_) => read::<mtls::Config>(shown).map(|config| Needs::Mtls(config.needs())),
        PolicyConfig::any_of(any_of) => {
            let settings = any_of.settings().zip(shown.as_array()?);
            let choices = settings.map(|(policy, shown)| Choice {
                name: policy.name(),
                needs: needs(policy, shown.get(policy.name()).unwrap_or(&Value::Null)),
            });
            Some(Needs::AnyOf { any_of: choices.collect() })
        }
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
            Needs::External(needs) => needs.lines(),
            Needs::Mtls(needs) => needs.lines(),
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
