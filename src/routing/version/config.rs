//! The settings of versions.

use std::borrow::Cow;
use std::fmt;

use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

use crate::building::BuildError;
use crate::routing::split::{ForceConfig, StickyConfig, ToConfig};

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

/// A point in time from 1970 to 9999: `2026-12-31` (its first second, UTC) or `2026-12-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?$"))]
pub struct Moment(pub(super) OffsetDateTime);

/// The first second of the year 10000, since 1970.
const FIRST_OF_10000: i64 = 253_402_300_800;

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let day = time::macros::format_description!("[year]-[month]-[day]");
        let date = Date::parse(&text, day).map(|date| PrimitiveDateTime::new(date, Time::MIDNIGHT).assume_utc());
        let moment = date.or_else(|_| OffsetDateTime::parse(&text, &Rfc3339));
        let moment =
            moment.map_err(|_| de::Error::custom(format!("`{text}` is not a date; write `2026-12-31` or `2026-12-31T12:00:00Z`")))?;
        // An HTTP-date has four digits for the year, of the time in UTC (RFC 9110 §5.6.7).
        if !(0..FIRST_OF_10000).contains(&moment.unix_timestamp()) {
            return Err(de::Error::custom(format!("`{text}` is not between 1970 and 9999; write a date like `2026-12-31`")));
        }
        Ok(Moment(moment))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_one_that_http_can_write() {
        let read = |text: &str| serde_json::from_str::<Moment>(&format!("\"{text}\"")).map_err(|error| error.to_string());
        for right in ["1970-01-01", "2026-12-31T12:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59+14:00"] {
            assert!(read(right).is_ok(), "{right}");
        }
        for wrong in ["9999-12-31T23:59:59-01:00", "1969-12-31", "0000-01-01", "1970-01-01T00:00:00+01:00"] {
            assert!(read(wrong).unwrap_err().contains("between 1970 and 9999"), "{wrong}");
        }
        assert!(read("31.12.2026").unwrap_err().contains("is not a date"));
    }
}
