//! The settings of `any_of`: a list of policies.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::SerializeSeq as _;
use serde::{Deserialize, Serialize, Serializer};

use super::NAMES;
use crate::policy::{Entry, PolicyConfig, entry_schema};

/// The settings of `any_of`: the policies of which one has to let a request through, in the order in which they are tried.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Config(pub Vec<Entry>);

impl Config {
    /// The settings of each.
    pub fn settings(&self) -> impl Iterator<Item = &PolicyConfig> {
        self.0.iter().filter_map(|entry| entry.config.as_ref())
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for policy in self.settings() {
            list.serialize_element(&BTreeMap::from([(policy.name(), policy.settings())]))?;
        }
        list.end()
    }
}

impl JsonSchema for Config {
    fn schema_name() -> Cow<'static, str> {
        "AnyOf".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        // Not `any_of` itself: it would have no end.
        let may_stand = |name: &str| NAMES.contains(&name) || name == "anonymous";
        json_schema!({
            "description": "The policies of which one has to let a request through, in the order in which they are tried.",
            "type": "array",
            "items": entry_schema(generator, &may_stand, None),
            "minItems": 1
        })
    }
}
