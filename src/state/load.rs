use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use parking_lot::Mutex;

/// Milliseconds since the process began to ask; never 0.
pub fn millis() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).map_or(u64::MAX, |millis| millis.saturating_add(1))
}

/// How one target stands, over all workers.
#[derive(Debug, Default)]
pub struct Load {
    in_flight: AtomicU32,
    failures: AtomicU32,
    /// The end of its last ejection, in [`millis`].
    until: AtomicU64,
    /// How long that lasted.
    lasted: AtomicU64,
}

impl Load {
    /// Requests that it works on now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether no request should go to it at that time.
    pub fn is_ejected(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Relaxed)
    }

    /// A request that went well: what failed before counts no more.
    pub fn succeed(&self) {
        // Mostly there is nothing to forget, and what is only read stays with every core.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// One more that failed. How many did in a row.
    pub fn fail(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Ejects it for `least` milliseconds, or twice as long as the last time and at most `most`, where that ended not longer ago than it lasted. The end.
    /// Its failures are counted anew.
    pub fn eject(&self, now: u64, least: u64, most: u64) -> u64 {
        let (until, lasted) = (self.until.load(Ordering::Relaxed), self.lasted.load(Ordering::Relaxed));
        let again = lasted > 0 && now.saturating_sub(until) <= lasted;
        let lasts = if again { lasted.saturating_mul(2).clamp(least, most) } else { least };
        self.lasted.store(lasts, Ordering::Relaxed);
        self.until.store(now.saturating_add(lasts), Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
        now.saturating_add(lasts)
    }
}

/// The ejected targets of one service.
#[derive(Debug, Default)]
pub struct Ejections {
    /// When the last of them ends, in [`millis`]; 0 where nobody is ejected. What every pick looks at.
    latest: AtomicU64,
    deciding: Mutex<()>,
}

impl Ejections {
    /// Whether some target may be ejected.
    pub fn are_there(&self) -> bool {
        self.latest.load(Ordering::Relaxed) > 0
    }

    /// Lets one at a time decide, so that all together eject no more than they may. `eject` gives the end of an ejection. Nobody waits: where another
    /// is deciding, the next failure will do.
    pub fn decide(&self, eject: impl FnOnce() -> Option<u64>) -> Option<u64> {
        let _deciding = self.deciding.try_lock()?;
        let until = eject()?;
        self.latest.fetch_max(until, Ordering::Relaxed);
        Some(until)
    }

    /// The ejection that ended then is over.
    pub fn end(&self, until: u64) {
        let _ = self.latest.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Counts one request as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<Load>);

impl InFlight {
    /// One more.
    pub fn begin(load: &Arc<Load>) -> Self {
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(load.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_counts_until_it_ends() {
        let load = Arc::<Load>::default();
        let (one, two) = (InFlight::begin(&load), InFlight::begin(&load));
        assert_eq!(load.in_flight(), 2);
        drop(one);
        assert_eq!(load.in_flight(), 1);
        drop(two);
        assert_eq!(load.in_flight(), 0);
    }

    #[test]
    fn failures_count_until_a_success() {
        let load = Load::default();
        assert_eq!((load.fail(), load.fail()), (1, 2));
        load.succeed();
        assert_eq!(load.fail(), 1);
    }

    #[test]
    fn an_ejection_lasts_twice_as_long_each_time_until_the_target_has_held() {
        let load = Load::default();
        assert_eq!(load.eject(1_000, 100, 300), 1_100);
        assert!(load.is_ejected(1_099) && !load.is_ejected(1_100));
        assert_eq!(load.eject(1_150, 100, 300), 1_350, "it had not held for 100");
        assert_eq!(load.eject(1_360, 100, 300), 1_660, "the most");
        assert_eq!(load.eject(1_961, 100, 300), 2_061, "it had held for 300");
    }
}
