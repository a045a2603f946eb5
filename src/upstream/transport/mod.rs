//! How the targets of a service are spoken to.

mod tls;

pub use tls::{TlsConfig, Verify};

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;

use pingora_core::protocols::ALPN;
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::tls::Tls;
use super::Timeouts;
use crate::building::BuildError;

/// `protocol:` of a service: what its targets are spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS by prior knowledge. Calls of gRPC need it, and so do trailers: HTTP/1.1 is spoken without. A client that waits for
    /// `100 Continue` gets it from the gateway.
    Http2,
    /// HTTP/2 where a target offers it over TLS, else HTTP/1.1.
    Auto,
}

/// `connections:` of a service: those to its targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// How many connections to each target are kept for later requests at most, per worker: what is made while as many requests are under way there is
    /// closed after use. 0 keeps none. With `protocol: http2` or `auto` as many requests count as one as may share a connection. Calls that
    /// the gateway makes by itself, as for the parts of a composition and copies (`mirror`), have connections of their own: as many are kept over HTTP/1.1,
    /// and all over HTTP/2. Default: as many as `server.upstream_connections` has room for.
    pub idle: Option<u32>,
    /// How many requests share a connection over HTTP/2 at most, where the target allows as many: 1 to 1000. Default: 100.
    #[schemars(range(min = 1, max = 1000))]
    pub streams: Option<u32>,
}

/// Requests that share a connection, unless the config says otherwise.
const STREAMS: u32 = 100;

/// What a service's settings say of all connections to its targets.
#[derive(Debug)]
pub struct Transport {
    timeouts: Timeouts,
    protocol: Protocol,
    streams: u32,
    idle: Option<u32>,
    tls: Tls,
    /// Keeps connections apart that were made by other settings: Pingora's own key leaves out the CA, and what is asked for by ALPN.
    key: u64,
}

impl Transport {
    /// Reads what is set, and the files that it names.
    ///
    /// # Errors
    /// What is wrong, at its place below the service.
    pub fn build(
        service: &str,
        timeouts: Timeouts,
        protocol: Protocol,
        connections: Option<&ConnectionsConfig>,
        tls: Option<&TlsConfig>,
        folder: &Path,
    ) -> Result<Self, BuildError> {
        let ConnectionsConfig { idle, streams } = connections.copied().unwrap_or_default();
        if streams.is_some() && protocol == Protocol::Http1 {
            let error = BuildError::new("requests share no connection over HTTP/1.1", "set `protocol: http2` or `auto`, or remove it");
            return Err(error.at("streams").at("connections"));
        }
        let streams = streams.unwrap_or(STREAMS);
        if !(1..=1000).contains(&streams) {
            let reason = format!("{streams} is no number of requests that can share a connection");
            return Err(BuildError::new(reason, "write 1 to 1000").at("streams").at("connections"));
        }
        let tls = tls.map_or_else(|| Ok(Tls::default()), |tls| Tls::build(tls, folder)).map_err(|error| error.at("tls"))?;
        let mut hasher = DefaultHasher::new();
        (service, protocol, streams, tls.id()).hash(&mut hasher);
        Ok(Self { timeouts, protocol, streams, idle, tls, key: hasher.finish() })
    }

    /// Whether certificates are not looked at.
    pub fn is_blind(&self) -> bool {
        self.tls.is_blind()
    }

    /// Whether requests may share a connection: over HTTP/2 they do.
    pub fn shares(&self) -> bool {
        self.protocol != Protocol::Http1
    }

    /// How many requests may be under way at a target while the connection of one more is kept behind it.
    pub fn kept(&self) -> Option<usize> {
        let shared = if self.protocol == Protocol::Http1 { 1 } else { self.streams };
        self.idle.map(|idle| usize::try_from(idle.saturating_mul(shared)).unwrap_or(usize::MAX))
    }

    /// The peer at this address.
    pub fn peer(&self, address: SocketAddr, tls: bool, host: &str) -> HttpPeer {
        let name = if tls { self.tls.server_name.as_deref().unwrap_or(host) } else { "" };
        let mut peer = HttpPeer::new(address, tls, name.to_owned());
        if tls {
            self.tls.apply(&mut peer);
        }
        self.apply(&mut peer, tls);
        peer
    }

    /// The peer behind a Unix socket.
    pub fn socket(&self, path: &str) -> Option<HttpPeer> {
        let mut peer = HttpPeer::new_uds(path, false, String::new()).ok()?;
        self.apply(&mut peer, false);
        Some(peer)
    }

    fn apply(&self, peer: &mut HttpPeer, tls: bool) {
        let options = &mut peer.options;
        options.connection_timeout = Some(self.timeouts.connect);
        options.total_connection_timeout = Some(self.timeouts.connect);
        options.read_timeout = Some(self.timeouts.response);
        options.write_timeout = Some(self.timeouts.response);
        options.idle_timeout = Some(self.timeouts.idle);
        // No tunnels: Pingora's can lose its first bytes (issue 946), and what flows in one passes no bound.
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        options.max_h2_streams = usize::try_from(self.streams).unwrap_or(usize::MAX);
        options.alpn = match self.protocol {
            Protocol::Http2 => ALPN::H2,
            Protocol::Auto if tls => ALPN::H2H1,
            Protocol::Auto | Protocol::Http1 => ALPN::H1,
        };
        peer.group_key = self.key;
    }
}
