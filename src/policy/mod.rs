//! One thing the gateway does to a request on its way, each in one file.
//!
//! To add a policy: write its file (module doc with an example, `Config`, the runtime struct, `impl Policy`, tests) and add one line to
//! `policies!` below. The config key, the metrics label, the schema and the conformance test come from that line.

mod chain;
mod chains;
mod order;
mod registry;

pub mod auth;
pub mod guard;
pub mod traffic;
pub mod transform;

#[cfg(test)]
mod conformance;
#[cfg(test)]
pub(crate) mod kit;

use chain::entry_schema;
pub use chain::{Chain, Entry, Scope, merge};
pub use chains::{Chains, Marks, Plan, Told};
pub use order::{Doubt, beyond, blind, doubled, doubts, identifies, reads_certificates, reads_tokens};

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::building::{BuildError, Errors};
use crate::consumer::Consumers;
use crate::ctx::Ctx;
use crate::problem::Problem;
use crate::state::Shared;
use crate::store::{Directory, Revocations};
use crate::types::Reply;
use crate::upstream::{Client, Names, Service};
use auth::Providers;

registry::policies! {
    request_id: transform::request_id::RequestId,
    hsts: transform::hsts::Hsts,
    security_headers: guard::security_headers::SecurityHeaders,
    cors: guard::cors::Cors,
    ip_filter: guard::ip_filter::IpFilter,
    bot: guard::bot::Bot,
    size_limit: guard::size_limit::SizeLimit,
    api_key: auth::api_key::ApiKey,
    basic: auth::basic::Basic,
    jwt: auth::jwt::Jwt,
    hmac: auth::hmac::Hmac,
    introspection: auth::introspection::Introspection,
    mtls: auth::mtls::Mtls,
    external: auth::external::External,
    any_of: auth::any_of::AnyOf,
    anonymous: auth::anonymous::Anonymous,
    acl: guard::acl::Acl,
    rate_limit: traffic::rate_limit::RateLimit,
    request: transform::request::Request,
    response: transform::response::Response,
    compress: transform::compress::Compress,
}

/// One thing the gateway does to a request. Each hook has a default; [`Policy::PHASES`] names those that a policy really has.
pub trait Policy: Sized + Send + Sync + 'static {
    /// The settings under the policy's key. Its doc comments are the user's reference.
    type Config: DeserializeOwned + Serialize + JsonSchema;

    /// The hooks that run; the others are never visited.
    const PHASES: Phases;

    /// Parses, compiles and resolves everything that can fail or cost, so that no request pays for it.
    ///
    /// # Errors
    /// What is wrong, at a path relative to the policy's own settings.
    fn build(config: &Self::Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError>;

    /// The files that the settings name, from the folder of the config: what is in them may change while the config stays.
    fn files(_config: &Self::Config) -> Vec<&str> {
        Vec::new()
    }

    /// On the way down, before any upstream is chosen. The only hook that may wait.
    fn request(&self, _req: &mut RequestHeader, _cx: &mut Ctx) -> impl Future<Output = Result<Flow, Problem>> + Send {
        async { Ok(Flow::Next) }
    }

    /// The same for a policy that has to ask somebody, over the connections of the worker that the request is on: it takes the place of [`Policy::request`].
    fn request_with(
        &self,
        req: &mut RequestHeader,
        cx: &mut Ctx,
        _client: &Arc<Client>,
    ) -> impl Future<Output = Result<Flow, Problem>> + Send {
        self.request(req, cx)
    }

    /// On the request's body, after the way down and before any upstream is chosen: only where a policy asks for it with [`Ctx::whole_body`].
    ///
    /// # Errors
    /// A problem ends the request: nothing is sent.
    fn request_body(&self, _body: &[u8], _cx: &mut Ctx) -> Result<(), Problem> {
        Ok(())
    }

    /// On the header that goes to the upstream, once for each attempt.
    ///
    /// # Errors
    /// A problem ends the request: nothing is sent.
    fn upstream_request(&self, _req: &mut RequestHeader, _cx: &mut Ctx) -> Result<(), Problem> {
        Ok(())
    }

    /// On the way up, on every answer: the upstream's, a handler's, the gateway's own. `req` is the request as the way down left it.
    fn response(&self, _res: &mut ResponseHeader, _req: &RequestHeader, _cx: &mut Ctx) {}
}

/// How a request goes on after a policy's `request` hook.
#[derive(Debug)]
pub enum Flow {
    /// To the next policy.
    Next,
    /// No further: this answer goes up through the policies already passed.
    Reply(Arc<Reply>),
}

/// Which hooks a policy has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phases(u8);

impl Phases {
    /// No hook: a policy that only changes how others are built.
    pub const NONE: Phases = Phases(0);
    /// [`Policy::request`], or [`Policy::request_with`].
    pub const REQUEST: Phases = Phases(1);
    /// [`Policy::upstream_request`].
    pub const UPSTREAM_REQUEST: Phases = Phases(2);
    /// [`Policy::response`].
    pub const RESPONSE: Phases = Phases(4);
    /// [`Policy::request_body`].
    pub const REQUEST_BODY: Phases = Phases(8);

    /// These and those.
    #[must_use]
    pub const fn and(self, other: Phases) -> Phases {
        Phases(self.0 | other.0)
    }

    /// Whether all of `other` are among these.
    pub const fn has(self, other: Phases) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What a policy may look at while it is built.
#[derive(Debug)]
pub struct PolicyCx<'a> {
    /// The key under which the policy keeps what must survive a reload: stable as long as its place keeps its name.
    pub key: String,
    /// The policy's number in its chain, for entries in [`Ctx`] that belong to it alone.
    pub slot: usize,
    /// The path parameters that every path of the route has.
    pub params: &'a [Box<str>],
    /// Every consumer of the config.
    pub consumers: &'a Arc<Consumers>,
    /// Others, where they are looked up elsewhere.
    pub directory: Option<&'a Arc<Directory>>,
    /// Tokens that were taken back, where they are looked up elsewhere.
    pub revocations: Option<&'a Arc<Revocations>>,
    /// Every service by its name; none for one that is wrong.
    pub services: &'a HashMap<&'a str, Option<Arc<Service>>>,
    /// What outlives a snapshot.
    pub shared: &'a Shared,
    /// The folder that relative file names in the config start from.
    pub folder: &'a Path,
    /// Who finds the hosts of what is fetched.
    pub names: &'a Arc<Names>,
    /// Who is asked about tokens.
    pub providers: &'a mut Providers,
    /// What policies tell each other and their route.
    pub told: &'a mut Told,
    /// What is wrong beside the error that `build` gives, so that all of it is told at once. With one of these the policy is not taken.
    pub mistakes: &'a mut Errors,
}

impl PolicyCx<'_> {
    /// The service of that name.
    ///
    /// # Errors
    /// There is none, or it is wrong itself.
    pub fn service(&self, name: &str) -> Result<Arc<Service>, BuildError> {
        match self.services.get(name) {
            Some(Some(service)) => Ok(service.clone()),
            Some(None) => Err(BuildError::new(format!("the service `{name}` cannot be asked"), "mend what is wrong with it")),
            None => {
                let mut names: Vec<&str> = self.services.keys().copied().collect();
                names.sort_unstable();
                Err(BuildError::unknown("service", name, names))
            }
        }
    }
}
