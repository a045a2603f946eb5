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
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
    /// HTTP/2 where a target offers it over TLS, else HTTP/1.1.
    Auto,
}

/// `connections:` of a service: those that are kept to its targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// How many requests share a connection over HTTP/2 at most, where the target allows as many: 1 to 1000. Default: 100.
    #[schemars(range(min = 1, max = 1000))]
    pub streams: usize,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        Self { streams: 100 }
    }
}

/// What a service's settings say of all connections to its targets.
#[derive(Debug)]
pub struct Transport {
    timeouts: Timeouts,
    protocol: Protocol,
    streams: usize,
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
        let streams = connections.copied().unwrap_or_default().streams;
        if !(1..=1000).contains(&streams) {
            let reason = format!("{streams} is no number of requests that can share a connection");
            return Err(BuildError::new(reason, "write 1 to 1000").at("streams").at("connections"));
        }
        if connections.is_some() && protocol == Protocol::Http1 {
            let error = BuildError::new("requests share no connection over HTTP/1.1", "set `protocol: http2` or `auto`, or remove it");
            return Err(error.at("streams").at("connections"));
        }
        let tls = tls.map_or_else(|| Ok(Tls::default()), |tls| Tls::build(tls, folder)).map_err(|error| error.at("tls"))?;
        let mut hasher = DefaultHasher::new();
        (service, protocol, streams, tls.id()).hash(&mut hasher);
        Ok(Self { timeouts, protocol, streams, tls, key: hasher.finish() })
    }

    /// Whether certificates are not looked at.
    pub fn is_blind(&self) -> bool {
        self.tls.is_blind()
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
        options.max_h2_streams = self.streams;
        options.alpn = match self.protocol {
            Protocol::Http2 => ALPN::H2,
            Protocol::Auto if tls => ALPN::H2H1,
            Protocol::Auto | Protocol::Http1 => ALPN::H1,
        };
        peer.group_key = self.key;
    }
}
