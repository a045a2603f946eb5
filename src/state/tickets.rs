use std::fmt;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// The keys of TLS session tickets (RFC 5077, RFC 8446 §4.6.1): one set for all workers and listeners, so that a client resumes its session wherever its
/// next connection lands. A key makes tickets for one period and opens them for two; then it is forgotten, and with it what was said under its tickets.
pub struct Tickets(RwLock<Keys>);

struct Keys {
    present: Key,
    before: Option<Key>,
}

struct Key {
    /// In front of each ticket, so that the right key is tried.
    id: [u8; ID],
    secret: [u8; SECRET],
    key: Option<LessSafeKey>,
    born: Instant,
}

const ID: usize = 8;
const SECRET: usize = 32;

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

impl Default for Tickets {
    fn default() -> Self {
        Self(RwLock::new(Keys { present: Key::new(), before: None }))
    }
}

impl Tickets {
    /// How long a key makes tickets.
    const PERIOD: Duration = Duration::from_secs(6 * 3600);

    /// How long a ticket is good at least and what clients are told.
    pub const LIFETIME: Duration = Self::PERIOD;

    /// A ticket that holds this. It opens only in the same context: one where other clients are believed must not take it for a proof.
    pub fn seal(&self, plain: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        if self.0.read().present.born.elapsed() >= Self::PERIOD {
            self.renew();
        }
        self.0.read().present.seal(plain, context)
    }

    /// What a ticket holds; none of one that is not ours, or too old.
    pub fn open(&self, ticket: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_at_checked(ID)?;
        let keys = self.0.read();
        let key = [Some(&keys.present), keys.before.as_ref()].into_iter().flatten().find(|key| key.id == *id)?;
        (key.born.elapsed() < 2 * Self::PERIOD).then(|| key.open(rest, context))?
    }

    /// The keys, for the process that takes this one's place. Whoever has them can read what was said under their tickets.
    pub fn hand_over(&self) -> Vec<u8> {
        let keys = self.0.read();
        let keys = [Some(&keys.present), keys.before.as_ref()];
        let one = |key: &Key| [&key.id[..], &key.secret, &key.born.elapsed().as_secs().to_be_bytes()].concat();
        keys.into_iter().flatten().flat_map(one).collect()
    }

    /// Goes on with the keys of the process before. False where these are none; then nothing changes.
    pub fn take_over(&self, mut handed: &[u8]) -> bool {
        let mut read = Vec::new();
        while let Some((key, rest)) = Key::read(handed) {
            read.push(key);
            handed = rest;
        }
        let mut read = read.into_iter();
        let (Some(present), before, None, true) = (read.next(), read.next(), read.next(), handed.is_empty()) else { return false };
        *self.0.write() = Keys { present, before };
        true
    }

    fn renew(&self) {
        let mut keys = self.0.write();
        // Another worker may have been faster.
        if keys.present.born.elapsed() >= Self::PERIOD {
            keys.before = Some(std::mem::replace(&mut keys.present, Key::new()));
        }
    }
}

impl Key {
    fn new() -> Self {
        Self::of(rand::random(), rand::random(), Instant::now())
    }

    fn of(id: [u8; ID], secret: [u8; SECRET], born: Instant) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &secret).ok();
        Self { id, secret, key: key.map(LessSafeKey::new), born }
    }

    /// One that was handed over, and what follows it.
    fn read(handed: &[u8]) -> Option<(Self, &[u8])> {
        let (id, rest) = handed.split_first_chunk::<ID>()?;
        let (secret, rest) = rest.split_first_chunk::<SECRET>()?;
        let (age, rest) = rest.split_first_chunk::<8>()?;
        let born = Instant::now().checked_sub(Duration::from_secs(u64::from_be_bytes(*age)))?;
        Some((Self::of(*id, *secret, born), rest))
    }

    fn seal(&self, plain: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = rand::random();
        let mut sealed = plain.to_vec();
        self.key.as_ref()?.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed).ok()?;
        Some([&self.id[..], &nonce, &sealed].concat())
    }

    fn open(&self, sealed: &[u8], context: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let mut plain = sealed.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.key.as_ref()?.open_in_place(nonce, Aad::from(context), &mut plain).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_outlives_the_process_that_made_it_and_grows_no_younger() {
        let (old, new) = (Tickets::default(), Tickets::default());
        let first = old.seal(b"first", b"here").unwrap();
        old.0.write().present.born -= Tickets::PERIOD;
        let second = old.seal(b"second", b"here").unwrap();
        assert!(new.take_over(&old.hand_over()));
        assert_eq!(new.open(&first, b"here").as_deref(), Some(&b"first"[..]));
        assert_eq!(new.open(&second, b"here").as_deref(), Some(&b"second"[..]));
        assert_eq!(old.open(&new.seal(b"third", b"here").unwrap(), b"here").as_deref(), Some(&b"third"[..]));
        assert!(new.0.read().before.as_ref().unwrap().born.elapsed() >= Tickets::PERIOD - Duration::from_secs(1));
        for handed in [&b""[..], b"nothing", &old.hand_over()[..50], &[old.hand_over(), old.hand_over()].concat()] {
            assert!(!new.take_over(handed), "{handed:?}");
        }
        assert!(new.open(&second, b"here").is_some());
    }

    #[test]
    fn a_ticket_opens_once_more_after_its_key_was_replaced_and_never_elsewhere() {
        let tickets = Tickets::default();
        let ticket = tickets.seal(b"secret", b"here").unwrap();
        assert_eq!(tickets.open(&ticket, b"here").as_deref(), Some(&b"secret"[..]));
        assert_eq!(tickets.open(&ticket, b"there"), None);
        assert_eq!(Tickets::default().open(&ticket, b"here"), None);
        for end in 0..ticket.len() {
            assert_eq!(tickets.open(&ticket[..end], b"here"), None);
        }
        let age = |by: Duration| {
            let mut keys = tickets.0.write();
            keys.present.born -= by;
            if let Some(before) = &mut keys.before {
                before.born -= by;
            }
        };
        age(Tickets::PERIOD);
        let next = tickets.seal(b"other", b"here").unwrap();
        assert_ne!(next[..ID], ticket[..ID]);
        assert_eq!(tickets.open(&ticket, b"here").as_deref(), Some(&b"secret"[..]));
        age(Tickets::PERIOD);
        assert_eq!(tickets.open(&ticket, b"here"), None);
        assert_eq!(tickets.open(&next, b"here").as_deref(), Some(&b"other"[..]));
    }
}
