//! One connection, from its first byte to its last: the keep-alive loop. Between requests it holds no session, only the socket.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_timeout::timeout;

use super::conn::{Conn, Next, Patience};
use super::head::Bounds;
use super::http2::{self, Http2};
use super::turnstile::Turnstile;
use crate::observe::Shard;
use crate::problem::{Kind, Problem};
use crate::proxy::Connection;

/// What a connection may take.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Bounds of a request's header.
    pub bounds: Bounds,
    /// From the first byte of a header to its last.
    pub header: Duration,
    /// Between two requests, and before the first.
    pub idle: Duration,
    /// Requests on one connection.
    pub requests: u32,
    /// For a client that does nothing, or little.
    pub patience: Arc<Patience>,
    /// For what is left of a request's body once it is answered, and for a client to stop sending once the connection closes.
    pub drain: Duration,
    /// What a connection may take that speaks HTTP/2.
    pub http2: Http2,
    /// Who counts the connections that end at a bound; nobody where operators are served.
    pub shard: Option<Arc<Shard>>,
}

impl Terms {
    /// Writes what is left to say and ends the connection.
    pub async fn close(&self, conn: &mut Conn, answer: &[u8]) {
        if !conn.close_with(answer, self.drain).await {
            self.note("discard");
        }
    }

    fn note(&self, bound: &str) {
        if let Some(shard) = &self.shard {
            shard.connection_ends.with_label_values(&[bound]).inc();
        }
    }
}

/// Who answers: Pingora's proxy, or the little server for operators.
pub struct Serving<A> {
    /// The Pingora application that takes each request.
    pub app: Arc<A>,
    /// Lets requests of HTTP/1.1 begin.
    pub turnstile: Turnstile,
    /// Renders what the loop itself must say: the whole HTTP/1.1 answer to a request that never became one.
    pub refused: Box<Refuse>,
}

/// From a problem to the whole HTTP/1.1 answer that tells it.
pub type Refuse = dyn Fn(Problem, &Connection) -> Vec<u8> + Send + Sync;

/// Serves the connection until it ends. What is waited for with is small, since most connections do nothing most of the time; the rest is boxed.
pub async fn serve<A>(mut conn: Box<Conn>, serving: &Serving<A>, terms: &Terms, shutdown: &mut ShutdownWatch)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut left = terms.requests;
    while let Some(header) = next(&mut conn, serving, terms, shutdown).await {
        let Some(header) = header else {
            // Boxed: every other connection would hold the room for it to its end.
            return Box::pin(http2::serve(conn, &serving.app, &terms.http2, shutdown)).await;
        };
        left = left.saturating_sub(1);
        let facts = conn.shared_facts();
        let begun = serving.turnstile.enter().await;
        if let (Some(since), Some(connection)) = (begun.since, Connection::of(&facts)) {
            connection.note_wait(since.elapsed());
        }
        let answered = serving.app.process_new_http(session(conn, header, left, terms), shutdown);
        let reused = answered.await.map(|reused| reused.consume().0);
        drop(begun);
        if left == 0 {
            terms.note("requests");
        }
        let tunnel = Connection::of(&facts).and_then(Connection::take_tunnel);
        let Some(back) = reused.or_else(|| Connection::of(&facts).and_then(Connection::take_kept)).and_then(own) else { return };
        if let Some(tunnel) = tunnel {
            drop(facts);
            if let Ok((wire, ahead)) = back.open().await {
                // Large, and on few connections.
                Box::pin(tunnel.run(wire, ahead, shutdown.clone())).await;
            }
            return;
        }
        conn = back;
        if conn.facts().is_some_and(Connection::closing) || !conn.at_end() {
            Box::pin(terms.close(&mut conn, b"")).await;
            return;
        }
    }
}

/// One request, as Pingora takes it. No more than `left` follow it on the connection.
fn session(conn: Box<Conn>, header: BytesMut, left: u32, terms: &Terms) -> ServerSession {
    let mut session = ServerSession::new_http1(conn);
    session.set_keepalive(Some(terms.idle.as_secs()));
    if left == 0 {
        session.set_keepalive_reuses_remaining(Some(0));
    }
    // The transport knows better what was waited for.
    session.set_read_timeout(None);
    session.set_write_timeout(None);
    session.set_total_drain_timeout(Some(terms.drain));
    // Pingora would close after a `100 Continue`, since the body is still to come. What an unread body costs is the answer's business.
    session.set_close_on_response_before_downstream_finish(false);
    session.set_pipelined_prefix(header);
    session
}

/// The header of the next request; an inner none for an HTTP/2 connection; an outer none where there is nothing more to do.
async fn next<A>(conn: &mut Conn, serving: &Serving<A>, terms: &Terms, shutdown: &mut ShutdownWatch) -> Option<Option<BytesMut>> {
    if !conn.has_ahead() {
        conn.rest();
        let came = tokio::select! {
            biased;
            came = conn.first_bytes(terms.idle) => Some(came),
            _ = shutdown.wait_for(|ending| *ending) => None,
        };
        // A next request may be on its way already: once the process is told to end, it is waited for a little, and told that it is the last.
        let (came, bound) = match came {
            Some(came) => (came, "idle"),
            None => (conn.first_bytes(terms.patience.farewell).await, "farewell"),
        };
        if came.is_none() {
            terms.note(bound);
        }
        if !came.unwrap_or(false) {
            Box::pin(conn.end(terms.drain)).await;
            return None;
        }
    }
    let problem = match timeout(terms.header, conn.next(&terms.bounds)).await {
        Ok(Ok(Next::Request(header))) => return Some(Some(header)),
        Ok(Ok(Next::Http2)) => return Some(None),
        Ok(Ok(Next::Closed)) => return None,
        Ok(Ok(Next::NotHttp2)) => {
            Box::pin(terms.close(conn, http2::MISMATCH)).await;
            return None;
        }
        Ok(Err(problem)) => problem,
        Err(_) => Problem::new(Kind::RequestTimeout, "the request header did not arrive in time"),
    };
    let answer = (serving.refused)(problem, conn.facts()?);
    Box::pin(terms.close(conn, &answer)).await;
    None
}

fn own(stream: Stream) -> Option<Box<Conn>> {
    stream.into_any().downcast().ok()
}
