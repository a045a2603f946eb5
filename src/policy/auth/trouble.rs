//! Whether somebody who is asked can be asked: told to the operator when that changes, and not with each request.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::upstream::Missed;

/// Between two lines of the log about the same one: who fails now and then would fill it.
const QUIET: Duration = Duration::from_secs(5);

/// How it was the last time.
#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    /// The word for why it could not be asked; none where it could.
    word: Option<&'static str>,
    /// When that was told.
    told: Option<Instant>,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It could not be asked.
    Bad,
    /// It could again.
    Good,
}

impl Trouble {
    /// Notes how it was this time.
    pub fn note(&self, missed: Option<&Missed>) -> Option<Turn> {
        let mut last = self.0.lock();
        let before = std::mem::replace(&mut last.word, missed.map(|missed| missed.word));
        if last.word == before {
            return None;
        }
        if missed.is_none() {
            // Of what nobody heard that it was bad, nobody has to hear that it is good.
            return last.told.take().map(|_| Turn::Good);
        }
        if last.told.is_some_and(|told| told.elapsed() < QUIET) {
            return None;
        }
        last.told = Some(Instant::now());
        Some(Turn::Bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_not_every_moment() {
        let trouble = Trouble::default();
        let (late, gone) = (Missed::new("timeout", ""), Missed::new("unreachable", ""));
        assert_eq!(trouble.note(None), None);
        assert_eq!(trouble.note(Some(&late)), Some(Turn::Bad));
        assert_eq!(trouble.note(Some(&late)), None);
        assert_eq!(trouble.note(Some(&gone)), None, "a moment ago");
        trouble.0.lock().told = Instant::now().checked_sub(QUIET);
        assert_eq!(trouble.note(Some(&late)), Some(Turn::Bad));
        assert_eq!(trouble.note(None), Some(Turn::Good));
        assert_eq!(trouble.note(None), None);
    }
}
