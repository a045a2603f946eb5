//! One attempt of a call, once there is a connection: what is sent over it, and what comes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri, Version, header};
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, OrErr};
use pingora_http::{RequestHeader, ResponseHeader};

use super::allowance::Charge;
use super::call::Sent;
use super::stage::Stage;
use super::{HostMode, Targets};

/// The header as a target gets it.
pub(super) fn prepare(head: &mut RequestHeader, targets: &Targets, authority: &HeaderValue, sent: &Sent<'_>) -> pingora_error::Result<()> {
    match &targets.host {
        HostMode::Target => head.insert_header(header::HOST, authority.clone())?,
        HostMode::Name(name) => head.insert_header(header::HOST, name.clone())?,
        HostMode::Keep => {}
    }
    head.set_version(Version::HTTP_11);
    let framed = head.remove_header(&header::TRANSFER_ENCODING).is_some() || head.headers.contains_key(header::CONTENT_LENGTH);
    head.remove_header(&header::EXPECT);
    let length: usize = sent.body.iter().map(Bytes::len).sum();
    if framed || length > 0 {
        head.insert_header(header::CONTENT_LENGTH, length)?;
    }
    if let Some(name) = &targets.deadline_header {
        head.insert_header(name.clone(), u64::try_from(sent.allowed.left().as_millis()).unwrap_or(u64::MAX))?;
    }
    Ok(())
}

/// An answer; without its body where that is too large.
pub(super) struct Told {
    pub head: Box<ResponseHeader>,
    pub body: Option<Bytes>,
    pub charge: Option<Charge>,
}

pub(super) struct Broken {
    pub error: Box<Error>,
    /// Whether the answer had begun.
    pub begun: bool,
}

/// Sends a request, and reads the whole answer.
pub(super) async fn talk(session: &mut HttpSession, peer: &HttpPeer, mut head: RequestHeader, sent: &Sent<'_>) -> Result<Told, Broken> {
    let early = |error| Broken { error, begun: false };
    // The call ends by its own time: a timer that would run for longer is none.
    let within = |time: Option<Duration>| time.filter(|time| sent.allowed.may_exceed(*time));
    session.set_read_timeout(within(peer.options.read_timeout));
    session.set_write_timeout(within(peer.options.write_timeout));
    if session.as_http2().is_some() {
        over_http2(&mut head, peer.is_tls()).map_err(early)?;
    }
    session.write_request_header(Box::new(head)).await.map_err(early)?;
    for piece in sent.body {
        session.write_request_body(piece.clone(), false).await.map_err(early)?;
    }
    session.finish_request_body().await.map_err(early)?;
    let head = loop {
        session.read_response_header().await.map_err(early)?;
        match session.response_header() {
            // Over HTTP/2 there is one header, and Pingora panics at the wish for another.
            Some(head) if head.status.is_informational() && session.as_http1().is_some() => {}
            Some(head) => break Box::new(head.clone()),
            None => return Err(early(Error::new(ErrorType::InvalidHTTPHeader))),
        }
    };
    sent.allowed.progress.come_to(Stage::Reading);
    let (mut held, charge) = (BytesMut::new(), sent.allowed.charge());
    while let Some(piece) = session.read_response_body().await.map_err(|error| Broken { error, begun: true })? {
        let fits = held.len() + piece.len() <= sent.allowed.most() && charge.as_ref().is_none_or(|charge| charge.add(piece.len()));
        if !fits {
            return Ok(Told { head, body: None, charge: None });
        }
        // Most come in one piece, which is not copied where it holds nothing but itself.
        match held.is_empty() && session.as_http1().is_some() {
            true => held = piece.try_into_mut().unwrap_or_else(|piece| BytesMut::from(&piece[..])),
            false => held.extend_from_slice(&piece),
        }
    }
    Ok(Told { head, body: Some(held.freeze()), charge })
}

/// The same over HTTP/2, which has the host in the URI (RFC 9113 §8.3.1).
fn over_http2(head: &mut RequestHeader, tls: bool) -> pingora_error::Result<()> {
    let host = head.remove_header(&header::HOST);
    let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let uri = Uri::builder().scheme(if tls { "https" } else { "http" }).authority(authority).path_and_query(target).build();
    let uri = uri.or_err(ErrorType::InvalidHTTPHeader, "the host is none")?;
    head.set_uri(uri);
    head.set_version(Version::HTTP_2);
    Ok(())
}
