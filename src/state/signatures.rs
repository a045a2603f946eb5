use std::collections::{BTreeMap, HashSet};

use parking_lot::Mutex;

/// Signatures that were good once, each until it is too old to be good again. All workers share them.
#[derive(Debug, Default)]
pub struct Signatures(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    /// By the time of signing, in units of [`UNIT`]: what is signed says it, so that one is looked for in one place.
    signed: BTreeMap<u64, HashSet<u128, foldhash::fast::RandomState>>,
    count: usize,
}

/// Seconds whose signatures are forgotten at once.
const UNIT: u64 = 8;

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It was not there before.
    New,
    /// It was.
    Again,
    /// There are as many as may be, and none is old enough to go.
    Full,
}

/// How long they are remembered, and how many.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Seconds from the signing.
    pub age: u64,
    /// At most.
    pub most: usize,
}

impl Signatures {
    /// Notes one by the hash of all that it says, its time among it. Times are seconds since 1970.
    pub fn note(&self, hash: u128, signed: u64, now: u64, memory: Memory) -> Noted {
        let Seen { signed: seen, count } = &mut *self.0.lock();
        while let Some(oldest) = seen.first_entry()
            && (*oldest.key() + 1) * UNIT + memory.age < now
        {
            *count -= oldest.remove().len();
        }
        if seen.get(&(signed / UNIT)).is_some_and(|unit| unit.contains(&hash)) {
            return Noted::Again;
        }
        if *count >= memory.most {
            return Noted::Full;
        }
        seen.entry(signed / UNIT).or_default().insert(hash);
        *count += 1;
        Noted::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Memory = Memory { age: 300, most: 2 };

    #[test]
    fn one_is_new_only_once_until_it_is_too_old() {
        let seen = Signatures::default();
        assert_eq!(seen.note(1, 1000, 1000, MEMORY), Noted::New);
        for now in [1000, 1299, 1300] {
            assert_eq!(seen.note(1, 1000, now, MEMORY), Noted::Again, "{now}");
        }
        assert_eq!(seen.note(2, 1315, 1320, MEMORY), Noted::New);
        assert_eq!(seen.0.lock().count, 1, "the old one has gone");
    }

    #[test]
    fn there_are_never_more_than_may_be() {
        let seen = Signatures::default();
        assert_eq!([1, 2, 3].map(|hash| seen.note(hash, 1000, 1000, MEMORY)), [Noted::New, Noted::New, Noted::Full]);
        assert_eq!(seen.note(1, 1000, 1000, MEMORY), Noted::Again);
        assert_eq!(seen.note(3, 1400, 1400, MEMORY), Noted::New);
    }

    #[test]
    fn of_several_at_the_same_time_one_is_new() {
        let seen = Signatures::default();
        let noted = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| seen.note(7, 1000, 1000, MEMORY))).collect();
            all.into_iter().map(|noted| noted.join().unwrap()).filter(|noted| *noted == Noted::New).count()
        });
        assert_eq!(noted, 1);
    }
}
