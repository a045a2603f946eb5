//! The end of every request, whatever happened: metrics, the access log, and the client's connection where an error would have cost it.

use std::sync::Arc;

use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_error::{Error, ErrorSource};
use pingora_proxy::Session;
use tokio::io::AsyncWriteExt;

use super::gone::Gone;
use super::{Connection, Exchange, Gateway, Slow, Tunnel, grpc, is_http2, upstream};
use crate::handler::Relay;
use crate::routing::Destination;

/// Writes down what happened.
pub(super) async fn finish(gateway: &Gateway, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
    if let Some(relay) = exchange.relay.take() {
        return hand_over(gateway, session, exchange, relay);
    }
    upstream::ended(gateway, exchange, error, None);
    let status = session.response_written().map_or(0, |res| res.status.as_u16());
    let cut = exchange.cut.take().or_else(|| error.filter(|_| exchange.problem.is_none()).map(|error| error.to_string().into()));
    let gone = error.is_some_and(|error| *error.esource() == ErrorSource::Downstream);
    grpc::end(exchange, session.response_written(), gone);
    exchange.tell(status, session.body_bytes_sent(), cut);
    if let Some(direction) = error.and_then(Slow::of).and_then(Slow::direction) {
        gateway.0.shard.slow_clients.with_label_values(&[direction]).inc();
    }
    if let Some(connection) = Connection::of_session(session) {
        connection.set_deadline(None);
        connection.set_silence(None);
    }
    if exchange.own_answer {
        rescue(session, error.is_some()).await;
    } else if error.is_some() {
        flush(session).await;
    } else if is_last(session) {
        leave(session).await;
    }
}

/// Leaves the client's connection for the relay that takes it over, which writes down at its end what happened.
fn hand_over(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, relay: Box<Relay>) {
    if let (true, Destination::Service { service, .. }) = (exchange.split, exchange.destination()) {
        gateway.0.shard.splits.with_label_values(&[&*exchange.route().name, &*service.name, "101"]).inc();
    }
    let tunnel = Tunnel::new(gateway, exchange, relay);
    let Some((digest, own)) = part(session) else { return };
    if let Some(connection) = Connection::of(&digest) {
        connection.set_deadline(None);
        connection.keep(own.into_inner(), false);
        connection.lead(tunnel);
    }
}

/// An answer that broke off is shown as far as it came: part of it may still be held back, and nothing at all would look like a gateway that died.
async fn flush(session: &mut Session) {
    if let Some(own) = take(session) {
        let _ = own.into_inner().flush().await;
    }
}

/// Takes the client's session out of Pingora's, which has no more use for it.
fn take(session: &mut Session) -> Option<HttpSession> {
    if is_http2(session.req_header()) {
        return None;
    }
    match std::mem::replace(&mut *session.downstream_session, ServerSession::new_http1(Box::new(Gone))) {
        ServerSession::H1(own) => Some(own),
        _ => None,
    }
}

/// Whether no more requests are taken on this connection, though its client may think so.
fn is_last(session: &Session) -> bool {
    session.get_keepalive_reuses_remaining() == Some(0)
}

/// Pingora drops the connection after an error past the choice of a target, even where the answer is out and the next request could come: take it out
/// of the session and leave it for the keep-alive loop. Likewise where the connection must close on what nobody reads.
async fn rescue(session: &mut Session, failed: bool) {
    let keeps = session.get_keepalive().is_some() && !is_last(session);
    if !keeps && (is_last(session) || !session.is_body_done()) {
        return leave(session).await;
    }
    if is_http2(session.req_header()) || !(failed && keeps) {
        return;
    }
    let Some((digest, mut own)) = part(session) else { return };
    let Some(connection) = Connection::of(&digest) else { return };
    if own.finish_body().await.is_ok()
        && let Ok(Some(reusable)) = own.reuse().await
    {
        connection.keep(reusable.into_parts().0, false);
    }
}

/// Leaves the connection for a decent farewell: closing on what the client has sent, and nobody reads, would reset it, and the client might never see
/// the answer.
async fn leave(session: &mut Session) {
    let Some((digest, mut own)) = part(session) else { return };
    let Some(connection) = Connection::of(&digest) else { return };
    if own.finish_body().await.is_ok() {
        connection.keep(own.into_inner(), true);
    }
}

/// Takes the client's session out of Pingora's, with what is known of the connection.
fn part(session: &mut Session) -> Option<(Arc<ProxyDigest>, HttpSession)> {
    let digest = session.digest().and_then(|digest| digest.proxy_digest.clone())?;
    Some((digest, take(session)?))
}
