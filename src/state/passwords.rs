use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use ring::hmac;
use tokio::sync::Semaphore;

use super::{Flights, Offload};
use crate::consumer::{Cost, Login};

/// Tries passwords: beside the workers, each pair of a user name and a password once for all who send it at the same time, and so few at once that
/// nothing else waits for long. What was found is known for a while, by a hash that only this process can make.
#[derive(Debug)]
pub struct Passwords {
    key: hmac::Key,
    right: Cache<Pair, Instant>,
    wrong: Cache<Pair, Instant>,
    flights: Arc<Flights<Pair, Option<bool>>>,
    places: Arc<Semaphore>,
}

/// A user name, the hash of its password where it has one, and the password that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair([u8; 32]);

/// So many may be tried, or wait for that, at once: half of what the threads beside the workers take.
const PLACES: usize = 8;

/// Pairs that are known at most, right and wrong ones each.
const KNOWN: u64 = 10_000;

/// For how long a right password is known at most.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// For how long a wrong one is.
const WRONG: Duration = Duration::from_secs(10);

impl Default for Passwords {
    fn default() -> Self {
        let cache = |most| Cache::builder().max_capacity(KNOWN).time_to_live(most).build();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            right: cache(LONGEST),
            wrong: cache(WRONG),
            flights: Arc::new(Flights::new(PLACES)),
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }
}

/// Too many passwords are being tried.
#[derive(Debug)]
pub struct Busy;

/// What is tried.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The user name that was sent.
    pub user: &'a str,
    /// What is known of it.
    pub login: Option<&'a Login>,
    /// What a try may cost, for a user name that is not known.
    pub costs: &'a [Cost],
    /// The password that was sent.
    pub password: &'a [u8],
}

impl Passwords {
    /// What stands for this attempt. Another hash of the same user's password makes it another one.
    pub fn pair(&self, attempt: Attempt<'_>) -> Pair {
        let mut context = hmac::Context::with_key(&self.key);
        let stored = attempt.login.map_or("", |login| login.hash.reveal());
        for text in [attempt.user.as_bytes(), stored.as_bytes(), attempt.password] {
            context.update(&text.len().to_be_bytes());
            context.update(text);
        }
        let mut pair = [0; 32];
        pair.copy_from_slice(context.sign().as_ref());
        Pair(pair)
    }

    /// Whether the password is right, where that was found out in so long a time.
    pub fn known(&self, pair: &Pair, most: Duration) -> Option<bool> {
        let fresh = |found: Instant| found.elapsed() < most;
        if self.right.get(pair).is_some_and(fresh) {
            return Some(true);
        }
        self.wrong.get(pair).filter(|found| fresh(*found)).map(|_| false)
    }

    /// Finds it out. It takes as long for a user name that nobody has.
    ///
    /// # Errors
    /// Too many are being tried.
    pub async fn verify(self: &Arc<Self>, pair: Pair, attempt: Attempt<'_>, offload: &Arc<Offload>) -> Result<bool, Busy> {
        let hash = attempt.login.map(|login| login.hash.clone());
        let (cost, password) = (self.cost(attempt), attempt.password.to_vec());
        let (this, offload) = (self.clone(), offload.clone());
        let found = self.flights.join(pair, || async move {
            // Whoever waited stops waiting, the work does not: it keeps its place to its end.
            let place = this.places.clone().try_acquire_owned().ok()?;
            let work = move || {
                let right = match hash {
                    Some(hash) => hash.verify(&password),
                    None => {
                        cost.spend(&password);
                        false
                    }
                };
                drop(place);
                right
            };
            let right = offload.run(work).await.ok()?;
            if right { &this.right } else { &this.wrong }.insert(pair, Instant::now());
            Some(right)
        });
        found.await.flatten().ok_or(Busy)
    }

    /// What a try costs for a user name that is not known: the same each time, and what it could cost if it were.
    fn cost(&self, attempt: Attempt<'_>) -> Cost {
        let tag = hmac::sign(&self.key, attempt.user.as_bytes());
        let lot = tag.as_ref().first().map_or(0, |byte| usize::from(*byte));
        let place = lot.checked_rem(attempt.costs.len()).unwrap_or_default();
        attempt.costs.get(place).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::{ConsumerConfig, Consumers};

    fn consumers() -> Consumers {
        let hash = "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$TNXVaepwoQBOVs70Xg+kbVgzd21gRaq+ul2VEICRv7g";
        let config = serde_json::json!([{"name": "ann", "passwords": [{ "hash": hash }]}]);
        Consumers::build(&serde_json::from_value::<Vec<ConsumerConfig>>(config).unwrap()).unwrap()
    }

    fn attempt<'a>(consumers: &'a Consumers, user: &'a str, password: &'a str) -> Attempt<'a> {
        Attempt { user, login: consumers.by_user(user), costs: consumers.costs(), password: password.as_bytes() }
    }

    #[tokio::test]
    async fn what_was_found_is_known_for_a_while() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        for (user, password, right) in [("ann", "pencil", true), ("ann", "pen", false), ("bob", "pencil", false)] {
            let attempt = attempt(&consumers, user, password);
            let pair = passwords.pair(attempt);
            assert_eq!(passwords.known(&pair, LONGEST), None);
            assert_eq!(passwords.verify(pair, attempt, &offload).await.unwrap(), right, "{user} {password}");
            assert_eq!(passwords.known(&pair, LONGEST), Some(right));
            assert_eq!(passwords.known(&pair, Duration::ZERO), None);
        }
    }

    #[test]
    fn a_pair_is_another_with_another_hash_and_in_another_process() {
        let (passwords, consumers) = (Passwords::default(), consumers());
        let pair = |attempt| passwords.pair(attempt);
        let ann = attempt(&consumers, "ann", "pencil");
        assert_eq!(pair(ann), pair(ann));
        assert_ne!(pair(ann), pair(Attempt { login: None, ..ann }));
        assert_ne!(pair(attempt(&consumers, "bob", "x")), pair(attempt(&consumers, "bobx", "")));
        assert_ne!(pair(ann), Passwords::default().pair(ann));
    }

    #[tokio::test]
    async fn more_than_may_be_tried_at_once_are_refused() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        let attempt = attempt(&consumers, "ann", "pencil");
        let places = u32::try_from(PLACES).unwrap();
        let held = passwords.places.clone().try_acquire_many_owned(places).unwrap();
        assert!(passwords.verify(passwords.pair(attempt), attempt, &offload).await.is_err());
        drop(held);
        assert!(passwords.verify(passwords.pair(attempt), attempt, &offload).await.unwrap());
    }

    #[tokio::test]
    async fn for_a_user_that_nobody_is_the_same_work_is_done() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        let (ann, bob) = (attempt(&consumers, "ann", "pen"), attempt(&consumers, "bob", "pen"));
        // It takes one of the places, so it is refused where there is none.
        let held = passwords.places.clone().try_acquire_many_owned(u32::try_from(PLACES).unwrap()).unwrap();
        assert!(passwords.verify(passwords.pair(bob), bob, &offload).await.is_err());
        drop(held);
        // What it costs is what a password costs, and of several costs it is always the same one.
        assert_eq!(passwords.cost(bob), ann.login.unwrap().hash.cost());
        let costs = [Cost::Bcrypt(4), Cost::default()];
        let of = |user: &str| passwords.cost(Attempt { user, login: None, costs: &costs, password: b"" });
        let users: Vec<_> = (0..64).map(|number| format!("user-{number}")).collect();
        assert!(users.iter().all(|user| of(user) == of(user)));
        assert!(costs.iter().all(|cost| users.iter().any(|user| of(user) == *cost)));
    }

    #[tokio::test]
    async fn the_same_pair_is_tried_once_for_all_who_send_it() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        let attempt = attempt(&consumers, "ann", "pencil");
        let pair = passwords.pair(attempt);
        // There is one place, and all get what is found in it.
        let held = passwords.places.clone().try_acquire_many_owned(u32::try_from(PLACES - 1).unwrap()).unwrap();
        let tries = (0..50).map(|_| passwords.verify(pair, attempt, &offload));
        let found = futures_util::future::join_all(tries).await;
        assert!(found.iter().all(|found| matches!(found, Ok(true))));
        drop(held);
    }
}
