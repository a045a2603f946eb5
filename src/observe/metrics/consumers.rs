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
    met: Mutex<Met>,
}

/// What this worker knows of them: it looks here first, and waits for no other core.
#[derive(Debug, Default)]
struct Met {
    /// Those of them that it has met.
    names: HashSet<String>,
    /// That it knows all of them, and that no other will have series.
    full: bool,
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

impl Met {
    fn has_series(&mut self, name: &str, all: &Names) -> bool {
        if self.full || self.names.contains(name) {
            return self.names.contains(name);
        }
        if all.admit(name) {
            return self.names.insert(name.to_owned());
        }
        self.names.clone_from(&all.0.read());
        self.full = true;
        false
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
        let has_series = self.met.lock().has_series(name, &self.names);
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
        // First those of all: who finds no room after that is right.
        self.names.0.write().retain(|name| known(name));
        let mut met = self.met.lock();
        met.names.retain(|name| known(name));
        met.full = false;
        drop(met);
        super::forget::remove(
            &self.requests,
            |labels| labels.first().is_some_and(|name| *name != OTHERS && !known(name)),
            |labels| self.requests.remove_label_values(labels),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_has_no_series_waits_for_no_other_core() {
        let names = Arc::<Names>::default();
        let consumers = Arc::new(Consumers::new(&Registry::new(), &names).unwrap());
        (0..=MOST).for_each(|number| consumers.count(&format!("c{number}"), 200));
        let held = names.0.write();
        let (tell, told) = channel();
        let counts = consumers.clone();
        std::thread::spawn(move || {
            counts.count("other", 200);
            tell.send(()).unwrap();
        });
        assert!(told.recv_timeout(Duration::from_secs(20)).is_ok());
        drop(held);
        assert_eq!(consumers.requests.with_label_values(&[OTHERS, "2xx"]).get(), 2);
        // As soon as there is room again, others get some.
        consumers.keep(&|name| name == "c7");
        consumers.count("other", 200);
        assert_eq!(consumers.requests.with_label_values(&["other", "2xx"]).get(), 1);
    }
}
