//! What somebody who was asked has told, for all workers and over reloads; and what is being asked now, once for each question.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use foldhash::fast::RandomState;
use futures_util::FutureExt;
use futures_util::future::Shared;
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};
use tokio::sync::oneshot;

use crate::state::{Room, Stock};
use crate::upstream::Missed;

/// A question, by its SHA-256: what is kept is of no use to who finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    /// Of what makes the question.
    pub fn of(question: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(question);
        Self::end(context)
    }

    /// Of these parts: no others make the same key.
    pub fn of_parts<'p>(parts: impl IntoIterator<Item = &'p [u8]>) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        Self::end(context)
    }

    fn end(context: Context) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

/// How a question ended.
type Ended<T> = Result<T, Missed>;

/// A question under way.
type Asked<T> = Shared<oneshot::Receiver<Ended<T>>>;

/// What is kept, and what is asked.
pub(super) struct Answers<T> {
    kept: OnceLock<Kept<T>>,
    asked: Mutex<HashMap<Key, Asked<T>, RandomState>>,
    /// Requests that wait.
    pub waiting: Room,
}

struct Kept<T> {
    good: Stock<Key, T>,
    /// Apart: whoever asks much that is nothing drives out nothing good.
    bad: Stock<Key, T>,
}

/// How an answer is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// Whether it says yes.
    pub good: bool,
    /// What it takes.
    pub bytes: usize,
    /// For how long it holds.
    pub holds: Duration,
}

/// A question that is late ends by itself, and says how far it had come.
const GRACE: Duration = Duration::from_millis(50);

/// What is to be done about a question.
enum Found<T> {
    /// Nothing: this was told a moment ago.
    Known(T),
    /// Somebody asks already.
    Asked(Asked<T>),
    /// To ask, and to say how that ended.
    New(Asked<T>, Asking<T>),
}

/// Who asks. However it ends, the next who wants to know asks anew.
pub(super) struct Asking<T> {
    answers: Arc<Answers<T>>,
    key: Key,
    say: Option<oneshot::Sender<Ended<T>>>,
}

impl<T> fmt::Debug for Answers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was told is for nobody's eyes.
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl<T> Default for Answers<T> {
    fn default() -> Self {
        Self { kept: OnceLock::new(), asked: Mutex::default(), waiting: Room::default() }
    }
}

impl<T: Clone + Send + Sync + 'static> Answers<T> {
    /// Holds so many bytes of what was told: the first who says it decides.
    pub fn bound(&self, most: u64) {
        self.kept.get_or_init(|| Kept { good: Stock::new(most), bad: Stock::new(most / 8) });
    }

    /// What was told, as long as that holds.
    pub fn find(&self, key: &Key) -> Option<T> {
        let kept = self.kept.get()?;
        kept.good.find(key).or_else(|| kept.bad.find(key))
    }

    /// The answer to a question, which is waited for no longer than that. Where nobody asks it yet, `ask` does, in a task of its own: others may wait for it when
    /// this request is gone.
    ///
    /// # Errors
    /// There is none.
    pub async fn told<F>(self: &Arc<Self>, key: Key, within: Duration, ask: impl FnOnce(Asking<T>) -> F) -> Result<T, Missed>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let asked = match self.ask(key) {
            Found::Known(told) => return Ok(told),
            Found::Asked(asked) => asked,
            Found::New(asked, asking) => {
                tokio::spawn(ask(asking));
                asked
            }
        };
        match tokio::time::timeout(within.saturating_add(GRACE), asked).await {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) => Err(Missed::new("cancelled", "the question was given up")),
            Err(_) => Err(Missed::new("timeout", "it did not answer in time")),
        }
    }

    /// As if this had been told.
    #[cfg(test)]
    pub fn tell(self: &Arc<Self>, key: Key, told: T, keep: Keep) {
        self.keep(key, told, keep);
    }

    /// The same, or who asks.
    fn ask(self: &Arc<Self>, key: Key) -> Found<T> {
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

    fn keep(&self, key: Key, told: T, keep: Keep) {
        let Some(kept) = self.kept.get() else { return };
        let stock = if keep.good { &kept.good } else { &kept.bad };
        stock.keep(key, told, keep.bytes, keep.holds);
    }

    /// Bytes that are held.
    #[cfg(test)]
    pub fn held(&self) -> u64 {
        self.kept.get().map_or(0, |kept| kept.good.held() + kept.bad.held())
    }
}

impl<T: Clone + Send + Sync + 'static> Asking<T> {
    /// This was told, and is kept like this.
    pub fn end(self, told: T, keep: Keep) {
        self.answers.keep(self.key, told.clone(), keep);
        self.say(Ok(told));
    }

    /// Nothing was told.
    pub fn miss(self, missed: Missed) {
        self.say(Err(missed));
    }

    fn say(mut self, ended: Ended<T>) {
        self.answers.asked.lock().remove(&self.key);
        if let Some(say) = self.say.take() {
            let _ = say.send(ended);
        }
    }
}

impl<T> Drop for Asking<T> {
    fn drop(&mut self) {
        // Given up: the worker ends, or has a defect. Who waits hears it.
        if self.say.is_some() {
            self.answers.asked.lock().remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    fn answers(most: u64) -> Arc<Answers<bool>> {
        let answers = Arc::<Answers<bool>>::default();
        answers.bound(most);
        answers
    }

    fn keep(good: bool, bytes: usize, holds: Duration) -> Keep {
        Keep { good, bytes, holds }
    }

    fn ask(answers: &Arc<Answers<bool>>, question: &[u8]) -> Asking<bool> {
        match answers.ask(Key::of(question)) {
            Found::New(_, asking) => asking,
            _ => panic!("somebody asks already, or it is known"),
        }
    }

    #[tokio::test]
    async fn one_asks_and_all_others_hear_it() {
        let answers = answers(100_000);
        let asking = ask(&answers, b"a");
        let waits: Vec<_> = (0..3)
            .map(|_| match answers.ask(Key::of(b"a")) {
                Found::Asked(asked) => asked,
                _ => panic!("nobody asks"),
            })
            .collect();
        let _other = ask(&answers, b"b");
        asking.end(true, keep(true, 10, LONG));
        for wait in waits {
            assert!(matches!(wait.await, Ok(Ok(true))));
        }
        assert!(matches!(answers.ask(Key::of(b"a")), Found::Known(true)));
    }

    #[tokio::test]
    async fn a_question_that_is_given_up_is_heard_of_and_asked_anew() {
        let answers = answers(100_000);
        let asking = ask(&answers, b"a");
        let Found::Asked(wait) = answers.ask(Key::of(b"a")) else { panic!("nobody asks") };
        drop(asking);
        assert!(wait.await.is_err());
        ask(&answers, b"a").miss(Missed::new("status", ""));
        ask(&answers, b"a").end(true, keep(true, 0, Duration::ZERO));
        drop(ask(&answers, b"a"));
    }

    #[tokio::test]
    async fn who_waits_does_so_for_a_while() {
        let answers = answers(100_000);
        let told = answers
            .told(Key::of(b"a"), Duration::ZERO, |asking| async move {
                std::future::pending::<()>().await;
                drop(asking);
            })
            .await;
        assert_eq!(told.unwrap_err().word, "timeout");
        let told = answers.told(Key::of(b"b"), LONG, |asking| async move { asking.end(true, keep(true, 0, LONG)) }).await;
        assert_eq!(told, Ok(true));
        let told = answers.told(Key::of(b"b"), LONG, |_| std::future::ready(())).await;
        assert_eq!(told, Ok(true), "it is known");
        let told = answers.told(Key::of(b"c"), LONG, |asking| async move { drop(asking) }).await;
        assert_eq!(told.unwrap_err().word, "cancelled");
    }

    #[test]
    fn what_is_kept_is_bounded_and_much_that_is_bad_drives_out_nothing_good() {
        let answers = answers(80_000);
        (0..20_u32).for_each(|number| ask(&answers, &number.to_be_bytes()).end(true, keep(true, 100, LONG)));
        for number in 100..1000_u32 {
            ask(&answers, &number.to_be_bytes()).end(false, keep(false, 0, LONG));
            assert!(answers.held() <= 90_000, "{}", answers.held());
        }
        assert!((0..20_u32).all(|number| answers.find(&Key::of(&number.to_be_bytes())).is_some()));
        for number in 2000..2500_u32 {
            ask(&answers, &number.to_be_bytes()).end(true, keep(true, 1000, LONG));
            assert!(answers.held() <= 90_000, "{}", answers.held());
        }
    }

    #[tokio::test]
    async fn what_was_told_holds_for_its_time() {
        let answers = answers(80_000);
        ask(&answers, b"a").end(false, keep(false, 10, Duration::from_millis(50)));
        assert!(answers.find(&Key::of(b"a")).is_some());
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert!(answers.find(&Key::of(b"a")).is_none());
    }

    #[test]
    fn other_parts_make_another_key() {
        let key = |parts: &[&[u8]]| Key::of_parts(parts.iter().copied());
        assert_eq!(key(&[b"ab", b"c"]), key(&[b"ab", b"c"]));
        for other in [&[b"a".as_slice(), b"bc"][..], &[b"abc"], &[b"ab", b"c", b""], &[b"", b"ab", b"c"]] {
            assert_ne!(key(other), key(&[b"ab", b"c"]));
        }
    }
}
