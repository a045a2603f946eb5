//! The life of a relay: frames go both ways as they come, until both sides have said farewell, or the bound for that is over.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use prometheus::IntCounter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::close;
use super::frame::{Checker, Side, Violation};
use super::peer::{Loss, Peer};

/// Bytes that are read at once, and so the most that wait for a side that is slower than the other.
const READ: usize = 16 * 1024;

thread_local! {
    /// What is read goes here first, so that a relay without traffic holds no buffer.
    static ROOM: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// What a relay may take.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Without a byte of either side, or of what waits for one.
    pub idle: Duration,
    /// For both sides to say farewell, from the first Close on.
    pub close: Duration,
    /// For a side to take a piece of what it gets.
    pub write: Duration,
    /// Bytes of a message.
    pub message: u64,
    /// Whether messages may be compressed.
    pub deflate: bool,
}

/// What is counted of one direction while it goes on.
#[derive(Debug)]
pub struct Counts {
    /// Messages that ended.
    pub messages: IntCounter,
    /// Bytes, with the headers of frames.
    pub bytes: IntCounter,
}

/// How a relay ends, as far as it has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ended {
    /// Bytes that the client has sent.
    pub received: u64,
    /// Bytes that the service has sent.
    pub sent: u64,
    /// Who ended it, and how; none while it goes on.
    pub close: Option<Closed>,
}

/// Who ended a relay, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// `client`, `service` or `gateway`.
    pub by: &'static str,
    /// The word for how.
    pub how: How,
    /// The code that was said, where one was.
    pub code: Option<u16>,
    /// What rule was broken.
    pub what: Option<&'static str>,
}

/// How a relay ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// A side said farewell.
    Closed,
    /// A side's connection ended without a Close.
    Cut,
    /// A side took nothing for too long.
    Stalled,
    /// A side broke the rules.
    Violation,
    /// A side sent a message over the bound.
    TooLarge,
    /// Nothing came for too long.
    Idle,
    /// The process ends, or another one takes its place.
    Draining,
}

impl How {
    /// The stable word for it, in metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            How::Closed => "closed",
            How::Cut => "cut",
            How::Stalled => "stalled",
            How::Violation => "violation",
            How::TooLarge => "too_large",
            How::Idle => "idle",
            How::Draining => "draining",
        }
    }
}

/// What both directions have a hand in.
struct Shared<'a> {
    ended: &'a mut Ended,
    terms: Terms,
    /// When a byte came, or waited for a side, last.
    active: Instant,
    /// Running from the first farewell on.
    closing: Option<Pin<Box<Sleep>>>,
}

impl Shared<'_> {
    /// The first reason is the one that is told.
    fn close(&mut self, closed: Closed) {
        self.ended.close.get_or_insert(closed);
        self.closing.get_or_insert_with(|| Box::pin(sleep(self.terms.close)));
    }
}

/// Relays until the end, which `ended` then tells of. `early` is what each side has sent before.
pub async fn pump<A, B>(
    (client, service): (A, B),
    early: (Bytes, Bytes),
    terms: Terms,
    counts: &[Counts; 2],
    mut ending: watch::Receiver<bool>,
    ended: &mut Ended,
) where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let checker = |side| Checker::new(side, terms.deflate, terms.message);
    let mut client = Peer::new(client, checker(Side::Client), Side::Client, early.0, terms.write);
    let mut service = Peer::new(service, checker(Side::Service), Side::Service, early.1, terms.write);
    let mut shared = Shared { ended, terms, active: Instant::now(), closing: None };
    let mut idle = std::pin::pin!(sleep_until(shared.active + terms.idle));
    let mut ending = std::pin::pin!(ending.wait_for(|ending| *ending));
    let mut told = false;
    let [up, down] = counts;
    poll_fn(|cx| {
        if !told && ending.as_mut().poll(cx).is_ready() {
            told = true;
            dismiss(&mut client, &mut service, &mut shared, How::Draining, close::RESTART, "the gateway restarts");
        }
        loop {
            while idle.as_mut().poll(cx).is_ready() {
                // Nothing is read while a side is slow to take what it gets: how long that may last is another bound.
                if client.is_behind() || service.is_behind() {
                    shared.active = Instant::now();
                }
                let until = shared.active + terms.idle;
                if until > Instant::now() {
                    idle.as_mut().reset(until);
                    continue;
                }
                if shared.closing.is_none() {
                    dismiss(&mut client, &mut service, &mut shared, How::Idle, close::AWAY, "nothing came for too long");
                }
                idle.as_mut().reset(Instant::now() + terms.idle);
            }
            let went = [lane(&mut client, &mut service, &mut shared, up, cx), lane(&mut service, &mut client, &mut shared, down, cx)];
            if client.is_over() && service.is_over() {
                return Poll::Ready(());
            }
            if shared.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready()) {
                part(&service, &mut client, &shared, cx);
                part(&client, &mut service, &shared, cx);
                return Poll::Ready(());
            }
            if went == [false; 2] {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Ends it from here.
fn dismiss<A, B>(client: &mut Peer<A>, service: &mut Peer<B>, shared: &mut Shared<'_>, how: How, code: u16, reason: &'static str)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    client.dismiss(code, reason);
    service.dismiss(code, reason);
    shared.close(Closed { by: "gateway", how, code: Some(code), what: None });
}

/// The time for farewells is over: who has said one, and waits for the other's, gets it from here (RFC 6455 §5.5.1), with the code that it has said. Where
/// it has got a part of a frame there is no place for that.
fn part<A, B>(from: &Peer<A>, to: &mut Peer<B>, shared: &Shared<'_>, cx: &mut Context<'_>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    if to.told || from.checker.is_within() {
        return;
    }
    let own = shared.ended.close.filter(|closed| closed.by == to.side.name()).and_then(|closed| closed.code);
    to.dismiss(own.unwrap_or(close::NORMAL), "");
    to.say_farewell();
    // What it does not take now it never gets.
    let _ = to.poll_out(cx);
}

/// What goes from one side to the other. Whether anything has changed, so that it is worth to look again.
fn lane<A, B>(from: &mut Peer<A>, to: &mut Peer<B>, shared: &mut Shared<'_>, counts: &Counts, cx: &mut Context<'_>) -> bool
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut changed = farewell(from, to);
    if to.is_behind() {
        shared.active = Instant::now();
    }
    if let Err(loss) = to.poll_out(cx) {
        let how = if loss == Loss::Stalled { How::Stalled } else { How::Cut };
        shared.close(Closed { by: to.side.name(), how, code: None, what: None });
        to.lose();
        depart(to.side, from);
        return true;
    }
    // What nobody takes is read all the same, to see the end; of who is given up nothing more is waited for.
    if from.ended || from.lost || !(to.out.is_empty() || to.told) {
        return changed;
    }
    if !from.early.is_empty() {
        let early = std::mem::take(&mut from.early);
        take(&early, from, to, shared, counts);
        return true;
    }
    ROOM.with_borrow_mut(|room| match from.poll_read(cx, room) {
        Poll::Pending => {}
        Poll::Ready(Some(piece)) => {
            take(piece, from, to, shared, counts);
            changed = true;
        }
        Poll::Ready(None) => {
            changed = true;
            if !from.spent {
                from.spent = true;
                shared.close(Closed { by: from.side.name(), how: How::Cut, code: None, what: None });
                depart(from.side, to);
            }
        }
    });
    changed
}

/// Says the farewell that waits, where it can be said.
fn farewell<A, B>(from: &Peer<A>, to: &mut Peer<B>) -> bool
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    if to.farewell.is_none() {
        return false;
    }
    if !from.checker.is_within() {
        to.say_farewell();
        return true;
    }
    // The rest of the frame that it has got a part of will never come.
    if from.spent {
        to.lose();
        return true;
    }
    false
}

/// One side is gone: the other is told.
fn depart<S: AsyncRead + AsyncWrite + Unpin>(gone: Side, left: &mut Peer<S>) {
    match gone {
        Side::Client => left.dismiss(close::AWAY, "the client is gone"),
        Side::Service => left.dismiss(close::FAILED, "the service broke off the connection"),
    }
}

/// Checks a piece, and hands on what may go on.
fn take<A, B>(mut piece: &[u8], from: &mut Peer<A>, to: &mut Peer<B>, shared: &mut Shared<'_>, counts: &Counts)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    if to.told {
        // It may send the rest of a message before it says farewell in turn, and no more.
        from.wasted += piece.len() as u64;
        if from.wasted > shared.terms.message.saturating_add(READ as u64) {
            return from.lose();
        }
    }
    if from.spent {
        return;
    }
    shared.active = Instant::now();
    let total = match from.side {
        Side::Client => &mut shared.ended.received,
        Side::Service => &mut shared.ended.sent,
    };
    *total += piece.len() as u64;
    counts.bytes.inc_by(piece.len() as u64);
    let mut checked = BytesMut::new();
    while !piece.is_empty() {
        let seen = from.checker.check(piece, to.farewell.is_some(), &mut checked);
        if !to.told {
            to.out.unsplit(checked.split());
        }
        checked.clear();
        match seen {
            Ok(seen) => {
                piece.advance(seen.used);
                counts.messages.inc_by(seen.messages);
                if let Some(code) = seen.close {
                    from.spent = true;
                    to.farewell = None;
                    to.told = true;
                    shared.close(Closed { by: from.side.name(), how: How::Closed, code, what: None });
                    return;
                }
            }
            Err(violation) => return broken(violation, from, to, shared),
        }
        farewell(from, to);
    }
}

/// Both are told, and what the one sends counts no more.
fn broken<A, B>(violation: Violation, from: &mut Peer<A>, to: &mut Peer<B>, shared: &mut Shared<'_>)
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let how = if violation == Violation::TooLarge { How::TooLarge } else { How::Violation };
    shared.close(Closed { by: from.side.name(), how, code: Some(violation.code()), what: Some(violation.what()) });
    from.spent = true;
    from.dismiss(violation.code(), violation.what());
    match from.side {
        Side::Client => to.dismiss(close::AWAY, "the client broke the rules of the protocol"),
        Side::Service => to.dismiss(close::FAILED, "the service broke the rules of the protocol"),
    }
}
