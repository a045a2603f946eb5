//! The one door: every answer that the gateway makes goes through here, up through the policies already passed, and leaves the client its connection.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, Version as HttpVersion, header};
use pingora_core::protocols::http::ServerSession;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::exchange::Told;
use super::{Exchange, encode, grpc, is_http2};
use crate::problem::{Problem, Rendered};
use crate::types::{GrpcStatus, Reply};

/// Bytes of an unread request body that are worth reading to keep the connection.
const DISCARD: u64 = 64 * 1024;

/// Answers with a problem.
///
/// # Errors
/// The client is gone.
pub(super) async fn problem(session: &mut Session, exchange: &mut Exchange, problem: Problem) -> Result<()> {
    exchange.problem = Some(told(&problem));
    let id = Some(exchange.cx.request_id());
    let Rendered { status, headers, body } = if exchange.grpc.is_some() { problem.render_grpc(id) } else { problem.render(id) };
    send(session, exchange, status, &headers, body).await
}

/// Answers with what a policy, a handler or a mock has made.
///
/// # Errors
/// The client is gone.
pub(super) async fn reply(session: &mut Session, exchange: &mut Exchange, reply: &Reply) -> Result<()> {
    if exchange.grpc.is_some() && !reply.headers.iter().any(|(name, _)| *name == GrpcStatus::HEADER) {
        let Reply { status, headers, body } = grpc::told(reply);
        return send(session, exchange, status, &headers, body).await;
    }
    send(session, exchange, reply.status, &reply.headers, reply.body.clone()).await
}

/// The whole answer to a request that never became one, for the keep-alive loop.
pub(super) fn raw(problem: Problem, request_id: &str) -> Vec<u8> {
    let Rendered { status, headers, body } = problem.render(Some(request_id));
    let date = httpdate::fmt_http_date(std::time::SystemTime::now());
    let reason = status.canonical_reason().unwrap_or_default();
    let mut out =
        format!("HTTP/1.1 {} {reason}\r\nDate: {date}\r\nContent-Length: {}\r\nConnection: close\r\n", status.as_u16(), body.len());
    for (name, value) in &headers {
        out.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    out.push_str("\r\n");
    let mut out = out.into_bytes();
    out.extend_from_slice(&body);
    out
}

pub(super) fn told(problem: &Problem) -> Told {
    Told { kind: problem.kind.name(), policy: problem.policy, cause: problem.cause.clone() }
}

async fn send(
    session: &mut Session,
    exchange: &mut Exchange,
    status: StatusCode,
    headers: &[(HeaderName, HeaderValue)],
    body: Bytes,
) -> Result<()> {
    exchange.own_answer = true;
    let mut res = ResponseHeader::build_no_case(status, Some(headers.len() + 8))?;
    for (name, value) in headers {
        res.append_header(name.clone(), value.clone())?;
    }
    // What tells a gRPC status in its header ends with it.
    let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED || exchange.grpc.is_some() && body.is_empty();
    if !bodiless {
        res.insert_header(header::CONTENT_LENGTH, body.len())?;
    }
    up(session, exchange, &mut res);
    grpc::note(exchange, &res.headers);
    let body = encode::whole(exchange, &mut res, body).await?;
    last(session, exchange);
    discard(&mut session.downstream_session);
    let silent = bodiless || body.is_empty() || session.req_header().method == Method::HEAD;
    exchange.shown = Some(res.status);
    match &mut *session.downstream_session {
        // Pingora would end it with a frame of its own, and a gRPC status would not be in the last header.
        ServerSession::Custom(own) if silent => own.write_response_header(Box::new(res), true).await,
        _ => session.write_response_header(Box::new(res), silent).await,
    }
    .map_err(|error| error.into_down())?;
    if !silent {
        exchange.sent += body.len();
        session.write_response_body(Some(body), true).await.map_err(|error| error.into_down())?;
    }
    Ok(())
}

/// The way up, from where the request has come to.
pub(super) fn up(session: &Session, exchange: &mut Exchange, res: &mut ResponseHeader) {
    let req = session.req_header();
    if let Some(versions) = &exchange.route().versions {
        versions.tell(exchange.version(), res, req, &exchange.cx);
    }
    let (chain, cx, depth) = exchange.parts();
    chain.response(res, req, cx, *depth);
    encode::begin(session, exchange, res);
}

/// Says that no more requests are taken, where the process was told to end: with the answer, not with a closed door.
pub(super) fn last(session: &mut Session, exchange: &Exchange) {
    if exchange.pinned.live.is_ending() {
        session.set_keepalive_reuses_remaining(Some(0));
    }
}

/// Decides what becomes of a request body that is not read to its end when the answer goes out: a little of it is read away afterwards, so that the
/// connection can be kept; more costs the connection, and the client is told so.
pub(super) fn discard(session: &mut ServerSession) {
    if is_http2(session.req_header()) || session.is_body_done() {
        return;
    }
    let req = session.req_header();
    // A client that waits for `100 Continue` may or may not send its body now: what comes next cannot be told apart (RFC 9110 §10.1.1).
    let waits = req.version == HttpVersion::HTTP_11 && req.headers.contains_key(header::EXPECT);
    let length = req.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if waits || length.is_some_and(|length| length > DISCARD) {
        session.set_keepalive(None);
    }
}
