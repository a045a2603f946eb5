//! What is different where the request is a call of gRPC: its deadline, the bound of its messages, and how it is told that it ends.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::Exchange;
use crate::problem::{Kind, Problem};
use crate::types::{GrpcStatus, Reply, grpc_timeout, is_grpc_call};
use crate::upstream::{Failure, Timeouts};

/// One call.
#[derive(Debug, Default)]
pub(super) struct Grpc {
    /// How long its caller waits, from its arrival.
    pub deadline: Option<Duration>,
    /// How it ended, as far as that is known.
    pub status: Option<GrpcStatus>,
    /// The messages of the request.
    pub messages: Messages,
}

/// Whether the request is a call.
pub(super) fn recognise(req: &RequestHeader) -> Option<Grpc> {
    is_grpc_call(&req.method, req.version, &req.headers).then(Grpc::default)
}

/// Reads the deadline of a call.
///
/// # Errors
/// It is malformed. A call without the bound that its caller has meant could go on for ever.
pub(super) fn deadline(req: &RequestHeader, grpc: &mut Grpc) -> Result<(), Problem> {
    if let Some(value) = req.headers.get(GrpcStatus::TIMEOUT) {
        let read = grpc_timeout::read(value).ok_or_else(|| Problem::new(Kind::BadRequest, "the grpc-timeout is malformed"))?;
        grpc.deadline = Some(read);
    }
    Ok(())
}

/// Hands on what is left of the call's time.
pub(super) fn hand_on(exchange: &Exchange, req: &mut RequestHeader) {
    if let (Some(_), Some(total)) = (&exchange.grpc, exchange.total) {
        let left = grpc_timeout::write(total.saturating_sub(exchange.started.elapsed()));
        let _ = req.insert_header(GrpcStatus::TIMEOUT, left);
    }
}

/// Whether the caller has left the target less time than the service would: that it was up then says nothing of the target, or any caller could have a
/// sound service left alone.
pub(super) fn hurries(exchange: &Exchange, timeouts: &Timeouts, now: Instant) -> bool {
    let left = |deadline: Duration| deadline.saturating_sub(now - exchange.started);
    exchange.grpc.as_ref().and_then(|grpc| grpc.deadline).is_some_and(|deadline| left(deadline) < timeouts.response)
}

/// How the target's answer ended the call: by its header, where that says so, else by its status.
pub(super) fn failure(exchange: &Exchange, status: StatusCode, headers: Option<&HeaderMap>) -> Failure {
    let told = exchange.grpc.as_ref().and_then(|grpc| headers.and_then(GrpcStatus::read).or(grpc.status));
    told.filter(|_| status == StatusCode::OK).map_or(Failure::Status(status), Failure::Grpc)
}

/// How long the target wants to be left alone with this call; an inner none for ever (gRFC A6).
pub(super) fn pushback(headers: &HeaderMap) -> Option<Option<Duration>> {
    let value = headers.get(GrpcStatus::PUSHBACK)?;
    Some(value.to_str().ok().and_then(|millis| millis.parse().ok()).map(Duration::from_millis))
}

/// Takes note of a status where headers or trailers tell one.
pub(super) fn note(exchange: &mut Exchange, headers: &HeaderMap) {
    if let Some(grpc) = &mut exchange.grpc {
        grpc.status = GrpcStatus::read(headers).or(grpc.status);
    }
}

/// How the call ended for its caller, where nothing has told it so far.
pub(super) fn end(exchange: &mut Exchange, written: Option<&ResponseHeader>, gone: bool) {
    if let Some(grpc) = &mut exchange.grpc {
        let answered = written.map(|res| GrpcStatus::of_http(res.status));
        grpc.status = grpc.status.or_else(|| gone.then_some(GrpcStatus::Cancelled)).or(answered);
    }
}

/// The answer to a caller of gRPC that was meant for anyone: its status, as such callers are told.
pub(super) fn told(reply: &Reply) -> Reply {
    let status = GrpcStatus::of_http(reply.status);
    let words = format!("the gateway answered {}", reply.status);
    let own = [header::CONTENT_TYPE, header::CONTENT_ENCODING];
    let mut headers: Vec<_> = reply.headers.iter().filter(|(name, _)| !own.contains(name)).cloned().collect();
    headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/grpc")));
    headers.push((GrpcStatus::HEADER, status.value()));
    headers.push((GrpcStatus::MESSAGE, GrpcStatus::message(&words)));
    Reply { headers, ..Reply::empty(StatusCode::OK) }
}

/// Ends a call whose answer has begun: with trailers, since a stream that is cut says nothing of the reason.
pub(super) async fn cut(session: &mut Session, exchange: &mut Exchange, problem: &Problem) {
    if let Some(grpc) = &mut exchange.grpc {
        grpc.status = Some(problem.grpc_status());
        let _ = session.downstream_session.write_response_trailers(problem.trailers(Some(exchange.cx.request_id()))).await;
    }
}

/// Where the messages of a body begin: each has a flag, four bytes of its length, and as many of its own.
#[derive(Debug, Default)]
pub(super) struct Messages {
    prefix: [u8; 5],
    /// How much of the prefix is here.
    known: usize,
    /// How much of the message is still to come.
    left: usize,
}

impl Messages {
    /// Follows a piece of the body, and gives the length of the longest message that it announces. None where it announces what is no message: then the
    /// body is another's, that is called gRPC to have other bounds.
    pub fn follow(&mut self, mut piece: &[u8]) -> Option<usize> {
        let mut longest = 0;
        while !piece.is_empty() {
            let skipped = self.left.min(piece.len());
            self.left -= skipped;
            piece = piece.get(skipped..).unwrap_or_default();
            for (place, byte) in self.prefix.iter_mut().skip(self.known).zip(piece) {
                *place = *byte;
            }
            let taken = (self.prefix.len() - self.known).min(piece.len());
            self.known += taken;
            piece = piece.get(taken..).unwrap_or_default();
            if self.known == self.prefix.len() {
                let [flag, length @ ..] = self.prefix;
                if flag > 1 {
                    return None;
                }
                self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                self.known = 0;
                longest = longest.max(self.left);
            }
        }
        Some(longest)
    }
}

/// The problem of a call of gRPC that comes to a service which cannot be told of its end: HTTP/1.1 is spoken there, without trailers.
pub(super) fn untold() -> Problem {
    Problem::new(Kind::NotImplemented, "the service is not spoken to in HTTP/2, which gRPC needs")
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    fn request(method: &str, version: Version, kind: &str) -> RequestHeader {
        let mut req = RequestHeader::build(method, b"/a.B/C", None).unwrap();
        req.set_version(version);
        req.insert_header(header::CONTENT_TYPE, kind).unwrap();
        req
    }

    #[test]
    fn a_call_is_known_by_its_content_type() {
        let is = |method: &str, version, kind: &str| recognise(&request(method, version, kind)).is_some();
        for kind in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=utf-8"] {
            assert!(is("POST", Version::HTTP_2, kind), "{kind}");
        }
        for kind in ["application/grpc-web", "application/grpc-web+proto", "application/grpcx", "application/json", "text/plain", ""] {
            assert!(!is("POST", Version::HTTP_2, kind), "{kind}");
        }
        assert!(!is("GET", Version::HTTP_2, "application/grpc") && !is("POST", Version::HTTP_11, "application/grpc"));
    }

    #[test]
    fn messages_are_followed_wherever_they_are_cut() {
        let message = |length: u32| [&[0][..], &length.to_be_bytes(), &vec![7; length as usize]].concat();
        let body = [message(3), message(0), message(300), message(1)].concat();
        for size in [1, 2, 4, 5, 6, 7, 100, 1000] {
            let mut messages = Messages::default();
            let longest = body.chunks(size).map(|piece| messages.follow(piece).unwrap()).max();
            assert_eq!((longest, messages.left, messages.known), (Some(300), 0, 0), "{size}");
        }
        let mut messages = Messages::default();
        assert_eq!(messages.follow(&[0, 0xff, 0xff, 0xff, 0xff, 1]), Some(0xffff_ffff));
        assert_eq!(messages.follow(&[0, 0, 0, 0, 9]), Some(0), "inside a message nothing begins");
        assert_eq!(Messages::default().follow(b"{\"a\": 1}"), None, "that is JSON");
    }

    #[test]
    fn a_target_may_ask_for_a_pause_or_for_an_end() {
        let asked = |value: &'static str| pushback(&HeaderMap::from_iter([(GrpcStatus::PUSHBACK, HeaderValue::from_static(value))]));
        assert_eq!([asked("20"), asked("-1"), asked("x")], [Some(Some(Duration::from_millis(20))), Some(None), Some(None)]);
        assert_eq!(pushback(&HeaderMap::new()), None);
    }
}
