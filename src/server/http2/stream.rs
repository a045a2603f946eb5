//! One request over HTTP/2, as Pingora is shown it. Pingora has a session of its own for this, which waits without end for a body that stops coming, and
//! for all that is left of a request whose time is up. Here the time is what it is over HTTP/1.1, and so is what the client is told.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::body_buffer::FixedBuffer;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::conn::{Pace, Patience, Slowest};
use super::super::frames::Verdict;
use crate::proxy::{Connection, Slow};

/// Bytes of a body that are kept for another attempt: as many as Pingora keeps of others.
pub(super) const REPLAY: usize = 64 * 1024;

/// A request and its answer.
pub struct Stream {
    pub(super) head: RequestHeader,
    pub(super) body: RecvStream,
    pub(super) answer: SendResponse<Bytes>,
    /// Where the answer's body goes, once its header is out.
    pub(super) sending: Option<SendStream<Bytes>>,
    pub(super) written: Option<Box<ResponseHeader>>,
    /// Whether the answer is out to its end.
    pub(super) ended: bool,
    pub(super) read: usize,
    pub(super) sent: usize,
    pub(super) replay: Option<FixedBuffer>,
    pub(super) digest: Arc<Digest>,
    pub(super) patience: Arc<Patience>,
    /// What the client owes of the request's body.
    pub(super) upload: Pace,
    /// What it owes in taking the answer.
    pub(super) download: Pace,
    /// That others of the same connection had their turn meanwhile, in each direction.
    turns: [Turns; 2],
    verdict: Arc<Verdict>,
    /// How long the service has been silent.
    pub(super) silence: Pace,
    /// Whether the request's body may come: a client can wait to be told so (RFC 9110 §10.1.1).
    pub(super) invited: bool,
    /// Running until the request's whole time is up.
    pub(super) late: Option<Pin<Box<Sleep>>>,
    pub(super) drain_timeout: Option<Duration>,
}

/// Of many requests on a slow connection each waits for its turn: a client that moves something is not slow, though one of them stands still. But one
/// that never has a turn is not waited for without end.
#[derive(Default)]
struct Turns {
    moved: u64,
    spared: u8,
}

impl Turns {
    /// Whether others moved since this was asked last; not more than three times in a row.
    fn are_others(&mut self, moved: u64) -> bool {
        let others = moved != self.moved && self.spared < 3;
        (self.moved, self.spared) = (moved, self.spared + u8::from(others));
        others
    }
}

impl Stream {
    pub fn new(
        request: http::Request<RecvStream>,
        answer: SendResponse<Bytes>,
        digest: Arc<Digest>,
        patience: Arc<Patience>,
        verdict: Arc<Verdict>,
    ) -> Self {
        let (mut parts, body) = request.into_parts();
        join_cookies(&mut parts.headers);
        let invited = !parts.headers.contains_key(header::EXPECT);
        Self {
            head: parts.into(),
            body,
            answer,
            sending: None,
            written: None,
            ended: false,
            read: 0,
            sent: 0,
            replay: None,
            digest,
            patience,
            upload: Pace::default(),
            download: Pace::default(),
            turns: Default::default(),
            verdict,
            silence: Pace::default(),
            invited,
            late: None,
            drain_timeout: None,
        }
    }

    fn facts(&self) -> Option<&Connection> {
        self.digest.proxy_digest.as_deref().and_then(Connection::of)
    }

    /// Ready once the request's whole time is up.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.facts().and_then(Connection::deadline).map(Instant::from_std) else { return Poll::Pending };
        let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if late.deadline() != deadline {
            late.as_mut().reset(deadline);
        }
        late.as_mut().poll(cx)
    }

    pub(super) fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.facts().is_some_and(Connection::take_pardon) {
            self.upload.pardon();
        }
        let Poll::Ready(piece) = self.body.poll_data(cx) else {
            let is_waited_for = self.invited && !self.facts().is_some_and(Connection::may_pause);
            while is_waited_for && self.upload.waits(&self.patience.upload, cx) {
                let [coming, _] = &mut self.turns;
                if !coming.are_others(self.verdict.came()) {
                    return Poll::Ready(Err(slow(Slow::Upload)));
                }
                self.upload.pardon();
            }
            if self.is_silent(cx) {
                return Poll::Ready(Err(slow(Slow::Service)));
            }
            ready!(self.poll_late(cx));
            return Poll::Ready(Err(late(ErrorType::ReadTimedout)));
        };
        let Some(piece) = piece.transpose().map_err(|error| gone(&error))? else { return Poll::Ready(Ok(None)) };
        self.upload.moved(&self.patience.upload, piece.len());
        let [coming, _] = &mut self.turns;
        *coming = Turns::default();
        self.read += piece.len();
        if let Some(replay) = &mut self.replay {
            replay.write_to_buffer(&piece);
        }
        let _ = self.body.flow_control().release_capacity(piece.len());
        Poll::Ready(Ok(Some(piece)))
    }

    /// Ready once the client wants no answer any more, or cannot get one in time.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        let reset = match &mut self.sending {
            Some(sending) => sending.poll_reset(cx),
            None => self.answer.poll_reset(cx),
        };
        match reset {
            Poll::Ready(Ok(reason)) => Poll::Ready(closed(format!("the client has taken the request back: {reason}"))),
            Poll::Ready(Err(error)) => Poll::Ready(gone(&error)),
            Poll::Pending => {
                if self.is_silent(cx) {
                    return Poll::Ready(slow(Slow::Service));
                }
                ready!(self.poll_late(cx));
                Poll::Ready(late(ErrorType::ReadTimedout))
            }
        }
    }

    /// Whether the service has been silent for too long.
    fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        if self.facts().is_some_and(Connection::take_stir) {
            self.silence.rest();
        }
        let Some(patience) = self.facts().and_then(Connection::silence) else { return false };
        self.silence.waits(&Slowest { patience, rate: 0 }, cx)
    }

    /// Hands on what the client has room for, until all is handed on.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes, end: bool) -> Poll<Result<()>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Err(closed("an answer's body before its header".to_owned()))) };
        while !data.is_empty() {
            sending.reserve_capacity(data.len());
            match sending.poll_capacity(cx) {
                Poll::Ready(Some(Ok(room))) => {
                    let piece = data.split_to(room.min(data.len()));
                    self.sent += piece.len();
                    self.download.moved(&self.patience.download, piece.len());
                    let [_, going] = &mut self.turns;
                    *going = Turns::default();
                    sending.send_data(piece, end && data.is_empty()).map_err(|error| gone(&error))?;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(gone(&error))),
                Poll::Ready(None) => return Poll::Ready(Err(closed("the client has taken the request back".to_owned()))),
                Poll::Pending => {
                    while self.download.waits(&self.patience.download, cx) {
                        let [_, going] = &mut self.turns;
                        if !going.are_others(self.verdict.went()) {
                            return Poll::Ready(Err(slow(Slow::Download)));
                        }
                        self.download.pardon();
                    }
                    ready!(self.poll_late(cx));
                    return Poll::Ready(Err(late(ErrorType::WriteTimedout)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    pub(super) async fn send(&mut self, mut data: Bytes, end: bool) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        if data.is_empty() {
            if end {
                self.end()?;
            }
            return Ok(());
        }
        poll_fn(|cx| self.poll_send(cx, &mut data, end)).await?;
        self.ended = end;
        Ok(())
    }

    pub(super) fn head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
        if self.ended || self.written.is_some() {
            return Ok(());
        }
        // Whatever it is, the client need not wait for a word any more.
        self.invited = true;
        bare(&mut head);
        if head.status.is_informational() {
            let interim = Response::from_parts(head.as_owned_parts(), ());
            return self.answer.send_informational(interim).map_err(|error| gone(&error));
        }
        head.insert_header(header::DATE, get_cached_date())?;
        let answer = Response::from_parts(head.as_owned_parts(), ());
        self.sending = Some(self.answer.send_response(answer, end).map_err(|error| gone(&error))?);
        self.written = Some(head);
        self.ended = end;
        Ok(())
    }

    pub(super) fn trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let Some(sending) = &mut self.sending else { return Err(closed("an answer's trailers before its header".to_owned())) };
        sending.send_trailers(trailers).map_err(|error| gone(&error))?;
        self.ended = true;
        Ok(())
    }

    pub(super) fn end(&mut self) -> Result<()> {
        if let Some(sending) = self.sending.as_mut().filter(|_| !self.ended) {
            sending.send_data(Bytes::new(), true).map_err(|error| gone(&error))?;
            self.ended = true;
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // What breaks off must not look whole, nor as if the client had wanted it so.
        if !self.ended {
            self.answer.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// The one Cookie that pieces of it are in HTTP/1.1 (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let mut whole = BytesMut::new();
    for piece in headers.get_all(header::COOKIE) {
        if !whole.is_empty() {
            whole.extend_from_slice(b"; ");
        }
        whole.extend_from_slice(piece.as_bytes());
    }
    if let Ok(whole) = HeaderValue::from_maybe_shared(whole.freeze()) {
        headers.insert(header::COOKIE, whole);
    }
}

/// Without the fields of HTTP/1.1's connections (RFC 9113 §8.2.2).
fn bare(head: &mut ResponseHeader) {
    for name in [header::TRANSFER_ENCODING, header::CONNECTION, header::UPGRADE] {
        head.remove_header(&name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        head.remove_header(&HeaderName::from_static(name));
    }
}

fn slow(slow: Slow) -> BError {
    Error::because(ErrorType::ConnectionClosed, "over HTTP/2", std::io::Error::from(slow)).into_down()
}

pub(super) fn late(etype: ErrorType) -> BError {
    Error::new_down(etype)
}

fn closed(why: String) -> BError {
    Error::explain(ErrorType::ConnectionClosed, why).into_down()
}

fn gone(error: &h2::Error) -> BError {
    closed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::Turns;

    #[test]
    fn a_request_waits_for_its_turn_while_others_move_and_not_without_end() {
        let mut turns = Turns::default();
        assert!((1..=3).all(|moved| turns.are_others(moved)));
        assert!(!turns.are_others(4), "it never has a turn");
        let mut still = Turns::default();
        assert!(still.are_others(1) && !still.are_others(1), "nobody has");
    }
}
