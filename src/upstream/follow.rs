use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::dns::Question;
use super::{Backend, Pool, Service, Settling};
use crate::observe::Metrics;
use crate::state::Answer;

/// Follows the names of a service's targets to wherever they lead.
pub fn follow(service: &Arc<Service>, tasks: &mut JoinSet<()>, control: &Handle, settling: &Settling, metrics: &Arc<Metrics>) {
    let Backend::Targets(targets) = &service.backend else { return };
    if targets.plan.transport().is_blind() {
        log::warn!("service {}: its targets are believed without a look at their certificates (`verify: off`)", service.name);
    }
    for (question, answer) in targets.plan.asked() {
        // Better an old answer than a wait for a new one.
        let settling = answer.known().places.is_empty().then(|| settling.clone());
        let (service, metrics) = (service.clone(), metrics.clone());
        tasks.spawn_on(async move { follow_one(&service, &question, &answer, settling, &metrics).await }, control);
    }
}

async fn follow_one(service: &Service, question: &Question, answer: &Answer, settling: Option<Settling>, metrics: &Metrics) {
    let mut settling = settling;
    let Backend::Targets(targets) = &service.backend else { return };
    loop {
        let due = targets.plan.names().refresh(question, answer, metrics).await;
        renew(service, metrics);
        drop(settling.take());
        tokio::time::sleep_until(due.into()).await;
    }
}

/// Puts a pool of what is known now in the place of the present one, unless it is the same.
fn renew(service: &Service, metrics: &Metrics) {
    let Backend::Targets(targets) = &service.backend else { return };
    let _one = targets.plan.making.lock();
    let (name, before) = (&service.name, targets.pool());
    let after = match targets.plan.pool() {
        Ok(after) => after,
        Err(error) => return log::error!("service {name}: its targets stay as they were, the new ones cannot be used: {error}"),
    };
    if after.is_like(&before) {
        return;
    }
    log::info!("service {name}: its targets are now {}", list(&after));
    for gone in before.targets().iter().filter(|target| !after.targets().iter().any(|other| other.shown == target.shown)) {
        metrics.forget_target(name, gone.shown.to_str().unwrap_or_default());
    }
    targets.pool.store(Arc::new(after));
    targets.renewed.notify_one();
}

/// Targets told in the log; the rest is a number.
const TOLD: usize = 10;

fn list(pool: &Pool) -> String {
    let targets = pool.targets();
    let told = targets.iter().take(TOLD).map(|target| target.shown.to_str().unwrap_or_default()).collect::<Vec<_>>().join(", ");
    match targets.len() {
        0 => "none".to_owned(),
        count if count > TOLD => format!("{told} and {} more", count - TOLD),
        _ => told,
    }
}
