use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use http::StatusCode;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::types::Duration;

/// `health:` of a service: each target is asked again and again whether it is well, in the way that one of `path`, `tcp` and `grpc` says. While it is not,
/// it gets no requests. A target is taken to be well until its first check, which is made at once and decides by itself; the gateway waits for the first
/// checks, up to 2s, before it uses a new config. Checks show the `credentials` of the service; while there are none to show, nothing is asked.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [
    {"required": ["path"]},
    {"required": ["tcp"], "properties": {"tcp": {"const": true}}},
    {"required": ["grpc"]},
]))]
pub struct HealthConfig {
    /// A `GET` of this path, with a query or without, must be answered well.
    #[schemars(extend("pattern" = "^/"))]
    pub path: Option<String>,
    /// `true`: a connection must come about, with TLS for `https://`. A process that hangs may still take one.
    pub tcp: bool,
    /// The gRPC health protocol (grpc.health.v1), over HTTP/2: this service of the server, or `""` for the server as a whole, must be `SERVING`.
    pub grpc: Option<String>,
    /// The answers to `path` that are well: statuses like 200, `2xx` or `200-399`. Default: 2xx.
    pub status: Option<Vec<StatusConfig>>,
    /// A text that the answer to `path` must contain in its first 64 KiB. Default: none.
    #[schemars(length(min = 1))]
    pub body: Option<String>,
    /// The time from one check to the next, give or take a tenth; at least 100ms. Default: 5s.
    pub interval: Duration,
    /// How long a check may take. Default: 1s.
    pub timeout: Duration,
    /// How many checks in a row make an ill target well; at least 1. Default: 2.
    #[schemars(range(min = 1))]
    pub healthy: u32,
    /// How many checks in a row make it ill; at least 1. Default: 3.
    #[schemars(range(min = 1))]
    pub unhealthy: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            path: None,
            tcp: false,
            grpc: None,
            status: None,
            body: None,
            interval: Duration::secs(5),
            timeout: Duration::secs(1),
            healthy: 2,
            unhealthy: 3,
        }
    }
}

/// Statuses: one, a hundred of them, or a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusConfig(RangeInclusive<u16>);

impl StatusConfig {
    /// All that say success.
    pub const SUCCESS: Self = Self(200..=299);

    /// Whether this is one of them.
    pub fn has(&self, status: StatusCode) -> bool {
        self.0.contains(&status.as_u16())
    }

    fn new(first: u16, last: u16) -> Option<Self> {
        (100 <= first && first <= last && last <= 599).then_some(Self(first..=last))
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            return Self::new(first.trim().parse().ok()?, last.trim().parse().ok()?);
        }
        let hundred: u16 = text.strip_suffix("xx")?.parse().ok()?;
        Self::new(hundred.checked_mul(100)?, hundred.checked_mul(100)?.checked_add(99)?)
    }
}

impl fmt::Display for StatusConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.0.start(), self.0.end());
        match last - first {
            0 => write!(f, "{first}"),
            99 if first % 100 == 0 => write!(f, "{}xx", first / 100),
            _ => write!(f, "{first}-{last}"),
        }
    }
}

impl<'de> Deserialize<'de> for StatusConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = StatusConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a status from 100 to 599, like 200, `2xx` or `200-399`")
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<StatusConfig, E> {
                let known = u16::try_from(status).ok().and_then(|status| StatusConfig::new(status, status));
                known.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(status), &self))
            }

            fn visit_i64<E: de::Error>(self, status: i64) -> Result<StatusConfig, E> {
                u64::try_from(status)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(status), &self))
                    .and_then(|status| self.visit_u64(status))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StatusConfig, E> {
                StatusConfig::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for StatusConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.start() == self.0.end() { serializer.serialize_u16(*self.0.start()) } else { serializer.collect_str(self) }
    }
}

impl JsonSchema for StatusConfig {
    fn schema_name() -> Cow<'static, str> {
        "Statuses".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A status, a hundred of them, or a range: 200, `2xx`, `200-399`.",
            "anyOf": [
                {"type": "integer", "minimum": 100, "maximum": 599},
                {"type": "string", "pattern": "^([1-5]xx|[1-5][0-9]{2} ?- ?[1-5][0-9]{2})$", "examples": ["2xx"]}
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_a_hundred_or_a_range() {
        let read = |json: &str| serde_json::from_str::<StatusConfig>(json).map(|statuses| (statuses.to_string(), statuses.0));
        assert_eq!(read("200").unwrap(), ("200".to_owned(), 200..=200));
        assert_eq!(read("\"3xx\"").unwrap(), ("3xx".to_owned(), 300..=399));
        assert_eq!(read("\"200 - 399\"").unwrap(), ("200-399".to_owned(), 200..=399));
        for wrong in ["99", "600", "-1", "\"200\"", "\"6xx\"", "\"0xx\"", "\"399-200\"", "\"xx\"", "\"ok\"", "\"655xx\"", "true"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
