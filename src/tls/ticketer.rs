use std::sync::Arc;

use rustls::server::ProducesTickets;

use crate::state::Tickets;

/// Makes and opens the tickets of one listener.
#[derive(Debug)]
pub struct Ticketer {
    /// The keys, the same for all listeners.
    pub tickets: Arc<Tickets>,
    /// Which clients the listener believes: a ticket opens only where that is the same.
    pub context: Vec<u8>,
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(Tickets::LIFETIME.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.tickets.seal(plain, &self.context)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.tickets.open(cipher, &self.context)
    }
}
