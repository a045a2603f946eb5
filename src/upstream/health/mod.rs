//! Active checks: targets are asked at intervals whether they are well, on the control thread, each over a connection of its own.

mod ask;
mod config;
mod grpc;

pub use config::{HealthConfig, StatusConfig};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use self::ask::Ask;
use super::{About, Backend, HostMode, Pool, Ready, Service, Settling, Target, Targets, jitter};
use crate::building::BuildError;
use crate::observe::Metrics;
use crate::state::{Changes, Checked, Shared, millis};

/// How the targets of a service are asked whether they are well.
#[derive(Debug)]
pub struct Health {
    ask: Ask,
    interval: Duration,
    timeout: Duration,
    healthy: u32,
    unhealthy: u32,
    changes: Arc<Changes>,
}

/// Checks of one service under way at once.
const TOGETHER: usize = 64;

impl Health {
    /// Prepares the checks.
    ///
    /// # Errors
    /// Settings that cannot work, or contradict each other.
    pub fn build(config: &HealthConfig, service: &str, shared: &Shared) -> Result<Self, BuildError> {
        let ask = Ask::build(config)?;
        if config.interval.0 < Duration::from_millis(100) {
            return Err(BuildError::new("this would be all that a target does", "write at least `100ms`").at("interval"));
        }
        config.timeout.not_zero().map_err(|error| error.at("timeout"))?;
        if let Some((key, _)) = [("healthy", config.healthy), ("unhealthy", config.unhealthy)].iter().find(|(_, number)| *number == 0) {
            return Err(BuildError::new("no check at all decides nothing", "write at least 1").at(*key));
        }
        Ok(Self {
            ask,
            interval: config.interval.into(),
            timeout: config.timeout.into(),
            healthy: config.healthy,
            unhealthy: config.unhealthy,
            changes: shared.changes.get(service),
        })
    }

    /// Asks a target, which sees this `Host` and these credentials, and says why it is ill.
    async fn ask(&self, target: &Target, host: &HeaderValue, ready: Option<&Ready>) -> Result<(), String> {
        let mut peer = Box::new(target.peer().clone());
        peer.options.connection_timeout = Some(self.timeout);
        peer.options.total_connection_timeout = Some(self.timeout);
        let asked = timeout(self.timeout, self.ask.of(&mut peer, host, ready, self.timeout)).await;
        asked.unwrap_or_else(|_| Err(format!("no answer in {:?}", self.timeout)))
    }

    /// Checks the target at this place of a pool, and takes note of it.
    pub(super) async fn visit(&self, service: &Service, pool: &Pool, index: usize, host: &HostMode, metrics: &Metrics) {
        let (Some(target), Some(load)) = (pool.targets().get(index), pool.load(index)) else { return };
        let host = if let HostMode::Name(name) = host { name } else { &target.authority };
        let credentials = match &service.backend {
            Backend::Targets(targets) => targets.credentials.as_ref().filter(|_| self.ask.shows_credentials()),
            Backend::Mock(_) => None,
        };
        let ready = match credentials {
            Some(credentials) => match credentials.ready(&About::default()).await {
                Ok(ready) => Some(ready),
                // To be sent away without any says nothing of the target.
                Err(_) => return,
            },
            None => None,
        };
        let failure = self.ask(target, host, ready.as_ref()).await.err();
        let (name, target) = (&*service.name, target.name());
        metrics.process.checks.with_label_values(&[name, target, if failure.is_none() { "passed" } else { "failed" }]).inc();
        let turned = load.checks.note(Checked { at: SystemTime::now(), failure: failure.clone() }, self.healthy, self.unhealthy);
        metrics.process.healthy.with_label_values(&[name, target]).set(i64::from(!load.checks.is_ill()));
        // Only now: whoever forgets it has said so before.
        if load.is_gone() {
            return metrics.forget_target(name, target);
        }
        let Some(count) = turned else { return };
        load.turned(millis(), failure.is_none());
        self.changes.note();
        match failure {
            Some(why) if count == 1 => log::warn!("service {name}: target {target}: a check failed, and it is unhealthy: {why}"),
            Some(why) => log::warn!("service {name}: target {target}: {count} checks in a row failed, and it is unhealthy: {why}"),
            None => log::info!("service {name}: target {target}: it is healthy again"),
        }
    }
}

/// Checks the targets of a service that wants it, whichever they are, for as long as the task lives.
pub(super) fn check(service: &Arc<Service>, tasks: &mut JoinSet<()>, control: &Handle, settling: &Settling, metrics: &Arc<Metrics>) {
    if let Backend::Targets(targets) = &service.backend
        && targets.health.is_some()
    {
        tasks.spawn_on(watch(service.clone(), metrics.clone(), settling.clone()), control);
    }
}

/// Keeps a task for each target, so that none waits for another that is slow to answer.
async fn watch(service: Arc<Service>, metrics: Arc<Metrics>, settling: Settling) {
    let Backend::Targets(targets) = &service.backend else { return };
    let mut settling = Some(settling);
    let room = Arc::new(Semaphore::new(TOGETHER));
    let (mut tasks, mut watched) = (JoinSet::new(), HashMap::<Box<str>, AbortHandle>::new());
    loop {
        let pool = targets.pool();
        let keys: HashSet<&str> = pool.targets().iter().map(|target| &*target.key).collect();
        watched.retain(|key, task| {
            let stays = keys.contains(&**key);
            if !stays {
                task.abort();
            }
            stays && !task.is_finished()
        });
        for (index, target) in pool.targets().iter().enumerate() {
            let start = || {
                let place = (pool.clone(), index);
                tasks.spawn(visits(service.clone(), place, metrics.clone(), room.clone(), settling.clone()))
            };
            watched.entry(target.key.clone()).or_insert_with(start);
        }
        // Names may still be looked up, and what they stand for is to be checked before it is used.
        if !pool.targets().is_empty() {
            drop(settling.take());
        }
        drop(pool);
        while tasks.try_join_next().is_some() {}
        targets.renewed.notified().await;
    }
}

/// Checks one target, whatever its place is, for as long as the service has it.
async fn visits(service: Arc<Service>, place: (Arc<Pool>, usize), metrics: Arc<Metrics>, room: Arc<Semaphore>, settling: Option<Settling>) {
    let Backend::Targets(targets) = &service.backend else { return };
    let Targets { health: Some(health), .. } = &**targets else { return };
    let ((mut pool, mut index), mut settling) = (place, settling);
    let interval = u64::try_from(health.interval.as_millis()).unwrap_or(u64::MAX);
    loop {
        let next = Instant::now() + Duration::from_millis(jitter(interval));
        if let Ok(_one) = room.acquire().await {
            health.visit(&service, &pool, index, &targets.host, &metrics).await;
        }
        drop(settling.take());
        sleep_until(next).await;
        let present = targets.pool();
        if !Arc::ptr_eq(&present, &pool) {
            let is_it = |other: &Target| pool.targets().get(index).is_some_and(|target| target.key == other.key);
            let Some(now) = present.targets().iter().position(is_it) else { return };
            (pool, index) = (present, now);
        }
    }
}
