//! A request without a wire, as Pingora is shown it: here as a whole, and its answer is kept. The names are Pingora's own.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::HttpTask;
use pingora_core::protocols::http::custom::CustomMessageWrite;
use pingora_core::protocols::http::custom::server::Session;
use pingora_core::protocols::http::v1::client::http_req_header_to_wire;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::handler::{Answered, Came};
use crate::proxy::Connection;
use crate::upstream::Charge;

/// A request and its answer.
pub(super) struct Memory {
    head: RequestHeader,
    body: Bytes,
    /// Whether the body was given to somebody who reads it. Pingora takes it from where it keeps what may be sent again.
    is_read: bool,
    /// The longest body of the answer.
    most: usize,
    written: Option<Box<ResponseHeader>>,
    answer: Vec<u8>,
    /// What that takes of what the answers of all may hold.
    charge: Option<Charge>,
    end: End,
    digest: Arc<Digest>,
    /// Running until the request's whole time is up.
    late: Option<Pin<Box<Sleep>>>,
    told: Option<oneshot::Sender<Came>>,
}

/// How far the answer has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Whole,
    TooLarge,
    NoRoom,
}

impl Memory {
    pub fn new(head: RequestHeader, body: Bytes, most: usize, charge: Charge, digest: Arc<Digest>, told: oneshot::Sender<Came>) -> Self {
        let (written, answer, charge, end, told) = (None, Vec::new(), Some(charge), End::Open, Some(told));
        Self { head, body, is_read: false, most, written, answer, charge, end, digest, late: None, told }
    }

    fn head(&mut self, head: Box<ResponseHeader>, end: bool) {
        if self.written.is_some() || head.status.is_informational() {
            return;
        }
        self.written = Some(head);
        self.end_if(end);
    }

    fn put(&mut self, data: &[u8], end: bool) -> Result<()> {
        if matches!(self.end, End::Open | End::Whole) {
            if data.len() > self.most - self.answer.len() {
                self.end = End::TooLarge;
            } else if !self.charge.as_ref().is_some_and(|charge| charge.add(data.len())) {
                self.end = End::NoRoom;
            }
        }
        let why = match self.end {
            End::TooLarge => format!("the answer is longer than {} bytes, the most that a batch takes of one", self.most),
            End::NoRoom => "the other answers of the batch left no room for this one".to_owned(),
            End::Open | End::Whole => {
                self.answer.extend_from_slice(data);
                self.end_if(end);
                return Ok(());
            }
        };
        // Others may need the room, whenever this one is dropped.
        (self.answer, self.charge) = (Vec::new(), None);
        Err(Error::explain(ErrorType::ConnectionClosed, why).into_down())
    }

    fn end_if(&mut self, end: bool) {
        if end && self.end == End::Open && self.written.is_some() {
            self.end = End::Whole;
        }
    }

    /// Ready once the request's whole time is up.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.digest.proxy_digest.as_deref().and_then(Connection::of).and_then(Connection::deadline);
        let Some(deadline) = deadline.map(Instant::from_std) else { return Poll::Pending };
        let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if late.deadline() != deadline {
            late.as_mut().reset(deadline);
        }
        late.as_mut().poll(cx)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let came = match (self.end, self.written.take()) {
            (End::Whole, Some(head)) => Came::Whole(Answered {
                status: head.status,
                headers: head.headers.clone(),
                body: std::mem::take(&mut self.answer),
                charge: self.charge.take(),
            }),
            (End::TooLarge, _) => Came::TooLarge,
            (End::NoRoom, _) => Came::NoRoom,
            _ => Came::Cut,
        };
        if let Some(told) = self.told.take() {
            let _ = told.send(came);
        }
    }
}

#[async_trait]
impl Session for Memory {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let is_read = std::mem::replace(&mut self.is_read, true);
        Ok(Some(self.body.clone()).filter(|body| !is_read && !body.is_empty()))
    }

    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, end: bool) -> Result<()> {
        self.head(head, end);
        Ok(())
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, end: bool) -> Result<()> {
        self.head(Box::new(head.clone()), end);
        Ok(())
    }

    async fn write_body(&mut self, data: Bytes, end: bool) -> Result<()> {
        self.put(&data, end)
    }

    async fn write_trailers(&mut self, _: HeaderMap) -> Result<()> {
        self.end_if(true);
        Ok(())
    }

    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut over = false;
        for task in tasks {
            over |= match task {
                HttpTask::Header(head, end) => {
                    self.head(head, end);
                    end
                }
                HttpTask::Body(data, end) => {
                    self.put(data.as_deref().unwrap_or_default(), end)?;
                    end
                }
                HttpTask::UpgradedBody(..) => return Err(Error::explain(ErrorType::InternalError, "an upgraded body within a batch")),
                HttpTask::Trailer(_) | HttpTask::Done => true,
                HttpTask::Failed(error) => return Err(error),
            };
        }
        self.end_if(over);
        Ok(over)
    }

    // Nothing of it is waited for.
    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn request_summary(&self) -> String {
        format!("{} {}", self.head.method, self.head.uri)
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.written.as_deref()
    }

    async fn shutdown(&mut self, _: u32, _: &str) {}

    fn is_body_done(&mut self) -> bool {
        true
    }

    async fn finish(&mut self) -> Result<()> {
        self.end_if(true);
        Ok(())
    }

    fn is_body_empty(&mut self) -> bool {
        self.body.is_empty()
    }

    async fn read_body_or_idle(&mut self, _: bool) -> Result<Option<Bytes>> {
        // Who came inside of another leaves with it: then nobody is left to ask.
        poll_fn(|cx| {
            ready!(self.poll_late(cx));
            Poll::Ready(Err(Error::new_down(ErrorType::ReadTimedout)))
        })
        .await
    }

    fn body_bytes_sent(&self) -> usize {
        self.answer.len()
    }

    fn body_bytes_read(&self) -> usize {
        self.body.len()
    }

    fn digest(&self) -> Option<&Digest> {
        Some(&self.digest)
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        Arc::get_mut(&mut self.digest)
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        http_req_header_to_wire(&self.head).map(BytesMut::freeze).unwrap_or_default()
    }

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        Some(self.body.clone()).filter(|body| !body.is_empty())
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
