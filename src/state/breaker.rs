use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntGauge;

use super::{Window, millis};

/// How one service stands with its breaker, over all workers.
#[derive(Debug, Default)]
pub struct BreakerState {
    /// Attempts of late, and how many of them failed.
    pub attempts: Window,
    /// Failures in a row.
    failures: AtomicU32,
    /// When probes may start, in [`millis`]; 0 while it is closed.
    until: AtomicU64,
    /// Probes under way.
    probes: AtomicU32,
    /// Probes that went well since it opened.
    passed: AtomicU32,
    /// 1 while it is not closed.
    pub gauge: OnceLock<IntGauge>,
}

/// Whether a request may go to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As any.
    Closed,
    /// As one of those that find out whether the service is well.
    Probe {
        /// Whether it is the first of them.
        first: bool,
        /// Which time of being open it ends, where it goes well.
        until: u64,
    },
    /// Not for so long.
    Open(Duration),
}

/// How long those wait who come while probes are under way.
const PROBING: Duration = Duration::from_secs(1);

impl BreakerState {
    /// Asks for one request. A probe must be given back with [`BreakerState::probed`].
    pub fn admit(&self, most: u32) -> Admission {
        self.admit_at(millis(), most)
    }

    fn admit_at(&self, now: u64, most: u32) -> Admission {
        let until = self.until.load(Ordering::Acquire);
        if until == 0 {
            return Admission::Closed;
        }
        if now < until {
            return Admission::Open(Duration::from_millis(until - now));
        }
        let taken = self.probes.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |probes| (probes < most).then_some(probes + 1));
        match taken {
            Ok(before) => Admission::Probe { first: before == 0 && self.passed.load(Ordering::Relaxed) == 0, until },
            Err(_) => Admission::Open(PROBING),
        }
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.until.load(Ordering::Acquire) == 0
    }

    /// How long it stays open: none while it is closed, zero while probes may start.
    pub fn left(&self) -> Option<Duration> {
        let until = Some(self.until.load(Ordering::Acquire)).filter(|until| *until > 0)?;
        Some(Duration::from_millis(until.saturating_sub(millis())))
    }

    /// One attempt that went well, while it is closed.
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

    /// Opens it for so long. False where another worker was faster, or a probe is the one to say.
    pub fn open(&self, lasts: Duration) -> bool {
        self.turn(0, lasts)
    }

    /// A probe that was admitted with this `until` is over, and says whether the service is well: none where it cannot tell. True where that closes or
    /// opens the breaker.
    pub fn probed(&self, until: u64, well: Option<bool>, needed: u32, lasts: Duration) -> bool {
        let _ = self.probes.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |probes| probes.checked_sub(1));
        // One that started before the breaker opened again says nothing new.
        match well.filter(|_| self.until.load(Ordering::Acquire) == until) {
            Some(true) => self.passed.fetch_add(1, Ordering::AcqRel) + 1 >= needed && self.close(until),
            Some(false) => self.turn(until, lasts),
            None => false,
        }
    }

    fn close(&self, until: u64) -> bool {
        let closed = self.until.compare_exchange(until, 0, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if closed {
            self.begin(0);
        }
        closed
    }

    fn turn(&self, from: u64, lasts: Duration) -> bool {
        let until = millis().saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX)).max(1);
        let turned = self.until.compare_exchange(from, until, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if turned {
            self.begin(1);
        }
        turned
    }

    /// What was counted before the turn says nothing after it.
    fn begin(&self, gauge: i64) {
        self.attempts.clear();
        self.failures.store(0, Ordering::Relaxed);
        self.passed.store(0, Ordering::Relaxed);
        if let Some(known) = self.gauge.get() {
            known.set(gauge);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_once_lets_probes_through_and_closes_when_they_go_well() {
        let state = BreakerState::default();
        assert_eq!(state.admit(2), Admission::Closed);
        assert!(state.open(Duration::from_secs(5)));
        assert!(!state.open(Duration::from_secs(5)));
        let Admission::Open(left) = state.admit(2) else { panic!() };
        assert!(left <= Duration::from_secs(5));
        let later = millis() + 6000;
        let Admission::Probe { first: true, until } = state.admit_at(later, 2) else { panic!() };
        assert_eq!(state.admit_at(later, 2), Admission::Probe { first: false, until });
        assert_eq!(state.admit_at(later, 2), Admission::Open(PROBING));
        assert!(!state.probed(until, None, 2, Duration::ZERO));
        assert!(!state.probed(until, Some(true), 2, Duration::ZERO));
        assert_eq!(state.admit_at(later, 2), Admission::Probe { first: false, until });
        assert!(state.probed(until, Some(true), 2, Duration::ZERO));
        assert!(state.is_closed());
        assert_eq!(state.admit(2), Admission::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_it_again() {
        let state = BreakerState::default();
        assert!(state.open(Duration::ZERO));
        let Admission::Probe { first: true, until } = state.admit(1) else { panic!() };
        assert!(state.probed(until, Some(false), 1, Duration::from_secs(5)));
        assert!(matches!(state.admit(1), Admission::Open(_)));
    }

    #[test]
    fn a_probe_of_an_earlier_time_says_nothing_of_the_present_one() {
        let state = BreakerState::default();
        assert!(state.open(Duration::ZERO));
        let (Admission::Probe { until, .. }, Admission::Probe { .. }) = (state.admit(2), state.admit(2)) else { panic!() };
        assert!(state.probed(until, Some(false), 2, Duration::from_millis(1)));
        assert!(!state.probed(until, Some(true), 1, Duration::ZERO));
        assert!(!state.is_closed());
    }

    #[test]
    fn of_many_at_once_one_opens_it_and_few_probe() {
        let state = BreakerState::default();
        let count = |ask: &(dyn Fn() -> bool + Sync)| -> usize {
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
                threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
            })
        };
        assert_eq!(count(&|| state.open(Duration::ZERO)), 1);
        assert_eq!(count(&|| matches!(state.admit(3), Admission::Probe { .. })), 3);
    }
}
