use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use parking_lot::Mutex;

/// What active checks have found out about one target.
#[derive(Debug, Default)]
pub struct Checks {
    /// What every pick may look at.
    ill: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    last: Option<Checked>,
    /// How many in a row have said otherwise.
    otherwise: u32,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// When it ended.
    pub at: SystemTime,
    /// Why it failed; none where it went well.
    pub failure: Option<String>,
}

impl Checks {
    /// Whether the target should get no requests. One that was never checked may.
    pub fn is_ill(&self) -> bool {
        self.ill.load(Ordering::Relaxed)
    }

    /// The last check.
    pub fn last(&self) -> Option<Checked> {
        self.seen.lock().last.clone()
    }

    /// Takes note of a check, and says after how many the target is ill now, or well; none where nothing changes. Those are `healthy` or `unhealthy` in a
    /// row; but the first one of all decides by itself.
    pub fn note(&self, checked: Checked, healthy: u32, unhealthy: u32) -> Option<u32> {
        let mut seen = self.seen.lock();
        let (ill, fails) = (self.is_ill(), checked.failure.is_some());
        let first = seen.last.replace(checked).is_none();
        if ill == fails {
            seen.otherwise = 0;
            return None;
        }
        seen.otherwise += 1;
        if !first && seen.otherwise < if fails { unhealthy } else { healthy } {
            return None;
        }
        self.ill.store(fails, Ordering::Relaxed);
        Some(std::mem::take(&mut seen.otherwise))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(checks: &Checks, fails: bool) -> Option<u32> {
        let failure = fails.then(|| "it answered 503".to_owned());
        checks.note(Checked { at: SystemTime::now(), failure }, 2, 3)
    }

    #[test]
    fn some_checks_in_a_row_decide_and_the_first_of_all_does_by_itself() {
        let checks = Checks::default();
        assert!(!checks.is_ill());
        assert_eq!(note(&checks, true), Some(1));
        assert!(checks.is_ill());
        let turns = [false, true, false, false, true, true, false, true, true, true].map(|fails| note(&checks, fails));
        assert_eq!(turns, [None, None, None, Some(2), None, None, None, None, None, Some(3)]);
        assert!(checks.is_ill() && checks.last().is_some_and(|last| last.failure.is_some()));
        assert_eq!(note(&Checks::default(), false), None, "it was taken to be well");
    }
}
