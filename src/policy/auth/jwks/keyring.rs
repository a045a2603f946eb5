//! What is known of keys that are fetched.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::KeySet;
use crate::state::Fetched;
pub use crate::state::Wish;

/// The keys of one source, and how far it is with fetching them.
pub(super) type Keyring = Fetched<Known>;

/// What is known at one time.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The keys; none where none ever came.
    pub keys: Option<Arc<KeySet>>,
    /// Another for each other set of keys.
    pub version: u64,
    /// The set as it came.
    pub(super) document: Bytes,
    /// When it came last.
    pub(super) fetched: Option<(Instant, SystemTime)>,
    /// For how long it holds, where that was said.
    pub(super) said: Option<Duration>,
    /// When an attempt failed, if none has succeeded since.
    pub(super) failed: Option<Instant>,
    /// How many in a row.
    pub(super) failures: u32,
    /// Why the last one did.
    pub(super) cause: Option<Arc<str>>,
}
