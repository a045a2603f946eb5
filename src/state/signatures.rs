use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use foldhash::fast;
use parking_lot::Mutex;

/// Signatures that were good once, each until it is too old to be good again. There is one memory for all workers and all policies: what was used at one
/// place was used at every other.
#[derive(Debug)]
pub struct Signatures {
    hasher: RandomState,
    /// By the id of their key: who signs much holds up few others.
    shards: Box<[Mutex<Shard>]>,
    /// How many there are.
    count: AtomicUsize,
    /// The second in which all were looked over last.
    swept: AtomicU64,
    /// What each policy that lives asks for.
    asked: Mutex<Vec<Memory>>,
    /// The longest of it.
    age: AtomicU64,
    /// The most of it.
    most: AtomicUsize,
}

type Shard = HashMap<Box<str>, Seen>;

/// Those of one key.
#[derive(Debug, Default)]
struct Seen {
    /// By the time of signing, in units of [`UNIT`]: what is signed says it, so that one is looked for in one place.
    signed: BTreeMap<u64, HashSet<[u8; 16], fast::RandomState>>,
    count: usize,
    /// The first second that nothing was forgotten of.
    from: u64,
}

const SHARDS: usize = 32;

/// Seconds whose signatures are forgotten at once.
const UNIT: u64 = 8;

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It was not there before.
    New,
    /// It was.
    Again,
    /// It is of a time that was forgotten already: the clock was set back, or more age is asked for than before.
    Forgotten,
    /// There are as many as may be, and none is old enough to go. So many seconds are worth waiting for.
    Full(u64),
}

/// What a policy asks of the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Seconds from the signing for which one is good.
    pub age: u64,
    /// How many there may be, of all keys.
    pub most: usize,
}

/// The memory, in the hands of a policy. What is asked of it holds for as long as that lives.
#[derive(Debug)]
pub struct Notes {
    signatures: Arc<Signatures>,
    memory: Memory,
}

impl Default for Signatures {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            count: AtomicUsize::default(),
            swept: AtomicU64::default(),
            asked: Mutex::default(),
            age: AtomicU64::default(),
            most: AtomicUsize::default(),
        }
    }
}

impl Signatures {
    /// A number for the id of a key, whether there is such a key or not. Nobody outside of the process can tell it, and a reload does not change it.
    pub fn lot(&self, key: &str) -> u64 {
        self.hasher.hash_one(("lot", key))
    }

    fn ask(&self, change: impl FnOnce(&mut Vec<Memory>)) {
        let mut asked = self.asked.lock();
        change(&mut asked);
        self.age.store(asked.iter().map(|memory| memory.age).max().unwrap_or_default(), Ordering::Relaxed);
        self.most.store(asked.iter().map(|memory| memory.most).max().unwrap_or_default(), Ordering::Relaxed);
    }

    fn note(&self, key: &str, hash: [u8; 16], signed: u64, now: u64) -> Noted {
        let age = self.age.load(Ordering::Relaxed);
        let place = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default();
        let Some(shard) = self.shards.get(place) else { return Noted::Full(UNIT) };
        let mut shard = shard.lock();
        if !shard.contains_key(key) {
            shard.insert(key.into(), Seen::default());
        }
        let Some(seen) = shard.get_mut(key) else { return Noted::Full(UNIT) };
        self.count.fetch_sub(seen.forget(age, now), Ordering::Relaxed);
        if signed < seen.from {
            return Noted::Forgotten;
        }
        if seen.signed.get(&(signed / UNIT)).is_some_and(|unit| unit.contains(&hash)) {
            return Noted::Again;
        }
        // No key has more than what is left for all others, so that none can use it up for them.
        let left = self.most.load(Ordering::Relaxed).saturating_sub(self.count.load(Ordering::Relaxed));
        if seen.count >= left {
            let oldest = seen.signed.keys().next().map(|unit| last(*unit).saturating_add(age).saturating_sub(now) + 1);
            return Noted::Full(oldest.unwrap_or(UNIT));
        }
        seen.signed.entry(signed / UNIT).or_default().insert(hash);
        seen.count += 1;
        self.count.fetch_add(1, Ordering::Relaxed);
        Noted::New
    }

    /// Forgets what is too old of keys that nobody signs with now. False where that was done in this second.
    fn sweep(&self, now: u64) -> bool {
        if self.swept.swap(now, Ordering::Relaxed) == now {
            return false;
        }
        let age = self.age.load(Ordering::Relaxed);
        for shard in &self.shards {
            let gone = shard.lock().values_mut().map(|seen| seen.forget(age, now)).sum();
            self.count.fetch_sub(gone, Ordering::Relaxed);
        }
        true
    }
}

impl Seen {
    /// Lets go of what is too old for every policy; gives how many these were.
    fn forget(&mut self, age: u64, now: u64) -> usize {
        let mut gone = 0;
        while let Some(oldest) = self.signed.first_entry()
            && last(*oldest.key()).saturating_add(age) < now
        {
            self.from = last(*oldest.key()).saturating_add(1);
            gone += oldest.remove().len();
        }
        self.count -= gone;
        gone
    }
}

/// The last second of a unit.
fn last(unit: u64) -> u64 {
    unit.saturating_mul(UNIT).saturating_add(UNIT - 1)
}

impl Notes {
    /// Asks for so much of the memory.
    pub fn of(signatures: &Arc<Signatures>, memory: Memory) -> Self {
        signatures.ask(|asked| asked.push(memory));
        Self { signatures: signatures.clone(), memory }
    }

    /// Notes one by the id of its key and the hash of all that it says, its time among it. Times are seconds since 1970.
    pub fn note(&self, key: &str, hash: [u8; 16], signed: u64, now: u64) -> Noted {
        match self.signatures.note(key, hash, signed, now) {
            Noted::Full(_) if self.signatures.sweep(now) => self.signatures.note(key, hash, signed, now),
            noted => noted,
        }
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.signatures.ask(|asked| {
            if let Some(place) = asked.iter().position(|memory| *memory == self.memory) {
                asked.swap_remove(place);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notes(age: u64, most: usize) -> Notes {
        Notes::of(&Arc::default(), Memory { age, most })
    }

    fn beside(other: &Notes, age: u64, most: usize) -> Notes {
        Notes::of(&other.signatures, Memory { age, most })
    }

    fn count(notes: &Notes) -> usize {
        notes.signatures.count.load(Ordering::Relaxed)
    }

    #[test]
    fn one_is_new_only_once_until_it_is_too_old() {
        let notes = notes(300, 10);
        assert_eq!(notes.note("a", [1; 16], 1000, 1000), Noted::New);
        for now in [1000, 1299, 1300] {
            assert_eq!(notes.note("a", [1; 16], 1000, now), Noted::Again, "{now}");
        }
        assert_eq!(notes.note("b", [1; 16], 1000, 1000), Noted::New, "another key signs for itself");
        assert_eq!(notes.note("a", [2; 16], 1315, 1320), Noted::New);
        assert_eq!(count(&notes), 2, "the old one has gone");
    }

    #[test]
    fn what_one_policy_takes_no_more_is_kept_for_those_that_still_do() {
        let long = notes(300, 10);
        let short = beside(&long, 60, 10);
        assert_eq!(long.note("a", [1; 16], 1000, 1000), Noted::New);
        assert_eq!(short.note("a", [2; 16], 1070, 1070), Noted::New);
        assert_eq!(long.note("a", [1; 16], 1000, 1100), Noted::Again);
        drop(long);
        assert_eq!(short.note("a", [3; 16], 1100, 1100), Noted::New);
        assert_eq!(count(&short), 2, "nobody is left who would take the first");
    }

    #[test]
    fn of_a_time_that_was_forgotten_nothing_is_new() {
        let short = notes(60, 10);
        assert_eq!(short.note("a", [1; 16], 1000, 1000), Noted::New);
        assert_eq!(short.note("a", [2; 16], 1100, 1100), Noted::New);
        let raised = beside(&short, 300, 10);
        assert_eq!(raised.note("a", [1; 16], 1000, 1100), Noted::Forgotten);
        // The clock was ahead, and is set back.
        assert_eq!(short.note("a", [1; 16], 1000, 1010), Noted::Forgotten);
        assert_eq!(raised.note("a", [3; 16], 1010, 1010), Noted::New);
    }

    #[test]
    fn no_key_uses_up_what_others_need() {
        let notes = notes(300, 8);
        let note = |key, hash: u8| notes.note(key, [hash; 16], 1000, 1000);
        assert_eq!([1, 2, 3, 4].map(|hash| note("a", hash)), [Noted::New; 4]);
        assert_eq!(note("a", 5), Noted::Full(308));
        assert_eq!(note("a", 1), Noted::Again);
        assert_eq!([1, 2].map(|hash| note("b", hash)), [Noted::New; 2]);
        assert_eq!(note("b", 3), Noted::Full(308));
        assert_eq!([note("c", 1), note("c", 2)], [Noted::New, Noted::Full(308)]);
        // It has room again with what it lets go of, and with what keys had that nobody uses now.
        assert_eq!(notes.note("c", [9; 16], 1400, 1400), Noted::New);
        assert_eq!(count(&notes), 7, "none of the others was looked at");
        assert_eq!(notes.note("c", [8; 16], 1400, 1400), Noted::New);
        assert_eq!(count(&notes), 2);
    }

    #[test]
    fn of_several_at_the_same_time_one_is_new() {
        let notes = notes(300, 100);
        let noted = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| notes.note("a", [7; 16], 1000, 1000))).collect();
            all.into_iter().map(|noted| noted.join().unwrap()).filter(|noted| *noted == Noted::New).count()
        });
        assert_eq!(noted, 1);
    }

    #[test]
    fn the_lot_of_a_key_is_the_same_each_time_and_another_in_another_process() {
        let (one, other) = (Signatures::default(), Signatures::default());
        assert_eq!(one.lot("a"), one.lot("a"));
        assert!((0..8).any(|key| one.lot(&key.to_string()) != other.lot(&key.to_string())));
    }
}
