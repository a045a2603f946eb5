//! Requests begin a few at a time, where many could: what has begun goes on first. Each holds tens of kilobytes while it is under way, in the kernel too,
//! and a core takes an eighth less time for it while those of all of them fit into its cache.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// So many begin before one has ended.
const AT_ONCE: usize = 8;

/// That of one worker. It holds nobody up: once nothing has ended while the worker went through all that was ready, as many more begin.
#[derive(Clone, Debug)]
pub struct Turnstile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    free: Semaphore,
    waiting: AtomicUsize,
    ended: AtomicUsize,
    tended: AtomicBool,
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
        Self(Arc::new(Inner {
            free: Semaphore::new(AT_ONCE),
            waiting: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            tended: AtomicBool::new(false),
        }))
    }
}

impl Turnstile {
    /// Waits until a request may begin: in the order in which they came.
    pub async fn enter(&self) -> Begun<'_> {
        let free = &self.0.free;
        let (place, since) = match free.try_acquire() {
            Ok(place) => (Ok(place), None),
            Err(_) => {
                let (_waits, since) = (Waits::new(self), Instant::now());
                (free.acquire().await, Some(since))
            }
        };
        if let Ok(place) = place {
            place.forget();
        }
        Begun { of: &self.0, since }
    }

    /// Lets more in where those that are in only wait themselves.
    async fn tend(self) {
        while self.0.waiting.load(Ordering::Relaxed) > 0 {
            let before = self.0.ended.load(Ordering::Relaxed);
            yield_now().await;
            if self.0.ended.load(Ordering::Relaxed) == before {
                self.0.free.add_permits(AT_ONCE);
                yield_now().await;
            }
        }
        self.0.tended.store(false, Ordering::Relaxed);
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
        turnstile.0.waiting.fetch_add(1, Ordering::Relaxed);
        if !turnstile.0.tended.swap(true, Ordering::Relaxed) {
            tokio::spawn(turnstile.clone().tend());
        }
        Self(turnstile)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_has_begun_ends_first_and_nobody_waits_for_what_does_not_end() {
        let turnstile = Turnstile::default();
        let mut begun: Vec<_> = (0..AT_ONCE).map(|_| turnstile.enter().now_or_never().unwrap()).collect();
        let mut next = Box::pin(turnstile.enter());
        assert!(next.as_mut().now_or_never().is_none());
        begun.pop();
        let next = next.as_mut().now_or_never().unwrap();
        assert!(next.since.is_some() && begun.iter().all(|begun| begun.since.is_none()));
        begun.push(next);
        // None of them ends any more.
        for _ in 0..3 * AT_ONCE {
            begun.push(turnstile.enter().await);
        }
    }

    #[tokio::test]
    async fn it_lets_no_more_in_at_once_after_others_were_let_in_beyond_the_number() {
        let turnstile = Turnstile::default();
        let mut begun = Vec::new();
        for _ in 0..3 * AT_ONCE {
            begun.push(turnstile.enter().await);
        }
        begun.clear();
        begun.extend((0..3 * AT_ONCE).map_while(|_| turnstile.enter().now_or_never()));
        assert_eq!(begun.len(), AT_ONCE);
    }
}
