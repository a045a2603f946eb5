use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How much a bucket holds and how fast it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Tokens in a full bucket; at least 1.
    pub burst: u64,
    /// The time in which one token comes back, in nanoseconds; at least 1.
    pub interval: u64,
}

/// What a bucket said to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether a token was there, and is now taken.
    pub allowed: bool,
    /// Tokens left right now.
    pub remaining: u64,
    /// The time until the next token comes back; zero for a full bucket.
    pub next: Duration,
}

/// Token buckets by key, exact across threads: each is one number, the time at which it will be full again (GCRA's theoretical arrival time), changed
/// under the lock of its shard. A bucket that is full needs no entry.
#[derive(Debug)]
pub struct Buckets {
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

#[derive(Debug, Default)]
struct Shard {
    full_at: HashMap<Box<[u8]>, u64>,
    swept: u64,
}

const SHARDS: usize = 64;

/// Keys held in one shard at most: about a million in all, 100 MB. Over it the requests of new keys are counted together, which can only refuse
/// too much, never too little.
const KEYS: usize = 16_384;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Default for Buckets {
    fn default() -> Self {
        LazyLock::force(&START);
        Self { hasher: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }
}

impl Buckets {
    /// Takes one token from the bucket of `key`, if one is there. A refused request takes nothing. Keys are bytes, so that an address needs no
    /// formatting; they are compared whole, so no two share a bucket. The empty key is the one that new keys share where there are too many.
    pub fn take(&self, key: &[u8], limit: Limit) -> Decision {
        self.take_by(key, limit, || u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn take_by(&self, key: &[u8], limit: Limit, clock: impl FnOnce() -> u64) -> Decision {
        let place = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        let Some(shard) = self.shards.get(place) else { return limit.decide(0, 0).1 };
        let mut shard = shard.lock();
        // Read under the lock, or time would run backwards in a bucket: who reads the clock first may get the lock last, and is refused the last token.
        let now = clock();
        if let Some(full_at) = shard.full_at.get_mut(key) {
            let (next, decision) = limit.decide(*full_at, now);
            *full_at = next;
            return decision;
        }
        let key = if shard.has_room(now) { key } else { b"" };
        let full_at = shard.full_at.entry(key.into()).or_default();
        let (next, decision) = limit.decide(*full_at, now);
        *full_at = next;
        decision
    }
}

impl Shard {
    /// Whether one more key may come in; throws out those whose bucket is full again, at most once a second.
    fn has_room(&mut self, now: u64) -> bool {
        if self.full_at.len() < KEYS {
            return true;
        }
        if now.saturating_sub(self.swept) > 1_000_000_000 {
            self.swept = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < KEYS
    }
}

impl Limit {
    /// A bucket of `burst` tokens that fills at `requests` per `window`.
    pub fn new(requests: u64, window: Duration, burst: u64) -> Self {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Self { burst: burst.max(1), interval: (window / requests.max(1)).max(1) }
    }

    /// The new time at which the bucket is full, and the decision.
    fn decide(self, full_at: u64, now: u64) -> (u64, Decision) {
        let full_at = full_at.max(now);
        let taken = full_at + self.interval;
        // A bucket whose settings became smaller may be owed more than it holds; it is then empty until that is paid.
        let capacity = self.interval.saturating_mul(self.burst);
        let allowed = taken - now <= capacity;
        let full_at = if allowed { taken } else { full_at };
        let owed = full_at - now;
        let remaining = capacity.saturating_sub(owed) / self.interval;
        let next = match remaining {
            0 => (owed + self.interval).saturating_sub(capacity),
            _ if owed == 0 => 0,
            // A whole number of tokens is owed: the next is a whole interval away.
            _ => (owed - 1) % self.interval + 1,
        };
        (full_at, Decision { allowed, remaining, next: Duration::from_nanos(next) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    impl Buckets {
        fn take_at(&self, key: &[u8], limit: Limit, now: u64) -> Decision {
            self.take_by(key, limit, || now)
        }
    }

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_one_token_per_interval() {
        let (buckets, limit) = (Buckets::default(), Limit::new(3, Duration::from_secs(3), 3));
        let take = |now| buckets.take_at(b"a", limit, now);
        assert_eq!([take(0).remaining, take(0).remaining, take(0).remaining], [2, 1, 0]);
        assert_eq!(take(0), Decision { allowed: false, remaining: 0, next: Duration::from_secs(1) });
        assert!(!take(SECOND - 1).allowed);
        assert!(take(SECOND).allowed);
        assert!(!take(SECOND).allowed);
    }

    #[test]
    fn the_time_to_the_next_token_is_told_while_some_are_left() {
        let (buckets, limit) = (Buckets::default(), Limit::new(3, Duration::from_secs(3), 3));
        assert_eq!(buckets.take_at(b"a", limit, 0).next, Duration::from_secs(1));
        assert_eq!(buckets.take_at(b"a", limit, SECOND / 4).next, Duration::from_millis(750));
    }

    #[test]
    fn a_refused_request_takes_nothing() {
        let (buckets, limit) = (Buckets::default(), Limit::new(1, Duration::from_secs(1), 1));
        assert!(buckets.take_at(b"a", limit, 0).allowed);
        for _ in 0..1000 {
            assert!(!buckets.take_at(b"a", limit, SECOND / 2).allowed);
        }
        assert!(buckets.take_at(b"a", limit, SECOND).allowed);
    }

    #[test]
    fn keys_do_not_share_a_bucket() {
        let (buckets, limit) = (Buckets::default(), Limit::new(1, Duration::from_secs(1), 1));
        assert!(buckets.take_at(b"a", limit, 0).allowed);
        assert!(buckets.take_at(b"b", limit, 0).allowed);
    }

    #[test]
    fn many_threads_get_exactly_the_limit() {
        let (buckets, limit) = (Buckets::default(), Limit::new(1000, Duration::from_secs(1_000_000), 1000));
        let take = || (0..200).map(|_| buckets.take(b"a", limit)).filter(|decision| decision.allowed).map(|decision| decision.remaining);
        let mut left: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| take().collect::<Vec<_>>())).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        left.sort_unstable();
        // Each was given a token of its own, and told what was left behind it.
        assert_eq!(left, (0..1000).collect::<Vec<_>>());
    }

    #[test]
    fn the_number_of_keys_is_bounded() {
        let (buckets, limit) = (Buckets::default(), Limit::new(1, Duration::from_secs(3600), 1));
        for key in 0..SHARDS * KEYS + 100_000 {
            buckets.take_at(key.to_string().as_bytes(), limit, 0);
        }
        assert!(buckets.shards.iter().all(|shard| shard.lock().full_at.len() <= KEYS + 1));
    }
}
