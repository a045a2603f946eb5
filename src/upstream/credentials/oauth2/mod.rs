//! The token that a provider gives to the gateway: fetched on the control thread, early enough that no request waits, and again for a service that does not
//! take it.

// Each uses only those above it.
mod config;
mod client;
mod token;
mod place;

pub use config::OAuth2Config;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use self::client::Client;
use self::place::Place;
use self::token::Token;
use super::Lacking;
use crate::building::BuildError;
use crate::observe::Metrics;
use crate::signing::Signer;
use crate::state::{Fetched, Patience};
use crate::upstream::{self, Answer, Base, Missed, Settling};

/// A token that is fetched, for all services that show the same.
#[derive(Debug)]
pub struct Grant {
    place: Place,
    client: Client,
    fetched: Arc<Fetched<Known>>,
    patience: Patience,
    ttl: Duration,
    timeout: Duration,
    /// The part of its time after which a token is fetched again: another for each, so that not all gateways come at once.
    early: f64,
}

/// What is known at one time.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The last one, though it may have ended.
    token: Option<Arc<Token>>,
    /// When an attempt failed, if none has succeeded since.
    failed: Option<Instant>,
    /// How many in a row.
    failures: u32,
    /// Why the last one did.
    cause: Option<Arc<str>>,
}

/// How it stands, for operators to read.
#[derive(Debug, Serialize)]
pub struct GrantStatus {
    source: String,
    client_id: String,
    /// The scopes that were asked for.
    scope: String,
    /// Whom the token is for, where that was asked for.
    audience: String,
    /// When the token ends; none while there is none.
    until: Option<String>,
    /// Why another could not be fetched, the last time.
    failing: Option<String>,
}

/// Between the first attempt that fails and the next, doubled with each; and at most.
const SOON: Duration = Duration::from_millis(500);
const SELDOM: Duration = Duration::from_secs(15);

impl Grant {
    /// # Errors
    /// What is wrong, at its place below `oauth2`.
    pub fn build(config: &OAuth2Config, base: &Base<'_>, signer: Option<&Arc<Signer>>) -> Result<Self, BuildError> {
        config.check()?;
        let place = Place::build(config, base)?;
        let client = Client::build(config, place.name(), signer, &base.shared.offload)?;
        let OAuth2Config { ca, client_certificate, allow_http, .. } = config;
        let key = format!("{} {} {ca:?} {client_certificate:?} {allow_http}", place.name(), client.key());
        Ok(Self {
            place,
            client,
            fetched: base.shared.slots.get(&key),
            patience: Patience { cooldown: config.cooldown.0, wait: config.wait.0, waiting: config.waiting },
            ttl: config.ttl.0,
            timeout: config.timeout.0,
            early: rand::random_range(0.7..0.8),
        })
    }

    /// Who gives it.
    pub fn source(&self) -> &str {
        self.place.name()
    }

    /// Its labels in the metrics.
    pub fn labels(&self) -> [&str; 4] {
        [self.source(), &self.client.id, &self.client.scope, &self.client.audience]
    }

    /// The names that its hosts go by.
    pub fn hosts(&self) -> Vec<String> {
        self.place.hosts()
    }

    /// How it stands.
    pub fn status(&self) -> GrantStatus {
        let known = self.fetched.known();
        let until =
            known.token.as_ref().filter(|token| token.holds()).map(|token| humantime::format_rfc3339_seconds(token.ends).to_string());
        let [source, client_id, scope, audience] = self.labels().map(ToOwned::to_owned);
        GrantStatus { source, client_id, scope, audience, until, failing: known.cause.as_deref().map(Into::into) }
    }

    /// The token, where no request has to wait for one.
    pub(super) fn at_hand(&self) -> Option<Arc<Token>> {
        let known = self.fetched.known();
        let token = known.token.as_ref().filter(|token| token.holds())?;
        let is_next = token.is_doubted() && self.fetched.is_wanted();
        (!is_next).then(|| token.clone())
    }

    /// Waits for one.
    ///
    /// # Errors
    /// It does not come in time.
    pub(super) async fn token(&self) -> Result<Arc<Token>, Lacking> {
        let (number, failing) = {
            let known = self.fetched.known();
            (known.token.as_ref().map(|token| token.number), known.failed.is_some())
        };
        // While nobody answers, only those wait who come while somebody is asked.
        let is_other = |known: &Known| known.token.as_ref().map(|token| token.number) != number;
        let _ = match number {
            Some(_) if !failing || self.fetched.is_wanted() => self.fetched.renew(is_other, &self.patience).await,
            _ => self.fetched.first(&self.patience).await,
        };
        let known = self.fetched.known();
        // One that a service did not take is better than none, while it holds.
        known.token.as_ref().filter(|token| token.holds()).cloned().ok_or_else(|| self.lacking(&known))
    }

    fn lacking(&self, known: &Known) -> Lacking {
        let (source, client) = (self.source(), &self.client.id);
        let why = known.cause.as_deref().unwrap_or("it has not come in time");
        let after = self.due(known).saturating_duration_since(Instant::now());
        Lacking { cause: format!("there is no token of {source} for {client}: {why}"), after }
    }

    /// A service did not take the token of this number: another is fetched, unless that was done a moment ago.
    pub(super) fn doubt(&self, number: u64) {
        let known = self.fetched.known();
        let Some(token) = known.token.as_ref().filter(|token| token.number == number) else { return };
        if token.doubt(true) {
            return;
        }
        match self.fetched.want(self.patience.cooldown) {
            Some(_) => log::info!("the token of {} for {} was not taken, and another is fetched", self.place.name(), self.client.id),
            None => drop(token.doubt(false)),
        }
    }

    /// When to fetch again.
    fn due(&self, known: &Known) -> Instant {
        let planned = known.token.as_ref().map(|token| token.got + token.life.mul_f64(self.early));
        let wait = SOON.saturating_mul(1 << known.failures.saturating_sub(1).min(16)).min(SELDOM);
        let again = known.failed.map(|at| at + wait.mul_f64(self.early));
        planned.max(again).unwrap_or_else(Instant::now)
    }

    /// Fetches, unless the token holds for long and all services take it. When to do it again.
    async fn refresh(&self, client: &upstream::Client, metrics: &Metrics) -> Instant {
        let _turn = self.fetched.turn().await;
        let before = Known::clone(&self.fetched.known());
        let due = self.due(&before);
        if due > Instant::now() && !self.fetched.is_wanted() {
            return due;
        }
        let number = self.fetched.begin();
        let (word, known) = match self.fetch(number, client, metrics).await {
            Ok(token) => ("renewed", self.came(&before, token)),
            Err(missed) => self.missed(before, missed),
        };
        let [source, id, scope, audience] = self.labels();
        metrics.process.tokens.refreshes.with_label_values(&[source, id, scope, audience, word]).inc();
        let due = self.due(&known);
        self.fetched.end(number, known);
        due
    }

    async fn fetch(&self, number: u64, client: &upstream::Client, metrics: &Metrics) -> Result<Token, Missed> {
        let (header, form) = self.client.request().await?;
        let endpoint = self.place.endpoint(client, self.timeout, metrics).await?;
        let got = Instant::now();
        let answer = endpoint.submit(client, header.as_slice(), form, MOST, self.timeout, metrics).await;
        let read = |answer: Answer| Token::read(answer.head.status, &answer.body, (got, number), self.ttl, &self.client);
        answer.and_then(read).inspect_err(|missed| {
            // It may have moved, unless it answers as the one that gives tokens.
            if missed.word != "refused" {
                self.place.forget();
            }
        })
    }

    fn came(&self, before: &Known, token: Token) -> Known {
        let (source, client) = (self.source(), &self.client.id);
        if before.failures > 0 || before.token.is_none() {
            log::info!("a token of {source} for {client} is there, which holds for {} s", token.life.as_secs());
        }
        Known { token: Some(Arc::new(token)), ..Known::default() }
    }

    fn missed(&self, before: Known, missed: Missed) -> (&'static str, Known) {
        let Missed { word, text, .. } = missed;
        let token = before.token.as_ref().filter(|token| token.holds());
        if let Some(token) = token {
            // The service may be asked once more.
            token.doubt(false);
        }
        if before.cause.as_deref() != Some(&*text) {
            let stays = if token.is_some() { "the last one stays until its end" } else { "requests get 503" };
            let (source, client) = (self.source(), &self.client.id);
            log::warn!("no token of {source} for {client} could be fetched, {stays}: {text}");
        }
        let failures = before.failures.saturating_add(1);
        (word, Known { failed: Some(Instant::now()), failures, cause: Some(text.into()), ..before })
    }

    /// Shows when the token ends; and tells, once, that it has. Whether it has.
    fn show(&self, metrics: &Metrics, was_over: bool) -> bool {
        let known = self.fetched.known();
        let Some(token) = &known.token else { return false };
        let (source, client) = (self.source(), &self.client.id);
        let is_over = !token.holds();
        if is_over && !was_over {
            log::error!("the token of {source} for {client} has ended, and there is no other: requests get 503");
        }
        let ends = token.ends.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        metrics.process.tokens.ends.with_label_values(&self.labels()).set(i64::try_from(ends.as_secs()).unwrap_or_default());
        is_over
    }

    /// Sees to it that there is a token, for as long as this is not dropped.
    pub async fn tend(self: Arc<Self>, client: Arc<upstream::Client>, metrics: Arc<Metrics>, settling: Settling) {
        // Better an old token than a wait for a new one.
        let mut settling = self.at_hand().is_none().then_some(settling);
        let mut is_over = false;
        // Given up in the midst of it, an attempt would leave it to the next, and that one to the next.
        client.prepare().await;
        loop {
            let mut next = self.refresh(&client, &metrics).await;
            drop(settling.take());
            is_over = self.show(&metrics, is_over);
            let until = self.fetched.known().token.as_ref().map(|token| token.until());
            if let Some(until) = until.filter(|_| !is_over) {
                next = next.min(until);
            }
            tokio::select! {
                () = tokio::time::sleep_until(next.into()) => {}
                () = self.fetched.wanted() => {}
            }
        }
    }
}

/// Bytes of an answer of the provider.
const MOST: usize = 64 * 1024;
