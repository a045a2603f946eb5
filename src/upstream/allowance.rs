use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::stage::{Progress, Stage};

/// What a call may take, and how far its present attempt has come. Who joins a call that is under way may widen it, and nobody narrows it.
#[derive(Debug)]
pub struct Allowance {
    since: Instant,
    /// Nanoseconds.
    within: AtomicU64,
    /// Bytes of the answer's body that are held.
    most: AtomicUsize,
    pub(super) progress: Progress,
}

impl Allowance {
    /// So many bytes of an answer's body, and so long from now.
    pub fn new(most: usize, within: Duration) -> Self {
        Self { since: Instant::now(), within: AtomicU64::new(nanos(within)), most: AtomicUsize::new(most), progress: Progress::default() }
    }

    /// Lets it take as much and as long as this at least, from now.
    pub fn widen(&self, most: usize, within: Duration) {
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

    /// Bytes of the answer's body that may be held now.
    pub(super) fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Waits for as long as it may take; none where that is over.
    pub(super) async fn limit<T>(&self, attempt: impl Future<Output = T>) -> Option<T> {
        let mut attempt = pin!(attempt);
        loop {
            // Pingora's own would be up to 10 ms late, and somebody waits for just so long.
            if let Ok(ended) = tokio::time::timeout(self.left(), &mut attempt).await {
                return Some(ended);
            }
            if self.left().is_zero() {
                return None;
            }
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_when_the_last_who_waits_has_no_more_time() {
        let allowed = Allowance::new(10, Duration::from_millis(1));
        allowed.widen(5, Duration::ZERO);
        assert_eq!(allowed.most(), 10, "nobody narrows it");
        assert_eq!(allowed.limit(std::future::pending::<()>()).await, None);
        let allowed = Allowance::new(10, Duration::ZERO);
        allowed.widen(20, Duration::from_secs(60));
        assert_eq!((allowed.most(), allowed.left() > Duration::from_secs(50)), (20, true));
        assert_eq!(allowed.limit(async { 1 }).await, Some(1));
    }
}
