use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, StatusCode};
use pingora_http::RequestHeader;

use crate::problem::{Problem, Rendered};
use crate::upstream::{Budget, Charge};

/// The way into the whole gateway for requests that came inside of another: each goes it as if it had come on the same connection.
pub trait Inside: Send + Sync {
    /// Asks for what one of them asks, from the choice of a route to the line in the access log. Its host is that of the request around it. Who drops the
    /// future breaks it off.
    fn ask(&self, inner: Inner) -> Pin<Box<dyn Future<Output = Came> + Send>>;

    /// How many header fields one of them may have.
    fn most_fields(&self) -> usize;

    /// Counts and logs one that is no request, with what method and path it names, and says what it is answered with.
    fn refuse(&self, method: Option<Method>, path: &str, problem: Problem) -> Answered;
}

/// A request that came inside of another.
#[derive(Debug)]
pub struct Inner {
    /// Its method, target and headers, but for the host.
    pub head: RequestHeader,
    /// The headers that it has said itself; the others are those of the request around it.
    pub own: Vec<HeaderName>,
    /// Its body.
    pub body: Bytes,
    /// The longest body that its answer may have, in bytes.
    pub most: usize,
    /// Bytes that are left for its answer and those of others.
    pub budget: Arc<Budget>,
    /// When its time is up.
    pub ends: Instant,
}

/// Its answer.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The headers as they would go out, with those that belong to a connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// What the body takes of the budget; nothing where the gateway has made it in the place of an answer.
    pub charge: Option<Charge>,
}

impl From<Rendered> for Answered {
    fn from(rendered: Rendered) -> Self {
        let Rendered { status, headers, body } = rendered;
        let mut map = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            map.append(name, value);
        }
        Self { status, headers: map, body: body.into(), charge: None }
    }
}

/// What came of it.
#[derive(Debug)]
pub enum Came {
    /// A whole answer.
    Whole(Answered),
    /// One whose body is longer than it may be.
    TooLarge,
    /// One for whose body the answers of others left no room.
    NoRoom,
    /// None, or one that broke off.
    Cut,
}
