//! The only writer of `Live`: reads the config again, builds beside the running snapshot, and swaps all or nothing.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::runtime::Handle;

use crate::config::{Config, ConfigErrors, Loaded, Sources, load, process_env};
use crate::observe::{Kept, Metrics};
use crate::policy::Entry;
use crate::snapshot::{Live, Snapshot};
use crate::state::Shared;
use crate::upstream::{Beside, Client, ServiceConfig, Tending};

/// A config file that was read and built.
pub struct Built {
    /// What the file says.
    pub config: Loaded<Config>,
    /// What became of it.
    pub snapshot: Snapshot,
}

/// Reads and builds a config file. `tidegate check` does just this.
///
/// # Errors
/// Everything that is wrong, with its place.
pub fn build(path: &Path, shared: &Shared) -> Result<Built, ConfigErrors> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut named = Vec::new();
    let loaded = load(path, &process_env, |config: &Config| {
        named = config.files(folder);
        Snapshot::build(config, shared, folder)
    });
    match loaded {
        Ok((mut config, snapshot)) => {
            config.sources.files.extend(named);
            Ok(Built { config, snapshot })
        }
        Err(mut errors) => {
            errors.sources.files.extend(named);
            Err(errors)
        }
    }
}

/// Takes new configs while the gateway runs.
pub struct Reloader {
    path: PathBuf,
    shared: Arc<Shared>,
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    present: Loaded<Config>,
    sources: Sources,
    generation: i64,
    /// The runtime of what is done beside requests, and that itself, for the present snapshot.
    control: Handle,
    /// Asks for what is fetched beside requests.
    client: Arc<Client>,
    _tending: Tending,
    /// Snapshots that requests may still hold. To free a large one takes milliseconds, which no worker has.
    retired: Vec<Arc<Snapshot>>,
}

impl Reloader {
    /// Goes on from the config that the gateway was started with. Must be called on the control thread's runtime.
    ///
    /// # Errors
    /// Something that it needs to begin with is not there.
    pub async fn start(path: PathBuf, shared: Arc<Shared>, metrics: Arc<Metrics>, built: Built) -> Result<(Self, Arc<Live>), String> {
        let control = Handle::current();
        let Built { config: present, snapshot } = built;
        let client = Arc::new(Client::new(metrics.control.clone(), KEPT));
        let tending = tend(&snapshot, &control, &client, &metrics).await?;
        let live = Arc::new(Live::new(snapshot));
        let sources = present.sources.clone();
        let reloader = Self {
            path,
            shared,
            live: live.clone(),
            metrics,
            present,
            sources,
            generation: 1,
            control,
            client,
            _tending: tending,
            retired: Vec::new(),
        };
        reloader.note_time();
        reloader.note_certificates();
        let (reminded, mut clock) = (live.clone(), tokio::time::interval(REMIND));
        tokio::spawn(async move {
            loop {
                clock.tick().await;
                warn(&reminded.load());
            }
        });
        Ok((reloader, live))
    }

    /// The files that were read last, whether or not they were taken: where the next change will be.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Reads the file again. What is wrong with it is logged, and the present config stays.
    pub fn reload(&mut self) {
        if self.live.is_ending() {
            // The config is another process's by now.
            return;
        }
        let result = surviving(|| self.read_again());
        self.metrics.process.reloads.with_label_values(&[result]).inc();
    }

    fn read_again(&mut self) -> &'static str {
        match build(&self.path, &self.shared) {
            Ok(built) => {
                self.sources = built.config.sources.clone();
                self.take(built)
            }
            Err(errors) => {
                self.sources = errors.sources.clone();
                log::error!("the config was not taken, the present one stays:\n{errors}");
                "refused"
            }
        }
    }

    fn take(&mut self, built: Built) -> &'static str {
        let (before, after) = (&self.present.value, &built.config.value);
        for (name, same) in [
            ("server", before.server == after.server),
            ("admin", before.admin == after.admin),
            ("access_log", before.access_log == after.access_log),
        ] {
            if !same {
                log::error!(
                    "the config was not taken, the present one stays: a change under `{name}:` needs an upgrade: run `tidegate upgrade`"
                );
                return "refused";
            }
        }
        let change = change(&self.present.json(), &built.config.json());
        let tending = match self.control.block_on(tend(&built.snapshot, &self.control, &self.client, &self.metrics)) {
            Ok(tending) => tending,
            Err(why) => {
                log::error!("the config was not taken, the present one stays: {why}");
                return "refused";
            }
        };
        let renewed = changed(&self.live.load(), &built.snapshot);
        let before = self.live.swap(built.snapshot);
        self.retired.push(before);
        if renewed {
            self.note_certificates();
            warn(&self.live.load());
        }
        self._tending = tending;
        self.present = built.config;
        if change.is_empty() {
            let certificates = if renewed { ", and the certificates are new" } else { "" };
            log::info!("the config was read again; the file says the same{certificates}");
            return "unchanged";
        }
        self.generation += 1;
        self.note_time();
        log::info!("the config was taken: {change}");
        "done"
    }

    /// Frees the snapshots that no request holds any more, and forgets the metrics of what went with the last of them. True while some are held.
    pub fn sweep(&mut self) -> bool {
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        if self.retired.is_empty() {
            let config = &self.present.value;
            let unmatched = std::iter::once("-");
            let routes = config.routes.iter().map(|route| route.name.as_str()).chain(unmatched).collect();
            let snapshot = self.live.load();
            let of_endpoints = snapshot.endpoints.iter().flat_map(|endpoint| endpoint.hosts());
            let hosts = snapshot.providers.iter().flat_map(|provider| provider.hosts()).chain(of_endpoints);
            let names: Vec<String> = snapshot.services.iter().flat_map(|service| service.names()).chain(hosts).collect();
            let endpoints = snapshot.endpoints.iter().map(|endpoint| endpoint.name());
            let sources = snapshot.providers.iter().map(|provider| provider.name()).chain(endpoints).collect();
            let tokens = snapshot.services.iter().filter_map(|service| Some(service.grant()?.labels())).collect();
            let pools: Vec<_> = snapshot.services.iter().filter_map(|service| Some((&*service.name, service.pool()?))).collect();
            let of = |has: fn(&ServiceConfig<Vec<Entry>>) -> bool| -> HashSet<(&str, &str)> {
                let pools = pools.iter().filter(|(name, _)| config.services.get(*name).is_some_and(has));
                pools.flat_map(|(name, pool)| pool.targets().iter().map(|target| (*name, target.name()))).collect()
            };
            let services = config.services.keys().map(String::as_str).collect();
            let breakers = config.services.iter().filter(|(_, service)| service.breaker.is_some()).map(|(name, _)| name.as_str()).collect();
            let names = names.iter().map(String::as_str).collect();
            let (ejected, checked) = (of(|service| service.ejection.is_some()), of(|service| service.health.is_some()));
            let consumers: HashSet<_> = config.consumers.iter().map(|consumer| consumer.name.as_str()).collect();
            // Of those that are kept elsewhere nobody has a list.
            self.metrics.keep_consumers(|name| config.stores_consumers() || consumers.contains(name));
            if config.redis.is_none() {
                self.metrics.process.store.forget();
            }
            self.metrics.keep(&Kept { routes, services, names, sources, tokens, breakers, ejected, checked });
        }
        !self.retired.is_empty()
    }

    fn note_certificates(&self) {
        let expiry = &self.metrics.process.certificate_expiry;
        expiry.reset();
        let snapshot = self.live.load();
        for (listener, secure) in self.present.value.server.listeners.iter().zip(&snapshot.secure) {
            for shown in secure.iter().flat_map(|secure| &secure.shown) {
                expiry.with_label_values(&[&listener.address.to_string(), &*shown.file]).set(shown.certificate.not_after);
            }
        }
    }

    fn note_time(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.metrics.process.config_since.set(i64::try_from(now.as_secs()).unwrap_or_default());
        self.metrics.process.config_generation.set(self.generation);
    }
}

/// Tells of certificates that end soon or have ended.
fn warn(snapshot: &Snapshot) {
    for doubt in snapshot.doubts(SystemTime::now()) {
        log::warn!("{doubt}");
    }
}

/// Between two warnings of the same.
const REMIND: Duration = Duration::from_secs(12 * 3600);

/// Whether listeners show other certificates than before, or go by another list of revoked ones.
fn changed(before: &Snapshot, after: &Snapshot) -> bool {
    let shown = |snapshot: &Snapshot| -> Vec<_> {
        let secure = snapshot.secure.iter().flatten();
        secure.map(|secure| (secure.shown.clone(), secure.renewal)).collect()
    };
    shown(before) != shown(after)
}

/// Starts what is done beside the requests of a snapshot, and waits a moment for what requests should find: better an old config than one without targets.
async fn tend(snapshot: &Snapshot, control: &Handle, client: &Arc<Client>, metrics: &Arc<Metrics>) -> Result<Tending, String> {
    let providers = snapshot.providers.iter().map(|provider| provider.clone() as Arc<dyn Beside>);
    let endpoints = snapshot.endpoints.iter().map(|endpoint| endpoint.clone() as Arc<dyn Beside>);
    let store = snapshot.store.iter().map(|store| store.clone() as Arc<dyn Beside>);
    let others = providers.chain(endpoints).chain(store);
    let mut tending = Tending::start(&snapshot.services, others, control, client, metrics);
    let most = snapshot.providers.iter().filter_map(|provider| provider.holds_up()).fold(SETTLE, Duration::max);
    if !tending.settle(most).await {
        log::warn!(
            "not all is known of the services' targets, the issuers' keys, the tokens for services and what Redis holds yet; going on without"
        );
    }
    match snapshot.providers.iter().find_map(|provider| provider.lacks()) {
        Some(why) => Err(why),
        None => Ok(tending),
    }
}

/// A defect that a config brings to light costs that config, not the gateway's ear for the next one.
fn surviving(reload: impl FnOnce() -> &'static str) -> &'static str {
    // What is changed on the way, the snapshot and what belongs to it, is swapped whole.
    catch_unwind(AssertUnwindSafe(reload)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        log::error!("the config was not taken, for it meets a defect of the gateway: {}", text.unwrap_or("a panic"));
        "refused"
    })
}

/// Idle connections that are kept to where keys are fetched from.
const KEPT: usize = 8;

/// How long a config waits at most before it is used.
const SETTLE: Duration = Duration::from_secs(2);

/// What is new, gone and different, by name: `routes: +a -b ~c`.
fn change(before: &Value, after: &Value) -> String {
    let mut text = String::new();
    for section in ["dns", "paths", "consumers", "redis", "identity", "signing", "services", "policies", "routes"] {
        let (before, after) = (before.get(section), after.get(section));
        if before == after {
            continue;
        }
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(section);
        let (before, after) = (named(before), named(after));
        let (Some(before), Some(after)) = (before, after) else {
            text.push_str(" changed");
            continue;
        };
        text.push(':');
        let added = after.keys().filter(|name| !before.contains_key(*name)).map(|name| ('+', name));
        let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| ('-', name));
        let other =
            after.iter().filter(|(name, value)| before.get(*name).is_some_and(|known| known != *value)).map(|(name, _)| ('~', name));
        let marks: Vec<_> = added.chain(gone).chain(other).collect();
        for (mark, name) in marks.iter().take(NAMED) {
            let _ = write!(text, " {mark}{name}");
        }
        match marks.len() {
            0 => text.push_str(" order"),
            count if count > NAMED => {
                let _ = write!(text, " and {} more", count - NAMED);
            }
            _ => {}
        }
    }
    text
}

/// Names told of one section; the rest is a number.
const NAMED: usize = 20;

/// The entries of a section by name; none for a section without names.
fn named(section: Option<&Value>) -> Option<BTreeMap<&str, &Value>> {
    match section {
        None => Some(BTreeMap::new()),
        Some(Value::Object(entries)) => Some(entries.iter().map(|(name, value)| (name.as_str(), value)).collect()),
        Some(Value::Array(items)) => items.iter().map(|item| Some((item.get("name")?.as_str()?, item))).collect(),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_counts_as_a_refusal() {
        assert_eq!(surviving(|| "done"), "done");
        assert_eq!(surviving(|| panic!("no such {}", "year")), "refused");
    }

    #[test]
    fn a_change_is_told_by_name() {
        let before = serde_json::json!({"routes": [{"name": "a"}, {"name": "b", "to": "x"}], "policies": []});
        let after =
            serde_json::json!({"routes": [{"name": "b", "to": "y"}, {"name": "c"}], "policies": ["request_id"], "services": {"x": {}}});
        assert_eq!(change(&before, &after), "services: +x; policies changed; routes: +c -a ~b");
        assert_eq!(change(&before, &before), "");
    }
}
