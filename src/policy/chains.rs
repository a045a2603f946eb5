//! From the lists of a config to chains: each policy is built once for the place where it stands, however many routes go through it.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderName;

use super::chain::{Chain, Entry, Scope, merge};
use super::{PolicyConfig, PolicyCx, Runtime};
use crate::building::{Errors, Step};
use crate::consumer::Consumers;
use crate::state::Shared;

/// What a policy tells, while it is built, of what it does: to the policies below it, and to its route.
#[derive(Debug, Default)]
pub struct Told {
    exposed: Vec<HeaderName>,
    /// Whether that was asked for.
    heard: bool,
    marks: Marks,
}

/// What a route has to know of its policies.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    /// The query parameters that carry credentials to them.
    pub credentials: Vec<Box<str>>,
    /// The headers in which they tell services an id that each request has for itself.
    pub ids: Vec<HeaderName>,
}

impl Told {
    /// A `cors` policy must let scripts read this header, since a policy above it writes it.
    pub fn expose(&mut self, header: HeaderName) {
        self.exposed.push(header);
    }

    /// What policies above have exposed.
    pub fn exposed(&mut self) -> &[HeaderName] {
        self.heard = true;
        &self.exposed
    }

    /// This query parameter carries credentials: no address that an answer tells may show it.
    pub fn credential(&mut self, parameter: &str) {
        self.marks.credentials.push(parameter.into());
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
    shared: &'a Shared,
    folder: &'a Path,
    /// What was built, by the place where it stands: more than once where a policy depends on those above it, and they differ.
    built: HashMap<Vec<Step>, Vec<Rc<Built>>>,
    slots: usize,
}

struct Built {
    /// None where something was wrong, which is then noted.
    policy: Option<Arc<Runtime>>,
    /// What it was told of others, where it asked.
    heard: Option<Vec<HeaderName>>,
    /// What it told itself.
    exposed: Vec<HeaderName>,
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
    pub fn new(consumers: Arc<Consumers>, shared: &'a Shared, folder: &'a Path) -> Self {
        Self { consumers, shared, folder, built: HashMap::new(), slots: 0 }
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
        let mut exposed = Vec::new();
        for (scope, entry, policy) in merge(&plan.lists) {
            let (list, name): (Vec<Step>, &str) = match (scope, plan.route, plan.service) {
                (Scope::Service, _, Some(name)) => (vec!["services".into(), name.into()], name),
                (Scope::Route, Some((index, name)), _) => (vec!["routes".into(), index.into()], name),
                _ => (Vec::new(), ""),
            };
            let place: Vec<Step> = [list, vec!["policies".into(), entry.into(), policy.name().into()]].concat();
            let key = format!("{scope:?}/{name}/{}/{}", policy.name(), nth(plan.lists, scope, entry));
            let params = if scope == Scope::Route { plan.params } else { &[] };
            let built = self.policy(place, key, params, policy, &exposed, errors);
            exposed.extend_from_slice(&built.exposed);
            marks.credentials.extend_from_slice(&built.marks.credentials);
            marks.ids.extend_from_slice(&built.marks.ids);
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
        exposed: &[HeaderName],
        errors: &mut Errors,
    ) -> Rc<Built> {
        let all = self.built.entry(place.clone()).or_default();
        let fits = |built: &Rc<Built>| built.heard.as_deref().is_none_or(|heard| heard == exposed);
        if let Some(known) = all.iter().find(|built| fits(built)) {
            return known.clone();
        }
        let mut told = Told { exposed: exposed.to_vec(), ..Told::default() };
        let mut cx = PolicyCx {
            key,
            slot: self.slots,
            params,
            consumers: &self.consumers,
            shared: self.shared,
            folder: self.folder,
            told: &mut told,
        };
        self.slots += 1;
        let policy = errors.keep(&place, config.build(&mut cx)).map(Arc::new);
        let heard = (told.heard && policy.is_some()).then(|| exposed.to_vec());
        let built = Rc::new(Built { policy, heard, exposed: told.exposed.split_off(exposed.len()), marks: told.marks });
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
