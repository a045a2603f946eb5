use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderValue, Version};
use parking_lot::Mutex;
use pingora_core::protocols::Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::Tunnel;
use super::inside::Around;
use crate::types::Certificate;

/// What the proxy says of the present request to the transport, which sees to it that nobody is waited for too long.
#[derive(Default)]
struct Present {
    /// When its whole time is up.
    deadline: Mutex<Option<Instant>>,
    /// How long the service may be silent now.
    silence: Mutex<Option<Duration>>,
    /// That the service has stirred.
    stirred: AtomicBool,
    /// That the client was not waited for just now.
    pardoned: AtomicBool,
    /// That the client may pause in the body for as long as it likes.
    may_pause: AtomicBool,
    /// Microseconds that it has waited for its turn.
    waited: AtomicU32,
    /// What it came inside of.
    around: Option<Arc<Around>>,
}

tokio::task_local! {
    /// That of a request which shares its connection with others, over HTTP/2 or inside of another: each is a task of its own.
    static STREAM: Present;
}

/// Runs a request that shares its connection with others.
pub fn on_stream<F: Future>(request: F) -> impl Future<Output = F::Output> {
    STREAM.scope(Present::default(), request)
}

/// Runs a request that came inside of another.
pub(super) fn within<F: Future>(around: Arc<Around>, request: F) -> impl Future<Output = F::Output> {
    STREAM.scope(Present { around: Some(around), ..Present::default() }, request)
}

/// What the present request came inside of, if it did.
pub(super) fn around() -> Option<Arc<Around>> {
    STREAM.try_with(|present| present.around.clone()).ok().flatten()
}

/// Whether a request came over HTTP/2, or inside of another, which has no connection to itself either. Not what Pingora says of its session: that is one of ours.
pub(super) fn is_http2(req: &RequestHeader) -> bool {
    req.version == Version::HTTP_2
}

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
    /// Of a request that has the connection for itself.
    present: Present,
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
            present: Present::default(),
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

    fn present<T>(&self, with: impl Fn(&Present) -> T) -> T {
        STREAM.try_with(&with).unwrap_or_else(|_| with(&self.present))
    }

    /// Sets when the present request's whole time is up, or that it has no such bound.
    pub(super) fn set_deadline(&self, deadline: Option<Instant>) {
        self.present(|present| *present.deadline.lock() = deadline);
    }

    /// When the present request's whole time is up. The transport watches it: Pingora's own timers begin anew with each byte.
    pub fn deadline(&self) -> Option<Instant> {
        self.present(|present| *present.deadline.lock())
    }

    /// Says how long the service may be silent from now on, where the transport is to look after it.
    pub(super) fn set_silence(&self, silence: Option<Duration>) {
        self.present(|present| *present.silence.lock() = silence);
        self.stir();
    }

    /// How long the service may be silent.
    pub fn silence(&self) -> Option<Duration> {
        self.present(|present| *present.silence.lock())
    }

    /// Says that the service has sent something: how long it was silent before does not count.
    pub(super) fn stir(&self) {
        self.present(|present| present.stirred.store(true, Ordering::Relaxed));
    }

    /// Whether that was said, once.
    pub fn take_stir(&self) -> bool {
        self.present(|present| present.stirred.load(Ordering::Relaxed) && present.stirred.swap(false, Ordering::Relaxed))
    }

    /// Says that the client's body was not waited for since it was last asked for: others were.
    pub(super) fn pardon(&self) {
        self.present(|present| present.pardoned.store(true, Ordering::Relaxed));
    }

    /// Whether that was said, once.
    pub fn take_pardon(&self) -> bool {
        self.present(|present| present.pardoned.load(Ordering::Relaxed) && present.pardoned.swap(false, Ordering::Relaxed))
    }

    /// Lets the client of a stream pause in the body: that of a gRPC call is what it has to say, when it has to.
    pub(super) fn let_pause(&self) {
        self.present(|present| present.may_pause.store(true, Ordering::Relaxed));
    }

    /// Whether it may.
    pub fn may_pause(&self) -> bool {
        self.present(|present| present.may_pause.load(Ordering::Relaxed))
    }

    /// Says how long the present request has waited for its turn since it came.
    pub fn note_wait(&self, wait: Duration) {
        let micros = u32::try_from(wait.as_micros()).unwrap_or(u32::MAX);
        self.present(|present| present.waited.store(micros, Ordering::Relaxed));
    }

    /// Whether that was said, and how long it was; once.
    pub(super) fn take_wait(&self) -> Option<Duration> {
        let take = |waited: &AtomicU32| (waited.load(Ordering::Relaxed) > 0).then(|| waited.swap(0, Ordering::Relaxed));
        self.present(|present| take(&present.waited).map(|micros| Duration::from_micros(micros.into())))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_request_has_waited_is_told_once() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let connection = Connection::new(address, address);
        assert_eq!(connection.take_wait(), None);
        connection.note_wait(Duration::from_millis(7));
        assert_eq!((connection.take_wait(), connection.take_wait()), (Some(Duration::from_millis(7)), None));
    }
}
