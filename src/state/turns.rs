use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Lets work wait for its turn. Each client stands for as many turns as there are places, and its other work behind that: one that asks for much holds up
/// the others for no longer than one turn of its own takes.
#[derive(Debug)]
pub(super) struct Turns {
    places: Arc<Semaphore>,
    count: usize,
    /// What waits or is under way, of each client at most so much.
    most: usize,
    clients: Mutex<HashMap<IpAddr, Client, RandomState>>,
}

/// The work of one client.
#[derive(Debug)]
struct Client {
    turns: Arc<Semaphore>,
    work: usize,
}

/// Work that waits, or is under way.
#[derive(Debug)]
pub(super) struct Waiting {
    all: Arc<Turns>,
    client: IpAddr,
    turns: Arc<Semaphore>,
}

/// That it is its turn, until this is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _place: OwnedSemaphorePermit,
    _turn: OwnedSemaphorePermit,
    _work: Waiting,
}

impl Turns {
    /// So many at once, and of each client at most so much with what waits.
    pub fn new(count: usize, most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(count)), count, most, clients: Mutex::default() }
    }

    /// Work of this client begins to wait; none where too much of it does.
    pub fn enter(self: &Arc<Self>, client: IpAddr) -> Option<Waiting> {
        let client = network(client);
        let mut clients = self.clients.lock();
        let known = clients.entry(client).or_insert_with(|| Client { turns: Arc::new(Semaphore::new(self.count)), work: 0 });
        if known.work >= self.most {
            return None;
        }
        known.work += 1;
        Some(Waiting { all: self.clone(), client, turns: known.turns.clone() })
    }
}

impl Waiting {
    /// Waits for the turn. None would mean that there never is one.
    pub async fn turn(self) -> Option<Turn> {
        // Both take their work in the order in which it comes.
        let turn = self.turns.clone().acquire_owned().await.ok()?;
        let place = self.all.places.clone().acquire_owned().await.ok()?;
        Some(Turn { _place: place, _turn: turn, _work: self })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Entry::Occupied(mut known) = self.all.clients.lock().entry(self.client) {
            known.get_mut().work -= 1;
            if known.get().work == 0 {
                known.remove();
            }
        }
    }
}

/// One client has all of an IPv6 /64 network (RFC 6177).
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        client => client,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Poll;

    use futures_util::poll;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn network_of(number: u16, host: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, number, 0, 0, 0, host).into()
    }

    #[tokio::test]
    async fn a_client_that_asks_for_much_is_behind_one_that_asks_for_little() {
        let turns = Arc::new(Turns::new(1, 8));
        let first = turns.enter(ONE).unwrap().turn().await.unwrap();
        let (mut second, mut third) = (pin!(turns.enter(ONE).unwrap().turn()), pin!(turns.enter(ONE).unwrap().turn()));
        assert!(poll!(&mut second).is_pending() && poll!(&mut third).is_pending());
        let mut other = pin!(turns.enter(network_of(1, 1)).unwrap().turn());
        assert!(poll!(&mut other).is_pending());
        drop(first);
        // The other one has come last, and stands first.
        assert!(poll!(&mut second).is_pending());
        let Poll::Ready(Some(turn)) = poll!(&mut other) else { panic!("it is not its turn") };
        drop(turn);
        let Poll::Ready(Some(turn)) = poll!(&mut second) else { panic!("it is not its turn") };
        assert!(poll!(&mut third).is_pending());
        drop(turn);
        assert!(poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn of_each_client_so_much_waits_and_nothing_is_left_of_it() {
        let turns = Arc::new(Turns::new(1, 2));
        let waiting: Vec<_> = (0..3).map(|host| turns.enter(network_of(1, host))).collect();
        assert_eq!(waiting.iter().flatten().count(), 2);
        assert!(turns.enter(network_of(2, 1)).is_some() && turns.enter(ONE).is_some());
        drop(waiting);
        assert!(turns.clients.lock().is_empty());
    }
}
