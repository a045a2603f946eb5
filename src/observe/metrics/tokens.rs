use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register;

/// What is known of tokens that the gateway shows to services, by source (an issuer, or the URL of a token endpoint) and client.
#[derive(Debug)]
pub struct TokenMetrics {
    /// Attempts to fetch one, by result too: `renewed`, `refused` by the provider, `unreachable`, `timeout`, `status`, `too_large`, `malformed`, `wrong_issuer`,
    /// `insecure`, `unsigned`.
    pub refreshes: IntCounterVec,
    /// When the last one ends, in seconds since 1970.
    pub ends: IntGaugeVec,
}

impl TokenMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let refreshes = Opts::new("tidegate_token_refreshes_total", "Attempts to fetch a token for services.");
        let ends = Opts::new("tidegate_token_expiry_seconds", "When the token for services ends, in seconds since 1970.");
        Ok(Self {
            refreshes: register(registry, IntCounterVec::new(refreshes, &["source", "client", "result"]))?,
            ends: register(registry, IntGaugeVec::new(ends, &["source", "client"]))?,
        })
    }
}
