use std::fmt;

use futures_util::FutureExt;
use pingora_core::connectors::http::Connector;
use pingora_core::connectors::{ConnectorOptions, TransportConnector};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::protocols::http::v1;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::{HttpPeer, Peer};
use pingora_error::Result;
use tokio::sync::OnceCell;

/// The connections of one worker that calls are made over.
pub struct Connections {
    /// To targets of which it is known that they speak HTTP/1.1.
    plain: OnceCell<TransportConnector>,
    /// To others.
    any: OnceCell<Connector<()>>,
    /// Idle connections that each keeps.
    kept: usize,
}

/// A session that a call has taken. One that is not at the end of an answer is closed; one of HTTP/2 shares its connection with others, and none may forget
/// that it is over, not even where the call is broken off.
pub struct Lent<'a> {
    lender: Lender<'a>,
    peer: &'a HttpPeer,
    session: Option<HttpSession>,
}

#[derive(Clone, Copy)]
enum Lender<'a> {
    Plain(&'a TransportConnector),
    Any(&'a Connector<()>),
}

impl Connections {
    /// None yet; so many idle ones are kept.
    pub fn new(kept: usize) -> Self {
        Self { plain: OnceCell::new(), any: OnceCell::new(), kept }
    }

    /// Makes what the first call would wait for.
    pub async fn prepare(&self) {
        self.plain().await;
        self.any().await;
    }

    async fn plain(&self) -> &TransportConnector {
        let kept = self.kept;
        self.plain.get_or_init(|| made(move || TransportConnector::new(Some(ConnectorOptions::new(kept))))).await
    }

    async fn any(&self) -> &Connector<()> {
        let kept = self.kept;
        self.any.get_or_init(|| made(move || Connector::new(Some(ConnectorOptions::new(kept))))).await
    }

    /// Connects, or takes a connection that was kept, and says which.
    ///
    /// # Errors
    /// No connection came about.
    pub async fn take<'a>(&'a self, peer: &'a HttpPeer) -> Result<(Lent<'a>, bool)> {
        let lent = |lender, session| Lent { lender, peer, session: Some(session) };
        // What connects is large: it has no place in each call that finds a connection.
        if peer.options.alpn.get_max_http_version() > 1 {
            let any = self.any().await;
            let (session, reused) = Box::pin(any.get_http_session(peer)).await?;
            return Ok((lent(Lender::Any(any), session), reused));
        }
        let plain = self.plain().await;
        let kept = plain.reused_stream(&Known(peer)).await.filter(|stream| leads_to(stream, peer));
        let (stream, reused) = match kept {
            Some(stream) => (stream, true),
            None => (Box::pin(plain.new_stream(peer)).await?, false),
        };
        let session = v1::client::HttpSession::new_with_options(stream, peer);
        Ok((lent(Lender::Plain(plain), HttpSession::H1(session)), reused))
    }
}

/// A peer that does not ask the system where a kept connection leads to: that was noted when it was made, see [`leads_to`].
#[derive(Clone)]
struct Known<'a>(&'a HttpPeer);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Peer for Known<'_> {
    fn address(&self) -> &SocketAddr {
        self.0.address()
    }

    fn tls(&self) -> bool {
        self.0.tls()
    }

    fn sni(&self) -> &str {
        self.0.sni()
    }

    fn reuse_hash(&self) -> u64 {
        self.0.reuse_hash()
    }

    fn matches_fd<V>(&self, _: V) -> bool {
        true
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
            (Some(HttpSession::H1(mut session)), Lender::Plain(plain)) => {
                session.respect_keepalive();
                if let Some(Some(stream)) = session.reuse().now_or_never() {
                    plain.release_stream(stream, self.peer.reuse_hash(), idle);
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
