//! What every suite needs: the real gateway as a process, servers behind it and clients before it, all over real sockets.

pub mod certificates;
pub mod client;
pub mod dns;
pub mod frames;
pub mod gateway;
pub mod grpc;
pub mod idp;
pub mod nginx;
pub mod origin;
pub mod peers;
pub mod redis;
pub mod secrets;
pub mod speaker;
pub mod tools;
pub mod transcript;
pub mod websocket;

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub use client::{Client, End, Response};
pub use dns::Dns;
pub use gateway::Gateway;
pub use idp::Idp;
pub use nginx::Nginx;
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

/// A port below those that the system gives away by itself. For what must be told its port before it
/// listens.
pub fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() % 5_000;
    loop {
        let port = 20_000 + (u16::try_from(start).unwrap() + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Runs what waits, on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
