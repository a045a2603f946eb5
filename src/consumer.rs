//! Who a caller can be: an identified caller with groups and credentials.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::building::{BuildError, Errors};

/// One entry of `consumers:`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsumerConfig {
    /// The name, unique among all consumers.
    pub name: String,
    /// Groups that the consumer belongs to, for `acl`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What else is known of the consumer, for conditions: `consumer.labels.tier == 'gold'`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// API keys, each as `sha256:` and the hex SHA-256 of the key: the file never holds a key itself.
    #[serde(default)]
    pub api_keys: Vec<KeyHash>,
}

/// The SHA-256 of an API key, written `sha256:9f86d08…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^sha256:[0-9a-fA-F]{64}$"))]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Hashes a key as a client sends it.
    pub fn of(key: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, key).as_ref());
        Self(hash)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:***")
    }
}

impl Serialize for KeyHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("sha256:***")
    }
}

impl<'de> Deserialize<'de> for KeyHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_hash(&text)
            .map(KeyHash)
            .ok_or_else(|| serde::de::Error::custom("this is not `sha256:` and 64 hex digits; make one with `printf %s KEY | sha256sum`"))
    }
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let hex = text.strip_prefix("sha256:")?;
    let mut hash = [0; 32];
    if hex.len() != 2 * hash.len() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let [high, low] = digits else { return None };
        *byte = digit(*high)? * 16 + digit(*low)?;
    }
    Some(hash)
}

/// An identified caller. Shared by all its requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// The unique name.
    pub name: String,
    /// Groups that the consumer belongs to.
    pub groups: Vec<String>,
    /// Its name, groups and labels, as conditions see them.
    pub facts: Value,
}

impl Consumer {
    fn new(config: &ConsumerConfig) -> Self {
        let facts = json!({"name": config.name, "groups": config.groups, "labels": config.labels});
        Self { name: config.name.clone(), groups: config.groups.clone(), facts }
    }
}

/// Every consumer, by name and by credential.
#[derive(Debug, Default)]
pub struct Consumers {
    names: HashMap<String, Arc<Consumer>>,
    keys: HashMap<KeyHash, Arc<Consumer>>,
}

impl Consumers {
    /// Indexes the consumers.
    ///
    /// # Errors
    /// Names or keys that stand twice, at paths below `consumers`.
    pub fn build(configs: &[ConsumerConfig]) -> Result<Self, Errors> {
        let mut built = Self::default();
        let mut errors = Errors::default();
        for (index, config) in configs.iter().enumerate() {
            let consumer = Arc::new(Consumer::new(config));
            if config.name.is_empty() {
                errors.push(BuildError::new("a consumer needs a name", "write a name").at("name").at(index).at("consumers"));
            }
            if config.name.trim() != config.name {
                // As a header's value it would be read without, and so as another's.
                let error = BuildError::new("the name has white space around it", "take it off").at("name");
                errors.push(error.at(index).at("consumers"));
            }
            if built.names.insert(config.name.clone(), consumer.clone()).is_some() {
                let first = configs.iter().position(|other| other.name == config.name).unwrap_or(index);
                let reason = format!("there are two consumers named `{}`", config.name);
                let error = BuildError::new(reason, "give each its own name").at("name").at(index);
                errors.push(error.beside([first.into(), "name".into()]).at("consumers"));
            }
            for (place, key) in config.api_keys.iter().enumerate() {
                if *key == KeyHash::of(b"") {
                    let error =
                        BuildError::new("this is the hash of nothing, which is no key", "make one with `printf %s KEY | sha256sum`");
                    errors.push(error.at(place).at("api_keys").at(index).at("consumers"));
                }
                if let Some(other) = built.keys.insert(*key, consumer.clone()) {
                    let reason = format!("consumer `{}` has the same key", other.name);
                    errors
                        .push(BuildError::new(reason, "give each consumer its own key").at(place).at("api_keys").at(index).at("consumers"));
                }
            }
        }
        errors.finish(built)
    }

    /// The consumer of that name.
    pub fn named(&self, name: &str) -> Option<&Arc<Consumer>> {
        self.names.get(name)
    }

    /// The names of all.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.keys().map(String::as_str)
    }

    /// The groups of all, each as often as it is named.
    pub fn groups(&self) -> impl Iterator<Item = &str> + Clone {
        self.names.values().flat_map(|consumer| &consumer.groups).map(String::as_str)
    }

    /// The consumer whose key has this hash. The time this takes depends on the hash alone, which a caller cannot steer towards a stored one.
    pub fn by_key(&self, hash: &KeyHash) -> Option<&Arc<Consumer>> {
        self.keys.get(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_consumer_and_another_does_not() {
        let config =
            serde_json::json!([{"name": "app", "api_keys": ["sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"]}]);
        let consumers = Consumers::build(&serde_json::from_value::<Vec<ConsumerConfig>>(config).unwrap()).unwrap();
        assert_eq!(consumers.by_key(&KeyHash::of(b"test")).unwrap().name, "app");
        assert!(consumers.by_key(&KeyHash::of(b"other")).is_none());
    }

    #[test]
    fn what_is_no_hash_of_a_key_is_refused() {
        let read = |hex: &str| {
            let config = serde_json::json!([{"name": "app", "api_keys": [format!("sha256:{hex}")]}]);
            let configs = serde_json::from_value::<Vec<ConsumerConfig>>(config).map_err(|error| error.to_string())?;
            Consumers::build(&configs).map_err(|errors| errors.0[0].reason.clone())
        };
        let rest = "f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
        assert!(read(&format!("9{rest}")).is_ok() && read(&format!("9{rest}").to_uppercase()).is_ok());
        for wrong in [format!("+{rest}"), format!("é{}", &rest[1..]), rest.to_owned(), format!("99{rest}")] {
            assert!(read(&wrong).unwrap_err().contains("64 hex digits"), "{wrong}");
        }
        let nothing = read("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(nothing.unwrap_err(), "this is the hash of nothing, which is no key");
    }

    #[test]
    fn a_name_that_a_header_would_change_is_refused() {
        let config = serde_json::json!([{"name": " app"}]);
        let errors = Consumers::build(&serde_json::from_value::<Vec<ConsumerConfig>>(config).unwrap()).unwrap_err();
        assert_eq!(errors.0[0].path.to_string(), "consumers[0].name");
    }

    #[test]
    fn two_consumers_with_one_name_are_refused() {
        let config = serde_json::json!([{"name": "app"}, {"name": "app"}]);
        let errors = Consumers::build(&serde_json::from_value::<Vec<ConsumerConfig>>(config).unwrap()).unwrap_err();
        assert_eq!(errors.0[0].path.to_string(), "consumers[1].name");
    }
}
