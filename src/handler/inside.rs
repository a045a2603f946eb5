use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora_http::RequestHeader;

use crate::problem::Problem;

/// The way into the whole gateway for requests that came inside of another: each goes it as if it had come on the same connection.
pub trait Inside: Send + Sync {
    /// Asks for what one of them asks, from the choice of a route to the line in the access log. Its host is that of the request around it. Who drops the
    /// future breaks it off.
    fn ask(&self, inner: Inner) -> Pin<Box<dyn Future<Output = Came> + Send>>;

    /// Counts and logs one that is no request, and says what it is answered with.
    fn refuse(&self, problem: Problem) -> Answered;
}

/// A request that came inside of another.
#[derive(Debug)]
pub struct Inner {
    /// Its method, target and headers, but for the host.
    pub head: RequestHeader,
    /// Its body.
    pub body: Bytes,
    /// The longest body that its answer may have, in bytes.
    pub most: usize,
    /// When its time is up.
    pub ends: Instant,
    /// How long it would have, had none before it taken any.
    pub full: Duration,
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
}

/// What came of it.
#[derive(Debug)]
pub enum Came {
    /// A whole answer.
    Whole(Answered),
    /// One whose body is longer than it may be.
    TooLarge,
    /// None, or one that broke off.
    Cut,
}
