use prometheus::{Error, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::{LATENCY, register};

/// What one worker asks others to find out who calls.
#[derive(Debug)]
pub struct AuthMetrics {
    /// What became of tokens that a provider knows, by provider and result: `kept` where it was told before, `active` and `inactive` as it said; else it could
    /// not be asked: `unreachable`, `timeout`, `status`, `too_large`, `malformed`, `undiscovered`, or `crowded` where too many waited.
    pub introspections: IntCounterVec,
    /// Time from the question about a token to its end, in seconds, by provider.
    pub introspection_duration: HistogramVec,
    /// What became of requests that a service decides about, by service and result: `kept` where it was said before, `allowed` and `refused` as it said; else it
    /// said nothing: `unreachable`, `left_alone`, `timeout`, `status`, `too_large`, `malformed`, or `crowded` where too many waited.
    pub external: IntCounterVec,
    /// Time from the question to such a service to its end, in seconds, by service.
    pub external_duration: HistogramVec,
}

impl AuthMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| register(registry, IntCounterVec::new(Opts::new(name, help), labels));
        let histogram = |name: &str, help: &str, labels: &[&str]| {
            let opts = HistogramOpts::new(name, help).buckets(LATENCY.to_vec());
            register(registry, HistogramVec::new(opts, labels))
        };
        Ok(Self {
            introspections: counter("tidegate_introspections_total", "Tokens that a provider knows.", &["source", "result"])?,
            introspection_duration: histogram(
                "tidegate_introspection_duration_seconds",
                "From the question about a token to its end.",
                &["source"],
            )?,
            external: counter("tidegate_external_total", "Requests that a service decides about.", &["service", "result"])?,
            external_duration: histogram(
                "tidegate_external_duration_seconds",
                "From the question to the service that decides to its end.",
                &["service"],
            )?,
        })
    }
}
