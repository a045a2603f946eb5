use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A fixed answer: `{ status: 200, headers: {…}, json: {…} }` or `text:` in the place of `json:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The HTTP status, 200 to 599. Default: 200.
    pub status: Option<u16>,
    /// Headers of the answer.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A body of `application/json`.
    pub json: Option<serde_json::Value>,
    /// A body of `text/plain; charset=utf-8`.
    pub text: Option<String>,
}
