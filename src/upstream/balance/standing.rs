use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::state::{Changes, Load, millis};

/// What can keep a target from its full share.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// Whether what a target failed at is held against it.
    pub ejection: bool,
    /// Whether active checks are made.
    pub health: bool,
    /// In how many milliseconds a target that comes back gets to its full share; 0 for at once.
    pub slow_start: u64,
    /// The share of a group that must be available for the group to be used.
    pub min_available: f64,
}

/// Who of the targets of a service may get requests now. While all may, that is known from one number.
#[derive(Debug)]
pub struct Standing {
    /// By what that is decided.
    pub rules: Rules,
    changes: Arc<Changes>,
    /// The last change after which all may.
    well: AtomicU64,
}

/// How one target stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stand {
    /// It gets its full share.
    Full,
    /// It gets this part of its share.
    Part(f64),
    /// It gets one request that finds out how it is.
    Trial,
    /// It gets none.
    Away,
}

impl Stand {
    /// Whether it is one to count on.
    pub fn is_available(self) -> bool {
        matches!(self, Stand::Full | Stand::Part(_))
    }
}

/// The part of its share that a target begins with.
const FIRST: f64 = 0.1;

impl Standing {
    /// Where nothing is known yet.
    pub fn new(rules: Rules, changes: Arc<Changes>) -> Self {
        Self { rules, changes, well: AtomicU64::new(u64::MAX) }
    }

    /// The time by which some target has not its full share; none where all have, which costs no look at the clock.
    pub fn now(&self, loads: &[Arc<Load>]) -> Option<u64> {
        let last = self.changes.count();
        if last == self.well.load(Ordering::Relaxed) {
            return None;
        }
        let now = millis();
        if !loads.iter().all(|load| self.of(load, now) == Stand::Full) {
            return Some(now);
        }
        self.well.store(last, Ordering::Relaxed);
        None
    }

    /// How one target stands at that time.
    pub fn of(&self, load: &Load, now: u64) -> Stand {
        if self.rules.health && load.checks.is_ill() {
            return Stand::Away;
        }
        match load.until().filter(|_| self.rules.ejection) {
            Some(until) if now < until || load.is_probed() => return Stand::Away,
            Some(_) => return Stand::Trial,
            None => {}
        }
        match load.back().map(|back| now.saturating_sub(back)).filter(|since| *since < self.rules.slow_start) {
            Some(since) => Stand::Part(FIRST.max(since as f64 / self.rules.slow_start as f64)),
            None => Stand::Full,
        }
    }
}
