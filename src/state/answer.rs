use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Mutex as Turns, MutexGuard};

/// One place that a name stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Located {
    /// How close to the first choice it is; 0 is it.
    pub priority: u8,
    /// The host that has the address.
    pub host: Box<str>,
    /// The port, where the answer says one.
    pub port: Option<u16>,
    /// One of the host's addresses.
    pub address: IpAddr,
    /// Its share beside others of the same priority.
    pub weight: u32,
}

/// What is known of a name.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The last answer that had something in it, sorted.
    pub places: Arc<[Located]>,
    /// When to ask again; none for at once.
    pub due: Option<Instant>,
    /// How often in a row it was asked in vain since.
    pub failures: u32,
    /// Why it was, the last time.
    pub cause: Option<Arc<str>>,
    /// Who answered: another set of name servers is asked at once.
    pub by: u64,
}

/// What name servers said of one name. It lives as long as some service goes by it, so that a reload forgets nothing.
#[derive(Debug, Default)]
pub struct Answer {
    known: Mutex<Known>,
    turns: Turns<()>,
}

impl Answer {
    /// What is known now.
    pub fn known(&self) -> Known {
        self.known.lock().clone()
    }

    /// Takes note of what was found out.
    pub fn note(&self, known: Known) {
        *self.known.lock() = known;
    }

    /// Waits until nobody else asks: services that go by the same name ask once.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turns.lock().await
    }
}
