//! Lets requests through that a service of the config says yes to, and hands on what it tells of them: for what no other policy knows, such as sessions of a login
//! of one's own.
//!
//! ```yaml
//! services:
//!   sessions: { targets: ["http://127.0.0.1:9000"] }
//! policies:
//!   - external:
//!       service: sessions
//!       path: /check
//!       headers: [Cookie]       # what goes along of the request; never its body
//!       copy: [X-User]          # what the request goes on with of the answer
//!       cache: { time: 10s }
//! ```
//!
//! The service is told besides, as `X-Forwarded-Method`, `-Proto`, `-Host`, `-Uri` and `-For`, what is asked for and by whom. It says yes with a 2xx and no with 401 or
//! 403, which the client gets; anything else is no answer: the request gets 503, or goes on where `on_error` says so.

mod ask;
mod config;
mod needs;

pub use config::{CacheConfig, Config, OnError};
pub use needs::Needs;

use std::sync::Arc;

use http::{HeaderName, header};
use pingora_http::RequestHeader;

use super::Authenticates;
use super::caller::Caller;
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::transform::editable;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};
use crate::upstream::Client;
use ask::{Ask, Verdict};

/// `external`, ready to run.
#[derive(Debug)]
pub struct External {
    ask: Arc<Ask>,
    /// Headers that only the service may say.
    copy: Arc<[HeaderName]>,
    /// Where it names the consumer.
    caller: Option<Caller>,
    on_error: OnError,
}

impl Policy for External {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        cx.told.asks();
        let copy = names(&config.copy).map_err(|error| error.at("copy"))?;
        let ask = Ask::build(config, copy.clone(), cx)?;
        let caller = config.consumer.as_ref().map(|_| Caller::new(cx, config.unknown_consumer));
        Ok(Self { ask: Arc::new(ask), copy, caller, on_error: config.on_error })
    }

    async fn request_with(&self, req: &mut RequestHeader, cx: &mut Ctx, client: &Arc<Client>) -> Result<Flow, Problem> {
        self.cleanse(req);
        let question = self.ask.question(req, cx)?;
        let verdict = match self.ask.known(&question, client.shard()) {
            Some(verdict) => Ok(verdict),
            // Boxed: a call is large, and every request would hold the room for it.
            None => Box::pin(self.ask.verdict(question, (req, cx), client)).await,
        };
        match verdict {
            Ok(Verdict::Yes(yes)) => {
                if let Some(caller) = &self.caller {
                    let name = yes.consumer.as_deref().unwrap_or_default();
                    let known = caller.named(name).await?;
                    let consumer = caller.or_stranger(known, "the caller is no known consumer", || format!("the name {name:?}"))?;
                    cx.identify(consumer, None);
                }
                for (name, value) in &yes.headers {
                    let _ = req.append_header(name.clone(), value.clone());
                }
                Ok(Flow::Next)
            }
            Ok(Verdict::No(reply)) => Ok(Flow::Reply(reply)),
            Ok(Verdict::Bare(kind, headers)) => {
                let problem = Problem::new(kind, "the request may not go on").cause("what the service says of it is too long");
                Err(headers.iter().fold(problem, |problem, (name, value)| problem.header(name.clone(), value.clone())))
            }
            Err(_) if self.on_error == OnError::Allow => Ok(Flow::Next),
            Err(missed) => {
                let problem = Problem::new(Kind::Unavailable, "it cannot be found out at the moment whether the request may go on");
                let cause = format!("service {} cannot be asked: {}", self.ask.service(), missed.text);
                Err(problem.cause(cause).header(header::RETRY_AFTER, missed.retry_after()))
            }
        }
    }
}

impl Authenticates for External {
    fn sees(&self, _req: &RequestHeader, _cx: &Ctx) -> bool {
        // What it goes by is the service's own business.
        true
    }

    fn missing(&self) -> Option<Problem> {
        None
    }

    fn cleanse(&self, req: &mut RequestHeader) {
        for name in &*self.copy {
            req.remove_header(name);
        }
    }
}

/// Headers of the config.
fn names(names: &[String]) -> Result<Arc<[HeaderName]>, BuildError> {
    names.iter().enumerate().map(|(at, name)| editable(name).map_err(|error| error.at(at))).collect()
}

#[cfg(test)]
mod tests;
