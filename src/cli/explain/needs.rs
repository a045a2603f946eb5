use serde_json::Value;

use crate::policy::PolicyConfig;
use crate::policy::auth::jwt::{Config, Needs};

/// What a policy wants of a request, as far as its settings may be shown.
pub(super) fn needs(policy: &PolicyConfig, shown: &Value) -> Option<Needs> {
    match policy {
        PolicyConfig::jwt(_) => serde_json::from_value::<Config>(shown.clone()).ok().map(|config| config.needs()),
        _ => None,
    }
}
