//! What outlives a snapshot, by key: a policy or a service that keeps its name keeps its state across a reload.

mod answer;
mod breaker;
mod buckets;
mod checks;
mod encoders;
mod fetched;
mod flights;
mod kept;
mod load;
mod offload;
mod passwords;
mod registry;
mod room;
mod signatures;
mod slots;
mod stock;
mod tickets;
mod turns;
mod window;

pub use answer::{Answer, Known, Located};
pub use breaker::{Admission, BreakerState};
pub use buckets::{Buckets, Decision, Limit};
pub use checks::{Checked, Checks};
pub use encoders::Encoders;
pub use fetched::{Fetched, Patience, Wish};
pub use flights::Flights;
pub use kept::{Kept, KeptAnswer};
pub use load::{Changes, InFlight, Load, millis};
pub use offload::Offload;
pub use passwords::{Attempt, Busy, LONGEST, Pair, Passwords};
pub use registry::Registry;
pub use room::Room;
pub use signatures::{Memory, Noted, Notes, Signatures};
pub use slots::Slots;
pub use stock::Stock;
pub use tickets::Tickets;
pub use window::Window;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// Everything that outlives a snapshot. A clone is the same state.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// The token buckets of each `rate_limit`.
    pub buckets: Registry<Buckets>,
    /// Signatures of requests that every `hmac` has taken.
    pub signatures: Arc<Signatures>,
    /// How far each service's rotation has come.
    pub rotations: Registry<AtomicUsize>,
    /// How many requests each service got of late, and how many of them it got again.
    pub retries: Registry<Window>,
    /// How each service stands with its breaker.
    pub breakers: Registry<BreakerState>,
    /// How each target of each service stands.
    pub loads: Registry<Load>,
    /// How often a target of each service left or came back.
    pub changes: Registry<Changes>,
    /// The copies of each route's requests under way.
    pub mirrors: Registry<Room>,
    /// The WebSockets of each service.
    pub websockets: Registry<Room>,
    /// What name servers said last, by what they were asked.
    pub answers: Registry<Answer>,
    /// Answers of services that are kept for a time.
    pub kept: Arc<Kept>,
    /// Places for bodies that are encoded.
    pub encoders: Arc<Encoders>,
    /// Threads for what would hold a worker up.
    pub offload: Arc<Offload>,
    /// What policies keep of their own.
    pub slots: Slots,
    /// Passwords that are tried, and that were.
    pub passwords: Arc<Passwords>,
    /// What clients resume their TLS sessions by.
    pub tickets: Arc<Tickets>,
}
