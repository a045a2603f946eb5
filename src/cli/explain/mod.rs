//! `tidegate explain`: what would become of a request, and why, told from the config alone.

mod needs;
mod parts;
mod text;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use http::{HeaderName, HeaderValue, Uri, header};
use indexmap::IndexMap;
use pingora_http::RequestHeader;
use serde::Serialize;
use serde_json::Value;

use self::needs::Needs;
use super::{print, say};
use crate::building::{ConfigPath, Step};
use crate::config::{Config, Loaded};
use crate::ctx::Ctx;
use crate::policy::{Scope, merge};
use crate::problem::Problem;
use crate::reload::{Built, build};
use crate::routing::{self, By, Destination, Query, VersionsConfig, Why, host, path};
use crate::snapshot::{lists, preflight};
use crate::state::Shared;
use crate::upstream::Backend;

/// The request to explain.
#[derive(Debug, Args)]
pub struct Request {
    /// The method and the address: `GET https://api.example.com/users/42?page=2`.
    request: String,
    /// A header, like `X-API-Version: v1`. Again for more.
    #[arg(short = 'H', long = "header")]
    headers: Vec<String>,
    /// The client's address.
    #[arg(long, default_value = "127.0.0.1")]
    client: IpAddr,
    /// Print JSON, for programs.
    #[arg(long)]
    json: bool,
}

/// All that is told. Its JSON is for programs: keys may be added, none is changed.
#[derive(Debug, Serialize)]
struct Explanation {
    request: Asked,
    /// What the gateway answers by itself for want of a route or version; none where the policies and the destination decide.
    refused: Option<Refusal>,
    route: Option<Route>,
    version: Option<Version>,
    to: Option<To>,
    /// What a composed answer is made of.
    parts: Vec<parts::Part>,
    split: Option<Split>,
    mirror: Option<Mirror>,
    policies: Vec<Policy>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
struct Asked {
    method: String,
    host: String,
    path: String,
    query: Option<String>,
    client: IpAddr,
}

#[derive(Debug, Serialize)]
struct Refusal {
    status: u16,
    title: String,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Route {
    name: String,
    place: String,
    params: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct Version {
    name: String,
    /// Whether the request asks for it, or it is the default.
    default: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum To {
    Service {
        name: String,
        path: String,
        backend: String,
    },
    /// One of several services, where the request alone does not tell which.
    OneOf {
        path: String,
    },
    Handler(&'static str),
}

/// The services that a split chooses from.
#[derive(Debug, Serialize)]
struct Split {
    /// From 0 to 1, by service.
    shares: IndexMap<String, f64>,
    /// What keeps a caller at its service.
    sticky: Option<String>,
    /// What decides for this request: `force`, `sticky`, or `lot`.
    by: &'static str,
}

/// The service that gets copies of such requests.
#[derive(Debug, Serialize)]
struct Mirror {
    to: String,
    /// From 0 to 1.
    share: f64,
}

#[derive(Debug, Serialize)]
struct Policy {
    name: &'static str,
    scope: &'static str,
    place: String,
    settings: Value,
    /// What it wants of the request, where it tells.
    needs: Option<Needs>,
}

#[derive(Debug, Serialize)]
struct Candidate {
    route: String,
    place: String,
    host: String,
    path: String,
    /// `taken`, `later`, `host`, `path`, `method` or `condition`.
    why: &'static str,
    /// The same in words.
    reason: String,
}

/// Explains one request. 1 where there is nothing to explain: the config or the request is wrong.
pub fn explain(config: &Path, asked: &Request) -> ExitCode {
    let built = match build(config, &Shared::default()) {
        Ok(built) => built,
        Err(errors) => {
            say(&errors.to_string());
            return ExitCode::FAILURE;
        }
    };
    match explained(&built, asked) {
        Ok(explanation) if asked.json => print(&serde_json::to_string_pretty(&explanation).unwrap_or_default()),
        Ok(explanation) => print(&text::render(&explanation)),
        Err(why) => {
            say(&why);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn explained(built: &Built, asked: &Request) -> Result<Explanation, String> {
    let (req, uri) = read(asked)?;
    let (snapshot, config) = (&built.snapshot, &built.config);
    let authority = req.headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let mut explanation = Explanation {
        request: Asked {
            method: req.method.to_string(),
            host: authority.clone(),
            path: req.uri.path().to_owned(),
            query: req.uri.query().map(ToOwned::to_owned),
            client: asked.client,
        },
        refused: None,
        route: None,
        version: None,
        to: None,
        parts: Vec::new(),
        split: None,
        mirror: None,
        policies: Vec::new(),
        candidates: Vec::new(),
    };
    let bad = |detail: &str| Some(Refusal { status: 400, title: "Bad Request".to_owned(), detail: detail.to_owned() });
    let Some(host) = host::normalise(&authority) else {
        explanation.refused = bad("the Host is malformed");
        return Ok(explanation);
    };
    let path = match path::normalise(req.uri.path(), &snapshot.paths) {
        Ok(path) => path.into_owned(),
        Err(error) => {
            explanation.refused = bad(&error.to_string());
            return Ok(explanation);
        }
    };
    (explanation.request.host, explanation.request.path) = (host.clone().into_owned(), path.clone());
    let mut cx = Ctx::new(HeaderValue::from_static("explained"));
    cx.client = asked.client;
    cx.scheme = if uri.scheme_str() == Some("https") { "https" } else { "http" };
    cx.port = uri.port_u16().unwrap_or(if cx.scheme == "https" { 443 } else { 80 });
    (cx.host, cx.path) = (host.clone().into(), path.clone().into());
    let met = snapshot.meet(&req, &host, &mut cx);
    let route = snapshot.route(met.route);
    explanation.refused = met.refused.as_ref().map(refusal);
    explanation.route = met.route.map(|number| Route {
        name: route.name.to_string(),
        place: config.place(&["routes".into(), number.into()]),
        params: cx.params.names.iter().map(|name| (name.to_string(), cx.param(name).unwrap_or_default().to_owned())).collect(),
    });
    explanation.version = cx
        .version
        .as_ref()
        .zip(route.versions.as_ref())
        .map(|(name, versions)| Version { name: name.to_string(), default: !versions.asked(&req, &cx) });
    let mut way = met.way.and_then(|way| route.ways.get(way));
    if let Some(Destination::Split(split)) = way.map(|way| &way.destination) {
        let choice = split.choose(&req, &cx);
        explanation.split = Some(shares(split, choice.by));
        let told = choice.by != By::Lot;
        explanation.to = route.ways.get(choice.way).filter(|_| !told).and_then(|way| {
            let path = way.destination.path(&req, &cx).map_err(|problem| explanation.refused.get_or_insert_with(|| refusal(&problem)));
            Some(To::OneOf { path: path.ok()?.into_owned() })
        });
        way = route.ways.get(choice.way).filter(|_| told);
    }
    explanation.mirror = route.mirror.as_ref().and_then(|mirror| {
        let share = mirror.share(&req.method);
        (share > 0.0).then(|| Mirror { to: mirror.service.name.to_string(), share })
    });
    let mut service = None;
    let to = match way.map(|way| &way.destination) {
        Some(destination @ Destination::Service { service: to, .. }) => {
            service = Some(&*to.name);
            let backend = match &to.backend {
                Backend::Mock(_) => "a mock".to_owned(),
                Backend::Targets(targets) => {
                    let count = match targets.entries() {
                        1 => "1 target".to_owned(),
                        count => format!("{count} targets"),
                    };
                    let fallback = targets.fallback.as_ref().map(|fallback| format!("fallback {}", fallback.name()));
                    let shown = targets.credentials.as_ref().map(|credentials| format!("the gateway's own {}", credentials.told()));
                    [Some(count), shown, fallback].into_iter().flatten().collect::<Vec<_>>().join(", ")
                }
            };
            match destination.path(&req, &cx) {
                Ok(path) => Some(To::Service { name: to.name.to_string(), path: path.into_owned(), backend }),
                Err(problem) => {
                    explanation.refused = explanation.refused.or(Some(refusal(&problem)));
                    None
                }
            }
        }
        Some(Destination::Handler(handler)) => Some(To::Handler(handler.name())),
        Some(Destination::Composition(composition)) => {
            let settings = met.route.and_then(|number| config.value.routes.get(number)?.compose.as_ref());
            explanation.parts = settings.map(|settings| parts::parts(settings, composition)).unwrap_or_default();
            Some(To::Handler("compose"))
        }
        Some(Destination::Batch(_)) => Some(To::Handler("batch")),
        Some(Destination::Split(_) | Destination::Nowhere) | None => None,
    };
    explanation.to = to.or(explanation.to);
    if met.way.is_none() {
        let versions = met.route.and_then(|number| config.value.routes.get(number)?.versions.as_ref());
        service = versions.and_then(VersionsConfig::only_service);
    }
    explanation.policies = policies(config, met.route, service);
    let asks = preflight(&req);
    let query = Query { host: &host, method: &req.method, asks: asks.as_ref(), path: &path, headers: &req.headers, query: req.uri.query() };
    explanation.candidates = snapshot.router.explain(&query).into_iter().map(|considered| candidate(built, &considered)).collect();
    Ok(explanation)
}

fn refusal(problem: &Problem) -> Refusal {
    Refusal { status: problem.kind.status().as_u16(), title: problem.kind.title().to_owned(), detail: problem.detail.to_string() }
}

fn shares(split: &routing::Split, by: By) -> Split {
    let all: f64 = split.services().iter().map(|(_, share)| f64::from(*share)).sum();
    let shares = split.services().iter().map(|(name, share)| (name.to_string(), f64::from(*share) / all));
    let by = match by {
        By::Force => "force",
        By::Sticky => "sticky",
        By::Lot => "lot",
    };
    Split { shares: shares.collect(), sticky: split.sticky(), by }
}

fn policies(config: &Loaded<Config>, route: Option<usize>, service: Option<&str>) -> Vec<Policy> {
    let merged = merge(&lists(&config.value, route, service));
    let told = merged.into_iter().map(|(scope, index, policy)| {
        let (list, scope): (Vec<Step>, _) = match (scope, route, service) {
            (Scope::Route, Some(number), _) => (vec!["routes".into(), number.into()], "route"),
            (Scope::Service, _, Some(name)) => (vec!["services".into(), name.into()], "service"),
            _ => (Vec::new(), "document"),
        };
        let place = ConfigPath([list, vec!["policies".into(), index.into(), policy.name().into()]].concat());
        let settings = config.conceal(policy.settings(), &place);
        Policy {
            name: policy.name(),
            scope,
            needs: needs::needs(policy, &settings, &config.value),
            settings,
            place: config.place(&place.0),
        }
    });
    told.collect()
}

fn candidate(built: &Built, considered: &crate::routing::Considered<'_>) -> Candidate {
    let route = built.config.value.routes.get(considered.route);
    let methods = || route.map(|route| route.matches.methods.iter().map(|method| method.0.as_str()).collect::<Vec<_>>().join(", "));
    let (why, reason) = match considered.why {
        Why::Taken => ("taken", "takes the request".to_owned()),
        Why::Later => ("later", "would take it, but stands behind in the order".to_owned()),
        Why::Host => ("host", format!("is for the host {}", considered.host)),
        Why::Path => ("path", format!("is for the path {}", considered.path)),
        Why::Method => {
            ("method", format!("is for {}", methods().filter(|list| !list.is_empty()).unwrap_or_else(|| "all but TRACE".to_owned())))
        }
        Why::Condition(words) => ("condition", format!("asks for {words}")),
    };
    Candidate {
        route: route.map(|route| route.name.clone()).unwrap_or_default(),
        place: built.config.place(&["routes".into(), considered.route.into()]),
        host: considered.host.to_owned(),
        path: considered.path.to_owned(),
        why,
        reason,
    }
}

/// The request as the gateway would see it, and its address.
fn read(asked: &Request) -> Result<(RequestHeader, Uri), String> {
    let mut words = asked.request.split_whitespace();
    let (method, address) = match (words.next(), words.next(), words.next()) {
        (Some(method), Some(address), None) => (method, address),
        (Some(address), None, None) => ("GET", address),
        _ => return Err("write a method and an address, like `GET https://api.example.com/users/42`".to_owned()),
    };
    let address = address.split('#').next().unwrap_or(address);
    let wrong = |what: &str| format!("`{what}` is no address; write one like `https://api.example.com/users/42` or `/users/42`");
    let (target, uri) = match address.split_once("://") {
        _ if address.starts_with('/') => (address.to_owned(), Uri::default()),
        Some((scheme @ ("http" | "https"), rest)) => {
            let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let uri = format!("{scheme}://{authority}/").parse::<Uri>().map_err(|_| wrong(address))?;
            (if target.starts_with('/') { target.to_owned() } else { format!("/{target}") }, uri)
        }
        _ => return Err(wrong(address)),
    };
    let mut req = RequestHeader::build(method, target.as_bytes(), None).map_err(|_| format!("`{method} {target}` is no request"))?;
    if let Some(authority) = uri.authority() {
        let _ = req.insert_header(header::HOST, authority.as_str());
    }
    for line in &asked.headers {
        let parsed = line
            .split_once(':')
            .and_then(|(name, value)| Some((HeaderName::try_from(name.trim()).ok()?, HeaderValue::try_from(value.trim()).ok()?)));
        let Some((name, value)) = parsed else { return Err(format!("`{line}` is no header; write one like `X-API-Version: v1`")) };
        let result = if name == header::HOST { req.insert_header(name, value).map(|()| true) } else { req.append_header(name, value) };
        result.map_err(|_| format!("`{line}` is no header"))?;
    }
    Ok((req, uri))
}
