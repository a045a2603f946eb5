//! Whether a request that failed at one target is sent once more, and when. Decided from plain facts, so that each way to forward can use it.

mod breaker;
mod failure;
mod fallback;
mod measure;
mod methods;

pub use breaker::{Breaker, BreakerConfig, Probe};
pub use failure::{Failure, FailureConfig};
pub use fallback::{Fallback, FallbackConfig, Instead, link};
pub use measure::{Measure, jitter, none_counts};
pub use methods::RetryMethods;

use std::sync::Arc;
use std::time;

use http::{HeaderMap, HeaderName, Method, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::state::{Shared, Window};
use crate::types::{Duration, Percent};

/// `retry:` of a service: when a request that failed at a target is sent once more, to another one where there is one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryConfig {
    /// How often a request is sent at most, the first time included: 1 to 10; 1 for never again. Default: 2.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// Which failures are worth another attempt: `connect`, `reset`, `malformed`, `timeout`, `5xx`, statuses like 503 or 429, and those of gRPC like
    /// `grpc_unavailable` or `grpc_resource_exhausted`, where a call ended so before an answer began. A kept connection that the target had closed
    /// before the request came is always replaced by another. Default: connect, reset.
    pub on: Vec<FailureConfig>,
    /// What may be sent again though it may have been worked on: `safe` (GET, HEAD, OPTIONS, TRACE), `idempotent` (PUT and DELETE too), `any`, or a list
    /// of methods. A call of gRPC is a POST. A request with an `Idempotency-Key`, or that never was on its way, may always. Default: safe.
    pub methods: RetryMethods,
    /// How long to wait before.
    pub backoff: BackoffConfig,
    /// How many requests may be sent again, as a share of those of the last ten seconds; ten always may. So a service that fails is not hit harder than
    /// one that does not. Default: 20%.
    pub budget: Percent,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: vec![FailureConfig::Connect, FailureConfig::Reset],
            methods: RetryMethods::default(),
            backoff: BackoffConfig::default(),
            budget: Percent::new(20),
        }
    }
}

impl RetryConfig {
    /// The first setting that says how to send a request again, where none is sent again. What `fallback` sends to another service goes by the
    /// methods too.
    pub fn is_idle(&self, fallback: bool) -> Option<&'static str> {
        let Self { on, methods, backoff, budget, .. } = Self::default();
        let set = [
            ("on", self.on != on),
            ("methods", self.methods != methods && !fallback),
            ("backoff", self.backoff != backoff),
            ("budget", self.budget != budget),
        ];
        set.into_iter().find(|(_, is_set)| *is_set && self.attempts == 1).map(|(key, _)| key)
    }
}

/// How long to wait before another attempt: any time up to `base`, which doubles with each attempt, up to `max`. A `Retry-After` of the target is kept,
/// where the time of the request allows for it.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BackoffConfig {
    /// Before the second attempt. Default: 25ms.
    pub base: Duration,
    /// Before any; no less than `base`. Default: 250ms.
    pub max: Duration,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { base: Duration::millis(25), max: Duration::millis(250) }
    }
}

/// Who decides whether a request of a service is sent again.
#[derive(Debug)]
pub struct Retry {
    config: RetryConfig,
    /// Whether only another target is worth an attempt.
    elsewhere: bool,
    requests: Arc<Window>,
}

/// What the decision depends on, besides the failure.
#[derive(Clone, Copy, Debug)]
pub struct Attempted<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// Whether the request says by an `Idempotency-Key` that it may be repeated.
    pub keyed: bool,
    /// Whether its body is still there, or it has none.
    pub replayable: bool,
    /// How often it was sent, the attempt that failed included.
    pub count: u32,
    /// How often it met a connection that was kept too long before: those are not in `count`.
    pub aged: u32,
    /// How many targets were asked in vain.
    pub tried: usize,
    /// How many there are.
    pub targets: usize,
    /// The time that the request has left; without a deadline, the time that one attempt may take.
    pub left: time::Duration,
    /// The wait that the target asks for.
    pub retry_after: Option<time::Duration>,
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Whether a request says that it may be repeated.
pub fn is_keyed(headers: &HeaderMap) -> bool {
    headers.get(IDEMPOTENCY_KEY).is_some_and(|key| !key.is_empty())
}

/// How long a target wants to be left alone (RFC 9110 §10.2.3).
pub fn retry_after(headers: &HeaderMap) -> Option<time::Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(time::Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(time::SystemTime::now()).unwrap_or_default()),
    }
}

/// Over which time the budget is counted.
const SPAN: time::Duration = time::Duration::from_secs(10);

/// How often another connection is tried for one that was kept too long.
const AGED: u32 = 4;

/// Retries in that time that are always granted: a service with little to do would have none.
const FLOOR: u64 = 10;

impl Retry {
    /// Prepares the decision; without a config for what can do no harm: a connection that did not come about, at another target, and one that was kept
    /// too long.
    ///
    /// # Errors
    /// Numbers out of their range, or waits that contradict each other.
    pub fn build(config: Option<&RetryConfig>, service: &str, shared: &Shared) -> Result<Self, BuildError> {
        let elsewhere = config.is_none();
        let config = config.cloned().unwrap_or_else(|| RetryConfig { on: vec![FailureConfig::Connect], ..RetryConfig::default() });
        if !(1..=10).contains(&config.attempts) {
            let reason = format!("{} is no number of attempts", config.attempts);
            return Err(BuildError::new(reason, "write 1 to 10; 1 sends nothing again").at("attempts"));
        }
        if config.backoff.max < config.backoff.base {
            let error = BuildError::new("the longest wait is shorter than the first", "write a `max` that is no less than `base`");
            return Err(error.at("max").at("backoff"));
        }
        if Self::is_vain(&config) {
            let reason = "a call of gRPC is a POST, and may have been worked on: `methods` keeps it from being sent again";
            return Err(BuildError::new(reason, "add `methods: [POST]`, or take the failures of gRPC out").at("on"));
        }
        Ok(Self { config, elsewhere, requests: shared.retries.get(service) })
    }

    /// Whether any failure of gRPC calls is among those that are worth another attempt, though no call may be sent again.
    fn is_vain(config: &RetryConfig) -> bool {
        config.on.iter().any(|failure| failure.is_grpc()) && !config.methods.has(&Method::POST)
    }

    /// Counts a request for the budget.
    pub fn begin(&self) {
        if self.config.attempts > 1 {
            self.requests.count(SPAN, false);
        }
    }

    /// Whether this failure is one that ends an attempt, where there is another.
    pub fn minds(&self, failure: Failure) -> bool {
        failure.is_of_age() || self.config.on.iter().any(|meant| meant.means(failure))
    }

    /// Whether a request may be sent again after this failure without the danger of being worked on twice.
    pub fn may_repeat(&self, failure: Failure, request: &Attempted<'_>) -> bool {
        request.replayable && (failure.is_unseen() || request.keyed || self.config.methods.has(request.method))
    }

    /// The wait before the next attempt; none where the failure is to be told. A retry that is granted is counted.
    pub fn next(&self, failure: Failure, request: &Attempted<'_>) -> Option<time::Duration> {
        if request.count >= self.config.attempts || !self.minds(failure) || !self.may_repeat(failure, request) {
            return None;
        }
        if failure.is_of_age() {
            // Nobody had work with it, and how busy the target is it does not say: it costs neither an attempt nor the budget.
            return (request.aged < AGED && !request.left.is_zero()).then_some(time::Duration::ZERO);
        }
        if self.elsewhere && request.tried >= request.targets {
            return None;
        }
        let wait = request.retry_after.unwrap_or_default().max(self.backoff(request.count));
        if wait >= request.left {
            return None;
        }
        let within = |all: u64, again: u64| again <= FLOOR || again as f64 <= all as f64 * self.config.budget.share();
        self.requests.take(SPAN, within).then_some(wait)
    }

    /// Full jitter: those who failed together do not come back together.
    fn backoff(&self, count: u32) -> time::Duration {
        let BackoffConfig { base, max } = self.config.backoff;
        let doubled = base.0.saturating_mul(1 << count.saturating_sub(1).min(16));
        doubled.min(max.0).mul_f64(rand::random::<f64>())
    }
}

#[cfg(test)]
mod tests;
