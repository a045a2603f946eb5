use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::building::{BuildError, Errors};
use crate::types::Duration;

/// `dns:` — how the names in `targets:` become addresses. They are looked up beside the requests, again and again, for as long as their records are valid.
/// Where that fails, the last addresses stay.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DnsConfig {
    /// The name servers, like `10.0.0.53` or `10.0.0.53:5353`; names are then taken as they are written. Default: those of /etc/resolv.conf, with its
    /// search domains. What /etc/hosts knows is never asked for.
    pub servers: Vec<NameServer>,
    /// How long an answer is waited for; half of that before a question is sent once more. Default: 2s.
    pub timeout: Duration,
    /// The shortest time for which an answer is used, whatever its records say; also the wait before the first attempt after one that failed. Default: 1s.
    pub min_ttl: Duration,
    /// The longest time for which an answer is used; no less than `min_ttl`. Default: 5m.
    pub max_ttl: Duration,
    /// Which addresses are used: `prefer_ipv4` (IPv6 where there is no IPv4), `prefer_ipv6`, `ipv4`, `ipv6`, or `both` at once. Default: prefer_ipv4.
    pub families: Families,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            timeout: Duration::secs(2),
            min_ttl: Duration::secs(1),
            max_ttl: Duration::secs(300),
            families: Families::PreferIpv4,
        }
    }
}

impl DnsConfig {
    /// What can be read and cannot work, at paths below `dns`.
    pub fn mistakes(&self) -> Errors {
        let mut errors = Errors::default();
        for (name, time) in [("timeout", self.timeout), ("min_ttl", self.min_ttl)] {
            errors.keep(&["dns".into(), name.into()], time.not_zero());
        }
        if self.max_ttl < self.min_ttl {
            let error = BuildError::new("the longest time is shorter than the shortest", "write no less than `min_ttl`");
            errors.push(error.at("max_ttl").at("dns"));
        }
        errors
    }
}

/// Which addresses of a name are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Families {
    /// IPv6 where there is no IPv4.
    PreferIpv4,
    /// IPv4 where there is no IPv6.
    PreferIpv6,
    /// IPv4 alone.
    Ipv4,
    /// IPv6 alone.
    Ipv6,
    /// All.
    Both,
}

/// An IP address, and a port where it is not 53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NameServer(pub SocketAddr);

impl<'de> Deserialize<'de> for NameServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let address = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
        let wrong = |_| format!("`{text}` is not the address of a name server; write an IP address, like `10.0.0.53` or `10.0.0.53:5353`");
        address.map(Self).map_err(wrong).map_err(de::Error::custom)
    }
}

impl Serialize for NameServer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for NameServer {
    fn schema_name() -> Cow<'static, str> {
        "NameServer".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^(\[[0-9a-fA-F:.]+\]:[0-9]{1,5}|[0-9.]+(:[0-9]{1,5})?|[0-9a-fA-F:.]+)$",
            "description": "An IP address, and a port where it is not 53.",
            "examples": ["10.0.0.53", "10.0.0.53:5353", "[fd00::53]:53"]
        })
    }
}
