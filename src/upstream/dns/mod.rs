//! The names of targets, and what they stand for. Building asks nobody; what is asked is asked on the control thread, and nobody waits for it.

mod ask;
mod config;

pub use config::{DnsConfig, Families};

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use parking_lot::Mutex;

use crate::observe::Metrics;
use crate::state::{Answer, Known, Shared};

/// What a name server is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The addresses of a host.
    Host(Box<str>),
    /// The hosts and ports of a service (RFC 2782).
    Service(Box<str>),
}

impl Question {
    /// The name that it is about.
    pub fn name(&self) -> &str {
        match self {
            Question::Host(name) | Question::Service(name) => name,
        }
    }

    /// What keeps its answer over a reload.
    fn key(&self) -> String {
        match self {
            Question::Host(name) => name.to_string(),
            Question::Service(name) => format!("SRV {name}"),
        }
    }
}

/// Why there is no answer: a word for the metrics, a text for the log.
#[derive(Debug)]
struct Failed {
    word: &'static str,
    text: String,
}

/// Who is asked, and for how long what they say holds.
pub struct Names {
    config: DnsConfig,
    /// Names the config: answers of others are asked for again.
    id: u64,
    /// Made with the first question. The system's settings are read again after one that failed.
    resolver: Mutex<Option<TokioResolver>>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The longest wait between two attempts that fail.
const SELDOM: Duration = Duration::from_secs(30);

/// For how long a line of /etc/hosts holds, within the bounds of the config: nobody says when it changes.
const HOSTS_TTL: Duration = Duration::from_secs(5);

impl Names {
    /// Prepares; nothing is read or asked yet.
    pub fn new(config: &DnsConfig) -> Self {
        let mut hasher = DefaultHasher::new();
        (&config.servers, config.families as u8).hash(&mut hasher);
        Self { config: config.clone(), id: hasher.finish(), resolver: Mutex::new(None) }
    }

    /// What is known of a name, by whomever.
    pub fn answer(question: &Question, shared: &Shared) -> Arc<Answer> {
        shared.answers.get(&question.key())
    }

    /// Asks, unless what is known still holds. When to ask again.
    pub async fn refresh(&self, question: &Question, answer: &Answer, metrics: &Metrics) -> Instant {
        let _turn = answer.turn().await;
        let before = answer.known();
        if let Some(due) = before.due.filter(|due| before.by == self.id && *due > Instant::now()) {
            return due;
        }
        let asked = self.ask(question, before.places.is_empty()).await;
        let name = question.name();
        let word = asked.as_ref().map_or_else(|failed| failed.word, |_| "answered");
        metrics.process.dns_lookups.with_label_values(&[name, word]).inc();
        let known = match asked {
            Ok((mut places, ttl)) => {
                places.sort_unstable();
                places.dedup();
                metrics.process.dns_addresses.with_label_values(&[name]).set(i64::try_from(places.len()).unwrap_or(i64::MAX));
                metrics.process.note_dns_answer(name);
                if before.failures > 0 {
                    log::info!("the name `{name}` is answered again");
                }
                let ttl = ttl.clamp(self.config.min_ttl.0, self.config.max_ttl.0);
                Known { places: places.into(), due: Some(Instant::now() + ttl), failures: 0, cause: None, by: self.id }
            }
            Err(failed) => {
                if self.config.servers.is_empty() {
                    *self.resolver.lock() = None;
                }
                if before.cause.as_deref() != Some(&*failed.text) {
                    let stays = if before.places.is_empty() { "it has no address yet" } else { "its last addresses stay" };
                    log::warn!("the name `{name}` is not answered, {stays}: {}", failed.text);
                }
                let wait = self.config.min_ttl.0.saturating_mul(1 << before.failures.min(16)).min(SELDOM.max(self.config.min_ttl.0));
                let failures = before.failures.saturating_add(1);
                Known { due: Some(Instant::now() + wait), failures, cause: Some(failed.text.into()), by: self.id, ..before }
            }
        };
        let due = known.due.unwrap_or_else(Instant::now);
        answer.note(known);
        due
    }
}
