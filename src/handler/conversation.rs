//! What a handler runs over: one request and its answer, as `proxy` has them, and no more of Pingora than that.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use pingora_error::Error;
use pingora_http::{RequestHeader, ResponseHeader};

use super::{Inside, Relay};
use crate::ctx::Ctx;
use crate::observe::{PartTold, Shard};
use crate::problem::Problem;
use crate::types::Reply;
use crate::upstream::{Client, Link, Seat};

/// Why a conversation does not go on.
#[derive(Debug)]
pub enum Failed {
    /// It is answered with this.
    Problem(Problem),
    /// The client is gone, or the service has failed: `proxy` knows more, and answers where an answer can be given.
    Lost(Box<Error>),
}

impl From<Problem> for Failed {
    fn from(problem: Problem) -> Self {
        Failed::Problem(problem)
    }
}

impl From<Box<Error>> for Failed {
    fn from(error: Box<Error>) -> Self {
        Failed::Lost(error)
    }
}

/// What the service of a conversation said.
#[derive(Debug)]
pub enum Said {
    /// Its answer, whose body is still to be read, and the place that it takes at the service which gave it.
    Answer(Box<ResponseHeader>, Link, Seat),
    /// Nothing: this stands in.
    Instead(Reply),
}

/// Another protocol that a request asks for (RFC 9110 §7.8), of a service that lets messages be compressed or not.
pub trait Switch: Sync {
    /// Asks for it in the header of one attempt, from which all that belongs to a connection was removed.
    fn ask(&self, req: &mut RequestHeader, compression: bool);

    /// Whether a 101 agrees to it.
    ///
    /// # Errors
    /// What is wrong with the answer.
    fn check(&self, res: &ResponseHeader, compression: bool) -> Result<(), Cow<'static, str>>;
}

/// One request, and the way to answer it. Each answer goes up through the policies and leaves by the one door; whatever is not read of the request, and
/// whatever is not written of the answer, is `proxy`'s business.
pub trait Conversation: Send {
    /// The request, after its policies.
    fn request(&self) -> &RequestHeader;

    /// What is known of it.
    fn cx(&self) -> &Ctx;

    /// What calls are made with.
    fn client(&self) -> Arc<Client>;

    /// Where the worker counts.
    fn shard(&self) -> Arc<Shard>;

    /// Says how long the request may take in all, and gives the time when that is up.
    fn bound(&mut self, total: Duration) -> Instant;

    /// The headers that any service is told on behalf of this request: who asks, and what the policies add to requests or change in them. Nothing that the
    /// client alone has said.
    ///
    /// # Errors
    /// What a policy cannot be made of.
    fn introduction(&mut self) -> Result<HeaderMap, Problem>;

    /// The way into the whole gateway for requests that this one has inside.
    ///
    /// # Errors
    /// It came inside of another itself, or says what no request may that goes on to others.
    fn inside(&mut self) -> Result<Arc<dyn Inside>, Problem>;

    /// Notes for the log what became of the parts of the answer.
    fn note(&mut self, parts: Vec<PartTold>);

    /// Whether the request has no body.
    fn is_bodiless(&mut self) -> bool;

    /// A next piece of the request's body, none after the last. A client that waits for it is told to go on.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>, Failed>> + Send;

    /// Answers with what is here as a whole.
    fn reply(&mut self, reply: &Reply) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Begins an answer. Its framing follows from whether it says a length.
    fn head(&mut self, res: Box<ResponseHeader>) -> impl Future<Output = Result<(), Failed>> + Send;

    /// A piece of the answer's body. It may wait a little for others; see [`Self::left`].
    fn write(&mut self, piece: Bytes) -> impl Future<Output = Result<(), Failed>> + Send;

    /// The end of the answer.
    fn end(&mut self) -> impl Future<Output = Result<(), Failed>> + Send;

    /// Comes back when the client has left. While it waits, what was written goes out: whoever waits for something else waits for this beside it. Only once
    /// the request's body is read.
    fn left(&mut self) -> impl Future<Output = Failed> + Send;

    /// Asks the service that the request is for as a forwarded request does: admission, choice of a target, retries, fallback, timeouts. The request
    /// has no body, and its connection serves for nothing else.
    fn ask(&mut self, switch: &impl Switch) -> impl Future<Output = Result<Said, Failed>> + Send;

    /// After a 101: what the client sends from now on goes to the relay, once the request is put away.
    fn hand_over(&mut self, relay: Relay);
}
