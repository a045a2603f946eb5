//! To the service: admission, the choice of a target, and how long it may take.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::{StatusCode, header};
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use pingora_timeout::timeout;

use super::exchange::Step;
use super::fallback::{self, Turned};
use super::talk::Talk;
use super::{Connection, Exchange, Gateway, answer, grpc, outgoing};
use crate::handler::{self, Conversation, Failed};
use crate::problem::{Kind, Problem};
use crate::routing::Destination;
use crate::state::InFlight;
use crate::types::GrpcStatus;
use crate::upstream::{Backend, Failure, Mock, Targets};

/// The error that Pingora carries while a problem waits in the exchange.
const PENDING: ErrorType = ErrorType::new("answered with a problem");

/// Answers what is answered here. True where the request goes on to a target.
///
/// # Errors
/// The client is gone.
pub(super) async fn admit(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
    let pinned = exchange.pinned.clone();
    let route = exchange.route.and_then(|route| pinned.snapshot.routes.get(route));
    let way = exchange.way.and_then(|way| route?.ways.get(way));
    let made = match way.map(|way| &way.destination) {
        Some(Destination::Service { service, .. }) => match &service.backend {
            Backend::Targets(targets) if exchange.grpc.is_some() && !targets.takes_grpc() => Err(grpc::untold().into()),
            Backend::Targets(targets) => match &targets.websocket {
                Some(_) if handler::is_asked(session.req_header()) => {
                    exchange.switches = true;
                    // A rare way, whose future is large: no other request shall carry it about.
                    Box::pin(handler::relay(&mut Talk::new(gateway, session, exchange))).await
                }
                _ => match fallback::enter(gateway, exchange) {
                    Ok(()) => return Ok(true),
                    Err(Turned::Reply(reply)) => Talk::new(gateway, session, exchange).reply(&reply).await,
                    Err(Turned::Away(problem)) => Err(problem.into()),
                },
            },
            Backend::Mock(mock) => mocked(&mut Talk::new(gateway, session, exchange), mock).await,
        },
        Some(Destination::Handler(handler)) => handler.answer(&mut Talk::new(gateway, session, exchange)).await,
        // Its future is large too.
        Some(Destination::Composition(composition)) => Box::pin(composition.answer(&mut Talk::new(gateway, session, exchange))).await,
        Some(Destination::Batch(batch)) => Box::pin(batch.answer(&mut Talk::new(gateway, session, exchange))).await,
        Some(Destination::Split(_) | Destination::Nowhere) | None => {
            Err(Problem::new(Kind::NotFound, "no route takes this request").into())
        }
    };
    match made {
        Ok(()) => Ok(false),
        Err(Failed::Problem(problem)) => answer::problem(session, exchange, problem).await.map(|()| false),
        Err(Failed::Lost(error)) => Err(error),
    }
}

/// A mock sees the request as a target would.
async fn mocked(talk: &mut Talk<'_>, mock: &Mock) -> Result<(), Failed> {
    let mut req = talk.request().clone();
    talk.outgoing(&mut req)?;
    talk.exchange.total = talk.exchange.least(None);
    let mut body = BytesMut::new();
    if mock.wants_body() {
        while let Some(chunk) = talk.read().await? {
            if body.len() + chunk.len() > MOCK_BODY {
                return Err(Problem::new(Kind::ContentTooLarge, "a mock echoes at most 1 MiB").into());
            }
            body.extend_from_slice(&chunk);
        }
    }
    let answer = mock.answer(&req, &body);
    let left = talk.exchange.total.is_some().then(|| within(talk.exchange, Duration::MAX));
    let made = if let Some(left) = left { timeout(left, answer).await.ok() } else { Some(answer.await) };
    let mut reply = made.ok_or_else(|| tell_step(late(Step::Waiting), Step::Waiting, 1))?;
    reply.headers.extend(talk.exchange.lane.take().map(|cookie| (header::SET_COOKIE, cookie)));
    talk.reply(&reply).await
}

/// So long, or what the request has left of its whole time.
pub(super) fn within(exchange: &Exchange, most: Duration) -> Duration {
    exchange.total.map_or(most, |total| most.min(total.saturating_sub(exchange.started.elapsed())))
}

/// Bytes of a request body that a mock holds at most.
const MOCK_BODY: usize = 1024 * 1024;

/// Chooses the target of the version's service. `is_open` says that the client may still send, and that the transport sees to how long it takes.
///
/// # Errors
/// No target can be asked: the problem waits in the exchange.
pub(super) fn peer(gateway: &Gateway, session: &Session, exchange: &mut Exchange, is_open: bool) -> Result<Box<HttpPeer>> {
    let now = Instant::now();
    exchange.upstream_started.get_or_insert(now);
    exchange.attempts += 1;
    // Another attempt sends the body again.
    exchange.received = 0;
    if let Some(call) = &mut exchange.grpc {
        (call.messages, call.status) = (grpc::Messages::default(), None);
    }
    if exchange.attempts > 1
        && let Some(connection) = Connection::of_session(session)
    {
        connection.set_silence(None);
        connection.pardon();
    }
    // An attempt that is over is not in flight, and must not weigh on the next choice.
    (exchange.in_flight, exchange.turn) = (None, None);
    if exchange.pool.is_none() {
        exchange.pool = exchange.targets().map(Targets::pool);
    }
    let picked = exchange.pool.as_ref().and_then(|pool| {
        let asking = pool.asking(session.req_header(), &exchange.cx, &exchange.tried);
        pool.pick(&asking)
    });
    let Some(picked) = picked else {
        return Err(nowhere(gateway, exchange));
    };
    let index = picked.index;
    let slot = picked.target.slot;
    let mut peer = Box::new(picked.target.peer().clone());
    let (shown, in_flight, cookie) = (picked.target.shown.clone(), picked.in_flight, picked.cookie);
    (exchange.target, exchange.in_flight, exchange.cookie) = (Some(shown), Some(in_flight), cookie);
    (exchange.asked, exchange.answered) = (Some(index), None);
    if let Some(most) = exchange.targets().and_then(Targets::kept) {
        let (turn, before) = gateway.0.busy.begin(slot);
        if before >= most {
            peer.options.idle_timeout = Some(Duration::ZERO);
        }
        exchange.turn = Some(turn);
    }
    let own = exchange.targets().map(|targets| targets.timeouts).filter(|_| exchange.grpc.is_some());
    if let Some(timeouts) = own {
        (peer.options.read_timeout, peer.options.write_timeout) = (Some(timeouts.stream), Some(timeouts.stream));
        if let Some(connection) = Connection::of_session(session) {
            connection.let_pause();
        }
    }
    let response = own.map(|timeouts| timeouts.response).or(peer.options.read_timeout);
    exchange.hurried = own.is_some_and(|timeouts| grpc::hurries(exchange, &timeouts, now));
    // Pingora's time for the answer would begin before the service has the request. The write timeout sees to a service that does not take it.
    exchange.silence = peer.options.read_timeout.filter(|_| is_open);
    if let Some(total) = exchange.total {
        if let Some(connection) = Connection::of_session(session) {
            // A little later than what Pingora is told, which knows better what was waited for.
            connection.set_deadline(Some(exchange.started + total + Duration::from_millis(20)));
        }
        let left = total.saturating_sub(now - exchange.started);
        let around = exchange.around.as_ref();
        exchange.hurried |= around.zip(response).is_some_and(|(around, own)| around.hurries(own, now));
        exchange.hurried |= exchange.attempts > 1 && response.is_some_and(|own| left < own);
        if left.is_zero() {
            fallback::fall(gateway, exchange, Failure::Timeout, false);
            return Err(raise(exchange, late(exchange.step)));
        }
        let shorter = |own: Option<Duration>| Some(own.map_or(left, |own| own.min(left)));
        peer.options.connection_timeout = shorter(peer.options.connection_timeout);
        peer.options.total_connection_timeout = shorter(peer.options.total_connection_timeout);
        peer.options.read_timeout = shorter(peer.options.read_timeout);
        peer.options.write_timeout = shorter(peer.options.write_timeout);
    }
    if is_open {
        peer.options.read_timeout = None;
    }
    if outgoing::is_for_all(session.req_header()) {
        // Pingora would look for a dozen headers, each by itself.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    }
    exchange.step = Step::Connecting;
    Ok(peer)
}

/// The header goes out to the service. Where the client waits for its word before it sends more, its time begins. So it does for a call of gRPC, for
/// which one time is given to both sides: either may end the silence.
pub(super) fn leaves(session: &Session, exchange: &mut Exchange, req: &RequestHeader) {
    exchange.expects = req.headers.contains_key(header::EXPECT);
    if exchange.expects || exchange.grpc.is_some() {
        sent(session, exchange);
    }
}

/// The client has the word, or goes on without: it is waited for now.
pub(super) fn invited(session: &Session, exchange: &mut Exchange) {
    if exchange.expects {
        exchange.expects = false;
        if let (Some(_), Some(connection)) = (exchange.silence, Connection::of_session(session)) {
            connection.set_silence(None);
        }
    }
}

/// The service has the whole request: its time begins.
pub(super) fn sent(session: &Session, exchange: &Exchange) {
    if let (Some(silence), Some(connection)) = (exchange.silence, Connection::of_session(session)) {
        connection.set_silence(Some(silence));
    }
}

/// Something of its answer has come.
pub(super) fn heard(session: &Session, exchange: &Exchange) {
    if let (Some(_), Some(connection)) = (exchange.silence, Connection::of_session(session)) {
        connection.stir();
    }
}

/// The service has no target now. Nobody has seen the request, so another may answer in its stead.
fn nowhere(gateway: &Gateway, exchange: &mut Exchange) -> Box<Error> {
    let cause = exchange.targets().and_then(Targets::cause);
    if fallback::fall(gateway, exchange, Failure::Connect, true) {
        let mut error = pending();
        error.set_retry(true);
        return error;
    }
    let problem = Problem::new(Kind::Unavailable, "the service has no target");
    raise(exchange, if let Some(cause) = cause { problem.cause(cause) } else { problem })
}

/// Tells the service how the attempt at its target ended: by an answer, or by an error of the target's. What ended otherwise says nothing of it.
pub(super) fn ended(gateway: &Gateway, exchange: &mut Exchange, error: Option<&Error>, failure: Option<Failure>) {
    // A probe is for the attempt that comes, where none is under way.
    let Some(asked) = exchange.asked.take() else { return };
    let (answered, probe) = (exchange.answered.take(), exchange.probe.take());
    let (Some(service), Some(targets), Some(pool)) = (exchange.service(), exchange.targets(), &exchange.pool) else { return };
    let source = error.map(|error| error.esource());
    let ended = match (failure, source, answered) {
        (Some(failure), ..) if failure.is_of_age() => return,
        (Some(failure), ..) => failure,
        (None, Some(ErrorSource::Upstream), _) => Failure::Reset,
        (None, None | Some(ErrorSource::Downstream), Some(status)) => grpc::failure(exchange, status, None),
        _ => return,
    };
    // It had less time than the service gives, since others had taken theirs.
    if exchange.hurried && targets.is_late(ended) {
        return;
    }
    if let Some(breaker) = &targets.breaker {
        breaker.note(probe, breaker.minds(ended), &gateway.0.shard);
    }
    let trial = exchange.in_flight.as_ref().is_some_and(InFlight::is_probe);
    pool.note(&service.name, asked, ended, trial, &gateway.0.shard);
}

/// The header of an answer ends the trial that a request may be: its body may take as long as it likes, and nobody else could find out meanwhile.
pub(super) fn tried(gateway: &Gateway, exchange: &mut Exchange, status: StatusCode) {
    let ended = grpc::failure(exchange, status, None);
    if exchange.hurried && exchange.targets().is_some_and(|targets| targets.is_late(ended)) {
        return;
    }
    let trial = exchange.in_flight.as_mut().is_some_and(InFlight::tell);
    let probe = exchange.probe.take();
    if !trial && probe.is_none() {
        return;
    }
    let (Some(service), Some(targets)) = (exchange.service(), exchange.targets()) else { return };
    if let (Some(breaker), Some(probe)) = (&targets.breaker, probe) {
        breaker.note(Some(probe), breaker.minds(ended), &gateway.0.shard);
    }
    if let (true, Some(asked), Some(pool)) = (trial, exchange.asked, &exchange.pool) {
        pool.note(&service.name, asked, ended, true, &gateway.0.shard);
    }
}

/// The problem of a request whose time is up.
pub(super) fn late(step: Step) -> Problem {
    Problem::new(Kind::GatewayTimeout, step.late()).grpc(GrpcStatus::DeadlineExceeded)
}

/// What the request waits for.
pub(super) fn step(session: &mut Session, exchange: &Exchange) -> Step {
    match exchange.step {
        Step::Waiting if !session.is_body_done() => Step::Sending,
        step => step,
    }
}

/// Adds to a problem of time what used it up.
pub(super) fn tell_step(problem: Problem, step: Step, attempts: u32) -> Problem {
    if problem.kind != Kind::GatewayTimeout {
        return problem;
    }
    let problem = problem.member("step", step.name());
    if attempts > 1 { problem.member("attempts", attempts) } else { problem }
}

/// Whether the request's whole time is up.
pub(super) fn is_late(exchange: &Exchange) -> bool {
    exchange.total.is_some_and(|total| exchange.started.elapsed() >= total)
}

/// The error that leads Pingora to what waits in the exchange.
pub(super) fn pending() -> Box<Error> {
    Error::new(PENDING)
}

/// Leaves a problem in the exchange and makes the error that leads Pingora to it.
pub(super) fn raise(exchange: &mut Exchange, problem: Problem) -> Box<Error> {
    exchange.pending = Some(problem);
    pending()
}

/// Whether the error leads to a problem that is there already, and was made here.
pub(super) fn is_pending(error: &Error) -> bool {
    *error.etype() == PENDING
}

/// Counts a piece of the request's body.
///
/// # Errors
/// The body is over its bound: the problem waits in the exchange.
pub(super) fn body(gateway: &Gateway, exchange: &mut Exchange, piece: &[u8]) -> Result<()> {
    exchange.received += piece.len() as u64;
    let own = exchange.cx.body_limit.filter(|limit| limit.bytes < gateway.limits().body.0);
    let (most, policy) = own.map_or((gateway.limits().body.0, None), |limit| (limit.bytes, Some(limit.policy)));
    let too_large = |detail: String| Problem { policy, ..Problem::new(Kind::ContentTooLarge, detail) };
    if let Some(call) = &mut exchange.grpc {
        let Some(longest) = call.messages.follow(piece) else {
            return Err(raise(exchange, Problem::new(Kind::BadRequest, "the request is called gRPC and its body is none")));
        };
        if longest as u64 > most {
            return Err(raise(exchange, too_large(format!("a message is larger than {most} bytes"))));
        }
    } else if exchange.received > most {
        return Err(raise(exchange, too_large(format!("the request body is larger than {most} bytes"))));
    }
    if is_late(exchange) {
        return Err(raise(exchange, late(Step::Sending)));
    }
    Ok(())
}
