use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use prometheus::{Error, IntCounterVec, Opts, Registry};

use super::register;

/// Consumers that have series of their own: the first that call. There may be a hundred thousand of them, and nobody's memory is for so many series.
const MOST: usize = 1000;

/// What all others are counted as.
const OTHERS: &str = "(others)";

/// The consumers that have series, in all shards.
#[derive(Debug, Default)]
pub struct Names(RwLock<HashSet<String>>);

/// The requests of consumers, as one worker counts them.
#[derive(Debug)]
pub struct Consumers {
    requests: IntCounterVec,
    names: Arc<Names>,
    /// Those of them that this worker has met: it looks here first, and waits for no other core.
    met: Mutex<HashSet<String>>,
}

impl Names {
    /// Whether this one has series: each, until there are too many.
    fn admit(&self, name: &str) -> bool {
        if self.0.read().contains(name) {
            return true;
        }
        if self.0.read().len() >= MOST {
            return false;
        }
        let mut names = self.0.write();
        names.len() < MOST && names.insert(name.to_owned()) || names.contains(name)
    }
}

impl Consumers {
    /// Nobody has called yet.
    pub(super) fn new(registry: &Registry, names: &Arc<Names>) -> Result<Self, Error> {
        let opts = Opts::new("tidegate_consumer_requests_total", "Requests of identified consumers; of the first thousand by name.");
        let requests = register(registry, IntCounterVec::new(opts, &["consumer", "class"]))?;
        Ok(Self { requests, names: names.clone(), met: Mutex::default() })
    }

    /// One request, at its end.
    pub fn count(&self, name: &str, status: u16) {
        let mut met = self.met.lock();
        let has_series = met.contains(name) || (self.names.admit(name) && met.insert(name.to_owned()));
        drop(met);
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            5 => "5xx",
            _ => "none",
        };
        self.requests.with_label_values(&[if has_series { name } else { OTHERS }, class]).inc();
    }

    /// Forgets those that are not known any more.
    pub(super) fn keep(&self, known: &impl Fn(&str) -> bool) {
        self.met.lock().retain(|name| known(name));
        self.names.0.write().retain(|name| known(name));
        super::forget::remove(
            &self.requests,
            |labels| labels.first().is_some_and(|name| *name != OTHERS && !known(name)),
            |labels| self.requests.remove_label_values(labels),
        );
    }
}
