//! What is kept outside of the gateway, in Redis or Valkey, and changes while it runs: consumers and their keys, and tokens that were taken back.

mod config;
mod kept;
mod link;
mod place;
mod record;
mod revocations;

pub use config::{OnError, RedisConfig, RevokedConfig, StoredConfig};
pub use revocations::Revocations;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderValue, header};
use tokio::time::sleep;

use crate::building::{BuildError, Errors, read_file};
use crate::consumer::{Consumer, Consumers, Key, KeyHash};
use crate::observe::Metrics;
use crate::problem::{Kind, Problem};
use crate::state::Shared;
use crate::upstream::{Beside, Client, Settling};
use kept::{Kept, Outcome, Terms};
use link::{Failed, Link};
use place::Place;
use record::{KeyRecord, Revocation};

/// A Redis, and what is looked up there. What is known outlives a snapshot, as long as the settings stay.
#[derive(Debug)]
pub struct Store {
    parts: Arc<Parts>,
    /// Keeps them for the snapshots to come.
    _place: Arc<OnceLock<Arc<Parts>>>,
    /// What policies look up there.
    pub faces: Faces,
}

/// What policies may look up.
#[derive(Clone, Debug, Default)]
pub struct Faces {
    /// Who calls.
    pub directory: Option<Arc<Directory>>,
    /// Which tokens were taken back.
    pub revocations: Option<Arc<Revocations>>,
}

/// Consumers and keys that are looked up in Redis.
#[derive(Debug)]
pub struct Directory {
    parts: Arc<Parts>,
    /// What happens to a request of which nobody knows who calls.
    on_error: OnError,
}

#[derive(Debug)]
struct Parts {
    link: Arc<Link>,
    prefix: Box<str>,
    keys: Arc<Kept<KeyHash, KeyRecord>>,
    consumers: Arc<Kept<Arc<str>, Consumer>>,
    revocations: Arc<Kept<Arc<str>, Revocation>>,
    /// How long a request waits for all that it asks.
    patience: Duration,
    metrics: OnceLock<Arc<Metrics>>,
}

/// Nobody knows, for that reason.
#[derive(Debug)]
pub struct Away(Arc<str>);

/// Keys that are known not to be, at most: whoever floods with others finds out nothing more, and pushes out nobody who is known.
const UNKNOWN: u64 = 10_000;

/// Between two looks at how much is known.
const COUNT: Duration = Duration::from_secs(5);

impl Store {
    /// Prepares; nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong with the settings, at paths from the root.
    pub fn build(config: &RedisConfig, shared: &Shared, folder: &Path) -> Result<Option<Arc<Self>>, Errors> {
        let mut errors = config.mistakes();
        let place = Place::build(config, folder).and_then(|place| Ok((place, id(config, folder)?)));
        let Some((place, id)) = errors.keep(&["redis".into()], place) else { return errors.finish(None) };
        let slot: Arc<OnceLock<Arc<Parts>>> = shared.slots.get(&format!("redis {id}"));
        let parts = slot.get_or_init(|| Arc::new(Parts::new(config, place))).clone();
        let directory = config.consumers.as_ref().map(|of| Arc::new(Directory { parts: parts.clone(), on_error: of.on_error }));
        let revocations = config.revoked.as_ref().map(|of| Arc::new(Revocations::new(parts.clone(), of.on_error)));
        errors.finish(Some(Arc::new(Self { parts, _place: slot, faces: Faces { directory, revocations } })))
    }
}

impl Directory {
    /// The consumer of that name that is kept there.
    ///
    /// # Errors
    /// Redis cannot be asked, and nothing that holds yet is known.
    pub async fn named(&self, name: &str) -> Result<Option<Arc<Consumer>>, Away> {
        self.named_until(name, self.parts.until()).await
    }

    async fn named_until(&self, name: &str, until: Instant) -> Result<Option<Arc<Consumer>>, Away> {
        let (parts, name) = (&self.parts, Arc::<str>::from(name));
        parts.consumers.find(name.clone(), until, || parts.clone().consumer(name)).await.map_err(Away)
    }

    /// Whether a request goes on of which nobody knows who calls.
    ///
    /// # Errors
    /// It does not.
    pub fn let_in(&self, away: Away) -> Result<(), Problem> {
        match self.on_error {
            OnError::Allow => Ok(()),
            OnError::Deny => Err(Problem::new(Kind::Unavailable, "who calls cannot be looked up now; try again soon")
                .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
                .cause(away.0)),
        }
    }

    /// The key that has this hash, with its consumer: one of those of the config, or one that is kept there too.
    ///
    /// # Errors
    /// Redis cannot be asked, and nothing that holds yet is known.
    pub async fn key(&self, hash: KeyHash, known: &Consumers) -> Result<Option<Key>, Away> {
        let (parts, until) = (&self.parts, self.parts.until());
        let Some(record) = parts.keys.find(hash, until, || parts.clone().key(hash)).await.map_err(Away)? else { return Ok(None) };
        let consumer = match known.named(&record.consumer) {
            Some(consumer) => Some(consumer.clone()),
            None => self.named_until(&record.consumer, until).await?,
        };
        Ok(consumer.map(|consumer| Key { consumer, id: record.id.clone(), expires: record.expires }))
    }
}

#[async_trait]
impl Beside for Store {
    /// Keeps it connected.
    async fn tend(self: Arc<Self>, _: Arc<Client>, metrics: Arc<Metrics>, settling: Settling) {
        let parts = &self.parts;
        let _ = parts.metrics.set(metrics.clone());
        let known = &metrics.process.store.known;
        let count = async {
            loop {
                let counts =
                    [("key", parts.keys.count()), ("consumer", parts.consumers.count()), ("revocation", parts.revocations.count())];
                for (what, count) in counts {
                    known.with_label_values(&[what]).set(i64::try_from(count).unwrap_or(i64::MAX));
                }
                sleep(COUNT).await;
            }
        };
        tokio::join!(parts.link.clone().keep(&metrics.process.store, settling), count);
    }
}

impl Parts {
    fn new(config: &RedisConfig, place: Place) -> Self {
        let (of_consumers, of_revoked) =
            (config.consumers.as_ref().map(|_| ["key:", "consumer:"]), config.revoked.as_ref().map(|_| ["revoked:jti:", "revoked:sub:"]));
        let samples = [of_consumers, of_revoked].into_iter().flatten().flatten().map(|kind| format!("{}{kind}", config.prefix)).collect();
        let (consumers, revoked) = (config.consumers.clone().unwrap_or_default(), config.revoked.clone().unwrap_or_default());
        let password = config.password.as_ref().map(|password| password.reveal());
        let patience = config.timeout.into();
        let terms = Terms {
            known: consumers.cache.into(),
            unknown: consumers.unknown.into(),
            stale: consumers.stale.into(),
            entries: consumers.entries,
            nothing: UNKNOWN,
        };
        let cache = revoked.cache.into();
        let revoked = Terms { known: cache, unknown: cache, stale: Duration::ZERO, entries: revoked.entries, nothing: revoked.entries };
        Self {
            link: Arc::new(Link::new(place, samples, config.username.as_deref(), password, patience)),
            prefix: config.prefix.as_str().into(),
            keys: Arc::new(Kept::new(terms)),
            consumers: Arc::new(Kept::new(terms)),
            revocations: Arc::new(Kept::new(revoked)),
            patience,
            metrics: OnceLock::new(),
        }
    }

    /// How long a request waits that begins to.
    fn until(&self) -> Instant {
        Instant::now() + self.patience
    }

    async fn key(self: Arc<Self>, hash: KeyHash) -> Outcome<KeyRecord> {
        let hex = hash.hex();
        // Who has the whole hash has no key yet, but nobody needs to see it.
        let shown = format!("{}key:{}…", self.prefix, hex.get(..12).unwrap_or_default());
        let fields = self.link.fields(&format!("{}key:{hex}", self.prefix)).await;
        self.told("key", &shown, fields.map(|found| found.map(|fields| record::key(fields?, hash))))
    }

    async fn consumer(self: Arc<Self>, name: Arc<str>) -> Outcome<Consumer> {
        let entry = format!("{}consumer:{name}", self.prefix);
        let fields = self.link.fields(&entry).await;
        self.told("consumer", &entry, fields.map(|found| found.map(|fields| record::consumer(&name, fields?))))
    }

    /// What a look-up came to, counted.
    fn told<T>(&self, what: &str, entry: &str, looked_up: Result<Option<Result<T, String>>, Failed>) -> Outcome<T> {
        let (result, outcome) = match looked_up {
            Ok(Some(Ok(found))) => ("found", Outcome::Found(Arc::new(found))),
            Ok(Some(Err(why))) => {
                log::warn!("{entry:?} in Redis counts as missing: {why}");
                ("void", Outcome::Nothing)
            }
            Ok(None) => ("unknown", Outcome::Nothing),
            Err(failed) => (failed.word(), Outcome::Failed(failed.to_string().into())),
        };
        if let Some(metrics) = self.metrics.get() {
            metrics.process.store.lookups.with_label_values(&[what, result]).inc();
        }
        outcome
    }
}

/// Tells settings apart: with others nothing of what is known holds, and there is another connection.
fn id(config: &RedisConfig, folder: &Path) -> Result<u64, BuildError> {
    let RedisConfig { url, username, password, ca, prefix, timeout, consumers, revoked } = config;
    let ca = ca.as_deref().map(|name| read_file(folder, name)).transpose().map_err(|error| error.at("ca"))?;
    let mut hasher = DefaultHasher::new();
    (url, username, password.as_ref().map(|password| password.reveal()), ca, prefix, timeout).hash(&mut hasher);
    if let Some(StoredConfig { cache, unknown, stale, entries, on_error: _ }) = consumers {
        (cache, unknown, stale, entries).hash(&mut hasher);
    }
    if let Some(RevokedConfig { cache, entries, on_error: _ }) = revoked {
        (cache, entries).hash(&mut hasher);
    }
    Ok(hasher.finish())
}
