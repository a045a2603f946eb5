mod consumers;

use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use super::say;
use crate::building::{BuildError, Step};
use crate::compose::{Around, Composition};
use crate::config::{Config, Loaded};
use crate::expr::variables;
use crate::policy::{PolicyConfig, Scope, blind, doubts, identifies, merge, reads_certificates, reads_tokens};
use crate::reload::{Built, build};
use crate::routing::{self, Destination, RouteConfig, Source, ToConfig};
use crate::snapshot::lists;
use crate::state::Shared;
use crate::upstream::Verify;

/// `tidegate check`.
pub fn check(path: &Path) -> ExitCode {
    match build(path, &Shared::default()) {
        Ok(built) => {
            let config = &built.config.value;
            say(&format!("{}: {} routes, {} services, nothing is wrong", path.display(), config.routes.len(), config.services.len()));
            let doubts = built.snapshot.doubts(SystemTime::now());
            let doubts = doubts.iter().map(|doubt| built.config.located(doubt).to_string());
            for warning in doubts.chain(warnings(&built)) {
                say(&format!("warning: {warning}"));
            }
            ExitCode::SUCCESS
        }
        Err(errors) => {
            say(&errors.to_string());
            ExitCode::FAILURE
        }
    }
}

/// What works and is hardly meant: certificates that nobody looks at, and orders of policies, each told once though many routes go through it.
fn warnings(built: &Built) -> Vec<String> {
    let loaded: &Loaded<Config> = &built.config;
    let config = &loaded.value;
    let mut chains: Vec<(Option<usize>, Option<&str>)> = vec![(None, None)];
    for (index, route) in config.routes.iter().enumerate() {
        let services = route.versions.iter().flat_map(|versions| versions.versions.values().flat_map(|version| version.to.services()));
        let before = chains.len();
        chains.extend(services.chain(route.to.iter().flat_map(ToConfig::services)).map(|service| (Some(index), Some(service))));
        if chains.len() == before {
            chains.push((Some(index), None));
        }
    }
    let mut found: Vec<BuildError> = Vec::new();
    for (route, service) in chains {
        let chain = merge(&lists(config, route, service));
        let place = |at: usize| -> Vec<Step> {
            let Some((scope, index, policy)) = chain.get(at) else { return Vec::new() };
            let list = match (scope, route, service) {
                (Scope::Route, Some(route), _) => vec!["routes".into(), route.into()],
                (Scope::Service, _, Some(service)) => vec!["services".into(), service.into()],
                _ => Vec::new(),
            };
            [list, vec!["policies".into(), (*index).into(), policy.name().into()]].concat()
        };
        if !asks_for_certificates(config)
            && let Some(at) = chain.iter().position(|(.., policy)| reads_certificates(policy))
        {
            let fix = "set `client_ca` in the `tls` of a listener, or take it out";
            let error = BuildError::new("no listener asks clients for certificates, so none is ever shown", fix);
            let error = place(at).into_iter().rev().fold(error, BuildError::at);
            if !found.contains(&error) {
                found.push(error);
            }
        }
        let versions = route.and_then(|route| config.routes.get(route)).is_some_and(|route| route.versions.is_some());
        // What no route takes, nobody is to be let through to.
        let blind = route.map(|_| blind(&chain)).unwrap_or_default();
        for doubt in doubts(&chain, versions).into_iter().chain(blind) {
            let mut error = place(doubt.place).into_iter().rev().fold(doubt.error, BuildError::at);
            if let Some(other) = doubt.other {
                error = error.beside(place(other));
            }
            if !found.contains(&error) {
                found.push(error);
            }
        }
    }
    found.extend(consumers::doubts(config));
    found.extend(config.routes.iter().enumerate().flat_map(|(index, route)| route_doubts(config, index, route)));
    found.extend(built.snapshot.routes.iter().enumerate().flat_map(|(index, route)| {
        let compositions = route.ways.iter().filter_map(|way| match &way.destination {
            Destination::Composition(composition) => Some(composition),
            _ => None,
        });
        compositions.flat_map(move |composition| composed(config, index, composition)).collect::<Vec<_>>()
    }));
    for (name, service) in &config.services {
        if service.tls.as_ref().is_some_and(|tls| tls.verify == Verify::Off) {
            let reason = "certificates are not looked at: anyone on the way can read and change what is sent";
            let doubt = BuildError::new(reason, "name the `ca` of the targets, and a `server_name` where theirs is not that of the URL");
            found.push(["verify", "tls", name, "services"].into_iter().fold(doubt, BuildError::at));
        }
    }
    found.iter().map(|error| loaded.located(error).to_string()).collect()
}

/// Whether any listener asks clients who they are.
fn asks_for_certificates(config: &Config) -> bool {
    config.server.listeners.iter().any(|listener| listener.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()))
}

/// What is doubtful about one route beside its lists of policies.
fn route_doubts(config: &Config, index: usize, route: &RouteConfig) -> Vec<BuildError> {
    let at = |error: BuildError, place: &[&str]| place.iter().rev().fold(error, |error, step| error.at(*step)).at(index).at("routes");
    let mut found = Vec::new();
    let own = merge(&lists(config, Some(index), None));
    let has = |chain: &[(Scope, usize, &PolicyConfig)], name: &str| chain.iter().any(|(_, _, policy)| policy.name() == name);
    let asked = asks_for_certificates(config);
    if let Some(redirect) = &route.redirect {
        let never = variables(&redirect.to).into_iter().filter(|name| {
            *name == "version"
                || (name.starts_with("client_cert.") && !asked)
                || (name.starts_with("claims.") && !own.iter().any(|(.., policy)| reads_tokens(policy)))
                || (name.starts_with("consumer.") && !own.iter().any(|(.., policy)| identifies(policy)))
        });
        found.extend(never.map(|name| {
            let error = BuildError::new(format!("`{{{name}}}` never has a value here, so each request gets 400"), "take it out");
            at(error, &["redirect", "to"])
        }));
    }
    if let Some(versions) = &route.versions {
        // Of these a preflight has the path and the query, and says what the request will say.
        let unsaid = versions.default.is_none() && matches!(versions.from, Source::Header(_) | Source::MediaType(_));
        let services = versions.versions.values().flat_map(|version| version.to.services());
        let cors = services.filter(|service| has(&merge(&lists(config, Some(index), Some(service))), "cors")).count();
        if unsaid && cors > 0 && versions.only_service().is_none() && !has(&own, "cors") {
            let reason = "a preflight says no version, so the `cors` of the versions' services does not answer it";
            let fix = "put `cors` into the route's policies, or name a `default`";
            found.push(at(BuildError::new(reason, fix), &["versions"]));
        }
    }
    found
}

/// What is doubtful about a composition: variables that nothing gives a value, and parts.
fn composed(config: &Config, index: usize, composition: &Composition) -> Vec<BuildError> {
    let Some((route, settings)) = config.routes.get(index).and_then(|route| Some((route, route.compose.as_ref()?))) else {
        return Vec::new();
    };
    let chain = merge(&lists(config, Some(index), None));
    let tokens = chain.iter().any(|(_, _, policy)| reads_tokens(policy));
    let consumers = chain.iter().any(|(_, _, policy)| identifies(policy));
    let asked = asks_for_certificates(config);
    let params = routing::params(&route.matches, &config.paths);
    let never = |name: &str| match name {
        _ if params.iter().any(|param| **param == *name) => None,
        "version" => Some("the route has no `versions`: take it out"),
        _ if name.starts_with("consumer.") && !consumers => {
            Some("put `api_key`, `basic`, `hmac`, `mtls`, or `jwt` with `consumer`, into the route's policies, or take it out")
        }
        _ if name.starts_with("claims.") && !tokens => Some("put `jwt` or `introspection` into the route's policies, or take it out"),
        _ if name.starts_with("client_cert.") && !asked => {
            Some("ask clients for certificates with `client_ca` of a listener's `tls`, or take it out")
        }
        _ => None,
    };
    let total = |name: &str| config.services.get(name)?.timeouts.as_ref()?.total.map(Into::into);
    let doubts = composition.doubts(settings, &Around { never: &never, total: &total });
    doubts.into_iter().map(|doubt| doubt.at("compose").at(index).at("routes")).collect()
}
