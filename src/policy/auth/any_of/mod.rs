//! Lets requests through that one of several policies knows: with an API key or a token, a certificate or what else there is.
//!
//! ```yaml
//! policies:
//!   - any_of:
//!       - api_key: { header: X-API-Key }
//!       - jwt: { issuer: "https://id.example.com", audience: api }
//!       # - anonymous: { consumer: guest }   # requests without any of these; the last
//! ```
//!
//! They are tried in this order, as far as the request carries what they go by, until one of them lets it through. Where none does, the request is refused as
//! the first of them refuses it; one that cannot tell now (503), or knows the caller and forbids it (403), comes before. A request that carries nothing is told all
//! that it could carry.

mod config;

pub use config::Config;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;

use super::Authenticates;
use super::anonymous::Anonymous;
use super::api_key::ApiKey;
use super::basic::Basic;
use super::external::External;
use super::hmac::Hmac;
use super::introspection::Introspection;
use super::jwt::Jwt;
use super::mtls::Mtls;
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Entry, Flow, Phases, Policy, PolicyConfig, PolicyCx};
use crate::problem::{Kind, Problem};
use crate::upstream::Client;

/// The policies to choose from, as the registry has all policies: no boxing, and the compiler lists what is missing.
macro_rules! methods {
    ($($name:ident: $policy:ident,)*) => {
        /// One of them, ready to run.
        #[expect(non_camel_case_types, reason = "a variant is named as its config key")]
        enum Method { $($name($policy)),* }

        /// Their names.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        impl Method {
            fn build(config: &PolicyConfig, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
                match config {
                    $(PolicyConfig::$name(config) => <$policy as Policy>::build(config, cx).map(Method::$name),)*
                    other => {
                        let fix = format!("use one of {}, or put it beside `any_of`", NAMES.join(", "));
                        Err(BuildError::new(format!("`{}` does not find out who calls", other.name()), fix))
                    }
                }
            }

            fn name(&self) -> &'static str {
                match self { $(Method::$name(_) => stringify!($name)),* }
            }

            fn sees(&self, req: &RequestHeader, cx: &Ctx) -> bool {
                match self { $(Method::$name(policy) => policy.sees(req, cx)),* }
            }

            fn missing(&self) -> Option<Problem> {
                match self { $(Method::$name(policy) => policy.missing()),* }
            }

            fn cleanse(&self, req: &mut RequestHeader) {
                match self { $(Method::$name(policy) => policy.cleanse(req)),* }
            }

            async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx, client: &Arc<Client>) -> Result<Flow, Problem> {
                match self { $(Method::$name(policy) => policy.request_with(req, cx, client).await),* }
            }

            fn request_body(&self, body: &[u8], cx: &mut Ctx) -> Result<(), Problem> {
                match self { $(Method::$name(policy) => policy.request_body(body, cx)),* }
            }

            fn upstream_request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<(), Problem> {
                match self { $(Method::$name(policy) => policy.upstream_request(req, cx)),* }
            }
        }
    };
}

methods! {
    api_key: ApiKey,
    basic: Basic,
    jwt: Jwt,
    hmac: Hmac,
    introspection: Introspection,
    mtls: Mtls,
    external: External,
}

/// `any_of`, ready to run.
pub struct AnyOf {
    methods: Box<[Method]>,
    /// For requests that carry nothing.
    anonymous: Option<Anonymous>,
    /// What they could carry.
    challenges: Box<[(HeaderName, HeaderValue)]>,
}

impl Policy for AnyOf {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::REQUEST_BODY).and(Phases::UPSTREAM_REQUEST);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let (mut methods, mut anonymous) = (Vec::new(), None);
        for (at, Entry { name, config: settings }) in config.0.iter().enumerate() {
            let Some(settings) = settings else {
                return Err(BuildError::new("there is nothing to take off this list", "remove the entry").at(*name).at(at));
            };
            if anonymous.is_some() {
                let reason = "`anonymous` is for requests that carry none of what the others go by";
                return Err(BuildError::new(reason, "put it at the end of the list, once").at(*name).at(at));
            }
            let mistakes = cx.mistakes.0.len();
            let built = match settings {
                PolicyConfig::anonymous(config) => Anonymous::build(config, cx).map(|built| anonymous = Some(built)),
                settings => Method::build(settings, cx).map(|built| methods.push(built)),
            };
            for mistake in cx.mistakes.0.split_off(mistakes) {
                cx.mistakes.push(mistake.at(*name).at(at));
            }
            built.map_err(|error| error.at(*name).at(at))?;
        }
        if methods.is_empty() {
            let fix = format!("write a list like `[api_key, {{ jwt: {{ … }} }}]`, of {}", NAMES.join(", "));
            return Err(BuildError::new("there is nothing to choose from", fix));
        }
        let mut challenges = Vec::new();
        for challenge in methods.iter().filter_map(Method::missing).flat_map(|problem| problem.headers) {
            if !challenges.contains(&challenge) {
                challenges.push(challenge);
            }
        }
        Ok(Self { methods: methods.into(), anonymous, challenges: challenges.into() })
    }

    fn files(config: &Config) -> Vec<&str> {
        config.settings().flat_map(PolicyConfig::files).collect()
    }

    async fn request_with(&self, req: &mut RequestHeader, cx: &mut Ctx, client: &Arc<Client>) -> Result<Flow, Problem> {
        for method in &self.methods {
            method.cleanse(req);
        }
        let mut refused: Option<Box<Result<Flow, Problem>>> = None;
        for method in &self.methods {
            if !method.sees(req, cx) {
                continue;
            }
            // Boxed, for requests without an `any_of` would be as large as one.
            let refusal = match Box::pin(method.request(req, cx, client)).await {
                Ok(Flow::Next) => return Ok(Flow::Next),
                Err(problem) => Err(Problem { policy: Some(method.name()), ..problem }),
                reply => reply,
            };
            if refused.as_ref().is_none_or(|before| weight(&refusal) > weight(before)) {
                refused = Some(Box::new(refusal));
            }
        }
        match (refused, &self.anonymous) {
            (Some(refused), _) => *refused,
            (None, Some(anonymous)) => anonymous.request(req, cx).await,
            (None, None) => Err(self.missing()),
        }
    }

    fn request_body(&self, body: &[u8], cx: &mut Ctx) -> Result<(), Problem> {
        let refused = |method: &Method, problem: Problem| Problem { policy: Some(method.name()), ..problem };
        self.methods.iter().try_for_each(|method| method.request_body(body, cx).map_err(|problem| refused(method, problem)))
    }

    fn upstream_request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<(), Problem> {
        // Whoever has let it through: what another goes by is for the gateway alone too.
        self.methods.iter().try_for_each(|method| method.upstream_request(req, cx))
    }
}

impl AnyOf {
    fn missing(&self) -> Problem {
        let problem = Problem::new(Kind::Unauthorized, "the request carries nothing by which its caller could be known");
        self.challenges.iter().fold(problem, |problem, (name, value)| problem.header(name.clone(), value.clone()))
    }
}

/// Which of several refusals is told: a client that is told of a bad credential throws it away, so one that may be good comes first.
fn weight(refusal: &Result<Flow, Problem>) -> u8 {
    let status = match refusal {
        Ok(Flow::Next) => return 0,
        Ok(Flow::Reply(reply)) => reply.status,
        Err(problem) => problem.kind.status(),
    };
    match status.as_u16() {
        500.. => 2,
        403 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
