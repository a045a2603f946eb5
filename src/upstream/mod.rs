//! Where requests go: services, their targets, and the choice between them.

mod allowance;
mod attempt;
mod balance;
mod call;
mod credentials;
pub mod discovery;
mod dns;
mod follow;
mod health;
mod host;
mod idle;
mod lent;
mod link;
mod mock;
mod plan;
mod pool;
mod resource;
mod stage;
mod status;
mod talk;
mod target;
mod targets;
mod tending;
mod timeouts;
mod transport;
mod websocket;

pub use allowance::{Allowance, Budget, Charge, within};
use attempt::jitter;
pub use attempt::{
    Attempted, BackoffConfig, Breaker, BreakerConfig, Failure, FailureConfig, Fallback, FallbackConfig, Instead, Probe, Retry, RetryConfig,
    RetryMethods, is_keyed, link, retry_after,
};
pub use balance::{Asking, BalanceConfig, EjectionConfig, Group, HashConfig, Key, SameSite, Sticky, StickyConfig, cookie, hash};
pub use call::{Answer, Call, CallError, Client, Haste};
pub use credentials::{About, Credentials, CredentialsConfig, Grant, Lacking, Ready};
pub use dns::{DnsConfig, Names};
pub use health::{Health, HealthConfig};
pub use host::HostMode;
pub use link::{Link, Linker};
pub use mock::{Mock, MockConfig};
pub use pool::{Picked, Pool};
pub use resource::{Missed, Resource};
pub use stage::Stage;
pub use status::ServiceStatus;
pub use target::{Target, TargetConfig};
pub use tending::{Beside, Settling, Tending};
pub use timeouts::{Timeouts, TimeoutsConfig};
pub use transport::{ConnectionsConfig, Protocol, TlsConfig, Verify};
pub use websocket::{Seat, WebSocket, WebSocketConfig, WebSocketSettings};

use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::plan::Plan;
use crate::building::{BuildError, Errors, Step};
use crate::observe::Metrics;
use crate::signing::Signer;
use crate::state::Shared;
use crate::types::{Duration, Percent, Secret};

/// One entry of `services:`: either `targets` or `mock`. `P` is the list of policies, a matter of a later room.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ServiceConfig", bound = "P: Default + JsonSchema", extend("oneOf" = [{"required": ["targets"]}, {"required": ["mock"]}]))]
pub struct ServiceConfig<P> {
    /// Where the service runs: URLs like `http://10.0.0.1:8080`, `https://users.internal` or `unix:///run/app.sock`, `{ url, weight, priority }`, or
    /// `{ srv, priority }`. All addresses of a name are used; see `dns`.
    #[serde(default)]
    pub targets: Vec<TargetConfig>,
    /// Which target the next request goes to: `round_robin`, `least_requests`, `random`, `hash: …` or `sticky: …`. Default: round_robin.
    pub balance: Option<BalanceConfig>,
    /// How each target is asked whether it is well; while it is not, it gets no requests. Default: it is not asked.
    pub health: Option<HealthConfig>,
    /// When a target that fails gets no requests for a while. Default: never.
    pub ejection: Option<EjectionConfig>,
    /// While less of the targets with one priority is available, those of the next are used. Where none are left, all targets are, available or not: few
    /// would break down under the load of all. Needs `health` or `ejection`. Default: 50%.
    pub min_available: Option<Percent>,
    /// The time in which a target that is new, or was away, gets to its full share of requests, from a tenth of it. Default: at once.
    pub slow_start: Option<Duration>,
    /// A service that answers by itself, for demos, tests and stubs.
    pub mock: Option<MockConfig>,
    /// The `Host` that targets see: `target` (the host of the target's URL or SRV record, or `localhost` for a Unix socket), `keep` (the client's), or a name. Default: target.
    pub host: Option<HostMode>,
    /// What the targets are spoken to in: `http1`, `http2` (over `http://` by prior knowledge), or `auto` (HTTP/2 where a target offers it over TLS).
    /// Default: http1.
    pub protocol: Option<Protocol>,
    /// Whom to believe behind `https://`, and who the gateway is to them. Default: those that the system believes, and nobody.
    pub tls: Option<TlsConfig>,
    /// Who the gateway is to the targets, in headers. Default: nobody.
    pub credentials: Option<CredentialsConfig>,
    /// The connections that are kept to the targets.
    pub connections: Option<ConnectionsConfig>,
    /// How long a target may take.
    pub timeouts: Option<TimeoutsConfig>,
    /// WebSockets to its targets: `off`, or bounds for them. Default: they are relayed, within the bounds' defaults.
    pub websocket: Option<WebSocketConfig>,
    /// The request header in which targets are told how much of `timeouts.total` is left, in milliseconds; a client's own is replaced. Default: none.
    pub deadline_header: Option<String>,
    /// When a request that failed at a target is sent once more. Default: only where it cannot do harm, when no connection to a target came about or a
    /// kept one was closed in the meantime.
    pub retry: Option<RetryConfig>,
    /// When the service is left alone for its failures. Default: never.
    pub breaker: Option<BreakerConfig>,
    /// What answers while the breaker is open, and where all attempts have failed. Default: a problem, 502 to 504.
    pub fallback: Option<FallbackConfig>,
    /// Policies for every route to this service.
    #[serde(default = "P::default", bound(deserialize = "P: Default + Deserialize<'de>"))]
    pub policies: P,
}

/// A named group of targets.
#[derive(Debug)]
pub struct Service {
    /// Its name in the config.
    pub name: Arc<str>,
    /// Who answers, as a number: another where the config names others.
    pub source: u64,
    /// What answers.
    pub backend: Backend,
}

/// What answers for a service.
#[derive(Debug)]
pub enum Backend {
    /// Targets over the network.
    Targets(Box<Targets>),
    /// The gateway itself.
    Mock(Mock),
}

/// The targets of a service and what holds for all of them.
#[derive(Debug)]
pub struct Targets {
    pool: ArcSwap<Pool>,
    /// Wakes who checks them when there is another pool.
    renewed: Notify,
    plan: Plan,
    /// Whether a request is sent again.
    pub retry: Retry,
    /// How they are asked whether they are well.
    health: Option<Health>,
    /// Whether it is asked at all.
    pub breaker: Option<Arc<Breaker>>,
    /// What answers otherwise.
    pub fallback: Option<Fallback>,
    /// Who the gateway is to them.
    pub credentials: Option<Arc<Credentials>>,
    /// The `Host` that they see.
    pub host: HostMode,
    /// How long they may take.
    pub timeouts: Timeouts,
    /// What a WebSocket may take; none where they are off.
    pub websocket: Option<WebSocket>,
    /// The header that tells them how long the request has left.
    pub deadline_header: Option<HeaderName>,
}

/// What a service is built on.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// What outlives it.
    pub shared: &'a Shared,
    /// Where the files are that it names.
    pub folder: &'a Path,
    /// Who finds its targets.
    pub names: &'a Arc<Names>,
}

impl Service {
    /// Prepares a service; no name is looked up.
    ///
    /// # Errors
    /// All that is wrong, at paths below `services.<name>`.
    pub fn build<P>(name: &str, config: &ServiceConfig<P>, base: &Base<'_>) -> Result<Self, Errors> {
        Self::signing(name, config, base, None)
    }

    /// The same for one that may be told who calls, by this signer.
    ///
    /// # Errors
    /// All that is wrong, at paths below `services.<name>`.
    pub fn signing<P>(name: &str, config: &ServiceConfig<P>, base: &Base<'_>, signer: Option<&Arc<Signer>>) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        let root = || [Step::from("services"), Step::from(name)];
        let keys = [
            ("balance", config.balance.is_some()),
            ("health", config.health.is_some()),
            ("ejection", config.ejection.is_some()),
            ("min_available", config.min_available.is_some()),
            ("slow_start", config.slow_start.is_some()),
            ("protocol", config.protocol.is_some()),
            ("tls", config.tls.is_some()),
            ("credentials", config.credentials.is_some()),
            ("connections", config.connections.is_some()),
            ("websocket", config.websocket.is_some()),
            ("retry", config.retry.is_some()),
            ("breaker", config.breaker.is_some()),
            ("fallback", config.fallback.is_some()),
            ("deadline_header", config.deadline_header.is_some()),
        ];
        for (key, is_there) in keys {
            if config.mock.is_some() && is_there {
                let error = BuildError::new("a mock has no targets to choose from", format!("remove `{key}`")).at(key);
                errors.keep::<()>(&root(), Err(error));
            }
        }
        let backend = match &config.mock {
            Some(_) if !config.targets.is_empty() => {
                errors.keep(&root(), Err(BuildError::new("a service has `targets` or a `mock`, not both", "remove one of them").at("mock")))
            }
            Some(_) if config.host.is_some() || config.timeouts.is_some() => {
                let key = if config.host.is_some() { "host" } else { "timeouts" };
                errors.keep(&root(), Err(BuildError::new(format!("a mock has no `{key}`"), "remove it").at(key)))
            }
            Some(mock) => errors.keep(&root(), Mock::build(mock).map_err(|error| error.at("mock"))).map(Backend::Mock),
            None => Targets::build((name, config), base, signer, &mut errors, &root()).map(|targets| Backend::Targets(Box::new(targets))),
        };
        let backend = backend.map(|backend| Self { name: name.into(), source: source(config), backend });
        match backend {
            Some(service) => errors.finish(service),
            None => Err(errors),
        }
    }

    /// Its targets as they are now; none where it answers by itself.
    pub fn pool(&self) -> Option<Arc<Pool>> {
        match &self.backend {
            Backend::Targets(targets) => Some(targets.pool()),
            Backend::Mock(_) => None,
        }
    }

    /// How it stands.
    pub fn status(&self) -> ServiceStatus {
        match &self.backend {
            Backend::Targets(targets) => ServiceStatus::of(targets),
            Backend::Mock(_) => ServiceStatus::Mock,
        }
    }

    /// The names that its targets go by.
    pub fn names(&self) -> Vec<String> {
        match &self.backend {
            Backend::Targets(targets) => {
                let hosts = targets.grant().map(|grant| grant.hosts()).unwrap_or_default();
                targets.plan.asked().into_iter().map(|(question, _)| question.name().to_owned()).chain(hosts).collect()
            }
            Backend::Mock(_) => Vec::new(),
        }
    }

    /// Who gives the gateway a token for it.
    pub fn grant(&self) -> Option<&Arc<Grant>> {
        if let Backend::Targets(targets) = &self.backend { targets.grant() } else { None }
    }

    /// Whether it is told who calls, by the gateway's own credentials.
    pub fn knows_callers(&self) -> bool {
        matches!(&self.backend, Backend::Targets(targets) if targets.credentials.as_ref().is_some_and(|credentials| credentials.tell_who()))
    }

    /// Whether credentials stand in the place of this header, or it is taken out where the gateway shows its own.
    pub fn withholds(&self, name: &HeaderName) -> bool {
        matches!(&self.backend, Backend::Targets(targets) if targets.credentials.as_ref().is_some_and(|credentials| credentials.withhold(name)))
    }

    /// Starts what is done for it beside its requests.
    fn tend(
        self: &Arc<Self>,
        tasks: &mut JoinSet<()>,
        control: &Handle,
        client: &Arc<Client>,
        settling: &Settling,
        metrics: &Arc<Metrics>,
    ) {
        if let Backend::Targets(targets) = &self.backend
            && let Some(breaker) = &targets.breaker
        {
            breaker.show(metrics);
        }
        if let Some(grant) = self.grant() {
            tasks.spawn_on(grant.clone().tend(client.clone(), metrics.clone(), settling.clone()), control);
        }
        follow::follow(self, tasks, control, settling, metrics);
        health::check(self, tasks, control, settling, metrics);
    }
}

/// What stands in the config of those who answer, and of what they know the gateway by: who shows another key may get other answers.
fn source<P>(config: &ServiceConfig<P>) -> u64 {
    let ServiceConfig { targets, host, tls, credentials, mock, .. } = config;
    let secrets: Vec<_> = credentials.iter().flat_map(CredentialsConfig::secrets).map(Secret::reveal).collect();
    BuildHasherDefault::<DefaultHasher>::default().hash_one((format!("{targets:?} {host:?} {tls:?} {credentials:?} {mock:?}"), secrets))
}

#[cfg(test)]
pub(crate) mod testing {
    use std::path::Path;
    use std::sync::Arc;

    use super::{Base, DnsConfig, Names, Service, ServiceConfig};
    use crate::state::Shared;

    /// A service from JSON.
    pub(crate) fn service(name: &str, config: &serde_json::Value) -> Arc<Service> {
        let config: ServiceConfig<()> = serde_json::from_value(config.clone()).unwrap();
        let names = Arc::new(Names::new(&DnsConfig::default()));
        let base = Base { shared: &Shared::default(), folder: Path::new(""), names: &names };
        Arc::new(Service::build(name, &config, &base).unwrap())
    }
}
