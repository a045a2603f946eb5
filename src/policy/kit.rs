//! For tests: one policy, run without a socket.

use std::path::Path;
use std::sync::Arc;

use pingora_http::{RequestHeader, ResponseHeader};

use super::{Flow, Policy, PolicyCx, Told};
use crate::building::BuildError;
use crate::consumer::{ConsumerConfig, Consumers};
use crate::ctx::{Ctx, testing};
use crate::problem::Problem;
use crate::state::Shared;

/// Settings as a user writes them. Tests may look down the house: this is the reader of real files.
pub(crate) fn yaml<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    crate::config::load_str("test.yaml", text, &|_| None).map(|loaded| loaded.value).map_err(|errors| errors.to_string())
}

/// One policy with the request it works on.
pub(crate) struct Kit<P> {
    pub policy: P,
    pub req: RequestHeader,
    pub cx: Ctx,
}

/// Builds a policy from JSON settings.
pub(crate) fn build<P: Policy>(config: &str, consumers: &str, shared: &Shared) -> Result<P, BuildError> {
    let config = serde_json::from_str(config).unwrap();
    let consumers = serde_json::from_str::<Vec<ConsumerConfig>>(consumers).unwrap();
    P::build(
        &config,
        &mut PolicyCx {
            key: "routes.test.policies.0".to_owned(),
            slot: 0,
            params: &["id".into()],
            consumers: &Arc::new(Consumers::build(&consumers).unwrap()),
            shared,
            folder: Path::new(env!("CARGO_MANIFEST_DIR")),
            told: &mut Told::default(),
        },
    )
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
        self.policy.request(&mut self.req, &mut self.cx).await
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
