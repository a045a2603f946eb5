use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use pingora_http::RequestHeader;

use super::Target;
use super::balance::{Asking, Balance};
use crate::ctx::Ctx;
use crate::observe::Shard;
use crate::state::InFlight;

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
        let index = self.balance.pick(asking)?;
        let in_flight = InFlight::begin(self.balance.load(index)?);
        Some(Picked { target: self.targets.get(index)?, index, in_flight, cookie: self.balance.cookie(index, asking) })
    }

    /// Whether this answer of a target is a failure.
    pub fn fails(&self, status: StatusCode) -> bool {
        self.balance.fails(status)
    }

    /// Takes note of how one attempt ended at the target at this place: a target that fails too often is ejected for a while.
    pub fn note(&self, service: &Arc<str>, index: usize, failed: bool, shard: &Arc<Shard>) {
        let Some(ejected) = self.balance.note(index, failed) else { return };
        let Some(target) = self.targets.get(index).map(|target| target.shown.clone()) else { return };
        let left = ejected.left();
        let state = shard.ejected.with_label_values(&[&**service, target.to_str().unwrap_or_default()]);
        log::warn!("service {service}: {target:?} failed too often and is ejected for {left:?}");
        state.set(1);
        let service = service.clone();
        tokio::spawn(async move {
            tokio::time::sleep(left).await;
            ejected.end();
            state.set(0);
            log::info!("service {service}: {target:?} is no longer ejected");
        });
    }

    /// The path parameter that the choice goes by.
    pub fn param(&self) -> Option<&str> {
        self.balance.param()
    }
}
