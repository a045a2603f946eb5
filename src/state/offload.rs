use std::num::NonZero;
use std::sync::{Arc, OnceLock};
use std::thread::available_parallelism;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Threads beside the workers, for work that would hold one up: more than 100 µs of computing, such as large JSON. They are started when first needed, half
/// as many as there are cores, so that clients cannot take all of the machine by it.
#[derive(Debug)]
pub struct Offload {
    threads: OnceLock<Option<Threads>>,
    /// Work that is under way or waits.
    places: Arc<Semaphore>,
}

/// So much work may be there at once. Who has more does it where it is: to wait for others' would take longer.
const WAITING: usize = 16;

impl Default for Offload {
    fn default() -> Self {
        Self { threads: OnceLock::new(), places: Arc::new(Semaphore::new(WAITING)) }
    }
}

impl Offload {
    /// So many bytes of JSON take about 100 µs to read.
    pub const LARGE: usize = 64 * 1024;

    /// One with a single thread, whatever the machine has.
    #[cfg(test)]
    pub(crate) fn single() -> Self {
        Self { threads: OnceLock::from(Threads::of(1)), ..Self::default() }
    }

    /// Takes all places, until it is dropped.
    #[cfg(test)]
    pub(crate) fn fill(&self) -> OwnedSemaphorePermit {
        self.places.clone().try_acquire_many_owned(u32::try_from(WAITING).unwrap()).unwrap()
    }

    /// Does work that takes the longer the more bytes there are: beside the worker where they are many, here where they are few or too much waits there.
    pub async fn of_bytes<W, T>(&self, bytes: usize, work: W) -> T
    where
        W: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if bytes < Self::LARGE {
            return work();
        }
        self.run(work).await.unwrap_or_else(|work| work())
    }

    /// Does the work there, and waits for it. Whoever stops waiting leaves it to its end.
    ///
    /// # Errors
    /// The work comes back where too much waits already, or no thread can be had.
    pub async fn run<W, T>(&self, work: W) -> Result<T, W>
    where
        W: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return Err(work) };
        self.run_in(place, work).await
    }

    /// The same for work that can be done nowhere else: it waits for a place, before all that comes later.
    ///
    /// # Errors
    /// The work comes back where no thread can be had.
    pub async fn run_in_turn<W, T>(&self, work: W) -> Result<T, W>
    where
        W: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let Ok(place) = self.places.clone().acquire_owned().await else { return Err(work) };
        self.run_in(place, work).await
    }

    /// How many threads there are.
    pub fn threads() -> usize {
        available_parallelism().map_or(1, NonZero::get).div_ceil(2)
    }

    async fn run_in<W, T>(&self, place: OwnedSemaphorePermit, work: W) -> Result<T, W>
    where
        W: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let Some(threads) = self.threads.get_or_init(Threads::start) else { return Err(work) };
        let Some(handle) = threads.handle() else { return Err(work) };
        let done = handle.spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        match done.await {
            Ok(done) => Ok(done),
            // A panic costs the request that it is of, as on a worker.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The threads are ended when nobody has them any more, and whoever waits here has them.
            Err(_) => std::future::pending().await,
        }
    }
}

/// A runtime for its pool of threads.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Option<Self> {
        Self::of(Offload::threads())
    }

    fn of(count: usize) -> Option<Self> {
        let runtime = Builder::new_current_thread().max_blocking_threads(count).thread_name("offload").build();
        runtime.inspect_err(|error| log::warn!("no threads for work beside the workers: {error}")).ok().map(|runtime| Self(Some(runtime)))
    }

    fn handle(&self) -> Option<&Handle> {
        self.0.as_ref().map(Runtime::handle)
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting for them is not allowed on a worker.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[tokio::test]
    async fn work_is_done_beside_and_a_panic_comes_back_to_who_waits() {
        let offload = Arc::new(Offload::default());
        let here = std::thread::current().id();
        assert!(offload.run(move || std::thread::current().id() != here).await.is_ok_and(|beside| beside));
        let other = offload.clone();
        let panicking = tokio::spawn(async move { other.run(|| panic!("as it may")).await.map_err(|_| ()) });
        assert!(panicking.await.unwrap_err().is_panic());
        assert!(offload.run(|| ()).await.is_ok());
    }

    #[tokio::test]
    async fn work_comes_back_where_too_much_waits() {
        let offload = Arc::new(Offload::default());
        let (go, wait) = channel::<()>();
        let wait = Arc::new(std::sync::Mutex::new(wait));
        let held: Vec<_> = (0..WAITING)
            .map(|_| {
                let (offload, wait) = (offload.clone(), wait.clone());
                tokio::spawn(async move { offload.run(move || wait.lock().unwrap().recv().is_err()).await.is_ok_and(|freed| freed) })
            })
            .collect();
        while offload.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(offload.run(|| ()).await.is_err());
        let mut waits = std::pin::pin!(offload.run_in_turn(|| ()));
        assert!(futures_util::poll!(&mut waits).is_pending());
        drop(go);
        assert!(waits.await.is_ok());
        for held in held {
            assert!(held.await.unwrap());
        }
        assert!(offload.run(|| ()).await.is_ok());
    }
}
