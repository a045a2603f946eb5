//! What passes on an HTTP/2 connection, by the heads of its frames (RFC 9113 §4.1): nothing is kept or allocated. Frames that ask for work and bring
//! none are paid for out of a budget, which time and useful frames fill again. The library behind has bounds of its own, most of them for what it would
//! have to keep; these are for what only costs time.

mod budget;
mod heads;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use self::budget::Budget;
use self::heads::{Heads, *};
use super::head::PREFACE;

/// So many frames that bring nothing come free with each that does: a peer that is sent a piece of an answer gives back the room for it twice, and may
/// ask how long the way is.
const FREE: u32 = 4;

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
        if *greeted && !*in_header && (incoming.is_between() || incoming.is_in_data()) {
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
            } else if head.kind == GOAWAY
                && let Some(excess) = excess(payload)
            {
                verdict.librarys.store(excess as u8, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    use super::heads::tests::frame;
    use super::*;

    fn greeted(control: u32, resets: u32) -> Frames {
        let mut frames = Frames::new(&Allowance { control, resets, header: Duration::from_secs(10) });
        frames.came(&[PREFACE, &frame(SETTINGS, 0, &[])].concat());
        assert_eq!((frames.verdict.get(), frames.due()), (None, None));
        frames
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
    fn what_the_library_has_enough_of_is_found_in_its_last_word() {
        let mut frames = greeted(10, 10);
        frames.went(&frame(GOAWAY, 0, &[&[0, 0, 0, 1, 0, 0, 0, 1][..], b"too_many_resets"].concat()));
        assert_eq!(frames.verdict.of_library(), None, "a PROTOCOL_ERROR");
        frames.went(&frame(GOAWAY, 0, &[&[0, 0, 0, 1, 0, 0, 0, 11][..], b"too_many_resets"].concat()));
        assert_eq!((frames.verdict.of_library(), frames.verdict.get()), (Some(Excess::Resets), None));
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
