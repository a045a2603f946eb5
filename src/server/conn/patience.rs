use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{Conn, Slowest};
use crate::proxy::{Connection, Slow};

/// How long a connection waits for a client that does nothing.
#[derive(Debug)]
pub struct Patience {
    /// For the request's body to come.
    pub upload: Slowest,
    /// For the answer to be taken.
    pub download: Slowest,
    /// For the answer to a request whose client has closed its side, and for a next request once the process is told to end.
    pub farewell: Duration,
    /// For a client to stop sending once it was told that the connection ends.
    pub discard: Duration,
}

impl Conn {
    /// Whether the present request's whole time is up.
    pub(super) fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let deadline = match &self.frames {
            Some(frames) => frames.due(),
            None => self.facts().and_then(Connection::deadline).map(Instant::from_std),
        };
        let Some(deadline) = deadline else {
            self.late = None;
            return false;
        };
        let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if late.deadline() != deadline {
            late.as_mut().reset(deadline);
        }
        late.as_mut().poll(cx).is_ready()
    }

    /// Whether the service has been silent for too long. While the client is waited for to take what it said, it need not say more.
    pub(super) fn is_silent(&mut self, cx: &mut Context<'_>) -> bool {
        if !self.out.is_empty() {
            return false;
        }
        let Some(patience) = self.facts().and_then(Connection::silence) else { return false };
        self.silence.waits(&Slowest { patience, rate: 0 }, cx)
    }

    /// Ends a body that does not come: how long the client was waited for counts, and not how long others were.
    pub(super) fn body_in_time(&mut self, read: Poll<io::Result<()>>, count: usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &read {
            Poll::Ready(Ok(())) => self.upload.moved(&self.patience.upload, count),
            Poll::Pending if self.invited && self.upload.waits(&self.patience.upload, cx) => return Poll::Ready(Err(Slow::Upload.into())),
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        read
    }
}
