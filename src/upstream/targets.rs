use std::sync::Arc;

use arc_swap::ArcSwap;
use http::StatusCode;
use tokio::sync::Notify;

use super::plan::Plan;
use super::timeouts::deadline_header;
use super::{Base, Breaker, Credentials, Failure, Fallback, Grant, Health, Pool, Retry, ServiceConfig, Targets, Timeouts, WebSocket};
use crate::building::{BuildError, Errors, Step};
use crate::signing::Signer;
use crate::types::GrpcStatus;

impl Targets {
    pub(super) fn build<P>(
        (name, config): (&str, &ServiceConfig<P>),
        base: &Base<'_>,
        signer: Option<&Arc<Signer>>,
        errors: &mut Errors,
        root: &[Step],
    ) -> Option<Self> {
        if config.targets.is_empty() {
            let error = BuildError::new("a service needs `targets` or a `mock`", "write `targets: [\"http://10.0.0.1:8080\"]`");
            return errors.keep(root, Err(error));
        }
        let timeouts = Timeouts::build(&config.timeouts.unwrap_or_default(), errors, root);
        let deadline_header =
            config.deadline_header.as_ref().map(|name| deadline_header(name).map_err(|error| error.at("deadline_header")));
        let deadline_header = deadline_header.and_then(|name| errors.keep(root, name));
        let plan = Plan::build(name, config, timeouts, base, errors, root);
        let retry = Retry::build(config.retry.as_ref(), name, base.shared).map_err(|error| error.at("retry"));
        let breaker = config.breaker.as_ref().map(|config| Breaker::build(config, name, base.shared).map_err(|error| error.at("breaker")));
        let breaker = breaker.and_then(|breaker| errors.keep(root, breaker)).map(Arc::new);
        let health = config.health.as_ref().map(|config| Health::build(config, name, base.shared).map_err(|error| error.at("health")));
        let health = health.and_then(|health| errors.keep(root, health));
        let fallback = config.fallback.as_ref().map(|config| Fallback::build(config).map_err(|error| error.at("fallback")));
        let fallback = fallback.and_then(|fallback| errors.keep(root, fallback));
        if config.fallback.as_ref().is_some_and(|fallback| fallback.on.is_empty()) && config.breaker.is_none() {
            let error =
                BuildError::new("there is no failure and no breaker after which it would answer", "name some failures, or set `breaker`");
            errors.keep::<()>(root, Err(error.at("on").at("fallback")));
        }
        if let Some(key) = config.retry.as_ref().and_then(|retry| retry.is_idle(config.fallback.is_some())) {
            let error = BuildError::new("nothing is sent again: `attempts` is 1", "remove it, or allow for 2 attempts or more");
            errors.keep::<()>(root, Err(error.at(key).at("retry")));
        }
        let websocket = WebSocket::build(config.websocket, name, base.shared).map_err(|error| error.at("websocket"));
        let websocket = errors.keep(root, websocket);
        let credentials = match config.credentials.as_ref().map(|config| Credentials::build(config, base, signer)) {
            Some(Ok(credentials)) => Some(Arc::new(credentials)),
            Some(Err(found)) => {
                found.0.into_iter().for_each(|error| {
                    errors.keep::<()>(root, Err(error.at("credentials")));
                });
                None
            }
            None => None,
        };
        let retry = errors.keep(root, retry);
        let (plan, retry) = (plan?, retry?);
        let pool = errors.keep(root, plan.pool())?;
        Some(Self {
            pool: ArcSwap::from_pointee(pool),
            renewed: Notify::new(),
            plan,
            retry,
            health,
            breaker,
            fallback,
            credentials,
            host: config.host.clone().unwrap_or_default(),
            timeouts,
            websocket: websocket?,
            deadline_header,
        })
    }

    /// The targets as they are now. A request keeps to what it got here: places in one pool mean nothing in another.
    pub fn pool(&self) -> Arc<Pool> {
        self.pool.load_full()
    }

    /// How many entries of `targets:` there are; each name may stand for several targets, or for none.
    pub fn entries(&self) -> usize {
        self.plan.entries()
    }

    /// How many requests of one worker may be under way at a target while the connection of one more is kept behind it; none for any number.
    pub fn kept(&self) -> Option<usize> {
        self.plan.transport().kept()
    }

    pub(super) fn grant(&self) -> Option<&Arc<Grant>> {
        self.credentials.as_ref()?.grant()
    }

    /// Whether a call of gRPC can get there at all.
    pub fn takes_grpc(&self) -> bool {
        self.plan.transport().shares()
    }

    /// Whether an attempt took too long: by our clock, or by that of a target which knew its time.
    pub fn is_late(&self, ended: Failure) -> bool {
        match ended {
            Failure::Timeout | Failure::Grpc(GrpcStatus::DeadlineExceeded) => true,
            Failure::Status(StatusCode::GATEWAY_TIMEOUT) => self.deadline_header.is_some(),
            _ => false,
        }
    }

    /// Why there may be no target now.
    pub fn cause(&self) -> Option<String> {
        self.plan.cause()
    }
}
