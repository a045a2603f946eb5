use http::HeaderValue;
use schemars::JsonSchema;
use serde::Deserialize;

/// The `Host` that targets see.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String")]
pub enum HostMode {
    /// That of the target's URL.
    #[default]
    Target,
    /// The client's.
    Keep,
    /// This name.
    Name(HeaderValue),
}

impl<'de> Deserialize<'de> for HostMode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "target" => Ok(HostMode::Target),
            "keep" => Ok(HostMode::Keep),
            name if name.parse::<http::uri::Authority>().is_ok() => {
                HeaderValue::try_from(name).map(HostMode::Name).map_err(serde::de::Error::custom)
            }
            name => Err(serde::de::Error::custom(format!("`{name}` is not `target`, `keep` or a host name"))),
        }
    }
}
