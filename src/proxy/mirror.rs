//! The copy of a request for another service: taken while the request goes out, sent beside it. Nothing here waits.

use std::time::Duration;

use bytes::Bytes;
use http::header;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use smallvec::SmallVec;
use tokio::sync::OwnedSemaphorePermit;

use super::{Exchange, Gateway};
use crate::routing::{MARK, Mirror};
use crate::upstream::{Backend, CallError, Client};

/// Bytes of an answer that are read away to keep its connection.
const DISCARD: usize = 64 * 1024;

/// How far the copy of a request has come.
#[derive(Default)]
pub(super) enum Copied {
    /// It is not decided yet whether there is one.
    #[default]
    Undecided,
    /// It is being taken.
    Taking(Box<Taking>),
    /// It is on its way, or there is none.
    Done,
}

pub(super) struct Taking {
    head: RequestHeader,
    body: SmallVec<[Bytes; 4]>,
    length: u64,
    room: OwnedSemaphorePermit,
}

/// Takes the header, as it goes to the service. Where no body follows, nobody would be told of its end over HTTP/2.
pub(super) fn head(gateway: &Gateway, session: &mut Session, exchange: &mut Exchange, req: &RequestHeader) {
    match &mut exchange.copied {
        Copied::Undecided => {
            let Some(mirror) = &exchange.route().mirror else { return };
            let taken = take(gateway, exchange, mirror, req);
            exchange.copied = taken.map_or(Copied::Done, Copied::Taking);
        }
        // Another attempt sends the body from its beginning.
        Copied::Taking(taking) => {
            taking.body.clear();
            taking.length = 0;
        }
        Copied::Done => {}
    }
    if session.as_downstream_mut().is_body_empty() {
        body(gateway, session, exchange, None, true);
    }
}

fn take(gateway: &Gateway, exchange: &Exchange, mirror: &Mirror, req: &RequestHeader) -> Option<Box<Taking>> {
    // A copy of a copy could go round in circles.
    if req.headers.contains_key(MARK) || !mirror.wants(&req.method) {
        return None;
    }
    let length = req.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > mirror.body) {
        count(gateway, mirror, "too_large");
        return None;
    }
    let Some(room) = mirror.enter() else {
        count(gateway, mirror, "dropped");
        return None;
    };
    let mut head = req.clone();
    if let Some(name) = exchange.targets().and_then(|targets| targets.deadline_header.as_ref()) {
        head.remove_header(name);
    }
    // They are for the other service alone.
    if let Some(credentials) = exchange.targets().and_then(|targets| targets.credentials.as_ref()) {
        credentials.withdraw(&mut head);
    }
    head.insert_header(MARK, mirror.mark.clone()).ok()?;
    // The copy's service may say another.
    head.insert_header(header::HOST, exchange.authority.clone()).ok()?;
    Some(Box::new(Taking { head, body: SmallVec::new(), length: 0, room }))
}

/// Takes a piece of the body; with the last one the copy goes its way.
pub(super) fn body(gateway: &Gateway, session: &Session, exchange: &mut Exchange, piece: Option<&Bytes>, end: bool) {
    let Copied::Taking(taking) = &mut exchange.copied else { return };
    if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
        taking.length += piece.len() as u64;
        taking.body.push(piece.clone());
    }
    let too_large = exchange.pinned.snapshot.route(exchange.route).mirror.as_ref().filter(|mirror| taking.length > mirror.body);
    if let Some(mirror) = too_large {
        count(gateway, mirror, "too_large");
        exchange.copied = Copied::Done;
    } else if end && let Copied::Taking(taking) = std::mem::replace(&mut exchange.copied, Copied::Done) {
        send(gateway, session.req_header(), exchange, *taking);
    }
}

fn send(gateway: &Gateway, req: &RequestHeader, exchange: &Exchange, taking: Taking) {
    let Some(mirror) = &exchange.route().mirror else { return };
    let call = match Client::begin(&mirror.service, req, &exchange.cx) {
        Ok(call) => call,
        Err(CallError::LeftAlone(_)) => return count(gateway, mirror, "left_alone"),
        Err(_) => return count(gateway, mirror, "failed"),
    };
    let within = match &mirror.service.backend {
        Backend::Targets(targets) => targets.timeouts.total.unwrap_or(targets.timeouts.connect + targets.timeouts.response),
        Backend::Mock(_) => Duration::MAX,
    };
    let (client, shard, service) = (gateway.0.client.clone(), gateway.0.shard.clone(), mirror.service.name.clone());
    tokio::spawn(async move {
        let Taking { head, body, room, .. } = taking;
        let result = match client.send(call, head, &body, DISCARD, within).await {
            Ok(_) | Err(CallError::TooLarge(_)) => "answered",
            Err(_) => "failed",
        };
        shard.mirrors.with_label_values(&[&*service, result]).inc();
        drop(room);
    });
}

fn count(gateway: &Gateway, mirror: &Mirror, result: &str) {
    gateway.0.shard.mirrors.with_label_values(&[&*mirror.service.name, result]).inc();
}
