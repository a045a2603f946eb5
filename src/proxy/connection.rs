use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::HeaderValue;
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::Tunnel;
use crate::types::Certificate;

/// What is known about a client's connection, told by the server to the proxy through Pingora.
pub struct Connection {
    /// Who connected, or for whom a trusted proxy did.
    pub peer: SocketAddr,
    /// What they connected to.
    pub local: SocketAddr,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// What the client has shown over TLS, and proven to be its own.
    pub client_cert: Option<Arc<Certificate>>,
    /// The port over TLS that requests without it are sent to.
    pub redirect_https: Option<u16>,
    /// The peer's address as forwarding headers have it: written once, not for each request.
    pub(super) peer_text: HeaderValue,
    /// The local port, likewise.
    pub(super) port_text: HeaderValue,
    /// The transport, given back where Pingora would drop it after an error that the client's connection shall survive.
    kept: Mutex<Option<Stream>>,
    closing: AtomicBool,
    /// What takes it over.
    tunnel: Mutex<Option<Box<Tunnel>>>,
    /// That the client was not waited for just now.
    pardoned: AtomicBool,
    /// When the present request's whole time is up.
    deadline: Mutex<Option<Instant>>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).field("local", &self.local).finish_non_exhaustive()
    }
}

impl Connection {
    /// A new connection.
    pub fn new(peer: SocketAddr, local: SocketAddr) -> Self {
        let (peer_text, port_text) = texts(peer, local);
        Self {
            peer,
            local,
            secure: false,
            client_cert: None,
            redirect_https: None,
            peer_text,
            port_text,
            kept: Mutex::default(),
            closing: AtomicBool::new(false),
            tunnel: Mutex::default(),
            pardoned: AtomicBool::new(false),
            deadline: Mutex::default(),
        }
    }

    /// The peer connects for another, as a trusted proxy may say.
    pub fn speak_for(&mut self, peer: SocketAddr, local: SocketAddr) {
        (self.peer, self.local) = (peer, local);
        (self.peer_text, self.port_text) = texts(peer, local);
    }

    /// Wraps it in the one thing that Pingora carries along with a connection.
    ///
    /// # Errors
    /// Never in practice: Pingora's wrapper wants a header, and an empty one can always be made.
    pub fn into_digest(self) -> pingora_error::Result<ProxyDigest> {
        let header = ResponseHeader::build_no_case(200, Some(0))?;
        Ok(ProxyDigest::new(Box::new(header), Some(Box::new(self))))
    }

    /// Finds it again.
    pub fn of(digest: &ProxyDigest) -> Option<&Self> {
        digest.user_data.as_deref()?.downcast_ref()
    }

    /// Finds that of a request.
    pub(super) fn of_session(session: &Session) -> Option<&Self> {
        session.digest()?.proxy_digest.as_deref().and_then(Self::of)
    }

    /// Sets when the present request's whole time is up, or that it has no such bound.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        *self.deadline.lock() = deadline;
    }

    /// When the present request's whole time is up. The transport watches it: Pingora's own timers begin anew with each byte.
    pub fn deadline(&self) -> Option<Instant> {
        *self.deadline.lock()
    }

    /// Says that the client's body was not waited for since it was last asked for: others were.
    pub(super) fn pardon(&self) {
        self.pardoned.store(true, Ordering::Relaxed);
    }

    /// Whether that was said, once.
    pub fn take_pardon(&self) -> bool {
        self.pardoned.load(Ordering::Relaxed) && self.pardoned.swap(false, Ordering::Relaxed)
    }

    /// Leaves the transport for the keep-alive loop; with `closing` only for a decent farewell.
    pub(super) fn keep(&self, stream: Stream, closing: bool) {
        self.closing.store(closing, Ordering::Relaxed);
        *self.kept.lock() = Some(stream);
    }

    /// The transport, where it was left.
    pub fn take_kept(&self) -> Option<Stream> {
        self.kept.lock().take()
    }

    /// Has something else than requests take it over.
    pub(super) fn lead(&self, tunnel: Box<Tunnel>) {
        *self.tunnel.lock() = Some(tunnel);
    }

    /// What takes it over, where something does.
    pub fn take_tunnel(&self) -> Option<Box<Tunnel>> {
        self.tunnel.lock().take()
    }

    /// Whether the connection cannot take another request.
    pub fn closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

fn texts(peer: SocketAddr, local: SocketAddr) -> (HeaderValue, HeaderValue) {
    let peer = HeaderValue::try_from(peer.ip().to_canonical().to_string());
    (peer.unwrap_or_else(|_| HeaderValue::from_static("unknown")), HeaderValue::from(local.port()))
}
