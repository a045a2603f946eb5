//! For tests: one policy, run without a socket.

use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use pingora_http::{RequestHeader, ResponseHeader};

use super::auth::Providers;
use super::{Flow, Policy, PolicyCx, Told};
use crate::building::{BuildError, Errors};
use crate::consumer::{ConsumerConfig, Consumers};
use crate::ctx::{Ctx, testing};
use crate::observe::Metrics;
use crate::problem::Problem;
use crate::state::Shared;
use crate::upstream::{Client, DnsConfig, Names, Service};

/// Settings as a user writes them. Tests may look down the house: this is the reader of real files.
pub(crate) fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    crate::config::load_str("test.yaml", text, &|_| None).map(|loaded| loaded.value).map_err(|errors| errors.to_string())
}

/// What policies ask others over.
pub(crate) fn client() -> Arc<Client> {
    Arc::new(Client::new(Metrics::new(1).unwrap().shards()[0].clone(), 1))
}

/// One policy with the request it works on.
pub(crate) struct Kit<P> {
    pub policy: P,
    pub req: RequestHeader,
    pub cx: Ctx,
}

/// Builds a policy from JSON settings; gives the first mistake.
pub(crate) fn build<P: Policy>(config: &str, consumers: &str, shared: &Shared) -> Result<P, BuildError> {
    build_among(config, consumers, &[], shared)
}

/// The same among these services; none for one that is wrong.
pub(crate) fn build_among<P: Policy>(
    config: &str,
    consumers: &str,
    services: &[(&str, Option<Arc<Service>>)],
    shared: &Shared,
) -> Result<P, BuildError> {
    let (built, mistakes) = build_whole(config, consumers, services, shared, Told::default());
    mistakes.0.into_iter().next().map_or(built, Err)
}

/// The same below policies that ask like this who calls.
pub(crate) fn challenged<P: Policy>(config: &str, consumers: &str, challenges: &[&'static str]) -> P {
    let told = Told::challenged(challenges.iter().map(|challenge| HeaderValue::from_static(challenge)));
    build_whole(config, consumers, &[], &Shared::default(), told).0.unwrap()
}

/// Every mistake in JSON settings, each as it is told.
pub(crate) fn mistakes<P: Policy>(config: &str) -> Vec<String> {
    mistakes_among::<P>(config, "[]")
}

/// The same among these consumers.
pub(crate) fn mistakes_among<P: Policy>(config: &str, consumers: &str) -> Vec<String> {
    let (built, mistakes) = build_whole::<P>(config, consumers, &[], &Shared::default(), Told::default());
    mistakes.0.into_iter().chain(built.err()).map(|error| error.to_string()).collect()
}

/// Consumers from JSON.
pub(crate) fn consumers(json: &str) -> Arc<Consumers> {
    Arc::new(Consumers::build(&serde_json::from_str::<Vec<ConsumerConfig>>(json).unwrap()).unwrap())
}

fn build_whole<P: Policy>(
    config: &str,
    consumers: &str,
    services: &[(&str, Option<Arc<Service>>)],
    shared: &Shared,
    mut told: Told,
) -> (Result<P, BuildError>, Errors) {
    let mut mistakes = Errors::default();
    let config = serde_json::from_str(config).unwrap();
    let built = P::build(
        &config,
        &mut PolicyCx {
            key: "routes.test.policies.0".to_owned(),
            slot: 0,
            params: &["id".into()],
            consumers: &self::consumers(consumers),
            directory: None,
            revocations: None,
            services: &services.iter().cloned().collect(),
            shared,
            folder: Path::new(env!("CARGO_MANIFEST_DIR")),
            told: &mut told,
            mistakes: &mut mistakes,
            names: &Arc::new(Names::new(&DnsConfig::default())),
            providers: &mut Providers::default(),
        },
    );
    (built, mistakes)
}

impl<P: Policy> Kit<P> {
    /// `GET /users/42` from 192.0.2.1 for the policy with these JSON settings.
    pub fn of(config: &str) -> Self {
        Self::with_consumers(config, "[]")
    }

    /// The same, among these consumers.
    pub fn with_consumers(config: &str, consumers: &str) -> Self {
        Self {
            policy: build(config, consumers, &Shared::default()).unwrap(),
            req: RequestHeader::build("GET", b"/users/42", None).unwrap(),
            cx: testing::ctx("/users/42", &[("id", 7..9)]),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.req.append_header(name.to_owned(), value).unwrap();
        self
    }

    pub fn method(mut self, method: &str) -> Self {
        self.req.set_method(method.parse().unwrap());
        self
    }

    pub fn uri(mut self, uri: &str) -> Self {
        self.req.set_uri(uri.parse().unwrap());
        self
    }

    /// Runs the way down.
    pub async fn request(&mut self) -> Result<Flow, Problem> {
        self.policy.request_with(&mut self.req, &mut self.cx, &client()).await
    }

    /// The header that would go to the upstream.
    pub fn upstream_request(&mut self) -> Result<RequestHeader, Problem> {
        let mut req = self.req.clone();
        self.policy.upstream_request(&mut req, &mut self.cx)?;
        Ok(req)
    }

    /// An answer of that status, after the way up.
    pub fn response(&mut self, status: u16) -> ResponseHeader {
        let mut res = ResponseHeader::build(status, None).unwrap();
        self.policy.response(&mut res, &self.req, &mut self.cx);
        res
    }
}
