//! Everything compiled from one config, immutable and swapped whole.

mod builder;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use http::{HeaderValue, Method, header};
use pingora_http::RequestHeader;

use crate::building::{BuildError, Errors};
use crate::config::Config;
use crate::consumer::Consumers;
use crate::ctx::{Ctx, Params};
use crate::policy::auth::introspection::Endpoint;
use crate::policy::auth::jwks::Provider;
use crate::policy::transform::Identity;
use crate::policy::{Chain, Chains, Entry, Scope};
use crate::problem::{Kind, Problem};
use crate::routing::{Destination, Outcome, PathOptions, Query, Route, Router, Way};
use crate::signing::Signer;
use crate::state::{Kept, Shared};
use crate::store::Store;
use crate::tls::Secure;
use crate::upstream::{self, Base, Names, Service};
use builder::Builder;

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
    /// What services are told of who calls.
    pub identity: Identity,
    /// What is looked up in Redis.
    pub store: Option<Arc<Store>>,
    /// Where requests go, by name.
    pub services: Box<[Arc<Service>]>,
    /// Who has the keys of issuers.
    pub providers: Box<[Arc<Provider>]>,
    /// Who is asked about tokens.
    pub endpoints: Box<[Arc<Endpoint>]>,
    /// What each listener that speaks TLS does so with, in the order of the file.
    pub secure: Box<[Option<Secure>]>,
    /// Where answers of parts are kept.
    kept: Arc<Kept>,
    /// Bytes of them at most; none where none are kept.
    keeps: Option<u64>,
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
        let secure = secure(config, shared, folder, &mut errors);
        let consumers = match Consumers::build(&config.consumers) {
            Ok(consumers) => consumers,
            Err(found) => {
                errors.0.extend(found.0);
                Consumers::default()
            }
        };
        let identity = errors.keep(&["identity".into()], Identity::build(&config.identity));
        errors.0.extend(config.dns.mistakes().0);
        errors.0.extend(config.cache.mistakes().0);
        let base = Base { shared, folder, names: &Arc::new(Names::new(&config.dns)) };
        let signer = match config.signing.as_ref().map(|signing| Signer::build(signing, folder)) {
            Some(Ok(signer)) => Some(Arc::new(signer)),
            Some(Err(found)) => {
                errors.0.extend(found.0.into_iter().map(|error| error.at("signing")));
                None
            }
            None => None,
        };
        let mut services = HashMap::new();
        for (name, service) in &config.services {
            match Service::signing(name, service, &base, signer.as_ref()) {
                Ok(built) => {
                    services.insert(name.as_str(), Arc::new(built));
                }
                Err(found) => errors.0.extend(found.0),
            }
        }
        if let Err(found) = upstream::link(&services, config.services.keys().map(String::as_str)) {
            errors.0.extend(found.0);
        }
        let router = match Router::build(config.routes.iter().map(|route| (route.name.as_str(), &route.matches)), &config.paths) {
            Ok(router) => Some(router),
            Err(found) => {
                errors.0.extend(found.0.into_iter().map(|error| error.at("routes")));
                None
            }
        };
        let store = config.redis.as_ref().and_then(|redis| match Store::build(redis, shared, folder) {
            Ok(store) => store,
            Err(found) => {
                errors.0.extend(found.0);
                None
            }
        });
        let known = config.services.keys().map(|name| (name.as_str(), services.get(name.as_str()).cloned()));
        let chains =
            Chains::new(Arc::new(consumers), store.as_ref().map(|store| store.faces.clone()).unwrap_or_default(), known.collect(), base);
        let mut builder = Builder { config, shared, signer, services, chains, errors };
        builder.names();
        builder.listed();
        let routes: Vec<Option<Route>> = config.routes.iter().enumerate().map(|(index, route)| builder.route(index, route)).collect();
        builder.keys(&routes);
        let chain = builder.chain(None, None);
        let way = Way { version: 0, chain, destination: Destination::Nowhere };
        let unmatched = Route::new("-", None, [way].into(), Chain::default());
        let Builder { errors, services, chains, .. } = builder;
        let asked = chains.providers();
        let (providers, endpoints) = (asked.of_keys(), asked.of_tokens());
        let mut services: Box<[_]> = services.into_values().collect();
        services.sort_unstable_by(|one: &Arc<Service>, other| one.name.cmp(&other.name));
        match (router, routes.into_iter().collect::<Option<Box<[_]>>>(), identity) {
            (Some(router), Some(routes), Some(identity)) => {
                let keeps = routes.iter().flat_map(|route| &route.ways).any(keeps).then_some(config.cache.size.0);
                let (paths, kept) = (config.paths.clone(), shared.kept.clone());
                let own = Self { router, routes, unmatched, paths, identity, store, services, providers, endpoints, secure, kept, keeps };
                errors.finish(own)
            }
            _ => Err(errors),
        }
    }
}

fn keeps(way: &Way) -> bool {
    matches!(&way.destination, Destination::Composition(composition) if composition.keeps())
}

fn secure(config: &Config, shared: &Shared, folder: &Path, errors: &mut Errors) -> Box<[Option<Secure>]> {
    let listeners = config.server.listeners.iter().enumerate();
    let secure = listeners.map(|(index, listener)| match Secure::build(listener.tls.as_ref()?, folder, &shared.tickets) {
        Ok(secure) => Some(secure.speaking(&listener.protocols)),
        Err(found) => {
            errors.0.extend(found.0.into_iter().map(|error| of_listener(error, index)));
            None
        }
    });
    secure.collect()
}

fn of_listener(error: BuildError, index: usize) -> BuildError {
    error.at("tls").at(index).at("listeners").at("server")
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

    /// Whether requests make the gateway ask others: for parts of an answer, or for what a policy has to know.
    pub fn asks(&self) -> bool {
        let mut ways = self.routes.iter().chain([&self.unmatched]).flat_map(|route| &route.ways);
        ways.any(|way| matches!(way.destination, Destination::Composition(_)) || way.chain.marks().asks)
    }

    /// What is doubtful about certificates at this time.
    pub fn doubts(&self, now: SystemTime) -> Vec<BuildError> {
        let secure = self.secure.iter().enumerate().filter_map(|(index, secure)| Some((index, secure.as_ref()?)));
        secure.flat_map(|(index, secure)| secure.doubts(now).into_iter().map(move |doubt| of_listener(doubt, index))).collect()
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
        snapshot.kept.bound(snapshot.keeps);
        Self { snapshot: ArcSwap::from_pointee(snapshot), generation: AtomicU64::new(1), ending: AtomicBool::new(false) }
    }

    /// Puts another in its place and gives back the one before. Requests under way keep the one they started with.
    #[must_use = "the last holder frees it, and that should be no worker"]
    pub fn swap(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        snapshot.kept.bound(snapshot.keeps);
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
