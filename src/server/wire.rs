//! What the bytes of a connection travel on.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A connection, below HTTP.
pub enum Wire {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS over one of the others.
    Tls(Box<TlsStream<Wire>>),
}

impl Wire {
    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        matches!(self, Wire::Tls(_))
    }
}

impl Wire {
    /// Waits for the first byte and leaves it where it is. None at the end.
    ///
    /// # Errors
    /// The system's.
    pub async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let mut peek = |fd: BorrowedFd<'_>| Ok(recv(fd, &mut byte, RecvFlags::PEEK)?.1);
        let count = match self {
            Wire::Tcp(stream) => stream.async_io(Interest::READABLE, || peek(stream.as_fd())).await?,
            Wire::Unix(stream) => stream.async_io(Interest::READABLE, || peek(stream.as_fd())).await?,
            Wire::Tls(_) => 0,
        };
        Ok(byte.first().copied().filter(|_| count > 0))
    }

    /// Waits until something may have come. Over TLS that can only be seen by reading.
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Wire::Tcp(stream) => stream.poll_read_ready(cx),
            Wire::Unix(stream) => stream.poll_read_ready(cx),
            Wire::Tls(_) => Poll::Ready(Ok(())),
        }
    }
}

impl AsRawFd for Wire {
    fn as_raw_fd(&self) -> RawFd {
        match self {
            Wire::Tcp(stream) => stream.as_raw_fd(),
            Wire::Unix(stream) => stream.as_raw_fd(),
            Wire::Tls(stream) => stream.get_ref().0.as_raw_fd(),
        }
    }
}

/// Does the same on whichever it is.
macro_rules! on {
    ($wire:expr, $stream:ident => $does:expr) => {
        match $wire.get_mut() {
            Wire::Tcp(stream) => {
                let $stream = Pin::new(stream);
                $does
            }
            Wire::Unix(stream) => {
                let $stream = Pin::new(stream);
                $does
            }
            Wire::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $does
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write(cx, data))
    }

    // A flight of the handshake is several records: one by one each would cost a system call, and an alert at the end would be lost.
    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        on!(self, stream => stream.poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on!(self, stream => stream.poll_shutdown(cx))
    }
}
