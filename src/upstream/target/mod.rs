//! Where the entries of `targets:` lead.

mod config;
mod place;

pub use config::TargetConfig;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use http::{HeaderValue, Uri};
use pingora_core::upstreams::peer::{HttpPeer, Peer};

use super::dns::Question;
use super::transport::Transport;
use crate::building::BuildError;
use crate::state::Located;

/// One place where a service runs.
#[derive(Debug)]
pub struct Target {
    /// Host and port as written: what it sees as `Host`.
    pub authority: HeaderValue,
    /// The same for the log and the metrics; with the address, where the host is a name.
    pub shown: HeaderValue,
    /// What names it over restarts and at every gateway.
    pub key: Box<str>,
    /// How many picks it gets beside the others.
    pub weight: u32,
    /// 0 for the first choice.
    pub priority: u8,
    /// Stands for the connections that can be used for it.
    pub slot: u64,
    peer: HttpPeer,
}

impl Target {
    /// What it is called in the log and the metrics.
    pub fn name(&self) -> &str {
        self.shown.to_str().unwrap_or_default()
    }

    /// The peer, as Pingora knows it.
    pub fn peer(&self) -> &HttpPeer {
        &self.peer
    }
}

/// One entry of `targets:`, read: what it leads to may change.
#[derive(Debug)]
pub struct Entry {
    /// The URL as written.
    pub url: Box<str>,
    /// How many picks each of its targets gets.
    pub weight: u32,
    /// 0 for the first choice.
    pub priority: u8,
    /// Whether its targets are spoken to over TLS.
    pub tls: bool,
    at: At,
}

#[derive(Debug)]
enum At {
    /// An IP address: there is nothing to ask.
    Address { authority: HeaderValue, host: Box<str>, address: SocketAddr },
    /// A Unix socket.
    Socket { path: Box<str> },
    /// A name with addresses.
    Name { authority: HeaderValue, host: Box<str>, port: u16 },
    /// A name with SRV records.
    Service { name: Box<str> },
}

impl Entry {
    /// Reads an entry. No name is looked up.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn build(config: &TargetConfig) -> Result<Self, BuildError> {
        let TargetConfig { url, srv, weight, priority } = config;
        let entry = |tls, at| Self { url: url.as_str().into(), weight: *weight, priority: *priority, tls, at };
        if let (Some(path), false) = (url.strip_prefix("unix://"), srv) {
            return Ok(entry(false, At::Socket { path: socket(path)?.into() }));
        }
        let example = if *srv { "http://_api._tcp.users.internal" } else { "http://10.0.0.1:8080" };
        let wrong = || BuildError::new(format!("`{url}` is not a target"), format!("write a URL like `{example}`"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong()),
        };
        if url.contains('#') {
            return Err(BuildError::new(format!("`{url}` has a fragment"), "remove the `#` and what stands behind it"));
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err(BuildError::new(format!("`{url}` has a path"), "put it in front of the route's `path:` instead"));
        }
        let Some(authority) = uri.authority() else { return Err(wrong()) };
        if authority.as_str().contains('@') {
            return Err(BuildError::new(
                "a target has no user",
                "remove what stands before the `@`; a policy `request` can set `Authorization`",
            ));
        }
        let (host, port) = place::read(authority.as_str())?;
        let host: Box<str> = host.into();
        let ip = host.parse::<IpAddr>();
        if *srv {
            return match (ip, port) {
                (Err(_), None) => Ok(entry(tls, At::Service { name: host })),
                (Err(_), Some(_)) => Err(BuildError::new(format!("`{url}` has a port"), "remove it; the SRV records say it")),
                (Ok(_), _) => Err(BuildError::new(format!("`{url}` is an address, and has no SRV records"), "write it as `url`")),
            };
        }
        let port = port.unwrap_or(if tls { 443 } else { 80 });
        let authority = HeaderValue::try_from(authority.as_str()).map_err(|_| wrong())?;
        let at = match ip {
            Ok(ip) => At::Address { authority, host, address: SocketAddr::new(ip, port) },
            Err(_) => At::Name { authority, host, port },
        };
        Ok(entry(tls, at))
    }

    /// Where it leads, the same however it is written.
    pub fn place(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        match &self.at {
            At::Address { address, .. } => format!("{scheme}://{address}"),
            At::Socket { path } => format!("unix://{path}"),
            At::Name { host, port, .. } => format!("{scheme}://{}:{port}", host.to_lowercase()),
            At::Service { name } => format!("{scheme} srv {}", name.to_lowercase()),
        }
    }

    /// What has to be asked to find its targets.
    pub fn question(&self) -> Option<Question> {
        match &self.at {
            At::Name { host, .. } => Some(Question::Host(host.clone())),
            At::Service { name } => Some(Question::Service(name.clone())),
            At::Address { .. } | At::Socket { .. } => None,
        }
    }

    /// Its targets, where these are the places that its name stands for.
    pub fn targets(&self, located: &[Located], transport: &Transport) -> Vec<Target> {
        match &self.at {
            At::Address { authority, host, address } => {
                let peer = transport.peer(*address, self.tls, host);
                vec![self.target(authority, authority.clone(), self.url.clone(), peer)]
            }
            At::Socket { path } => {
                let shown = HeaderValue::try_from(&*self.url).unwrap_or_else(|_| HeaderValue::from_static("unix://"));
                let peer = transport.socket(path);
                peer.map(|peer| self.target(&HeaderValue::from_static("localhost"), shown, self.url.clone(), peer)).into_iter().collect()
            }
            At::Name { authority, host, port } => {
                let target = |located: &Located| {
                    let peer = transport.peer(SocketAddr::new(located.address, *port), self.tls, host);
                    let key = format!("{} {}", self.url, located.address).into();
                    self.target(authority, shown(authority, located.address), key, peer)
                };
                located.iter().map(target).collect()
            }
            At::Service { .. } => located.iter().filter_map(|located| self.recorded(located, transport)).collect(),
        }
    }

    /// The target of an SRV record and one address of its host.
    fn recorded(&self, located: &Located, transport: &Transport) -> Option<Target> {
        let Located { host, port, address, weight, priority } = located;
        let port = (*port)?;
        let usual = port == if self.tls { 443 } else { 80 };
        let authority = HeaderValue::try_from(if usual { host.to_string() } else { format!("{host}:{port}") }).ok()?;
        let peer = transport.peer(SocketAddr::new(*address, port), self.tls, host);
        let key = format!("{} {host}:{port} {address}", self.url).into();
        let priority = self.priority.saturating_add(*priority);
        Some(Target { weight: *weight, priority, ..self.target(&authority, shown(&authority, *address), key, peer) })
    }

    fn target(&self, authority: &HeaderValue, shown: HeaderValue, key: Box<str>, peer: HttpPeer) -> Target {
        Target { authority: authority.clone(), shown, key, weight: self.weight, priority: self.priority, slot: peer.reuse_hash(), peer }
    }
}

fn shown(authority: &HeaderValue, address: IpAddr) -> HeaderValue {
    let text = format!("{} ({address})", authority.to_str().unwrap_or_default());
    HeaderValue::try_from(text).unwrap_or_else(|_| authority.clone())
}

/// Paths of sockets are kept in 108 bytes, the last of them a zero (unix(7)).
const LONGEST_PATH: usize = 107;

fn socket(path: &str) -> Result<&str, BuildError> {
    let reason = if !Path::new(path).is_absolute() {
        format!("`unix://{path}` does not name a whole path")
    } else if path.len() > LONGEST_PATH || path.contains('\0') {
        format!("`{path}` is longer than the {LONGEST_PATH} bytes that the path of a socket can have")
    } else {
        return Ok(path);
    };
    Err(BuildError::new(reason, "write it like `unix:///run/app.sock`"))
}
