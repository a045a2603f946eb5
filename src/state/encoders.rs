use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::OwnedSemaphorePermit;

use super::Room;

/// Places for bodies that are encoded, in the whole process: each takes memory until its end, which the client may put off.
#[derive(Debug)]
pub struct Encoders {
    room: Room,
    most: AtomicUsize,
}

impl Default for Encoders {
    fn default() -> Self {
        Self { room: Room::default(), most: AtomicUsize::new(Self::MOST) }
    }
}

impl Encoders {
    /// So many at once, where nothing is said.
    pub const MOST: usize = 128;

    /// At most so many from now on.
    pub fn bound(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Takes a place until it is dropped; none where all are taken.
    pub fn enter(&self) -> Option<OwnedSemaphorePermit> {
        self.room.enter(self.most.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_places_as_was_said_last() {
        let encoders = Encoders::default();
        let held: Vec<_> = (0..Encoders::MOST).filter_map(|_| encoders.enter()).collect();
        assert!(held.len() == Encoders::MOST && encoders.enter().is_none());
        encoders.bound(Encoders::MOST + 1);
        let one = encoders.enter();
        assert!(one.is_some() && encoders.enter().is_none());
        drop(held);
        assert!(encoders.enter().is_some());
    }
}
