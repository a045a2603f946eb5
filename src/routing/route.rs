use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::Deserialize;

use super::MatchConfig;
use super::path::PathTemplate;
use super::version::{Versions, VersionsConfig};
use crate::ctx::Ctx;
use crate::handler::{Handler, RedirectConfig};
use crate::policy::{Chain, Entry};
use crate::problem::Problem;
use crate::types::ReplyConfig;
use crate::upstream::Service;

/// One entry of `routes:`. It goes to one place: `to`, `versions`, `reply` or `redirect`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend(
    "oneOf" = [{"required": ["to"]}, {"required": ["versions"]}, {"required": ["reply"]}, {"required": ["redirect"]}],
    "dependentRequired" = {"path": ["to"]}
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
    /// The service that answers.
    pub to: Option<String>,
    /// The path at the service, with the route's path parameters: `/users/{id}`. A request whose parameters would make another path of it, such as `..`
    /// beside text, is answered with 400. Default: the path that was matched.
    pub path: Option<String>,
    /// Several versions, each with its own service and path.
    pub versions: Option<VersionsConfig>,
    /// A fixed answer.
    pub reply: Option<ReplyConfig>,
    /// The way to another place.
    pub redirect: Option<RedirectConfig>,
}

/// A route, ready to run: what the requests that it takes go through, and where they end.
pub struct Route {
    /// Its name in the config.
    pub name: Arc<str>,
    /// How the version is chosen, where there are several.
    pub versions: Option<Versions>,
    /// One way per version, in the order of `versions`; else one.
    pub ways: Box<[Way]>,
    /// What a request goes through for which no version can be chosen.
    pub chain: Chain,
    /// Query parameters that carry credentials to the policies of any of its ways; none where there are none.
    pub credentials: Option<Arc<[Box<str>]>>,
}

impl Route {
    /// Puts a route together.
    pub fn new(name: &str, versions: Option<Versions>, ways: Box<[Way]>, chain: Chain) -> Self {
        let mut credentials: Vec<Box<str>> = Vec::new();
        for name in ways.iter().map(|way| &way.chain).chain([&chain]).flat_map(Chain::credentials) {
            if !credentials.contains(name) {
                credentials.push(name.clone());
            }
        }
        let credentials = (!credentials.is_empty()).then(|| credentials.into());
        Self { name: name.into(), versions, ways, chain, credentials }
    }
}

/// The policies and the destination of one version of a route.
pub struct Way {
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
    /// Here.
    Handler(Handler),
    /// Nowhere: no route matches.
    Nowhere,
}

impl Destination {
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
