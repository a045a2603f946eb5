//! Lets requests through whose bearer token the provider says is good (RFC 7662, RFC 6750): for tokens that tell nothing themselves. What it says of them is
//! then known to later policies as `{claims.NAME}`, and can name the consumer.
//!
//! ```yaml
//! policies:
//!   - introspection:
//!       url: "https://id.example.com/introspect"   # or `issuer: "https://id.example.com"`, which says where it is asked
//!       client_id: gateway
//!       client_secret: "${INTROSPECTION_SECRET}"
//!       audience: api
//!       scopes: [orders.read]
//!       consumer: client_id
//!       cache: 1m        # for so long may a token still be good that was taken back
//! ```
//!
//! Where the provider is down, slow or lies, tokens that are not kept get 503.

mod config;
mod endpoint;
mod needs;
mod place;
mod secret;

pub use config::{ClientAuth, Config};
pub use endpoint::Endpoint;
pub use needs::Needs;

use std::sync::Arc;

use pingora_http::RequestHeader;
use serde_json::{Map, Value};

use super::Authenticates;
use super::answers::Key;
use super::caller::Caller;
use super::jwt::challenge::Challenge;
use super::jwt::claims::{Rules, grants, proven};
use super::jwt::token::{Refusal, shown};
use super::jwt::{Expiry, bounds, now, rules};
use super::revoked::Revoked;
use super::source::{Several, Sources};
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::Problem;
use crate::upstream::{Base, Client};
use endpoint::Told;

/// `introspection`, ready to run.
#[derive(Debug)]
pub struct Introspection {
    sources: Sources,
    max_size: usize,
    endpoint: Arc<Endpoint>,
    rules: Rules,
    scopes: Vec<String>,
    consumer: Option<String>,
    revoked: Revoked,
    caller: Caller,
    forward: bool,
    challenge: Challenge,
}

impl Policy for Introspection {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        bounds(config.leeway, config.max_size)?;
        if config.issuer.as_deref() == Some("") {
            return Err(BuildError::new("`issuer` is empty", "write a value, or leave `issuer` out").at("issuer"));
        }
        if let Some(parameter) = &config.query {
            cx.told.credential(parameter);
        }
        let challenge = Challenge::new(&config.realm)?;
        cx.told.challenge(challenge.bare());
        cx.told.asks();
        let base = Base { shared: cx.shared, folder: cx.folder, names: cx.names };
        Ok(Self {
            sources: Sources::of_tokens(config.header.as_deref(), config.query.as_deref(), config.cookie.as_deref())?,
            max_size: config.max_size.bytes(),
            rules: rules(&config.rules(), config.issuer.clone(), Expiry::Optional, config.leeway)?,
            scopes: config.scopes.clone(),
            consumer: config.consumer.clone(),
            endpoint: cx.providers.endpoint(config.asking(), || Endpoint::build(config, &base))?,
            revoked: Revoked::build(config.revoked.as_deref(), cx)?,
            caller: Caller::new(cx, config.unknown_consumer),
            forward: config.forward,
            challenge,
        })
    }

    fn files(config: &Config) -> Vec<&str> {
        config.files()
    }

    async fn request_with(&self, req: &mut RequestHeader, cx: &mut Ctx, client: &Arc<Client>) -> Result<Flow, Problem> {
        let token = match self.sources.find(req) {
            Ok(Some(token)) => token,
            Ok(None) => return Err(self.challenge.missing()),
            Err(Several) => return Err(self.challenge.several()),
        };
        let token = self.text(&token).map_err(|refusal| self.challenge.invalid(refusal))?;
        let key = Key::of(token.as_bytes());
        let told = match self.endpoint.known(&key, client.shard()) {
            Some(told) => told,
            // Boxed: most tokens are known, and every request would hold the room for the question.
            None => Box::pin(self.endpoint.ask(key, token, client)).await?,
        };
        let Told::Active(value) = told else { return Err(self.challenge.invalid("the token is not active".into())) };
        let Some(claims) = value.as_object() else { return Err(self.challenge.missing()) };
        self.check(claims).map_err(|refusal| self.challenge.invalid(refusal))?;
        proven(claims, cx.client_cert.as_deref()).map_err(|refusal| self.challenge.invalid(refusal))?;
        self.revoked.check(claims, &self.challenge).await?;
        if !grants(claims, &self.scopes) {
            return Err(self.challenge.insufficient(&self.scopes, claims));
        }
        if let Some(path) = &self.consumer {
            // The token has the say: whom another policy has found is not whom it names.
            cx.identify(self.caller.of(claims, path).await?, None);
        }
        cx.claims = Some(value.clone());
        Ok(Flow::Next)
    }

    fn upstream_request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<(), Problem> {
        if self.forward { Ok(()) } else { self.sources.remove(req) }
    }
}

impl Authenticates for Introspection {
    fn sees(&self, req: &RequestHeader, _cx: &Ctx) -> bool {
        !matches!(self.sources.find(req), Ok(None))
    }

    fn missing(&self) -> Option<Problem> {
        Some(self.challenge.missing())
    }
}

impl Introspection {
    /// A token that is worth a question: RFC 6749 §A.12 has no others.
    fn text<'t>(&self, token: &'t [u8]) -> Result<&'t str, Refusal> {
        if token.len() > self.max_size {
            return Err("the token is too long".into());
        }
        let plain = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
        str::from_utf8(token).ok().filter(|_| plain).ok_or_else(|| "the token is malformed".into())
    }

    /// What a good token must be besides: it may be good for somebody else, or for something else.
    fn check(&self, claims: &Map<String, Value>) -> Result<(), Refusal> {
        // A refresh token is active too (RFC 7662 §2.2), and one with a proof is no bearer token (RFC 9449 §6.2).
        match claims.get("token_type") {
            None | Some(Value::Null) => {}
            Some(Value::String(kind)) if ["bearer", "access_token"].iter().any(|known| kind.eq_ignore_ascii_case(known)) => {}
            Some(other) => {
                let cause = format!("token_type {}", shown(&other.to_string()));
                return Err(Refusal::because("the token is no bearer token (token_type)", cause));
            }
        }
        self.rules.check(None, claims, now())
    }
}

#[cfg(test)]
pub(crate) mod tests;
