//! What passes on an HTTP/2 connection, by the heads of its frames (RFC 9113 §4.1): nothing is kept or allocated. Frames that ask for work and bring
//! none are paid for out of a budget, which time and useful frames fill again. The library behind has bounds of its own, most of them for what it would
//! have to keep; these are for what only costs time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::super::head::PREFACE;

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// Bytes of a body that are worth a frame, where padding may hide that there are none.
const WORTHY: usize = 256;

/// So many frames that bring nothing come free with each that does: a peer that is sent a piece of an answer gives back the room for it twice, and may
/// ask how long the way is.
const FREE: u32 = 4;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

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
    /// A header whose end did not come in time.
    SlowHeader,
    /// The first frame is another than SETTINGS (RFC 9113 §3.4).
    NoSettings,
}

impl Excess {
    const ALL: [Excess; 10] = [
        Excess::Settings,
        Excess::Ping,
        Excess::Priority,
        Excess::Window,
        Excess::EmptyData,
        Excess::Continuation,
        Excess::Other,
        Excess::Resets,
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
            Excess::SlowHeader => "slow_header",
            Excess::NoSettings => "no_settings",
        }
    }
}

/// What is found of a connection, for the loop that serves it: the transport itself is the library's.
#[derive(Debug, Default)]
pub struct Verdict(AtomicU8);

impl Verdict {
    /// Why the connection cannot go on, once it cannot.
    pub fn get(&self) -> Option<Excess> {
        let code = self.0.load(Ordering::Relaxed);
        Excess::ALL.into_iter().find(|excess| *excess as u8 == code)
    }

    fn set(&self, excess: Excess) {
        let _ = self.0.compare_exchange(0, excess as u8, Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// Follows the frames of one connection, both ways.
pub struct Frames {
    incoming: Heads,
    outgoing: Heads,
    control: Budget,
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
        self.verdict.0.load(Ordering::Relaxed) != 0
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
        let Self { incoming, control, resets, greeted, in_header, verdict, since, .. } = self;
        incoming.follow(bytes.get(preface..).unwrap_or_default(), |head, _| {
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
                WINDOW => Excess::Window,
                _ => Excess::Other,
            };
            *greeted = true;
            if head.kind == RESET || !control.spend() {
                verdict.set(excess);
            }
        });
        // A piece of a body may be as slow as `timeouts.body` lets it be.
        if *greeted && !*in_header && (incoming.is_between() || incoming.kind == DATA && incoming.have == 0) {
            *since = None;
        } else {
            since.get_or_insert_with(Instant::now);
        }
    }

    /// Bytes go to the client.
    pub fn went(&mut self, bytes: &[u8]) {
        let Self { outgoing, control, resets, verdict, .. } = self;
        outgoing.follow(bytes, |head, payload| {
            if matches!(head.kind, DATA | HEADERS) {
                if head.length > 0 && head.kind == DATA {
                    control.earn(FREE);
                }
                if head.flags & END_STREAM != 0 {
                    resets.earn(1);
                }
            } else if head.kind == RESET && is_forced(payload) && !resets.spend() {
                verdict.set(Excess::Resets);
            }
        });
    }
}

/// Whether a reset of ours tells of a client's mistake: so a client could take requests back without a reset of its own. Where its code is not here in
/// one piece with the head, it is not looked for.
fn is_forced(payload: &[u8]) -> bool {
    // PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR (RFC 9113 §7).
    matches!(payload.get(..4), Some([0, 0, 0, 1 | 3 | 5 | 6]))
}

/// The head of a frame.
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Head {
    /// Whether it brings a header, a piece of a body, or a body's end.
    fn brings(&self) -> bool {
        match self.kind {
            DATA if self.flags & END_STREAM != 0 => true,
            DATA if self.flags & PADDED != 0 => self.length > WORTHY,
            _ => self.length > 0,
        }
    }
}

/// Finds the heads in one direction's bytes, however they are cut.
#[derive(Default)]
struct Heads {
    head: [u8; HEAD],
    /// Bytes of the present head that are here.
    have: usize,
    /// Bytes of the present frame that are still to come after its head.
    left: usize,
    kind: u8,
}

impl Heads {
    /// Calls `meet` with each head and what of its frame is in the same bytes.
    fn follow(&mut self, mut bytes: &[u8], mut meet: impl FnMut(Head, &[u8])) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let passed = self.left.min(bytes.len());
                self.left -= passed;
                bytes = bytes.get(passed..).unwrap_or_default();
                continue;
            }
            let (part, rest) = bytes.split_at((HEAD - self.have).min(bytes.len()));
            for (into, byte) in self.head.iter_mut().skip(self.have).zip(part) {
                *into = *byte;
            }
            self.have += part.len();
            bytes = rest;
            if self.have == HEAD {
                let [high, middle, low, kind, flags, ..] = self.head;
                let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
                (self.have, self.left, self.kind) = (0, length, kind);
                meet(Head { length, kind, flags }, bytes);
            }
        }
    }

    /// Whether no frame has begun that is not at its end.
    fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

/// A bucket of tokens, so many more each second. The clock is only looked at when it is empty.
struct Budget {
    left: u32,
    most: u32,
    rate: u32,
    filled: Instant,
}

impl Budget {
    /// Full at first, with what `seconds` would bring.
    fn new(rate: u32, seconds: u32) -> Self {
        let most = rate.saturating_mul(seconds);
        Self { left: most, most, rate, filled: Instant::now() }
    }

    fn earn(&mut self, count: u32) {
        self.left = self.left.saturating_add(count).min(self.most);
    }

    /// False where nothing is left.
    fn spend(&mut self) -> bool {
        if self.left == 0 {
            let now = Instant::now();
            let came = (now - self.filled).as_millis().saturating_mul(self.rate.into()) / 1000;
            if came == 0 {
                return false;
            }
            (self.left, self.filled) = (u32::try_from(came).unwrap_or(u32::MAX).min(self.most), now);
        }
        self.left -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn greeted(control: u32, resets: u32) -> Frames {
        let mut frames = Frames::new(&Allowance { control, resets, header: Duration::from_secs(10) });
        frames.came(&[PREFACE, &frame(SETTINGS, 0, &[])].concat());
        assert_eq!((frames.verdict.get(), frames.due()), (None, None));
        frames
    }

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let bytes = [frame(SETTINGS, 0, &[0; 6]), frame(DATA, 0, &[7; 300]), frame(PING, 1, &[0; 8])].concat();
        for size in 1..bytes.len() {
            let (mut heads, mut met) = (Heads::default(), Vec::new());
            for piece in bytes.chunks(size) {
                heads.follow(piece, |head, _| met.push((head.kind, head.flags, head.length)));
            }
            assert_eq!(met, [(SETTINGS, 0, 6), (DATA, 0, 300), (PING, 1, 8)]);
            assert!(heads.is_between());
        }
    }

    #[test]
    fn frames_that_bring_nothing_are_bounded_and_others_pay_for_them() {
        for (kind, flags, payload, excess) in [
            (SETTINGS, 0, &[][..], Excess::Settings),
            (PING, 0, &[0; 8], Excess::Ping),
            (PRIORITY, 0, &[0; 5], Excess::Priority),
            (WINDOW, 0, &[0, 0, 0, 1], Excess::Window),
            (DATA, 0, &[], Excess::EmptyData),
            (DATA, PADDED, &[20; 21], Excess::EmptyData),
            (CONTINUATION, END_HEADERS, &[], Excess::Continuation),
            (0x42, 0, &[], Excess::Other),
        ] {
            let flood = frame(kind, flags, payload);
            let mut frames = greeted(10, 10);
            for count in 0..10_000 {
                frames.came(&flood);
                if frames.is_over() {
                    assert!((99..1000).contains(&count), "{excess:?} after {count}");
                    break;
                }
            }
            assert_eq!(frames.verdict.get(), Some(excess));

            let mut frames = greeted(10, 10);
            for _ in 0..1000 {
                frames.came(&frame(DATA, 0, b"x"));
                frames.went(&frame(DATA, 0, b"x"));
                for _ in 0..2 * FREE {
                    frames.came(&flood);
                }
            }
            assert_eq!(frames.verdict.get(), None, "{excess:?}");
        }
    }

    #[test]
    fn requests_taken_back_are_bounded_and_answers_pay_for_them() {
        let (request, reset) = (frame(HEADERS, END_STREAM | END_HEADERS, &[0x82]), frame(RESET, 0, &[0, 0, 0, 8]));
        let mut frames = greeted(10, 10);
        for _ in 0..1000 {
            frames.came(&request);
            frames.went(&frame(HEADERS, END_STREAM | END_HEADERS, &[0x88]));
            frames.came(&reset);
        }
        assert_eq!(frames.verdict.get(), None);
        for _ in 0..100 {
            frames.came(&request);
            frames.came(&reset);
        }
        assert_eq!(frames.verdict.get(), Some(Excess::Resets));
    }

    #[test]
    fn a_client_that_has_us_reset_its_requests_pays_for_that_too() {
        let mut frames = greeted(10, 10);
        for _ in 0..100 {
            frames.went(&frame(RESET, 0, &[0, 0, 0, 2]));
        }
        assert_eq!(frames.verdict.get(), None, "an error of ours is not the client's");
        for _ in 0..100 {
            frames.went(&frame(RESET, 0, &[0, 0, 0, 3]));
        }
        assert_eq!(frames.verdict.get(), Some(Excess::Resets));
    }

    #[test]
    fn a_header_has_its_time_over_all_its_frames_and_a_body_has_its_own() {
        let mut frames = greeted(10, 10);
        let whole = frame(HEADERS, END_HEADERS, &[0x82]);
        frames.came(&whole[..4]);
        let due = frames.due();
        assert!(due.is_some());
        frames.came(&whole[4..]);
        assert_eq!(frames.due(), None);
        frames.came(&frame(HEADERS, 0, &[0x82]));
        let due = frames.due();
        assert!(due.is_some());
        frames.came(&frame(CONTINUATION, 0, &[0x82]));
        assert_eq!(frames.due(), due);
        frames.came(&frame(CONTINUATION, END_HEADERS, &[0x82]));
        assert_eq!(frames.due(), None);
        frames.came(&frame(DATA, 0, &[0; 100])[..50]);
        assert_eq!(frames.due(), None);
    }

    #[test]
    fn the_first_frame_is_settings_and_comes_in_time() {
        let mut frames = Frames::new(&Allowance { control: 10, resets: 10, header: Duration::from_secs(10) });
        frames.came(PREFACE);
        assert!(frames.due().is_some() && !frames.is_over());
        frames.came(&frame(PING, 0, &[0; 8]));
        assert_eq!(frames.verdict.get(), Some(Excess::NoSettings));
    }
}
