//! `fetch:`, how keys are fetched over the network: its docs are the user's reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::tls::PairConfig;
use crate::types::Duration;
use crate::upstream::TlsConfig;

/// How keys are fetched. The requests do not wait for it: it is done beside them, once for all policies that ask for the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetchConfig {
    /// A file with the certificates, in PEM, of those who may vouch for the issuer's host. Default: those that the system believes.
    pub ca: Option<String>,
    /// What the gateway shows to a host that asks who it is.
    pub client_certificate: Option<PairConfig>,
    /// Whether keys may come without TLS: who is on the way can then sign tokens. For an issuer on the same machine. Default: `false`.
    pub allow_http: bool,
    /// How long each answer may take, as a whole. Default: `5s`.
    pub timeout: Duration,
    /// The least time for which keys hold, whatever the issuer says (`Cache-Control: max-age`). Default: `1m`.
    pub min_ttl: Duration,
    /// The most: how long a key that the issuer takes back may still be believed. Keys are fetched again when three quarters of their time are over.
    /// Default: `1h`.
    pub max_ttl: Duration,
    /// How long keys are used beyond their time while they cannot be fetched. After that tokens get 503. Default: `1h`.
    pub stale: Duration,
    /// The least time between two fetches for tokens that name a key which is not known: strangers cannot cause more. Default: `10s`.
    pub cooldown: Duration,
    /// How long a request waits for keys: for such a fetch, or for the first one of all. Default: `2s`.
    pub wait: Duration,
    /// Whether a process starts, and a config is taken, only once keys are there: an upgrade while the issuer is down then leaves the present process in
    /// its place. Default: `false`; tokens get 503 until they are there.
    pub required: bool,
    /// How many requests wait at once; others get 503. Default: 1000.
    #[schemars(range(min = 1))]
    pub waiting: usize,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            ca: None,
            client_certificate: None,
            allow_http: false,
            timeout: Duration::secs(5),
            min_ttl: Duration::secs(60),
            max_ttl: Duration::secs(3600),
            stale: Duration::secs(3600),
            cooldown: Duration::secs(10),
            wait: Duration::secs(2),
            required: false,
            waiting: 1000,
        }
    }
}

impl FetchConfig {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The files that it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.ca.as_deref().into_iter().chain(self.client_certificate.iter().flat_map(PairConfig::files))
    }

    /// Whom to believe, and who we are.
    pub(super) fn tls(&self) -> TlsConfig {
        TlsConfig { ca: self.ca.clone(), client_certificate: self.client_certificate.clone(), ..TlsConfig::default() }
    }

    /// # Errors
    /// Times that cannot work.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let times = [("timeout", self.timeout), ("min_ttl", self.min_ttl), ("cooldown", self.cooldown), ("wait", self.wait)];
        for (name, time) in times {
            time.not_zero().map_err(|error| error.at(name))?;
        }
        if self.max_ttl < self.min_ttl {
            return Err(BuildError::new("the longest time is shorter than the shortest", "write no less than `min_ttl`").at("max_ttl"));
        }
        if self.waiting == 0 {
            return Err(BuildError::new("no request could wait", "write at least 1").at("waiting"));
        }
        Ok(())
    }
}
