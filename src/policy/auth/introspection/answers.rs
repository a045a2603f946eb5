//! What a provider has told of tokens, for all workers and over reloads; and what it is being asked now, once for each token.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use foldhash::fast::RandomState;
use futures_util::FutureExt;
use futures_util::future::Shared;
use moka::Expiry;
use moka::sync::Cache;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tokio::sync::oneshot;

use super::endpoint::Trouble;
use crate::state::Room;
use crate::upstream::Missed;

/// A token, by its SHA-256: what is kept is of no use to who finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of a token.
    pub fn of(token: &[u8]) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(key)
    }
}

/// What was told of one token.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// It is good: this is known of it.
    Active(Arc<Value>),
    /// It is not, whatever the reason.
    Inactive,
}

/// How the question about one token ended.
pub(super) type Ended = Result<Told, Missed>;

/// A question under way.
pub(super) type Asked = Shared<oneshot::Receiver<Ended>>;

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Answers {
    kept: OnceLock<Kept>,
    asked: Mutex<HashMap<Key, Asked, RandomState>>,
    /// Requests that wait.
    pub waiting: Room,
    /// Where the provider was found last.
    pub url: ArcSwapOption<String>,
    /// Whether it could not be asked the last time.
    pub trouble: Mutex<Trouble>,
}

#[derive(Debug)]
struct Kept {
    active: Cache<Key, Entry, RandomState>,
    /// Apart: whoever sends many that are nothing drives out no good one.
    inactive: Cache<Key, Entry, RandomState>,
}

#[derive(Clone, Debug)]
struct Entry {
    told: Told,
    bytes: u32,
    holds: Duration,
}

/// What an entry takes beside what was told, and that for each byte of its text: trees are larger.
const ENTRY: usize = 256;
const TREE: usize = 3;

impl Kept {
    fn new(most: u64) -> Self {
        let cache = |most| {
            let builder = Cache::<Key, Entry>::builder().max_capacity(most).weigher(|_, entry| entry.bytes).expire_after(Ends);
            builder.build_with_hasher(RandomState::default())
        };
        Self { active: cache(most), inactive: cache(most / 8) }
    }
}

/// What is to be done about a token.
pub(super) enum Found {
    /// Nothing: this was told a moment ago.
    Known(Told),
    /// Somebody asks already.
    Asked(Asked),
    /// To ask, and to say how that ended.
    New(Asked, Asking),
}

/// Who asks about one token. However it ends, the next who wants to know asks anew.
pub(super) struct Asking {
    answers: Arc<Answers>,
    key: Key,
    say: Option<oneshot::Sender<Ended>>,
}

impl Answers {
    /// The same, which holds so many bytes of what was told: the first who says it decides.
    pub fn bound(self: &Arc<Self>, most: u64) -> Arc<Self> {
        self.kept.get_or_init(|| Kept::new(most));
        self.clone()
    }

    /// What was told of a token, as long as that holds.
    pub fn find(&self, key: &Key) -> Option<Told> {
        let kept = self.kept.get()?;
        kept.active.get(key).or_else(|| kept.inactive.get(key)).map(|entry| entry.told)
    }

    /// The same, or who asks about it.
    pub fn ask(self: &Arc<Self>, key: Key) -> Found {
        let mut asked = self.asked.lock();
        if let Some(asked) = asked.get(&key) {
            return Found::Asked(asked.clone());
        }
        // Who has asked a moment ago has kept what was told before it was taken off the list.
        if let Some(told) = self.find(&key) {
            return Found::Known(told);
        }
        let (say, heard) = oneshot::channel();
        let heard = heard.shared();
        asked.insert(key, heard.clone());
        Found::New(heard, Asking { answers: self.clone(), key, say: Some(say) })
    }

    fn keep(&self, key: Key, told: Told, bytes: usize, holds: Duration) {
        let Some(kept) = self.kept.get().filter(|_| !holds.is_zero()) else { return };
        let (cache, tree) = match told {
            Told::Active(_) => (&kept.active, bytes * TREE),
            Told::Inactive => (&kept.inactive, 0),
        };
        cache.insert(key, Entry { told, bytes: u32::try_from(ENTRY + tree).unwrap_or(u32::MAX), holds });
        // What has to go for it goes now: there is nobody else to see to that.
        cache.run_pending_tasks();
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub fn held(&self) -> u64 {
        self.kept.get().map_or(0, |kept| kept.active.weighted_size() + kept.inactive.weighted_size())
    }
}

impl Asking {
    /// It has ended with this, which has so many bytes and holds for so long.
    pub fn end(mut self, ended: Ended, bytes: usize, holds: Duration) {
        if let Ok(told) = &ended {
            self.answers.keep(self.key, told.clone(), bytes, holds);
        }
        self.answers.asked.lock().remove(&self.key);
        if let Some(say) = self.say.take() {
            let _ = say.send(ended);
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        // Given up: the worker ends, or has a defect. Who waits hears it.
        if self.say.is_some() {
            self.answers.asked.lock().remove(&self.key);
        }
    }
}

/// Lets go what does not hold any more.
struct Ends;

impl Expiry<Key, Entry> for Ends {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.holds)
    }

    fn expire_after_update(&self, _: &Key, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn answers(most: u64) -> Arc<Answers> {
        Arc::<Answers>::default().bound(most)
    }

    fn good() -> Told {
        Told::Active(Arc::new(Value::Null))
    }

    fn ask(answers: &Arc<Answers>, token: &[u8]) -> Asking {
        match answers.ask(Key::of(token)) {
            Found::New(_, asking) => asking,
            _ => panic!("somebody asks already, or it is known"),
        }
    }

    #[tokio::test]
    async fn one_asks_about_a_token_and_all_others_hear_it() {
        let answers = answers(100_000);
        let asking = ask(&answers, b"a");
        let waits: Vec<_> = (0..3)
            .map(|_| match answers.ask(Key::of(b"a")) {
                Found::Asked(asked) => asked,
                _ => panic!("nobody asks"),
            })
            .collect();
        let _other = ask(&answers, b"b");
        asking.end(Ok(good()), 10, LONG);
        for wait in waits {
            assert!(matches!(wait.await, Ok(Ok(Told::Active(_)))));
        }
        assert!(matches!(answers.ask(Key::of(b"a")), Found::Known(Told::Active(_))));
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_is_heard_of_and_asked_anew() {
        let answers = answers(100_000);
        let asking = ask(&answers, b"a");
        let Found::Asked(wait) = answers.ask(Key::of(b"a")) else { panic!("nobody asks") };
        drop(asking);
        assert!(wait.await.is_err());
        ask(&answers, b"a").end(Err(Missed::new("status", "")), 0, LONG);
        ask(&answers, b"a").end(Ok(good()), 0, Duration::ZERO);
        drop(ask(&answers, b"a"));
    }

    #[test]
    fn what_is_kept_is_bounded_and_many_bad_tokens_drive_out_no_good_one() {
        let answers = answers(80_000);
        (0..20_u32).for_each(|number| ask(&answers, &number.to_be_bytes()).end(Ok(good()), 100, LONG));
        for number in 100..1000_u32 {
            ask(&answers, &number.to_be_bytes()).end(Ok(Told::Inactive), 100, LONG);
            assert!(answers.held() <= 90_000, "{}", answers.held());
        }
        assert!((0..20_u32).all(|number| answers.find(&Key::of(&number.to_be_bytes())).is_some()));
        for number in 2000..2500_u32 {
            ask(&answers, &number.to_be_bytes()).end(Ok(good()), 1000, LONG);
            assert!(answers.held() <= 90_000, "{}", answers.held());
        }
    }

    #[test]
    fn what_was_told_holds_for_its_time() {
        let answers = answers(80_000);
        ask(&answers, b"a").end(Ok(Told::Inactive), 10, Duration::from_millis(50));
        assert!(answers.find(&Key::of(b"a")).is_some());
        std::thread::sleep(Duration::from_millis(60));
        assert!(answers.find(&Key::of(b"a")).is_none());
    }
}
