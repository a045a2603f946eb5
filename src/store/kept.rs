use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use moka::sync::Cache;
use tokio::time::timeout_at;

use crate::state::Flights;

/// What was looked up elsewhere, for as long as it holds. Who asks for the same at the same time waits for one look-up, and that only so long.
pub(super) struct Kept<K, T> {
    known: Cache<K, Entry<T>, RandomState>,
    unknown: Cache<K, Instant, RandomState>,
    flights: Arc<Flights<K, Outcome<T>>>,
    terms: Terms,
}

/// For how long what holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// What was found.
    pub known: Duration,
    /// That there is nothing.
    pub unknown: Duration,
    /// What was found, beyond the first, while nobody can be asked.
    pub stale: Duration,
    /// How much is known at most.
    pub entries: u64,
    /// Of how many it is known at most that there is nothing.
    pub nothing: u64,
}

/// Look-ups at once.
const LOOKUPS: usize = 1024;

struct Entry<T> {
    found: Arc<T>,
    /// When it was asked for: what has changed since is not in it.
    asked: Instant,
}

/// What a look-up came to.
#[derive(Debug)]
pub(super) enum Outcome<T> {
    /// It is there.
    Found(Arc<T>),
    /// It is not.
    Nothing,
    /// Nobody knows, for that reason.
    Failed(Arc<str>),
}

impl<T> Clone for Entry<T> {
    fn clone(&self) -> Self {
        Self { found: self.found.clone(), asked: self.asked }
    }
}

impl<T> Clone for Outcome<T> {
    fn clone(&self) -> Self {
        match self {
            Outcome::Found(found) => Outcome::Found(found.clone()),
            Outcome::Nothing => Outcome::Nothing,
            Outcome::Failed(cause) => Outcome::Failed(cause.clone()),
        }
    }
}

impl<K, T> fmt::Debug for Kept<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept").field("terms", &self.terms).finish_non_exhaustive()
    }
}

impl<K, T> Kept<K, T>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    T: Send + Sync + 'static,
{
    /// Nothing is known yet.
    pub fn new(terms: Terms) -> Self {
        let long = terms.known.saturating_add(terms.stale);
        let hasher = RandomState::default;
        Self {
            known: Cache::builder().max_capacity(terms.entries).time_to_live(long).build_with_hasher(hasher()),
            unknown: Cache::builder().max_capacity(terms.nothing).time_to_live(terms.unknown).build_with_hasher(hasher()),
            flights: Arc::new(Flights::new(LOOKUPS)),
            terms,
        }
    }

    /// What stands under this key, which `ask` looks up where it is not known. Nobody waits for that longer than until then.
    ///
    /// # Errors
    /// Nobody knows, for that reason.
    pub async fn find<F>(self: &Arc<Self>, key: K, until: Instant, ask: impl FnOnce() -> F) -> Result<Option<Arc<T>>, Arc<str>>
    where
        F: Future<Output = Outcome<T>> + Send + 'static,
    {
        let known = self.known.get(&key);
        if let Some(entry) = known.as_ref().filter(|entry| entry.asked.elapsed() < self.terms.known) {
            // It is asked for a little before its time is up, by one for all and until there is an answer, and nobody waits.
            if entry.asked.elapsed() > self.terms.known / 4 * 3 {
                let _ = self.flights.begin(key.clone(), || self.clone().look_up(key, ask()));
            }
            return Ok(Some(entry.found.clone()));
        }
        if self.unknown.get(&key).is_some_and(|asked| asked.elapsed() < self.terms.unknown) {
            return Ok(None);
        }
        let cause = match self.flights.begin(key.clone(), || self.clone().look_up(key, ask())) {
            Some(mut landing) => match timeout_at(until.into(), landing.wait_for(Option::is_some)).await {
                Ok(Ok(landed)) => match &*landed {
                    Some(Outcome::Found(found)) => return Ok(Some(found.clone())),
                    Some(Outcome::Nothing) => return Ok(None),
                    Some(Outcome::Failed(cause)) => cause.clone(),
                    None => "there was no answer".into(),
                },
                Ok(Err(_)) => "the look-up has ended without an answer".into(),
                Err(_) => "there was no answer in time".into(),
            },
            None => "too much is being looked up".into(),
        };
        let stale = known.filter(|entry| entry.asked.elapsed() < self.terms.known.saturating_add(self.terms.stale));
        stale.map(|entry| Some(entry.found)).ok_or(cause)
    }

    async fn look_up(self: Arc<Self>, key: K, ask: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let asked = Instant::now();
        let outcome = ask.await;
        match &outcome {
            Outcome::Found(found) => {
                self.known.insert(key, Entry { found: found.clone(), asked });
            }
            Outcome::Nothing => {
                self.known.invalidate(&key);
                self.unknown.insert(key, asked);
            }
            Outcome::Failed(_) => {}
        }
        outcome
    }

    /// How much is known to be there.
    pub fn count(&self) -> u64 {
        self.known.run_pending_tasks();
        self.known.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const TERMS: Terms =
        Terms { known: Duration::from_secs(60), unknown: Duration::from_secs(60), stale: Duration::ZERO, entries: 100, nothing: 100 };

    fn kept(terms: Terms) -> Arc<Kept<u8, &'static str>> {
        Arc::new(Kept::new(terms))
    }

    fn soon(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    /// Finds the key 1, where this is what a look-up comes to. Whether somebody looked, and what was found.
    async fn find(kept: &Arc<Kept<u8, &'static str>>, outcome: Outcome<&'static str>) -> (bool, Result<Option<&'static str>, String>) {
        let looked = Arc::new(Mutex::new(false));
        let look = looked.clone();
        let found = kept.find(1, soon(5000), || async move {
            *look.lock().unwrap() = true;
            outcome
        });
        let found = found.await.map(|found| found.map(|found| *found)).map_err(|why| why.to_string());
        let looked = *looked.lock().unwrap();
        (looked, found)
    }

    fn there(text: &'static str) -> Outcome<&'static str> {
        Outcome::Found(Arc::new(text))
    }

    fn failed() -> Outcome<&'static str> {
        Outcome::Failed("down".into())
    }

    #[tokio::test]
    async fn what_is_known_is_not_asked_for_again() {
        let kept = kept(TERMS);
        assert_eq!(find(&kept, there("a")).await, (true, Ok(Some("a"))));
        assert_eq!(find(&kept, there("b")).await, (false, Ok(Some("a"))));
        assert_eq!(kept.count(), 1);
    }

    #[tokio::test]
    async fn that_there_is_nothing_is_known_too() {
        let kept = kept(TERMS);
        assert_eq!(find(&kept, Outcome::Nothing).await, (true, Ok(None)));
        assert_eq!(find(&kept, there("b")).await, (false, Ok(None)));
    }

    #[tokio::test]
    async fn what_is_over_is_asked_for_again_and_may_be_gone() {
        let kept = kept(Terms { known: Duration::ZERO, unknown: Duration::ZERO, ..TERMS });
        assert_eq!(find(&kept, there("a")).await, (true, Ok(Some("a"))));
        assert_eq!(find(&kept, Outcome::Nothing).await, (true, Ok(None)));
        assert_eq!(find(&kept, there("b")).await, (true, Ok(Some("b"))));
    }

    #[tokio::test]
    async fn a_failure_is_not_kept_and_what_was_known_lasts_as_long_as_it_may() {
        let kept = kept(Terms { known: Duration::ZERO, ..TERMS });
        assert_eq!(find(&kept, failed()).await, (true, Err("down".to_owned())));
        assert_eq!(find(&kept, there("a")).await, (true, Ok(Some("a"))));
        assert_eq!(find(&kept, failed()).await, (true, Err("down".to_owned())));
        let kept = self::kept(Terms { known: Duration::ZERO, stale: Duration::from_secs(60), ..TERMS });
        assert_eq!(find(&kept, there("a")).await, (true, Ok(Some("a"))));
        assert_eq!(find(&kept, failed()).await, (true, Ok(Some("a"))));
        // Who was taken away before is none of those.
        assert_eq!(find(&kept, Outcome::Nothing).await, (true, Ok(None)));
        assert_eq!(find(&kept, failed()).await, (false, Ok(None)));
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_may_be() {
        let kept = kept(TERMS);
        let found = kept.find(1, soon(10), std::future::pending).await;
        assert_eq!(&*found.unwrap_err(), "there was no answer in time");
    }

    #[tokio::test]
    async fn a_look_up_that_is_lost_is_not_too_much() {
        let kept = kept(TERMS);
        let found = kept.find(1, soon(5000), || async { panic!("as it may") }).await;
        assert_eq!(&*found.unwrap_err(), "the look-up has ended without an answer");
    }

    #[tokio::test]
    async fn it_is_asked_for_again_before_it_is_over_and_nobody_waits() {
        let kept = kept(Terms { known: Duration::from_millis(400), ..TERMS });
        assert_eq!(find(&kept, there("a")).await, (true, Ok(Some("a"))));
        while kept.known.get(&1).unwrap().asked.elapsed() <= Duration::from_millis(300) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // One that fails is not the last.
        assert_eq!(find(&kept, failed()).await.1, Ok(Some("a")));
        while kept.flights.under_way(&1).is_some() {
            tokio::task::yield_now().await;
        }
        assert_eq!(find(&kept, there("b")).await.1, Ok(Some("a")));
        while kept.known.get(&1).is_some_and(|entry| *entry.found == "a") {
            tokio::task::yield_now().await;
        }
        assert_eq!(find(&kept, there("c")).await, (false, Ok(Some("b"))));
    }
}
