//! Who a caller can be: an identified caller with groups, labels, credentials and limits.

mod config;
mod hash;
mod password;
mod signing;

pub use config::{ConsumerConfig, KeyConfig, PasswordConfig};
pub use hash::KeyHash;
pub use password::{Cost, PasswordHash};
pub use signing::{RsaAlgorithm, SigningAlgorithm, SigningKey, SigningKeyConfig, SigningKeys};

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, OnceLock};

use serde_json::{Value, json};

use crate::building::{BuildError, Errors};
use crate::types::{Moment, Rate};

/// An identified caller. Shared by all its requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Consumer {
    /// The unique name.
    pub name: String,
    /// Groups that the consumer belongs to.
    pub groups: Vec<String>,
    /// What else is known of it.
    pub labels: BTreeMap<String, String>,
    /// Limits of its own, by name.
    pub limits: BTreeMap<String, Rate>,
    /// The same for conditions.
    pub facts: Facts,
}

/// A consumer as conditions see it, made when the first one asks: of a hundred thousand consumers most are never asked about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Facts(OnceLock<Value>);

/// An API key that is known.
#[derive(Clone, Debug)]
pub struct Key {
    /// Whose it is.
    pub consumer: Arc<Consumer>,
    /// What it is called in the log.
    pub id: Option<Arc<str>>,
    /// From when on it is refused.
    pub expires: Option<Moment>,
}

/// A user name that is known.
#[derive(Clone, Debug)]
pub struct Login {
    /// Whose it is.
    pub consumer: Arc<Consumer>,
    /// The user name.
    pub user: Arc<str>,
    /// The hash of its password.
    pub hash: PasswordHash,
}

/// Every consumer of the config, by name and by credential.
#[derive(Debug, Default)]
pub struct Consumers {
    names: HashMap<String, Arc<Consumer>>,
    keys: HashMap<KeyHash, Key>,
    logins: HashMap<Arc<str>, Login>,
    /// The keys that they sign requests with.
    pub signing: SigningKeys,
    costs: Vec<Cost>,
}

impl Consumer {
    /// Its name, groups and labels, as conditions see them.
    pub fn facts(&self) -> &Value {
        self.facts.0.get_or_init(|| json!({"name": self.name, "groups": self.groups, "labels": self.labels}))
    }

    /// What can be said of it as it shall be.
    ///
    /// # Errors
    /// A name or a group that a header would change, or a limit that cannot be counted by, at paths below the consumer.
    pub fn check(&self) -> Errors {
        let mut errors = Errors::default();
        if self.name.is_empty() {
            errors.push(BuildError::new("a consumer needs a name", "write a name").at("name"));
        }
        if self.name.trim() != self.name || self.name.contains(char::is_control) {
            // As a header's value it would be read without, and so as another's.
            let reason = "the name has white space around it, or control characters in it";
            errors.push(BuildError::new(reason, "take it off").at("name"));
        }
        for (place, group) in self.groups.iter().enumerate() {
            if group.is_empty() || group.contains(|char: char| char.is_whitespace() || char.is_control() || char == ',') {
                // In a list of them it would be read as several.
                let error = BuildError::new("this is not one word", "write each group without spaces and commas");
                errors.push(error.at(place).at("groups"));
            }
        }
        for (name, limit) in &self.limits {
            errors.keep(&["limits".into(), name.as_str().into()], limit.check());
        }
        errors
    }
}

/// The hash that no key has.
static NOTHING: LazyLock<KeyHash> = LazyLock::new(|| KeyHash::of(b""));

impl From<&ConsumerConfig> for Consumer {
    fn from(config: &ConsumerConfig) -> Self {
        let ConsumerConfig { name, groups, labels, limits, .. } = config;
        let facts = Facts::default();
        Self { name: name.clone(), groups: groups.clone(), labels: labels.clone(), limits: limits.clone(), facts }
    }
}

impl Consumers {
    /// Indexes the consumers.
    ///
    /// # Errors
    /// Names, keys and users that stand twice, and what cannot be right, at paths below `consumers`.
    pub fn build(configs: &[ConsumerConfig]) -> Result<Self, Errors> {
        let mut built = Self { names: HashMap::with_capacity(configs.len()), ..Self::default() };
        built.keys.reserve(configs.iter().map(|config| config.api_keys.len()).sum());
        let mut errors = Errors::default();
        for (index, config) in configs.iter().enumerate() {
            let consumer = Arc::new(Consumer::from(config));
            let mut wrong = |error: BuildError| errors.push(error.at(index).at("consumers"));
            consumer.check().0.into_iter().for_each(&mut wrong);
            if built.names.insert(config.name.clone(), consumer.clone()).is_some() {
                let first = configs.iter().position(|other| other.name == config.name).unwrap_or(index);
                let reason = format!("there are two consumers named `{}`", config.name);
                let error = BuildError::new(reason, "give each its own name").at("name").at(index);
                errors.push(error.beside([first.into(), "name".into()]).at("consumers"));
            }
            for (place, config) in config.api_keys.iter().enumerate() {
                if let Err(error) = built.key(&consumer, config) {
                    errors.push(error.at(place).at("api_keys").at(index).at("consumers"));
                }
            }
            for (place, config) in config.passwords.iter().enumerate() {
                if let Err(error) = built.login(&consumer, config) {
                    errors.push(error.at(place).at("passwords").at(index).at("consumers"));
                }
            }
            for (place, config) in config.signing_keys.iter().enumerate() {
                if let Err(error) = built.signing.add(&consumer, config) {
                    errors.push(error.at(place).at("signing_keys").at(index).at("consumers"));
                }
            }
        }
        errors.finish(built)
    }

    fn key(&mut self, consumer: &Arc<Consumer>, config: &KeyConfig) -> Result<(), BuildError> {
        if config.hash == *NOTHING {
            return Err(BuildError::new("this is the hash of nothing, which is no key", "make one with `tidegate new-key`"));
        }
        if config.id.as_deref().is_some_and(str::is_empty) {
            return Err(BuildError::new("this says nothing", "write what the key shall be called, or remove it").at("id"));
        }
        if config.id.as_deref().is_some_and(|id| KeyHash::of(id.as_bytes()) == config.hash) {
            let reason = "this is the key itself, which would stand in the access log";
            return Err(
                BuildError::new(reason, "write a name for it, and give its consumer another key: this one is written down").at("id")
            );
        }
        let key = Key { consumer: consumer.clone(), id: config.id.as_deref().map(Arc::from), expires: config.expires };
        match self.keys.insert(config.hash, key) {
            Some(other) => {
                let reason = format!("consumer `{}` has the same key", other.consumer.name);
                Err(BuildError::new(reason, "give each consumer its own key"))
            }
            None => Ok(()),
        }
    }

    fn login(&mut self, consumer: &Arc<Consumer>, config: &PasswordConfig) -> Result<(), BuildError> {
        let user: Arc<str> = config.user.as_deref().unwrap_or(&consumer.name).into();
        // RFC 7617 §2.
        if user.is_empty() || user.contains(|char: char| char == ':' || char.is_control()) {
            let reason = format!("{user:?} cannot be a user name: it is empty, or has a colon or control characters in it");
            return Err(BuildError::new(reason, "write another one as `user`").at("user"));
        }
        let cost = config.hash.cost();
        if !self.costs.contains(&cost) {
            self.costs.push(cost);
        }
        let login = Login { consumer: consumer.clone(), user: user.clone(), hash: config.hash.clone() };
        match self.logins.insert(user, login) {
            Some(other) => {
                let reason = format!("consumer `{}` has a password for the same user name, `{}`", other.consumer.name, other.user);
                Err(BuildError::new(reason, "give each password its own `user`").at("user"))
            }
            None => Ok(()),
        }
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

    /// The key that has this hash. The time this takes depends on the hash alone, which a caller cannot steer towards a stored one.
    pub fn by_key(&self, hash: &KeyHash) -> Option<&Key> {
        self.keys.get(hash)
    }

    /// The user of that name.
    pub fn by_user(&self, user: &str) -> Option<&Login> {
        self.logins.get(user)
    }

    /// The different costs of its passwords, in the order in which they come.
    pub fn costs(&self) -> &[Cost] {
        &self.costs
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
