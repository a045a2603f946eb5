use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use moka::sync::Cache;
use ring::hmac;
use tokio::time::timeout;

use super::turns::{Turns, Waiting};
use super::{Flights, Offload};
use crate::consumer::{Cost, Login, PasswordHash};

/// Tries passwords: beside the workers, each pair of a user name and a password once for all who send it at the same time, and so few at once that
/// nothing else waits for long. Those that wait are bounded, and clients take turns. What was found is known for a while, by a hash that only this process
/// can make.
#[derive(Debug)]
pub struct Passwords {
    key: hmac::Key,
    right: Cache<Pair, Instant>,
    wrong: Cache<Pair, Instant>,
    flights: Arc<Flights<Pair, Option<bool>>>,
    turns: Arc<Turns>,
}

/// A user name, the hash of its password where it has one, and the password that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair([u8; 32]);

/// So many may be tried at once, where there are threads for more: half of the places that there are beside the workers.
const PLACES: usize = 8;

/// So many may wait for that.
const WAITING: usize = 256;

/// And for so long, at most.
const PATIENCE: Duration = Duration::from_secs(2);

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
            flights: Arc::new(Flights::new(WAITING)),
            turns: Arc::new(Turns::new(places(), WAITING / 2)),
        }
    }
}

/// One thread is left to others, where there are several.
fn places() -> usize {
    Offload::threads().saturating_sub(1).clamp(1, PLACES)
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
    /// Who has sent it.
    pub client: IpAddr,
}

/// What has to be done for it.
struct Work {
    hash: Option<PasswordHash>,
    cost: Cost,
    password: Vec<u8>,
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

    /// Whether the password is right, where that was found out in so long a time. A right one is tried again a little before that is over, and nobody waits.
    pub fn known(self: &Arc<Self>, pair: Pair, attempt: Attempt<'_>, most: Duration, offload: &Arc<Offload>) -> Option<bool> {
        if let Some(age) = self.right.get(&pair).map(|found| found.elapsed()).filter(|age| *age < most) {
            if age > most / 4 * 3
                && let Some(waiting) = self.turns.enter(attempt.client)
            {
                let _ = self.flights.begin(pair, || self.clone().find_out(pair, self.work(attempt), waiting, offload.clone()));
            }
            return Some(true);
        }
        self.wrong.get(&pair).filter(|found| found.elapsed() < most).map(|_| false)
    }

    /// Finds it out. It takes as long for a user name that nobody has.
    ///
    /// # Errors
    /// Too many are being tried.
    pub async fn verify(self: &Arc<Self>, pair: Pair, attempt: Attempt<'_>, offload: &Arc<Offload>) -> Result<bool, Busy> {
        let landing = match self.turns.enter(attempt.client) {
            Some(waiting) => self.flights.begin(pair, || self.clone().find_out(pair, self.work(attempt), waiting, offload.clone())),
            None => self.flights.under_way(&pair),
        };
        let mut landing = landing.ok_or(Busy)?;
        let landed = landing.wait_for(Option::is_some).await.map_err(|_| Busy)?;
        landed.flatten().ok_or(Busy)
    }

    fn work(&self, attempt: Attempt<'_>) -> Work {
        let hash = attempt.login.map(|login| login.hash.clone());
        Work { hash, cost: self.cost(attempt), password: attempt.password.to_vec() }
    }

    async fn find_out(self: Arc<Self>, pair: Pair, work: Work, waiting: Waiting, offload: Arc<Offload>) -> Option<bool> {
        let turn = timeout(PATIENCE, waiting.turn()).await.ok()??;
        let work = move || {
            let right = match work.hash {
                Some(hash) => hash.verify(&work.password),
                None => {
                    work.cost.spend(&work.password);
                    false
                }
            };
            // Whoever waited may have stopped waiting; the work keeps its place to its end.
            drop(turn);
            right
        };
        let right = offload.run_in_turn(work).await.ok()?;
        if right { &self.right } else { &self.wrong }.insert(pair, Instant::now());
        Some(right)
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
    use std::task::Poll;

    use super::super::turns::Turn;
    use super::*;
    use crate::consumer::{ConsumerConfig, Consumers};

    fn consumers() -> Consumers {
        let hash = "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$TNXVaepwoQBOVs70Xg+kbVgzd21gRaq+ul2VEICRv7g";
        let config = serde_json::json!([{"name": "ann", "passwords": [{ "hash": hash }]}]);
        Consumers::build(&serde_json::from_value::<Vec<ConsumerConfig>>(config).unwrap()).unwrap()
    }

    fn attempt<'a>(consumers: &'a Consumers, user: &'a str, password: &'a str) -> Attempt<'a> {
        Attempt { user, login: consumers.by_user(user), costs: consumers.costs(), password: password.as_bytes(), client: CLIENT }
    }

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    /// All places, until they are dropped.
    async fn busy(passwords: &Passwords) -> Vec<Turn> {
        let turns = (0..places()).map(|_| passwords.turns.enter([192, 0, 2, 1].into()).unwrap().turn());
        futures_util::future::join_all(turns).await.into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn what_was_found_is_known_for_a_while() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        for (user, password, right) in [("ann", "pencil", true), ("ann", "pen", false), ("bob", "pencil", false)] {
            let attempt = attempt(&consumers, user, password);
            let pair = passwords.pair(attempt);
            let known = |most| passwords.known(pair, attempt, most, &offload);
            assert_eq!(known(LONGEST), None);
            assert_eq!(passwords.verify(pair, attempt, &offload).await.unwrap(), right, "{user} {password}");
            assert_eq!((known(LONGEST), known(Duration::ZERO)), (Some(right), None));
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

    #[tokio::test(start_paused = true)]
    async fn passwords_wait_for_their_turn_and_no_longer_than_they_may() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        let attempt = attempt(&consumers, "ann", "pencil");
        let pair = passwords.pair(attempt);
        let held = busy(&passwords).await;
        let started = tokio::time::Instant::now();
        assert!(passwords.verify(pair, attempt, &offload).await.is_err());
        assert_eq!(started.elapsed(), PATIENCE);
        let mut waits = std::pin::pin!(passwords.verify(pair, attempt, &offload));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(held);
        assert!(waits.await.unwrap());
    }

    #[tokio::test]
    async fn no_more_wait_than_may_and_of_one_client_half_of_them() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::<Offload>::default(), consumers());
        let held = busy(&passwords).await;
        let from = |last: u8, count: usize| {
            let (passwords, offload, consumers) = (&passwords, &offload, &consumers);
            let tries = (0..count).map(move |number| {
                Box::pin(async move {
                    let password = format!("{last} {number}");
                    let attempt = Attempt { client: [192, 0, 2, last].into(), ..attempt(consumers, "ann", &password) };
                    passwords.verify(passwords.pair(attempt), attempt, offload).await
                })
            });
            tries.collect::<Vec<_>>()
        };
        // One client has half of them; what is beyond is refused, and others wait.
        let half = WAITING / 2;
        let (mut first, mut second, mut third) = (from(101, half + 2), from(102, half), from(103, 2));
        let mut refused = Vec::new();
        for tries in [&mut first, &mut second, &mut third] {
            let mut count = 0;
            for one in tries {
                match futures_util::poll!(one) {
                    Poll::Pending => {}
                    Poll::Ready(found) => count += usize::from(found.is_err()),
                }
            }
            refused.push(count);
        }
        assert_eq!(refused, [2, 0, 2]);
        drop(held);
    }

    #[tokio::test]
    async fn for_a_user_that_nobody_is_the_same_work_is_done() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        let (ann, bob) = (attempt(&consumers, "ann", "pen"), attempt(&consumers, "bob", "pen"));
        // It takes one of the places, so it waits where there is none.
        let held = busy(&passwords).await;
        let mut waits = std::pin::pin!(passwords.verify(passwords.pair(bob), bob, &offload));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(held);
        assert!(!waits.await.unwrap());
        // What it costs is what a password costs, and of several costs it is always the same one.
        assert_eq!(passwords.cost(bob), ann.login.unwrap().hash.cost());
        let costs = [Cost::Bcrypt(4), Cost::default()];
        let of = |user: &str| passwords.cost(Attempt { user, login: None, costs: &costs, password: b"", client: CLIENT });
        let users: Vec<_> = (0..64).map(|number| format!("user-{number}")).collect();
        assert!(users.iter().all(|user| of(user) == of(user)));
        assert!(costs.iter().all(|cost| users.iter().any(|user| of(user) == *cost)));
    }

    #[tokio::test]
    async fn the_same_pair_is_tried_once_for_all_who_send_it() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        let attempt = attempt(&consumers, "ann", "pencil");
        let pair = passwords.pair(attempt);
        // As many as may wait for one client are there already, but for one.
        let held: Vec<_> = (0..WAITING / 2 - 1).map(|_| passwords.turns.enter(CLIENT).unwrap()).collect();
        let tries = (0..50).map(|_| passwords.verify(pair, attempt, &offload));
        let found = futures_util::future::join_all(tries).await;
        assert!(found.iter().all(|found| matches!(found, Ok(true))));
        drop(held);
    }

    #[tokio::test]
    async fn a_right_password_in_use_is_tried_again_before_it_is_forgotten() {
        let (passwords, offload, consumers) = (Arc::new(Passwords::default()), Arc::default(), consumers());
        let attempt = attempt(&consumers, "ann", "pencil");
        let pair = passwords.pair(attempt);
        let most = Duration::from_secs(40);
        let ago = |seconds: u64| Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap();
        passwords.right.insert(pair, ago(20));
        assert_eq!(passwords.known(pair, attempt, most, &offload), Some(true));
        assert!(passwords.flights.under_way(&pair).is_none());
        passwords.right.insert(pair, ago(35));
        assert_eq!(passwords.known(pair, attempt, most, &offload), Some(true));
        let mut landing = passwords.flights.under_way(&pair).unwrap();
        assert_eq!(*landing.wait_for(Option::is_some).await.unwrap(), Some(Some(true)));
        assert!(passwords.right.get(&pair).unwrap().elapsed() < Duration::from_secs(20));
    }
}
