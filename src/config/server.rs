use std::borrow::Cow;
use std::net::SocketAddr;

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::ListenerConfig;
use super::upgrade::UpgradeConfig;
use crate::building::{BuildError, Errors};
use crate::policy::guard::size_limit::HeaderBounds;
use crate::state::Encoders;
use crate::types::{Duration, Size};

/// What an address looks like: an editor tells a missing port.
const ADDRESS: &str = ":[0-9]{1,5}$";

/// `server:` — bound at start; a change here needs `tidegate upgrade`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Worker threads: `auto` for one per core, or a number. Default: auto.
    pub workers: Workers,
    /// Where to listen. Default: 127.0.0.1:8080.
    pub listeners: Vec<ListenerConfig>,
    /// Networks whose forwarding headers (`X-Forwarded-For`, `Forwarded`) are believed, and PROXY headers where a listener asks for them. Default: none.
    #[schemars(with = "Vec<String>")]
    pub trusted_proxies: Vec<IpNet>,
    /// What a connection and a request may have at most.
    pub limits: Limits,
    /// How long a client may take.
    pub timeouts: ClientTimeouts,
    /// Idle connections kept to all targets, per worker. Default: 1024.
    pub upstream_connections: usize,
    /// How a new process takes this one's place.
    pub upgrade: UpgradeConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            workers: Workers::Auto,
            listeners: vec![ListenerConfig::plain(SocketAddr::from(([127, 0, 0, 1], 8080)))],
            trusted_proxies: Vec::new(),
            limits: Limits::default(),
            timeouts: ClientTimeouts::default(),
            upstream_connections: 1024,
            upgrade: UpgradeConfig::default(),
        }
    }
}

impl ServerConfig {
    /// What can be read and cannot work, at paths below `server`.
    pub fn mistakes(&self) -> Errors {
        let mut errors = Errors::default();
        let times = &self.timeouts;
        for (name, time) in [
            ("handshake", times.handshake),
            ("header", times.header),
            ("idle", times.idle),
            ("body", times.body),
            ("write", times.write),
            ("discard", times.discard),
            ("farewell", times.farewell),
        ] {
            errors.keep(&["server".into(), "timeouts".into(), name.into()], time.not_zero());
        }
        errors.0.extend(self.upgrade.mistakes().0.into_iter().map(|error| error.at("upgrade").at("server")));
        if self.listeners.is_empty() {
            errors.push(BuildError::new("there is no address to listen on", "name one").at("listeners").at("server"));
        }
        for (index, listener) in self.listeners.iter().enumerate() {
            for error in listener.mistakes(&self.trusted_proxies).0 {
                errors.push(error.at(index).at("listeners").at("server"));
            }
            let before = self.listeners.iter().take(index).position(|other| other.address == listener.address && !listener.is_any_port());
            if let Some(before) = before {
                let error =
                    BuildError::new(format!("{} is listened on already", listener.address), "take one of the two out").at("address");
                let error = error.at(index).beside([before.into(), "address".into()]);
                errors.push(error.at("listeners").at("server"));
            }
        }
        errors.0.extend(self.limits.mistakes().0.into_iter().map(|error| error.at("limits").at("server")));
        errors
    }
}

impl Limits {
    /// Those of a request's header.
    pub fn of_header(&self) -> HeaderBounds {
        HeaderBounds { header: self.header.bytes(), fields: self.header_fields, target: self.target.bytes() }
    }

    /// What cannot be held to, at paths below `limits`.
    fn mistakes(&self) -> Errors {
        let mut errors = Errors::default();
        for (name, count) in [
            ("connections", self.connections),
            ("connections_per_client", self.connections_per_client),
            ("requests", usize::try_from(self.requests).ok()),
            ("streams", usize::try_from(self.streams).ok()),
            ("resets", usize::try_from(self.resets).ok()),
            ("control_frames", usize::try_from(self.control_frames).ok()),
        ] {
            if count == Some(0) {
                errors.push(BuildError::new("with 0, nobody would be served", "write a number from 1, or take it out").at(name));
            }
        }
        if self.encoders == 0 {
            let fix = "write a number from 1, or take `compress` out of the policies";
            errors.push(BuildError::new("with 0, nothing would be encoded", fix).at("encoders"));
        }
        if let (Some(all), Some(each)) = (self.connections, self.connections_per_client)
            && each > all
        {
            let reason = format!("no client can have {each} of {all} connections");
            errors.push(BuildError::new(reason, "write a number that is less than `connections`").at("connections_per_client"));
        }
        for (name, rate) in [("slowest_upload", self.slowest_upload), ("slowest_download", self.slowest_download)] {
            if rate > Size::kib(1024) {
                let reason = format!("{} bytes per second is more than many clients have", rate.0);
                errors.push(BuildError::new(reason, "write a size up to 1MiB, or 0 for no such bound").at(name));
            }
        }
        if !(1..=256).contains(&self.header_fields) {
            let reason = format!("{} is no number of fields that can be held to", self.header_fields);
            errors.push(BuildError::new(reason, "write a number from 1 to 256").at("header_fields"));
        }
        for (name, size) in [("header", self.header), ("target", self.target)] {
            if !(256..=1024 * 1024).contains(&size.0) {
                let reason = format!("{} bytes is no bound that requests can live with", size.0);
                errors.push(BuildError::new(reason, "write a size from 256 bytes to 1MiB").at(name));
            }
        }
        errors
    }
}

/// What a connection and a request may have at most.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Client connections at once, over all listeners. What comes beyond is closed at once. Default: three quarters of the files that the system lets
    /// the process open (`LimitNOFILE` of systemd); the rest is kept for services and operators, and new connections are closed while only that is left.
    #[schemars(range(min = 1))]
    pub connections: Option<usize>,
    /// Client connections at once from one IPv4 address or IPv6 /64 network: that of the PROXY header, where the listener takes one. What comes beyond is
    /// closed at once. Those of `trusted_proxies` are not counted, for they come from many clients. Default: half of `connections`.
    #[schemars(range(min = 1))]
    pub connections_per_client: Option<usize>,
    /// Requests on one connection; the last answer says that it is the last. Default: 10000.
    #[schemars(range(min = 1))]
    pub requests: u32,
    /// Bytes per second: a client that sends the body of its request slower gets behind, and once it is `timeouts.body` behind it is answered with 408, or
    /// cut off where the answer has begun. Only time in which nothing but the client is waited for counts. Over HTTP/2 what came is counted by
    /// whole frames, which most clients fill with 16KiB. 0 for none. Default: 240.
    pub slowest_upload: Size,
    /// The same for the answer: a client that takes what is written slower, and is `timeouts.write` behind, is cut off. Time in which nothing waits to be
    /// taken does not count, so a stream of events may be as slow as it likes. 0 for none. Default: 240.
    pub slowest_download: Size,
    /// Bytes of the request header; more is answered with 431. Default: 32KiB.
    pub header: Size,
    /// Number of header fields, at most 256; more is answered with 431. Default: 100.
    pub header_fields: usize,
    /// Bytes of the request target; more is answered with 414. Default: 8KiB.
    pub target: Size,
    /// Bytes of the request body; more is answered with 413. Of a gRPC call, whose body may go on for as long as it likes, it bounds each message.
    /// Default: 100MiB.
    pub body: Size,
    /// Requests at once on an HTTP/2 connection; more are refused (REFUSED_STREAM), and a client may send them again. Default: 100.
    #[schemars(range(min = 1))]
    pub streams: u32,
    /// Requests a second that a client may take back on an HTTP/2 connection (RST_STREAM), or have reset by its mistakes, beside one for each that was
    /// answered; twice as many at once. More end the connection with ENHANCE_YOUR_CALM. Default: 100.
    #[schemars(range(min = 1))]
    pub resets: u32,
    /// Frames a second on an HTTP/2 connection that bring neither a request nor a body (SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA), beside
    /// four for each that does; ten times as many at once. More end the connection with ENHANCE_YOUR_CALM. Default: 100.
    #[schemars(range(min = 1))]
    pub control_frames: u32,
    /// Answers at once that `compress` encodes, over all connections: each takes 0.3 to 2.7MiB until its end. What comes beyond goes out as it is.
    /// Default: 128.
    #[schemars(range(min = 1))]
    pub encoders: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: None,
            connections_per_client: None,
            requests: 10_000,
            slowest_upload: Size(240),
            slowest_download: Size(240),
            header: Size::kib(32),
            header_fields: 100,
            target: Size::kib(8),
            body: Size::kib(100 * 1024),
            streams: 100,
            resets: 100,
            control_frames: 100,
            encoders: Encoders::MOST,
        }
    }
}

/// How long a client may take.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientTimeouts {
    /// For what comes before the first request of a connection: a PROXY header, and the handshake of TLS. Then it is closed. Default: 10s.
    pub handshake: Duration,
    /// From the first byte of a request's header to its last; then 408. Default: 10s.
    pub header: Duration,
    /// Between two requests on a connection, and before the first; then it is closed. Default: 60s.
    pub idle: Duration,
    /// That a client may be behind with the body of its request, see `limits.slowest_upload`: one that sends nothing of it for so long is answered with
    /// 408. Default: 30s.
    pub body: Duration,
    /// That a client may be behind in taking its answer, see `limits.slowest_download`: one that takes nothing for so long is cut off. The system tells of
    /// what is taken in pieces of 8KiB, so that a longer answer goes at 280 bytes a second at least. Default: 30s.
    pub write: Duration,
    /// For the rest of a request's body after it was answered, so that the connection can be kept. Default: 1s.
    pub discard: Duration,
    /// For the answer to a request whose client has closed its side, and for a next request on an idle connection once the process is told to
    /// end. Default: 2s.
    pub farewell: Duration,
    /// For requests under way when the process is told to end. Default: 30s.
    pub drain: Duration,
}

impl Default for ClientTimeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::secs(10),
            header: Duration::secs(10),
            idle: Duration::secs(60),
            body: Duration::secs(30),
            write: Duration::secs(30),
            discard: Duration::secs(1),
            farewell: Duration::secs(2),
            drain: Duration::secs(30),
        }
    }
}

/// `admin:` — metrics, health and the state of services, for operators only.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// IP address and port of `/metrics`, `/status`, `/healthz` and `/readyz`. Default: 127.0.0.1:9090.
    #[schemars(with = "String", extend("pattern" = ADDRESS))]
    pub address: SocketAddr,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], 9090)) }
    }
}

/// `auto`, or a number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workers {
    /// One per core.
    Auto,
    /// So many; at least 1.
    Count(usize),
}

impl Workers {
    /// The number of threads on this machine.
    pub fn count(self) -> usize {
        match self {
            Workers::Auto => std::thread::available_parallelism().map_or(1, usize::from),
            Workers::Count(count) => count,
        }
    }
}

impl JsonSchema for Workers {
    fn schema_name() -> Cow<'static, str> {
        "Workers".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`auto` for one per core, or a number of threads.",
            "anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": 1024}]
        })
    }
}

impl Serialize for Workers {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Workers::Auto => serializer.serialize_str("auto"),
            Workers::Count(count) => serializer.serialize_u64(*count as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Workers {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Workers;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`auto`, or a number of threads from 1 to 1024")
            }

            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Workers, E> {
                match usize::try_from(count) {
                    Ok(count @ 1..=1024) => Ok(Workers::Count(count)),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Unsigned(count), &self)),
                }
            }

            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Workers, E> {
                u64::try_from(count)
                    .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(count), &self))
                    .and_then(|count| self.visit_u64(count))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Workers, E> {
                if text == "auto" { Ok(Workers::Auto) } else { Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)) }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
