//! Sockets, workers, and the life of the process: accept, hand over, drain, end.

// Each uses only those above it.
mod framing;
mod head;
mod frames;
mod wire;
mod crowd;
mod conn;
mod http2;
mod turnstile;
mod serve;
mod listen;
mod proxied;
mod welcome;
mod worker;
mod systemd;
pub mod upgrade;
mod life;

pub use life::{Running, run};
pub use listen::{Bound, bind};
pub use systemd::{Notify, raise_open_files, sockets as activated};
