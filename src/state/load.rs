use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use parking_lot::Mutex;

use super::{Checks, Window};

/// Milliseconds since the process began to ask; never 0.
pub fn millis() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).map_or(u64::MAX, |millis| millis.saturating_add(1))
}

/// How one target stands, over all workers. In this order, so that what a pick looks at lies beside the count of who holds it.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Load {
    in_flight: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// When a probe may go there, in [`millis`]; 0 while it is not ejected.
    until: AtomicU64,
    /// How long its last ejection was to last, in milliseconds.
    lasted: AtomicU64,
    /// Whether a probe is under way.
    probed: AtomicBool,
    /// When it came back, or came to others as a new one, in [`millis`]; 0 where it did neither.
    back: AtomicU64,
    /// Attempts of late, and how many of them failed.
    pub attempts: Window,
    /// Whether a pool has it already.
    known: AtomicBool,
    /// Whether it had its place when the service was complete: one that comes later is new beside it.
    settled: AtomicBool,
    /// Whether the service has it no more.
    gone: AtomicBool,
    /// When it began to stand as it does, in [`millis`].
    since: AtomicU64,
    /// What active checks say.
    pub checks: Checks,
}

impl Load {
    /// Requests that it works on now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// When its ejection ends, or has ended, in [`millis`]; none while it gets requests as any.
    pub fn until(&self) -> Option<u64> {
        Some(self.until.load(Ordering::Acquire)).filter(|until| *until > 0)
    }

    /// Whether a request is finding out how it is.
    pub fn is_probed(&self) -> bool {
        self.probed.load(Ordering::Relaxed)
    }

    /// When it came back, or came to others as a new one, in [`millis`]; none where it did neither.
    pub fn back(&self) -> Option<u64> {
        Some(self.back.load(Ordering::Relaxed)).filter(|back| *back > 0)
    }

    /// A request that went well: what failed in a row before counts no more.
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

    /// Ejects it for `least` milliseconds, or twice as long as the last time and at most `most`, where it has not held for as long since. That time,
    /// which `jitter` then makes a little longer or shorter. Its failures are counted anew.
    pub fn eject(&self, now: u64, least: u64, most: u64, jitter: impl FnOnce(u64) -> u64) -> u64 {
        let lasted = self.lasted.load(Ordering::Relaxed);
        let held = self.until().is_none() && now.saturating_sub(self.back.load(Ordering::Relaxed)) > lasted;
        let lasts = if lasted == 0 || held { least } else { lasted.saturating_mul(2).clamp(least, most) };
        self.lasted.store(lasts, Ordering::Relaxed);
        let lasts = jitter(lasts);
        self.forget();
        self.since.store(now, Ordering::Relaxed);
        self.until.store(now.saturating_add(lasts).max(1), Ordering::Release);
        lasts
    }

    /// Its ejection is over.
    pub fn come_back(&self, now: u64) {
        self.turned(now, true);
        self.until.store(0, Ordering::Release);
    }

    /// Active checks have found it well again, or ill.
    pub fn turned(&self, now: u64, well: bool) {
        self.forget();
        self.since.store(now, Ordering::Relaxed);
        if well {
            self.back.store(now, Ordering::Relaxed);
        }
    }

    /// When it began to stand as it does, in [`millis`].
    pub fn since(&self) -> u64 {
        self.since.load(Ordering::Relaxed)
    }

    /// Welcomes the targets of a pool: those that are new beside others begin as those that come back. While the pool is not `complete`, for names that
    /// were never answered yet, all that come begin together.
    pub fn welcome(all: &[Arc<Load>], now: u64, complete: bool) {
        let are_others = all.iter().any(|load| load.settled.load(Ordering::Relaxed));
        for load in all {
            load.gone.store(false, Ordering::SeqCst);
            if !load.known.swap(true, Ordering::Relaxed) {
                load.turned(now, are_others);
            }
            if complete {
                load.settled.store(true, Ordering::Relaxed);
            }
        }
    }

    /// The service has it no more: what is said of it from now on is of the past.
    pub fn leave(&self) {
        self.gone.store(true, Ordering::SeqCst);
    }

    /// Whether the service has it no more.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    fn forget(&self) {
        self.attempts.clear();
        self.failures.store(0, Ordering::Relaxed);
    }
}

/// How often some target of one service has changed its standing. What every pick looks at: while it is what it was when all were well, all are.
#[derive(Debug, Default)]
pub struct Changes {
    count: AtomicU64,
    deciding: Mutex<()>,
}

impl Changes {
    /// The number of the last one.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// One more, made before.
    pub fn note(&self) {
        self.count.fetch_add(1, Ordering::Release);
    }

    /// Lets one at a time decide, so that all together eject no more than they may. Nobody waits: where another is deciding, the next failure will do.
    pub fn decide<T>(&self, decide: impl FnOnce() -> Option<T>) -> Option<T> {
        let _deciding = self.deciding.try_lock()?;
        let decided = decide()?;
        self.note();
        Some(decided)
    }
}

/// Counts one request as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    load: Arc<Load>,
    probe: bool,
}

impl InFlight {
    /// One more.
    pub fn begin(load: &Arc<Load>) -> Self {
        load.in_flight.fetch_add(1, Ordering::Relaxed);
        Self { load: load.clone(), probe: false }
    }

    /// One that finds out how the target is; none while another does.
    pub fn probe(load: &Arc<Load>) -> Option<Self> {
        load.probed.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let mut one = Self::begin(load);
        one.probe = true;
        Some(one)
    }

    /// It has found out, though it goes on. Whether it was one that does.
    pub fn tell(&mut self) -> bool {
        let was = std::mem::take(&mut self.probe);
        if was {
            self.load.probed.store(false, Ordering::Release);
        }
        was
    }

    /// Whether it is one that finds out.
    pub fn is_probe(&self) -> bool {
        self.probe
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.load.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.probe {
            self.load.probed.store(false, Ordering::Release);
        }
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
        let eject = |now| load.eject(now, 100, 300, |lasts| lasts);
        assert_eq!(eject(1_000), 100);
        assert_eq!(load.until(), Some(1_100));
        assert_eq!(eject(1_150), 200, "its probe failed");
        load.come_back(1_360);
        assert_eq!(load.until(), None);
        assert_eq!(eject(1_400), 300, "the most");
        load.come_back(1_800);
        assert_eq!(eject(2_101), 100, "it had held for more than 300");
    }

    #[test]
    fn who_is_new_beside_others_begins_as_who_comes_back() {
        let (one, other) = (Arc::<Load>::default(), Arc::<Load>::default());
        Load::welcome(std::slice::from_ref(&one), 7, true);
        assert_eq!(one.back(), None);
        Load::welcome(&[one.clone(), other.clone()], 9, true);
        Load::welcome(&[one.clone(), other.clone()], 11, true);
        assert_eq!((one.back(), other.back()), (None, Some(9)));
    }

    #[test]
    fn who_is_found_before_the_first_are_complete_begins_with_them() {
        let [one, two, three] = [(), (), ()].map(|()| Arc::<Load>::default());
        Load::welcome(std::slice::from_ref(&one), 7, false);
        Load::welcome(&[one.clone(), two.clone()], 9, true);
        Load::welcome(&[one.clone(), two.clone(), three.clone()], 11, false);
        assert_eq!([one.back(), two.back(), three.back()], [None, None, Some(11)]);
    }

    #[test]
    fn of_many_at_once_one_is_the_probe_and_the_next_comes_after_it() {
        let load = Arc::<Load>::default();
        let probes: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| InFlight::probe(&load))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(probes.len() == 1 && load.is_probed() && load.in_flight() == 1);
        drop(probes);
        assert!(!load.is_probed() && load.in_flight() == 0);
        assert!(InFlight::probe(&load).is_some_and(|probe| probe.is_probe()));
    }
}
