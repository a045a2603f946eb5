use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pingora_error::{Error, ErrorType};

use super::stage::{Progress, Stage};

/// What a call may take, and how far its present attempt has come. Who joins a call that is under way may widen it, and nobody narrows it.
#[derive(Debug)]
pub struct Allowance {
    since: Instant,
    /// Nanoseconds.
    within: AtomicU64,
    /// Bytes of the answer's body that are held.
    most: AtomicUsize,
    /// Whether others may join, and widen it.
    is_shared: bool,
    /// Bytes that are left for it and others.
    budget: Option<Arc<Budget>>,
    pub(super) progress: Progress,
    /// Why the last connection did not come about.
    refusal: Mutex<Option<String>>,
}

/// Bytes that the answers of several calls may hold together, while they come and afterwards.
#[derive(Debug)]
pub struct Budget(AtomicUsize);

/// What one answer takes of a budget. It is given back when nobody has it any more.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(AtomicUsize::new(bytes))
    }

    /// Nothing of it yet.
    pub fn charge(self: &Arc<Self>) -> Charge {
        Charge { budget: self.clone(), bytes: AtomicUsize::new(0) }
    }
}

impl Charge {
    /// Takes more, if there is so much.
    pub fn add(&self, bytes: usize) -> bool {
        let left = |left: usize| left.checked_sub(bytes);
        let taken = self.budget.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_ok();
        self.bytes.fetch_add(if taken { bytes } else { 0 }, Ordering::Relaxed);
        taken
    }

    /// Keeps what it takes, as long as the budget is.
    pub fn keep(&self) {
        self.bytes.store(0, Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

impl Allowance {
    /// So many bytes of an answer's body, and so long from now.
    pub fn new(most: usize, within: Duration) -> Self {
        let (within, most) = (AtomicU64::new(nanos(within)), AtomicUsize::new(most));
        let since = Instant::now();
        Self { since, within, most, is_shared: false, budget: None, progress: Progress::default(), refusal: Mutex::default() }
    }

    /// The same for a call that others may join.
    #[must_use]
    pub fn shared(self) -> Self {
        Self { is_shared: true, ..self }
    }

    /// The same with a budget that others have too.
    #[must_use]
    pub fn of(self, budget: Arc<Budget>) -> Self {
        Self { budget: Some(budget), ..self }
    }

    /// Nothing of the budget yet.
    pub(super) fn charge(&self) -> Option<Charge> {
        self.budget.as_ref().map(Budget::charge)
    }

    /// Whether it may last longer than this from now: of one that others may join nobody knows.
    pub(super) fn may_exceed(&self, time: Duration) -> bool {
        self.is_shared || self.left() > time
    }

    /// Lets it take as much and as long as this at least, from now. It is one for a call that others may join.
    pub fn widen(&self, most: usize, within: Duration) {
        debug_assert!(self.is_shared);
        self.most.fetch_max(most, Ordering::Relaxed);
        self.within.fetch_max(nanos(self.since.elapsed().saturating_add(within)), Ordering::Relaxed);
    }

    /// How long it may still take.
    pub fn left(&self) -> Duration {
        Duration::from_nanos(self.within.load(Ordering::Relaxed)).saturating_sub(self.since.elapsed())
    }

    /// How far its present attempt has come.
    pub fn stage(&self) -> Stage {
        self.progress.stage()
    }

    /// Why the last connection did not come about, for the log.
    pub fn refusal(&self) -> Option<String> {
        self.refusal.lock().clone()
    }

    pub(super) fn note_refusal(&self, error: &Error) {
        // Of a handshake of TLS the cause is our own address, and the reason stands beside it.
        let reason = match (&error.context, error.etype()) {
            (Some(reason), ErrorType::TLSHandshakeFailure) => reason.as_str().to_owned(),
            _ => error.root_cause().to_string(),
        };
        *self.refusal.lock() = Some(reason);
    }

    /// Bytes of the answer's body that may be held now.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Waits for as long as it may take; none where that is over.
    pub(super) async fn limit<T>(&self, attempt: impl Future<Output = T>) -> Option<T> {
        let mut attempt = pin!(attempt);
        loop {
            if let Some(ended) = within(self.left(), &mut attempt).await {
                return Some(ended);
            }
            if self.left().is_zero() {
                return None;
            }
        }
    }
}

/// Waits for so long, and no longer. Exact timers cost a call to the system each, and hardly one is ever needed: most of the time is left to one of Pingora's,
/// which may be late.
pub async fn within<T>(time: Duration, work: impl Future<Output = T>) -> Option<T> {
    const LATE: Duration = Duration::from_millis(30);
    let (until, mut work) = (Instant::now() + time, pin!(work));
    if let Some(most) = time.checked_sub(LATE)
        && let Ok(ended) = pingora_timeout::timeout(most, &mut work).await
    {
        return Some(ended);
    }
    tokio::time::timeout_at(until.into(), work).await.ok()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_gets_back_what_nobody_has_any_more_and_what_is_kept_stays_taken() {
        let allowed = Allowance::new(10, Duration::ZERO).of(Arc::new(Budget::new(5)));
        let (one, other) = (allowed.charge().unwrap(), allowed.charge().unwrap());
        assert!(one.add(3) && !other.add(3) && other.add(2));
        drop(one);
        assert!(other.add(3));
        other.keep();
        drop(other);
        assert!(!allowed.charge().unwrap().add(1));
    }

    #[test]
    fn it_is_known_to_end_before_another_time_unless_others_may_join() {
        let (short, long) = (Duration::from_secs(60), Duration::from_secs(600));
        let allowed = Allowance::new(10, short);
        assert!(allowed.may_exceed(Duration::ZERO) && !allowed.may_exceed(short) && !allowed.may_exceed(long));
        assert!(allowed.shared().may_exceed(long));
    }

    #[tokio::test]
    async fn it_ends_when_the_last_who_waits_has_no_more_time() {
        let allowed = Allowance::new(10, Duration::from_millis(1)).shared();
        allowed.widen(5, Duration::ZERO);
        assert_eq!(allowed.most(), 10, "nobody narrows it");
        assert_eq!(allowed.limit(std::future::pending::<()>()).await, None);
        let allowed = Allowance::new(10, Duration::ZERO).shared();
        allowed.widen(20, Duration::from_secs(60));
        assert_eq!((allowed.most(), allowed.left() > Duration::from_secs(50)), (20, true));
        assert_eq!(allowed.limit(async { 1 }).await, Some(1));
    }
}
