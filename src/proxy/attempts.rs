//! What becomes of an attempt at a target that failed: another one, or its end.

use std::time::Duration;

use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::exchange::Step;
use super::{Connection, Exchange, Gateway, Slow, fallback, grpc, upstream};
use crate::problem::{Kind, Problem};
use crate::upstream::{Attempted, Failure, is_keyed, retry_after};

/// The error that Pingora carries from an answer that is not taken to the next attempt.
const AGAIN: ErrorType = ErrorType::new("another attempt is worth it");

/// The error that Pingora carries from an answer that is not taken to the one that stands in for it.
const INSTEAD: ErrorType = ErrorType::new("the fallback stands in for the service's answer");

/// Waits before another attempt, unless the client leaves.
///
/// # Errors
/// The client is gone, or the request's time is up.
pub(super) async fn pause(session: &mut Session, exchange: &mut Exchange) -> Result<()> {
    let Some(wait) = exchange.wait.take().filter(|wait| !wait.is_zero()) else { return Ok(()) };
    exchange.step = Step::Retrying;
    // An attempt that is over weighs on nobody's choice.
    (exchange.in_flight, exchange.turn) = (None, None);
    let over = tokio::time::sleep(wait);
    if !session.is_body_done() {
        over.await;
        return Ok(());
    }
    tokio::select! {
        () = over => Ok(()),
        // Nothing more can come of this request but its end.
        gone = session.downstream_session.read_body_or_idle(true) => match gone {
            Ok(_) => Err(Error::new_down(ErrorType::ConnectionClosed)),
            Err(error) => Err(error.into_down()),
        },
    }
}

/// No connection to the target came about.
pub(super) fn unconnected(gateway: &Gateway, session: &Session, exchange: &mut Exchange, mut error: Box<Error>) -> Box<Error> {
    let again = over(gateway, session, exchange, Some(&error), Failure::Connect, None);
    error.set_retry(again);
    error
}

/// The connection, or what came over it, broke.
pub(super) fn broken(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, mut error: Box<Error>, reused: bool) -> Box<Error> {
    if error.etype() == &AGAIN || error.etype() == &INSTEAD {
        error.set_retry(error.etype() == &AGAIN);
        return error;
    }
    if is_the_clients(session, &error) {
        exchange.asked = None;
        error.set_retry(false);
        if upstream::is_late(exchange) {
            return error;
        }
        let detail = "neither the rest of the request nor an answer of the service came in time";
        exchange.pending.get_or_insert_with(|| Problem::new(Kind::GatewayTimeout, detail).cause(&error));
        return error;
    }
    let is_silent = Slow::of(&error) == Some(Slow::Service);
    let failure = if is_silent { Some(Failure::Timeout) } else { failure(&error, reused) };
    let failure = failure.filter(|_| exchange.pending.is_none() && !begun(session));
    let again = failure.is_some_and(|failure| over(gateway, session, exchange, Some(&error), failure, None));
    upstream::ended(gateway, exchange, Some(&error), is_silent.then_some(Failure::Reset));
    if is_silent {
        if let Some(connection) = Connection::of_session(session) {
            connection.set_silence(None);
        }
        if !again && exchange.reply.is_none() {
            exchange.pending.get_or_insert_with(|| Problem::new(Kind::GatewayTimeout, "the service did not answer in time").cause(&error));
        }
    }
    error.set_retry(again);
    error
}

/// An answer is there; whether it is one to pass on.
///
/// # Errors
/// Another attempt is made in its stead.
pub(super) fn answered(gateway: &Gateway, session: &Session, exchange: &mut Exchange, res: &ResponseHeader) -> Result<()> {
    upstream::heard(session, exchange);
    if res.status.is_informational() {
        upstream::invited(session, exchange);
    }
    // Over HTTP/2 nobody else looks at the time until the answer is passed on.
    if upstream::is_late(exchange) && !begun(session) {
        return Err(upstream::raise(exchange, upstream::late(Step::Waiting)));
    }
    let failure = grpc::failure(exchange, res.status, Some(&res.headers));
    if let Some(ready) = &exchange.ready {
        ready.judged(failure);
    }
    let minds = exchange
        .targets()
        .is_some_and(|targets| targets.retry.minds(failure) || targets.fallback.as_ref().is_some_and(|fallback| fallback.minds(failure)));
    if !minds || res.status.is_informational() || begun(session) {
        return Ok(());
    }
    let wait = match grpc::pushback(&res.headers).filter(|_| matches!(failure, Failure::Grpc(_))) {
        Some(wait) => Some(wait.unwrap_or(Duration::MAX)),
        None => retry_after(&res.headers),
    };
    exchange.answered = Some(res.status);
    grpc::note(exchange, &res.headers);
    let again = over(gateway, session, exchange, None, failure, wait);
    if again {
        Err(Error::new(AGAIN))
    } else if exchange.reply.is_some() {
        Err(Error::new(INSTEAD))
    } else {
        Ok(())
    }
}

/// An attempt failed: takes note of it, and says whether there is another.
fn over(
    gateway: &Gateway,
    session: &Session,
    exchange: &mut Exchange,
    error: Option<&Error>,
    failure: Failure,
    retry_after: Option<Duration>,
) -> bool {
    let asked = exchange.asked;
    if failure.is_of_age() {
        // The connection was closed for its age, which says nothing of the target.
        let again = again(gateway, session, exchange, failure, None, retry_after);
        exchange.asked = asked.filter(|_| !again);
        return again;
    }
    upstream::ended(gateway, exchange, error, Some(failure));
    again(gateway, session, exchange, failure, asked, retry_after)
}

/// Decides, and prepares the next attempt.
fn again(
    gateway: &Gateway,
    session: &Session,
    exchange: &mut Exchange,
    failure: Failure,
    asked: Option<usize>,
    retry_after: Option<Duration>,
) -> bool {
    let Some(targets) = exchange.targets() else { return false };
    let (req, gone) = (session.req_header(), exchange.started.elapsed());
    let asked = asked.filter(|asked| !exchange.tried.contains(asked));
    let attempted = Attempted {
        method: &req.method,
        keyed: is_keyed(&req.headers),
        replayable: !session.as_downstream().retry_buffer_truncated(),
        count: exchange.attempts - exchange.spent - exchange.aged,
        aged: exchange.aged,
        tried: exchange.tried.len() + usize::from(asked.is_some()),
        targets: exchange.pool.as_ref().map_or(0, |pool| pool.takers()),
        left: exchange.total.map_or(targets.timeouts.response, |total| total.saturating_sub(gone)),
        retry_after,
    };
    let is_open = !failure.is_of_age() && targets.breaker.as_ref().is_some_and(|breaker| !breaker.is_closed());
    let wait = if is_open { None } else { targets.retry.next(failure, &attempted) };
    let Some(wait) = wait else {
        let may_repeat = targets.retry.may_repeat(failure, &attempted);
        return fallback::fall(gateway, exchange, failure, may_repeat);
    };
    exchange.aged += u32::from(failure.is_of_age());
    exchange.wait = Some(wait);
    exchange.tried.extend(asked);
    if let Some(service) = exchange.service() {
        gateway.0.shard.retries.with_label_values(&[&*service.name, failure.reason()]).inc();
    }
    true
}

/// Whether an answer is on its way to the client. A 1xx is none yet.
fn begun(session: &Session) -> bool {
    session.response_written().is_some_and(|res| !res.status.is_informational())
}

/// Whether the target may just have waited for a client that does not send the rest of its body: that is not held against it, or any client could have
/// a sound service left alone.
fn is_the_clients(session: &mut Session, error: &Error) -> bool {
    *error.esource() == ErrorSource::Upstream && *error.etype() == ErrorType::ReadTimedout && !session.is_body_done()
}

/// What an error says of the target; none where it says nothing.
fn failure(error: &Error, reused: bool) -> Option<Failure> {
    (*error.esource() == ErrorSource::Upstream).then(|| Failure::of(error, reused))
}
