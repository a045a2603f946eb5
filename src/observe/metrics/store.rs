use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register;

/// What is counted of what is kept outside.
#[derive(Debug)]
pub struct StoreMetrics {
    /// Whether there is a connection on which look-ups are answered, by address.
    pub up: IntGaugeVec,
    /// Look-ups, by what is looked up (`key`, `consumer`, `revocation`) and result: `found`, `unknown`, `void` for an entry that cannot be used, `down`, `late`,
    /// `error`.
    pub lookups: IntCounterVec,
    /// What is known to be there at the moment, by what it is, as look-ups.
    pub known: IntGaugeVec,
}

impl StoreMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str, label: &str| register(registry, IntGaugeVec::new(Opts::new(name, help), &[label]));
        Ok(Self {
            up: gauge("tidegate_redis_up", "1 while Redis answers look-ups.", "address")?,
            lookups: register(
                registry,
                IntCounterVec::new(Opts::new("tidegate_redis_lookups_total", "Look-ups in Redis."), &["what", "result"]),
            )?,
            known: gauge("tidegate_redis_known", "Entries of Redis that are known at the moment.", "what")?,
        })
    }

    /// Forgets what there is no more.
    pub fn forget(&self) {
        self.up.reset();
        self.known.reset();
    }
}
