use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time;

use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::Deserialize;

use super::MatchConfig;
use super::mirror::{Mirror, MirrorConfig};
use super::path::PathTemplate;
use super::split::{ForceConfig, Split, StickyConfig, ToConfig};
use super::version::{VersionConfig, Versions, VersionsConfig};
use crate::compose::{Batch, BatchConfig, ComposeConfig, Composition};
use crate::ctx::Ctx;
use crate::handler::{Handler, JwksConfig, RedirectConfig};
use crate::policy::{Chain, Entry};
use crate::problem::Problem;
use crate::types::{Duration, ReplyConfig};
use crate::upstream::Service;

/// One entry of `routes:`. It goes to one place: `to`, `versions`, `compose`, `batch`, `reply`, `redirect` or `jwks`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [
        {"required": ["to"]}, {"required": ["versions"]}, {"required": ["compose"]}, {"required": ["batch"]}, {"required": ["reply"]},
        {"required": ["redirect"]}, {"required": ["jwks"]}
    ],
    "dependentRequired" = {"path": ["to"], "sticky": ["to"], "force": ["to"]}
))]
pub struct RouteConfig {
    /// The name, unique among all routes: in the log, in metrics, in errors.
    pub name: String,
    /// Which requests it takes.
    #[serde(rename = "match", default)]
    pub matches: MatchConfig,
    /// Policies for this route, after those of the document and of the service.
    #[serde(default)]
    pub policies: Vec<Entry>,
    /// The service that answers, or several with their shares: `{ stable: 95, canary: 5 }`.
    pub to: Option<ToConfig>,
    /// What keeps a caller at one of several services. Default: each request is drawn by lot.
    pub sticky: Option<StickyConfig>,
    /// Where testers can name the one of several services that they want. Default: nowhere.
    pub force: Option<ForceConfig>,
    /// How long its requests may take in all, from their arrival to the end of the answer and over every attempt. Where the `timeouts.total` of the service
    /// is shorter, that holds. Default: none.
    pub timeout: Option<Duration>,
    /// The service that gets copies of what goes to the route's own. Default: none.
    pub mirror: Option<MirrorConfig>,
    /// The path at the service, with the route's path parameters: `/users/{id}`. A request whose parameters would make another path of it, such as `..`
    /// beside text, is answered with 400. Default: the path that was matched.
    pub path: Option<String>,
    /// Several versions, each with its own service and path.
    pub versions: Option<VersionsConfig>,
    /// Several services, asked at once for one answer.
    pub compose: Option<ComposeConfig>,
    /// Several requests in one, answered in one.
    pub batch: Option<BatchConfig>,
    /// A fixed answer.
    pub reply: Option<ReplyConfig>,
    /// The way to another place.
    pub redirect: Option<RedirectConfig>,
    /// The public keys of `signing`.
    pub jwks: Option<JwksConfig>,
}

/// Where one version of a route leads, as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    /// The service or services.
    pub to: &'a ToConfig,
    /// What keeps a caller at one of them.
    pub sticky: Option<&'a StickyConfig>,
    /// Where testers name one.
    pub force: Option<&'a ForceConfig>,
    /// The path there.
    pub path: Option<&'a str>,
}

impl RouteConfig {
    /// Where it leads without versions; none where it answers by itself.
    pub fn goal(&self) -> Option<Goal<'_>> {
        let to = self.to.as_ref()?;
        Some(Goal { to, sticky: self.sticky.as_ref(), force: self.force.as_ref(), path: self.path.as_deref() })
    }
}

impl VersionConfig {
    /// Where it leads.
    pub fn goal(&self) -> Goal<'_> {
        Goal { to: &self.to, sticky: self.sticky.as_ref(), force: self.force.as_ref(), path: self.path.as_deref() }
    }
}

/// A route, ready to run: what the requests that it takes go through, and where they end.
pub struct Route {
    /// Its name in the config.
    pub name: Arc<str>,
    /// How the version is chosen, where there are several.
    pub versions: Option<Versions>,
    /// One way per version, in the order of `versions`; else one. Then those behind splits.
    pub ways: Box<[Way]>,
    /// How long its requests may take in all.
    pub timeout: Option<time::Duration>,
    /// Who gets copies of what goes to a service.
    pub mirror: Option<Mirror>,
    /// What a request goes through for which no version can be chosen.
    pub chain: Chain,
    /// Query parameters that carry credentials to the policies of any of its ways; none where there are none.
    pub credentials: Option<Arc<[Box<str>]>>,
}

impl Route {
    /// Puts a route together.
    pub fn new(name: &str, versions: Option<Versions>, ways: Box<[Way]>, chain: Chain) -> Self {
        let mut credentials: Vec<Box<str>> = Vec::new();
        for name in ways.iter().map(|way| &way.chain).chain([&chain]).flat_map(|chain| &chain.marks().credentials) {
            if !credentials.contains(name) {
                credentials.push(name.clone());
            }
        }
        let credentials = (!credentials.is_empty()).then(|| credentials.into());
        Self { name: name.into(), versions, ways, timeout: None, mirror: None, chain, credentials }
    }
}

/// The policies and the destination of one version of a route.
pub struct Way {
    /// Which of the route's versions it belongs to.
    pub version: usize,
    /// The policies of the document, the service and the route.
    pub chain: Chain,
    /// Where it ends.
    pub destination: Destination,
}

/// Where a request ends.
#[derive(Debug)]
pub enum Destination {
    /// At a service, with the path it is given there.
    Service {
        /// The service.
        service: Arc<Service>,
        /// The path; none for the one that was matched.
        path: Option<PathTemplate>,
    },
    /// At one of several services: another way of the route, chosen once the policies of this one are through.
    Split(Split),
    /// Here.
    Handler(Handler),
    /// At several services, whose answers are put together here.
    Composition(Box<Composition>),
    /// On the way of each request that is in this one.
    Batch(Box<Batch>),
    /// Nowhere: no route matches.
    Nowhere,
}

impl Destination {
    /// Whether it asks this service.
    pub fn asks(&self, service: &Arc<Service>) -> bool {
        match self {
            Destination::Service { service: own, .. } => Arc::ptr_eq(own, service),
            Destination::Composition(composition) => composition.services().any(|own| Arc::ptr_eq(own, service)),
            Destination::Split(_) | Destination::Handler(_) | Destination::Batch(_) | Destination::Nowhere => false,
        }
    }

    /// The path that a service gets: what was matched, unless the route says otherwise.
    ///
    /// # Errors
    /// A parameter that it is made of is missing, or makes another path of it.
    pub fn path<'p>(&'p self, req: &'p RequestHeader, cx: &'p Ctx) -> Result<Cow<'p, str>, Problem> {
        match self {
            Destination::Service { path: Some(template), .. } => template.render(req, cx),
            _ => Ok((&*cx.path).into()),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policies: Vec<_> = self.chain.names().collect();
        f.debug_struct("Way").field("policies", &policies).field("destination", &self.destination).finish()
    }
}
