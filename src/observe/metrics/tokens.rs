use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register;

/// What is known of tokens that the gateway shows to services, by [`Self::LABELS`].
#[derive(Debug)]
pub struct TokenMetrics {
    /// Attempts to fetch one, by result too: `renewed`, `refused` by the provider, `unreachable`, `timeout`, `status`, `too_large`, `malformed`, `wrong_issuer`,
    /// `insecure`, `unsigned`.
    pub refreshes: IntCounterVec,
    /// When the last one ends, in seconds since 1970.
    pub ends: IntGaugeVec,
}

impl TokenMetrics {
    /// Who gives it (an issuer, or the URL of a token endpoint), to which client, and what for: scopes, and an audience or a resource where one is asked for.
    const LABELS: [&str; 4] = ["source", "client", "scope", "audience"];

    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let refreshes = Opts::new("tidegate_token_refreshes_total", "Attempts to fetch a token for services.");
        let ends = Opts::new("tidegate_token_expiry_seconds", "When the token for services ends, in seconds since 1970.");
        let [source, client, scope, audience] = Self::LABELS;
        Ok(Self {
            refreshes: register(registry, IntCounterVec::new(refreshes, &[source, client, scope, audience, "result"]))?,
            ends: register(registry, IntGaugeVec::new(ends, &Self::LABELS))?,
        })
    }
}
