//! The body of a request, read whole before a service hears of the request: for policies that have to see all of it first.

use bytes::{Bytes, BytesMut};
use http::header;
use pingora_error::{Error, ErrorType, Result};
use pingora_proxy::Session;
use pingora_timeout::timeout;

use super::{Exchange, Gateway, upstream};
use crate::problem::{Kind, Problem};

/// What Pingora keeps to send it again, in bytes (`BODY_BUF_LIMIT`): the end of a body has to fit in, or it would send nothing of it.
const REPLAY: u64 = 64 * 1024;

/// Reads the body where a policy asks for it, and shows it to those that want it.
///
/// # Errors
/// The client is gone, or takes too long. The inner error says why the request goes no further.
pub(super) async fn read(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<Result<(), Problem>> {
    let Some(bound) = exchange.cx.whole_body else { return Ok(Ok(())) };
    let own = exchange.cx.body_limit.map_or(u64::MAX, |limit| limit.bytes);
    let most = bound.bytes.min(gateway.limits().body.0).min(own);
    let body = match whole(gateway, session, exchange, most).await? {
        Ok(body) => body,
        Err(problem) => return Ok(Err(Problem { policy: Some(bound.policy), ..problem })),
    };
    let (chain, cx, _) = exchange.parts();
    let seen = chain.request_body(&body, cx);
    exchange.held = Some(body);
    Ok(seen)
}

async fn whole(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, most: u64) -> Result<Result<Bytes, Problem>> {
    let late = || Error::new_down(ErrorType::ReadTimedout);
    let too_large = || Problem::new(Kind::ContentTooLarge, format!("the request body is larger than {most} bytes, which are held at most"));
    let head = session.req_header_mut();
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most) {
        return Ok(Err(too_large()));
    }
    let expects = head.remove_header(&header::EXPECT).is_some();
    if session.as_downstream_mut().is_body_empty() {
        return Ok(Ok(Bytes::new()));
    }
    if session.is_body_done() {
        // One that came inside of another is there already.
        let body = session.as_downstream().get_retry_buffer().unwrap_or_default();
        if body.len() as u64 > most {
            return Ok(Err(too_large()));
        }
        show(exchange, &body);
        return Ok(Ok(body));
    }
    // The time of the request runs already, as it does where the body goes on to the service at once.
    exchange.total = exchange.total.or_else(|| exchange.least(exchange.own_total()));
    if expects {
        session.downstream_session.write_continue_response().await.map_err(|error| error.into_down())?;
    }
    // No more at once than a client has to send for it.
    let mut body = BytesMut::with_capacity(usize::try_from(length.unwrap_or_default().min(REPLAY)).unwrap_or_default());
    loop {
        // With its length known, Pingora keeps the end alone: what it sends then is taken from here.
        if length.is_none_or(|length| length.saturating_sub(body.len() as u64) <= REPLAY) {
            session.as_downstream_mut().enable_retry_buffering();
        }
        let patience = upstream::within(exchange, gateway.timeouts().body.into());
        let piece = timeout(patience, session.downstream_session.read_request_body()).await.map_err(|_| late())?;
        let Some(piece) = piece.map_err(|error| error.into_down())? else { break };
        exchange.received += piece.len() as u64;
        if exchange.received > most {
            return Ok(Err(too_large()));
        }
        if upstream::is_late(exchange) {
            return Err(late());
        }
        show(exchange, &piece);
        body.extend_from_slice(&piece);
        if session.as_downstream().retry_buffer_truncated() {
            let detail = format!("the request body is larger than {REPLAY} bytes, and does not say its length");
            return Ok(Err(Problem::new(Kind::LengthRequired, detail)));
        }
    }
    Ok(Ok(body.freeze()))
}

/// Shows the next piece to what was signed of the body: so no worker is held up by the digest of a whole one.
fn show(exchange: &mut Exchange, piece: &[u8]) {
    if let Some(digests) = &mut exchange.cx.signed_body {
        digests.update(piece);
    }
}

/// Puts the body that was read in the place of what Pingora has kept of it, which comes as one last piece.
pub(super) fn fill(exchange: &Exchange, body: &mut Option<Bytes>) {
    if let Some(held) = exchange.held.as_ref().filter(|held| !held.is_empty()) {
        *body = Some(held.clone());
    }
}
