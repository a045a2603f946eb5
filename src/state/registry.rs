use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// State of one sort by key, kept as long as some snapshot holds it. A clone is the same registry.
#[derive(Debug)]
pub struct Registry<T>(Arc<Mutex<HashMap<String, Weak<T>>>>);

impl<T> Default for Registry<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T> Clone for Registry<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Default> Registry<T> {
    /// The state under `key`, made if no snapshot holds it. Only for `build()`: this takes a lock.
    pub fn get(&self, key: &str) -> Arc<T> {
        let mut known = self.0.lock();
        if let Some(state) = known.get(key).and_then(Weak::upgrade) {
            return state;
        }
        known.retain(|_, state| state.strong_count() > 0);
        let state = Arc::new(T::default());
        known.insert(key.to_owned(), Arc::downgrade(&state));
        state
    }
}

#[cfg(test)]
mod tests {
    use super::Registry;

    #[test]
    fn state_lives_as_long_as_someone_holds_it() {
        let registry = Registry::<std::sync::atomic::AtomicUsize>::default();
        let held = registry.get("a");
        held.store(7, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(registry.get("a").load(std::sync::atomic::Ordering::Relaxed), 7);
        drop(held);
        assert_eq!(registry.get("a").load(std::sync::atomic::Ordering::Relaxed), 0);
    }
}
