use std::collections::BTreeMap;

use serde::Serialize;

use crate::policy::auth::jwks::KeysStatus;
use crate::snapshot::Snapshot;
use crate::upstream::ServiceStatus;

/// What runs now, for operators to read.
#[derive(Debug, Serialize)]
pub struct Status<'a> {
    version: &'static str,
    /// The number of the present config since start.
    generation: i64,
    services: BTreeMap<&'a str, ServiceStatus>,
    /// Keys that are fetched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<KeysStatus<'a>>,
}

impl<'a> Status<'a> {
    /// How all stands.
    pub fn of(snapshot: &'a Snapshot, generation: i64) -> Self {
        let services = snapshot.services.iter().map(|service| (&*service.name, service.status()));
        let mut keys: Vec<_> = snapshot.providers.iter().map(|provider| provider.status()).collect();
        keys.sort_unstable_by_key(|status| status.source());
        Self { version: env!("CARGO_PKG_VERSION"), generation, services: services.collect(), keys }
    }
}
