use std::borrow::Cow;
use std::fmt;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Methods that may be sent again: a word for them, or a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RetryMethods {
    /// Those that change nothing (RFC 9110 §9.2.1).
    #[default]
    Safe,
    /// Those that change nothing more when they come twice (RFC 9110 §9.2.2).
    Idempotent,
    /// All.
    Any,
    /// These.
    List(Vec<Method>),
}

impl RetryMethods {
    /// Whether this one may be sent again.
    pub fn has(&self, method: &Method) -> bool {
        match self {
            RetryMethods::Safe => method.is_safe(),
            RetryMethods::Idempotent => method.is_idempotent(),
            RetryMethods::Any => true,
            RetryMethods::List(list) => list.contains(method),
        }
    }
}

impl<'de> Deserialize<'de> for RetryMethods {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = RetryMethods;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`safe`, `idempotent`, `any`, or a list of methods like `[GET, PUT]`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RetryMethods, E> {
                match text {
                    "safe" => Ok(RetryMethods::Safe),
                    "idempotent" => Ok(RetryMethods::Idempotent),
                    "any" => Ok(RetryMethods::Any),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<RetryMethods, A::Error> {
                let mut methods = Vec::new();
                while let Some(Upper(method)) = list.next_element()? {
                    methods.push(method);
                }
                Ok(RetryMethods::List(methods))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A method in upper case: HTTP tells the cases apart, and no known method has another.
struct Upper(Method);

impl<'de> Deserialize<'de> for Upper {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let method = Method::from_bytes(text.as_bytes()).ok().filter(|_| *text == *text.to_ascii_uppercase());
        method.map(Upper).ok_or_else(|| de::Error::custom(format!("`{text}` is no method; write one like `GET`")))
    }
}

impl Serialize for RetryMethods {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RetryMethods::Safe => serializer.serialize_str("safe"),
            RetryMethods::Idempotent => serializer.serialize_str("idempotent"),
            RetryMethods::Any => serializer.serialize_str("any"),
            RetryMethods::List(list) => serializer.collect_seq(list.iter().map(Method::as_str)),
        }
    }
}

impl JsonSchema for RetryMethods {
    fn schema_name() -> Cow<'static, str> {
        "RetryMethods".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Methods that may be sent again: those that change nothing, those that may come twice, all, or these.",
            "anyOf": [{"enum": ["safe", "idempotent", "any"]}, {"type": "array", "items": {"type": "string", "pattern": "^[^a-z]+$"}}]
        })
    }
}
