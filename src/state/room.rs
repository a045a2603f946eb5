use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Counts what is under way at once. How many may be is a matter of who asks, and can change while some are.
#[derive(Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
    }
}

impl Room {
    /// Takes a place until it is dropped, where no more than `most` are taken then.
    pub fn enter(&self, most: usize) -> Option<OwnedSemaphorePermit> {
        let place = self.0.clone().try_acquire_owned().ok()?;
        // Two that come for the last one together may both be sent away, but never both let in.
        (Semaphore::MAX_PERMITS - self.0.available_permits() <= most).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_are_let_in_than_may_be_together_whoever_asks() {
        let room = Room::default();
        let (one, two) = (room.enter(2), room.enter(2));
        assert!(one.is_some() && two.is_some() && room.enter(2).is_none() && room.enter(1).is_none());
        assert!(room.enter(3).is_some());
        drop(one);
        assert!(room.enter(1).is_none() && room.enter(2).is_some());
        let held: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| room.enter(4))).collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(held.len() <= 3, "{}", held.len());
    }
}
