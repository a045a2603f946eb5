//! One HTTP/2 connection (RFC 9113), from its preface to its last answer: every request on it runs by itself, on the same worker.

mod session;
mod stream;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use parking_lot::Mutex;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use tokio::time::{Instant, sleep, timeout};

use super::conn::{Conn, Patience};
use super::frames::{Allowance, Excess, Verdict};
use crate::config::ServerConfig;
use crate::observe::Shard;
use crate::proxy::on_stream;
use stream::Stream;

/// What a client is told that agreed upon HTTP/2 and speaks something else: SETTINGS, since they come first, and a GOAWAY with PROTOCOL_ERROR
/// (RFC 9113 §3.4).
pub const MISMATCH: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Bytes of answers that wait for one request's client, beyond what the client itself has room for.
const SEND_BUFFER: usize = 64 * 1024;

/// What a connection may take, and who counts what it took too much of.
#[derive(Clone, Debug)]
pub struct Http2 {
    options: Builder,
    allowance: Allowance,
    patience: Arc<Patience>,
    /// Requests at once.
    streams: u32,
    /// Requests in all, before the client is told to connect anew.
    requests: u32,
    /// Between two requests, and before the first.
    idle: Duration,
    /// Who counts; nobody where operators are served.
    shard: Option<Arc<Shard>>,
}

impl Http2 {
    pub fn new(config: &ServerConfig, patience: Arc<Patience>, shard: Option<Arc<Shard>>) -> Self {
        let (limits, times) = (&config.limits, &config.timeouts);
        let mut options = Builder::new();
        // Our own bound is in bytes as HTTP/1.1 would have them, and is answered by our own door; here each field counts 32 more (RFC 9113 §10.5.1).
        // What is above this as well gets a bare 431 of the library's, and four times that ends the connection.
        let list = limits.header.bytes().saturating_mul(2).saturating_add(limits.header_fields.saturating_mul(64));
        options.max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX));
        options.max_concurrent_streams(limits.streams);
        options.max_send_buffer_size(SEND_BUFFER);
        // Else one request whose service does not read would hold up the bodies of all others.
        options.initial_connection_window_size(limits.streams.saturating_mul(WINDOW).clamp(WINDOW, MOST_WINDOW));
        Self {
            options,
            allowance: Allowance { control: limits.control_frames, resets: limits.resets, header: times.header.into() },
            patience,
            streams: limits.streams,
            requests: limits.requests,
            idle: times.idle.into(),
            shard,
        }
    }

    fn note(&self, excess: Excess) {
        if let Some(shard) = &self.shard {
            shard.floods.with_label_values(&[excess.name()]).inc();
        }
    }

    fn note_end(&self, bound: &str) {
        if let Some(shard) = &self.shard {
            shard.connection_ends.with_label_values(&[bound]).inc();
        }
    }
}

/// Bytes of one request's body that may be under way (RFC 9113 §6.9.2).
const WINDOW: u32 = 65_535;

/// The same of all requests of a connection, at most.
const MOST_WINDOW: u32 = 16 * 1024 * 1024;

/// Serves the connection until it ends.
pub async fn serve<A>(mut conn: Box<Conn>, app: &Arc<A>, terms: &Http2, shutdown: &mut ShutdownWatch)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let digest = Digest { ssl_digest: None, timing_digest: Vec::new(), proxy_digest: Some(conn.shared_facts()), socket_digest: None };
    let verdict = conn.follow_frames(&terms.allowance);
    // The preface is here already: this only waits for our own SETTINGS to be taken.
    let Ok(Ok(connection)) = timeout(terms.allowance.header, terms.options.handshake(conn)).await else { return };
    Serving { connection, verdict, digest: Arc::new(digest), app, terms, open: Arc::default() }.run(shutdown).await;
}

type Accepted = (http::Request<RecvStream>, SendResponse<Bytes>);

/// What comes next.
#[expect(clippy::large_enum_variant, reason = "it lives for the length of a match, and a box would cost each request an allocation")]
enum Event {
    Request(Accepted),
    /// The connection has ended, by an error or not.
    Ended,
    /// It cannot go on.
    Over(Excess),
    /// The process was told to end.
    Leave,
    /// Nothing has come for a while.
    Quiet,
}

struct Serving<'a, A> {
    connection: Connection<Box<Conn>, Bytes>,
    verdict: Arc<Verdict>,
    digest: Arc<Digest>,
    app: &'a Arc<A>,
    terms: &'a Http2,
    open: Arc<Open>,
}

impl<A> Serving<'_, A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn run(mut self, shutdown: &mut ShutdownWatch) {
        let terms = self.terms;
        let (mut count, mut patience, mut leaving) = (0_u32, terms.idle, false);
        let mut taking = Taking { went: 0, since: Instant::now() };
        let mut quiet = pin!(sleep(patience));
        loop {
            let event = tokio::select! {
                biased;
                _ = shutdown.wait_for(|ending| *ending), if !leaving => Event::Leave,
                event = self.next() => event,
                () = &mut quiet => Event::Quiet,
            };
            match event {
                Event::Request(request) => {
                    count = count.saturating_add(1);
                    self.begin(request, shutdown);
                    if count < terms.requests {
                        continue;
                    }
                    if !leaving {
                        terms.note_end("requests");
                    }
                }
                Event::Ended => return self.ended(),
                Event::Over(excess) => {
                    terms.note(excess);
                    let reason = if excess == Excess::NoSettings { Reason::PROTOCOL_ERROR } else { Reason::ENHANCE_YOUR_CALM };
                    return self.close(reason).await;
                }
                Event::Leave => {}
                Event::Quiet => {
                    let since = self.open.idle_since();
                    let until = since.unwrap_or_else(Instant::now) + patience;
                    if until > Instant::now() {
                        quiet.as_mut().reset(until);
                        continue;
                    }
                    // The answers are made, and the client still takes them.
                    if self.connection.has_streams() && taking.goes_on(self.verdict.went(), terms.patience.download.patience) {
                        quiet.as_mut().reset(Instant::now() + terms.patience.farewell);
                        continue;
                    }
                    terms.note_end(if leaving { "farewell" } else { "idle" });
                    if leaving {
                        return self.close(Reason::NO_ERROR).await;
                    }
                }
            }
            // What the client has sent by the time it hears of this is answered still.
            if !leaving {
                self.connection.graceful_shutdown();
                (leaving, patience) = (true, terms.patience.farewell);
                quiet.as_mut().reset(Instant::now() + patience);
            } else if count > terms.requests.saturating_add(terms.streams) {
                return self.close(Reason::NO_ERROR).await;
            }
        }
    }

    /// Drives the connection until something is to be done.
    async fn next(&mut self) -> Event {
        poll_fn(|cx| {
            let came = self.connection.poll_accept(cx);
            if let (refused @ 1.., Some(shard)) = (self.verdict.take_refused(), &self.terms.shard) {
                shard.streams_refused.inc_by(refused);
            }
            match came {
                Poll::Ready(Some(Ok(request))) => Poll::Ready(Event::Request(request)),
                Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Event::Ended),
                Poll::Pending => self.verdict.get().map_or(Poll::Pending, |excess| Poll::Ready(Event::Over(excess))),
            }
        })
        .await
    }

    /// Starts to serve a request.
    fn begin(&self, (request, mut answer): Accepted, shutdown: &ShutdownWatch) {
        // Requests that were taken back may still be on their way to their end.
        if self.open.count() / 2 >= self.terms.streams {
            answer.send_reset(Reason::REFUSED_STREAM);
            return;
        }
        let session = Stream::new(request, answer, self.digest.clone(), self.terms.patience.clone(), self.verdict.clone());
        let (app, shutdown, held) = (self.app.clone(), shutdown.clone(), Held::new(&self.open));
        tokio::spawn(on_stream(async move {
            let _held = held;
            app.process_new_http(ServerSession::new_custom(Box::new(session)), &shutdown).await;
        }));
    }

    /// Ends the connection at once, and says why.
    async fn close(&mut self, reason: Reason) {
        self.connection.abrupt_shutdown(reason);
        let said = poll_fn(|cx| self.connection.poll_closed(cx));
        let _ = timeout(self.terms.patience.discard, said).await;
    }

    /// Notes where the library had enough of the client.
    fn ended(&self) {
        if let Some(excess) = self.verdict.of_library() {
            self.terms.note(excess);
        }
    }
}

/// Whether a client takes what waits for it.
struct Taking {
    went: u64,
    since: Instant,
}

impl Taking {
    /// Whether something went since a while ago.
    fn goes_on(&mut self, went: u64, patience: Duration) -> bool {
        if went != self.went {
            *self = Self { went, since: Instant::now() };
        }
        self.since.elapsed() < patience
    }
}

/// The requests of a connection that are not at their end, and since when there are none.
struct Open(Mutex<(u32, Option<Instant>)>);

impl Default for Open {
    fn default() -> Self {
        Self(Mutex::new((0, Some(Instant::now()))))
    }
}

impl Open {
    fn count(&self) -> u32 {
        self.0.lock().0
    }

    /// Since when there are none; none where there are some.
    fn idle_since(&self) -> Option<Instant> {
        self.0.lock().1
    }
}

/// One of them.
struct Held(Arc<Open>);

impl Held {
    fn new(open: &Arc<Open>) -> Self {
        let mut state = open.0.lock();
        *state = (state.0 + 1, None);
        Self(open.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.0 -= 1;
        if state.0 == 0 {
            state.1 = Some(Instant::now());
        }
    }
}
