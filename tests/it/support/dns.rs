//! A name server of the tests' own, written from RFC 1035 and not by the hand of the resolver that asks it: its answers change while it runs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

const A: u16 = 1;
const AAAA: u16 = 28;
const SRV: u16 = 33;

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Zone {
    /// Records with one time to live, in seconds.
    Records(u32, Vec<Record>),
    /// A response code: 2 for SERVFAIL.
    Code(u8),
    /// No answer at all.
    Silence,
}

#[derive(Clone, Debug)]
pub enum Record {
    Address(IpAddr),
    /// Priority, weight, port, host.
    Service(u16, u16, u16, &'static str),
}

/// A running name server. Names that it was not told of do not exist.
pub struct Dns {
    pub address: SocketAddr,
    names: Arc<Mutex<HashMap<String, Zone>>>,
    asked: Arc<Mutex<Vec<(Instant, String, u16)>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (names, asked, ending) =
            (Arc::<Mutex<HashMap<_, _>>>::default(), Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (zones, log, end) = (names.clone(), asked.clone(), ending.clone());
        let thread = std::thread::spawn(move || {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet) {
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let (name, kind, question) = question(&packet[..length]);
                let zone = zones.lock().unwrap().get(&name).cloned();
                log.lock().unwrap().push((Instant::now(), name, kind));
                if let Some(answer) = answer(&packet[..2], question, kind, zone) {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { address, names, asked, ending, thread: Some(thread) }
    }

    /// From now on the name stands for this.
    pub fn set(&self, name: &str, zone: Zone) {
        self.names.lock().unwrap().insert(name.to_owned(), zone);
    }

    /// From now on the name has these addresses, for so many seconds.
    pub fn addresses(&self, name: &str, ttl: u32, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| Record::Address(address.parse().unwrap()));
        self.set(name, Zone::Records(ttl, addresses.collect()));
    }

    /// From now on the name does not exist.
    pub fn remove(&self, name: &str) {
        self.names.lock().unwrap().remove(name);
    }

    /// When it was asked for the name.
    pub fn asked(&self, name: &str) -> Vec<Instant> {
        self.asked.lock().unwrap().iter().filter(|(_, known, _)| known == name).map(|(when, ..)| *when).collect()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", self.address));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The name and the type of the one question (RFC 1035 §4.1.2), and its bytes.
fn question(packet: &[u8]) -> (String, u16, &[u8]) {
    let (mut at, mut labels) = (12, Vec::new());
    while packet[at] > 0 {
        let length = usize::from(packet[at]);
        labels.push(String::from_utf8_lossy(&packet[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    (labels.join("."), u16::from_be_bytes([packet[at + 1], packet[at + 2]]), &packet[12..at + 5])
}

fn answer(id: &[u8], question: &[u8], kind: u16, zone: Option<Zone>) -> Option<Vec<u8>> {
    let (code, records) = match zone {
        Some(Zone::Records(ttl, records)) => (0, records.iter().filter_map(|record| encode(record, ttl, kind)).collect()),
        Some(Zone::Code(code)) => (code, Vec::new()),
        Some(Zone::Silence) => return None,
        None => (3, Vec::new()),
    };
    // A response, recursion desired and available (§4.1.1); one question.
    let mut packet = [id, &[0x81, 0x80 | code, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0], question].concat();
    packet.extend(records.concat());
    Some(packet)
}

/// One record whose name is that of the question (§4.1.3), if it is of this type.
fn encode(record: &Record, ttl: u32, kind: u16) -> Option<Vec<u8>> {
    let (own, data) = match record {
        Record::Address(IpAddr::V4(address)) => (A, address.octets().to_vec()),
        Record::Address(IpAddr::V6(address)) => (AAAA, address.octets().to_vec()),
        Record::Service(priority, weight, port, host) => {
            let labels = host.split('.').filter(|label| !label.is_empty());
            let host = labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat());
            (SRV, [priority, weight, port].iter().flat_map(|number| number.to_be_bytes()).chain(host).chain([0]).collect())
        }
    };
    let head =
        [&[0xc0, 12][..], &own.to_be_bytes(), &[0, 1], &ttl.to_be_bytes(), &u16::try_from(data.len()).unwrap().to_be_bytes()].concat();
    (own == kind).then(|| [head, data].concat())
}

/// A port that is free at so many addresses: 127.0.0.1, 127.0.0.2 …
pub fn port_at(addresses: u8) -> u16 {
    loop {
        let port = super::port();
        if (1..=addresses).all(|last| std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), port)).is_ok()) {
            return port;
        }
    }
}
