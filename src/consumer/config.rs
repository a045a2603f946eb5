use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::{Deserialize, Deserializer, Serialize, de};

use super::{KeyHash, PasswordHash, SigningKeyConfig};
use crate::types::{Moment, Rate};

/// One entry of `consumers:`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerConfig {
    /// The name, unique among all consumers.
    pub name: String,
    /// Groups that the consumer belongs to, each one word: for `acl`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What else is known of the consumer, by name: for conditions, like `consumer.labels.tier == 'gold'`, and templates, like `{consumer.labels.tenant}`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// API keys, for `api_key`, each as its hash: the file never holds a key itself. `tidegate new-key` makes one. Of several each is good: a new one is
    /// given out before the old one is taken away.
    #[serde(default)]
    pub api_keys: Vec<KeyConfig>,
    /// User names with the hashes of their passwords, for `basic`.
    #[serde(default)]
    pub passwords: Vec<PasswordConfig>,
    /// Keys that it signs requests with, for `hmac`. Of several each is good.
    #[serde(default)]
    pub signing_keys: Vec<SigningKeyConfig>,
    /// Limits of its own, by the `name` of the `rate_limit` whose they take the place of, where that counts by consumer.
    #[serde(default)]
    pub limits: BTreeMap<String, Rate>,
}

/// An API key: its hash alone, `sha256:9f86d08…`, or more.
#[derive(Clone, Debug, Serialize)]
pub struct KeyConfig {
    /// `sha256:` and the hex SHA-256 of the key.
    pub hash: KeyHash,
    /// What the key is called in the access log, such as its beginning, `tg_live_3fZk9QpX`: enough to find it, and not enough to use it.
    pub id: Option<String>,
    /// From when on it is refused: a date, or a time with its zone.
    pub expires: Option<Moment>,
}

/// The long form of a key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "KeyConfig")]
struct Long {
    /// `sha256:` and the hex SHA-256 of the key.
    hash: KeyHash,
    /// What the key is called in the access log, such as its beginning, `tg_live_3fZk9QpX`: enough to find it, and not enough to use it.
    id: Option<String>,
    /// From when on it is refused: a date, or a time with its zone.
    expires: Option<Moment>,
}

/// A user name and its password.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PasswordConfig {
    /// The user name. Default: the consumer's name.
    #[serde(default)]
    pub user: Option<String>,
    /// The hash of the password: argon2id as a PHC string, which `tidegate hash-key --password` makes, or bcrypt.
    pub hash: PasswordHash,
}

impl<'de> Deserialize<'de> for KeyConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = KeyConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a hash, like `sha256:9f86d08…`, or a mapping with `hash`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<KeyConfig, E> {
                Ok(KeyConfig { hash: text.parse().map_err(E::custom)?, id: None, expires: None })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<KeyConfig, A::Error> {
                let Long { hash, id, expires } = Long::deserialize(MapAccessDeserializer::new(map))?;
                Ok(KeyConfig { hash, id, expires })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for KeyConfig {
    fn schema_name() -> Cow<'static, str> {
        "KeyEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An API key: its hash alone, `sha256:9f86d08…`, or more.",
            "anyOf": [generator.subschema_for::<KeyHash>(), generator.subschema_for::<Long>()]
        })
    }
}
