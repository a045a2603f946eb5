//! The way down: who asks for what, which route takes it, and what its policies say.

use http::{HeaderValue, Version, header};
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{Connection, Exchange, Gateway, answer, forwarded};
use crate::policy::Flow;
use crate::problem::{Kind, Problem};
use crate::routing::{host, path};

/// Runs the way down. True where the answer is out already.
///
/// # Errors
/// The client is gone.
pub(super) async fn down(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
    // RFC 9110 §15.2: a client of HTTP/1.0 knows no 1xx.
    session.downstream_session.set_ignore_info_resp(session.req_header().version == Version::HTTP_10);
    if session.is_http2() {
        // What the keep-alive loop sets for HTTP/1.1.
        session.set_write_timeout(Some(gateway.timeouts().write.into()));
        session.set_total_drain_timeout(Some(gateway.timeouts().discard.into()));
    }
    let refused = match arrive(gateway, session, exchange) {
        Ok(refused) => refused,
        // Without a path that means one thing, there is no route, and no policy that could be asked.
        Err(problem) => {
            answer::problem(session, exchange, problem).await?;
            return Ok(true);
        }
    };
    let flow = loop {
        let (chain, cx, depth) = exchange.parts();
        let flow = chain.request(session.downstream_session.req_header_mut(), cx, depth).await;
        if !matches!(flow, Ok(Flow::Next)) || !exchange.fork(session.req_header()) {
            break flow;
        }
    };
    match (flow, refused) {
        (Ok(Flow::Next), None) => Ok(false),
        (Ok(Flow::Reply(reply)), _) => answer::reply(session, exchange, &reply).await.map(|()| true),
        (Err(problem), _) | (Ok(Flow::Next), Some(problem)) => answer::problem(session, exchange, problem).await.map(|()| true),
    }
}

/// Finds out who asks for what and pins the route. A problem inside is to be told after the policies had their say.
fn arrive(gateway: &Gateway, session: &Session, exchange: &mut Exchange) -> Result<Option<Problem>, Problem> {
    let req = session.req_header();
    who(gateway, session, req, exchange)?;
    if session.is_http2() {
        bounds(gateway, req)?;
    }
    let path = path::normalise(req.uri.path(), &exchange.pinned.snapshot.paths)
        .map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))?;
    exchange.cx.path = path.into();
    let too_large = || Problem::new(Kind::ContentTooLarge, format!("the request body is larger than {} bytes", gateway.limits().body.0));
    let length = req.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let refused = length.filter(|length| *length > gateway.limits().body.0).map(|_| too_large());
    let met = exchange.pinned.snapshot.meet(req, &exchange.host, &mut exchange.cx);
    (exchange.route, exchange.way) = (met.route, met.way);
    Ok(met.refused.or(refused))
}

/// Who asks: the connection's peer, or whom trusted proxies speak for.
fn who(gateway: &Gateway, session: &Session, req: &RequestHeader, exchange: &mut Exchange) -> Result<(), Problem> {
    let connection = Connection::of_session(session).ok_or_else(|| Problem::new(Kind::Internal, "the connection has no origin"))?;
    let malformed = || Problem::new(Kind::BadRequest, "the Host is malformed");
    exchange.authority = match req.uri.authority() {
        Some(authority) => HeaderValue::try_from(authority.as_str()).map_err(|_| malformed())?,
        None => req.headers.get(header::HOST).cloned().unwrap_or_else(|| HeaderValue::from_static("")),
    };
    exchange.host = exchange.authority.to_str().ok().and_then(host::normalise).ok_or_else(malformed)?.into();
    let peer = connection.peer.ip().to_canonical();
    exchange.trusted = forwarded::trusts(gateway.trusted(), peer);
    let said = if exchange.trusted { forwarded::read(&req.headers, gateway.trusted()) } else { forwarded::Said::default() };
    let cx = &mut exchange.cx;
    cx.client = said.client.unwrap_or(peer);
    cx.scheme = if said.https == Some(true) { "https" } else { "http" };
    cx.port = said.port.unwrap_or_else(|| if said.https == Some(true) { 443 } else { connection.local.port() });
    cx.host = said.host.map_or_else(|| exchange.host.clone(), Into::into);
    Ok(())
}

/// What the keep-alive loop checks for HTTP/1.1.
fn bounds(gateway: &Gateway, req: &RequestHeader) -> Result<(), Problem> {
    let limits = gateway.limits();
    if req.uri.path_and_query().is_some_and(|target| target.as_str().len() > limits.target.bytes()) {
        return Err(Problem::new(Kind::UriTooLong, format!("the request target is longer than {} bytes", limits.target.0)));
    }
    if req.headers.len() > limits.header_fields {
        return Err(Problem::new(Kind::HeaderTooLarge, format!("the request has more than {} header fields", limits.header_fields)));
    }
    Ok(())
}
