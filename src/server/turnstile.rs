//! Requests begin a few at a time, where many could: what has begun goes on first. Each holds tens of kilobytes while it is under way, in the kernel too,
//! and a core takes an eighth less time for it while those of all of them fit into its cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// So many begin before one has ended.
const AT_ONCE: usize = 8;

/// Who waits is let in within this, though others have not ended. Of 64 busy connections each waits for half of it; of hundreds nobody is held back for long.
const PATIENCE: Duration = Duration::from_millis(10);

/// That of one worker. It holds nobody up: once nothing has ended while the worker went through all that was ready, as many more begin.
#[derive(Clone, Debug)]
pub struct Turnstile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Semaphore,
    /// How many have come to wait.
    came: AtomicUsize,
    /// How many of them wait no more.
    went: AtomicUsize,
    ended: AtomicUsize,
    tended: AtomicBool,
    patience: Duration,
}

/// A request that has begun, until it ends.
#[derive(Debug)]
pub struct Begun<'a> {
    of: &'a Inner,
    /// Since when it has waited, where it had to.
    pub since: Option<Instant>,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self::with(PATIENCE)
    }
}

impl Turnstile {
    fn with(patience: Duration) -> Self {
        Self(Arc::new(Inner {
            free: Semaphore::new(AT_ONCE),
            came: AtomicUsize::new(0),
            went: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            tended: AtomicBool::new(false),
            patience,
        }))
    }

    /// Waits until a request may begin: in the order in which they came.
    pub async fn enter(&self) -> Begun<'_> {
        if let Ok(place) = self.0.free.try_acquire() {
            place.forget();
            return Begun { of: &self.0, since: None };
        }
        // Boxed: every idle connection would hold the room for it.
        Box::pin(self.wait()).await
    }

    async fn wait(&self) -> Begun<'_> {
        let (_waits, since) = (Waits::new(self), Instant::now());
        if let Ok(place) = self.0.free.acquire().await {
            place.forget();
        }
        Begun { of: &self.0, since: Some(since) }
    }

    /// Lets more in where those that are in only wait themselves, or take too long.
    async fn tend(self) {
        let Inner { free, came, went, ended, tended, patience } = &*self.0;
        let (mut owed, mut since) = (came.load(Ordering::Relaxed), Instant::now());
        while came.load(Ordering::Relaxed) != went.load(Ordering::Relaxed) {
            let before = ended.load(Ordering::Relaxed);
            yield_now().await;
            let more = if since.elapsed() >= *patience {
                // Who came before that is at the head of those that wait.
                let late = owed.saturating_sub(went.load(Ordering::Relaxed));
                (owed, since) = (came.load(Ordering::Relaxed), Instant::now());
                late
            } else if ended.load(Ordering::Relaxed) == before {
                AT_ONCE
            } else {
                0
            };
            if more > 0 {
                free.add_permits(more);
                yield_now().await;
            }
        }
        tended.store(false, Ordering::Relaxed);
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.of.ended.fetch_add(1, Ordering::Relaxed);
        // Those that were let in beyond the number give nothing back.
        if self.of.free.available_permits() < AT_ONCE {
            self.of.free.add_permits(1);
        }
    }
}

/// One that waits, for as long as it does.
struct Waits<'a>(&'a Turnstile);

impl<'a> Waits<'a> {
    fn new(turnstile: &'a Turnstile) -> Self {
        turnstile.0.came.fetch_add(1, Ordering::Relaxed);
        if !turnstile.0.tended.swap(true, Ordering::Relaxed) {
            tokio::spawn(turnstile.clone().tend());
        }
        Self(turnstile)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.0.went.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    async fn full(turnstile: &Turnstile) -> Vec<Begun<'_>> {
        let begun: Vec<_> = (0..AT_ONCE).map_while(|_| turnstile.enter().now_or_never()).collect();
        assert_eq!(begun.len(), AT_ONCE);
        begun
    }

    /// Has so many come that do not end, and counts those that have begun.
    fn crowd(turnstile: &Turnstile, size: usize) -> Arc<AtomicUsize> {
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..size {
            let (turnstile, begun) = (turnstile.clone(), begun.clone());
            tokio::spawn(async move {
                let _in = turnstile.enter().await;
                begun.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            });
        }
        begun
    }

    #[tokio::test]
    async fn what_has_begun_ends_first() {
        let turnstile = Turnstile::default();
        let mut begun = full(&turnstile).await;
        let mut next = Box::pin(turnstile.enter());
        assert!(next.as_mut().now_or_never().is_none());
        begun.pop();
        let next = next.as_mut().now_or_never().unwrap();
        assert!(next.since.is_some() && begun.iter().all(|begun| begun.since.is_none()));
    }

    #[tokio::test]
    async fn while_some_end_no_more_begin_than_have_ended() {
        let turnstile = Turnstile::with(Duration::MAX);
        let mut first = full(&turnstile).await;
        let later = crowd(&turnstile, 2 * AT_ONCE);
        for ended in 1..AT_ONCE {
            first.pop();
            yield_now().await;
            assert!(later.load(Ordering::Relaxed) <= ended);
        }
        assert!(later.load(Ordering::Relaxed) > 1);
    }

    #[tokio::test]
    async fn nobody_waits_for_what_does_not_end() {
        let turnstile = Turnstile::with(Duration::MAX);
        let _first = full(&turnstile).await;
        let later = crowd(&turnstile, 5 * AT_ONCE);
        let all = async {
            while later.load(Ordering::Relaxed) < 5 * AT_ONCE {
                yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.unwrap();
    }

    #[tokio::test]
    async fn who_has_waited_long_begins_though_hardly_anything_has_ended() {
        // Each turn takes as long as one may wait, and one ends in it.
        let turnstile = Turnstile::with(Duration::ZERO);
        let mut first = full(&turnstile).await;
        let later = crowd(&turnstile, 5 * AT_ONCE);
        for _ in 0..4 {
            first.pop();
            yield_now().await;
        }
        assert_eq!(later.load(Ordering::Relaxed), 5 * AT_ONCE);
    }

    #[tokio::test]
    async fn it_lets_no_more_in_at_once_after_others_were_let_in_beyond_the_number() {
        let turnstile = Turnstile::default();
        let mut begun = Vec::new();
        for _ in 0..3 * AT_ONCE {
            begun.push(turnstile.enter().await);
        }
        begun.clear();
        drop(full(&turnstile).await);
        let _full = full(&turnstile).await;
        assert!(turnstile.enter().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_leaves_while_it_waits_takes_no_place_and_leaves_none() {
        let turnstile = Turnstile::default();
        let mut begun = full(&turnstile).await;
        assert!(turnstile.enter().now_or_never().is_none());
        begun.pop();
        begun.push(turnstile.enter().now_or_never().unwrap());
        assert!(turnstile.enter().now_or_never().is_none());
    }
}
