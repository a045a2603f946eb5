use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::{Backend, Service};
use super::{Failure, FailureConfig};
use crate::building::{BuildError, Errors};
use crate::types::{Reply, ReplyConfig};

/// `fallback:` of a service: what answers in its stead while its breaker is open, and where all attempts have failed. It goes by either `to` or `reply`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [{"required": ["to"]}, {"required": ["reply"]}]))]
pub struct FallbackConfig {
    /// Another service, with targets. It gets the same request, within what is left of its time; the policies stay those of the first service. What may
    /// have been worked on is sent there only where `retry.methods` allows for it.
    pub to: Option<String>,
    /// A fixed answer.
    pub reply: Option<ReplyConfig>,
    /// For which failures: `connect`, `reset`, `malformed`, `timeout`, `5xx`, statuses, and those of gRPC like `grpc_unavailable`. Default: the first four.
    pub on: Vec<FailureConfig>,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        let on = vec![FailureConfig::Connect, FailureConfig::Reset, FailureConfig::Malformed, FailureConfig::Timeout];
        Self { to: None, reply: None, on }
    }
}

/// What answers in the stead of a service.
#[derive(Debug)]
pub struct Fallback {
    on: Box<[FailureConfig]>,
    /// Who does.
    pub instead: Instead,
}

/// Who answers in the stead of a service.
#[derive(Debug)]
pub enum Instead {
    /// The gateway.
    Reply(Reply),
    /// Another service.
    Service(StandIn),
}

/// The other service: its name until [`link`] finds it.
#[derive(Debug)]
pub struct StandIn {
    name: Box<str>,
    service: OnceLock<Arc<Service>>,
}

impl StandIn {
    /// The service.
    pub fn service(&self) -> Option<&Arc<Service>> {
        self.service.get()
    }
}

impl Fallback {
    /// Prepares what answers.
    ///
    /// # Errors
    /// An answer that cannot be sent, or not just one way out.
    pub fn build(config: &FallbackConfig) -> Result<Self, BuildError> {
        let instead = match (&config.to, &config.reply) {
            (Some(name), None) => Instead::Service(StandIn { name: name.as_str().into(), service: OnceLock::new() }),
            (None, Some(reply)) => Instead::Reply(reply.build().map_err(|error| error.at("reply"))?),
            _ => return Err(BuildError::new("one stands in, no more and no less", "write `to: <service>` or `reply:`")),
        };
        Ok(Self { on: config.on.clone().into(), instead })
    }

    /// Whether it answers after this failure.
    pub fn minds(&self, failure: Failure) -> bool {
        // Who is told of a connection that broke does not care how old it was.
        let failure = if failure == Failure::Stale { Failure::Reset } else { failure };
        self.on.iter().any(|meant| meant.means(failure))
    }

    /// Who answers, in a word for the log.
    pub fn name(&self) -> &str {
        match &self.instead {
            Instead::Reply(_) => "reply",
            Instead::Service(stand_in) => &stand_in.name,
        }
    }
}

/// Finds the services that stand in for others, once all are built.
///
/// # Errors
/// Services that are not there, that have no targets, or that stand in for themselves in the end. `names` are those of all services, built or not.
pub fn link<'a>(services: &HashMap<&'a str, Arc<Service>>, names: impl Iterator<Item = &'a str> + Clone) -> Result<(), Errors> {
    let mut errors = Errors::default();
    let mut links = Vec::new();
    for name in names.clone() {
        let Some((service, stand_in)) = services.get(name).and_then(|service| Some((service, stand_in(service)?))) else { continue };
        let error = match services.get(&*stand_in.name) {
            // It is told what is wrong with it.
            None if names.clone().any(|known| known == &*stand_in.name) => continue,
            None => BuildError::unknown("service", &stand_in.name, names.clone()),
            Some(other) if matches!(other.backend, Backend::Mock(_)) => BuildError::new(
                format!("`{}` is a mock, which no request goes on to", stand_in.name),
                "write its answer as `reply:` instead",
            ),
            Some(_) if returns(name, services) => {
                BuildError::new("the service would stand in for itself in the end", "name one that does not fall back to this one")
            }
            Some(other) => {
                links.push((service, other));
                continue;
            }
        };
        errors.push(["to", "fallback", name, "services"].into_iter().fold(error, BuildError::at));
    }
    // Only what leads nowhere back may hold one another.
    if errors.0.is_empty() {
        for (service, other) in links {
            let _ = stand_in(service).map(|stand_in| stand_in.service.set(other.clone()));
        }
    }
    errors.finish(())
}

fn stand_in(service: &Service) -> Option<&StandIn> {
    match &service.backend {
        Backend::Targets(targets) => match &targets.fallback.as_ref()?.instead {
            Instead::Service(stand_in) => Some(stand_in),
            Instead::Reply(_) => None,
        },
        Backend::Mock(_) => None,
    }
}

/// Whether those who stand in for this one, and for one another, lead back to it.
fn returns(name: &str, services: &HashMap<&str, Arc<Service>>) -> bool {
    let mut at = name;
    for _ in 0..services.len() {
        let Some(next) = services.get(at).and_then(|service| stand_in(service)) else { return false };
        at = &next.name;
        if at == name {
            return true;
        }
    }
    false
}
