//! The way down: who asks for what, which route takes it, and what its policies say.

use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode, Version, header};
use pingora_error::Result;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::{Connection, Exchange, Gateway, answer, forwarded, grpc, held, inside, is_http2};
use crate::policy::Flow;
use crate::problem::{Kind, Problem};
use crate::routing::{Destination, host, path};
use crate::types::Reply;

/// Runs the way down. True where the answer is out already.
///
/// # Errors
/// The client is gone.
pub(super) async fn down(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
    exchange.method = Some(session.req_header().method.clone());
    // RFC 9110 §15.2: a client of HTTP/1.0 knows no 1xx.
    session.downstream_session.set_ignore_info_resp(session.req_header().version == Version::HTTP_10);
    exchange.pinned.snapshot.identity.strip(session.downstream_session.req_header_mut());
    exchange.grpc = grpc::recognise(session.req_header()).filter(|_| exchange.around.is_none());
    let next = match arrive(gateway, session, exchange) {
        Ok(next) => next,
        // Without a path that means one thing, there is no route, and no policy that could be asked.
        Err(problem) => {
            answer::problem(session, exchange, problem).await?;
            return Ok(true);
        }
    };
    if let Next::Away(reply) = next {
        answer::reply(session, exchange, &reply).await?;
        return Ok(true);
    }
    let flow = loop {
        let (chain, cx, depth) = exchange.parts();
        let flow = chain.request(session.downstream_session.req_header_mut(), cx, depth, &gateway.0.client).await;
        if !matches!(flow, Ok(Flow::Next)) || !exchange.fork(session.req_header()) {
            break flow;
        }
    };
    let next = match flow {
        Ok(Flow::Next) if matches!(next, Next::On) => match hop(session.downstream_session.req_header_mut(), exchange) {
            Next::On => held::read(gateway, session, exchange).await?.map_or_else(Next::Refused, |()| Next::On),
            other => other,
        },
        Ok(Flow::Next) => next,
        Ok(Flow::Reply(reply)) => Next::Here(reply),
        Err(problem) => Next::Refused(problem),
    };
    match next {
        Next::On => Ok(false),
        Next::Here(reply) | Next::Away(reply) => answer::reply(session, exchange, &reply).await.map(|()| true),
        Next::Refused(problem) => answer::problem(session, exchange, problem).await.map(|()| true),
    }
}

/// Lets a client that waits for `100 Continue` send its body to a target over HTTP/2: Pingora does not show what such a one says before its answer, and
/// the client might wait for ever (RFC 9110 §10.1.1).
///
/// # Errors
/// The client is gone.
pub(super) async fn expected(session: &mut Session, req: &mut RequestHeader) -> Result<()> {
    let waits = req.version == Version::HTTP_2 && req.remove_header(&header::EXPECT).is_some();
    if waits && session.response_written().is_none() {
        session.downstream_session.write_continue_response().await.map_err(|error| error.into_down())?;
    }
    Ok(())
}

/// What becomes of a request once its policies had their say.
enum Next {
    /// It goes on to where its route leads.
    On,
    /// It is answered with this.
    Here(Arc<Reply>),
    /// It is sent to TLS, before anything is asked of it that it should not say without.
    Away(Arc<Reply>),
    /// It is refused.
    Refused(Problem),
}

/// Counts one hop of an OPTIONS or TRACE that asks for it (RFC 9110 §7.6.2): who is the last, answers itself.
fn hop(req: &mut RequestHeader, exchange: &Exchange) -> Next {
    let counted = matches!(req.method, Method::OPTIONS | Method::TRACE) && matches!(exchange.destination(), Destination::Service { .. });
    let left = req.headers.get(header::MAX_FORWARDS).filter(|_| counted).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match left {
        None => Next::On,
        Some(0) if req.method == Method::TRACE => {
            Next::Refused(Problem::new(Kind::NotImplemented, "this TRACE goes no further, and the gateway shows none"))
        }
        Some(0) => Next::Here(Arc::new(Reply::empty(StatusCode::NO_CONTENT))),
        Some(left) => {
            let _ = req.insert_header(header::MAX_FORWARDS, HeaderValue::from(left - 1));
            Next::On
        }
    }
}

/// Finds out who asks for what and pins the route. A problem inside is to be told after the policies had their say.
fn arrive(gateway: &Gateway, session: &Session, exchange: &mut Exchange) -> Result<Next, Problem> {
    let req = session.req_header();
    if let Some(port) = who(gateway, session, req, exchange)? {
        return away(req, exchange, port).map(Next::Away);
    }
    if is_http2(req) {
        form(req)?;
        // What the keep-alive loop checks for HTTP/1.1.
        gateway.limits().of_header().check(req)?;
        if exchange.around.is_some() {
            inside::form(req)?;
        }
    }
    if req.uri.path() == "*" {
        return asterisk(req, exchange);
    }
    let path = path::normalise(req.uri.path(), &exchange.pinned.snapshot.paths)
        .map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))?;
    exchange.cx.path = path.into();
    let too_large = || Problem::new(Kind::ContentTooLarge, format!("the request body is larger than {} bytes", gateway.limits().body.0));
    let length = req.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    // The body of a call is as long as it lasts: the bound is for its messages.
    let refused = length.filter(|length| *length > gateway.limits().body.0 && exchange.grpc.is_none()).map(|_| too_large());
    let refused = refused.or_else(|| exchange.grpc.as_mut().and_then(|call| grpc::deadline(req, call).err()));
    let met = exchange.pinned.snapshot.meet(req, &exchange.host, &mut exchange.cx);
    (exchange.route, exchange.way) = (met.route, met.way);
    Ok(met.refused.or(refused).map_or(Next::On, Next::Refused))
}

/// A request about the gateway as a whole (RFC 9110 §9.3.7): no route takes it, and there is nothing to say but that it is here.
fn asterisk(req: &RequestHeader, exchange: &mut Exchange) -> Result<Next, Problem> {
    if req.method != Method::OPTIONS {
        return Err(Problem::new(Kind::BadRequest, "the target `*` is for OPTIONS alone"));
    }
    exchange.cx.path = "*".into();
    exchange.way = Some(0);
    Ok(Next::Here(Arc::new(Reply::empty(StatusCode::NO_CONTENT))))
}

/// The same place over TLS, with its method (RFC 9110 §15.4.9).
fn away(req: &RequestHeader, exchange: &Exchange, port: u16) -> Result<Arc<Reply>, Problem> {
    let host = &exchange.cx.host;
    if host.is_empty() {
        return Err(Problem::new(Kind::BadRequest, "the request names no host to ask over TLS"));
    }
    let mut location = format!("https://{host}");
    if port != 443 {
        location.push_str(&format!(":{port}"));
    }
    location.push_str(req.uri.path_and_query().map_or("/", PathAndQuery::as_str).trim_start_matches('*'));
    let location = HeaderValue::try_from(location).map_err(|_| Problem::new(Kind::BadRequest, "the request target is malformed"))?;
    Ok(Arc::new(Reply { headers: vec![(header::LOCATION, location)], ..Reply::empty(StatusCode::PERMANENT_REDIRECT) }))
}

/// Who asks: the connection's peer, or whom trusted proxies speak for. Gives the port over TLS that the client is to be sent to.
fn who(gateway: &Gateway, session: &Session, req: &RequestHeader, exchange: &mut Exchange) -> Result<Option<u16>, Problem> {
    let connection = Connection::of_session(session).ok_or_else(|| Problem::new(Kind::Internal, "the connection has no origin"))?;
    // Its time began when it came.
    if let Some(wait) = connection.take_wait() {
        exchange.started = exchange.started.checked_sub(wait).unwrap_or(exchange.started);
        exchange.time = exchange.time.checked_sub(wait).unwrap_or(exchange.time);
    }
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
    let https = said.https.unwrap_or(connection.secure);
    cx.scheme = if https { "https" } else { "http" };
    // The port of a proxy that spoke TLS in our stead is not told; the usual one is the best guess.
    cx.port = said.port.unwrap_or_else(|| if https && !connection.secure { 443 } else { connection.local.port() });
    cx.client_cert.clone_from(&connection.client_cert);
    cx.host = said.host.map_or_else(|| exchange.host.clone(), Into::into);
    Ok(connection.redirect_https.filter(|_| !https))
}

/// What two parsers could read in two ways (RFC 9113 §8.2, §8.3), as the keep-alive loop checks it for HTTP/1.1. The library has refused what is
/// malformed by itself.
fn form(req: &RequestHeader) -> Result<(), Problem> {
    if req.method == Method::CONNECT {
        return Err(Problem::new(Kind::NotImplemented, "CONNECT is not supported"));
    }
    let bad = |detail: &'static str| Err(Problem::new(Kind::BadRequest, detail));
    let mut hosts = req.headers.get_all(header::HOST).iter();
    let (host, another, authority) = (hosts.next(), hosts.next(), req.uri.authority());
    if another.is_some() {
        return bad("there is more than one Host");
    }
    if authority.is_none() && host.is_none() {
        return bad("the request names no host");
    }
    if authority.zip(host).is_some_and(|(authority, host)| authority.as_str() != host) {
        return bad("the Host is not the one of `:authority`");
    }
    if req.headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_some() {
        return bad("there is more than one Content-Length");
    }
    let path = req.raw_path();
    if !path.starts_with(b"/") && path != b"*" {
        return bad("the `:path` does not begin with a slash");
    }
    Ok(())
}
