//! The transport that Pingora is given. It hands out the bytes of one request and no more, so that every header is read and checked here, within its
//! deadline and bounds; what the client sends ahead waits. It writes lazily, so that a header and its body leave in one send.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

mod pace;
mod patience;
mod pingora;
mod write;

pub use pace::{Pace, Slowest};
pub use patience::Patience;

use super::frames::{Allowance, Frames, Verdict};
use super::framing::Framing;
use super::head::{Bounds, Front, PREFACE, front};
use super::wire::Wire;
use crate::problem::{Kind, Problem};
use crate::proxy::{Connection, Slow};

/// Bytes read at once where they are looked at here: headers and chunked bodies.
const READ: usize = 4 * 1024;

/// Bytes of the next requests taken in while one is being answered. A client that sends more waits.
const AHEAD: usize = 16 * 1024;

/// One accepted connection.
pub struct Conn {
    stream: Wire,
    speaks: Speaks,
    /// Read from the client, not yet handed out.
    ahead: BytesMut,
    /// So many bytes at the front of `ahead` belong to the present request's body.
    known: usize,
    framing: Framing,
    /// Follows what passes over HTTP/2.
    frames: Option<Box<Frames>>,
    out: BytesMut,
    patience: Arc<Patience>,
    /// Bytes that came when nobody wanted them any more.
    unwanted: usize,
    /// Running since the client has closed its side, or the gateway has closed its own.
    farewell: Option<Pin<Box<Sleep>>>,
    /// Until when what nobody wants is read at most.
    resting: Option<Instant>,
    /// How long nothing has come between two requests.
    idle: Pace,
    /// What the client owes of the present request's body.
    upload: Pace,
    /// What it owes in taking what is written.
    download: Pace,
    /// How long the service has been silent.
    silence: Pace,
    /// Whether the present request's body may come: a client can wait to be told so (RFC 9110 §10.1.1).
    invited: bool,
    /// Running until the present request's whole time is up.
    late: Option<Pin<Box<Sleep>>>,
    facts: Arc<ProxyDigest>,
}

/// Which HTTP a client may speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaks {
    /// Any: its first bytes will tell.
    #[default]
    Either,
    /// HTTP/1.1, as was agreed upon.
    Http1,
    /// HTTP/2, as was agreed upon.
    Http2,
}

/// What the next bytes of a connection are.
#[derive(Debug)]
pub enum Next {
    /// A request: its whole header.
    Request(BytesMut),
    /// An HTTP/2 connection; the preface is still to be read.
    Http2,
    /// Something else, where HTTP/2 was agreed upon.
    NotHttp2,
    /// The client has closed, between two requests or within a header.
    Closed,
}

impl Conn {
    /// Takes over a connection whose first request is to come.
    ///
    /// # Errors
    /// Never in practice: see [`Connection::into_digest`].
    pub fn new(stream: Wire, speaks: Speaks, facts: Connection, patience: Arc<Patience>) -> pingora_error::Result<Self> {
        Ok(Self {
            stream,
            speaks,
            ahead: BytesMut::new(),
            known: 0,
            framing: Framing::Length(0),
            frames: None,
            out: BytesMut::new(),
            patience,
            unwanted: 0,
            farewell: None,
            resting: None,
            idle: Pace::default(),
            upload: Pace::default(),
            download: Pace::default(),
            silence: Pace::default(),
            invited: true,
            late: None,
            facts: Arc::new(facts.into_digest()?),
        })
    }

    /// What is known about this connection.
    pub fn facts(&self) -> Option<&Connection> {
        Connection::of(&self.facts)
    }

    /// The same, to be looked at while Pingora holds the connection.
    pub fn shared_facts(&self) -> Arc<ProxyDigest> {
        self.facts.clone()
    }

    /// Follows the frames of HTTP/2 from here on, and gives the place where it is told what is wrong with them.
    pub fn follow_frames(&mut self, allowance: &Allowance) -> Arc<Verdict> {
        let frames = Box::new(Frames::new(allowance));
        let verdict = frames.verdict();
        self.frames = Some(frames);
        verdict
    }

    /// Whether the present request was read to its end, so that a next one may follow.
    pub fn at_end(&self) -> bool {
        match &self.framing {
            Framing::Length(left) => *left == 0,
            Framing::Chunked(chunks) => self.known == 0 && chunks.done(),
            Framing::Free => false,
        }
    }

    /// Whether bytes of a next request are here already.
    pub fn has_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Waits so long for the first bytes of a next request, with nothing but the socket held. False where the client has closed, none where nothing came.
    ///
    /// That the socket says it is readable would not do: after a read that just filled its buffer it says so of nothing.
    pub async fn first_bytes(&mut self, patience: Duration) -> Option<bool> {
        let idle = Slowest { patience, rate: 0 };
        self.idle.pardon();
        poll_fn(|cx| match self.poll_ahead(cx) {
            Poll::Ready(came) => {
                // The clock runs on for the next wait: to set it anew would cost each request more than it costs to ring in vain now and then.
                self.idle.moved(&idle, 0);
                Poll::Ready(Some(came.is_ok_and(|count| count > 0)))
            }
            Poll::Pending if self.idle.waits(&idle, cx) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }

    /// Reads the next request's header, or finds that the client speaks HTTP/2.
    ///
    /// # Errors
    /// The problem to answer with before the connection is closed.
    pub async fn next(&mut self, bounds: &Bounds) -> Result<Next, Problem> {
        let mut seen = 0;
        loop {
            // RFC 9112 §2.2: an empty line before the request line is passed over.
            if seen == 0 && self.speaks != Speaks::Http2 && self.ahead.starts_with(b"\r\n") {
                self.ahead.advance(2);
            }
            if self.speaks == Speaks::Http2 && !PREFACE.iter().zip(&self.ahead).all(|(expected, byte)| expected == byte) {
                return Ok(Next::NotHttp2);
            }
            match front(&self.ahead, &mut seen, bounds)? {
                // RFC 9113 §3.2: prior knowledge is for connections without TLS.
                Front::Http2 if self.speaks == Speaks::Http1 => {
                    return Err(Problem::new(Kind::BadRequest, "HTTP/2 is not spoken here, or is agreed upon over TLS (ALPN)"));
                }
                Front::Request { length, framing, expects, rewritten } => {
                    // Without a body or a next request the buffer goes as it is; splitting it would cost an allocation.
                    let header = if length == self.ahead.len() { std::mem::take(&mut self.ahead) } else { self.ahead.split_to(length) };
                    self.framing = framing;
                    self.known = 0;
                    self.invited = !expects;
                    self.upload.rest();
                    self.follow().map_err(|_| Problem::new(Kind::BadRequest, "the chunked request body is malformed"))?;
                    return Ok(Next::Request(rewritten.unwrap_or(header)));
                }
                Front::Http2 => {
                    self.framing = Framing::Free;
                    return Ok(Next::Http2);
                }
                Front::Partial => {}
            }
            self.ahead.reserve(READ);
            match self.stream.read_buf(&mut self.ahead).await {
                Ok(0) | Err(_) => return Ok(Next::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Writes what was answered outside of Pingora and says that no more will come. False where the client has not stopped sending in time.
    pub async fn close_with(&mut self, answer: &[u8], patience: Duration) -> bool {
        let sent = async {
            self.stream.write_all(answer).await?;
            self.stream.shutdown().await?;
            // Closing with unread bytes resets the connection, and the client may never see the answer: read on for a while.
            let mut sink = vec![0; AHEAD];
            while self.stream.read(&mut sink).await? > 0 {}
            io::Result::Ok(())
        };
        tokio::time::timeout(patience, sent).await.is_ok()
    }

    /// Gives it up for what is no HTTP any more: what was written is sent, and what was read ahead goes along.
    ///
    /// # Errors
    /// Those of the socket, or the client takes nothing.
    pub async fn open(mut self: Box<Self>) -> io::Result<(Wire, Bytes)> {
        poll_fn(|cx| self.poll_out(cx)).await?;
        let Self { stream, ahead, .. } = *self;
        Ok((stream, ahead.freeze()))
    }

    /// Ends a connection that was told all. Over TLS the client must be able to tell the end from a cut (RFC 8446 §6.1).
    pub async fn end(&mut self, patience: Duration) {
        if self.stream.is_secure() {
            let _ = tokio::time::timeout(patience, self.stream.shutdown()).await;
        }
    }

    /// Finds how much of `ahead` belongs to the body.
    fn follow(&mut self) -> io::Result<()> {
        let Framing::Chunked(chunks) = &mut self.framing else { return Ok(()) };
        let news = self.ahead.get(self.known..).unwrap_or_default();
        self.known += chunks.follow(news).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "malformed chunked body"))?;
        Ok(())
    }

    fn hand_out(&mut self, most: usize, buf: &mut ReadBuf<'_>) -> usize {
        let count = most.min(buf.remaining()).min(self.ahead.len());
        buf.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        if self.ahead.is_empty() {
            // An idle connection holds no buffer.
            self.ahead = BytesMut::new();
        }
        count
    }

    fn poll_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { stream, ahead, .. } = self;
        if ahead.is_empty() {
            // A buffer is for what has come.
            ready!(stream.poll_readable(cx))?;
        }
        ahead.reserve(READ);
        let before = ahead.len();
        let read = std::pin::pin!(stream.read_buf(ahead)).poll(cx);
        if before == 0 && read.is_pending() {
            self.ahead = BytesMut::new();
        }
        read
    }

    /// The request was read to its end: whatever comes now is the next one's, or the client's farewell.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.ahead.len() >= AHEAD {
                return Poll::Pending;
            }
            let had = self.has_ahead();
            match ready!(self.poll_ahead(cx)) {
                // A client that closed its side after a next request still wants both answers.
                Ok(0) if had => return Poll::Pending,
                // One that did so after this request may be gone or not: it has a while to get its answer (RFC 9112 §9.6), then the service is freed.
                Ok(0) => return self.farewell.get_or_insert_with(|| Box::pin(sleep(self.patience.farewell))).as_mut().poll(cx).map(Ok),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Gives back every buffer, before the connection waits for its next request.
    pub fn rest(&mut self) {
        self.out = BytesMut::new();
        self.upload.rest();
        self.download.rest();
        self.silence.rest();
    }
}

impl AsyncRead for Conn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let (before, is_body) = (buf.filled().len(), this.frames.is_none() && !this.at_end());
        if this.facts().is_some_and(Connection::take_pardon) {
            this.upload.pardon();
        }
        if this.facts().is_some_and(Connection::take_stir) {
            this.silence.rest();
        }
        let mut read = this.poll_request(cx, buf);
        if is_body {
            read = this.body_in_time(read, buf.filled().len() - before, cx);
        }
        // There is nothing to do but wait, and so no reason to hold back what is written: an answer may be slow in coming.
        if read.is_pending()
            && let Poll::Ready(Err(error)) = this.poll_out(cx)
        {
            return Poll::Ready(Err(error));
        }
        if read.is_pending() && this.is_late(cx) {
            if let Some(frames) = &this.frames {
                frames.late();
                return Poll::Pending;
            }
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if read.is_pending() && this.is_silent(cx) {
            return Poll::Ready(Err(Slow::Service.into()));
        }
        read
    }
}

impl Conn {
    /// The bytes of the present request, and then nothing until the next.
    fn poll_request(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self;
        match &mut this.framing {
            Framing::Free if this.frames.as_ref().is_some_and(|frames| frames.is_over()) => Poll::Pending,
            Framing::Free => {
                let before = buf.filled().len();
                if this.ahead.is_empty() {
                    ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
                } else {
                    this.hand_out(usize::MAX, buf);
                }
                if let Some(frames) = &mut this.frames {
                    frames.came(buf.filled().get(before..).unwrap_or_default());
                }
                Poll::Ready(Ok(()))
            }
            Framing::Length(0) => this.poll_idle(cx),
            Framing::Length(left) if this.ahead.is_empty() => {
                let mut part = (&mut this.stream).take(*left);
                ready!(Pin::new(&mut part).poll_read(cx, buf))?;
                *left = part.limit();
                Poll::Ready(Ok(()))
            }
            Framing::Length(left) => {
                let left = *left;
                let count = this.hand_out(usize::try_from(left).unwrap_or(usize::MAX), buf);
                this.framing = Framing::Length(left - count as u64);
                Poll::Ready(Ok(()))
            }
            Framing::Chunked(chunks) if this.known == 0 && chunks.done() => this.poll_idle(cx),
            Framing::Chunked(_) => {
                if this.known == 0 {
                    if ready!(this.poll_ahead(cx))? == 0 {
                        return Poll::Ready(Ok(()));
                    }
                    this.follow()?;
                }
                let known = this.known;
                this.known -= this.hand_out(known, buf);
                Poll::Ready(Ok(()))
            }
        }
    }
}
