//! Who is asked, and who answers in the stead of a service that fails.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, header};

use super::{Exchange, Gateway};
use crate::problem::{Kind, Problem};
use crate::types::Reply;
use crate::upstream::{Backend, Breaker, Failure, Instead, Service};

/// What a request gets that goes to no service.
pub(super) enum Turned {
    /// The answer that stands in.
    Reply(Reply),
    /// That nothing does.
    Away(Problem),
}

/// Begins at the service that the exchange has come to, or at the first of those behind it that is not left alone.
pub(super) fn enter(gateway: &Gateway, exchange: &mut Exchange) -> Result<(), Turned> {
    loop {
        let Some(targets) = exchange.targets() else { return Ok(()) };
        // The time of a service that stands in begins when it does.
        let gone = if exchange.stand_in.is_some() { exchange.started.elapsed() } else { Duration::ZERO };
        let own = targets.timeouts.total.map(|total| gone + total);
        let total = exchange.total.or_else(|| exchange.least(own));
        let left = match targets.breaker.as_ref().map_or(Ok(None), Breaker::admit) {
            Ok(probe) => {
                targets.retry.begin();
                (exchange.probe, exchange.total) = (probe, total);
                return Ok(());
            }
            Err(left) => left,
        };
        let next = match targets.fallback.as_ref().map(|fallback| &fallback.instead) {
            Some(Instead::Service(stand_in)) => stand_in.service().filter(|service| fits(exchange, service)).cloned(),
            Some(Instead::Reply(reply)) => {
                let reply = reply.clone();
                note(gateway, exchange.service().map(|service| &*service.name), "breaker");
                exchange.replied = true;
                return Err(Turned::Reply(reply));
            }
            None => None,
        };
        exchange.total = total;
        let Some(next) = next else { return Err(Turned::Away(left_alone(left))) };
        note(gateway, exchange.service().map(|service| &*service.name), "breaker");
        turn(exchange, next);
    }
}

/// After the last attempt at a service: whether the request goes on to another. Where an answer stands in, that waits in the exchange.
pub(super) fn fall(gateway: &Gateway, exchange: &mut Exchange, failure: Failure, may_repeat: bool) -> bool {
    let Some(fallback) = exchange.targets().and_then(|targets| targets.fallback.as_ref()).filter(|fallback| fallback.minds(failure)) else {
        return false;
    };
    let next = match &fallback.instead {
        Instead::Service(stand_in) => stand_in.service().filter(|service| may_repeat && fits(exchange, service)).cloned(),
        Instead::Reply(reply) => {
            let reply = reply.clone();
            note(gateway, exchange.service().map(|service| &*service.name), failure.reason());
            exchange.reply = Some(reply);
            return false;
        }
    };
    let in_time = exchange.total.is_none_or(|total| exchange.started.elapsed() < total);
    let Some(next) = next.filter(|_| in_time) else { return false };
    let (failed, before) = (exchange.service().map(|service| service.name.clone()), (exchange.stand_in.take(), exchange.total));
    turn(exchange, next);
    match enter(gateway, exchange) {
        Ok(()) => {}
        Err(Turned::Reply(reply)) => exchange.reply = Some(reply),
        // It is left alone as well: the first failure is what there is to tell.
        Err(Turned::Away(_)) => {
            (exchange.stand_in, exchange.total) = before;
            return false;
        }
    }
    note(gateway, failed.as_deref(), failure.reason());
    exchange.reply.is_none()
}

/// Whether a service can take the request for what it is: a call of gRPC goes to those that speak HTTP/2 alone, and a WebSocket to those that have any.
fn fits(exchange: &Exchange, service: &Service) -> bool {
    match &service.backend {
        Backend::Targets(targets) => {
            (exchange.grpc.is_none() || targets.takes_grpc()) && (!exchange.switches || targets.websocket.is_some())
        }
        Backend::Mock(_) => !exchange.switches,
    }
}

fn turn(exchange: &mut Exchange, to: Arc<Service>) {
    exchange.stand_in = Some(to);
    (exchange.spent, exchange.aged) = (exchange.attempts, 0);
    (exchange.pool, exchange.wait) = (None, None);
    exchange.tried.clear();
}

fn note(gateway: &Gateway, service: Option<&str>, reason: &str) {
    gateway.0.shard.fallbacks.with_label_values(&[service.unwrap_or_default(), reason]).inc();
}

/// The problem of a service whose breaker is open for so long.
fn left_alone(left: Duration) -> Problem {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let problem = Problem::new(Kind::Unavailable, "the service fails too often and is left alone for a while");
    problem.header(header::RETRY_AFTER, HeaderValue::from(seconds))
}
