use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

/// A point in time from 1970 to 9999: `2026-12-31` (its first second, UTC) or `2026-12-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?$"))]
pub struct Moment(pub OffsetDateTime);

/// The first second of the year 10000, since 1970.
const FIRST_OF_10000: i64 = 253_402_300_800;

impl Moment {
    /// Seconds since 1970, with their fraction.
    pub fn seconds(self) -> f64 {
        self.0.unix_timestamp() as f64 + f64::from(self.0.nanosecond()) / 1e9
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).unwrap_or(i64::MAX) >= self.0.unix_timestamp()
    }
}

impl FromStr for Moment {
    /// What is wrong and what to write.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = time::macros::format_description!("[year]-[month]-[day]");
        let date = Date::parse(text, day).map(|date| PrimitiveDateTime::new(date, Time::MIDNIGHT).assume_utc());
        let moment = date.or_else(|_| OffsetDateTime::parse(text, &Rfc3339));
        let moment = moment.map_err(|_| format!("`{text}` is not a date; write `2026-12-31` or `2026-12-31T12:00:00Z`"))?;
        // An HTTP-date has four digits for the year, of the time in UTC (RFC 9110 §5.6.7).
        if !(0..FIRST_OF_10000).contains(&moment.unix_timestamp()) {
            return Err(format!("`{text}` is not between 1970 and 9999; write a date like `2026-12-31`"));
        }
        Ok(Moment(moment))
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339(SystemTime::from(self.0)))
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
