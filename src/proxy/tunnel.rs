//! What is left of a request once its connection carries another protocol: the relay, and what is to be written down at its end. The request itself is put
//! away, with Pingora's session and the snapshot that it had: both would be held for hours.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::book::Book;
use super::{Exchange, Gateway};
use crate::ctx::Ctx;
use crate::handler::{Closed, Counts, Ended, How, Relay};
use crate::observe::{Closing, Line};
use crate::state::InFlight;

/// A relay that takes over a client's connection.
pub struct Tunnel {
    relay: Box<Relay>,
    open: Open,
}

/// An open relay. Its end is written down, whatever it is.
struct Open {
    book: Arc<Book>,
    write: Duration,
    cx: Ctx,
    route: Arc<str>,
    service: Arc<str>,
    fallback: Option<Box<str>>,
    target: Option<HeaderValue>,
    attempts: u32,
    time: SystemTime,
    started: Instant,
    upstream_started: Option<Instant>,
    ended: Ended,
    count: IntGauge,
    /// Counts at its target as long as it lives.
    _in_flight: Option<InFlight>,
}

impl Tunnel {
    /// Of a request that was answered with 101.
    pub(super) fn new(gateway: &Gateway, exchange: &mut Exchange, relay: Box<Relay>) -> Box<Self> {
        // It is written down at the end of what begins here.
        exchange.told = true;
        let service = exchange.service().map_or_else(|| "".into(), |service| service.name.clone());
        let count = gateway.0.shard.websockets.with_label_values(&[&*service]);
        count.inc();
        let open = Open {
            book: exchange.pinned.book.clone(),
            write: gateway.timeouts().write.into(),
            route: exchange.route().name.clone(),
            fallback: exchange.fallback().map(Into::into),
            service,
            target: exchange.target.take(),
            attempts: exchange.attempts,
            time: exchange.time,
            started: exchange.started,
            upstream_started: exchange.upstream_started,
            ended: Ended::default(),
            count,
            _in_flight: exchange.in_flight.take(),
            cx: std::mem::replace(&mut exchange.cx, Ctx::new(HeaderValue::from_static("-"))),
        };
        Box::new(Self { relay, open })
    }

    /// Relays until the end. `ahead` is what the client has sent already; `ending` turns true when the process shall end.
    pub async fn run<S>(self: Box<Self>, client: S, ahead: Bytes, ending: watch::Receiver<bool>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { relay, mut open } = *self;
        let shard = &open.book.shard;
        let counts = ["client", "service"].map(|from| Counts {
            messages: shard.websocket_messages.with_label_values(&[&*open.service, from]),
            bytes: shard.websocket_bytes.with_label_values(&[&*open.service, from]),
        });
        relay.run(client, ahead, open.write, &counts, ending, &mut open.ended).await;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Without a reason it was not let come to its end.
        let cut = Closed { by: "gateway", how: How::Cut, code: None, what: None };
        let Closed { by, how, code, what } = self.ended.close.unwrap_or(cut);
        self.count.dec();
        self.book.shard.websocket_closes.with_label_values(&[&*self.service, by, how.name()]).inc();
        let line = Line {
            method: "GET",
            route: &self.route,
            service: Some(&self.service),
            fallback: self.fallback.as_deref(),
            target: self.target.as_ref().and_then(|target| target.to_str().ok()),
            status: 101,
            cause: what,
            websocket: Some(Closing { by, how: how.name(), code }),
            received: usize::try_from(self.ended.received).unwrap_or(usize::MAX),
            sent: usize::try_from(self.ended.sent).unwrap_or(usize::MAX),
            attempts: Some(self.attempts).filter(|attempts| *attempts > 1),
            ..Line::of(&self.cx, self.time, self.started, self.upstream_started)
        };
        self.book.record(&line);
    }
}
