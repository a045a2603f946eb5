//! Tokens that were verified, so that the next request with one costs no signature.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use moka::Expiry;
use moka::sync::Cache;
use serde_json::Value;

use super::claims::Window;

/// A token that keeps every rule, as long as its issuer's keys are the same.
#[derive(Debug)]
pub(super) struct Verified {
    /// Which issuer it is of.
    pub issuer: usize,
    /// With which of the issuer's sets of keys.
    pub version: u64,
    /// When it is good.
    pub window: Window,
    /// What it says.
    pub claims: Arc<Value>,
}

/// Those that are kept, by the token itself: no other is ever taken for it. They belong to one policy of one snapshot, so that other rules begin without.
#[derive(Debug)]
pub(super) struct Tokens(Option<Cache<Box<[u8]>, Arc<Verified>, RandomState>>);

/// What an entry takes beside its token, and its claims for each byte of them: trees are larger than text.
const ENTRY: usize = 512;
const TREE: usize = 3;

/// What would be good for longer is looked at again.
const LONGEST: Duration = Duration::from_secs(3600);

impl Tokens {
    /// Of so many bytes at most.
    pub(super) fn new(most: u64) -> Self {
        let cache = || {
            let builder = Cache::<Box<[u8]>, Arc<Verified>>::builder().max_capacity(most);
            let builder = builder.weigher(|token, _| u32::try_from(ENTRY + token.len() * (1 + TREE)).unwrap_or(u32::MAX));
            builder.expire_after(Ends).build_with_hasher(RandomState::default())
        };
        Self((most > 0).then(cache))
    }

    /// What was found out about a token.
    pub(super) fn find(&self, token: &[u8]) -> Option<Arc<Verified>> {
        self.0.as_ref()?.get(token)
    }

    /// Keeps it.
    pub(super) fn keep(&self, token: &[u8], verified: &Arc<Verified>) {
        if let Some(cache) = &self.0 {
            cache.insert(token.into(), verified.clone());
            // What has to go for it goes now: there is nobody else to see to that.
            cache.run_pending_tasks();
        }
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.0.as_ref().map_or(0, Cache::weighted_size)
    }
}

/// Lets go what has expired.
struct Ends;

impl Expiry<Box<[u8]>, Arc<Verified>> for Ends {
    fn expire_after_create(&self, _: &Box<[u8]>, verified: &Arc<Verified>, _: Instant) -> Option<Duration> {
        Some(left(verified))
    }

    fn expire_after_update(&self, _: &Box<[u8]>, verified: &Arc<Verified>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(left(verified))
    }
}

fn left(verified: &Verified) -> Duration {
    verified.window.until.map_or(LONGEST, |until| Duration::from_secs_f64((until - super::now()).clamp(0.0, LONGEST.as_secs_f64())))
}
