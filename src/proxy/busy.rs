use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// How many requests of one worker are under way at each target whose kept connections are bounded. Pingora keeps one pool for all targets and tells
/// nobody what is in it. But a connection that was made while fewer requests than the bound were under way is one of no more than so many: who comes
/// while others are kept takes one of those. The lock is the worker's own.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<Mutex<HashMap<u64, usize>>>);

/// One request at its target, until it is dropped.
pub(super) struct Turn {
    busy: Busy,
    target: u64,
}

impl Busy {
    /// One more, and how many there were.
    pub(super) fn begin(&self, target: u64) -> (Turn, usize) {
        let before = {
            let mut counts = self.0.lock();
            let count = counts.entry(target).or_default();
            *count += 1;
            *count - 1
        };
        (Turn { busy: self.clone(), target }, before)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut counts = self.busy.0.lock();
        if let Some(count) = counts.get_mut(&self.target) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.target);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Busy;

    #[test]
    fn requests_are_counted_by_target_until_they_end() {
        let busy = Busy::default();
        let (one, before) = busy.begin(1);
        assert_eq!(before, 0);
        let (two, before) = busy.begin(1);
        assert_eq!((before, busy.begin(2).1), (1, 0));
        drop(one);
        assert_eq!(busy.begin(1).1, 1);
        drop(two);
        assert!(busy.0.lock().is_empty());
    }
}
