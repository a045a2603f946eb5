use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use tokio::sync::{Mutex, MutexGuard, Notify, watch};
use tokio::time::timeout;

use super::Room;

/// What is fetched beside the requests for all of them, and how far it is with that. It outlives snapshots: a reload forgets nothing and asks nobody anew.
#[derive(Debug, Default)]
pub struct Fetched<T> {
    known: ArcSwap<T>,
    turns: Mutex<()>,
    rounds: watch::Sender<Rounds>,
    wanted: Notify,
    waiting: Room,
}

/// Attempts to fetch, by number.
#[derive(Clone, Copy, Debug, Default)]
struct Rounds {
    begun: u64,
    ended: u64,
    /// The one that a request has asked for.
    wanted: u64,
    /// When one did.
    asked: Option<Instant>,
}

/// What a request may cost that needs something else than what is known.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// The least time between two attempts that requests ask for.
    pub cooldown: Duration,
    /// How long a request waits for one.
    pub wait: Duration,
    /// How many requests wait at once.
    pub waiting: usize,
}

/// What became of the wish for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// There was one, and it has ended.
    Ended,
    /// There was one a moment ago.
    TooSoon,
    /// It has not ended in time, or too many wait for it.
    Open,
}

impl<T> Fetched<T> {
    /// What is known now.
    pub fn known(&self) -> Guard<Arc<T>> {
        self.known.load()
    }

    /// Waits until nobody else fetches.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turns.lock().await
    }

    /// An attempt begins, which has this number.
    pub fn begin(&self) -> u64 {
        let mut number = 0;
        self.rounds.send_modify(|rounds| {
            rounds.begun += 1;
            number = rounds.begun;
        });
        number
    }

    /// The attempt of this number has ended, with this in the end.
    pub fn end(&self, number: u64, known: T) {
        self.known.store(Arc::new(known));
        self.rounds.send_modify(|rounds| rounds.ended = number);
    }

    /// Whether a request has asked for an attempt that has not ended.
    pub fn is_wanted(&self) -> bool {
        let rounds = self.rounds.borrow();
        rounds.wanted > rounds.ended
    }

    /// Waits until a request asks for one.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Asks for an attempt: the one that others have asked for, where there is one. None where there was one a moment ago.
    pub fn want(&self, cooldown: Duration) -> Option<u64> {
        let mut number = None;
        self.rounds.send_if_modified(|rounds| {
            if rounds.wanted > rounds.ended {
                number = Some(rounds.wanted);
                return false;
            }
            let now = Instant::now();
            if rounds.asked.is_some_and(|asked| now.duration_since(asked) < cooldown) {
                return false;
            }
            // One that is under way may have been answered before there was something else.
            (rounds.asked, rounds.wanted) = (Some(now), rounds.begun + 1);
            number = Some(rounds.wanted);
            true
        });
        if number.is_some() {
            // Each time: who was told before may have gone with its snapshot.
            self.wanted.notify_one();
        }
        number
    }

    /// Asks for an attempt, unless what is known `serves` by now, and waits for it.
    pub async fn renew(&self, serves: impl FnOnce(&T) -> bool, patience: &Patience) -> Wish {
        if serves(&self.known()) {
            return Wish::Ended;
        }
        let Some(number) = self.want(patience.cooldown) else { return Wish::TooSoon };
        self.await_end(number, patience).await
    }

    /// How long no request can cause an attempt.
    pub fn quiet(&self, cooldown: Duration) -> Duration {
        self.rounds.borrow().asked.map_or(Duration::ZERO, |asked| cooldown.saturating_sub(asked.elapsed()))
    }

    /// Waits for the attempt that is under way, or is to come at once: nothing is known yet.
    pub async fn first(&self, patience: &Patience) -> Wish {
        let Rounds { begun, ended, .. } = *self.rounds.borrow();
        if begun > 0 && begun == ended { Wish::TooSoon } else { self.await_end(begun.max(1), patience).await }
    }

    async fn await_end(&self, number: u64, patience: &Patience) -> Wish {
        let Some(_place) = self.waiting.enter(patience.waiting) else { return Wish::Open };
        let mut rounds = self.rounds.subscribe();
        let ended = timeout(patience.wait, rounds.wait_for(|rounds| rounds.ended >= number)).await;
        if ended.is_ok() { Wish::Ended } else { Wish::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { cooldown: Duration::from_secs(3600), wait: Duration::from_secs(10), waiting: 8 };

    /// Ends an attempt as soon as one is asked for, and counts them.
    async fn serve(ring: Arc<Fetched<u64>>, count: Arc<std::sync::atomic::AtomicUsize>) {
        loop {
            ring.wanted().await;
            let _turn = ring.turn().await;
            let number = ring.begin();
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
            ring.end(number, 0);
        }
    }

    #[tokio::test]
    async fn many_that_ask_at_once_cause_one_attempt_and_no_other_within_the_cooldown() {
        let (ring, count) = (Arc::<Fetched<u64>>::default(), Arc::<std::sync::atomic::AtomicUsize>::default());
        let server = tokio::spawn(serve(ring.clone(), count.clone()));
        let patience = Patience { waiting: 1000, ..PATIENCE };
        let ask = || async { ring.renew(|known| *known != 0, &patience).await };
        let wishes = futures_util::future::join_all((0..500).map(|_| ask())).await;
        assert!(wishes.iter().all(|wish| *wish == Wish::Ended));
        assert_eq!(ask().await, Wish::TooSoon);
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 1);
        let eager = Patience { cooldown: Duration::ZERO, ..PATIENCE };
        assert_eq!(ring.renew(|known| *known != 0, &eager).await, Wish::Ended);
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 2);
        assert_eq!(ring.renew(|known| *known != 7, &eager).await, Wish::Ended, "it is another by now");
        assert_eq!(count.load(std::sync::atomic::Ordering::Relaxed), 2);
        server.abort();
    }

    #[tokio::test]
    async fn few_wait_and_not_for_long() {
        let ring = Fetched::<u64>::default();
        let hasty = Patience { wait: Duration::from_millis(1), ..PATIENCE };
        assert_eq!(ring.renew(|known| *known != 0, &hasty).await, Wish::Open);
        assert!(ring.is_wanted());
        let crowd: Vec<_> = (0..8).map(|_| ring.waiting.enter(8).unwrap()).collect();
        assert_eq!(ring.renew(|known| *known != 0, &PATIENCE).await, Wish::Open, "no place, and no wait");
        drop(crowd);
        assert_eq!(ring.first(&hasty).await, Wish::Open);
    }

    #[tokio::test]
    async fn an_attempt_that_had_begun_before_the_wish_does_not_answer_it() {
        let ring = Arc::<Fetched<u64>>::default();
        let early = ring.begin();
        let (other, patience) = (ring.clone(), PATIENCE);
        let wish = tokio::spawn(async move { other.renew(|known| *known != 0, &patience).await });
        ring.wanted().await;
        ring.end(early, 0);
        assert!(ring.is_wanted() && !wish.is_finished());
        let late = ring.begin();
        ring.end(late, 0);
        assert_eq!(wish.await.unwrap(), Wish::Ended);
        assert!(!ring.is_wanted());
        assert_eq!(ring.first(&PATIENCE).await, Wish::TooSoon, "nothing is under way");
    }

    #[tokio::test]
    async fn a_wish_that_went_with_a_snapshot_is_told_again_by_the_next() {
        let ring = Fetched::<u64>::default();
        let hasty = Patience { wait: Duration::from_millis(1), ..PATIENCE };
        for _ in 0..2 {
            assert_eq!(ring.renew(|known| *known != 0, &hasty).await, Wish::Open);
            // It is heard, and nothing comes of it.
            timeout(Duration::from_secs(10), ring.wanted()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_attempt_that_was_given_up_is_answered_by_the_next() {
        let ring = Arc::<Fetched<u64>>::default();
        let (other, patience) = (ring.clone(), PATIENCE);
        let wish = tokio::spawn(async move { other.renew(|known| *known != 0, &patience).await });
        ring.wanted().await;
        ring.begin();
        let next = ring.begin();
        ring.end(next, 0);
        assert_eq!(wish.await.unwrap(), Wish::Ended);
    }
}
