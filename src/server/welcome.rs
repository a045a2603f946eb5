//! What comes before the first request of a connection: a PROXY header, and the handshake of TLS.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::IpNet;
use pingora_timeout::timeout;
use rustls::{HandshakeKind, ServerConfig, ServerConnection};
use tokio_rustls::TlsAcceptor;

use super::conn::Speaks;
use super::crowd::Place;
use super::listen::Gate;
use super::proxied;
use super::wire::Wire;
use crate::observe::Shard;
use crate::proxy::Connection;
use crate::snapshot::Live;
use crate::types::Certificate;

/// What a worker welcomes connections with.
pub struct Welcome {
    /// The snapshot with the certificates to show.
    pub live: Arc<Live>,
    /// What the worker counts.
    pub shard: Arc<Shard>,
    /// Whose PROXY headers are believed.
    pub trusted: Arc<[IpNet]>,
    /// For each of the two.
    pub patience: Duration,
}

/// What came of the welcome.
pub enum Met {
    /// A first request can come.
    Ready(Wire, Speaks),
    /// The client speaks HTTP where TLS is spoken: it can be told so.
    Plain(Wire),
    /// Nothing more can be said to it.
    Lost,
}

impl Welcome {
    /// Makes a connection ready for its first request, or says that there will be none.
    pub async fn greet(&self, mut wire: Wire, facts: &mut Connection, gate: &Gate, place: &mut Place) -> Met {
        // Boxed: a connection would hold the room for them to its end.
        if gate.proxied && !(Box::pin(self.introduce(&mut wire, facts)).await && place.of(facts.peer.ip())) {
            return Met::Lost;
        }
        if gate.secure { Box::pin(self.handshake(wire, facts, gate)).await } else { Met::Ready(wire, gate.speaks) }
    }

    /// Hears for whom the peer speaks. False where it may not, or does not.
    async fn introduce(&self, wire: &mut Wire, facts: &mut Connection) -> bool {
        let peer = facts.peer.ip().to_canonical();
        let result = if self.trusted.iter().any(|net| net.contains(&peer)) {
            match timeout(self.patience, proxied::read(wire)).await {
                Ok(Ok(said)) => Ok(said),
                Ok(Err(why)) => Err(("malformed", why)),
                Err(_) => Err(("late", "the PROXY header did not arrive in time")),
            }
        } else {
            Err(("untrusted", "it is not among the trusted proxies"))
        };
        let label = match result {
            Ok(Some((from, to))) => {
                facts.speak_for(from, to);
                "taken"
            }
            Ok(None) => "without_address",
            Err((label, why)) => {
                log::debug!("a connection from {peer} was refused: {why}");
                label
            }
        };
        self.shard.proxy_headers.with_label_values(&[label]).inc();
        result.is_ok()
    }

    async fn handshake(&self, wire: Wire, facts: &mut Connection, gate: &Gate) -> Met {
        let Some(config) = self.live.load().secure.get(gate.index).and_then(|secure| Some(secure.as_ref()?.handshake.clone())) else {
            return Met::Lost;
        };
        let (label, met) = match timeout(self.patience, shake(wire, facts, gate, config)).await {
            Ok(Ok(shaken)) => shaken,
            Ok(Err(why)) => {
                log::debug!("the handshake with {} failed: {why}", facts.peer);
                ("failed", Met::Lost)
            }
            Err(_) => ("late", Met::Lost),
        };
        self.shard.handshakes.with_label_values(&[label]).inc();
        met
    }
}

async fn shake(wire: Wire, facts: &mut Connection, gate: &Gate, config: Arc<ServerConfig>) -> Result<(&'static str, Met), String> {
    // A handshake never begins with a letter, and a request always does.
    if wire.first_byte().await.map_err(|error| error.to_string())?.is_some_and(|byte| byte.is_ascii_alphabetic()) {
        return Ok(("plain", Met::Plain(wire)));
    }
    let stream = TlsAcceptor::from(config).accept(wire).await.map_err(|error| error.to_string())?;
    let session = stream.get_ref().1;
    facts.secure = true;
    facts.client_cert = client(session)?.map(Arc::new);
    // Without a word on it, HTTP/1.1 is meant, where that is spoken.
    let http2 = session.alpn_protocol() == Some(b"h2") || gate.speaks == Speaks::Http2;
    let speaks = if http2 { Speaks::Http2 } else { Speaks::Http1 };
    let kind = if session.handshake_kind() == Some(HandshakeKind::Resumed) { "resumed" } else { "full" };
    Ok((kind, Met::Ready(Wire::Tls(Box::new(stream)), speaks)))
}

/// Who the client has proven to be.
fn client(session: &ServerConnection) -> Result<Option<Certificate>, String> {
    let Some(der) = session.peer_certificates().and_then(<[_]>::first) else { return Ok(None) };
    let certificate = Certificate::read(der)?;
    // A session may be resumed when its certificate has ended meanwhile.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if i64::try_from(now.as_secs()).unwrap_or(i64::MAX) > certificate.not_after {
        return Err("the client's certificate has expired".to_owned());
    }
    Ok(Some(certificate))
}
