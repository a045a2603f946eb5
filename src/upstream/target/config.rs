use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// One entry of `targets:`: a URL, `{ url: …, weight: …, priority: … }`, or `{ srv: …, priority: … }`.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// `http://host:port` or `https://host:port`, where the port may be left out, or `unix:///path/of/a/socket`.
    pub url: String,
    /// Whether the host of the URL is the name of SRV records.
    pub srv: bool,
    /// How many picks it gets beside the others; 0 takes it out. Default: 1.
    pub weight: u32,
    /// 0 for the first choice; others are used while none of a lower number is available. Default: 0.
    pub priority: u8,
}

/// The same, written out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{"required": ["url"]}, {"required": ["srv"]}]))]
struct Full {
    /// `http://` or `https://`, a host and, where it is not the usual one, a port; or `unix://` and the whole path of a socket. A name with several
    /// addresses is as many targets, each with the weight.
    url: Option<String>,
    /// `http://` or `https://` and a name with SRV records, like `http://_api._tcp.users.internal`: they say hosts, ports and weights. Their
    /// priorities count within that of the entry.
    srv: Option<String>,
    /// How many requests it gets in proportion to the others; not with `srv`. Default: 1.
    weight: Option<u32>,
    /// 0 for the first choice; others are used while none of a lower number is available. Default: 0.
    #[serde(default)]
    priority: u8,
}

impl JsonSchema for TargetConfig {
    fn schema_name() -> Cow<'static, str> {
        "TargetConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = Full::json_schema(generator);
        json_schema!({
            "description": "A URL like `http://10.0.0.1:8080` or `unix:///run/app.sock`, `{ url, weight, priority }`, or `{ srv, priority }`.",
            "anyOf": [{"type": "string", "pattern": "^(https?|unix)://"}, full]
        })
    }
}

impl<'de> Deserialize<'de> for TargetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = TargetConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a mapping with `url`, `weight` and `priority`, or with `srv` and `priority`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<TargetConfig, E> {
                Ok(TargetConfig { url: url.to_owned(), srv: false, weight: 1, priority: 0 })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<TargetConfig, A::Error> {
                let Full { url, srv, weight, priority } = Full::deserialize(de::value::MapAccessDeserializer::new(map))?;
                match (url, srv) {
                    (Some(url), None) => Ok(TargetConfig { url, srv: false, weight: weight.unwrap_or(1), priority }),
                    (None, Some(_)) if weight.is_some() => {
                        Err(de::Error::custom("the records of `srv` say their own weights; remove `weight`"))
                    }
                    (None, Some(url)) => Ok(TargetConfig { url, srv: true, weight: 1, priority }),
                    _ => Err(de::Error::custom("a target has a `url` or a `srv`; write one of them")),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
