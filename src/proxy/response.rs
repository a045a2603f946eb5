//! From the service: what its answer must not carry on, and what becomes of a request that got none.

use std::io;

use http::{HeaderName, StatusCode, Version, header};
use pingora_core::protocols::http::ServerSession;
use pingora_error::{Error, ErrorSource, ErrorType};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use smallvec::SmallVec;

use super::exchange::Step;
use super::{Exchange, Gateway, Slow, answer, grpc, is_http2, upstream};
use crate::problem::{Kind, Problem};

/// The way up of a forwarded answer.
pub(super) fn up(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, res: &mut ResponseHeader) {
    let switches = res.status == StatusCode::SWITCHING_PROTOCOLS;
    if res.status.is_informational() && !switches {
        return;
    }
    grpc::note(exchange, &res.headers);
    upstream::tried(gateway, exchange, res.status);
    exchange.answered = Some(res.status);
    exchange.step = Step::Reading;
    exchange.cx.trailers = hop_by_hop(res);
    if res.status == StatusCode::NO_CONTENT || switches {
        // RFC 9110 §8.6: an answer that cannot have a body says nothing of its length.
        res.remove_header(&header::CONTENT_LENGTH);
    }
    answer::last(session, exchange);
    answer::discard(&mut session.downstream_session);
    unchunk(&mut session.downstream_session, res);
    let _ = res.append_header(header::VIA, super::via(res.version));
    if !is_http2(session.req_header()) {
        // RFC 9112 §2.3: the version of an answer is its sender's own.
        res.set_version(Version::HTTP_11);
    }
    // A service that another stands in for is none to stay with.
    let lane = exchange.lane.take().filter(|_| exchange.stand_in.is_none());
    for cookie in lane.into_iter().chain(exchange.cookie.take()) {
        let _ = res.append_header(header::SET_COOKIE, cookie);
    }
    answer::up(session, exchange, res);
    exchange.shown = Some(res.status);
}

/// A client of HTTP/1.0 knows no chunks (RFC 9112 §6.1): the end of the connection is the end of its answer.
fn unchunk(session: &mut ServerSession, res: &mut ResponseHeader) {
    if session.req_header().version == Version::HTTP_10 && res.remove_header(&header::TRANSFER_ENCODING).is_some() {
        session.set_keepalive(None);
    }
}

/// Removes what was meant for this hop alone (RFC 9110 §7.6.1). The framing is Pingora's own business. True where trailers were announced.
fn hop_by_hop(res: &mut ResponseHeader) -> bool {
    const ALWAYS: [HeaderName; 6] = [
        header::UPGRADE,
        header::TRAILER,
        header::TE,
        header::PROXY_AUTHENTICATE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    // Most answers have none of them: one look over the names is cheaper than a search for each.
    let always: SmallVec<[HeaderName; 2]> = res.headers.keys().filter(|name| ALWAYS.contains(name)).cloned().collect();
    let connection = res.headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named = connection.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.eq_ignore_ascii_case("keep-alive"));
    let named: SmallVec<[HeaderName; 2]> = named
        .filter_map(|name| HeaderName::try_from(name).ok())
        .filter(|name| !matches!(*name, header::TRANSFER_ENCODING | header::CONTENT_LENGTH | header::CONNECTION))
        .collect();
    for name in always.iter().chain(&named) {
        res.remove_header(name);
    }
    always.contains(&header::TRAILER)
}

/// The problem that an error of Pingora's is to the client; none where there is nobody left to tell.
pub(super) fn problem(error: &Error) -> Option<Problem> {
    use ErrorType::{
        ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, ConnectionClosed, H2Error, HandshakeError, InvalidCert, InvalidH2,
        InvalidHTTPHeader, ReadError, ReadTimedout, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout, WriteError, WriteTimedout,
    };
    let (kind, detail) = match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, _) if Slow::of(error) == Some(Slow::Upload) => {
            (Kind::RequestTimeout, "the request body did not arrive in time")
        }
        (ErrorSource::Downstream, ReadTimedout) => (Kind::RequestTimeout, "the request body did not arrive in time"),
        (ErrorSource::Downstream, _) if malformed(error) => (Kind::BadRequest, "the chunked request body is malformed"),
        (ErrorSource::Downstream, ConnectionClosed | ReadError | WriteError | WriteTimedout | H2Error) => return None,
        (ErrorSource::Downstream, _) => (Kind::BadRequest, "the request is malformed"),
        (ErrorSource::Upstream, ConnectTimedout | TLSHandshakeTimedout) => {
            (Kind::GatewayTimeout, "the service could not be reached in time")
        }
        (ErrorSource::Upstream, ReadTimedout | WriteTimedout) => (Kind::GatewayTimeout, "the service did not answer in time"),
        (ErrorSource::Upstream, ConnectRefused | ConnectNoRoute | ConnectError | SocketError | HandshakeError) => {
            (Kind::BadGateway, "the service could not be reached")
        }
        (ErrorSource::Upstream, TLSHandshakeFailure | InvalidCert) => {
            (Kind::BadGateway, "no trusted connection to the service could be made")
        }
        (ErrorSource::Upstream, InvalidHTTPHeader | InvalidH2) => (Kind::BadGateway, "the service's answer is malformed"),
        (ErrorSource::Upstream, _) => (Kind::BadGateway, "the service broke off the connection"),
        (ErrorSource::Internal | ErrorSource::Unset, _) => (Kind::Internal, "the request could not be processed"),
    };
    Some(Problem::new(kind, detail).cause(error))
}

/// Whether the transport found the framing of the request's body broken.
fn malformed(error: &Error) -> bool {
    error.root_cause().downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}
