//! The `match:` of a route, as it stands in the file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::method::Method;

/// Which requests a route takes: those that meet everything said here. What is left out is met by every request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MatchConfig {
    /// The host or hosts, without port: `api.example.com`, or `*.example.com` for one or more labels in front.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<OneOrMany<String>>,
    /// The path or paths: `/health`, `/users/{id}`, `/files/{rest...}`, `~/users/\d+` or `{ prefix: /v2 }`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<OneOrMany<PathMatch>>,
    /// The methods. Default: all but TRACE. A route for GET answers HEAD too, unless another route for the same path names HEAD. A CORS preflight goes to the
    /// route of the request that it asks about, whatever stands here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Whether GET among `methods` stands for HEAD too. Default: true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub implicit_head: Option<bool>,
    /// A condition for each of these headers. A header that came several times is one list, joined by `, `.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Condition>,
    /// A condition for each of these query parameters, by their decoded names. Of a repeated one the first counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, Condition>,
}

/// One value or a list of them.
#[derive(Clone, Debug, PartialEq)]
pub enum OneOrMany<T> {
    /// Written without a list.
    One(T),
    /// Written as a list.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    /// The values, in their order.
    pub fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one value or a list")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                T::deserialize(StrDeserializer::new(text)).map(OneOrMany::One)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(OneOrMany::One)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMany::Many(values))
            }
        }
        deserializer.deserialize_any(Visitor(PhantomData))
    }
}

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::One(value) => value.serialize(serializer),
            Self::Many(values) => values.serialize(serializer),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany_{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]})
    }
}

/// One path of a route.
#[derive(Clone, Debug, PartialEq)]
pub enum PathMatch {
    /// `/users/{id}`: segments of text; `{id}` is one segment that is not empty, alone or with text beside it (`{id}.json`);
    /// `{rest...}` at the end is all that follows, zero or more segments. Or, after `~`, a regex.
    Pattern(String),
    /// This very path; braces mean themselves.
    Exact(String),
    /// This path and all below it, segment by segment: `/v2` matches `/v2`, `/v2/` and `/v2/x`, not `/v2x`.
    /// What follows is the parameter `rest`. Parameters may stand in it.
    Prefix(String),
    /// A regex that the whole normalised path must match, in linear time (the syntax of Rust's `regex`, ASCII classes).
    /// Named groups are parameters.
    Regex(String),
}

/// The one-key mappings that a field may be written as: the keys, and what each makes.
fn one_key<'de, A: de::MapAccess<'de>, T>(
    mut map: A,
    known: &'static [&'static str],
    read: impl Fn(&str, &mut A) -> Result<T, A::Error>,
) -> Result<T, A::Error> {
    let Some(key) = map.next_key::<String>()? else {
        return Err(de::Error::custom(format!("is empty; write one of {}", known.join(", "))));
    };
    if !known.contains(&&*key) {
        return Err(de::Error::unknown_field(&key, known));
    }
    let value = read(&key, &mut map)?;
    match map.next_key::<String>()? {
        None => Ok(value),
        Some(other) if known.contains(&&*other) => Err(de::Error::custom(format!("has both `{key}` and `{other}`; write one"))),
        Some(other) => Err(de::Error::unknown_field(&other, known)),
    }
}

impl<'de> Deserialize<'de> for PathMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = PathMatch;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path like `/users/{id}`, or one of `exact:`, `prefix:` and `regex:`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PathMatch, E> {
                Ok(PathMatch::Pattern(text.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<PathMatch, A::Error> {
                one_key(map, &["exact", "prefix", "regex"], |key, map| {
                    let text = map.next_value()?;
                    Ok(match key {
                        "exact" => PathMatch::Exact(text),
                        "prefix" => PathMatch::Prefix(text),
                        _ => PathMatch::Regex(text),
                    })
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(text) => f.write_str(text),
            Self::Exact(text) => write!(f, "exact {text}"),
            Self::Prefix(text) => write!(f, "prefix {text}"),
            Self::Regex(text) => write!(f, "~{text}"),
        }
    }
}

impl Serialize for PathMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, text) = match self {
            Self::Pattern(text) => return serializer.serialize_str(text),
            Self::Exact(text) => ("exact", text),
            Self::Prefix(text) => ("prefix", text),
            Self::Regex(text) => ("regex", text),
        };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(key, text)?;
        map.end()
    }
}

impl JsonSchema for PathMatch {
    fn schema_name() -> Cow<'static, str> {
        "PathMatch".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A path: `/users/{id}`, `/files/{rest...}`, `~` and a regex, or `{ exact: … }`, `{ prefix: … }`, `{ regex: … }`.",
            "anyOf": [
                {"type": "string", "pattern": "^(/|~)"},
                {
                    "type": "object",
                    "properties": {"exact": {"type": "string"}, "prefix": {"type": "string"}, "regex": {"type": "string"}},
                    "minProperties": 1, "maxProperties": 1, "additionalProperties": false
                }
            ],
            "examples": ["/users/{id}", "/{rest...}", {"prefix": "/v2"}]
        })
    }
}

/// What a header or a query parameter must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Exactly this text, upper and lower case told apart. Written as the text alone, or `{ exact: … }`.
    Exact(String),
    /// A regex that the whole value must match.
    Regex(String),
    /// There, whatever its value, or not there.
    Present(bool),
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Condition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // Numbers are not taken for text: YAML would make `1.10` into `1.1`.
                f.write_str("a text (in quotes if it looks like a number), or one of `exact:`, `regex:` and `present:`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Condition, E> {
                Ok(Condition::Exact(text.to_owned()))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Condition, A::Error> {
                one_key(map, &["exact", "regex", "present"], |key, map| match key {
                    "exact" => map.next_value().map(Condition::Exact),
                    "regex" => map.next_value().map(Condition::Regex),
                    _ => map.next_value().map(Condition::Present),
                })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::Exact(text) = self {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Exact(text) => map.serialize_entry("exact", text)?,
            Self::Regex(text) => map.serialize_entry("regex", text)?,
            Self::Present(present) => map.serialize_entry("present", present)?,
        }
        map.end()
    }
}

impl JsonSchema for Condition {
    fn schema_name() -> Cow<'static, str> {
        "Condition".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What the value must be: a text, `{ regex: … }` or `{ present: true }`.",
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"exact": {"type": "string"}, "regex": {"type": "string"}, "present": {"type": "boolean"}},
                    "minProperties": 1, "maxProperties": 1, "additionalProperties": false
                }
            ]
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_is_read_and_written_as_it_was() {
        for document in [
            json!({}),
            json!({"path": "/users/{id}", "methods": ["GET", "PURGE"]}),
            json!({"host": ["a.com", "*.b.com"], "path": ["/a", {"prefix": "/v2"}, {"exact": "/{x}"}, {"regex": "/a+"}]}),
            json!({"host": "a.com", "path": {"prefix": "/v2"}, "implicit_head": false}),
            json!({"headers": {"version": "2", "x-a": {"present": false}}, "query": {"q": {"regex": "a|b"}}}),
        ] {
            let config: MatchConfig = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(serde_json::to_value(&config).unwrap(), document);
        }
    }

    #[test]
    fn mistakes_say_what_is_expected() {
        let cases = [
            (json!({"paths": "/"}), "unknown field `paths`"),
            (json!({"path": 1}), "one value or a list"),
            (json!({"path": [1]}), "a path like"),
            (json!({"path": {"prefx": "/"}}), "unknown field `prefx`"),
            (json!({"path": {}}), "is empty"),
            (json!({"path": {"exact": "/", "regex": "/"}}), "has both `exact` and `regex`"),
            (json!({"methods": ["get"]}), "write `GET`"),
            (json!({"methods": ["G T"]}), "is no method"),
            (json!({"headers": {"version": 2}}), "in quotes"),
        ];
        for (document, expected) in cases {
            let error = serde_json::from_value::<MatchConfig>(document).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_schema_knows_both_spellings() {
        let schema = serde_json::to_value(schemars::schema_for!(MatchConfig)).unwrap();
        assert!(schema.pointer("/$defs/PathMatch/anyOf/1/properties/prefix").is_some(), "{schema:#}");
    }
}
