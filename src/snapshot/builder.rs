use std::collections::HashMap;
use std::sync::Arc;

use indexmap::IndexMap;

use super::lists;
use crate::building::{BuildError, Errors, Step};
use crate::compose::{Batch, ComposeConfig, Composition};
use crate::config::Config;
use crate::handler::{Handler, Redirect, jwks};
use crate::policy::guard::size_limit::Server;
use crate::policy::{Chain, Chains, Plan, Runtime, beyond, doubled, identifies, merge};
use crate::routing::{
    self, Caller, Destination, Goal, Mirror, MirrorConfig, PathTemplate, Route, RouteConfig, Split, ToConfig, Versions, Way,
};
use crate::signing::Signer;
use crate::state::Shared;
use crate::upstream::{Backend, Service};

/// One version of a route, and where it stands.
struct Place<'a> {
    index: usize,
    below: Vec<&'a str>,
    version: usize,
    goal: Goal<'a>,
}

impl Place<'_> {
    fn under(&self, error: BuildError) -> BuildError {
        self.below.iter().rev().fold(error, |error, step| error.at(*step))
    }
}

/// What routes are made of, and what is wrong so far.
pub(super) struct Builder<'a> {
    pub(super) config: &'a Config,
    pub(super) shared: &'a Shared,
    pub(super) signer: Option<Arc<Signer>>,
    pub(super) services: HashMap<&'a str, Arc<Service>>,
    pub(super) chains: Chains<'a>,
    pub(super) errors: Errors,
}

impl<'a> Builder<'a> {
    pub(super) fn names(&mut self) {
        let mut seen = HashMap::new();
        for (index, route) in self.config.routes.iter().enumerate() {
            let first = *seen.entry(route.name.as_str()).or_insert(index);
            let error = if route.name.is_empty() {
                BuildError::new("a route needs a name", "write a name").at("name").at(index)
            } else if first != index {
                let error = BuildError::new(format!("there are two routes named `{}`", route.name), "give each its own name");
                error.at("name").at(index).beside([first.into(), "name".into()])
            } else {
                continue;
            };
            self.errors.push(error.at("routes"));
        }
    }

    /// A service that goes by a path parameter which no route to it has would never go by it, and one that nobody gives a time has none to tell of.
    pub(super) fn keys(&mut self, routes: &[Option<Route>]) {
        for (name, service) in &self.services {
            let Backend::Targets(targets) = &service.backend else { continue };
            let leads = |way: &Way| way.destination.asks(service);
            let timed = |way: &Way| matches!(way.destination, Destination::Composition(_));
            let has_time = |route: &Option<Route>| {
                route.as_ref().is_none_or(|route| route.ways.iter().any(|way| leads(way) && (route.timeout.is_some() || timed(way))))
            };
            if targets.deadline_header.is_some() && targets.timeouts.total.is_none() && !routes.iter().any(has_time) {
                let error = BuildError::new("there is no time to tell of", "set `timeouts: { total: … }`, or remove it");
                self.errors.push(["deadline_header", name, "services"].into_iter().fold(error, BuildError::at));
            }
            let pool = targets.pool();
            let Some(param) = pool.param() else { continue };
            let has = |route: &RouteConfig| routing::params(&route.matches, &self.config.paths).iter().any(|known| **known == *param);
            // A route that is wrong may be the one.
            let known = routes.iter().zip(&self.config.routes).any(|(built, route)| match built {
                Some(built) => built.ways.iter().any(leads) && has(route),
                None => true,
            });
            if !known {
                let reason = format!("no route to this service has a path parameter `{param}`");
                let error = BuildError::new(reason, format!("put `{{{param}}}` into a route's path, or choose another key"));
                self.errors.push(["param", "hash", "balance", name, "services"].into_iter().fold(error, BuildError::at));
            }
        }
    }

    fn keep<T>(&mut self, index: usize, result: Result<T, BuildError>) -> Option<T> {
        self.errors.keep(&[Step::from("routes"), Step::from(index)], result)
    }

    /// None where something was wrong, which is then noted.
    pub(super) fn route(&mut self, index: usize, route: &'a RouteConfig) -> Option<Route> {
        let params = routing::params(&route.matches, &self.config.paths);
        let places = [
            ("to", route.to.is_some()),
            ("versions", route.versions.is_some()),
            ("compose", route.compose.is_some()),
            ("batch", route.batch.is_some()),
            ("reply", route.reply.is_some()),
            ("redirect", route.redirect.is_some()),
            ("jwks", route.jwks.is_some()),
        ];
        let mut named = places.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
        let (first, second) = (named.next(), named.next());
        if let (Some(first), Some(second)) = (first, second) {
            let reason = format!("a route goes to one place, and this one has `{first}` and `{second}`");
            return self.keep(index, Err(BuildError::new(reason, "remove one of them").at(second)));
        }
        let without = [
            ("path", route.path.is_some(), "`path` is the path at a service, and there is no `to`"),
            ("sticky", route.sticky.is_some(), "`sticky` keeps callers at one of several services, and there is no `to`"),
            ("force", route.force.is_some(), "`force` names one of several services, and there is no `to`"),
        ];
        for (key, _, reason) in without.iter().filter(|(_, is_there, _)| *is_there && route.to.is_none()) {
            self.keep::<()>(index, Err(BuildError::new(*reason, "remove it, or move it to a version").at(*key)));
        }
        if route.to.is_none() && without.iter().any(|(_, is_there, _)| *is_there) {
            return None;
        }
        let mut versions = None;
        let ways = if let Some(config) = &route.versions {
            match Versions::build(config, &params) {
                Ok(built) => versions = Some(built),
                Err(found) => {
                    for error in found.0 {
                        self.keep::<()>(index, Err(error.at("versions")));
                    }
                }
            }
            let versions = config.versions.iter().enumerate();
            let goals =
                versions.map(|(version, (name, config))| Place { index, below: vec!["versions", name], version, goal: config.goal() });
            self.ways(goals.collect(), &params)
        } else if let Some(goal) = route.goal() {
            self.ways(vec![Place { index, below: Vec::new(), version: 0, goal }], &params)
        } else if let Some(config) = &route.compose {
            let chain = self.chain(Some(index), None);
            let composition = self.composition((index, route), config, &params, &chain);
            composition.map(|composition| vec![Way { version: 0, chain, destination: Destination::Composition(Box::new(composition)) }])
        } else if let Some(config) = &route.batch {
            let batch = Batch::build(config, &route.name, &self.shared.offload).map_err(|found| {
                found.0.into_iter().for_each(|error| {
                    self.keep::<()>(index, Err(error.at("batch")));
                });
            });
            let chain = self.chain(Some(index), None);
            batch.ok().map(|batch| vec![Way { version: 0, chain, destination: Destination::Batch(Box::new(batch)) }])
        } else {
            let handler = match (&route.reply, &route.redirect, &route.jwks) {
                (Some(reply), ..) => reply.build().map(|reply| Handler::Reply(Arc::new(reply))).map_err(|error| error.at("reply")),
                (_, Some(redirect), _) => Redirect::build(redirect, &params).map(Handler::Redirect).map_err(|error| error.at("redirect")),
                (.., Some(config)) => jwks::build(config, self.signer.as_deref()).map(Handler::Jwks).map_err(|error| error.at("jwks")),
                _ => Err(BuildError::new(
                    "the route goes nowhere",
                    "write `to: <service>`, `versions:`, `compose:`, `batch:`, `reply:`, `redirect:` or `jwks:`",
                )),
            };
            let handler = self.keep(index, handler);
            let chain = self.chain(Some(index), None);
            handler.map(|handler| vec![Way { version: 0, chain, destination: Destination::Handler(handler) }])
        };
        let chain = match &route.versions {
            // A preflight says no version that is asked for in a header: it meets the service's policies where all versions have the same service.
            Some(versions) => self.chain(Some(index), versions.only_service()),
            None => Chain::default(),
        };
        if route.versions.is_some() && versions.is_none() {
            return None;
        }
        let mirror = route.mirror.as_ref().map(|config| self.mirror(index, route, config, ways.as_deref().unwrap_or_default()));
        let mirror = match mirror {
            Some(mirror) => Some(mirror?),
            None => None,
        };
        let timeout = route.timeout.map(|timeout| match route.goal().is_some() || route.versions.is_some() {
            true => timeout.not_zero(),
            false if route.compose.is_some() => Err(BuildError::new("a composed answer has a time of its own", "move it into `compose`")),
            false if route.batch.is_some() => Err(BuildError::new("a batch has a time of its own", "move it into `batch`")),
            false => Err(BuildError::new("what the gateway answers itself takes no time", "remove it")),
        });
        let timeout = timeout.map(|checked| self.keep(index, checked.map_err(|error| error.at("timeout")).map(|()| route.timeout)));
        let timeout = timeout.flatten().flatten().map(Into::into);
        Some(Route { timeout, mirror, ..Route::new(&route.name, versions, ways?.into(), chain) })
    }

    fn composition(
        &mut self,
        (index, route): (usize, &RouteConfig),
        config: &ComposeConfig,
        params: &[Box<str>],
        chain: &Chain,
    ) -> Option<Composition> {
        let (services, known) = (&self.services, &self.config.services);
        let mut find = |name: &str| match known.contains_key(name) {
            true => Ok(services.get(name).cloned()),
            false => Err(BuildError::unknown("service", name, known.keys().map(String::as_str))),
        };
        match Composition::build(config, &route.name, params, &mut find) {
            Ok(composition) => Some(composition.with(self.shared, &chain.marks().ids)),
            Err(found) => {
                for error in found.0 {
                    self.keep::<()>(index, Err(error.at("compose")));
                }
                None
            }
        }
    }

    fn mirror(&mut self, index: usize, route: &RouteConfig, config: &MirrorConfig, ways: &[Way]) -> Option<Mirror> {
        let mut keep = |error: BuildError| self.errors.keep::<()>(&["routes".into(), index.into(), "mirror".into()], Err(error));
        if route.to.is_none() && route.versions.is_none() {
            keep(BuildError::new("`mirror` copies what goes to a service, and there is none", "remove it, or write `to: <service>`"));
            return None;
        }
        let mocked = ways.iter().find_map(|way| match &way.destination {
            Destination::Service { service, .. } if matches!(service.backend, Backend::Mock(_)) => Some(&service.name),
            _ => None,
        });
        if let Some(name) = mocked {
            keep(BuildError::new(
                format!("`{name}` is a mock: nothing goes out that could be copied"),
                "remove `mirror`, or give the service targets",
            ));
        }
        if !self.config.services.contains_key(&config.to) {
            keep(BuildError::unknown("service", &config.to, self.config.services.keys().map(String::as_str)).at("to"));
        }
        let service = self.services.get(config.to.as_str())?.clone();
        match Mirror::build(config, &route.name, service, self.shared) {
            Ok(mirror) => Some(mirror),
            Err(error) => {
                keep(error);
                None
            }
        }
    }

    /// One way for each version, then those behind splits.
    fn ways(&mut self, places: Vec<Place<'a>>, params: &[Box<str>]) -> Option<Vec<Way>> {
        let first = places.len();
        let (mut ways, mut more) = (Vec::new(), Vec::new());
        for place in &places {
            ways.push(match place.goal.to {
                ToConfig::Service(name) => self.way(place, name, &[], params),
                ToConfig::Shares(shares) => {
                    let split = self.split(place, shares, first + more.len());
                    more.extend(shares.keys().map(|name| self.way(place, name, &[name], params)));
                    split
                }
            });
        }
        ways.into_iter().chain(more).collect()
    }

    /// The way to several services, as far as it is the same for all of them.
    fn split(&mut self, place: &Place<'a>, shares: &'a IndexMap<String, u32>, first: usize) -> Option<Way> {
        let Goal { sticky, force, .. } = place.goal;
        let split = self.keep(place.index, Split::build(shares, sticky, force, first).map_err(|error| place.under(error)));
        let chains: Vec<_> = shares.keys().map(|name| self.policies(Some(place.index), Some(name))).collect();
        let (one, others) = chains.split_first()?;
        let alike =
            |at: usize, policy: &Arc<Runtime>| others.iter().all(|other| other.get(at).is_some_and(|other| Arc::ptr_eq(other, policy)));
        let common: Vec<_> =
            one.iter().enumerate().take_while(|(at, policy)| alike(*at, policy)).map(|(_, policy)| policy.clone()).collect();
        if sticky.is_some_and(|sticky| sticky.by == Some(Caller::Consumer)) {
            self.keep(place.index, self.knows(place, shares, common.len()).map_err(|error| place.under(error.at("by").at("sticky"))));
        }
        Some(Way { version: place.version, chain: Chain::new(common), destination: Destination::Split(split?) })
    }

    /// Checks that the consumer is known after so many policies, when one of these services is chosen.
    fn knows(&self, place: &Place<'_>, shares: &IndexMap<String, u32>, passed: usize) -> Result<(), BuildError> {
        let lists = |name: &str| merge(&lists(self.config, Some(place.index), Some(name)));
        let mut late = None;
        for name in shares.keys() {
            match lists(name).iter().position(|(_, _, policy)| identifies(policy)) {
                Some(at) if at < passed => return Ok(()),
                Some(at) => late = late.or(lists(name).get(at).map(|(.., policy)| policy.name())),
                None => {}
            }
        }
        Err(match late {
            Some(policy) => BuildError::new(
                format!("`{policy}` finds out the consumer only after a service is chosen, since policies of the services come before it"),
                format!("put `{policy}` into the document's `policies`, or go by something else"),
            ),
            None => BuildError::new(
                "no policy finds out who the consumer is",
                "put one that does, like `api_key`, into the `policies` of the document or the route, or go by something else",
            ),
        })
    }

    /// The way to one service: `at` leads to its name below `to`.
    fn way(&mut self, place: &Place<'a>, to: &'a str, at: &[&str], params: &[Box<str>]) -> Option<Way> {
        let Place { index, version, goal, .. } = place;
        let service = self.services.get(to).cloned();
        if !self.config.services.contains_key(to) {
            let error = BuildError::unknown("service", to, self.config.services.keys().map(String::as_str));
            let error = at.iter().fold(error, |error, step| error.at(*step)).at("to");
            self.keep::<()>(*index, Err(place.under(error)));
        }
        let alone = [("sticky", goal.sticky.is_some()), ("force", goal.force.is_some())];
        for (key, _) in alone.iter().filter(|(_, is_there)| *is_there && at.is_empty()) {
            let reason = format!("`{key}` chooses between several services, and there is one");
            let error = BuildError::new(reason, format!("give each its share, like `to: {{ {to}: 95, canary: 5 }}`, or remove it"));
            self.keep::<()>(*index, Err(place.under(error.at(*key))));
        }
        let path = match goal.path {
            Some(text) => {
                let parsed = PathTemplate::build(text, params, &self.config.paths).map_err(|error| place.under(error.at("path")));
                Some(self.keep(*index, parsed)?)
            }
            None => None,
        };
        let chain = self.chain(Some(*index), Some(to));
        Some(Way { version: *version, chain, destination: Destination::Service { service: service?, path } })
    }

    /// The chain of a route with the policies of a service, of a route alone, or of no route at all.
    pub(super) fn chain(&mut self, route: Option<usize>, service: Option<&'a str>) -> Chain {
        let params = self.params(route);
        let plan = self.plan(route, service, &params);
        self.chains.build(plan, &mut self.errors)
    }

    fn policies(&mut self, route: Option<usize>, service: Option<&'a str>) -> Vec<Arc<Runtime>> {
        let params = self.params(route);
        let plan = self.plan(route, service, &params);
        self.chains.policies(plan, &mut self.errors)
    }

    fn params(&self, route: Option<usize>) -> Vec<Box<str>> {
        let route = route.and_then(|index| self.config.routes.get(index));
        route.map(|route| routing::params(&route.matches, &self.config.paths)).unwrap_or_default()
    }

    fn plan<'p>(&self, route: Option<usize>, service: Option<&'p str>, params: &'p [Box<str>]) -> Plan<'p>
    where
        'a: 'p,
    {
        let config = self.config;
        let named = route.and_then(|index| Some((index, config.routes.get(index)?.name.as_str())));
        Plan { lists: lists(config, route, service), route: named, service, params }
    }

    /// What stands twice in a list and cannot, and what changes nothing.
    pub(super) fn listed(&mut self) {
        let config = self.config;
        let limits = &config.server.limits;
        let server = Server { body: limits.body, header: limits.of_header() };
        let services = config.services.iter().map(|(name, service)| (vec!["services".into(), name.as_str().into()], &service.policies));
        let routes = config.routes.iter().enumerate().map(|(index, route)| (vec!["routes".into(), index.into()], &route.policies));
        for (mut place, list) in std::iter::once((Vec::new(), &config.policies)).chain(services).chain(routes) {
            place.push("policies".into());
            for error in doubled(list).into_iter().chain(beyond(list, server)) {
                self.errors.keep::<()>(&place, Err(error));
            }
        }
    }
}
