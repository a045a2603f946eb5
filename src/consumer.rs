//! Who a caller can be: an identified caller with groups and credentials.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One entry of `consumers:`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerConfig {
    /// The name, unique among all consumers.
    pub name: String,
    /// Groups that the consumer belongs to.
    #[serde(default)]
    pub groups: Vec<String>,
    /// API keys, each as `sha256:` and the hex SHA-256 of the key: the file never holds a key itself.
    #[serde(default)]
    pub api_keys: Vec<String>,
}

/// An identified caller. Shared by all its requests.
#[derive(Debug, PartialEq, Eq)]
pub struct Consumer {
    /// The unique name.
    pub name: String,
    /// Groups that the consumer belongs to.
    pub groups: Vec<String>,
}
