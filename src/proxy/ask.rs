//! To a service on behalf of a handler: the attempts of a proxied request, on connections of their own.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, StatusCode, header};
use pingora_error::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::exchange::Step;
use super::fallback::{self, Turned};
use super::{Exchange, Gateway, attempts, credentials, outgoing, upstream};
use crate::handler::{Failed, Said, Switch};
use crate::problem::{Kind, Problem};
use crate::types::FRAMING;
use crate::upstream::{Link, Seat, Service};

/// Attempts and fallbacks end by themselves; this bounds what no setting does.
const MOST: u32 = 100;

/// Asks the service, and those behind it, until one answers.
///
/// # Errors
/// None does, or the client has left.
pub(super) async fn ask(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, switch: &impl Switch) -> Result<Said, Failed> {
    // A request that is wrong takes nobody's turn.
    named(session.req_header())?;
    match fallback::enter(gateway, exchange) {
        Ok(()) => {}
        Err(Turned::Reply(reply)) => return Ok(Said::Instead(reply)),
        Err(Turned::Away(problem)) => return Err(problem.into()),
    }
    let mut sits: Option<(Arc<Service>, Seat)> = None;
    for _ in 0..MOST {
        attempts::pause(session, exchange).await?;
        // Who stands in has places of its own.
        let (service, seat) = match sits.take().filter(|(at, _)| exchange.service().is_some_and(|service| Arc::ptr_eq(at, service))) {
            Some(sits) => sits,
            None => sit(exchange)?,
        };
        let error = match attempt(gateway, session, exchange, switch, seat.websocket.compression).await? {
            Ok((head, link)) => return Ok(Said::Answer(head, link, seat)),
            Err(error) => error,
        };
        sits = Some((service, seat));
        if !error.retry() {
            return Err(error.into());
        }
    }
    Err(Problem::new(Kind::BadGateway, "the service could not be reached").cause("it was asked too often").into())
}

/// Takes a place at the service that the request is at.
fn sit(exchange: &Exchange) -> Result<(Arc<Service>, Seat), Problem> {
    let websocket = exchange.targets().and_then(|targets| targets.websocket.as_ref());
    let (Some(service), Some(websocket)) = (exchange.service(), websocket) else {
        return Err(Problem::new(Kind::Internal, "the service has no WebSockets"));
    };
    Ok((service.clone(), websocket.enter()?))
}

/// One attempt. The inner error says whether there is another.
async fn attempt(
    gateway: &Gateway,
    session: &mut Session,
    exchange: &mut Exchange,
    switch: &impl Switch,
    compression: bool,
) -> Result<Result<(Box<ResponseHeader>, Link)>, Failed> {
    if let Err(error) = credentials::ready(gateway, session, exchange).await {
        return Ok(Err(error));
    }
    let peer = match upstream::peer(gateway, session, exchange, false) {
        Ok(peer) => peer,
        Err(error) => return Ok(Err(error)),
    };
    // Its connection is none of those that are kept.
    exchange.turn = None;
    let mut req = session.req_header().clone();
    bare(&mut req)?;
    outgoing::header(session, exchange, &mut req)?;
    switch.ask(&mut req, compression);
    let connected = tokio::select! {
        connected = gateway.0.linker.connect(&peer) => connected,
        left = left(session) => return Err(left.into()),
    };
    let mut link = match connected {
        Ok(link) => link,
        Err(error) => return Ok(Err(attempts::unconnected(gateway, session, exchange, error))),
    };
    exchange.step = Step::Waiting;
    let told = tokio::select! {
        told = link.ask(req, peer.options.read_timeout.unwrap_or(Duration::MAX)) => told,
        left = left(session) => return Err(left.into()),
    };
    let told = told.and_then(|head| {
        if head.status == StatusCode::SWITCHING_PROTOCOLS
            && let Err(wrong) = switch.check(&head, compression)
        {
            return Err(Error::explain(ErrorType::InvalidHTTPHeader, wrong.into_owned()).into_up());
        }
        attempts::answered(gateway, session, exchange, &head)?;
        Ok(head)
    });
    Ok(match told {
        Ok(head) => Ok((head, link)),
        Err(error) => Err(attempts::broken(gateway, session, exchange, error, false)),
    })
}

/// Comes back when the client has left. Meanwhile what was written to it goes out.
pub(super) async fn left(session: &mut Session) -> Box<Error> {
    if !session.is_body_done() {
        std::future::pending::<()>().await;
    }
    match session.downstream_session.read_body_or_idle(true).await {
        Ok(_) => Error::new_down(ErrorType::ConnectionClosed),
        Err(error) => error.into_down(),
    }
}

/// Takes away what was meant for this hop alone (RFC 9110 §7.6.1).
fn bare(req: &mut RequestHeader) -> Result<(), Problem> {
    const ALSO: [HeaderName; 5] = [
        header::EXPECT,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        HeaderName::from_static("proxy-connection"),
        header::CONTENT_LENGTH,
    ];
    for name in named(req)?.iter().chain(&FRAMING).chain(&ALSO) {
        req.remove_header(name);
    }
    Ok(())
}

/// What the Connection header names.
///
/// # Errors
/// It names what a client may not have removed, too much, or what is no header.
pub(super) fn named(req: &RequestHeader) -> Result<Vec<HeaderName>, Problem> {
    /// Names that it may have: as many as Pingora takes of other requests.
    const MOST: usize = 9;
    /// What a client may not have removed: who it is for, and who sent it.
    const KEPT: [HeaderName; 5] =
        [header::HOST, header::FORWARDED, header::VIA, header::AUTHORIZATION, HeaderName::from_static("x-real-ip")];
    let malformed = |detail| Problem::new(Kind::BadRequest, detail);
    let lines = req.headers.get_all(header::CONNECTION).iter();
    let mut named = Vec::new();
    for name in lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
        if named.len() == MOST {
            return Err(malformed("the Connection header names too much"));
        }
        let name = HeaderName::from_bytes(name).map_err(|_| malformed("the Connection header names what is no header"))?;
        if KEPT.contains(&name) || name.as_str().starts_with("x-forwarded-") || name.as_str().starts_with("sec-websocket-") {
            return Err(malformed("the Connection header names what it must not"));
        }
        named.push(name);
    }
    Ok(named)
}
