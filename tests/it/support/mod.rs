//! What every suite needs: the real gateway as a process, servers behind it and clients before it, all over real sockets.

pub mod client;
pub mod gateway;
pub mod origin;
pub mod transcript;

use std::time::{Duration, Instant};

pub use client::{Client, End, Response};
pub use gateway::Gateway;
pub use origin::{Answer, Origin, RawOrigin};

/// How long anything may take that does happen. Only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again until there is an answer, which the test cannot be told of otherwise.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "this did not happen in {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
