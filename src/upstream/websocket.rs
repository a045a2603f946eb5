use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::building::BuildError;
use crate::problem::{Kind, Problem};
use crate::state::{Room, Shared};
use crate::types::{Duration, Size};

/// `websocket:` of a service: `off`, or what a WebSocket to it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketConfig {
    /// A request for one goes on as any other, without `Upgrade`.
    Off,
    /// It is relayed.
    On(WebSocketSettings),
}

/// What a WebSocket to a service may take. The handshake is sent over HTTP/1.1, on a connection of its own, whatever `protocol` says; it is bounded by
/// the timeouts of the service and the route. What comes after is bounded by these. At the end of the process, and when another one takes its place, both
/// sides get a Close with code 1012. Over HTTP/2 (RFC 8441) clients are offered none, and what is asked for is not copied by `mirror`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WebSocketSettings {
    /// Without a byte of either side, pings and pongs among them; then both get a Close with code 1001. A side that is slow to take what the other has
    /// sent is bounded by `server.timeouts.write` instead. Default: 5m.
    pub idle: Duration,
    /// The largest message, over all its fragments and as sent: compressed where it is. Who sends a larger one gets a Close with code 1009.
    /// Default: 16MiB.
    pub message: Size,
    /// How many there may be at once, over all workers; a request for one more is answered with 503. Default: any number.
    pub connections: Option<u32>,
    /// Whether client and service may agree to compress messages (permessage-deflate). What is compressed is not checked for being text.
    /// No other extension is passed on. Default: true.
    pub compression: bool,
    /// For both sides to say farewell, from the first Close on; then who waits for the other's gets one from the gateway. Default: 5s.
    pub close: Duration,
}

impl Default for WebSocketSettings {
    fn default() -> Self {
        Self { idle: Duration::secs(300), message: Size::kib(16 * 1024), connections: None, compression: true, close: Duration::secs(5) }
    }
}

impl JsonSchema for WebSocketConfig {
    fn schema_name() -> Cow<'static, str> {
        "WebSocketConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let settings = WebSocketSettings::json_schema(generator);
        json_schema!({
            "description": "`off`, or what a WebSocket to the service may take.",
            "anyOf": [{"const": "off", "description": "A request for one goes on as any other, without `Upgrade`."}, settings]
        })
    }
}

impl<'de> Deserialize<'de> for WebSocketConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = WebSocketConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`off`, or a mapping like `{ idle: 5m, message: 1MiB }`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WebSocketConfig, E> {
                if text == "off" { Ok(WebSocketConfig::Off) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<WebSocketConfig, A::Error> {
                WebSocketSettings::deserialize(de::value::MapAccessDeserializer::new(map)).map(WebSocketConfig::On)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// The same, ready to use.
#[derive(Clone, Debug)]
pub struct WebSocket {
    /// Without a byte of either side.
    pub idle: time::Duration,
    /// For both sides to say farewell.
    pub close: time::Duration,
    /// Bytes of a message at most.
    pub message: u64,
    /// Whether messages may be compressed.
    pub compression: bool,
    most: usize,
    room: Arc<Room>,
}

/// One of the places for a WebSocket to a service, and what it may take.
#[derive(Debug)]
pub struct Seat {
    /// What it may take.
    pub websocket: WebSocket,
    _place: OwnedSemaphorePermit,
}

impl WebSocket {
    /// Prepares it; none where it is off.
    ///
    /// # Errors
    /// Bounds that leave room for nothing.
    pub fn build(config: Option<WebSocketConfig>, service: &str, shared: &Shared) -> Result<Option<Self>, BuildError> {
        let settings = match config {
            Some(WebSocketConfig::Off) => return Ok(None),
            Some(WebSocketConfig::On(settings)) => settings,
            None => WebSocketSettings::default(),
        };
        let WebSocketSettings { idle, message, connections, compression, close } = settings;
        idle.not_zero().map_err(|error| error.at("idle"))?;
        close.not_zero().map_err(|error| error.at("close"))?;
        if message.0 == 0 {
            return Err(BuildError::new("no message is as small as that", "write a size like `1MiB`").at("message"));
        }
        if connections == Some(0) {
            return Err(BuildError::new("none is ever relayed", "write `websocket: off`, or 1 or more").at("connections"));
        }
        let most = connections.map_or(Semaphore::MAX_PERMITS, |most| usize::try_from(most).unwrap_or(usize::MAX));
        let room = shared.websockets.get(service);
        Ok(Some(Self { idle: idle.into(), close: close.into(), message: message.0, compression, most, room }))
    }

    /// Takes one of the places for as long as it is held.
    ///
    /// # Errors
    /// There is none left.
    pub fn enter(&self) -> Result<Seat, Problem> {
        let full = || Problem::new(Kind::Unavailable, "the service has as many WebSockets as it may have");
        let place = self.room.enter(self.most).ok_or_else(full)?;
        Ok(Seat { websocket: self.clone(), _place: place })
    }
}
