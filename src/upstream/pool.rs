use std::sync::Arc;

use http::HeaderValue;
use pingora_http::RequestHeader;

use super::balance::{Asking, Balance, Stand, Turn};
use super::{Failure, Target};
use crate::ctx::Ctx;
use crate::observe::Shard;
use crate::state::{InFlight, Load};

/// The targets of a service at one time, and the choice between them.
#[derive(Debug)]
pub struct Pool {
    balance: Balance,
    targets: Box<[Target]>,
}

/// The target of one attempt.
#[derive(Debug)]
pub struct Picked<'a> {
    /// The target.
    pub target: &'a Target,
    /// Its place in the pool, for [`Asking::tried`].
    pub index: usize,
    /// Counts the request as in flight until the attempt is over, its answer included.
    pub in_flight: InFlight,
    /// A `Set-Cookie` for the client.
    pub cookie: Option<HeaderValue>,
}

impl Pool {
    /// These, in the order in which `balance` knows them.
    pub fn new(balance: Balance, targets: Vec<Target>) -> Self {
        Self { balance, targets: targets.into() }
    }

    /// Whether another has the same targets, in the same order.
    pub fn is_like(&self, other: &Self) -> bool {
        let like = |one: &Target, other: &Target| (&one.key, one.weight, one.priority) == (&other.key, other.weight, other.priority);
        self.targets.len() == other.targets.len() && self.targets.iter().zip(&other.targets).all(|(one, other)| like(one, other))
    }

    /// How many of them get requests.
    pub fn takers(&self) -> usize {
        self.targets.iter().filter(|target| target.weight > 0).count()
    }

    /// All of them.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// What of a request the choice of its target depends on. `tried` are the places of those that were asked in vain.
    pub fn asking<'a>(&self, req: &'a RequestHeader, cx: &Ctx, tried: &'a [usize]) -> Asking<'a> {
        self.balance.asking(req, cx, tried)
    }

    /// Chooses the target of one attempt.
    pub fn pick(&self, asking: &Asking<'_>) -> Option<Picked<'_>> {
        let (index, in_flight) = self.balance.pick(asking)?;
        Some(Picked { target: self.targets.get(index)?, index, in_flight, cookie: self.balance.cookie(index, asking) })
    }

    /// Takes note of how one attempt ended at the target at this place, a `probe` or any: a target that fails too often is ejected for a while.
    pub fn note(&self, service: &Arc<str>, index: usize, ended: Failure, probe: bool, shard: &Shard) {
        let Some(turn) = self.balance.note(index, ended, probe) else { return };
        let Some(target) = self.targets.get(index).map(Target::name) else { return };
        match &turn {
            Turn::Ejected(lasts, why) => log::warn!("service {service}: target {target}: {why}, and it is ejected for {lasts:?}"),
            Turn::Still(lasts) => log::warn!("service {service}: target {target}: it fails still, and is ejected for {lasts:?} more"),
            Turn::Back => log::info!("service {service}: target {target}: it is well again, and no longer ejected"),
        }
        shard.ejected.with_label_values(&[&**service, target]).set(i64::from(!matches!(turn, Turn::Back)));
        // Only now: whoever forgets it has said so before.
        if self.load(index).is_some_and(|load| load.is_gone()) {
            let _ = shard.ejected.remove_label_values(&[&**service, target]);
        }
    }

    /// How the target at this place stands.
    pub fn load(&self, index: usize) -> Option<&Arc<Load>> {
        self.balance.load(index)
    }

    /// How all stand at this time, in [`millis`](crate::state::millis).
    pub fn stands(&self, now: u64) -> impl Iterator<Item = (&Target, &Load, Stand)> {
        self.targets.iter().zip(self.balance.stands(now)).map(|(target, (load, stand))| (target, load, stand))
    }

    /// The path parameter that the choice goes by.
    pub fn param(&self) -> Option<&str> {
        self.balance.param()
    }
}
