use std::sync::Arc;
use std::time;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::measure::{self, Measure};
use super::{Failure, FailureConfig};
use crate::building::BuildError;
use crate::observe::{Metrics, Shard};
use crate::state::{Admission, BreakerState, Shared};
use crate::types::{Duration, Percent};

/// `breaker:` of a service: while most of what it is asked fails, it is not asked, so that it can recover and nobody waits in vain. Its requests are
/// answered with 503 and a `Retry-After`, or by the `fallback`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    /// How many attempts in a row must fail; at least 1. Default: 5.
    #[schemars(range(min = 1))]
    pub failures: u32,
    /// Which share of the attempts in `window` must fail instead; above 0%. Default: 50%.
    pub error_rate: Percent,
    /// The time over which that share is taken: 100ms to 5m. Default: 10s.
    pub window: Duration,
    /// How many attempts there must be in `window` for a share to mean anything; at least 1. Default: 20.
    #[schemars(range(min = 1))]
    pub min_requests: u32,
    /// What counts as a failure: `connect`, `reset`, `malformed`, `timeout`, `5xx`, statuses, and those of gRPC like `grpc_internal`. Default: all of the
    /// first four, 502, 503, 504 and grpc_unavailable.
    pub on: Vec<FailureConfig>,
    /// How long the service is left alone, give or take a tenth, so that gateways do not come back together; at least 1ms. Default: 5s.
    pub open: Duration,
    /// How many requests at once then try how the service is. When so many went well, all go there again; when one fails, it is left alone anew. At
    /// least 1. Default: 1.
    #[schemars(range(min = 1))]
    pub probes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 5,
            error_rate: Percent::new(50),
            window: Duration::secs(10),
            min_requests: 20,
            on: FailureConfig::ill(),
            open: Duration::secs(5),
            probes: 1,
        }
    }
}

/// The breaker of a service.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    measure: Measure,
    service: Arc<str>,
    state: Arc<BreakerState>,
}

/// A request that finds out whether the service is well. Where it is dropped without a word, another may.
#[derive(Debug)]
pub struct Probe {
    breaker: Arc<Breaker>,
    until: u64,
    told: bool,
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.told {
            self.breaker.state.probed(self.until, None, self.breaker.config.probes, time::Duration::ZERO);
        }
    }
}

impl Breaker {
    /// Prepares the breaker.
    ///
    /// # Errors
    /// Numbers and times that cannot work.
    pub fn build(config: &BreakerConfig, service: &str, shared: &Shared) -> Result<Self, BuildError> {
        let measure = Measure::build(config.failures, config.error_rate, config.window, config.min_requests)?;
        if config.on.is_empty() {
            return Err(measure::none_counts());
        }
        if config.probes == 0 {
            return Err(measure::never_met().at("probes"));
        }
        if config.open.0 < time::Duration::from_millis(1) {
            return Err(BuildError::new("this leaves no time at all", "write a longer time, like `5s`").at("open"));
        }
        Ok(Self { config: config.clone(), measure, service: service.into(), state: shared.breakers.get(service) })
    }

    /// Whether a request may go to the service; else how long it may not.
    ///
    /// # Errors
    /// The service is left alone for so long.
    pub fn admit(self: &Arc<Self>) -> Result<Option<Probe>, time::Duration> {
        match self.state.admit(self.config.probes) {
            Admission::Closed => Ok(None),
            Admission::Probe { first, until } => {
                if first {
                    log::info!("service {}: its breaker lets requests try it", self.service);
                }
                Ok(Some(Probe { breaker: self.clone(), until, told: false }))
            }
            Admission::Open(left) => Err(left),
        }
    }

    /// Whether all requests may go to the service.
    pub fn is_closed(&self) -> bool {
        self.state.is_closed()
    }

    /// How long it stays open: none while it is closed, zero while probes may start.
    pub fn left(&self) -> Option<time::Duration> {
        self.state.left()
    }

    /// Whether an attempt that ended so counts as a failure.
    pub fn minds(&self, failure: Failure) -> bool {
        self.config.on.iter().any(|meant| meant.means(failure))
    }

    /// Shows how it stands among the metrics, before the first attempt is over.
    pub fn show(&self, metrics: &Metrics) {
        self.state.gauge.get_or_init(|| {
            let gauge = metrics.process.breakers.with_label_values(&[&*self.service]);
            gauge.set(i64::from(!self.is_closed()));
            gauge
        });
    }

    /// Takes note of how one attempt ended.
    pub fn note(&self, probe: Option<Probe>, failed: bool, shard: &Shard) {
        let gauge = || shard.breakers.with_label_values(&[&*self.service]);
        if let Some(mut probe) = probe {
            probe.told = true;
            let lasts = self.lasts();
            self.state.gauge.get_or_init(gauge);
            match (self.state.probed(probe.until, Some(!failed), self.config.probes, lasts), failed) {
                (true, true) => log::warn!("service {}: it fails still, and its breaker is open for {lasts:?} more", self.service),
                (true, false) => log::info!("service {}: it is well again, and its breaker is closed", self.service),
                (false, _) => {}
            }
            return;
        }
        if !self.state.is_closed() {
            return;
        }
        self.measure.count(&self.state.attempts, failed);
        if !failed {
            return self.state.succeed();
        }
        let Some(why) = self.measure.exceeded(self.state.fail(), &self.state.attempts) else { return };
        self.state.gauge.get_or_init(gauge);
        let lasts = self.lasts();
        if self.state.open(lasts) {
            log::warn!("service {}: {why}, and its breaker is open for {lasts:?}", self.service);
        }
    }

    fn lasts(&self) -> time::Duration {
        time::Duration::from_millis(measure::jitter(u64::try_from(self.config.open.0.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker(json: &str, shared: &Shared) -> Arc<Breaker> {
        Arc::new(Breaker::build(&serde_json::from_str(json).unwrap(), "a", shared).unwrap())
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_between_them_does_not_let_them() {
        let (metrics, shared) = (Metrics::new(1).unwrap(), Shared::default());
        let breaker = breaker("{\"failures\": 3, \"open\": \"1m\"}", &shared);
        let note = |failed| breaker.note(None, failed, &metrics.shards()[0]);
        for failed in [true, true, false, true, true] {
            note(failed);
            assert!(breaker.is_closed());
        }
        note(true);
        let left = breaker.admit().unwrap_err();
        assert!(left > time::Duration::from_secs(50) && left <= time::Duration::from_secs(66), "{left:?}");
        assert!(metrics.render().unwrap().contains("tidegate_breaker_open{service=\"a\"} 1"));
        let again = self::breaker("{}", &shared);
        assert!(!again.is_closed(), "it outlives a reload");
    }

    #[test]
    fn it_is_among_the_metrics_from_the_beginning() {
        let metrics = Metrics::new(1).unwrap();
        // One of the same name, which is gone, was open.
        metrics.process.breakers.with_label_values(&["a"]).set(1);
        breaker("{}", &Shared::default()).show(&metrics);
        assert!(metrics.render().unwrap().contains("tidegate_breaker_open{service=\"a\"} 0"));
    }

    #[test]
    fn a_share_of_failures_opens_it_once_there_are_enough_attempts() {
        let (metrics, shared) = (Metrics::new(1).unwrap(), Shared::default());
        let breaker = breaker("{\"failures\": 1000, \"error_rate\": \"50%\", \"min_requests\": 10}", &shared);
        for count in 1..=9 {
            breaker.note(None, count % 2 == 1, &metrics.shards()[0]);
            assert!(breaker.is_closed(), "{count}");
        }
        breaker.note(None, true, &metrics.shards()[0]);
        assert!(!breaker.is_closed());
    }

    #[test]
    fn a_probe_closes_it_opens_it_again_or_leaves_its_place() {
        let (metrics, shared) = (Metrics::new(1).unwrap(), Shared::default());
        let breaker = breaker("{\"failures\": 1, \"open\": \"1ms\"}", &shared);
        let shard = &metrics.shards()[0];
        breaker.note(None, true, shard);
        let probe = || {
            loop {
                if let Ok(probe) = breaker.admit() {
                    return probe;
                }
                std::thread::yield_now();
            }
        };
        let first = probe();
        assert!(first.is_some() && breaker.admit().is_err());
        drop(first);
        breaker.note(probe(), true, shard);
        assert!(!breaker.is_closed());
        breaker.note(probe(), false, shard);
        assert!(breaker.is_closed() && breaker.admit().unwrap().is_none());
        assert!(metrics.render().unwrap().contains("tidegate_breaker_open{service=\"a\"} 0"));
    }
}
