//! Requests that came inside of another: each goes the whole way, as if it had come on the same connection, and its answer comes back here.

mod session;
mod withheld;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, Version, header};
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::ShutdownWatch;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use tokio::sync::{oneshot, watch};

use super::ask::named;
use super::connection::within;
use super::{Connection, Exchange, Gateway, answer};
use crate::handler::{Answered, Came, Inner, Inside};
use crate::problem::{Kind, Problem};
use session::Memory;
use withheld::Withheld;

/// What a request came inside of.
#[derive(Debug)]
pub(super) struct Around {
    /// The id of that request.
    pub id: HeaderValue,
    /// The version in which all came.
    pub version: Version,
    /// When the time of all is up.
    pub ends: Instant,
    /// What services do not get of what that request has said.
    pub withheld: Withheld,
}

impl Around {
    /// Whether one that is asked now has less time than its service gives each, which is not to blame then.
    pub fn hurries(&self, own: Duration, now: Instant) -> bool {
        self.ends.saturating_duration_since(now) < own
    }
}

/// The way in, for the requests inside of one.
pub(super) struct Way {
    gateway: Gateway,
    /// The connection that all of them came on.
    digest: Arc<Digest>,
    authority: HeaderValue,
    id: HeaderValue,
    version: Version,
    /// Who asks, and for which host: for the log.
    client: IpAddr,
    host: Box<str>,
    withheld: Withheld,
    /// Those who came are let to their end: it never turns true.
    shutdown: ShutdownWatch,
}

impl Way {
    /// The way in for what `session` has inside.
    ///
    /// # Errors
    /// That came inside of another itself, or says what it must not, as it might to a service.
    pub fn new(gateway: &Gateway, session: &Session, exchange: &mut Exchange) -> Result<Self, Problem> {
        if exchange.around.is_some() {
            return Err(Problem::new(Kind::BadRequest, "a batch cannot be part of a batch"));
        }
        // What is named there is not theirs: who asks must be among what is.
        named(session.req_header())?;
        let proxy_digest = session.digest().and_then(|digest| digest.proxy_digest.clone());
        Ok(Self {
            gateway: gateway.clone(),
            digest: Arc::new(Digest { ssl_digest: None, timing_digest: Vec::new(), proxy_digest, socket_digest: None }),
            authority: exchange.authority.clone(),
            id: exchange.cx.request_id.clone(),
            version: session.req_header().version,
            client: exchange.cx.client,
            host: exchange.cx.host.clone(),
            withheld: Withheld::of(exchange, session.req_header())?,
            shutdown: watch::channel(false).1,
        })
    }
}

impl Inside for Way {
    fn ask(&self, inner: Inner) -> Pin<Box<dyn Future<Output = Came> + Send>> {
        let Inner { mut head, own, body, most, budget, ends } = inner;
        // Like one of HTTP/2 it has no framing and no connection of its own, and is held to the same rules.
        head.set_version(Version::HTTP_2);
        let _ = head.insert_header(header::HOST, self.authority.clone());
        let (told, came) = oneshot::channel();
        let session = Memory::new(head, body, most, budget.charge(), self.digest.clone(), told);
        let around = Arc::new(Around { id: self.id.clone(), version: self.version, ends, withheld: self.withheld.without(&own) });
        let (proxy, shutdown) = (self.gateway.0.entry.get().cloned(), self.shutdown.clone());
        Box::pin(within(around, async move {
            let Some(proxy) = proxy.and_then(|proxy| proxy.upgrade()) else { return Came::Cut };
            proxy.process_new_http(ServerSession::new_custom(Box::new(session)), &shutdown).await;
            came.await.unwrap_or(Came::Cut)
        }))
    }

    fn most_fields(&self) -> usize {
        self.gateway.limits().header_fields
    }

    fn refuse(&self, method: Option<Method>, path: &str, problem: Problem) -> Answered {
        let mut exchange = Exchange::new(self.gateway.pin());
        if let Some(connection) = self.digest.proxy_digest.as_deref().and_then(Connection::of) {
            exchange.cx.client_cert.clone_from(&connection.client_cert);
        }
        (exchange.cx.client, exchange.cx.host, exchange.cx.path) = (self.client, self.host.clone(), path.into());
        exchange.method = method;
        let withheld = Withheld::default();
        exchange.around = Some(Arc::new(Around { id: self.id.clone(), version: self.version, ends: exchange.started, withheld }));
        exchange.problem = Some(answer::told(&problem));
        let answered = Answered::from(problem.render(Some(exchange.cx.request_id())));
        exchange.tell(answered.status.as_u16(), answered.body.len(), None);
        answered
    }
}

/// What cannot come inside of another.
pub(super) fn form(req: &RequestHeader) -> Result<(), Problem> {
    let no = |detail: &'static str| Err(Problem::new(Kind::NotImplemented, detail));
    let kind = req.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if kind.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc")) {
        return no("a call of gRPC cannot be part of a batch");
    }
    // It would show what the other has said of its client.
    if req.method == Method::TRACE {
        return no("a TRACE cannot be part of a batch");
    }
    Ok(())
}
