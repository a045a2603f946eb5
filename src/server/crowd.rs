//! How many connections there are, in total and from each client: whoever comes beyond a bound is turned away at once, before anything was spent on it.
//! A word of HTTP would cost a handshake over TLS first, and whoever brings many connections does not listen; proxies that bound connections reset them
//! likewise.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use prometheus::IntCounterVec;

use crate::config::Limits;

/// Parts of the table of clients, so that workers seldom meet at one lock.
const PARTS: usize = 16;

/// Between two log lines on the same.
const SILENCE: Duration = Duration::from_secs(10);

/// All connections of clients.
#[derive(Debug)]
pub struct Crowd {
    held: AtomicUsize,
    most: usize,
    of_each: usize,
    /// The first number of an open file that a client's connection may not have.
    files: RawFd,
    trusted: Arc<[IpNet]>,
    hasher: RandomState,
    /// Only clients that have connections now: it cannot be larger than these are many.
    clients: [Mutex<HashMap<Client, usize>>; PARTS],
    turned_away: IntCounterVec,
    said: Mutex<HashMap<&'static str, Said>>,
}

/// Whom connections are counted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    /// The first half: one client has all of the other (RFC 6177).
    V6(u64),
}

impl Client {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Client::V4(address.to_bits()),
            IpAddr::V6(address) => Client::V6(u64::try_from(address.to_bits() >> 64).unwrap_or_default()),
        }
    }
}

#[derive(Debug)]
struct Said {
    when: Instant,
    since: u64,
}

impl Crowd {
    /// Nobody yet. `files` is how many files may be open at once; none for any number.
    pub fn new(limits: &Limits, files: Option<u64>, trusted: Arc<[IpNet]>, turned_away: IntCounterVec) -> Arc<Self> {
        // The rest is for services, files that are read again, and operators.
        let files = files.map(|files| files - (files / 4).max(16).min(files));
        let files = files.and_then(|files| RawFd::try_from(files).ok()).unwrap_or(RawFd::MAX);
        let most = limits.connections.unwrap_or(usize::try_from(files).unwrap_or(usize::MAX));
        Arc::new(Self {
            held: AtomicUsize::new(0),
            most,
            of_each: limits.connections_per_client.unwrap_or((most / 2).max(1)),
            files,
            trusted,
            hasher: RandomState::new(),
            clients: Default::default(),
            turned_away,
            said: Mutex::default(),
        })
    }

    /// Lets one more in, unless it is beyond a bound. `client` is none where it is not known yet, or no client's own.
    pub fn enter(self: &Arc<Self>, file: RawFd, client: Option<IpAddr>) -> Option<Place> {
        // The system gives the lowest number that is free: all below are in use.
        if file >= self.files {
            self.turn_away("files", client);
            return None;
        }
        if self.held.fetch_add(1, Ordering::Relaxed) >= self.most {
            self.held.fetch_sub(1, Ordering::Relaxed);
            self.turn_away("connections", client);
            return None;
        }
        let mut place = Place { crowd: self.clone(), client: None };
        let welcome = client.is_none_or(|client| place.of(client));
        welcome.then_some(place)
    }

    /// Counts one that was turned away, and says so now and then.
    pub fn turn_away(&self, bound: &'static str, client: Option<IpAddr>) {
        self.turned_away.with_label_values(&[bound]).inc();
        let mut said = self.said.lock();
        let now = Instant::now();
        let since = match said.get_mut(bound) {
            Some(said) if now - said.when < SILENCE => {
                said.since += 1;
                return;
            }
            Some(said) => std::mem::take(&mut said.since),
            None => 0,
        };
        said.insert(bound, Said { when: now, since: 0 });
        drop(said);
        let of = client.map_or_else(String::new, |client| format!(" of {client}"));
        let hint = match bound {
            "files" => "there are as many open files as the system grants this process, but for a reserve",
            "connections" => "there are as many as `server.limits.connections` grants",
            _ => "it has as many as `server.limits.connections_per_client` grants",
        };
        log::warn!("a connection{of} was turned away, and {since} before it since the last such line: {hint}");
    }

    fn part(&self, client: Client) -> Option<&Mutex<HashMap<Client, usize>>> {
        let place = usize::try_from(self.hasher.hash_one(client) % PARTS as u64).unwrap_or_default();
        self.clients.get(place)
    }
}

/// One connection in the count.
#[derive(Debug)]
pub struct Place {
    crowd: Arc<Crowd>,
    client: Option<Client>,
}

impl Place {
    /// Counts it for its client. False where that has as many as it may. Trusted proxies bring the connections of many, and are not bounded.
    pub fn of(&mut self, client: IpAddr) -> bool {
        let client = client.to_canonical();
        if self.client.is_some() || self.crowd.trusted.iter().any(|net| net.contains(&client)) {
            return true;
        }
        let key = Client::of(client);
        let Some(part) = self.crowd.part(key) else { return true };
        let mut part = part.lock();
        let count = part.entry(key).or_insert(0);
        if *count >= self.crowd.of_each {
            drop(part);
            self.crowd.turn_away("connections_per_client", Some(client));
            return false;
        }
        *count += 1;
        self.client = Some(key);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.held.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let Some(mut part) = self.crowd.part(client).map(Mutex::lock) else { return };
        let Some(count) = part.get_mut(&client) else { return };
        *count -= 1;
        if *count == 0 {
            part.remove(&client);
            // A crowd that is gone must leave no room behind.
            if part.capacity() > 1024 && part.len() < part.capacity() / 8 {
                part.shrink_to_fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Metrics;

    fn crowd(connections: usize, of_each: usize, files: Option<u64>) -> (Arc<Crowd>, Metrics) {
        let limits = Limits { connections: Some(connections), connections_per_client: Some(of_each), ..Limits::default() };
        let metrics = Metrics::new(1).unwrap();
        let trusted = Arc::from(["10.0.0.0/8".parse().unwrap()]);
        (Crowd::new(&limits, files, trusted, metrics.process.turned_away.clone()), metrics)
    }

    fn enter(crowd: &Arc<Crowd>, client: &str) -> Option<Place> {
        crowd.enter(9, Some(client.parse().unwrap()))
    }

    #[test]
    fn each_client_and_all_together_have_their_bound_and_who_leaves_makes_room() {
        let (crowd, metrics) = crowd(4, 2, None);
        let mut held: Vec<_> = ["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"].map(|client| enter(&crowd, client).unwrap()).into();
        assert!(enter(&crowd, "192.0.2.1").is_none());
        held.push(enter(&crowd, "192.0.2.2").unwrap());
        assert!(enter(&crowd, "192.0.2.3").is_none());
        held.remove(0);
        held.push(enter(&crowd, "192.0.2.1").unwrap());
        let turned_away = |bound| metrics.process.turned_away.with_label_values(&[bound]).get();
        assert_eq!((turned_away("connections"), turned_away("connections_per_client")), (1, 1));
        drop(held);
        assert_eq!(crowd.held.load(Ordering::Relaxed), 0);
        assert!(crowd.clients.iter().all(|part| part.lock().is_empty()));
    }

    #[test]
    fn a_client_has_a_whole_network_of_ipv6_and_a_trusted_proxy_is_none() {
        let (crowd, _metrics) = crowd(100, 1, None);
        let _held = ["2001:db8::1", "2001:db8:0:1::1", "10.0.0.1", "10.0.0.1"].map(|client| enter(&crowd, client).unwrap());
        assert!(enter(&crowd, "2001:db8::ffff:1").is_none());
        let mut behind = crowd.enter(9, None).unwrap();
        assert!(behind.of("192.0.2.1".parse().unwrap()));
        assert!(enter(&crowd, "192.0.2.1").is_none());
    }

    #[test]
    fn a_part_of_the_files_is_kept_back() {
        let (crowd, metrics) = crowd(1000, 1000, Some(100));
        assert!(crowd.enter(74, None).is_some());
        assert!(crowd.enter(75, None).is_none());
        assert_eq!(metrics.process.turned_away.with_label_values(&["files"]).get(), 1);
    }

    #[test]
    fn the_table_of_clients_shrinks_with_the_crowd() {
        let (crowd, _metrics) = crowd(usize::MAX, 1, None);
        let held: Vec<_> =
            (0..100_000_u32).map(|client| crowd.enter(9, Some(IpAddr::V4((0xc000_0000 + client).into()))).unwrap()).collect();
        drop(held);
        assert!(crowd.clients.iter().all(|part| part.lock().capacity() < 2048));
    }
}
