//! Sockets, workers, and the life of the process: accept, hand over, drain, end.

// Each uses only those above it.
mod framing;
mod head;
mod conn;
mod serve;
mod worker;
mod listen;
mod systemd;
pub mod upgrade;
mod life;

pub use life::{Running, run};
pub use listen::bind;
pub use systemd::{Notify, raise_open_files, sockets as activated};
