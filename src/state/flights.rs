use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Work that several ask for and that is done once: who comes while it is under way waits for its end, on whatever thread. It goes on when all have left.
pub struct Flights<K, V> {
    under_way: Mutex<HashMap<K, Landing<V>, RandomState>>,
    most: usize,
}

/// Tells the result to all who wait.
type Landing<V> = watch::Receiver<Option<V>>;

impl<K, V> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("under_way", &self.under_way.lock().len()).finish_non_exhaustive()
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// So many may be under way at once.
    pub fn new(most: usize) -> Self {
        Self { under_way: Mutex::default(), most }
    }

    /// What is under way under this key, to wait for it.
    pub fn under_way(&self, key: &K) -> Option<Landing<V>> {
        self.under_way.lock().get(key).cloned()
    }

    /// The work under this key, which is begun unless it is under way, to wait for its result: it may end without one. None where too much is under way.
    pub fn begin<F>(self: &Arc<Self>, key: K, work: impl FnOnce() -> F) -> Option<Landing<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let (tell, landing) = watch::channel(None);
        {
            let mut under_way = self.under_way.lock();
            if let Some(landing) = under_way.get(&key) {
                return Some(landing.clone());
            }
            if under_way.len() >= self.most {
                return None;
            }
            under_way.insert(key.clone(), landing.clone());
        }
        let listed = Listed { flights: self.clone(), key };
        let work = work();
        tokio::spawn(async move {
            let landed = work.await;
            // Who comes from now on finds what the work has kept, or has it done again.
            drop(listed);
            let _ = tell.send(Some(landed));
        });
        Some(landing)
    }
}

/// That it is under way, until it is not, whatever ends it.
struct Listed<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
}

impl<K: Eq + Hash, V> Drop for Listed<K, V> {
    fn drop(&mut self) {
        self.flights.under_way.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Notify;

    use super::*;

    /// What the work comes to.
    async fn join<F: Future<Output = V> + Send + 'static, V: Clone + Send + Sync + 'static>(
        flights: &Arc<Flights<u8, V>>,
        key: u8,
        work: impl FnOnce() -> F,
    ) -> Option<V> {
        let mut landing = flights.begin(key, work)?;
        let landed = landing.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }

    #[tokio::test]
    async fn who_comes_meanwhile_gets_the_same_result_though_the_first_has_left() {
        let (flights, go, count) = (Arc::new(Flights::<u8, usize>::new(8)), Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (go, count) = (go.clone(), count.clone());
            move || async move {
                go.notified().await;
                count.fetch_add(1, Ordering::Relaxed) + 1
            }
        };
        let first = tokio::time::timeout(std::time::Duration::ZERO, join(&flights, 1, work()));
        assert!(first.await.is_err());
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                tokio::spawn({
                    let (flights, work) = (flights.clone(), work());
                    async move { join(&flights, 1, work).await }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        go.notify_one();
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Some(1));
        }
        go.notify_one();
        assert_eq!(join(&flights, 1, work()).await, Some(2));
    }

    #[tokio::test]
    async fn too_many_at_once_are_refused_and_a_panic_takes_no_place() {
        let flights = Arc::new(Flights::<u8, ()>::new(1));
        let never = flights.begin(1, std::future::pending::<()>);
        assert!(never.is_some() && join(&flights, 2, || async {}).await.is_none());
        let flights = Arc::new(Flights::<u8, ()>::new(1));
        assert_eq!(join(&flights, 1, || async { panic!("as it may") }).await, None);
        assert_eq!(join(&flights, 1, || async {}).await, Some(()));
    }
}
