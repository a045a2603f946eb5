use std::sync::atomic::{AtomicU8, Ordering};

/// How far an attempt at a target has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To no connection yet.
    Connecting,
    /// To the header of the answer, which is waited for.
    Waiting,
    /// To the rest of the answer.
    Reading,
}

/// The same, to be asked once the attempt was given up.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

impl Progress {
    pub fn come_to(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    pub fn stage(&self) -> Stage {
        match self.0.load(Ordering::Relaxed) {
            0 => Stage::Connecting,
            1 => Stage::Waiting,
            _ => Stage::Reading,
        }
    }
}
