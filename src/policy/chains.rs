//! From the lists of a config to chains: each policy is built once for the place where it stands, however many routes go through it.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::auth::Providers;
use super::chain::{Chain, Entry, Scope, merge};
use super::{PolicyConfig, PolicyCx, Runtime};
use crate::building::{Errors, Step};
use crate::consumer::Consumers;
use crate::store::Faces;
use crate::upstream::{Base, Service};

/// What policies tell those below them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Words {
    exposed: Vec<HeaderName>,
    challenges: Vec<HeaderValue>,
}

/// What a policy tells, while it is built, of what it does: to the policies below it, and to its route.
#[derive(Debug, Default)]
pub struct Told {
    /// What those above have told.
    above: Words,
    /// Whether that was asked for.
    heard: bool,
    own: Words,
    marks: Marks,
}

/// What a route has to know of its policies.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// The query parameters that carry credentials to them.
    pub credentials: Vec<Box<str>>,
    /// The headers in which they tell services an id that each request has for itself.
    pub ids: Vec<HeaderName>,
    /// Whether one of them asks somebody on the way.
    pub asks: bool,
}

impl Told {
    /// For tests: what a policy hears below others that ask who calls.
    #[cfg(test)]
    pub(super) fn challenged(challenges: impl Iterator<Item = HeaderValue>) -> Self {
        Self { above: Words { challenges: challenges.collect(), ..Words::default() }, ..Self::default() }
    }

    /// A `cors` policy must let scripts read this header, since a policy above it writes it.
    pub fn expose(&mut self, header: HeaderName) {
        self.own.exposed.push(header);
    }

    /// What policies above have exposed.
    pub fn exposed(&mut self) -> &[HeaderName] {
        self.heard = true;
        &self.above.exposed
    }

    /// This policy finds out who calls, and asks those for it who do not say (RFC 9110 §11.6.1).
    pub fn challenge(&mut self, challenge: HeaderValue) {
        if !self.own.challenges.contains(&challenge) {
            self.own.challenges.push(challenge);
        }
    }

    /// How policies above ask who calls.
    pub fn challenges(&mut self) -> &[HeaderValue] {
        self.heard = true;
        &self.above.challenges
    }

    /// This query parameter carries credentials: no address that an answer tells may show it.
    pub fn credential(&mut self, parameter: &str) {
        self.marks.credentials.push(parameter.into());
    }

    /// This policy asks somebody on the way: what that takes is made ready before the first request.
    pub fn asks(&mut self) {
        self.marks.asks = true;
    }

    /// This header tells services an id that each request has for itself: nothing that is made for several may depend on it.
    pub fn id(&mut self, header: HeaderName) {
        self.marks.ids.push(header);
    }
}

/// Builds chains, and keeps the policies that they share.
#[derive(Debug)]
pub struct Chains<'a> {
    consumers: Arc<Consumers>,
    faces: Faces,
    services: HashMap<&'a str, Option<Arc<Service>>>,
    base: Base<'a>,
    providers: Providers,
    /// What was built, by the place where it stands: more than once where a policy depends on those above it, and they differ.
    built: HashMap<Vec<Step>, Vec<Rc<Built>>>,
    slots: usize,
}

struct Built {
    /// None where something was wrong, which is then noted.
    policy: Option<Arc<Runtime>>,
    /// What it was told of others, where it asked.
    heard: Option<Words>,
    /// What it told itself.
    own: Words,
    marks: Marks,
}

impl std::fmt::Debug for Built {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Built").field("policy", &self.policy.as_ref().map(|policy| policy.name())).finish_non_exhaustive()
    }
}

/// Which chain: the lists that it is made of, and whose they are.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The widest first.
    pub lists: [(Scope, &'a [Entry]); 3],
    /// The route by its number and its name.
    pub route: Option<(usize, &'a str)>,
    /// The service by its name.
    pub service: Option<&'a str>,
    /// The path parameters that every path of the route has.
    pub params: &'a [Box<str>],
}

impl<'a> Chains<'a> {
    /// Nothing is built yet.
    pub fn new(consumers: Arc<Consumers>, faces: Faces, services: HashMap<&'a str, Option<Arc<Service>>>, base: Base<'a>) -> Self {
        Self { consumers, faces, services, base, providers: Providers::default(), built: HashMap::new(), slots: 0 }
    }

    /// Who is asked about tokens, for all that was built.
    pub fn providers(self) -> Providers {
        self.providers
    }

    /// One chain, without the policies that are wrong; `errors` says what is wrong with them, once.
    pub fn build(&mut self, plan: Plan<'_>, errors: &mut Errors) -> Chain {
        let (policies, marks) = self.all(plan, errors);
        Chain::new(policies).with(marks)
    }

    /// Its policies alone: chains that begin alike have the same ones there.
    pub fn policies(&mut self, plan: Plan<'_>, errors: &mut Errors) -> Vec<Arc<Runtime>> {
        self.all(plan, errors).0
    }

    /// Its policies, and what they tell of themselves.
    fn all(&mut self, plan: Plan<'_>, errors: &mut Errors) -> (Vec<Arc<Runtime>>, Marks) {
        let (mut policies, mut marks) = (Vec::new(), Marks::default());
        let mut above = Words::default();
        for (scope, entry, policy) in merge(&plan.lists) {
            let (list, name): (Vec<Step>, &str) = match (scope, plan.route, plan.service) {
                (Scope::Service, _, Some(name)) => (vec!["services".into(), name.into()], name),
                (Scope::Route, Some((index, name)), _) => (vec!["routes".into(), index.into()], name),
                _ => (Vec::new(), ""),
            };
            let place: Vec<Step> = [list, vec!["policies".into(), entry.into(), policy.name().into()]].concat();
            let key = format!("{scope:?}/{name}/{}/{}", policy.name(), nth(plan.lists, scope, entry));
            let params = if scope == Scope::Route { plan.params } else { &[] };
            let built = self.policy(place, key, params, policy, &above, errors);
            above.exposed.extend_from_slice(&built.own.exposed);
            above.challenges.extend_from_slice(&built.own.challenges);
            marks.credentials.extend_from_slice(&built.marks.credentials);
            marks.ids.extend_from_slice(&built.marks.ids);
            marks.asks |= built.marks.asks;
            policies.extend(built.policy.clone());
        }
        (policies, marks)
    }

    /// The policy of a place: one that was built already, unless those above it differ in what it wants to know.
    fn policy(
        &mut self,
        place: Vec<Step>,
        key: String,
        params: &[Box<str>],
        config: &PolicyConfig,
        above: &Words,
        errors: &mut Errors,
    ) -> Rc<Built> {
        let all = self.built.entry(place.clone()).or_default();
        let fits = |built: &Rc<Built>| built.heard.as_ref().is_none_or(|heard| heard == above);
        if let Some(known) = all.iter().find(|built| fits(built)) {
            return known.clone();
        }
        let mut told = Told { above: above.clone(), ..Told::default() };
        let mut mistakes = Errors::default();
        let mut cx = PolicyCx {
            key,
            slot: self.slots,
            params,
            consumers: &self.consumers,
            directory: self.faces.directory.as_ref(),
            revocations: self.faces.revocations.as_ref(),
            services: &self.services,
            shared: self.base.shared,
            folder: self.base.folder,
            names: self.base.names,
            providers: &mut self.providers,
            told: &mut told,
            mistakes: &mut mistakes,
        };
        self.slots += 1;
        let built = config.build(&mut cx);
        let right = mistakes.0.is_empty();
        for mistake in mistakes.0 {
            errors.keep::<()>(&place, Err(mistake));
        }
        let policy = errors.keep(&place, built).filter(|_| right).map(Arc::new);
        let heard = (told.heard && policy.is_some()).then_some(told.above);
        let built = Rc::new(Built { policy, heard, own: told.own, marks: told.marks });
        all.push(built.clone());
        built
    }
}

/// Which of the policies of that name in its list an entry is: what is kept over a reload must not depend on other policies around it.
fn nth(lists: [(Scope, &[Entry]); 3], scope: Scope, entry: usize) -> usize {
    let list = lists.iter().find(|(known, _)| *known == scope).map_or(&[][..], |(_, list)| list);
    let name = list.get(entry).map(|entry| entry.name);
    list.iter().take(entry).filter(|other| Some(other.name) == name).count()
}
