use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::millis;

/// Two counts over the time just past, exact over all workers: of everything, and of what is told apart in it. A tenth of the time at once is forgotten.
#[derive(Debug, Default)]
pub struct Window([AtomicU64; SLOTS as usize]);

const SLOTS: u64 = 10;

/// One slot is one number, so that it changes whole: which tenth it counts, then both counts.
const BITS: u32 = 24;
const MASK: u64 = (1 << BITS) - 1;

fn packed(tenth: u64, all: u64, some: u64) -> u64 {
    tenth << (2 * BITS) | all.min(MASK) << BITS | some.min(MASK)
}

impl Window {
    /// Counts one more, and whether it is to be told apart.
    pub fn count(&self, span: Duration, told: bool) {
        self.count_at(millis(), span, told);
    }

    /// Tells one more apart of those that were counted, if that may be at these sums, with this one in them.
    pub fn take(&self, span: Duration, may: impl Fn(u64, u64) -> bool) -> bool {
        self.take_at(millis(), span, may)
    }

    /// Both counts.
    pub fn sums(&self, span: Duration) -> (u64, u64) {
        self.sums_at(millis(), span)
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.0.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
    }

    fn count_at(&self, now: u64, span: Duration, told: bool) {
        self.add(now, span, 1, i64::from(told));
    }

    fn sums_at(&self, now: u64, span: Duration) -> (u64, u64) {
        let tenth = tenth(now, span);
        // The ages of the slots: a tenth that is not among the last ten was counted a round ago, or with another span.
        let recent = |slot: u64| (tenth.wrapping_sub(slot >> (2 * BITS)) & 0xffff) < SLOTS;
        let slots = self.0.iter().map(|slot| slot.load(Ordering::Relaxed)).filter(|slot| recent(*slot));
        slots.fold((0, 0), |(all, some), slot| (all + (slot >> BITS & MASK), some + (slot & MASK)))
    }

    fn take_at(&self, now: u64, span: Duration, may: impl Fn(u64, u64) -> bool) -> bool {
        // Taken before it is asked, so that those who come at once are never too many.
        self.add(now, span, 0, 1);
        let (all, some) = self.sums_at(now, span);
        let may = may(all, some);
        if !may {
            self.add(now, span, 0, -1);
        }
        may
    }

    fn add(&self, now: u64, span: Duration, all: u64, some: i64) {
        let tenth = tenth(now, span);
        let Some(slot) = self.0.get(usize::try_from(tenth % SLOTS).unwrap_or_default()) else { return };
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |slot| {
            let same = slot >> (2 * BITS) == tenth & 0xffff;
            let (before_all, before_some) = if same { (slot >> BITS & MASK, slot & MASK) } else { (0, 0) };
            Some(packed(tenth & 0xffff, before_all + all, before_some.saturating_add_signed(some)))
        });
    }
}

/// The number of the present tenth. The first is not 0, which an empty slot has.
fn tenth(now: u64, span: Duration) -> u64 {
    let width = u64::try_from(span.as_millis()).unwrap_or(u64::MAX) / SLOTS;
    now / width.max(1) + SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_older_than_the_window_is_forgotten_bit_by_bit() {
        let window = Window::default();
        assert_eq!(window.sums_at(0, SPAN), (0, 0));
        for second in 0..20 {
            window.count_at(second * 1000, SPAN, second % 2 == 0);
        }
        assert_eq!(window.sums_at(19_999, SPAN), (10, 5));
        assert_eq!(window.sums_at(22_000, SPAN), (7, 3));
        assert_eq!(window.sums_at(40_000, SPAN), (0, 0));
        window.count_at(40_000, SPAN, true);
        assert_eq!(window.sums_at(40_000, SPAN), (1, 1));
    }

    #[test]
    fn another_span_begins_anew() {
        let window = Window::default();
        (0..10).for_each(|second| window.count_at(second * 1000, SPAN, true));
        assert_eq!(window.sums_at(10_000, Duration::from_secs(1)), (0, 0));
    }

    #[test]
    fn those_who_take_at_once_are_never_too_many() {
        let window = Window::default();
        (0..1000).for_each(|_| window.count_at(0, SPAN, false));
        let take = || (0..500).filter(|_| window.take_at(0, SPAN, |all, some| some * 5 <= all)).count();
        let taken: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!((100..=200).contains(&taken), "{taken}");
        assert_eq!(window.sums_at(0, SPAN), (1000, taken as u64));
    }
}
