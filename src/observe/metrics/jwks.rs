use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register;

/// What is known of keys that are fetched, by source: an issuer, or the URL of a key set.
#[derive(Debug)]
pub struct JwksMetrics {
    /// Attempts to fetch them, by source and result: `renewed`, `unchanged`, `unreachable`, `timeout`, `status`, `too_large`, `malformed`, `wrong_issuer`,
    /// `insecure`, `no_keys`.
    pub refreshes: IntCounterVec,
    /// When they were fetched last, in seconds since 1970: their age is the time since.
    pub fetched: IntGaugeVec,
    /// How many tokens can be verified with; 0 while none are there, or they are too old.
    pub keys: IntGaugeVec,
}

impl JwksMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| register(registry, IntGaugeVec::new(Opts::new(name, help), &["source"]));
        Ok(Self {
            refreshes: register(
                registry,
                IntCounterVec::new(
                    Opts::new("tidegate_jwks_refreshes_total", "Attempts to fetch an issuer's keys."),
                    &["source", "result"],
                ),
            )?,
            fetched: gauge("tidegate_jwks_fetched_seconds", "When an issuer's keys were fetched last, in seconds since 1970.")?,
            keys: gauge("tidegate_jwks_keys", "Fetched keys of an issuer that tokens can be verified with.")?,
        })
    }
}
