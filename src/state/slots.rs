use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// State by key whose type belongs to a room below, kept as long as some snapshot holds it. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Slots(Arc<Mutex<Known>>);

type Known = HashMap<(TypeId, String), Weak<dyn Any + Send + Sync>>;

impl Slots {
    /// The state of this type under `key`, made if no snapshot holds it. Only for `build()`: this takes a lock.
    pub fn get<T: Default + Send + Sync + 'static>(&self, key: &str) -> Arc<T> {
        self.get_or_make(key, T::default)
    }

    /// The same for what has no default.
    pub fn get_or_make<T: Send + Sync + 'static>(&self, key: &str, make: impl FnOnce() -> T) -> Arc<T> {
        let mut known = self.0.lock();
        let key = (TypeId::of::<T>(), key.to_owned());
        if let Some(state) = known.get(&key).and_then(Weak::upgrade).and_then(|state| state.downcast().ok()) {
            return state;
        }
        known.retain(|_, state| state.strong_count() > 0);
        let state = Arc::new(make());
        let any: Arc<dyn Any + Send + Sync> = state.clone();
        known.insert(key, Arc::downgrade(&any));
        state
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

    use super::Slots;

    #[test]
    fn state_has_its_type_and_its_key_and_lives_as_long_as_someone_holds_it() {
        let slots = Slots::default();
        let held = slots.get::<AtomicUsize>("a");
        held.store(7, Ordering::Relaxed);
        assert_eq!(slots.clone().get::<AtomicUsize>("a").load(Ordering::Relaxed), 7);
        assert_eq!(slots.get::<AtomicUsize>("b").load(Ordering::Relaxed), 0);
        assert_eq!(slots.get::<AtomicU8>("a").load(Ordering::Relaxed), 0);
        drop(held);
        assert_eq!(slots.get::<AtomicUsize>("a").load(Ordering::Relaxed), 0);
    }
}
