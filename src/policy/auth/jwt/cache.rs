//! Tokens that were verified, so that the next request with one costs no signature.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::claims::Window;
use crate::state::Stock;

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
pub(super) struct Tokens(Option<Stock<Box<[u8]>, Arc<Verified>>>);

/// What is known of a token beside its claims, and what these take for each byte of it: trees are larger than text.
const BESIDE: usize = 256;
const TREE: usize = 3;

/// What would be good for longer is looked at again.
const LONGEST: Duration = Duration::from_secs(3600);

impl Tokens {
    /// Of so many bytes at most.
    pub(super) fn new(most: u64) -> Self {
        Self((most > 0).then(|| Stock::new(most)))
    }

    /// What was found out about a token.
    pub(super) fn find(&self, token: &[u8]) -> Option<Arc<Verified>> {
        self.0.as_ref()?.find(token)
    }

    /// Keeps it.
    pub(super) fn keep(&self, token: &[u8], verified: &Arc<Verified>) {
        if let Some(stock) = &self.0 {
            stock.keep(token.into(), verified.clone(), BESIDE + token.len() * (1 + TREE), left(verified));
        }
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> u64 {
        self.0.as_ref().map_or(0, Stock::held)
    }
}

fn left(verified: &Verified) -> Duration {
    verified.window.until.map_or(LONGEST, |until| Duration::from_secs_f64((until - super::now()).clamp(0.0, LONGEST.as_secs_f64())))
}
