//! The header that goes out to a service.

use http::{HeaderName, HeaderValue, Version, header};
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::forwarded::{self, Facts};
use super::{Connection, Exchange, credentials, grpc};
use crate::problem::{Kind, Problem};
use crate::upstream::HostMode;

/// The header that goes out: without what was said to the gateway alone, then path, host, forwarding headers, who calls, then the policies' changes, then the
/// gateway's own credentials.
///
/// # Errors
/// What a policy, or the path, cannot be made of.
pub(super) fn header(session: &Session, exchange: &mut Exchange, req: &mut RequestHeader) -> Result<(), Problem> {
    if exchange.grpc.is_some() && exchange.asked.is_some() && req.version != Version::HTTP_2 {
        return Err(grpc::untold());
    }
    if let Some(around) = &exchange.around {
        around.withheld.take(req);
    }
    path(exchange, req)?;
    host(exchange, req);
    let Some(connection) = Connection::of_session(session) else {
        return Err(Problem::new(Kind::Internal, "the connection has no origin"));
    };
    let facts = Facts {
        connection,
        trusted: exchange.trusted,
        scheme: exchange.cx.scheme,
        authority: &exchange.authority,
        port: exchange.cx.port,
        version: exchange.around.as_ref().map_or(session.req_header().version, |around| around.version),
    };
    forwarded::write(req, &facts);
    te(session, req);
    deadline(exchange, req);
    exchange.pinned.snapshot.identity.tell(req, &exchange.cx);
    let (chain, cx, _) = exchange.parts();
    chain.upstream_request(req, cx)?;
    credentials::show(exchange, req)
}

/// What was matched is what goes out, unless the route says otherwise.
fn path(exchange: &Exchange, req: &mut RequestHeader) -> Result<(), Problem> {
    let path = exchange.destination().path(req, &exchange.cx)?;
    // A target in absolute form is for proxies alone (RFC 9112 §3.2.2); Pingora hides its authority from the URI.
    if req.uri.authority().is_none() && req.raw_path().starts_with(b"/") && req.uri.path() == path {
        return Ok(());
    }
    let target = match req.uri.query() {
        Some(query) => format!("{path}?{query}").into(),
        None => path,
    };
    let uri = target.parse().map_err(|error| Problem::new(Kind::BadRequest, "the path cannot be forwarded").cause(error))?;
    req.set_uri(uri);
    Ok(())
}

/// A client over HTTP/2 that can have trailers gets them from a target over HTTP/2, which is told so: gRPC insists on it. Pingora takes the word for one
/// that is meant for this hop alone.
fn te(session: &Session, req: &mut RequestHeader) {
    let takes = |te: &HeaderValue| te.as_bytes().eq_ignore_ascii_case(b"trailers");
    let asked = session.req_header();
    if req.version == Version::HTTP_2 && asked.version == Version::HTTP_2 && asked.headers.get(header::TE).is_some_and(takes) {
        let _ = req.insert_header(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Hands on what is left of the request's time.
fn deadline(exchange: &Exchange, req: &mut RequestHeader) {
    grpc::hand_on(exchange, req);
    let Some(name) = exchange.targets().and_then(|targets| targets.deadline_header.as_ref()) else { return };
    let Some(total) = exchange.total else {
        // What the client says there is not our word.
        req.remove_header(name);
        return;
    };
    let left = total.saturating_sub(exchange.started.elapsed()).as_millis();
    let _ = req.insert_header(name.clone(), HeaderValue::from(u64::try_from(left).unwrap_or(u64::MAX)));
}

fn host(exchange: &Exchange, req: &mut RequestHeader) {
    let mode = exchange.targets().map(|targets| &targets.host);
    let value = match mode {
        Some(HostMode::Target) => exchange.picked().map(|target| target.authority.clone()),
        Some(HostMode::Name(name)) => Some(name.clone()),
        Some(HostMode::Keep) | None => Some(exchange.authority.clone()),
    };
    // Most often it is what the client has said.
    if let Some(value) = value.filter(|value| req.headers.get(header::HOST) != Some(value)) {
        let _ = req.insert_header(header::HOST, value);
    }
}

/// Whether nothing in it is meant for this hop alone (RFC 9110 §7.6.1), and there is nothing to take out. One look over the names is cheaper than a search
/// for each.
pub(super) fn is_for_all(req: &RequestHeader) -> bool {
    const HOP: [HeaderName; 10] = [
        header::CONNECTION,
        header::UPGRADE,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        HeaderName::from_static("http2-settings"),
    ];
    !req.headers.keys().any(|name| HOP.contains(name))
}
