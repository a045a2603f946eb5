//! The settings of versions.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::building::BuildError;
use crate::routing::split::{ForceConfig, StickyConfig, ToConfig};
use crate::types::Moment;

/// `versions:` of a route: `from`, `default`, and one key per version.
#[derive(Debug)]
pub struct VersionsConfig {
    /// Where a request says which version it wants.
    pub from: Source,
    /// The version of a request that does not say. Without it such a request is refused.
    pub default: Option<String>,
    /// The versions by name.
    pub versions: IndexMap<String, VersionConfig>,
}

/// One version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionConfig {
    /// The service that answers it, or several with their shares.
    pub to: ToConfig,
    /// What keeps a caller at one of several services. Default: each request is drawn by lot.
    pub sticky: Option<StickyConfig>,
    /// Where testers can name the one of several services that they want. Default: nowhere.
    pub force: Option<ForceConfig>,
    /// The path at the service, with the route's path parameters. Default: the path that was matched.
    pub path: Option<String>,
    /// Since when, or from when on, it should not be used any more: a date, or a time with its zone.
    pub deprecated: Option<Moment>,
    /// When it ends; after that its callers get 410.
    pub sunset: Option<Moment>,
    /// The version to use in its place.
    pub successor: Option<String>,
    /// A page that tells how to move on: a URL, or a path of this host.
    pub docs: Option<String>,
}

/// Where a request says which version it wants.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A header.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A parameter of the route's path.
    Param(String),
    /// A media type in `Accept`, with `{version}` in the version's place: `application/vnd.acme.{version}+json`.
    MediaType(String),
}

impl JsonSchema for VersionsConfig {
    fn schema_name() -> Cow<'static, str> {
        "VersionsConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`from`, `default`, and one key per version.",
            "type": "object",
            "properties": {
                "from": generator.subschema_for::<Source>(),
                "default": {"type": ["string", "null"], "description": "The version of a request that does not say. Without it such a request is refused."},
            },
            "additionalProperties": generator.subschema_for::<VersionConfig>(),
            "required": ["from"]
        })
    }
}

impl<'de> Deserialize<'de> for VersionsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = VersionsConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping with `from`, `default` and the versions")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<VersionsConfig, A::Error> {
                let (mut from, mut default, mut versions) = (None, None, IndexMap::new());
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "from" => from = Some(map.next_value()?),
                        "default" => default = Some(map.next_value()?),
                        _ => {
                            versions.insert(key, map.next_value()?);
                        }
                    }
                }
                let from = from.ok_or_else(|| de::Error::missing_field("from"))?;
                Ok(VersionsConfig { from, default, versions })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

impl VersionsConfig {
    /// The service of all versions, where it is the same.
    pub fn only_service(&self) -> Option<&str> {
        let mut services = self.versions.values().flat_map(|version| version.to.services());
        let first = services.next()?;
        services.all(|service| service == first).then_some(first)
    }

    pub(super) fn place(&self, name: &str) -> Result<usize, BuildError> {
        let known = || self.versions.keys().map(String::as_str);
        self.versions.get_index_of(name).ok_or_else(|| BuildError::unknown("version", name, known().collect::<Vec<_>>()))
    }
}
