//! The list of policies of one route: merged from three scopes, compiled to one list of indices per phase, run down and up.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use pingora_http::{RequestHeader, ResponseHeader};
use serde::de::value::{MapAccessDeserializer, MapDeserializer};
use serde::{Deserialize, Deserializer, de};

use super::{Flow, NAMES, Phases, PolicyConfig, Runtime};
use crate::ctx::Ctx;
use crate::problem::Problem;

/// One entry of a `policies:` list: `- cors: {…}`, `- request_id`, or `- cors: off`.
#[derive(Debug)]
pub struct Entry {
    /// The policy's name.
    pub name: &'static str,
    /// Its settings; none takes the policy off the list.
    pub config: Option<PolicyConfig>,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> de::Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy: its name, or one name with its settings")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Entry, E> {
        let nothing = MapDeserializer::<_, E>::new(std::iter::empty::<((), ())>());
        let config = PolicyConfig::read(name, nothing)?;
        Ok(Entry { name: config.name(), config: Some(config) })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let Name(name) = map.next_key()?.ok_or_else(|| de::Error::custom("this policy has no name"))?;
        let config = map.next_value_seed(Settings(name))?;
        if let Some(Name(second)) = map.next_key()? {
            return Err(de::Error::custom(format!("`{second}` needs a list entry of its own: put `- ` in front of it")));
        }
        Ok(Entry { name, config })
    }
}

/// The name of a known policy.
struct Name(&'static str);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        NAMES.iter().find(|known| **known == name).map(|known| Name(known)).ok_or_else(|| de::Error::unknown_variant(&name, NAMES))
    }
}

/// The settings of the named policy, or `off`.
struct Settings(&'static str);

impl<'de> de::DeserializeSeed<'de> for Settings {
    type Value = Option<PolicyConfig>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(SettingsVisitor(self.0, PhantomData::<&'de ()>))
    }
}

struct SettingsVisitor<'de>(&'static str, PhantomData<&'de ()>);

impl<'de> de::Visitor<'de> for SettingsVisitor<'de> {
    type Value = Option<PolicyConfig>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the settings of `{}`, or `off`", self.0)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        PolicyConfig::read(self.0, MapDeserializer::<_, E>::new(std::iter::empty::<((), ())>())).map(Some)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        if text == "off" { Ok(None) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<Self::Value, E> {
        // YAML 1.1 reads a bare `off` as a boolean.
        if on { Err(E::invalid_value(de::Unexpected::Bool(on), &self)) } else { Ok(None) }
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        PolicyConfig::read(self.0, MapAccessDeserializer::new(map)).map(Some)
    }
}

/// Where an entry was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The document's list.
    Document,
    /// A service's list.
    Service,
    /// A route's list.
    Route,
}

/// One effective list from the scopes, the widest first. A name that stands again at a narrower scope replaces the wider entries in the place of the
/// first of them; `off` removes them. The result says for each entry its scope and its index in the list of that scope.
pub fn merge<'a>(scopes: &[(Scope, &'a [Entry])]) -> Vec<(Scope, usize, &'a PolicyConfig)> {
    let mut merged: Vec<(Scope, usize, &'a PolicyConfig)> = Vec::new();
    for (scope, entries) in scopes {
        let mut named: Vec<&str> = Vec::new();
        for entry in *entries {
            if named.contains(&entry.name) {
                continue;
            }
            named.push(entry.name);
            let place = merged.iter().position(|(_, _, config)| config.name() == entry.name);
            merged.retain(|(_, _, config)| config.name() != entry.name);
            if let Some(place) = place {
                let own = own(*scope, entries, entry.name);
                merged.splice(place..place, own);
            }
        }
        for (index, entry) in entries.iter().enumerate() {
            let placed = merged.iter().any(|(at, i, _)| at == scope && *i == index);
            if let (Some(config), false) = (&entry.config, placed) {
                merged.push((*scope, index, config));
            }
        }
    }
    merged
}

fn own<'a>(scope: Scope, entries: &'a [Entry], name: &'a str) -> impl Iterator<Item = (Scope, usize, &'a PolicyConfig)> {
    entries
        .iter()
        .enumerate()
        .filter(move |(_, entry)| entry.name == name)
        .filter_map(move |(index, entry)| entry.config.as_ref().map(|config| (scope, index, config)))
}

/// The policies of one route, ready to run. Routes and versions that share an entry share its policy.
#[derive(Default)]
pub struct Chain {
    policies: Box<[Arc<Runtime>]>,
    request: Box<[usize]>,
    upstream_request: Box<[usize]>,
    response: Box<[usize]>,
}

impl Chain {
    /// Sorts the policies into their phases.
    pub fn new(policies: Vec<Arc<Runtime>>) -> Self {
        let phase = |phase| policies.iter().enumerate().filter(|(_, policy)| policy.phases().has(phase)).map(|(index, _)| index).collect();
        Self {
            request: phase(Phases::REQUEST),
            upstream_request: phase(Phases::UPSTREAM_REQUEST),
            response: phase(Phases::RESPONSE),
            policies: policies.into(),
        }
    }

    /// The names of the policies, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.policies.iter().map(|policy| policy.name())
    }

    /// How many policies there are: the depth of a request that passed them all.
    pub fn len(&self) -> usize {
        self.policies.len()
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// The way down. `depth` counts the policies entered, the one that refuses among them: its own `response` hook runs too.
    ///
    /// # Errors
    /// The problem of the policy that refused, with its name.
    pub async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx, depth: &mut usize) -> Result<Flow, Problem> {
        for &index in &self.request {
            let Some(policy) = self.policies.get(index) else { continue };
            *depth = index + 1;
            match policy.request(req, cx).await {
                Ok(Flow::Next) => {}
                Ok(reply) => return Ok(reply),
                Err(problem) => return Err(named(problem, policy)),
            }
        }
        *depth = self.policies.len();
        Ok(Flow::Next)
    }

    /// On the header of one attempt.
    ///
    /// # Errors
    /// The problem of the policy that refused, with its name.
    pub fn upstream_request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<(), Problem> {
        for &index in &self.upstream_request {
            let Some(policy) = self.policies.get(index) else { continue };
            policy.upstream_request(req, cx).map_err(|problem| named(problem, policy))?;
        }
        Ok(())
    }

    /// The way up, from `depth` policies to the first.
    pub fn response(&self, res: &mut ResponseHeader, req: &RequestHeader, cx: &mut Ctx, depth: usize) {
        for &index in self.response.iter().rev().skip_while(|index| **index >= depth) {
            if let Some(policy) = self.policies.get(index) {
                policy.response(res, req, cx);
            }
        }
    }
}

fn named(mut problem: Problem, policy: &Runtime) -> Problem {
    problem.policy = Some(policy.name());
    problem
}

#[cfg(test)]
mod tests {
    use super::Entry;
    use crate::policy::kit::yaml;

    #[test]
    fn off_takes_a_policy_away_with_and_without_quotes() {
        let entries: Vec<Entry> = yaml("[cors: off, cors: 'off', request_id]").unwrap();
        assert_eq!(entries.iter().map(|entry| entry.config.is_some()).collect::<Vec<_>>(), [false, false, true]);
        assert!(yaml::<Vec<Entry>>("[cors: on]").is_err());
    }
}
