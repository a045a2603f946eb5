//! The settings of `acl`: their docs are the user's reference.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The settings of `acl`. Who calls must keep all of what is set.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// To which requests it applies: a condition in CEL over the request and the caller, like `request.method != 'GET'`. Where it cannot be worked out, the
    /// `acl` applies. Default: to all.
    pub when: Option<String>,
    /// The consumer by name.
    pub consumers: Option<Wanted>,
    /// The groups of the consumer.
    pub groups: Option<Wanted>,
    /// The scopes that the token grants, in its claim `scope` or else `scp`. A token without them gets a challenge that names them (RFC 6750).
    pub scopes: Option<Wanted>,
    /// The roles that the token names.
    pub roles: Option<Wanted>,
    /// The claim with the roles: one, or a list of them; `.` goes deeper, like `realm_access.roles`. Default: `roles`.
    #[serde(default = "roles")]
    pub roles_claim: String,
    /// Other claims of the token, by name; `.` goes deeper. Of a list each item counts; numbers and truth values are compared as they are written.
    #[serde(default)]
    pub claims: BTreeMap<String, Wanted>,
    /// What must hold besides: a condition in CEL over the request and the caller, like `consumer.labels.tier == 'gold' || 'admin' in scopes`. Where it
    /// cannot be worked out, it does not hold.
    pub condition: Option<String>,
}

fn roles() -> String {
    "roles".to_owned()
}

impl Config {
    /// Whether it asks something of the consumer.
    pub fn asks_consumer(&self) -> bool {
        self.consumers.is_some() || self.groups.is_some()
    }

    /// Whether it asks something of the token.
    pub fn asks_token(&self) -> bool {
        self.scopes.is_some() || self.roles.is_some() || !self.claims.is_empty()
    }
}

/// What the caller must have, or must not.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Wanted {
    /// At least one of these.
    Any(Vec<String>),
    /// `{ any: […], all: […], none: […] }`.
    Map(WantedMap),
}

/// The same where more is said.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantedMap {
    /// At least one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub any: Option<Vec<String>>,
    /// Each of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub all: Option<Vec<String>>,
    /// Not one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub none: Option<Vec<String>>,
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Wanted;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or a map with `any`, `all` and `none`")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Wanted, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Wanted::Any)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Wanted, A::Error> {
                WantedMap::deserialize(MapAccessDeserializer::new(map)).map(Wanted::Map)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Wanted {
    fn schema_name() -> Cow<'static, str> {
        "Wanted".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let list = <Vec<String>>::json_schema(generator);
        let map = generator.subschema_for::<WantedMap>();
        json_schema!({"description": "What the caller must have: a list of which one is enough, or `any`, `all` and `none`.", "anyOf": [list, map]})
    }
}
