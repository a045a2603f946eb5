//! Why the gateway itself says no (RFC 9457): one type, made where the reason is known, turned into an answer in one place.

mod kinds;
mod render;

pub use kinds::Kind;
pub use render::Rendered;

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use crate::types::GrpcStatus;

/// One refusal or failure, with its two faces: `detail` is for the caller, `cause` only for the log.
#[derive(Debug)]
pub struct Problem {
    /// Which of the known problems: fixes status, title and type.
    pub kind: Kind,
    /// What the caller may know and can act on.
    pub detail: Cow<'static, str>,
    /// What only the operator may know.
    pub cause: Option<String>,
    /// Headers that belong to this answer, such as `WWW-Authenticate`, `Allow` or `Retry-After`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Extension members of the body (RFC 9457 §3.2).
    pub members: Vec<(&'static str, Value)>,
    /// What a caller of gRPC gets, where that is not what its kind says.
    pub grpc: Option<GrpcStatus>,
    /// The policy that refused, filled in by the chain.
    pub policy: Option<&'static str>,
}

impl Problem {
    /// A problem with what the caller may know.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), cause: None, headers: Vec::new(), members: Vec::new(), grpc: None, policy: None }
    }

    /// Adds what only the log shall say.
    #[must_use]
    pub fn cause(mut self, cause: impl ToString) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Says what a caller of gRPC gets.
    #[must_use]
    pub fn grpc(mut self, status: GrpcStatus) -> Self {
        self.grpc = Some(status);
        self
    }

    /// The status of a gRPC call that it ends.
    pub fn grpc_status(&self) -> GrpcStatus {
        self.grpc.unwrap_or_else(|| self.kind.grpc())
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds an extension member to the body.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }
}
