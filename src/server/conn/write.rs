//! What goes out: gathered, so that a header and its body leave in one send, and no longer than the client may take for it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::AsyncWrite;

use super::Conn;
use crate::proxy::Slow;

/// Bytes gathered before a write goes out by itself.
const WRITE: usize = 16 * 1024;

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
        if this.out.len() + data.len() > WRITE {
            ready!(this.poll_out(cx))?;
            if data.len() >= WRITE {
                let sent = Pin::new(&mut this.stream).poll_write(cx, data);
                return this.in_time(sent, cx);
            }
        }
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
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
