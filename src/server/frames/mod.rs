//! What passes on an HTTP/2 connection, by the heads of its frames (RFC 9113 §4.1): nothing is kept or allocated. Frames that ask for work and bring
//! none are paid for out of a budget, which time and useful frames fill again. The library behind has bounds of its own, most of them for what it would
//! have to keep; these are for what only costs time.

mod budget;
mod heads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use self::budget::Budget;
use self::heads::{Heads, *};
use super::head::PREFACE;

/// So many frames that bring nothing come free with each that does: a peer that is sent a piece of an answer may ask how long the way is.
const FREE: u32 = 4;

/// Bytes of an answer for which a client may give back room once, beside twice for each frame: for the request and for the connection, as it reads, and
/// there are clients that read in small pieces. However long it takes to do so.
const ROOM: u64 = 1024;

/// What frames may cost.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Frames a second that bring neither a request nor a body.
    pub control: u32,
    /// Requests a second that are taken back.
    pub resets: u32,
    /// For the first SETTINGS to come, and for all frames of one header.
    pub header: Duration,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Excess {
    /// Too many SETTINGS.
    Settings = 1,
    /// Too many PING.
    Ping,
    /// Too many PRIORITY.
    Priority,
    /// Too many WINDOW_UPDATE.
    Window,
    /// Too much DATA without any.
    EmptyData,
    /// Too many CONTINUATION.
    Continuation,
    /// Too many frames of other kinds.
    Other,
    /// Too many requests taken back, by the client or by what it did to them.
    Resets,
    /// A header that is much larger than may be.
    HeaderList,
    /// A header whose end did not come in time.
    SlowHeader,
    /// The first frame is another than SETTINGS (RFC 9113 §3.4).
    NoSettings,
}

impl Excess {
    const ALL: [Excess; 11] = [
        Excess::Settings,
        Excess::Ping,
        Excess::Priority,
        Excess::Window,
        Excess::EmptyData,
        Excess::Continuation,
        Excess::Other,
        Excess::Resets,
        Excess::HeaderList,
        Excess::SlowHeader,
        Excess::NoSettings,
    ];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Excess::Settings => "settings",
            Excess::Ping => "ping",
            Excess::Priority => "priority",
            Excess::Window => "window_update",
            Excess::EmptyData => "empty_data",
            Excess::Continuation => "continuation",
            Excess::Other => "other",
            Excess::Resets => "resets",
            Excess::HeaderList => "header_list",
            Excess::SlowHeader => "slow_header",
            Excess::NoSettings => "no_settings",
        }
    }
}

/// What is found of a connection, for the loop that serves it: the transport itself is the library's.
#[derive(Debug, Default)]
pub struct Verdict {
    ours: AtomicU8,
    librarys: AtomicU8,
    came: AtomicU64,
    went: AtomicU64,
    refused: AtomicU64,
}

impl Verdict {
    /// Why the connection cannot go on, once it cannot.
    pub fn get(&self) -> Option<Excess> {
        named(&self.ours)
    }

    /// Why the library has ended it, where that was for a bound of its own. Its errors do not say; its last frame does.
    pub fn of_library(&self) -> Option<Excess> {
        named(&self.librarys)
    }

    /// Bytes that have come from the client.
    pub fn came(&self) -> u64 {
        self.came.load(Ordering::Relaxed)
    }

    /// Bytes that have gone to the client.
    pub fn went(&self) -> u64 {
        self.went.load(Ordering::Relaxed)
    }

    /// Requests that were refused, for as many were open as may be, since this was asked last.
    pub fn take_refused(&self) -> u64 {
        if self.refused.load(Ordering::Relaxed) == 0 { 0 } else { self.refused.swap(0, Ordering::Relaxed) }
    }

    fn set(&self, excess: Excess) {
        let _ = self.ours.compare_exchange(0, excess as u8, Ordering::Relaxed, Ordering::Relaxed);
    }
}

fn named(code: &AtomicU8) -> Option<Excess> {
    let code = code.load(Ordering::Relaxed);
    Excess::ALL.into_iter().find(|excess| *excess as u8 == code)
}

/// What the library says behind ENHANCE_YOUR_CALM; none where a GOAWAY is for another reason.
fn excess(payload: &[u8]) -> Option<Excess> {
    let (_, [0, 0, 0, 11, words @ ..]) = payload.split_at_checked(4)? else { return None };
    Some(match () {
        () if words.starts_with(b"too_many_resets") || words.starts_with(b"too_many_internal_resets") => Excess::Resets,
        () if words.starts_with(b"too_many_continuations") => Excess::Continuation,
        () if words.starts_with(b"too_many_data_frames") => Excess::EmptyData,
        () if words.starts_with(b"header_list_way_too_large") => Excess::HeaderList,
        () => Excess::Other,
    })
}

/// Follows the frames of one connection, both ways.
pub struct Frames {
    incoming: Heads,
    outgoing: Heads,
    control: Budget,
    /// Times that room may be given back.
    room: u64,
    resets: Budget,
    /// Bytes of the client's preface still to come.
    preface: usize,
    greeted: bool,
    /// Within a header that more frames belong to.
    in_header: bool,
    /// Since when something is expected that must not take long.
    since: Option<Instant>,
    patience: Duration,
    verdict: Arc<Verdict>,
}

impl Frames {
    pub fn new(allowance: &Allowance) -> Self {
        Self {
            incoming: Heads::default(),
            outgoing: Heads::default(),
            control: Budget::new(allowance.control, 10),
            room: 0,
            resets: Budget::new(allowance.resets, 2),
            preface: PREFACE.len(),
            greeted: false,
            in_header: false,
            since: Some(Instant::now()),
            patience: allowance.header,
            verdict: Arc::default(),
        }
    }

    pub fn verdict(&self) -> Arc<Verdict> {
        self.verdict.clone()
    }

    /// Whether nothing more shall be read.
    pub fn is_over(&self) -> bool {
        self.verdict.ours.load(Ordering::Relaxed) != 0
    }

    /// When what is expected must be here.
    pub fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.patience)
    }

    /// It is not.
    pub fn late(&self) {
        self.verdict.set(Excess::SlowHeader);
    }

    /// Bytes have come from the client.
    pub fn came(&mut self, bytes: &[u8]) {
        let preface = self.preface.min(bytes.len());
        self.preface -= preface;
        let Self { incoming, control, room, resets, greeted, in_header, verdict, since, .. } = self;
        verdict.came.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        // Of what began before, something has ended here.
        let mut ended = false;
        incoming.follow(bytes.get(preface..).unwrap_or_default(), |head, _| {
            ended = true;
            let excess = match head.kind {
                SETTINGS => Excess::Settings,
                _ if !*greeted => return verdict.set(Excess::NoSettings),
                HEADERS | DATA if head.brings() => {
                    *in_header = head.kind == HEADERS && head.flags & END_HEADERS == 0;
                    return control.earn(FREE);
                }
                RESET if resets.spend() => return,
                RESET => Excess::Resets,
                CONTINUATION => {
                    *in_header = head.flags & END_HEADERS == 0;
                    Excess::Continuation
                }
                DATA => Excess::EmptyData,
                PING => Excess::Ping,
                PRIORITY => Excess::Priority,
                WINDOW if *room > 0 => {
                    *room -= 1;
                    return;
                }
                WINDOW => Excess::Window,
                _ => Excess::Other,
            };
            *greeted = true;
            if head.kind == RESET || !control.spend() {
                verdict.set(excess);
            }
        });
        if ended && !*in_header {
            *since = None;
        }
        // A piece of a body may be as slow as `timeouts.body` lets it be.
        if *greeted && !*in_header && (incoming.is_between() || incoming.is_in_data()) {
            *since = None;
        } else {
            since.get_or_insert_with(Instant::now);
        }
    }

    /// Bytes go to the client.
    pub fn went(&mut self, bytes: &[u8]) {
        let Self { outgoing, control, room, resets, verdict, .. } = self;
        verdict.went.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        outgoing.follow(bytes, |head, payload| {
            if matches!(head.kind, DATA | HEADERS) {
                if head.length > 0 && head.kind == DATA {
                    control.earn(FREE);
                    *room = room.saturating_add(2 + head.length as u64 / ROOM);
                }
                if head.flags & END_STREAM != 0 {
                    resets.earn(1);
                }
            } else if head.kind == RESET && payload.starts_with(&REFUSED) {
                verdict.refused.fetch_add(1, Ordering::Relaxed);
            } else if head.kind == RESET && is_forced(payload) && !resets.spend() {
                verdict.set(Excess::Resets);
            } else if head.kind == GOAWAY
                && let Some(excess) = excess(payload)
            {
                verdict.librarys.store(excess as u8, Ordering::Relaxed);
            }
        });
    }
}

/// REFUSED_STREAM (RFC 9113 §7).
const REFUSED: [u8; 4] = [0, 0, 0, 7];

/// Whether a reset of ours tells of a client's mistake: so a client could take requests back without a reset of its own. Where its code is not here in
/// one piece with the head, it is not looked for.
fn is_forced(payload: &[u8]) -> bool {
    // PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR (RFC 9113 §7).
    matches!(payload.get(..4), Some([0, 0, 0, 1 | 3 | 5 | 6]))
}

#[cfg(test)]
mod tests;
