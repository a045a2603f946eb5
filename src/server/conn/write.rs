//! What goes out: gathered, so that a header and its body leave in one send, and no longer than the client may take for it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, sleep};

use super::Conn;
use crate::proxy::Slow;

/// Bytes gathered before a write goes out by itself.
const WRITE: usize = 16 * 1024;

/// Bytes that are read once nobody wants them any more.
const UNWANTED: usize = 256 * 1024;

impl Conn {
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            let sent = Pin::new(&mut self.stream).poll_write(cx, &self.out);
            let sent = ready!(self.in_time(sent, cx))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.out.advance(sent);
        }
        if self.stream.is_secure() {
            // What was written may wait there, in records that the socket did not take yet.
            let flushed = Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| 0);
            ready!(self.in_time(flushed, cx))?;
        }
        // Kept while the connection is busy; see `rest`.
        Poll::Ready(Ok(()))
    }

    fn went(&mut self, bytes: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.went(bytes);
        }
    }

    /// Ends a write that the client does not take: Pingora's own bounds do not cover each of its writes.
    fn in_time(&mut self, sent: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &sent {
            Poll::Ready(Ok(count)) => self.download.moved(&self.patience.download, *count),
            Poll::Pending if self.download.waits(&self.patience.download, cx) => return Poll::Ready(Err(Slow::Download.into())),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        sent
    }
}

impl AsyncWrite for Conn {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        // Whatever it is, the client need not wait for a word any more.
        this.invited = true;
        this.silence.rest();
        if this.out.len() + data.len() > WRITE {
            ready!(this.poll_out(cx))?;
            if data.len() >= WRITE {
                let sent = Pin::new(&mut this.stream).poll_write(cx, data);
                let sent = ready!(this.in_time(sent, cx))?;
                this.went(data.get(..sent).unwrap_or_default());
                return Poll::Ready(Ok(sent));
            }
        }
        this.went(data);
        this.out.reserve(data.len().max(2048));
        this.out.extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_out(cx))?;
        ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        if this.frames.is_some() { this.poll_rest(cx).map(Ok) } else { Poll::Ready(Ok(())) }
    }
}

impl Conn {
    /// Reads on for a while what nobody wants any more: closing with unread bytes resets the connection, and the client may never hear why it ended.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let discard = self.patience.discard;
        let end = *self.resting.get_or_insert_with(|| Instant::now() + self.patience.download.patience);
        let over = self.farewell.get_or_insert_with(|| Box::pin(sleep(discard)));
        let mut sink = [0; 4096];
        while self.unwanted < UNWANTED {
            let mut sink = ReadBuf::new(&mut sink);
            match Pin::new(&mut self.stream).poll_read(cx, &mut sink) {
                Poll::Ready(Ok(())) if !sink.filled().is_empty() => {
                    self.unwanted += sink.filled().len();
                    // Who gives back room still takes what lies in the system.
                    over.as_mut().reset(end.min(Instant::now() + discard));
                }
                Poll::Ready(_) => break,
                Poll::Pending => return over.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}
