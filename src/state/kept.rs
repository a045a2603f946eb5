use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use moka::Expiry;
use moka::sync::Cache;

/// Answers of services that are kept for a time, for all workers, within a bound of bytes.
#[derive(Debug, Default)]
pub struct Kept(ArcSwapOption<Store>);

#[derive(Debug)]
struct Store {
    most: u64,
    answers: Cache<Box<[u8]>, Arc<KeptAnswer>>,
    evicted: Arc<AtomicU64>,
}

/// One of them.
#[derive(Debug)]
pub struct KeptAnswer {
    /// Its status.
    pub status: StatusCode,
    /// What of its headers its body needs, and what says how long it may be kept.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// When it came.
    pub since: Instant,
    /// For how long from then it is fresh.
    pub fresh: Duration,
}

/// What an entry takes beside its key, its headers and its body.
const ENTRY: usize = 256;

/// What a header takes beside its text.
const HEADER: usize = 64;

impl Kept {
    /// Holds at most so many bytes from now on; none where nobody keeps anything. With another bound it starts anew.
    pub fn bound(&self, most: Option<u64>) {
        if self.0.load().as_ref().map(|store| store.most) != most {
            self.0.store(most.map(|most| Arc::new(Store::new(most))));
        }
    }

    /// The answer under this key, while it is fresh.
    pub fn find(&self, key: &[u8]) -> Option<Arc<KeptAnswer>> {
        let answer = self.0.load().as_ref()?.answers.get(key)?;
        (answer.since.elapsed() < answer.fresh).then_some(answer)
    }

    /// Keeps an answer under this key, in the place of one before.
    pub fn keep(&self, key: Box<[u8]>, answer: KeptAnswer) {
        if let Some(store) = &*self.0.load() {
            store.answers.insert(key, Arc::new(answer));
            // What has to go for it goes now: there is nobody else to see to that.
            store.answers.run_pending_tasks();
        }
    }

    /// Bytes that are held now, and answers that had to go for others since the last time.
    pub fn told(&self) -> (u64, u64) {
        let store = self.0.load();
        store.as_ref().map_or((0, 0), |store| (store.answers.weighted_size(), store.evicted.swap(0, Ordering::Relaxed)))
    }
}

impl Store {
    fn new(most: u64) -> Self {
        let evicted = Arc::<AtomicU64>::default();
        let count = evicted.clone();
        let answers = Cache::<Box<[u8]>, Arc<KeptAnswer>>::builder()
            .max_capacity(most)
            .weigher(|key, answer| u32::try_from(weight(key, answer)).unwrap_or(u32::MAX))
            .expire_after(Fresh)
            .eviction_listener(move |_, _, cause| {
                if cause == moka::notification::RemovalCause::Size {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        Self { most, answers, evicted }
    }
}

/// Lets go what is not fresh any more.
struct Fresh;

impl Expiry<Box<[u8]>, Arc<KeptAnswer>> for Fresh {
    fn expire_after_create(&self, _: &Box<[u8]>, answer: &Arc<KeptAnswer>, _: Instant) -> Option<Duration> {
        Some(answer.fresh)
    }

    fn expire_after_update(&self, _: &Box<[u8]>, answer: &Arc<KeptAnswer>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(answer.fresh)
    }
}

fn weight(key: &[u8], answer: &KeptAnswer) -> usize {
    let headers: usize = answer.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER).sum();
    ENTRY + key.len() + headers + answer.body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize, fresh: Duration) -> KeptAnswer {
        let body = Bytes::from(vec![b'x'; bytes]);
        KeptAnswer { status: StatusCode::OK, headers: HeaderMap::new(), body, since: Instant::now(), fresh }
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn it_never_holds_more_than_it_may() {
        let kept = Kept::default();
        kept.keep(Box::from(*b"a"), answer(1, LONG));
        assert!(kept.find(b"a").is_none(), "nobody keeps anything");
        kept.bound(Some(10_000));
        for number in 0..100_u8 {
            kept.keep(Box::from([number]), answer(1000, LONG));
            assert!(kept.told().0 <= 10_000);
        }
        kept.keep(Box::from(*b"large"), answer(20_000, LONG));
        assert!(kept.find(b"large").is_none() && kept.told().0 <= 10_000);
    }

    #[test]
    fn what_had_to_go_is_counted_and_another_bound_starts_anew() {
        let kept = Kept::default();
        kept.bound(Some(1000));
        kept.keep(Box::from(*b"a"), answer(500, LONG));
        kept.bound(Some(1000));
        assert!(kept.find(b"a").is_some());
        // Whoever is asked for more often stays.
        (0..10).for_each(|_| drop(kept.find(b"b")));
        kept.keep(Box::from(*b"b"), answer(500, LONG));
        assert!(kept.find(b"b").is_some() && kept.find(b"a").is_none());
        assert_eq!(kept.told().1, 1);
        assert_eq!(kept.told().1, 0);
        kept.bound(Some(2000));
        assert!(kept.find(b"b").is_none());
    }

    #[test]
    fn what_is_stale_is_never_given() {
        let kept = Kept::default();
        kept.bound(Some(10_000));
        kept.keep(Box::from(*b"a"), KeptAnswer { since: Instant::now() - Duration::from_secs(5), ..answer(1, Duration::from_secs(5)) });
        assert!(kept.find(b"a").is_none());
    }
}
