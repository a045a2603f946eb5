//! One of the two connections of a relay.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::close;
use super::frame::{Checker, Side};

/// One side's connection, and how far it has come.
pub struct Peer<S> {
    io: S,
    pub side: Side,
    /// Follows what it sends.
    pub checker: Checker,
    /// What it has sent before the relay began.
    pub early: Bytes,
    /// What is to be written to it.
    pub out: BytesMut,
    /// Whether something was written that may wait below.
    unflushed: bool,
    /// Running while it takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
    patience: Duration,
    /// The Close that it shall get as soon as the frame before is whole.
    pub farewell: Option<(u16, &'static str)>,
    /// Whether a Close is on its way to it: nothing may follow.
    pub told: bool,
    /// Whether nothing that it sends counts any more: it has sent its Close, broken the rules, or gone.
    pub spent: bool,
    /// Whether it has closed its side.
    pub ended: bool,
    /// Whether our side to it is closed.
    shut: bool,
    /// Whether nothing can reach it.
    pub lost: bool,
    /// Bytes of it that nobody gets.
    pub wasted: u64,
}

/// Why a connection can take no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// It broke.
    Broken,
    /// The peer took nothing for too long.
    Stalled,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn new(io: S, checker: Checker, side: Side, early: Bytes, patience: Duration) -> Self {
        Self {
            io,
            side,
            checker,
            early,
            out: BytesMut::new(),
            unflushed: false,
            stalled: None,
            patience,
            farewell: None,
            told: false,
            spent: false,
            ended: false,
            shut: false,
            lost: false,
            wasted: 0,
        }
    }

    /// Whether nothing more can come of it.
    pub fn is_over(&self) -> bool {
        self.lost || self.shut && self.ended
    }

    /// Whether it has not taken all that it gets.
    pub fn is_behind(&self) -> bool {
        !self.out.is_empty() || self.stalled.is_some()
    }

    /// Lets it get a Close, where it has got none.
    pub fn dismiss(&mut self, code: u16, reason: &'static str) {
        if !self.told {
            self.farewell.get_or_insert((code, reason));
        }
    }

    /// Puts the Close behind what it gets. Only where a frame has ended.
    pub fn say_farewell(&mut self) {
        if let Some((code, reason)) = self.farewell.take() {
            close::write(self.side.other(), code, reason, &mut self.out);
            self.told = true;
        }
    }

    /// Gives it up.
    pub fn lose(&mut self) {
        (self.lost, self.told, self.spent) = (true, true, true);
        (self.out, self.farewell, self.stalled) = (BytesMut::new(), None, None);
    }

    /// Reads what there is. None where that is the end.
    pub fn poll_read<'a>(&mut self, cx: &mut Context<'_>, room: &'a mut [u8]) -> Poll<Option<&'a [u8]>> {
        let mut buf = ReadBuf::new(room);
        match Pin::new(&mut self.io).poll_read(cx, &mut buf) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => {
                let count = buf.filled().len();
                Poll::Ready(room.get(..count))
            }
            Poll::Ready(_) => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }

    /// Writes what waits for it, and closes our side where that was all.
    ///
    /// # Errors
    /// It can take no more.
    pub fn poll_out(&mut self, cx: &mut Context<'_>) -> Result<(), Loss> {
        if self.lost {
            self.shut(cx);
            return Ok(());
        }
        match self.write(cx) {
            Poll::Ready(Ok(())) => {
                self.stalled = None;
                // All that it gets is written: the buffer goes, since the next message may be hours away.
                self.out = BytesMut::new();
                if self.told && self.spent {
                    self.shut(cx);
                }
                Ok(())
            }
            Poll::Ready(Err(_)) => Err(Loss::Broken),
            Poll::Pending => {
                let patience = self.patience;
                let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
                if stalled.as_mut().poll(cx).is_ready() { Err(Loss::Stalled) } else { Ok(()) }
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.out.is_empty() {
            match Pin::new(&mut self.io).poll_write(cx, &self.out) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.out.advance(count);
                    (self.unflushed, self.stalled) = (true, None);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        if self.unflushed {
            match Pin::new(&mut self.io).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                other => return other,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn shut(&mut self, cx: &mut Context<'_>) {
        if !self.shut {
            self.shut = !Pin::new(&mut self.io).poll_shutdown(cx).is_pending();
        }
    }
}
