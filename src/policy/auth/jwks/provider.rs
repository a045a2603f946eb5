//! Who has an issuer's keys: asked on the control thread, early enough that no request waits, and again at once when a token names a key that is not known.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::Guard;
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::KeySet;
use super::fetch::FetchConfig;
use super::jwk::published;
use super::keyring::{Keyring, Known, Wish};
use crate::building::BuildError;
use crate::observe::Metrics;
use crate::problem::{Kind, Problem};
use crate::state::{Offload, Patience};
use crate::upstream::discovery::{self, Wanted, Ways, is_plain};
use crate::upstream::{Base, Beside, Client, Missed, Resource, Settling};

/// Where keys come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The URL of a key set.
    Jwks(&'a str),
    /// An issuer, which says where its keys are.
    Issuer(&'a str),
}

/// One place where keys come from, for all policies that use it.
#[derive(Debug)]
pub struct Provider {
    /// What it is called in the log and the metrics.
    name: Box<str>,
    /// The issuer that says where its keys are; none where the config says it.
    issuer: Option<Box<str>>,
    resource: Resource,
    ring: Arc<Keyring>,
    patience: Patience,
    pub(super) fetch: FetchConfig,
    /// What keys of RSA are for that do not say it.
    fallback: Box<[Algorithm]>,
    /// The part of their time after which keys are fetched again: another for each, so that not all gateways come at once.
    early: f64,
    ways: Ways,
    offload: Arc<Offload>,
}

/// Bytes of what is fetched.
const MOST: usize = 512 * 1024;

/// How long keys hold of which nobody says it, within the bounds of the config.
const TTL: Duration = Duration::from_secs(600);

/// Between the first attempt that fails and the next, doubled with each; and at most.
const SOON: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(15);

impl Provider {
    /// Prepares; nobody is asked yet. `algorithms` are those that tokens may be signed with; none for all.
    ///
    /// # Errors
    /// What is wrong, at its place below `jwks`, `issuer` or `fetch`.
    pub fn build(source: Source<'_>, algorithms: &[Algorithm], fetch: &FetchConfig, base: &Base<'_>) -> Result<Self, BuildError> {
        let (place, name, url, issuer) = match source {
            Source::Jwks(url) => ("jwks", url, url.to_owned(), None),
            Source::Issuer(issuer) if issuer.contains(['?', '#']) => {
                let reason = format!("`{issuer}` has a query or a fragment, which no issuer has that says where its keys are");
                return Err(BuildError::new(reason, "name them with `jwks` or `keys`").at("issuer"));
            }
            Source::Issuer(issuer) => ("issuer", issuer, discovery::place(issuer), Some(issuer.into())),
        };
        fetch.check().map_err(|error| error.at("fetch"))?;
        if is_plain(&url) && !fetch.allow_http {
            let reason = format!("the keys of `{name}` would come without TLS: who is on the way could sign tokens");
            return Err(BuildError::new(reason, "write `https://`, or set `fetch: { allow_http: true }`").at(place));
        }
        let tls = fetch.tls();
        let resource = Resource::build(&url, Some(&tls), base).map_err(|error| {
            let place = if error.path.0.is_empty() { place } else { "fetch" };
            error.at(place)
        })?;
        let is_rsa = |algorithm: &Algorithm| algorithm.family() == AlgorithmFamily::Rsa;
        let fallback: Box<[Algorithm]> = match algorithms {
            // What issuers sign with that say nothing else (OpenID Connect Core §2).
            [] => [Algorithm::RS256].into(),
            some => some.iter().copied().filter(is_rsa).collect(),
        };
        let FetchConfig { ca, client_certificate, allow_http, .. } = fetch;
        let key = format!("{source:?} {ca:?} {client_certificate:?} {allow_http} {fallback:?}");
        Ok(Self {
            name: name.into(),
            issuer,
            resource,
            ring: base.shared.slots.get(&key),
            patience: Patience { cooldown: fetch.cooldown.0, wait: fetch.wait.0, waiting: fetch.waiting },
            fetch: fetch.clone(),
            fallback,
            early: rand::random_range(0.7..0.8),
            ways: Ways::new(tls, fetch.allow_http, base),
            offload: base.shared.offload.clone(),
        })
    }

    /// What it is called in the log and the metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names that its hosts go by.
    pub fn hosts(&self) -> Vec<String> {
        [self.resource.names(), self.ways.hosts()].concat()
    }

    /// What is known now; whether its keys may be used, [`Provider::keys`] says.
    pub fn known(&self) -> Guard<Arc<Known>> {
        self.ring.known()
    }

    /// The keys, unless they are too old.
    pub fn keys<'k>(&self, known: &'k Known) -> Option<&'k KeySet> {
        let (fetched, _) = known.fetched?;
        (fetched.elapsed() < self.ttl(known).saturating_add(self.fetch.stale.0)).then_some(known.keys.as_deref()).flatten()
    }

    /// Asks for keys anew, since a token's is not among those of `version`; or waits for the first ones, where none are there yet.
    pub async fn renew(&self, version: Option<u64>) -> Wish {
        match version {
            Some(version) => self.ring.renew(|known| known.version != version, &self.patience).await,
            None => self.ring.first(&self.patience).await,
        }
    }

    /// Whether keys could not be fetched, the last time.
    pub fn is_in_trouble(&self) -> bool {
        self.known().failed.is_some()
    }

    /// The answer to a token that cannot be verified now.
    pub fn unavailable(&self) -> Problem {
        let known = self.known();
        let left = self.due(&known).saturating_duration_since(Instant::now());
        let left = if self.keys(&known).is_some() { left.min(self.ring.quiet(self.patience.cooldown)) } else { left };
        let cause = match (&known.cause, &known.fetched) {
            (Some(cause), None) => format!("the keys of {} could not be fetched yet: {cause}", self.name),
            (Some(cause), Some(_)) if self.keys(&known).is_none() => {
                format!("the keys of {} are too old, and cannot be fetched: {cause}", self.name)
            }
            (Some(cause), _) => format!("the token's key is unknown, and the keys of {} cannot be fetched: {cause}", self.name),
            (None, _) => format!("the keys of {} have not been fetched in time", self.name),
        };
        let problem = Problem::new(Kind::Unavailable, "the token cannot be verified at the moment").cause(cause);
        problem.header(header::RETRY_AFTER, HeaderValue::from(left.as_secs().saturating_add(1)))
    }

    /// How long keys hold.
    fn ttl(&self, known: &Known) -> Duration {
        known.said.unwrap_or(TTL).clamp(self.fetch.min_ttl.0, self.fetch.max_ttl.0)
    }

    /// When to fetch again.
    fn due(&self, known: &Known) -> Instant {
        let planned = known.fetched.map(|(at, _)| at + self.ttl(known).mul_f64(self.early));
        let wait = SOON.saturating_mul(1 << known.failures.saturating_sub(1).min(16)).min(SELDOM);
        let again = known.failed.map(|at| at + wait.mul_f64(self.early));
        planned.max(again).unwrap_or_else(Instant::now)
    }

    /// When they are too old.
    fn end(&self, known: &Known) -> Option<Instant> {
        known.fetched.map(|(at, _)| at + self.ttl(known) + self.fetch.stale.0)
    }

    /// Fetches, unless what is known still holds and no token asks for more. When to do it again.
    async fn refresh(&self, client: &Client, metrics: &Metrics) -> Instant {
        let _turn = self.ring.turn().await;
        let before = Known::clone(&self.known());
        let due = self.due(&before);
        if due > Instant::now() && !self.ring.is_wanted() {
            return due;
        }
        let number = self.ring.begin();
        let read = match self.fetched(client, metrics).await {
            Ok((document, said)) => self.read(before.clone(), document, said).await,
            Err(missed) => Err(missed),
        };
        let (word, known) = read.unwrap_or_else(|missed| self.missed(before, missed));
        metrics.process.jwks.refreshes.with_label_values(&[&*self.name, word]).inc();
        let due = self.due(&known);
        self.ring.end(number, known);
        due
    }

    /// What comes from there, and how long it says that it holds.
    async fn fetched(&self, client: &Client, metrics: &Metrics) -> Result<(Bytes, Option<Duration>), Missed> {
        let mut answer = self.resource.get(client, MOST, self.fetch.timeout.0, metrics).await?;
        if let Some(issuer) = &self.issuer {
            let url = discovery::told(&answer.body, issuer, Wanted::Keys)?;
            let keys = self.ways.to(&url)?;
            let of_keys = |missed: Missed| Missed { text: format!("at {url}: {}", missed.text), ..missed };
            answer = keys.get(client, MOST, self.fetch.timeout.0, metrics).await.map_err(of_keys)?;
        }
        Ok((answer.body, holds(&answer.head.headers)))
    }

    async fn read(&self, before: Known, document: Bytes, said: Option<Duration>) -> Result<(&'static str, Known), Missed> {
        let fetched = Some((Instant::now(), SystemTime::now()));
        let known = Known { fetched, said, failed: None, failures: 0, cause: None, ..before };
        if known.keys.is_some() && known.document == document {
            if before.failures > 0 {
                log::info!("the keys of {} are fetched again, and are the same", self.name);
            }
            return Ok(("unchanged", known));
        }
        let (json, fallback) = (document.clone(), self.fallback.clone());
        // Points on curves are checked, which takes its time.
        let read = self.offload.run(move || published(&json, &fallback)).await.unwrap_or_else(|read| read());
        let read = read.map_err(|why| Missed::new("malformed", why))?;
        let others = if read.others.is_empty() { String::new() } else { format!("; passed over: {}", read.others.join(", ")) };
        if read.keys.is_empty() {
            return Err(Missed::new("no_keys", format!("no key there can verify a signature{others}")));
        }
        let keys = KeySet::new(read.keys);
        log::info!("the keys of {} are now {keys}{others}", self.name);
        Ok(("renewed", Known { keys: Some(Arc::new(keys)), version: known.version + 1, document, ..known }))
    }

    fn missed(&self, before: Known, missed: Missed) -> (&'static str, Known) {
        let Missed { word, text, .. } = missed;
        if before.cause.as_deref() != Some(&*text) {
            let stays = match self.keys(&before) {
                Some(_) => "the last ones stay for a while",
                None => "tokens get 503",
            };
            log::warn!("the keys of {} could not be fetched, {stays}: {text}", self.name);
        }
        let failures = before.failures.saturating_add(1);
        (word, Known { failed: Some(Instant::now()), failures, cause: Some(text.into()), ..before })
    }

    /// Shows how it stands; and tells, once, when keys become too old. Whether they are.
    fn show(&self, metrics: &Metrics, was_over: bool) -> bool {
        let known = self.known();
        let (keys, name) = (self.keys(&known), [&*self.name]);
        let is_over = known.keys.is_some() && keys.is_none();
        if is_over && !was_over {
            log::error!("the keys of {} are too old to be used any more: tokens get 503", self.name);
        }
        metrics.process.jwks.keys.with_label_values(&name).set(keys.map_or(0, |keys| i64::try_from(keys.len()).unwrap_or(i64::MAX)));
        if let Some((_, at)) = known.fetched {
            let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            metrics.process.jwks.fetched.with_label_values(&name).set(i64::try_from(at.as_secs()).unwrap_or_default());
        }
        is_over
    }
}

#[async_trait]
impl Beside for Provider {
    async fn tend(self: Arc<Self>, client: Arc<Client>, metrics: Arc<Metrics>, settling: Settling) {
        // Better old keys than a wait for new ones.
        let mut settling = self.known().keys.is_none().then_some(settling);
        let mut is_over = false;
        // Given up in the midst of it, an attempt would leave it to the next, and that one to the next.
        client.prepare().await;
        loop {
            let mut next = self.refresh(&client, &metrics).await;
            drop(settling.take());
            is_over = self.show(&metrics, is_over);
            if let Some(end) = self.end(&self.known()).filter(|_| !is_over) {
                next = next.min(end);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.ring.wanted() => {}
            }
        }
    }
}

/// How long an answer says that it holds (RFC 9111 §5.2.2), from now.
fn holds(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives = said.flat_map(|line| line.split(',')).map(|directive| directive.trim().to_ascii_lowercase());
    let mut holds = None;
    for directive in directives {
        match directive.split_once('=') {
            None if matches!(&*directive, "no-store" | "no-cache") => return Some(Duration::ZERO),
            Some(("max-age", seconds)) => holds = Some(seconds.trim_matches('"').parse().unwrap_or(0)),
            _ => {}
        }
    }
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.parse::<u64>().ok()).unwrap_or_default();
    holds.map(|seconds: u64| Duration::from_secs(seconds.saturating_sub(age).min(FOREVER)))
}

/// Seconds beyond which an answer holds for ever, as far as clocks go.
const FOREVER: u64 = 366 * 24 * 3600;
