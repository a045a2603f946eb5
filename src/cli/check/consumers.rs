use std::collections::BTreeSet;

use crate::building::{BuildError, Step, did_you_mean};
use crate::config::Config;
use crate::policy::traffic::rate_limit::By;
use crate::policy::{Entry, PolicyConfig};
use crate::types::Moment;

/// What is doubtful about consumers, and about policies that ask for what none of them has.
pub(super) fn doubts(config: &Config) -> Vec<BuildError> {
    let mut found = Vec::new();
    let lists = lists(config);
    let limits: BTreeSet<&str> = lists.iter().flat_map(|(_, list)| list.iter()).filter_map(limit).collect();
    let mut told = BTreeSet::new();
    for (index, consumer) in config.consumers.iter().enumerate() {
        let at = |error: BuildError| error.at(index).at("consumers");
        for (place, key) in consumer.api_keys.iter().enumerate() {
            if key.expires.is_some_and(Moment::is_over) {
                let error = BuildError::new("this key has expired: it is refused", "take it out, where its consumer has another");
                found.push(at(error.at("expires").at(place).at("api_keys")));
            }
        }
        // The same slip may stand at each of a thousand.
        let unknown = consumer.limits.keys().filter(|name| !limits.contains(name.as_str()));
        for name in unknown.filter(|name| told.insert(name.as_str())) {
            let fix = match did_you_mean(name, limits.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "give one that counts by consumer this `name`, or take it out".to_owned(),
            };
            let error = BuildError::new(format!("there is no `rate_limit` named `{name}` that counts by consumer"), fix);
            found.push(at(error.at(name.as_str()).at("limits")));
        }
    }
    let stored = config.stores_consumers();
    let keys = stored || config.consumers.iter().any(|consumer| !consumer.api_keys.is_empty());
    let passwords = config.consumers.iter().any(|consumer| !consumer.passwords.is_empty());
    let signing = || config.consumers.iter().flat_map(|consumer| &consumer.signing_keys);
    let had = Had { keys, passwords, signing: signing().next().is_some(), secrets: signing().any(|key| key.public_key.is_none()) };
    for (place, list) in &lists {
        for error in had.among(list) {
            let steps = place.iter().cloned().chain(["policies".into()]).collect::<Vec<Step>>();
            found.push(steps.into_iter().rev().fold(error, BuildError::at));
        }
    }
    found
}

/// What consumers have.
struct Had {
    keys: bool,
    passwords: bool,
    signing: bool,
    /// Of those to sign with.
    secrets: bool,
}

impl Had {
    /// Policies that ask for what none has, also where they are among several of which one is enough.
    fn among(&self, list: &[Entry]) -> Vec<BuildError> {
        let mut found = Vec::new();
        for (index, entry) in list.iter().enumerate() {
            let (what, key) = match &entry.config {
                Some(PolicyConfig::api_key(_)) if !self.keys => ("an API key", "api_keys"),
                Some(PolicyConfig::basic(_)) if !self.passwords => ("a password", "passwords"),
                Some(PolicyConfig::hmac(_)) if !self.signing => ("a key to sign with", "signing_keys"),
                Some(PolicyConfig::hmac(hmac)) if !self.secrets && !hmac.takes_public_keys() => {
                    ("a secret to sign with, and the older form has no other keys", "signing_keys: [{ id: …, secret: … }]")
                }
                Some(PolicyConfig::any_of(several)) => {
                    found.extend(self.among(&several.0).into_iter().map(|error| error.at(entry.name).at(index)));
                    continue;
                }
                _ => continue,
            };
            let error = BuildError::new(format!("it lets nobody through: no consumer has {what}"), format!("give one `{key}`"));
            found.push(error.at(entry.name).at(index));
        }
        found
    }
}

/// The name of a limit that counts by consumer.
fn limit(entry: &Entry) -> Option<&str> {
    match &entry.config {
        Some(PolicyConfig::rate_limit(limit)) if limit.by == By::Consumer => Some(&limit.name),
        _ => None,
    }
}

/// Every list of policies, and whose it is.
fn lists(config: &Config) -> Vec<(Vec<Step>, &[Entry])> {
    let services = config.services.iter().map(|(name, service)| (vec!["services".into(), name.as_str().into()], &*service.policies));
    let routes = config.routes.iter().enumerate().map(|(index, route)| (vec!["routes".into(), index.into()], &*route.policies));
    std::iter::once((Vec::new(), &*config.policies)).chain(services).chain(routes).collect()
}
