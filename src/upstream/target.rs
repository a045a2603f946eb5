use std::borrow::Cow;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{SocketAddr, ToSocketAddrs};

use http::{HeaderValue, Uri};
use pingora_core::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use super::Timeouts;
use crate::building::BuildError;

/// One entry of `targets:`: a URL, or `{ url: …, weight: …, priority: … }`.
#[derive(Clone, Debug)]
pub struct TargetConfig {
    /// `http://host:port` or `https://host:port`; the port may be left out.
    pub url: String,
    /// How many picks it gets beside the others; 0 takes it out. Default: 1.
    pub weight: u32,
    /// 0 for the first choice; others are used while none of a lower number is available. Default: 0.
    pub priority: u8,
}

/// The same, written out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Full {
    /// `http://` or `https://`, a host and, where it is not the usual one, a port.
    url: String,
    /// How many requests it gets in proportion to the others. Default: 1.
    #[serde(default = "one")]
    weight: u32,
    /// 0 for the first choice; others are used while none of a lower number is available. Default: 0.
    #[serde(default)]
    priority: u8,
}

fn one() -> u32 {
    1
}

impl JsonSchema for TargetConfig {
    fn schema_name() -> Cow<'static, str> {
        "TargetConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let full = Full::json_schema(generator);
        json_schema!({
            "description": "A URL like `http://10.0.0.1:8080`, or `{ url, weight, priority }`.",
            "anyOf": [{"type": "string", "pattern": "^https?://"}, full]
        })
    }
}

impl<'de> Deserialize<'de> for TargetConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = TargetConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL, or a mapping with `url`, `weight` and `priority`")
            }

            fn visit_str<E: de::Error>(self, url: &str) -> Result<TargetConfig, E> {
                Ok(TargetConfig { url: url.to_owned(), weight: 1, priority: 0 })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<TargetConfig, A::Error> {
                let Full { url, weight, priority } = Full::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(TargetConfig { url, weight, priority })
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// One place where a service runs.
#[derive(Debug)]
pub struct Target {
    /// Host and port as written: for the log, and as `Host`.
    pub authority: HeaderValue,
    peer: HttpPeer,
}

impl Target {
    /// Resolves the target.
    ///
    /// # Errors
    /// A URL that is none, or a host that has no address.
    pub fn build(config: &TargetConfig, service: &str, timeouts: &Timeouts) -> Result<Self, BuildError> {
        let uri: Uri = config.url.parse().map_err(|_| not_a_url(&config.url))?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(not_a_url(&config.url)),
        };
        if uri.path() != "/" || uri.query().is_some() {
            return Err(BuildError::new(format!("`{}` has a path", config.url), "put it in front of the route's `path:` instead"));
        }
        let (Some(authority), Some(host)) = (uri.authority(), uri.host()) else { return Err(not_a_url(&config.url)) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let address = resolve(host, port)?;
        let sni = if tls { host.to_owned() } else { String::new() };
        let mut peer = HttpPeer::new(address, tls, sni);
        peer.options.connection_timeout = Some(timeouts.connect);
        peer.options.total_connection_timeout = Some(timeouts.connect);
        peer.options.read_timeout = Some(timeouts.response);
        peer.options.write_timeout = Some(timeouts.response);
        peer.options.idle_timeout = Some(timeouts.idle);
        // No tunnels: Pingora's can lose its first bytes (issue 946), and what flows in one passes no bound.
        peer.options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
        // What is left out of Pingora's own pool key must not be shared between services.
        let mut hasher = DefaultHasher::new();
        service.hash(&mut hasher);
        peer.group_key = hasher.finish();
        let authority = HeaderValue::try_from(authority.as_str()).map_err(|_| not_a_url(&config.url))?;
        Ok(Self { authority, peer })
    }

    /// The peer, as Pingora wants it for one attempt.
    pub fn peer(&self) -> Box<HttpPeer> {
        Box::new(self.peer.clone())
    }
}

fn not_a_url(url: &str) -> BuildError {
    BuildError::new(format!("`{url}` is not a target"), "write a URL like `http://10.0.0.1:8080`")
}

fn resolve(host: &str, port: u16) -> Result<SocketAddr, BuildError> {
    let unknown = |why: String| BuildError::new(format!("`{host}` has no address: {why}"), "check the name, or write an IP address");
    let mut found = (host, port).to_socket_addrs().map_err(|error| unknown(error.to_string()))?;
    found.next().ok_or_else(|| unknown("the name server knows none".to_owned()))
}
