//! A server that speaks HTTP/2 frame by frame (RFC 9113 §4.1), and so can say what no library would.

use super::origin::Talk;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END: u8 = 1;

/// One connection, its preface read.
pub struct Frames(Talk);

impl Frames {
    /// Reads the preface and greets.
    pub fn open(mut talk: Talk) -> Option<Self> {
        let preface = talk.take(24)?;
        assert_eq!(preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut frames = Self(talk);
        frames.say(SETTINGS, 0, 0, b"");
        Some(frames)
    }

    /// Waits for the next request, and gives the number of its stream. What else comes is answered as it must be.
    pub fn request(&mut self) -> Option<u32> {
        loop {
            let head = self.0.take(9)?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let payload = self.0.take(length)?;
            match (head[3], head[4]) {
                (HEADERS, _) => return Some(u32::from_be_bytes([head[5], head[6], head[7], head[8]])),
                (SETTINGS, 0) => self.say(SETTINGS, 1, 0, b""),
                (PING, 0) => self.say(PING, 1, 0, &payload),
                _ => {}
            }
        }
    }

    /// Waits until the gateway gives up a stream, and gives the reason (RFC 9113 §7).
    pub fn given_up(&mut self, stream: u32) -> Option<u32> {
        loop {
            let head = self.0.take(9)?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let payload = self.0.take(length)?;
            if head[3] == RESET && head[5..] == stream.to_be_bytes() {
                return Some(u32::from_be_bytes(payload.try_into().unwrap()));
            }
        }
    }

    /// The header of an answer with 200, by the static table of HPACK (RFC 7541 appendix A).
    pub fn head(&mut self, stream: u32) {
        self.say(HEADERS, 4, stream, &[0x88]);
    }

    /// The same with more lines, all of them short.
    pub fn head_with(&mut self, stream: u32, lines: &[(&str, &str)]) {
        let lines: Vec<_> = lines.iter().flat_map(|(name, value)| line(name, value)).collect();
        self.say(HEADERS, 4, stream, &[&[0x88], &*lines].concat());
    }

    /// A piece of an answer's body.
    pub fn body(&mut self, stream: u32, text: &str, last: bool) {
        self.say(DATA, if last { END } else { 0 }, stream, text.as_bytes());
    }

    /// A whole answer.
    pub fn answer(&mut self, stream: u32, text: &str) {
        self.head(stream);
        self.body(stream, text, true);
    }

    /// Trailers of one short line, which end the answer.
    pub fn trailers(&mut self, stream: u32, name: &str, value: &str) {
        self.say(HEADERS, 4 | END, stream, &line(name, value));
    }

    /// Ends a stream with an error code (RFC 9113 §7).
    pub fn reset(&mut self, stream: u32, code: u32) {
        self.say(RESET, 0, stream, &code.to_be_bytes());
    }

    /// Says that streams above this one were not looked at, and that there will be no others.
    pub fn go_away(&mut self, last: u32, code: u32) {
        self.say(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    /// A frame.
    pub fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        self.0.say([&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat());
    }

    /// Whether the gateway still takes what is sent.
    pub fn drip(&mut self, stream: u32) -> bool {
        self.0.try_say([&[0, 0, 1, DATA, 0][..], &stream.to_be_bytes(), b"x"].concat())
    }

    /// Reads until the gateway closes.
    pub fn until_closed(&mut self) {
        self.0.until_closed();
    }
}

/// One line of a header, as itself (RFC 7541 §6.2.2).
fn line(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).unwrap();
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}
