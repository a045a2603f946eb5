use std::borrow::Cow;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::building::BuildError;

/// A length of time with its unit: `800ms`, `5s`, `1m`, `1h 30m`; at most 366 days, so that no clock overflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(pub time::Duration);

/// Longer than any setting can mean: a longer one is a slip.
const LONGEST: time::Duration = time::Duration::from_secs(366 * 24 * 3600);

impl Duration {
    /// A constant number of seconds, for defaults.
    pub const fn secs(secs: u64) -> Self {
        Self(time::Duration::from_secs(secs))
    }

    /// A constant number of milliseconds, for defaults.
    pub const fn millis(millis: u64) -> Self {
        Self(time::Duration::from_millis(millis))
    }
}

impl Duration {
    /// For what cannot work without any time.
    ///
    /// # Errors
    /// Zero.
    pub fn not_zero(self) -> Result<(), BuildError> {
        if self.0.is_zero() { Err(BuildError::new("this leaves no time at all", "write a longer time, like `10s`")) } else { Ok(()) }
    }
}

impl From<Duration> for time::Duration {
    fn from(duration: Duration) -> Self {
        duration.0
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        match humantime::parse_duration(&text) {
            Ok(duration) if duration <= LONGEST => Ok(Self(duration)),
            Ok(_) | Err(humantime::DurationError::NumberOverflow) => {
                Err(de::Error::custom(format!("`{text}` is longer than 366 days; write a shorter time")))
            }
            Err(_) => Err(de::Error::custom(format!("`{text}` is not a duration; write a number and a unit, like `800ms`, `5s` or `1m`"))),
        }
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*(0+|[0-9].*[a-zA-Z])\s*$",
            "description": "A length of time with its unit: 800ms, 5s, 1m, 1h 30m; at most 366 days.",
            "examples": ["800ms", "5s", "1m"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_no_clock_holds_is_refused() {
        let read = |text: &str| serde_json::from_str::<Duration>(&format!("\"{text}\"")).map_err(|error| error.to_string());
        assert_eq!(read("366days"), Ok(Duration::secs(366 * 24 * 3600)));
        for long in ["366days 1ms", "500000000000y", "99999999999999999999y"] {
            assert!(read(long).unwrap_err().contains("is longer than 366 days"), "{long}");
        }
        assert!(read("5").unwrap_err().contains("is not a duration"));
    }
}
