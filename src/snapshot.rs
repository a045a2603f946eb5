//! Everything compiled from one config, immutable and swapped whole.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, header};
use pingora_http::RequestHeader;

use crate::building::{BuildError, Errors, Step};
use crate::config::Config;
use crate::consumer::Consumers;
use crate::ctx::{Ctx, Params};
use crate::handler::{Handler, Redirect};
use crate::policy::{Chain, Chains, Entry, Plan, Scope, doubled};
use crate::problem::{Kind, Problem};
use crate::routing::{self, Destination, Outcome, PathOptions, PathTemplate, Query, Route, RouteConfig, Router, Versions, Way};
use crate::state::Shared;
use crate::upstream::{Backend, Service};

/// Everything that a request needs, ready to run.
pub struct Snapshot {
    /// Finds the route of a request.
    pub router: Router,
    /// The routes, in the order of the file.
    pub routes: Box<[Route]>,
    /// What a request goes through that no route takes: the document's policies, then 404.
    pub unmatched: Route,
    /// How paths are made comparable.
    pub paths: PathOptions,
    /// Where requests go, by name.
    pub services: Box<[Arc<Service>]>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Builds everything, or says all that is wrong. Nothing that runs is touched.
    ///
    /// # Errors
    /// Every error that was found.
    pub fn build(config: &Config, shared: &Shared, folder: &Path) -> Result<Self, Errors> {
        let mut errors = config.server.mistakes();
        let consumers = match Consumers::build(&config.consumers) {
            Ok(consumers) => consumers,
            Err(found) => {
                errors.0.extend(found.0);
                Consumers::default()
            }
        };
        let mut services = HashMap::new();
        for (name, service) in &config.services {
            match Service::build(name, service, shared) {
                Ok(built) => {
                    services.insert(name.as_str(), Arc::new(built));
                }
                Err(found) => errors.0.extend(found.0),
            }
        }
        let router = match Router::build(config.routes.iter().map(|route| (route.name.as_str(), &route.matches)), &config.paths) {
            Ok(router) => Some(router),
            Err(found) => {
                errors.0.extend(found.0.into_iter().map(|error| error.at("routes")));
                None
            }
        };
        let mut builder = Builder { config, services, chains: Chains::new(Arc::new(consumers), shared, folder), errors };
        builder.names();
        builder.doubled();
        let routes: Vec<Option<Route>> = config.routes.iter().enumerate().map(|(index, route)| builder.route(index, route)).collect();
        builder.keys(&routes);
        let chain = builder.chain(None, None);
        let unmatched = Route::new("-", None, [Way { chain, destination: Destination::Nowhere }].into(), Chain::default());
        let Builder { errors, services, .. } = builder;
        let mut services: Box<[_]> = services.into_values().collect();
        services.sort_unstable_by(|one: &Arc<Service>, other| one.name.cmp(&other.name));
        match (router, routes.into_iter().collect::<Option<Box<[_]>>>()) {
            (Some(router), Some(routes)) => errors.finish(Self { router, routes, unmatched, paths: config.paths.clone(), services }),
            _ => Err(errors),
        }
    }
}

/// What a request meets: also what it is refused with, after the policies had their say.
#[derive(Debug)]
pub struct Met {
    /// The route by its number; none where no route takes it.
    pub route: Option<usize>,
    /// Which of the route's ways; none where no version can be chosen.
    pub way: Option<usize>,
    /// Why it goes no further.
    pub refused: Option<Problem>,
}

impl Snapshot {
    /// Finds the route and the version of a request for `host`, in the form that is matched. Reads the normalised path from `cx`, and leaves the
    /// parameters and the version there.
    pub fn meet(&self, req: &RequestHeader, host: &str, cx: &mut Ctx) -> Met {
        // A preflight asks about the request that will follow: its route's `cors` answers it (Fetch §3.2.2).
        let asks = preflight(req);
        let query = Query { host, method: &req.method, asks: asks.as_ref(), path: &cx.path, headers: &req.headers, query: req.uri.query() };
        let (number, params, refused) = match self.router.find(&query) {
            Outcome::Found { route, params, names, allow } => {
                (route, Params { names: names.clone(), ranges: params }, (!allow.is_empty()).then(|| not_allowed(&allow)))
            }
            _ if req.method == Method::TRACE => {
                let problem = Problem::new(Kind::NotImplemented, "TRACE is passed on only by a route that names it");
                return Met { route: None, way: Some(0), refused: Some(problem) };
            }
            Outcome::MethodNotAllowed(methods) => return Met { route: None, way: Some(0), refused: Some(not_allowed(&methods)) },
            Outcome::NotFound => {
                let problem = Problem::new(Kind::NotFound, "no route takes this request");
                return Met { route: None, way: Some(0), refused: Some(problem) };
            }
        };
        cx.params = params;
        let (met, route) = (self.routes.get(number), Some(number));
        cx.credentials = met.and_then(|route| route.credentials.clone());
        let Some(versions) = met.and_then(|route| route.versions.as_ref()) else {
            return Met { route, way: Some(0), refused };
        };
        match versions.choose(req, cx) {
            Ok((way, version)) => {
                cx.version = Some(version.name.clone());
                Met { route, way: Some(way), refused }
            }
            Err(problem) => Met { route, way: None, refused: Some(problem) },
        }
    }

    /// The route of that number, or what a request goes through that has none.
    pub fn route(&self, number: Option<usize>) -> &Route {
        number.and_then(|number| self.routes.get(number)).unwrap_or(&self.unmatched)
    }
}

/// The method of the request that a preflight asks about.
pub fn preflight(req: &RequestHeader) -> Option<Method> {
    let asks = req.method == Method::OPTIONS && req.headers.contains_key(header::ORIGIN);
    let method = req.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| asks)?;
    Method::from_bytes(method.as_bytes()).ok()
}

fn not_allowed(methods: &[Method]) -> Problem {
    let list = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let allow = HeaderValue::try_from(&list).unwrap_or_else(|_| HeaderValue::from_static(""));
    Problem::new(Kind::MethodNotAllowed, format!("this path takes {list}")).header(header::ALLOW, allow)
}

/// The lists of policies that a request goes through: the document's, a service's, a route's.
pub fn lists<'a>(config: &'a Config, route: Option<usize>, service: Option<&str>) -> [(Scope, &'a [Entry]); 3] {
    let of_route = route.and_then(|index| config.routes.get(index));
    let of_service = service.and_then(|name| config.services.get(name));
    [
        (Scope::Document, &config.policies),
        (Scope::Service, of_service.map_or(&[], |service| &service.policies)),
        (Scope::Route, of_route.map_or(&[], |route| &route.policies)),
    ]
}

struct Builder<'a> {
    config: &'a Config,
    services: HashMap<&'a str, Arc<Service>>,
    chains: Chains<'a>,
    errors: Errors,
}

impl<'a> Builder<'a> {
    fn names(&mut self) {
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

    /// A service that goes by a path parameter which no route to it has would never go by it.
    fn keys(&mut self, routes: &[Option<Route>]) {
        for (name, service) in &self.services {
            let Backend::Targets(targets) = &service.backend else { continue };
            let pool = targets.pool();
            let Some(param) = pool.param() else { continue };
            let leads = |way: &Way| matches!(&way.destination, Destination::Service { service: other, .. } if Arc::ptr_eq(other, service));
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
    fn route(&mut self, index: usize, route: &'a RouteConfig) -> Option<Route> {
        let params = routing::params(&route.matches, &self.config.paths);
        let places = [
            ("to", route.to.is_some()),
            ("versions", route.versions.is_some()),
            ("reply", route.reply.is_some()),
            ("redirect", route.redirect.is_some()),
        ];
        let mut named = places.iter().filter(|(_, is_there)| *is_there).map(|(name, _)| *name);
        let (first, second) = (named.next(), named.next());
        if let (Some(first), Some(second)) = (first, second) {
            let reason = format!("a route goes to one place, and this one has `{first}` and `{second}`");
            return self.keep(index, Err(BuildError::new(reason, "remove one of them").at(second)));
        }
        if route.path.is_some() && route.to.is_none() {
            let error = BuildError::new("`path` is the path at a service, and there is no `to`", "remove it, or move it to a version");
            return self.keep(index, Err(error.at("path")));
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
            let ways: Vec<_> = config
                .versions
                .iter()
                .map(|(name, version)| self.way(index, &["versions", name], &version.to, version.path.as_deref(), &params))
                .collect();
            ways.into_iter().collect::<Option<Vec<_>>>()
        } else if let Some(to) = &route.to {
            self.way(index, &[], to, route.path.as_deref(), &params).map(|way| vec![way])
        } else {
            let handler = match (&route.reply, &route.redirect) {
                (Some(reply), _) => reply.build().map(|reply| Handler::Reply(Arc::new(reply))).map_err(|error| error.at("reply")),
                (_, Some(redirect)) => Redirect::build(redirect, &params).map(Handler::Redirect).map_err(|error| error.at("redirect")),
                _ => Err(BuildError::new("the route goes nowhere", "write `to: <service>`, `versions:`, `reply:` or `redirect:`")),
            };
            let handler = self.keep(index, handler);
            let chain = self.chain(Some(index), None);
            handler.map(|handler| vec![Way { chain, destination: Destination::Handler(handler) }])
        };
        let chain = match &route.versions {
            // A preflight says no version that is asked for in a header: it meets the service's policies where all versions have the same service.
            Some(versions) => self.chain(Some(index), versions.only_service()),
            None => Chain::default(),
        };
        if route.versions.is_some() && versions.is_none() {
            return None;
        }
        Some(Route::new(&route.name, versions, ways?.into(), chain))
    }

    fn way(&mut self, index: usize, below: &[&str], to: &'a str, path: Option<&str>, params: &[Box<str>]) -> Option<Way> {
        let under = |error: BuildError| below.iter().rev().fold(error, |error, step| error.at(*step));
        let service = self.services.get(to).cloned();
        if !self.config.services.contains_key(to) {
            let error = BuildError::unknown("service", to, self.config.services.keys().map(String::as_str)).at("to");
            self.keep::<()>(index, Err(under(error)));
        }
        let path = match path {
            Some(text) => {
                let parsed = PathTemplate::build(text, params, &self.config.paths).map_err(|error| under(error.at("path")));
                Some(self.keep(index, parsed)?)
            }
            None => None,
        };
        let chain = self.chain(Some(index), Some(to));
        Some(Way { chain, destination: Destination::Service { service: service?, path } })
    }

    /// The chain of a route with the policies of a service, of a route alone, or of no route at all.
    fn chain(&mut self, route: Option<usize>, service: Option<&'a str>) -> Chain {
        let config = self.config;
        let of_route = route.and_then(|index| Some((index, config.routes.get(index)?)));
        let params = of_route.map(|(_, route)| routing::params(&route.matches, &config.paths)).unwrap_or_default();
        let route = of_route.map(|(index, route)| (index, route.name.as_str()));
        let plan = Plan { lists: lists(config, route.map(|(index, _)| index), service), route, service, params: &params };
        self.chains.build(plan, &mut self.errors)
    }

    /// What stands twice in a list and cannot.
    fn doubled(&mut self) {
        let config = self.config;
        let services = config.services.iter().map(|(name, service)| (vec!["services".into(), name.as_str().into()], &service.policies));
        let routes = config.routes.iter().enumerate().map(|(index, route)| (vec!["routes".into(), index.into()], &route.policies));
        for (mut place, list) in std::iter::once((Vec::new(), &config.policies)).chain(services).chain(routes) {
            place.push("policies".into());
            for error in doubled(list) {
                self.errors.keep::<()>(&place, Err(error));
            }
        }
    }
}

/// The one snapshot that new requests use. Only `reload` writes it.
#[derive(Debug)]
pub struct Live {
    snapshot: ArcSwap<Snapshot>,
    generation: AtomicU64,
    ending: AtomicBool,
}

impl Live {
    /// Starts with this one.
    pub fn new(snapshot: Snapshot) -> Self {
        Self { snapshot: ArcSwap::from_pointee(snapshot), generation: AtomicU64::new(1), ending: AtomicBool::new(false) }
    }

    /// Puts another in its place and gives back the one before. Requests under way keep the one they started with.
    #[must_use = "the last holder frees it, and that should be no worker"]
    pub fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let before = self.snapshot.swap(Arc::new(snapshot));
        self.generation.fetch_add(1, Ordering::Release);
        before
    }

    /// Changes with each store: what a worker compares on each request.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The process was told to end: each answer from now on is the last on its connection.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether it was.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// The present one.
    pub fn load(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}
