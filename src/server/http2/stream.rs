//! One request over HTTP/2, as Pingora is shown it. Pingora has a session of its own for this, which waits without end for a body that stops coming, and
//! for all that is left of a request whose time is up. Here the time is what it is over HTTP/1.1, and so is what the client is told.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::body_buffer::FixedBuffer;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::http::date::get_cached_date;
use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{BError, Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::proxy::{Connection, Slow};
use crate::server::conn::{Pace, Patience, Slowest};

/// Bytes of a body that are kept for another attempt: as many as Pingora keeps of others.
const REPLAY: usize = 64 * 1024;

/// A request and its answer. The names of the methods are Pingora's.
pub struct Stream {
    head: RequestHeader,
    body: RecvStream,
    answer: SendResponse<Bytes>,
    /// Where the answer's body goes, once its header is out.
    sending: Option<SendStream<Bytes>>,
    written: Option<Box<ResponseHeader>>,
    /// Whether the answer is out to its end.
    ended: bool,
    read: usize,
    sent: usize,
    replay: Option<FixedBuffer>,
    digest: Arc<Digest>,
    patience: Arc<Patience>,
    /// What the client owes of the request's body.
    upload: Pace,
    /// What it owes in taking the answer.
    download: Pace,
    /// How long the service has been silent.
    silence: Pace,
    /// Whether the request's body may come: a client can wait to be told so (RFC 9110 §10.1.1).
    invited: bool,
    /// Running until the request's whole time is up.
    late: Option<Pin<Box<Sleep>>>,
    drain_timeout: Option<Duration>,
}

impl Stream {
    pub fn new(request: http::Request<RecvStream>, answer: SendResponse<Bytes>, digest: Arc<Digest>, patience: Arc<Patience>) -> Self {
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

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>>> {
        if self.facts().is_some_and(Connection::take_pardon) {
            self.upload.pardon();
        }
        let Poll::Ready(piece) = self.body.poll_data(cx) else {
            if self.invited && self.upload.waits(&self.patience.upload, cx) {
                return Poll::Ready(Err(slow(Slow::Upload)));
            }
            ready!(self.poll_late(cx));
            return Poll::Ready(Err(late(ErrorType::ReadTimedout)));
        };
        let Some(piece) = piece.transpose().map_err(|error| gone(&error))? else { return Poll::Ready(Ok(None)) };
        self.upload.moved(&self.patience.upload, piece.len());
        self.read += piece.len();
        if let Some(replay) = &mut self.replay {
            replay.write_to_buffer(&piece);
        }
        let _ = self.body.flow_control().release_capacity(piece.len());
        Poll::Ready(Ok(Some(piece)))
    }

    /// Ready once the client wants no answer any more, or cannot get one in time.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<BError> {
        let reset = match &mut self.sending {
            Some(sending) => sending.poll_reset(cx),
            None => self.answer.poll_reset(cx),
        };
        match reset {
            Poll::Ready(Ok(reason)) => Poll::Ready(closed(format!("the client has taken the request back: {reason}"))),
            Poll::Ready(Err(error)) => Poll::Ready(gone(&error)),
            Poll::Pending => {
                if self.facts().is_some_and(Connection::take_stir) {
                    self.silence.rest();
                }
                if let Some(patience) = self.facts().and_then(Connection::silence)
                    && self.silence.waits(&Slowest { patience, rate: 0 }, cx)
                {
                    return Poll::Ready(slow(Slow::Service));
                }
                ready!(self.poll_late(cx));
                Poll::Ready(late(ErrorType::ReadTimedout))
            }
        }
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
                    sending.send_data(piece, end && data.is_empty()).map_err(|error| gone(&error))?;
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(gone(&error))),
                Poll::Ready(None) => return Poll::Ready(Err(closed("the client has taken the request back".to_owned()))),
                Poll::Pending => {
                    if self.download.waits(&self.patience.download, cx) {
                        return Poll::Ready(Err(slow(Slow::Download)));
                    }
                    ready!(self.poll_late(cx));
                    return Poll::Ready(Err(late(ErrorType::WriteTimedout)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    async fn send(&mut self, mut data: Bytes, end: bool) -> Result<()> {
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

    fn head(&mut self, mut head: Box<ResponseHeader>, end: bool) -> Result<()> {
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

    fn trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let Some(sending) = &mut self.sending else { return Err(closed("an answer's trailers before its header".to_owned())) };
        sending.send_trailers(trailers).map_err(|error| gone(&error))?;
        self.ended = true;
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
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

fn late(etype: ErrorType) -> BError {
    Error::new_down(etype)
}

fn closed(why: String) -> BError {
    Error::explain(ErrorType::ConnectionClosed, why).into_down()
}

fn gone(error: &h2::Error) -> BError {
    closed(error.to_string())
}

#[async_trait]
impl Session for Stream {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_body(cx)).await
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        let most = self.drain_timeout.unwrap_or(self.patience.upload.patience);
        let drained = async {
            while self.read_body_bytes().await?.is_some() {}
            Ok(())
        };
        timeout(most, drained).await.unwrap_or_else(|_| Err(late(ErrorType::ReadTimedout)))
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.head(head, end)
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.head(Box::new(head.clone()), end)
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.send(data, end).await
    }

    async fn write_trailers(&mut self, trailers: HeaderMap) -> Result<()> {
        self.trailers(trailers)
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut over = false;
        for task in tasks {
            over |= match task {
                HttpTask::Header(head, end) => {
                    self.head(head, end)?;
                    end
                }
                HttpTask::Body(data, end) => {
                    if let Some(data) = data.filter(|data| !data.is_empty()) {
                        self.send(data, end).await?;
                    }
                    end
                }
                HttpTask::UpgradedBody(..) => return Err(Error::explain(ErrorType::InternalError, "an upgraded body over HTTP/2")),
                HttpTask::Trailer(trailers) => {
                    if let Some(trailers) = trailers {
                        self.trailers(*trailers)?;
                    }
                    true
                }
                HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
            };
        }
        if over {
            self.end()?;
        }
        Ok(over)
    }

    // How long the client may take is the connection's to say.
    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, timeout: Option<Duration>) {
        self.drain_timeout = timeout;
    }

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        self.drain_timeout
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.head.method, self.head.uri)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {
        if !self.ended {
            self.answer.send_reset(Reason::INTERNAL_ERROR);
        }
    }

    fn is_body_done(&mut self) -> bool {
        self.is_body_empty() || self.body.is_end_stream()
    }

    async fn finish(&mut self) -> Result<()> {
        self.end()
    }

    fn is_body_empty(&mut self) -> bool {
        let none = || self.head.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
        self.read == 0 && (self.body.is_end_stream() || none())
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if no_body_expected || self.is_body_done() {
            return Err(poll_fn(|cx| self.poll_gone(cx)).await);
        }
        poll_fn(|cx| self.poll_body(cx)).await
    }

    fn body_bytes_sent(&self) -> usize {
        self.sent
    }

    fn body_bytes_read(&self) -> usize {
        self.read
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.peer_addr()
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        self.digest.socket_digest.as_ref()?.local_addr()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        http_req_header_to_wire(&self.head).map(BytesMut::freeze).unwrap_or_default()
    }

    fn enable_retry_buffering(&mut self) {
        self.replay.get_or_insert_with(|| FixedBuffer::new(REPLAY));
    }

    fn retry_buffer_truncated(&self) -> bool {
        self.replay.as_ref().is_some_and(FixedBuffer::is_truncated)
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        self.replay.as_ref().filter(|replay| !replay.is_truncated())?.get_buffer()
    }

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn futures_core::Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
