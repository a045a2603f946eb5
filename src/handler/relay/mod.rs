//! Carries a WebSocket (RFC 6455) between a client and a service: both halves of the handshake are checked, and then each frame as it goes by.

mod close;
mod deflate;
mod frame;
mod handshake;
mod peer;
mod pump;
#[cfg(test)]
mod tests;
mod text;

pub use handshake::is_asked;
pub use pump::{Closed, Counts, Ended, How};

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use self::handshake::Handshake;
use self::pump::{Terms, pump};
use super::{Conversation, Failed, Said};
use crate::upstream::{Seat, WebSocket};

/// A WebSocket that both sides have agreed to.
pub struct Relay {
    service: Stream,
    early: Bytes,
    seat: Seat,
    deflate: bool,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("seat", &self.seat).finish_non_exhaustive()
    }
}

/// Passes the handshake on, and its answer back. What is no 101 is an answer like any other.
///
/// # Errors
/// A handshake that is none, a service that has its fill or fails, a client that is gone.
pub async fn relay(talk: &mut impl Conversation) -> Result<(), Failed> {
    let has_body = !talk.is_bodiless();
    let handshake = Handshake::read(talk.request(), has_body)?;
    let (head, mut link, seat) = match talk.ask(&handshake).await? {
        Said::Answer(head, link, seat) => (head, link, seat),
        Said::Instead(reply) => return talk.reply(&reply).await,
    };
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let deflate = handshake.is_deflated(&head, seat.websocket.compression);
        talk.head(head).await?;
        let (service, early) = link.switch().await;
        talk.hand_over(Relay { service, early, seat, deflate });
        return Ok(());
    }
    drop(seat);
    talk.head(head).await?;
    loop {
        let piece = tokio::select! {
            piece = link.read() => piece?,
            left = talk.left() => return Err(left),
        };
        match piece {
            Some(piece) => talk.write(piece).await?,
            None => return talk.end().await,
        }
    }
}

impl Relay {
    /// Carries it until it ends, which `ended` then tells of. `ahead` is what the client has sent already, `write` how long a side may take nothing.
    pub async fn run<S>(
        self,
        client: S,
        ahead: Bytes,
        write: Duration,
        counts: &[Counts; 2],
        ending: watch::Receiver<bool>,
        ended: &mut Ended,
    ) where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { service, early, seat, deflate } = self;
        let WebSocket { idle, close, message, .. } = seat.websocket;
        let terms = Terms { idle, close, write, message, deflate };
        pump((client, service), (ahead, early), terms, counts, ending, ended).await;
    }
}
