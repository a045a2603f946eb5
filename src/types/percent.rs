use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A share, from `0%` to `100%`.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Percent(f64);

impl Percent {
    /// A constant share, for defaults.
    pub const fn new(percent: u8) -> Self {
        Self(percent as f64)
    }

    /// Of 1.
    pub fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let number =
            text.strip_suffix('%').and_then(|number| number.trim_end().parse().ok()).filter(|number| (0.0..=100.0).contains(number));
        number.map(Percent).ok_or_else(|| de::Error::custom(format!("`{text}` is not a share; write one from `0%` to `100%`")))
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}%", self.0))
    }
}

impl JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "A share, from 0% to 100%.", "pattern": "^(100(\\.0+)?|[0-9]{1,2}(\\.[0-9]+)?) ?%$", "examples": ["50%"]})
    }
}

#[cfg(test)]
mod tests {
    use super::Percent;

    #[test]
    fn a_share_is_a_number_with_its_sign() {
        let read = |text: &str| serde_json::from_str::<Percent>(&format!("\"{text}\"")).map(Percent::share);
        assert_eq!(read("50%").unwrap(), 0.5);
        assert_eq!(read("100 %").unwrap(), 1.0);
        assert_eq!(read("0.5%").unwrap(), 0.005);
        for wrong in ["50", "-1%", "101%", "NaN%", "%", "half"] {
            assert!(read(wrong).unwrap_err().to_string().contains("is not a share; write one from `0%` to `100%`"), "{wrong}");
        }
        assert_eq!(serde_json::to_string(&Percent::new(50)).unwrap(), "\"50%\"");
    }
}
