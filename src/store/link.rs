use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus::IntGauge;
use rand::RngExt as _;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use tokio::sync::{Mutex, Notify};
use tokio::time::{sleep, timeout};

use super::place::Place;
use super::record::Fields;
use crate::observe::StoreMetrics;

/// The one connection of the process to its Redis, on which the questions of all workers go out without waiting for each other. It lives on the control
/// thread, which makes it anew, ever more seldom, when it is lost. While there is none, nobody waits for it.
pub(super) struct Link {
    place: Place,
    info: RedisConnectionInfo,
    /// How long an answer may take.
    patience: Duration,
    connection: ArcSwapOption<MultiplexedConnection>,
    /// Why there is none.
    cause: ArcSwap<String>,
    /// Says that the connection may be lost.
    doubted: Notify,
    /// Names under which nothing is, of each kind that is asked for.
    samples: Box<[String]>,
    /// That it is not known whether Redis answers such questions: it has just been connected, or did not answer one.
    refused: AtomicBool,
    /// What it said instead, and when the log was told.
    told: parking_lot::Mutex<HashMap<String, Instant>>,
    /// Who keeps it: after a reload another one, for which the present one makes room.
    turn: Mutex<()>,
}

/// Between two questions whether it is still there.
const PULSE: Duration = Duration::from_secs(1);

/// Between two attempts to connect, first and last.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long a connection may take to be made, at least.
const CONNECT: Duration = Duration::from_secs(1);

/// Between two lines in the log about the same.
const REMIND: Duration = Duration::from_secs(60);

/// Errors of Redis that the log is told of in that time at most.
const CAUSES: usize = 16;

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("place", &self.place.to_string()).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// There is no connection.
    Down(String),
    /// None came in time.
    Late,
    /// Something went wrong, as said.
    Error(String),
}

impl Failed {
    /// One word for the metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Failed::Down(_) => "down",
            Failed::Late => "late",
            Failed::Error(_) => "error",
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Down(why) => write!(f, "Redis cannot be reached: {why}"),
            Failed::Late => f.write_str("Redis has not answered in time"),
            Failed::Error(why) => write!(f, "Redis: {why}"),
        }
    }
}

impl Link {
    /// Nothing is connected yet.
    pub fn new(place: Place, samples: Box<[String]>, username: Option<&str>, password: Option<&str>, patience: Duration) -> Self {
        let mut info = RedisConnectionInfo::default().set_db(place.database).set_lib_name("tidegate", env!("CARGO_PKG_VERSION"));
        if let Some(username) = username {
            info = info.set_username(username);
        }
        if let Some(password) = password {
            info = info.set_password(password);
        }
        Self {
            place,
            info,
            patience,
            connection: ArcSwapOption::empty(),
            cause: ArcSwap::default(),
            doubted: Notify::new(),
            samples,
            refused: AtomicBool::new(true),
            told: parking_lot::Mutex::default(),
            turn: Mutex::new(()),
        }
    }

    /// All fields of a hash, if something is there, or why it is no hash.
    pub async fn fields(&self, name: &str) -> Result<Option<Result<Fields, String>>, Failed> {
        let Some(mut connection) = self.connection() else { return Err(Failed::Down(self.cause.load().to_string())) };
        let mut asked = redis::cmd("HGETALL");
        let asked = asked.arg(name).query_async::<Fields>(&mut connection);
        // The library's own time is the same; nobody shall depend on it.
        match timeout(self.patience, asked).await {
            Ok(Ok(fields)) => Ok((!fields.is_empty()).then_some(Ok(fields))),
            Ok(Err(error)) if error.code() == Some("WRONGTYPE") => Ok(Some(Err("it is no hash".to_owned()))),
            Ok(Err(error)) if error.is_timeout() => Err(self.doubt(Failed::Late)),
            Ok(Err(error)) if is_lost(&error) => Err(self.doubt(Failed::Error(error.to_string()))),
            Ok(Err(error)) => Err(self.refuse(error.to_string())),
            Err(_) => Err(self.doubt(Failed::Late)),
        }
    }

    fn connection(&self) -> Option<MultiplexedConnection> {
        self.connection.load().as_deref().cloned()
    }

    fn doubt(&self, failed: Failed) -> Failed {
        self.doubted.notify_one();
        failed
    }

    /// Redis has said something else instead: the log is told once in a while of each cause.
    fn refuse(&self, why: String) -> Failed {
        self.refused.store(true, Ordering::Relaxed);
        let mut told = self.told.lock();
        told.retain(|_, at| at.elapsed() < REMIND);
        if told.len() < CAUSES && !told.contains_key(&why) {
            log::warn!("Redis at {} does not answer what it is asked: {why}", self.place);
            told.insert(why.clone(), Instant::now());
        }
        Failed::Error(why)
    }

    /// Whether there is nothing to wait for: it is connected, or it was tried in vain.
    pub fn is_settled(&self) -> bool {
        self.connection.load().is_some() || !self.cause.load().is_empty()
    }

    /// Keeps it connected for as long as this is not dropped. `settling` is dropped once the first attempt is over.
    pub async fn keep<S>(self: Arc<Self>, metrics: &StoreMetrics, settling: S) {
        let mut settling = Some(settling).filter(|_| !self.is_settled());
        let _turn = self.turn.lock().await;
        // Settings of before may have had another address.
        metrics.up.reset();
        let up = &metrics.up.with_label_values(&[&self.place.to_string()]);
        up.set(i64::from(self.connection.load().is_some() && !self.refused.load(Ordering::Relaxed)));
        let mut failures = 0;
        loop {
            if self.connection.load().is_none() {
                let within = CONNECT.max(self.patience);
                match timeout(within, self.clone().connect()).await.unwrap_or_else(|_| Err(format!("no answer within {within:?}"))) {
                    Ok(connection) => {
                        self.connection.store(Some(Arc::new(connection)));
                        self.cause.store(Arc::default());
                        self.refused.store(true, Ordering::Relaxed);
                        failures = 0;
                        log::info!("connected to Redis at {}", self.place);
                    }
                    Err(why) => {
                        self.lose(why, up);
                        drop(settling.take());
                        sleep(pause(failures)).await;
                        failures += 1;
                        continue;
                    }
                }
            }
            self.sample(up).await;
            drop(settling.take());
            tokio::select! {
                () = sleep(PULSE) => {}
                () = self.doubted.notified() => {}
            }
            if let Err(why) = self.ping().await {
                self.lose(why, up);
            }
        }
    }

    /// There is no connection any more, or still none: the log is told once of each cause.
    fn lose(&self, why: String, up: &IntGauge) {
        self.connection.store(None);
        up.set(0);
        if **self.cause.load() != why {
            log::warn!("no connection to Redis at {}: {why}", self.place);
            self.cause.store(Arc::new(why));
        }
    }

    async fn connect(self: Arc<Self>) -> Result<MultiplexedConnection, String> {
        let stream = self.place.connect().await.map_err(|error| error.to_string())?;
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.patience));
        let made = MultiplexedConnection::new_with_config(&self.info, stream, config).await;
        let (connection, driver) = made.map_err(|error| error.to_string())?;
        let link = Arc::downgrade(&self);
        tokio::spawn(async move {
            driver.await;
            // It ends with the connection.
            if let Some(link) = link.upgrade() {
                link.doubted.notify_one();
            }
        });
        Ok(connection)
    }

    /// Finds out whether Redis answers, where that is not known: it may let us `PING` and not look up.
    async fn sample(&self, up: &IntGauge) {
        if !self.refused.swap(false, Ordering::Relaxed) {
            return;
        }
        for name in &self.samples {
            // What goes wrong is told there.
            let _ = self.fields(name).await;
        }
        up.set(i64::from(!self.refused.load(Ordering::Relaxed)));
    }

    /// Whether it still answers, be it with an error.
    async fn ping(&self) -> Result<(), String> {
        let Some(mut connection) = self.connection() else { return Ok(()) };
        let asked = redis::cmd("PING");
        match timeout(self.patience, asked.exec_async(&mut connection)).await {
            Ok(Err(error)) if error.is_timeout() || is_lost(&error) => Err(error.to_string()),
            Ok(_) => Ok(()),
            Err(_) => Err(format!("no answer within {:?}", self.patience)),
        }
    }
}

fn is_lost(error: &RedisError) -> bool {
    error.is_connection_dropped() || error.is_io_error()
}

/// Ever longer, and never the same for all gateways.
fn pause(failures: u32) -> Duration {
    let (first, last) = PAUSE;
    let full = first.saturating_mul(1 << failures.min(10)).min(last);
    full.mul_f64(rand::rng().random_range(0.5..=1.0))
}
