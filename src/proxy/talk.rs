//! The conversation that handlers run over, as it is with Pingora.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, Version, header};
use pingora_error::{Error, ErrorType};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use pingora_timeout::timeout;

use super::inside::Way;
use super::{Exchange, Gateway, answer, ask, encode, is_http2, outgoing, response, upstream};
use crate::ctx::Ctx;
use crate::handler::{Conversation, Failed, Inside, Relay, Said, Switch};
use crate::observe::{PartTold, Shard};
use crate::problem::{Kind, Problem};
use crate::types::{FRAMING, Reply};
use crate::upstream::Client;

/// A request and its answer, in the hands of a handler.
pub(super) struct Talk<'a> {
    gateway: &'a Gateway,
    session: &'a mut Session,
    pub exchange: &'a mut Exchange,
    /// Whether the client was told to go on with its body, where it waits for that.
    invited: bool,
    /// Whether the answer is a service's, to be passed on.
    passes: bool,
}

impl<'a> Talk<'a> {
    pub(super) fn new(gateway: &'a Gateway, session: &'a mut Session, exchange: &'a mut Exchange) -> Self {
        Self { gateway, session, exchange, invited: false, passes: false }
    }

    async fn put(&mut self, piece: Option<Bytes>) -> Result<(), Failed> {
        let Some(piece) = piece.filter(|piece| !piece.is_empty()) else { return Ok(()) };
        self.exchange.sent += piece.len();
        self.session.write_response_body(Some(piece), false).await.map_err(|error| error.into_down())?;
        Ok(())
    }

    /// See [`outgoing::header`].
    pub(super) fn outgoing(&mut self, req: &mut RequestHeader) -> Result<(), Problem> {
        outgoing::header(self.session, self.exchange, req)
    }
}

impl Conversation for Talk<'_> {
    fn request(&self) -> &RequestHeader {
        self.session.req_header()
    }

    fn cx(&self) -> &Ctx {
        &self.exchange.cx
    }

    fn client(&self) -> Arc<Client> {
        self.gateway.0.client.clone()
    }

    fn shard(&self) -> Arc<Shard> {
        self.gateway.0.shard.clone()
    }

    fn bound(&mut self, total: Duration) -> Instant {
        let total = self.exchange.asks_for().map_or(total, |asked| asked.min(total));
        self.exchange.total = Some(total);
        self.exchange.started + total
    }

    fn introduction(&mut self) -> Result<HeaderMap, Problem> {
        /// What hops before this one have said, which is added to.
        const HOPS: [HeaderName; 7] = [
            header::HOST,
            header::FORWARDED,
            header::VIA,
            HeaderName::from_static("x-forwarded-for"),
            HeaderName::from_static("x-forwarded-host"),
            HeaderName::from_static("x-forwarded-proto"),
            HeaderName::from_static("x-forwarded-port"),
        ];
        // What would go out of a request that says nothing is the gateway's own word.
        let req = self.session.req_header();
        let internal = |error| Problem::new(Kind::Internal, "the request cannot be introduced").cause(error);
        let mut own = RequestHeader::build_no_case(req.method.clone(), b"/", Some(2 * HOPS.len())).map_err(internal)?;
        own.set_uri(req.uri.clone());
        own.set_version(req.version);
        for name in &HOPS {
            for value in req.headers.get_all(name) {
                own.append_header(name.clone(), value.clone()).map_err(internal)?;
            }
        }
        self.outgoing(&mut own)?;
        let mut told = http::request::Parts::from(own).headers;
        if self.exchange.parts().0.minds_attempts() {
            // So is what a policy takes from the client's headers, under a name that the client has not used.
            let mut whole = self.session.req_header().clone();
            self.outgoing(&mut whole)?;
            let client = &self.session.req_header().headers;
            let is_made = |name: &HeaderName| HOPS.contains(name) || !client.contains_key(name);
            let made: Vec<_> = whole.headers.iter().filter(|(name, _)| is_made(name) && !told.contains_key(*name)).collect();
            for (name, value) in made {
                told.append(name.clone(), value.clone());
            }
        }
        for name in FRAMING.iter().chain([&header::ACCEPT_ENCODING]) {
            told.remove(name);
        }
        Ok(told)
    }

    fn inside(&mut self) -> Result<Arc<dyn Inside>, Problem> {
        Ok(Arc::new(Way::new(self.gateway, self.session, self.exchange)?))
    }

    fn note(&mut self, parts: Vec<PartTold>) {
        self.exchange.parts_told = parts;
    }

    fn is_bodiless(&mut self) -> bool {
        self.session.as_downstream_mut().is_body_empty()
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Failed> {
        if let Some(held) = self.exchange.held.take().filter(|held| !held.is_empty()) {
            return Ok(Some(held));
        }
        let client = &mut self.session.downstream_session;
        if !self.invited && client.req_header().headers.contains_key(header::EXPECT) {
            client.write_continue_response().await.map_err(|error| error.into_down())?;
        }
        self.invited = true;
        let patience = upstream::within(self.exchange, self.gateway.timeouts().body.into());
        let late = || Error::new_down(ErrorType::ReadTimedout);
        let piece = timeout(patience, client.read_request_body()).await.map_err(|_| late())?.map_err(|error| error.into_down())?;
        if let Some(piece) = &piece {
            upstream::body(self.gateway, self.exchange, piece)?;
        }
        Ok(piece)
    }

    async fn reply(&mut self, reply: &Reply) -> Result<(), Failed> {
        Ok(answer::reply(self.session, self.exchange, reply).await?)
    }

    async fn head(&mut self, mut res: Box<ResponseHeader>) -> Result<(), Failed> {
        let Self { gateway, session, exchange, passes, .. } = self;
        if *passes {
            response::up(gateway, session, exchange, &mut res);
        } else {
            exchange.own_answer = true;
            answer::up(session, exchange, &mut res);
            answer::last(session, exchange);
            answer::discard(&mut session.downstream_session);
        }
        frame(session, &mut res)?;
        exchange.shown = Some(res.status);
        let ends = Reply::has_no_body(res.status);
        session.write_response_header(res, ends).await.map_err(|error| error.into_down())?;
        Ok(())
    }

    async fn write(&mut self, piece: Bytes) -> Result<(), Failed> {
        let mut piece = Some(piece);
        encode::piece(self.exchange, &mut piece, false)?;
        self.put(piece).await
    }

    async fn end(&mut self) -> Result<(), Failed> {
        let rest = encode::rest(self.exchange)?;
        self.put(rest).await?;
        self.session.write_response_body(None, true).await.map_err(|error| error.into_down())?;
        Ok(())
    }

    async fn left(&mut self) -> Failed {
        ask::left(self.session).await.into()
    }

    async fn ask(&mut self, switch: &impl Switch) -> Result<Said, Failed> {
        self.passes = true;
        let said = ask::ask(self.gateway, self.session, self.exchange, switch).await;
        self.passes = matches!(said, Ok(Said::Answer(..)));
        said
    }

    fn hand_over(&mut self, relay: Relay) {
        // What comes now says nothing of the service: its part was the handshake.
        upstream::ended(self.gateway, self.exchange, None, None);
        self.exchange.relay = Some(Box::new(relay));
    }
}

/// What says where the answer ends (RFC 9112 §6.3), or that it changes the protocol.
fn frame(session: &mut Session, res: &mut ResponseHeader) -> Result<(), Box<Error>> {
    if res.status == StatusCode::SWITCHING_PROTOCOLS {
        // RFC 9112 §6.1: what follows is no body.
        res.remove_header(&header::TRANSFER_ENCODING);
        res.insert_header(header::CONNECTION, "Upgrade")?;
        return res.insert_header(header::UPGRADE, "websocket");
    }
    res.remove_header(&header::CONNECTION);
    let told = res.headers.contains_key(header::CONTENT_LENGTH) || Reply::has_no_body(res.status);
    if is_http2(session.req_header()) || told {
        res.remove_header(&header::TRANSFER_ENCODING);
    } else if session.req_header().version == Version::HTTP_10 {
        session.set_keepalive(None);
    } else {
        res.insert_header(header::TRANSFER_ENCODING, "chunked")?;
    }
    Ok(())
}
