//! What is written down of a request, once, whatever became of it.

use std::borrow::Cow;

use super::{Exchange, upstream};
use crate::observe::Line;
use crate::routing::Destination;
use crate::types::GrpcStatus;

impl Exchange {
    /// Writes down what happened: the answer's status, 0 where there was none, the bytes of its body, and why it was cut off, where it was.
    pub(super) fn tell(&mut self, status: u16, sent: usize, cut: Option<Cow<'_, str>>) {
        self.told = true;
        let service = match self.destination() {
            Destination::Service { service, .. } => Some(&*service.name),
            _ => None,
        };
        let (told, unknown) = (self.problem.as_ref(), self.method.is_none());
        let line = Line {
            method: self.method.as_ref().map_or("-", |method| method.as_str()),
            route: if unknown { "-" } else { &self.route().name },
            service,
            fallback: self.fallback(),
            target: self.target.as_ref().and_then(|target| target.to_str().ok()),
            status,
            problem: told.map(|told| told.kind),
            policy: told.and_then(|told| told.policy),
            cause: told.and_then(|told| told.cause.as_deref()).or(cut.as_deref()),
            received: usize::try_from(self.received).unwrap_or(usize::MAX),
            sent,
            attempts: Some(self.attempts).filter(|attempts| *attempts > 1),
            grpc_status: self.grpc.as_ref().map(|call| call.status.unwrap_or(GrpcStatus::Unavailable).code()),
            parts: &self.parts_told,
            batch: self.around.as_ref().and_then(|around| around.id.to_str().ok()),
            ..Line::of(&self.cx, self.time, self.started, self.upstream_started)
        };
        let book = &self.pinned.book;
        book.record(&line);
        if let (true, Destination::Service { service, .. }) = (self.split, self.destination()) {
            book.shard.splits.with_label_values(&[line.route, &*service.name, itoa::Buffer::new().format(status)]).inc();
        }
    }
}

/// A request that is dropped before its end: where the process will not wait for it any longer, by a panic, or with what it came inside of.
impl Drop for Exchange {
    fn drop(&mut self) {
        if self.told {
            return;
        }
        let why = if std::thread::panicking() {
            "a panic ended the request"
        } else if upstream::is_late(self) {
            self.step.late()
        } else if self.around.is_some() {
            "what it came inside of was over"
        } else {
            "the request was cut off when the process ended"
        };
        let (status, sent) = (self.shown.map_or(0, |status| status.as_u16()), self.sent);
        self.tell(status, sent, Some(why.into()));
    }
}
