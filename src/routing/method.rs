//! Methods: as they stand in the file, and as sets of bits that a look-up compares.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::building::BuildError;

/// An HTTP method, upper and lower case told apart (RFC 9110 §9.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub http::Method);

impl<'de> Deserialize<'de> for Method {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let upper = text.to_ascii_uppercase();
        if *text != *upper && COMMON.iter().any(|method| **method == *upper) {
            return Err(de::Error::custom(format!("`{text}` is in lower case, which HTTP tells apart; write `{upper}`")));
        }
        http::Method::from_bytes(text.as_bytes())
            .map(Method)
            .map_err(|_| de::Error::custom(format!("`{text}` is no method; write one like `GET`")))
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl JsonSchema for Method {
    fn schema_name() -> Cow<'static, str> {
        "Method".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "description": "An HTTP method in upper case.", "examples": COMMON})
    }
}

/// The methods that always have a bit: their place here is its number.
const COMMON: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];

/// Methods as bits of one [`Methods`]. Nothing set stands for no method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct MethodSet(u64);

impl MethodSet {
    pub(super) const GET: Self = Self(1);
    pub(super) const HEAD: Self = Self(2);
    pub(super) const OPTIONS: Self = Self(1 << 6);
    pub(super) const TRACE: Self = Self(1 << 7);

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) fn includes(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn common_to(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// Every method that a router knows, with its bit.
#[derive(Debug, Default)]
pub(super) struct Methods {
    /// Those beyond [`COMMON`], in the order in which they were named.
    others: Vec<http::Method>,
}

impl Methods {
    /// The set of one method; empty for one that no route names.
    pub(super) fn find(&self, method: &http::Method) -> MethodSet {
        let place = match *method {
            http::Method::GET => Some(0),
            http::Method::HEAD => Some(1),
            http::Method::POST => Some(2),
            http::Method::PUT => Some(3),
            http::Method::PATCH => Some(4),
            http::Method::DELETE => Some(5),
            http::Method::OPTIONS => Some(6),
            http::Method::TRACE => Some(7),
            http::Method::CONNECT => Some(8),
            _ => self.others.iter().position(|known| known == method).map(|place| place + COMMON.len()),
        };
        MethodSet(place.map_or(0, |place| 1 << place))
    }

    /// The set of one method, which is known from now on.
    pub(super) fn learn(&mut self, method: &http::Method) -> Result<MethodSet, BuildError> {
        let set = self.find(method);
        if !set.is_empty() {
            return Ok(set);
        }
        let most = 64 - COMMON.len();
        if self.others.len() == most {
            return Err(BuildError::new(
                format!("`{method}` is one method too many: beside the common ones, {most} may be named"),
                "leave `methods` out where any will do",
            ));
        }
        self.others.push(method.clone());
        Ok(self.find(method))
    }

    /// The methods of a set.
    pub(super) fn list(&self, set: MethodSet) -> Vec<http::Method> {
        let common = COMMON.iter().filter_map(|name| http::Method::from_bytes(name.as_bytes()).ok());
        common.chain(self.others.iter().cloned()).filter(|method| set.overlaps(self.find(method))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_has_its_own_bit() {
        let mut methods = Methods::default();
        let purge = http::Method::from_bytes(b"PURGE").unwrap();
        assert!(methods.find(&purge).is_empty());
        let mut set = methods.learn(&purge).unwrap();
        for name in COMMON {
            let one = methods.find(&http::Method::from_bytes(name.as_bytes()).unwrap());
            assert!(!one.is_empty() && !set.overlaps(one), "{name}");
            set = set.with(one);
        }
        assert_eq!(methods.list(set.common_to(MethodSet::GET.with(methods.find(&purge)))), [http::Method::GET, purge]);
        for (set, method) in [
            (MethodSet::GET, http::Method::GET),
            (MethodSet::HEAD, http::Method::HEAD),
            (MethodSet::OPTIONS, http::Method::OPTIONS),
            (MethodSet::TRACE, http::Method::TRACE),
        ] {
            assert_eq!(methods.list(set), [method]);
        }
    }

    #[test]
    fn methods_without_end_are_refused() {
        let mut methods = Methods::default();
        let learnt =
            (0..100).filter(|number| methods.learn(&http::Method::from_bytes(format!("M{number}").as_bytes()).unwrap()).is_ok()).count();
        assert_eq!(learnt, 55);
    }
}
