//! The only room that knows Pingora's `Session`. This file is its table of contents: which phase does what.

mod answer;
mod ask;
mod attempts;
mod book;
mod busy;
mod connection;
mod credentials;
mod encode;
mod exchange;
mod fallback;
mod finish;
mod forwarded;
mod gone;
mod grpc;
mod held;
mod inside;
mod mirror;
mod outgoing;
mod request;
mod response;
mod slow;
mod talk;
mod told;
mod tunnel;
mod upstream;

use book::Book;
use busy::Busy;
use connection::is_http2;
pub use connection::{Connection, on_stream};
pub use exchange::Exchange;
use exchange::Step;
pub use slow::Slow;
pub use tunnel::Tunnel;

use std::os::fd::RawFd;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use ipnet::IpNet;
use parking_lot::Mutex;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, HttpProxy, ProxyHttp, ProxyWarnLogContext, Session};

use crate::config::{ClientTimeouts, Limits, ServerConfig};
use crate::observe::{AccessLog, Shard};
use crate::problem::{Kind, Problem};
use crate::snapshot::{Live, Snapshot};
use crate::upstream::{Client, Linker};

/// The whole HTTP/1.1 answer to a request that never became one, where nobody counts.
pub fn raw_answer(problem: Problem) -> Vec<u8> {
    answer::raw(problem, "-")
}

/// The gateway in a `Via`, behind the version of what it received (RFC 9110 §7.6.3).
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2 tidegate",
        Version::HTTP_10 => "1.0 tidegate",
        _ => "1.1 tidegate",
    })
}

/// The snapshot as one worker holds it: its own outer count, so that requests on different cores never touch the same one.
pub(crate) struct Pinned {
    generation: u64,
    snapshot: Arc<Snapshot>,
    live: Arc<Live>,
    book: Arc<Book>,
}

/// The gateway as one worker runs it.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    live: Arc<Live>,
    pinned: Mutex<Arc<Pinned>>,
    shard: Arc<Shard>,
    /// For requests beside those that are forwarded.
    client: Arc<Client>,
    /// For those whose connection is theirs alone.
    linker: Linker,
    book: Arc<Book>,
    trusted: Arc<[IpNet]>,
    limits: Limits,
    timeouts: ClientTimeouts,
    busy: Busy,
    /// Where requests go that come inside of others.
    entry: OnceLock<Weak<HttpProxy<Gateway>>>,
}

impl Gateway {
    /// The gateway for one worker.
    pub fn new(
        worker: usize,
        live: Arc<Live>,
        shard: Arc<Shard>,
        log: Arc<AccessLog>,
        trusted: Arc<[IpNet]>,
        config: &ServerConfig,
    ) -> Self {
        let book = Arc::new(Book { worker, shard: shard.clone(), log });
        let pinned = Pinned { generation: live.generation(), snapshot: live.load(), live: live.clone(), book: book.clone() };
        let (limits, timeouts) = (config.limits.clone(), config.timeouts.clone());
        let client = Arc::new(Client::new(shard.clone(), config.upstream_connections));
        Self(Arc::new(Inner {
            live,
            pinned: Mutex::new(Arc::new(pinned)),
            shard,
            client,
            linker: Linker::default(),
            book,
            trusted,
            limits,
            timeouts,
            busy: Busy::default(),
            entry: OnceLock::new(),
        }))
    }

    /// What the keep-alive loop sends for a request that never became one: counted and logged as any other.
    pub fn refused(&self, problem: Problem, connection: &Connection) -> Vec<u8> {
        let mut exchange = Exchange::new(self.pin());
        exchange.cx.client = connection.peer.ip().to_canonical();
        exchange.cx.client_cert.clone_from(&connection.client_cert);
        let status = problem.kind.status().as_u16();
        let told = answer::told(&problem);
        let bytes = answer::raw(problem, exchange.cx.request_id());
        exchange.problem = Some(told);
        exchange.tell(status, bytes.len(), None);
        bytes
    }

    /// Tells it where requests go that come inside of others: to itself, as Pingora runs it.
    pub fn lead_to(&self, proxy: &Arc<HttpProxy<Gateway>>) {
        let _ = self.0.entry.set(Arc::downgrade(proxy));
    }

    /// Makes what the first request that asks others would wait for, where there can be one. Called on the worker's runtime.
    pub fn prepare(&self) {
        self.prepare_for(&self.0.live.load());
    }

    fn prepare_for(&self, snapshot: &Snapshot) {
        if snapshot.asks()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let client = self.0.client.clone();
            runtime.spawn(async move { client.prepare().await });
        }
    }

    fn limits(&self) -> &Limits {
        &self.0.limits
    }

    fn timeouts(&self) -> &ClientTimeouts {
        &self.0.timeouts
    }

    fn trusted(&self) -> &[IpNet] {
        &self.0.trusted
    }

    /// The present snapshot. The lock is the worker's own.
    fn pin(&self) -> Arc<Pinned> {
        let mut pinned = self.0.pinned.lock();
        let generation = self.0.live.generation();
        if pinned.generation != generation {
            let snapshot = self.0.live.load();
            self.prepare_for(&snapshot);
            *pinned = Arc::new(Pinned { generation, snapshot, live: self.0.live.clone(), book: self.0.book.clone() });
        }
        pinned.clone()
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Box<Exchange>;

    fn new_ctx(&self) -> Self::CTX {
        Box::new(Exchange::new(self.pin()))
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, exchange: &mut Self::CTX) -> Result<bool> {
        request::down(self, session, exchange).await
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, exchange: &mut Self::CTX) -> Result<bool> {
        upstream::admit(self, session, exchange).await
    }

    async fn upstream_peer(&self, session: &mut Session, exchange: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        attempts::pause(session, exchange).await?;
        credentials::ready(self, session, exchange).await?;
        let is_open = !session.is_body_done();
        upstream::peer(self, session, exchange, is_open)
    }

    fn fail_to_connect(&self, session: &mut Session, _: &HttpPeer, exchange: &mut Self::CTX, error: Box<Error>) -> Box<Error> {
        attempts::unconnected(self, session, exchange, error)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: RawFd,
        _: Option<&Digest>,
        exchange: &mut Self::CTX,
    ) -> Result<()> {
        exchange.step = Step::Waiting;
        Ok(())
    }

    async fn upstream_request_filter(&self, session: &mut Session, req: &mut RequestHeader, exchange: &mut Self::CTX) -> Result<()> {
        outgoing::header(session, exchange, req).map_err(|problem| upstream::raise(exchange, problem))?;
        request::expected(session, req).await?;
        upstream::leaves(session, exchange, req);
        mirror::head(self, session, exchange, req);
        Ok(())
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Self::CTX,
    ) -> Result<()> {
        held::fill(exchange, body);
        // Pingora's issue 935: an empty last piece would end a chunked body twice and poison the kept connection.
        if end && body.as_ref().is_some_and(Bytes::is_empty) {
            *body = None;
        }
        // Towards a target over HTTP/2 Pingora heeds no other error here, and the request would wait for an answer to half of it.
        upstream::body(self, exchange, body.as_deref().unwrap_or_default()).map_err(|error| error.into_down())?;
        upstream::invited(session, exchange);
        if exchange.grpc.is_some() {
            upstream::heard(session, exchange);
        }
        if end {
            upstream::sent(session, exchange);
        }
        mirror::body(self, session, exchange, body.as_ref(), end);
        Ok(())
    }

    async fn upstream_response_filter(&self, session: &mut Session, res: &mut ResponseHeader, exchange: &mut Self::CTX) -> Result<()> {
        attempts::answered(self, session, exchange, res)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        exchange: &mut Self::CTX,
        reused: bool,
    ) -> Box<Error> {
        attempts::broken(self, session, exchange, error, reused)
    }

    async fn response_filter(&self, session: &mut Session, res: &mut ResponseHeader, exchange: &mut Self::CTX) -> Result<()> {
        if res.status == StatusCode::SWITCHING_PROTOCOLS {
            // Nobody asked for it: upgrades are not passed on.
            return Err(upstream::raise(exchange, Problem::new(Kind::BadGateway, "the service switched to another protocol unasked")));
        }
        response::up(self, session, exchange, res);
        Ok(())
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        encode::piece(exchange, body, end)?;
        exchange.sent += body.as_ref().map_or(0, Bytes::len);
        upstream::heard(session, exchange);
        if upstream::is_late(exchange) { Err(upstream::raise(exchange, upstream::late(exchange.step))) } else { Ok(None) }
    }

    async fn response_trailer_filter(&self, _: &mut Session, trailers: &mut HeaderMap, exchange: &mut Self::CTX) -> Result<Option<Bytes>> {
        grpc::note(exchange, trailers);
        // The end of what is encoded takes the place of trailers: Pingora has one or the other.
        encode::rest(exchange)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Self::CTX) -> FailToProxy {
        let late = upstream::is_late(exchange);
        let step = upstream::step(session, exchange);
        let problem = exchange.pending.take().or_else(|| late.then(|| upstream::late(step))).or_else(|| response::problem(error));
        let problem = problem.map(|problem| upstream::tell_step(problem, step, exchange.attempts));
        // Once an answer has begun there is no other: the connection is cut, which the client can tell from an end. A 1xx is none yet.
        let begun = session.response_written().is_some_and(|res| !res.status.is_informational());
        if begun {
            if let Some(problem) = &problem {
                grpc::cut(session, exchange, problem).await;
            }
            exchange.cut = problem.map(|problem| problem.detail);
        } else if let Some(reply) = exchange.reply.take() {
            exchange.replied = true;
            let _ = answer::reply(session, exchange, &reply).await;
        } else if let Some(problem) = problem {
            let late = late || Slow::of(error) == Some(Slow::Service);
            if *error.esource() == ErrorSource::Downstream && !upstream::is_pending(error) && !(late && session.is_body_done()) {
                // What is left of this request cannot be told apart from a next one.
                session.set_keepalive(None);
            }
            let _ = answer::problem(session, exchange, problem).await;
        }
        FailToProxy { error_code: session.response_written().map_or(0, |res| res.status.as_u16()), can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _session: &Session, _exchange: &Self::CTX, _error: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Self::CTX, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Self::CTX) {
        finish::finish(self, session, error, exchange).await;
    }
}
