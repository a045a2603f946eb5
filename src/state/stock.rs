use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use moka::Expiry;
use moka::sync::Cache;

/// What is kept for a while, each for its own, within a bound of bytes: whoever fills it drives out what is asked for least.
pub struct Stock<K, V>(Cache<K, Entry<V>, RandomState>);

#[derive(Clone)]
struct Entry<V> {
    value: V,
    bytes: u32,
    holds: Duration,
}

/// What an entry takes beside what it is of.
const ENTRY: usize = 256;

impl<K, V> fmt::Debug for Stock<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is kept is for nobody's eyes.
        f.debug_struct("Stock").finish_non_exhaustive()
    }
}

impl<K, V> Stock<K, V>
where
    K: Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Of so many bytes at most.
    pub fn new(most: u64) -> Self {
        let builder = Cache::<K, Entry<V>>::builder().max_capacity(most).weigher(|_, entry| entry.bytes).expire_after(Ends);
        Self(builder.build_with_hasher(RandomState::default()))
    }

    /// What is kept under this key.
    pub fn find<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.get(key).map(|entry| entry.value)
    }

    /// Keeps it for so long, in the place of what was there before. It takes so many bytes, its key with it.
    pub fn keep(&self, key: K, value: V, bytes: usize, holds: Duration) {
        if holds.is_zero() {
            return;
        }
        self.0.insert(key, Entry { value, bytes: u32::try_from(ENTRY + bytes).unwrap_or(u32::MAX), holds });
        // What has to go for it goes now: there is nobody else to see to that.
        self.0.run_pending_tasks();
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> u64 {
        self.0.weighted_size()
    }
}

/// Lets go what does not hold any more.
struct Ends;

impl<K, V> Expiry<K, Entry<V>> for Ends {
    fn expire_after_create(&self, _: &K, entry: &Entry<V>, _: Instant) -> Option<Duration> {
        Some(entry.holds)
    }

    fn expire_after_update(&self, _: &K, entry: &Entry<V>, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn it_never_holds_more_than_it_may() {
        let stock = Stock::<Box<str>, u32>::new(10_000);
        for number in 0..100 {
            stock.keep(number.to_string().into(), number, 1000, LONG);
            assert!(stock.held() <= 10_000, "{}", stock.held());
        }
        assert!(stock.held() > 5000);
        stock.keep("large".into(), 0, 10_000, LONG);
        assert_eq!(stock.find("large"), None);
    }

    #[test]
    fn each_holds_for_its_own_time() {
        let stock = Stock::<Box<str>, u32>::new(10_000);
        stock.keep("long".into(), 1, 0, LONG);
        stock.keep("short".into(), 2, 0, Duration::from_millis(20));
        stock.keep("never".into(), 3, 0, Duration::ZERO);
        let began = Instant::now();
        while stock.find("short").is_some() {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::park_timeout(Duration::from_millis(1));
        }
        assert_eq!(["long", "short", "never"].map(|key| stock.find(key)), [Some(1), None, None]);
    }
}
