use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::dns::Question;
use super::{Backend, Pool, Service, Settling, Target};
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

/// Looks the names of a service that nobody follows up now, unless what is known of them still holds. When to do it again, where it has names.
pub async fn find(service: &Service, metrics: &Metrics) -> Option<Instant> {
    let Backend::Targets(targets) = &service.backend else { return None };
    let mut soonest: Option<Instant> = None;
    for (question, answer) in targets.plan.asked() {
        let due = targets.plan.names().refresh(&question, &answer, metrics).await;
        soonest = Some(soonest.map_or(due, |soonest| soonest.min(due)));
    }
    renew(service, metrics);
    soonest
}

/// Puts a pool of what is known now in the place of the present one, unless it is the same.
pub(super) fn renew(service: &Service, metrics: &Metrics) {
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
    let leaves = |target: &Target| !after.targets().iter().any(|other| other.shown == target.shown);
    for (index, gone) in before.targets().iter().enumerate().filter(|(_, target)| leaves(target)) {
        // First: who is late and speaks of it sees that it is gone, or is forgotten with it.
        if let Some(load) = before.load(index) {
            load.leave();
        }
        metrics.forget_target(name, gone.name());
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::path::Path;

    use super::*;
    use crate::state::{Known, Located, Shared, millis};
    use crate::upstream::balance::Stand;
    use crate::upstream::{Base, DnsConfig, Failure, Names, ServiceConfig};

    fn service(config: serde_json::Value) -> Service {
        let config: ServiceConfig<()> = serde_json::from_value(config).unwrap();
        let names = Arc::new(Names::new(&DnsConfig::default()));
        let base = Base { shared: &Shared::default(), folder: Path::new(""), names: &names };
        Service::build("users", &config, &base).unwrap()
    }

    fn note(answer: &Answer, addresses: &[&str]) {
        let located = |address: &&str| {
            let address: IpAddr = address.parse().unwrap();
            Located { priority: 0, host: "users.test".into(), port: None, address, weight: 1 }
        };
        answer.note(Known { places: addresses.iter().map(located).collect(), due: Some(Instant::now()), ..Known::default() });
    }

    #[test]
    fn the_targets_of_several_names_begin_together_and_who_comes_later_begins_with_little() {
        let service = service(serde_json::json!({
            "targets": ["http://127.0.0.9:1", "http://one.test:1", "http://other.test:1"],
            "slow_start": "1h",
        }));
        let Backend::Targets(targets) = &service.backend else { panic!() };
        let metrics = Metrics::new(1).unwrap();
        let asked = targets.plan.asked();
        let slow = || targets.pool().stands(millis()).filter(|(.., stand)| matches!(stand, Stand::Part(_))).count();
        note(&asked[0].1, &["127.0.0.1"]);
        renew(&service, &metrics);
        note(&asked[1].1, &["127.0.0.2"]);
        renew(&service, &metrics);
        assert_eq!((targets.pool().targets().len(), slow()), (3, 0));
        note(&asked[1].1, &["127.0.0.2", "127.0.0.3"]);
        renew(&service, &metrics);
        assert_eq!((targets.pool().targets().len(), slow()), (4, 1));
    }

    #[tokio::test]
    async fn what_comes_late_brings_no_target_back() {
        let metrics = Metrics::new(1).unwrap();
        let service = service(serde_json::json!({
            "targets": ["http://users.test:1"],
            "health": {"tcp": true},
            "ejection": {"failures": 1, "max_ejected": "100%"},
        }));
        let Backend::Targets(targets) = &service.backend else { panic!() };
        let (_, answer) = targets.plan.asked().pop().unwrap();
        let move_to = |addresses: &[&str]| {
            note(&answer, addresses);
            renew(&service, &metrics);
        };
        move_to(&["127.0.0.1", "127.0.0.2"]);
        let before = targets.pool();
        move_to(&["127.0.0.2"]);
        let (health, shard) = (targets.health.as_ref().unwrap(), &metrics.shards()[0]);
        for index in 0..2 {
            health.visit(&service, &before, index, &targets.host, &metrics).await;
            before.note(&service.name, index, Failure::Connect, false, shard);
        }
        let text = metrics.render().unwrap();
        assert!(!text.contains("127.0.0.1"), "{text}");
        assert_eq!(text.matches("target=\"users.test:1 (127.0.0.2)\"").count(), 3, "{text}");
        move_to(&["127.0.0.1", "127.0.0.2"]);
        health.visit(&service, &targets.pool(), 0, &targets.host, &metrics).await;
        assert!(metrics.render().unwrap().contains("127.0.0.1"), "it is back");
    }
}
