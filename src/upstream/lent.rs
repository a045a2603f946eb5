use std::sync::Arc;

use futures_util::FutureExt;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::Result;
use tokio::sync::OnceCell;

use super::idle::Idle;

/// The connections of one worker that calls are made over.
pub struct Connections {
    /// Makes those to targets of which it is known that they speak HTTP/1.1.
    plain: OnceCell<TransportConnector>,
    /// Keeps them.
    idle: Arc<Idle>,
    /// To others.
    any: OnceCell<Connector<()>>,
    /// Idle connections that are kept of either.
    kept: usize,
}

/// A session that a call has taken. One that is not at the end of an answer is closed; one of HTTP/2 shares its connection with others, and none may forget
/// that it is over, not even where the call is broken off.
pub struct Lent<'a> {
    lender: Lender<'a>,
    peer: &'a HttpPeer,
    /// How many connections of HTTP/1.1 are kept to its target at most.
    alike: usize,
    session: Option<HttpSession>,
}

#[derive(Clone, Copy)]
enum Lender<'a> {
    Plain(&'a Arc<Idle>),
    Any(&'a Connector<()>),
}

impl Connections {
    /// None yet; so many idle ones are kept.
    pub fn new(kept: usize) -> Self {
        Self { plain: OnceCell::new(), idle: Idle::new(kept), any: OnceCell::new(), kept }
    }

    /// Makes what the first call would wait for.
    pub async fn prepare(&self) {
        self.plain().await;
        self.any().await;
    }

    async fn plain(&self) -> &TransportConnector {
        self.plain.get_or_init(|| made(|| TransportConnector::new(None))).await
    }

    async fn any(&self) -> &Connector<()> {
        let kept = self.kept;
        self.any.get_or_init(|| made(move || Connector::new(Some(ConnectorOptions::new(kept))))).await
    }

    /// Connects, or takes a connection that was kept, and says which. Of HTTP/1.1, `alike` are kept to its target at most.
    ///
    /// # Errors
    /// No connection came about.
    pub async fn take<'a>(&'a self, peer: &'a HttpPeer, alike: usize) -> Result<(Lent<'a>, bool)> {
        let lent = |lender, session| Lent { lender, peer, alike, session: Some(session) };
        // What connects is large: it has no place in each call that finds a connection.
        if peer.options.alpn.get_max_http_version() > 1 {
            let any = self.any().await;
            let (session, reused) = Box::pin(any.get_http_session(peer)).await?;
            return Ok((lent(Lender::Any(any), session), reused));
        }
        let (stream, reused) = match self.idle.take(peer.reuse_hash(), |stream| leads_to(stream, peer)) {
            Some(stream) => (stream, true),
            None => (Box::pin(self.plain().await.new_stream(peer)).await?, false),
        };
        let session = v1::client::HttpSession::new_with_options(stream, peer);
        Ok((lent(Lender::Plain(&self.idle), HttpSession::H1(session)), reused))
    }
}

/// Whether a kept connection was made to just this address: hashes alone tell apart what is kept.
fn leads_to(stream: &Stream, peer: &HttpPeer) -> bool {
    stream.get_socket_digest().is_some_and(|digest| digest.peer_addr() == Some(peer.address()))
}

/// Not made where it is needed: that reads the roots of the system, which takes milliseconds.
async fn made<T: Send + 'static>(make: impl Fn() -> T + Copy + Send + 'static) -> T {
    tokio::task::spawn_blocking(make).await.unwrap_or_else(|_| make())
}

impl Lent<'_> {
    /// The session, until it is given back.
    pub fn session(&mut self) -> Option<&mut HttpSession> {
        self.session.as_mut()
    }

    /// Gives it back, for the next call where it can take one. Where it cannot it is closed, and nothing is waited for: not for a farewell that finds no
    /// place on the connection.
    pub fn give_back(&mut self) {
        let idle = self.peer.options.idle_timeout;
        match (self.session.take(), self.lender) {
            (Some(HttpSession::H1(mut session)), Lender::Plain(kept)) => {
                session.respect_keepalive();
                if let Some(Some(stream)) = session.reuse().now_or_never() {
                    kept.keep(self.peer.reuse_hash(), stream, idle, self.alike);
                }
            }
            (Some(session), Lender::Any(any)) => {
                any.release_http_session(session, self.peer, idle).now_or_never();
            }
            _ => {}
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(HttpSession::H2(_)) = self.session {
            self.give_back();
        }
    }
}
