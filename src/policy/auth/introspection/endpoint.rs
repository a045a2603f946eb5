//! Who knows tokens: asked on the worker of the request that wants to know, once for each token, whoever else wants to know it too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use http::header;
use serde_json::{Map, Value};

use super::config::Config;
use super::place::{Looks, Place};
use super::secret::Own;
use crate::building::BuildError;
use crate::observe::{Metrics, Shard};
use crate::policy::auth::answers::{Answers, Asking, Keep, Key};
use crate::policy::auth::jwt::claims::Window;
use crate::policy::auth::jwt::now;
use crate::policy::auth::jwt::token::object;
use crate::policy::auth::trouble::{Trouble, Turn};
use crate::problem::{Kind, Problem};
use crate::upstream::{Base, Beside, Client, Missed, Settling};

/// One provider, for all policies that ask it in the same way.
#[derive(Debug)]
pub struct Endpoint {
    /// What it is called in the log and the metrics.
    name: Box<str>,
    place: Place,
    own: Own,
    memory: Arc<Memory>,
    timeout: Duration,
    waiting: usize,
    cache: Duration,
    cache_inactive: Duration,
}

/// Bytes of an answer about a token.
const MOST: usize = 64 * 1024;

/// What an answer takes for each byte of its text: trees are larger.
const TREE: usize = 3;

/// How soon others may be out of the way.
const CROWDED: Duration = Duration::from_secs(1);

/// What outlives a snapshot.
#[derive(Debug, Default)]
pub(super) struct Memory {
    answers: Arc<Answers<Told>>,
    /// Where the provider was found last.
    pub url: ArcSwapOption<String>,
    trouble: Trouble,
}

/// What was told of one token.
#[derive(Clone, Debug)]
pub(super) enum Told {
    /// It is good: this is known of it.
    Active(Arc<Value>),
    /// It is not, whatever the reason.
    Inactive,
}

impl Endpoint {
    /// Prepares; nobody is asked yet.
    ///
    /// # Errors
    /// What is wrong, at its place in `config`.
    pub(super) fn build(config: &Config, base: &Base<'_>) -> Result<Self, BuildError> {
        config.timeout.not_zero().map_err(|error| error.at("timeout"))?;
        if config.waiting == 0 {
            return Err(BuildError::new("no request could wait", "write at least 1").at("waiting"));
        }
        let Config { url, issuer, client_id, ca, client_certificate, cache, cache_inactive, cache_size, .. } = config;
        let asked = url.as_ref().or(issuer.as_ref());
        // What is told to one is told to nobody else, not even to who only says that it is the same.
        let secret = config.secret();
        let key = format!(
            "introspection {asked:?} {client_id:?} {secret} {ca:?} {client_certificate:?} {cache:?} {cache_inactive:?} {cache_size:?}"
        );
        let memory = base.shared.slots.get::<Memory>(&key);
        memory.answers.bound(cache_size.0);
        Ok(Self {
            name: asked.map(String::as_str).unwrap_or_default().into(),
            place: Place::build(config, &memory, base)?,
            own: Own::build(config)?,
            memory,
            timeout: config.timeout.0,
            waiting: config.waiting,
            cache: cache.0,
            cache_inactive: cache_inactive.0,
        })
    }

    /// What it is called in the log and the metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that its hosts go by.
    pub fn hosts(&self) -> Vec<String> {
        self.place.hosts()
    }

    /// What was told of a token a moment ago.
    pub(super) fn known(&self, key: &Key, shard: &Shard) -> Option<Told> {
        let told = self.memory.answers.find(key)?;
        self.count(shard, "kept");
        Some(told)
    }

    /// What the provider says of a token.
    ///
    /// # Errors
    /// It is not known what it would say.
    pub(super) async fn ask(self: &Arc<Self>, key: Key, token: &str, client: &Arc<Client>) -> Result<Told, Problem> {
        let Some(_place) = self.memory.answers.waiting.enter(self.waiting) else {
            self.count(client.shard(), "crowded");
            return Err(self.unavailable(&Missed::new("crowded", "too many requests wait for it").after(CROWDED)));
        };
        let ask = |asking| self.clone().find_out(asking, token.to_owned(), client.clone());
        self.memory.answers.told(key, self.timeout, ask).await.map_err(|missed| self.unavailable(&missed))
    }

    async fn find_out(self: Arc<Self>, asking: Asking<Told>, token: String, client: Arc<Client>) {
        let (began, shard) = (Instant::now(), client.shard());
        let learned = self.learn(&token, &client).await;
        shard.auth.introspection_duration.with_label_values(&[&*self.name]).observe(began.elapsed().as_secs_f64());
        self.note(learned.as_ref().err());
        match learned {
            Ok((told, keep)) => {
                self.count(shard, if keep.good { "active" } else { "inactive" });
                asking.end(told, keep);
            }
            Err(missed) => {
                self.count(shard, missed.word);
                asking.miss(missed);
            }
        }
    }

    async fn learn(&self, token: &str, client: &Client) -> Result<(Told, Keep), Missed> {
        let undiscovered = || Missed::new("undiscovered", "it has not said yet where it is to be asked");
        let resource = self.place.resource().ok_or_else(undiscovered)?;
        let answer = resource.post(client, self.own.headers(), self.own.form(token), MOST, self.timeout).await?;
        Ok(match read(&answer.body)? {
            Some(claims) => {
                let holds = self.cache.min(left(&claims));
                let keep = Keep { good: true, bytes: answer.body.len() * TREE, holds };
                (Told::Active(Arc::new(Value::Object(claims))), keep)
            }
            None => (Told::Inactive, Keep { good: false, bytes: 0, holds: self.cache_inactive }),
        })
    }

    fn count(&self, shard: &Shard, word: &str) {
        shard.auth.introspections.with_label_values(&[&*self.name, word]).inc();
    }

    fn note(&self, missed: Option<&Missed>) {
        match (self.memory.trouble.note(missed), missed) {
            (Some(Turn::Bad), Some(missed)) => log::warn!("{} cannot be asked about tokens, which get 503: {}", self.name, missed.text),
            (Some(Turn::Good), _) => log::info!("{} tells of tokens again", self.name),
            _ => {}
        }
    }

    fn unavailable(&self, missed: &Missed) -> Problem {
        let problem = Problem::new(Kind::Unavailable, "the token cannot be verified at the moment");
        problem.cause(format!("{} cannot be asked: {}", self.name, missed.text)).header(header::RETRY_AFTER, missed.retry_after())
    }

    /// As if the provider had told this of a token.
    #[cfg(test)]
    pub(super) fn tell(&self, token: &[u8], told: &Value) {
        let claims = read(told.to_string().as_bytes()).unwrap();
        let keep = Keep { good: claims.is_some(), bytes: 100, holds: Duration::from_secs(60) };
        let told = claims.map_or(Told::Inactive, |claims| Told::Active(Arc::new(claims.into())));
        self.memory.answers.tell(Key::of(token), told, keep);
    }
}

/// What an answer says of a token (RFC 7662 §2.2); none where it is not good.
fn read(body: &[u8]) -> Result<Option<Map<String, Value>>, Missed> {
    let malformed = |text| Missed::new("malformed", text);
    let told = object(body).ok_or_else(|| malformed("its answer is no JSON object, has a member twice, or nests too deeply"))?;
    match told.get("active") {
        Some(Value::Bool(true)) => Ok(Some(told)),
        Some(Value::Bool(false)) => Ok(None),
        // Whatever else it may mean, it does not say that the token is good.
        _ => Err(malformed("its answer does not say whether the token is `active`")),
    }
}

/// How long a token lasts of which this is told.
fn left(claims: &Map<String, Value>) -> Duration {
    // A time that is none is refused on each request.
    let until = Window::of(claims, 0.0).ok().and_then(|window| window.until);
    until.map_or(Duration::MAX, |until| Duration::try_from_secs_f64((until - now()).max(0.0)).unwrap_or(Duration::MAX))
}

#[async_trait]
impl Beside for Endpoint {
    async fn tend(self: Arc<Self>, client: Arc<Client>, metrics: Arc<Metrics>, settling: Settling) {
        // Where a name has to be found first, the first requests wait for it rather than fail.
        let mut settling = Some(settling);
        let mut looks = Looks::new();
        loop {
            let told = match &self.place {
                Place::Told(issuer) => {
                    settling.take_if(|_| self.place.is_known());
                    Some(issuer.look(&self.memory, &mut looks, &client, &metrics).await)
                }
                Place::Here(_) => None,
            };
            let located = match self.place.resource() {
                Some(resource) => resource.locate(&metrics).await,
                None => None,
            };
            drop(settling.take());
            match told.into_iter().chain(located).min() {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                // An address stays what it is.
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_says_that_the_token_is_active_is_believed() {
        let told = |json: &str| read(json.as_bytes()).map(|told| told.is_some()).map_err(|missed| missed.word);
        assert_eq!(told(r#"{"active":true,"sub":"ada"}"#), Ok(true));
        assert_eq!(told(r#"{"active":false}"#), Ok(false));
        for lie in [
            "",
            "true",
            "{}",
            "[]",
            "null",
            r#"{"active":"true"}"#,
            r#"{"active":1}"#,
            r#"{"active":null}"#,
            r#"{"Active":true}"#,
            r#"{"active":false,"active":true}"#,
            r#"{"active":true}{}"#,
            "<html>",
        ] {
            assert_eq!(told(lie), Err("malformed"), "{lie}");
        }
    }

    #[test]
    fn what_was_told_holds_until_the_token_ends() {
        let left = |exp: f64| left(serde_json::json!({"exp": exp}).as_object().unwrap());
        assert!(left(now() + 30.0) <= Duration::from_secs(30) && left(now() + 30.0) > Duration::from_secs(29));
        assert_eq!(left(now() - 1.0), Duration::ZERO);
        assert!(left(1e300) > Duration::from_secs(1_000_000));
        assert_eq!(super::left(&Map::new()), Duration::MAX);
    }
}
