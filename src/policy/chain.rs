//! The list of policies of one route: merged from three scopes, compiled to one list of indices per phase, run down and up.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use pingora_http::{RequestHeader, ResponseHeader};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, de};

use super::{Flow, Marks, NAMES, Phases, PolicyConfig, Runtime, schemas};
use crate::ctx::Ctx;
use crate::problem::Problem;
use crate::upstream::Client;

/// One entry of a `policies:` list: `- cors: {…}`, `- request_id`, or `- cors: off`.
#[derive(Debug)]
pub struct Entry {
    /// The policy's name.
    pub name: &'static str,
    /// Its settings; none takes the policy off the list.
    pub config: Option<PolicyConfig>,
}

impl JsonSchema for Entry {
    fn schema_name() -> Cow<'static, str> {
        "PolicyEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        entry_schema(generator, &|_| true, Some("off"))
    }
}

/// The schema of an entry with one of these policies; `off` is what takes one off the list, where that can be.
pub(super) fn entry_schema(generator: &mut SchemaGenerator, wanted: &dyn Fn(&str) -> bool, off: Option<&str>) -> Schema {
    let mut alone = Vec::new();
    let mut policies = serde_json::Map::new();
    for (name, settings) in schemas(generator, wanted) {
        let mut forms: Vec<Schema> =
            off.iter().map(|off| json_schema!({"const": off, "description": "Takes the policy off the list."})).collect();
        let needs = ["required", "oneOf", "anyOf", "minItems"].iter().any(|key| settings.get(*key).is_some());
        if !needs {
            alone.push(name);
            forms.push(json_schema!({"type": "null"}));
        }
        let description = settings.get("description").cloned().unwrap_or_default();
        forms.insert(0, settings);
        policies.insert(name.to_owned(), serde_json::json!({"description": description, "anyOf": forms}));
    }
    let or_off = if off.is_some() { ", or with `off` to take it off the list" } else { "" };
    json_schema!({
        "description": format!("A policy: its name, or its name with its settings{or_off}."),
        "anyOf": [
            {"type": "string", "enum": alone},
            {"type": "object", "properties": policies, "minProperties": 1, "maxProperties": 1, "additionalProperties": false}
        ]
    })
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

    fn visit_seq<A: de::SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        // Settings with names are never meant by their places.
        if self.0 != "any_of" {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        PolicyConfig::read(self.0, SeqAccessDeserializer::new(list)).map(Some)
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
    request_body: Box<[usize]>,
    upstream_request: Box<[usize]>,
    response: Box<[usize]>,
    marks: Marks,
}

impl Chain {
    /// Sorts the policies into their phases.
    pub fn new(policies: Vec<Arc<Runtime>>) -> Self {
        let phase = |phase| policies.iter().enumerate().filter(|(_, policy)| policy.phases().has(phase)).map(|(index, _)| index).collect();
        Self {
            request: phase(Phases::REQUEST),
            request_body: phase(Phases::REQUEST_BODY),
            upstream_request: phase(Phases::UPSTREAM_REQUEST),
            response: phase(Phases::RESPONSE),
            policies: policies.into(),
            marks: Marks::default(),
        }
    }

    /// The same with what its policies tell of themselves.
    #[must_use]
    pub(super) fn with(self, marks: Marks) -> Self {
        Self { marks, ..self }
    }

    /// What its policies tell of themselves.
    pub fn marks(&self) -> &Marks {
        &self.marks
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

    /// The way down, from where another chain that begins alike has led to. `depth` counts the policies entered, the one that refuses among them: its own
    /// `response` hook runs too. What policies have to ask is asked over `client`.
    ///
    /// # Errors
    /// The problem of the policy that refused, with its name.
    pub async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx, depth: &mut usize, client: &Arc<Client>) -> Result<Flow, Problem> {
        let passed = *depth;
        for &index in self.request.iter().skip_while(|index| **index < passed) {
            let Some(policy) = self.policies.get(index) else { continue };
            *depth = index + 1;
            match policy.request(req, cx, client).await {
                Ok(Flow::Next) => {}
                Ok(reply) => return Ok(reply),
                Err(problem) => return Err(named(problem, policy)),
            }
        }
        *depth = self.policies.len();
        Ok(Flow::Next)
    }

    /// On the whole body of a request, for the policies that it has entered.
    ///
    /// # Errors
    /// The problem of the policy that refused, with its name.
    pub fn request_body(&self, body: &[u8], cx: &mut Ctx) -> Result<(), Problem> {
        for &index in &self.request_body {
            let Some(policy) = self.policies.get(index) else { continue };
            policy.request_body(body, cx).map_err(|problem| named(problem, policy))?;
        }
        Ok(())
    }

    /// Whether a policy has a word on the header of an attempt.
    pub fn minds_attempts(&self) -> bool {
        !self.upstream_request.is_empty()
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
    // One that chooses between several names the one that refused.
    problem.policy.get_or_insert(policy.name());
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::testing;
    use crate::policy::kit::{self, yaml};
    use crate::problem::Kind;
    use crate::state::Shared;

    fn list(text: &str) -> Vec<Entry> {
        yaml(text).unwrap()
    }

    /// What the three lists come to: scope and name of each policy.
    fn merged(document: &str, service: &str, route: &str) -> Vec<String> {
        let (document, service, route) = (list(document), list(service), list(route));
        let scopes = [(Scope::Document, &*document), (Scope::Service, &*service), (Scope::Route, &*route)];
        merge(&scopes).iter().map(|(scope, index, config)| format!("{scope:?}.{index}.{}", config.name())).collect()
    }

    #[test]
    fn off_takes_a_policy_away_with_and_without_quotes() {
        let entries = list("[cors: off, cors: 'off', request_id]");
        assert_eq!(entries.iter().map(|entry| entry.config.is_some()).collect::<Vec<_>>(), [false, false, true]);
        assert!(yaml::<Vec<Entry>>("[cors: on]").is_err());
        assert!(yaml::<Vec<Entry>>("[hsts: [1h]]").is_err(), "settings have names");
    }

    #[test]
    fn the_document_comes_first_then_the_service_then_the_route() {
        assert_eq!(
            merged("[request_id]", "[api_key]", "[request: {headers: {}}]"),
            ["Document.0.request_id", "Service.0.api_key", "Route.0.request"]
        );
    }

    #[test]
    fn a_policy_named_again_replaces_the_wider_one_in_its_place() {
        assert_eq!(merged("[request_id, api_key]", "[]", "[request_id]"), ["Route.0.request_id", "Document.1.api_key"]);
    }

    #[test]
    fn off_removes_the_wider_one_and_nothing_else() {
        assert_eq!(merged("[request_id, api_key]", "[]", "[request_id: off]"), ["Document.1.api_key"]);
        assert_eq!(merged("[request_id]", "[request_id: off]", "[request_id]"), ["Route.0.request_id"]);
    }

    #[test]
    fn one_list_may_name_a_policy_twice() {
        let limits = "[rate_limit: {requests: 1, per: 1s}, rate_limit: {requests: 9, per: 1m}]";
        assert_eq!(merged("[]", "[]", limits), ["Route.0.rate_limit", "Route.1.rate_limit"]);
        assert_eq!(
            merged("[rate_limit: {requests: 5, per: 1h}, request_id]", "[]", limits),
            ["Route.0.rate_limit", "Route.1.rate_limit", "Document.1.request_id"]
        );
    }

    fn chain() -> Chain {
        let shared = Shared::default();
        Chain::new(vec![
            Arc::new(Runtime::request_id(kit::build(r#"{}"#, "[]", &shared).unwrap())),
            Arc::new(Runtime::api_key(kit::build(r#"{}"#, "[]", &shared).unwrap())),
            Arc::new(Runtime::response(kit::build(r#"{"headers":{"set":{"X-After":"1"}}}"#, "[]", &shared).unwrap())),
        ])
    }

    #[tokio::test]
    async fn a_refusal_goes_up_through_the_policies_already_passed_and_no_further() {
        let (chain, mut cx, mut depth) = (chain(), testing::ctx("/", &[]), 0);
        let mut req = RequestHeader::build("GET", b"/", None).unwrap();
        let problem = chain.request(&mut req, &mut cx, &mut depth, &kit::client()).await.unwrap_err();
        assert_eq!((problem.kind, problem.policy, depth), (Kind::Unauthorized, Some("api_key"), 2));
        let mut res = ResponseHeader::build(401, None).unwrap();
        chain.response(&mut res, &req, &mut cx, depth);
        assert_eq!(res.headers["x-request-id"], "test-id");
        assert!(res.headers.get("x-after").is_none());
        chain.response(&mut res, &req, &mut cx, chain.len());
        assert_eq!(res.headers["x-after"], "1");
    }

    #[test]
    fn the_way_down_stays_small() {
        let (chain, mut cx, mut depth) = (chain(), testing::ctx("/", &[]), 0);
        let mut req = RequestHeader::build("GET", b"/", None).unwrap();
        let client = kit::client();
        let future = chain.request(&mut req, &mut cx, &mut depth, &client);
        // Every request moves this about: what is slow and large boxes itself inside its policy.
        assert!(size_of_val(&future) <= 512, "{} bytes", size_of_val(&future));
    }
}
