//! The end of every request, whatever happened: metrics, the access log, and the client's connection where an error would have cost it.

use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_error::Error;
use pingora_proxy::Session;
use tokio::io::AsyncWriteExt;

use super::gone::Gone;
use super::{Connection, Exchange, Gateway, is_http2, upstream};

/// Writes down what happened.
pub(super) async fn finish(gateway: &Gateway, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
    upstream::ended(gateway, exchange, error, None);
    let status = session.response_written().map_or(0, |res| res.status.as_u16());
    let cut = exchange.cut.take().or_else(|| error.filter(|_| exchange.problem.is_none()).map(|error| error.to_string().into()));
    exchange.tell(status, session.body_bytes_sent(), cut);
    if let Some(connection) = Connection::of_session(session) {
        connection.set_deadline(None);
    }
    if exchange.own_answer {
        rescue(session, error.is_some()).await;
    } else if error.is_some() {
        flush(session).await;
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

/// Pingora drops the connection after an error past the choice of a target, even where the answer is out and the next request could come: take it out
/// of the session and leave it for the keep-alive loop. Likewise where the connection must close on a body that nobody reads: closing at once would
/// reset it, and the client might never see the answer.
async fn rescue(session: &mut Session, failed: bool) {
    let keeps = session.get_keepalive().is_some();
    let unread = !session.is_body_done();
    if is_http2(session.req_header()) || !(failed && keeps || unread && !keeps) {
        return;
    }
    let Some(digest) = session.digest().and_then(|digest| digest.proxy_digest.clone()) else { return };
    let Some(connection) = Connection::of(&digest) else { return };
    let Some(mut own) = take(session) else { return };
    if own.finish_body().await.is_err() {
        return;
    }
    if keeps {
        if let Ok(Some(reusable)) = own.reuse().await {
            connection.keep(reusable.into_parts().0, false);
        }
    } else {
        connection.keep(own.into_inner(), true);
    }
}
