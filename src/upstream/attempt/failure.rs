use std::borrow::Cow;
use std::fmt;

use h2::Reason;
use http::StatusCode;
use pingora_error::{Error, ErrorType};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::types::GrpcStatus;

/// How one attempt at a target failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No connection came about, so that nothing was sent.
    Connect,
    /// The target had closed a kept connection before the request was on its way.
    Stale,
    /// The target is about to close the connection, and said that it did not look at the request (RFC 9113 §6.8).
    Leaving,
    /// The target turned the request away without having looked at it (RFC 9113 §8.7).
    Refused,
    /// The connection ended before an answer began.
    Reset,
    /// The answer could not be understood.
    Malformed,
    /// No answer began in the time for it.
    Timeout,
    /// An answer of this status.
    Status(StatusCode),
    /// A gRPC call that ended with this status.
    Grpc(GrpcStatus),
}

impl Failure {
    /// Whether it is one of the connection, and says nothing of the target.
    pub fn is_of_age(self) -> bool {
        matches!(self, Failure::Stale | Failure::Leaving)
    }

    /// Whether it is certain that nobody has worked on the request.
    pub fn is_unseen(self) -> bool {
        matches!(self, Failure::Connect | Failure::Leaving | Failure::Refused)
    }

    /// What an error says of a target to which a connection came about. `kept` says that this had been used before, and that no answer has begun.
    pub fn of(error: &Error, kept: bool) -> Self {
        use ErrorType::{ConnectionClosed, InvalidHTTPHeader, ReadError, ReadTimedout, WriteError, WriteTimedout};
        if let Some(failure) = error.root_cause().downcast_ref::<h2::Error>().and_then(over_http2) {
            return failure;
        }
        match error.etype() {
            ReadTimedout | WriteTimedout => Failure::Timeout,
            InvalidHTTPHeader => Failure::Malformed,
            ConnectionClosed | ReadError | WriteError if kept => Failure::Stale,
            _ => Failure::Reset,
        }
    }

    /// The word for it, in metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Stale => "stale",
            Failure::Leaving => "leaving",
            Failure::Refused => "refused",
            Failure::Reset => "reset",
            Failure::Malformed => "malformed",
            Failure::Timeout => "timeout",
            Failure::Status(_) => "status",
            Failure::Grpc(status) => status.word(),
        }
    }
}

/// What HTTP/2 says of a request that failed, besides the end of its connection (RFC 9113 §6.4, §6.8 and §8.7).
fn over_http2(error: &h2::Error) -> Option<Failure> {
    match error.reason() {
        Some(Reason::NO_ERROR) if error.is_go_away() && error.is_remote() => Some(Failure::Leaving),
        Some(Reason::REFUSED_STREAM | Reason::HTTP_1_1_REQUIRED) if error.is_remote() => Some(Failure::Refused),
        // Found on this side: what came is no HTTP/2.
        Some(_) if error.is_library() => Some(Failure::Malformed),
        Some(_) => Some(Failure::Reset),
        None => None,
    }
}

/// One entry of a list of failures: `connect`, `reset`, `malformed`, `timeout`, `5xx`, a status from 400 to 599, or one of gRPC like `grpc_unavailable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureConfig {
    /// No connection came about: refused, no way there, not in time, no TLS. Or the target turned the request away unseen, as HTTP/2 allows.
    Connect,
    /// The connection ended before an answer began.
    Reset,
    /// An answer that cannot be understood.
    Malformed,
    /// No answer began in `timeouts.response`.
    Timeout,
    /// An answer of any status from 500 to 599.
    ServerErrors,
    /// An answer of this status.
    Status(u16),
    /// A gRPC call that ended with this status.
    Grpc(GrpcStatus),
}

const WORDS: [(&str, FailureConfig); 5] = [
    ("connect", FailureConfig::Connect),
    ("reset", FailureConfig::Reset),
    ("malformed", FailureConfig::Malformed),
    ("timeout", FailureConfig::Timeout),
    ("5xx", FailureConfig::ServerErrors),
];

/// The statuses of gRPC that are failures.
fn grpc() -> impl Iterator<Item = GrpcStatus> {
    GrpcStatus::ALL.iter().copied().filter(|status| *status != GrpcStatus::Ok)
}

impl FailureConfig {
    /// What says that a target is ill, unless the config says otherwise: all but the answers that a client may be to blame for.
    pub fn ill() -> Vec<Self> {
        let words = [FailureConfig::Connect, FailureConfig::Reset, FailureConfig::Malformed, FailureConfig::Timeout];
        let told = [502, 503, 504].map(FailureConfig::Status).into_iter().chain([FailureConfig::Grpc(GrpcStatus::Unavailable)]);
        words.into_iter().chain(told).collect()
    }

    /// Whether it means this failure. A stale connection is none of the target's.
    pub fn means(self, failure: Failure) -> bool {
        match (self, failure) {
            (FailureConfig::Connect, Failure::Connect | Failure::Refused)
            | (FailureConfig::Reset, Failure::Reset)
            | (FailureConfig::Malformed, Failure::Malformed)
            | (FailureConfig::Timeout, Failure::Timeout) => true,
            (FailureConfig::ServerErrors, Failure::Status(status)) => status.is_server_error(),
            (FailureConfig::Status(meant), Failure::Status(status)) => status.as_u16() == meant,
            (FailureConfig::Grpc(meant), Failure::Grpc(status)) => status == meant,
            _ => false,
        }
    }

    /// Whether it means how a gRPC call ends.
    pub fn is_grpc(self) -> bool {
        matches!(self, FailureConfig::Grpc(_))
    }

    fn word(self) -> Option<&'static str> {
        match self {
            FailureConfig::Status(_) => None,
            FailureConfig::Grpc(status) => Some(status.word()),
            word => WORDS.iter().find(|(_, meant)| *meant == word).map(|(word, _)| *word),
        }
    }

    fn named(text: &str) -> Option<Self> {
        let word = WORDS.iter().find(|(word, _)| *word == text).map(|(_, meant)| *meant);
        word.or_else(|| grpc().find(|status| status.word() == text).map(FailureConfig::Grpc))
    }
}

impl<'de> Deserialize<'de> for FailureConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = FailureConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "`connect`, `reset`, `malformed`, `timeout`, `5xx`, a status from 400 to 599, or one of gRPC like `grpc_unavailable`",
                )
            }

            fn visit_u64<E: de::Error>(self, status: u64) -> Result<FailureConfig, E> {
                match u16::try_from(status) {
                    Ok(status @ 400..=599) => Ok(FailureConfig::Status(status)),
                    _ => Err(E::invalid_value(de::Unexpected::Unsigned(status), &self)),
                }
            }

            fn visit_i64<E: de::Error>(self, status: i64) -> Result<FailureConfig, E> {
                u64::try_from(status)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(status), &self))
                    .and_then(|status| self.visit_u64(status))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<FailureConfig, E> {
                FailureConfig::named(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl Serialize for FailureConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FailureConfig::Status(status) => serializer.serialize_u16(*status),
            word => serializer.serialize_str(word.word().unwrap_or_default()),
        }
    }
}

impl JsonSchema for FailureConfig {
    fn schema_name() -> Cow<'static, str> {
        "Failure".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).chain(grpc().map(GrpcStatus::word)).collect();
        json_schema!({
            "description": "How an attempt at a target can fail: no connection, one that ended before an answer began, an answer that cannot be understood, none in time, any of 500 to 599, this status, or a gRPC call that ends with this status.",
            "anyOf": [{"enum": words}, {"type": "integer", "minimum": 400, "maximum": 599}]
        })
    }
}
