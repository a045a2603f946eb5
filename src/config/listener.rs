use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::building::{BuildError, Errors};
use crate::tls::ListenerTlsConfig;
use crate::types::{Address, Protocol};

/// One address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// IP address and port, like `0.0.0.0:8080` or `[::]:8080`, or a Unix socket, like `unix:/run/tidegate.sock`; who connects there counts as
    /// `127.0.0.1`. Without TLS, HTTP/2 is spoken by prior knowledge.
    pub address: Address,
    /// Who may connect to a Unix socket, as permissions of a file in octal: `0660` for its owner and its group. Default: as the process's umask leaves it,
    /// most often its owner alone.
    pub mode: Option<Mode>,
    /// The versions of HTTP that are spoken, the preferred one first where TLS lets the client choose: `[http1]` or `[http2]` for one alone. Default:
    /// `[http2, http1]`.
    #[serde(default = "both")]
    #[schemars(length(min = 1))]
    pub protocols: Vec<Protocol>,
    /// Speaks TLS, and nothing else. Default: without TLS.
    pub tls: Option<ListenerTlsConfig>,
    /// Whether each connection begins with a PROXY header, version 1 or 2, that says who the client is. Only the `trusted_proxies` may connect then.
    /// Default: false.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Sends each request to the same place over TLS, with 308: `true` for port 443, or another port. Not those that came over TLS to a trusted proxy.
    /// Default: false.
    pub redirect_https: Option<RedirectHttps>,
}

impl ListenerConfig {
    /// An address and nothing else.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address: Address::Tcp(address), mode: None, protocols: both(), tls: None, proxy_protocol: false, redirect_https: None }
    }

    /// Whether the system chooses the port, so that several may say the same.
    pub fn is_any_port(&self) -> bool {
        matches!(self.address, Address::Tcp(address) if address.port() == 0)
    }

    /// What can be read and cannot work, with these trusted proxies.
    pub fn mistakes(&self, trusted: &[IpNet]) -> Errors {
        let mut errors = Errors::default();
        if self.tls.is_some() && self.redirect_https.and_then(RedirectHttps::port).is_some() {
            let fix = "take it out here, and put it on the listener for plain HTTP";
            errors.push(BuildError::new("what comes here is over TLS already", fix).at("redirect_https"));
        }
        if self.mode.is_some() && matches!(self.address, Address::Tcp(_)) {
            let fix = "take it out, or write an address like `unix:/run/tidegate.sock`";
            errors.push(BuildError::new("only a Unix socket has permissions", fix).at("mode"));
        }
        if self.protocols.is_empty() {
            let fix = "name `http1`, `http2`, or both";
            errors.push(BuildError::new("there is no HTTP to speak", fix).at("protocols"));
        }
        if self.proxy_protocol && trusted.is_empty() {
            let reason = "nobody could connect: there are no trusted proxies";
            let fix = "name the networks of the load balancer in `server.trusted_proxies`";
            errors.push(BuildError::new(reason, fix).at("proxy_protocol"));
        }
        errors
    }
}

fn both() -> Vec<Protocol> {
    vec![Protocol::Http2, Protocol::Http1]
}

/// Permissions of a file: 0 to 0777.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^0?[0-7]{3}$"))]
pub struct Mode(pub u32);

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(&text);
        let octal = digits.len() == 3 && digits.bytes().all(|byte| (b'0'..b'8').contains(&byte));
        let mode = u32::from_str_radix(digits, 8).ok().filter(|_| octal);
        mode.map(Self).ok_or_else(|| de::Error::custom(format!("`{text}` is no permissions of a file; write them in octal, like `0660`")))
    }
}

/// `true`, `false`, or the port over TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedirectHttps {
    /// Nowhere.
    Off,
    /// To this port; at least 1.
    Port(u16),
}

impl RedirectHttps {
    /// The port that clients are sent to.
    pub fn port(self) -> Option<u16> {
        match self {
            RedirectHttps::Off => None,
            RedirectHttps::Port(port) => Some(port),
        }
    }
}

impl JsonSchema for RedirectHttps {
    fn schema_name() -> Cow<'static, str> {
        "RedirectHttps".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`true` for port 443, or another port.",
            "anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 1, "maximum": 65535}]
        })
    }
}

impl Serialize for RedirectHttps {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RedirectHttps::Off => serializer.serialize_bool(false),
            RedirectHttps::Port(443) => serializer.serialize_bool(true),
            RedirectHttps::Port(port) => serializer.serialize_u16(*port),
        }
    }
}

impl<'de> Deserialize<'de> for RedirectHttps {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = RedirectHttps;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`true`, `false`, or a port from 1 to 65535")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<RedirectHttps, E> {
                Ok(if on { RedirectHttps::Port(443) } else { RedirectHttps::Off })
            }

            fn visit_u64<E: de::Error>(self, port: u64) -> Result<RedirectHttps, E> {
                match u16::try_from(port) {
                    Ok(port @ 1..) => Ok(RedirectHttps::Port(port)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(port), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, port: i64) -> Result<RedirectHttps, E> {
                u64::try_from(port).map_err(|_| E::invalid_value(de::Unexpected::Signed(port), &self)).and_then(|port| self.visit_u64(port))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
