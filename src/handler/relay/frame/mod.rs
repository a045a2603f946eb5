//! What one side sends, checked frame by frame as it comes (RFC 6455 §5): nothing is held but the header of a frame and a control frame, which has 125
//! bytes at most.

use bytes::{BufMut, BytesMut};

use super::close;
use super::text::Text;

/// One of the two that talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who has asked for the WebSocket; masks what it sends.
    Client,
    /// Who has agreed to it.
    Service,
}

impl Side {
    /// The word for it in metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Side::Client => "client",
            Side::Service => "service",
        }
    }

    /// The one that it talks to.
    pub fn other(self) -> Self {
        match self {
            Side::Client => Side::Service,
            Side::Service => Side::Client,
        }
    }
}

/// What a side has done that it must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Broken a rule of the protocol.
    Protocol(&'static str),
    /// Sent text that is not UTF-8 (RFC 6455 §8.1).
    NotText,
    /// Sent a message over the bound.
    TooLarge,
}

impl Violation {
    /// The code to end with (RFC 6455 §7.4.1).
    pub fn code(self) -> u16 {
        match self {
            Violation::Protocol(_) => close::PROTOCOL,
            Violation::NotText => close::NOT_TEXT,
            Violation::TooLarge => close::TOO_LARGE,
        }
    }

    /// What it was.
    pub fn what(self) -> &'static str {
        match self {
            Violation::Protocol(what) => what,
            Violation::NotText => "text that is not UTF-8",
            Violation::TooLarge => "a message over the bound",
        }
    }
}

/// What a piece of bytes has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Bytes of it that were looked at.
    pub used: usize,
    /// Messages that ended in it.
    pub messages: u64,
    /// The Close that it ended with, and the code that this says.
    pub close: Option<Option<u16>>,
}

/// The bytes of a frame's header at most: two, eight of the length, four of the mask.
const HEADER: usize = 14;

/// The bytes of a control frame's payload at most (RFC 6455 §5.5).
const CONTROL: usize = 125;

/// Bytes that are unmasked at once.
const STEP: usize = 1024;

/// Follows what one side sends.
#[derive(Debug)]
pub struct Checker {
    side: Side,
    /// Whether messages may be compressed (RFC 7692).
    deflate: bool,
    /// Bytes that a message may have.
    most: u64,
    /// The header of the present frame as far as it is here.
    header: [u8; HEADER],
    have: usize,
    /// Bytes of the payload that it tells of.
    length: u64,
    /// Bytes of the present frame's payload that are still to come; none within a header.
    left: Option<u64>,
    /// The payload of the present control frame.
    control: Vec<u8>,
    mask: [u8; 4],
    /// Which byte of the mask is next.
    turn: usize,
    message: Option<Message>,
}

/// The message that is not at its end.
#[derive(Debug)]
struct Message {
    /// Its bytes, as far as headers have told of them.
    length: u64,
    /// Whether it is text that can be read here.
    text: Option<Text>,
}

impl Checker {
    /// Before the first byte.
    pub fn new(side: Side, deflate: bool, most: u64) -> Self {
        Self {
            side,
            deflate,
            most,
            header: [0; HEADER],
            have: 0,
            length: 0,
            left: None,
            control: Vec::new(),
            mask: [0; 4],
            turn: 0,
            message: None,
        }
    }

    /// Whether the other side has got a part of a frame, and the rest is still to come.
    pub fn is_within(&self) -> bool {
        self.left.is_some() && !self.is_control()
    }

    /// Checks a piece and puts what may go on into `out`, which is empty; with `one` up to the end of the present frame. Nothing may follow a Close.
    ///
    /// # Errors
    /// A violation. `out` then has what may still go on: the frames before it. Where the other side has got a part of the wrong one already,
    /// [`Self::is_within`] says so.
    pub fn check(&mut self, piece: &[u8], one: bool, out: &mut BytesMut) -> Result<Seen, Violation> {
        let (mut seen, mut rest) = (Seen::default(), piece);
        // Where the last whole frame ends in `out`; none while the present one began in a piece before.
        let mut whole = (!self.is_within()).then_some(0);
        let ended = loop {
            let before = rest.len();
            let step = self.step(&mut rest, out);
            seen.used += before - rest.len();
            match step {
                Ok(Step::More) => break Ok(seen),
                Ok(Step::Header) => {}
                Ok(Step::End { message, close }) => {
                    whole = Some(out.len());
                    seen.messages += u64::from(message);
                    seen.close = close;
                    if close.is_some() || one {
                        break Ok(seen);
                    }
                }
                Err(violation) => break Err(violation),
            }
        };
        if ended.is_err() {
            out.truncate(whole.unwrap_or_default());
            if whole.is_some() {
                self.left = None;
            }
        }
        ended
    }

    /// The rest of a header, or of a payload.
    fn step(&mut self, rest: &mut &[u8], out: &mut BytesMut) -> Result<Step, Violation> {
        let Some(left) = self.left else { return self.head(rest, out) };
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let Some((payload, others)) = rest.split_at_checked(length) else { return Ok(Step::More) };
        if payload.is_empty() && left > 0 {
            return Ok(Step::More);
        }
        *rest = others;
        self.payload(payload)?;
        let left = left - length as u64;
        self.left = Some(left);
        if !self.is_control() {
            out.put_slice(payload);
        }
        if left > 0 { Ok(Step::More) } else { self.end(out) }
    }

    /// The rest of a header. Each byte is looked at when it is there.
    fn head(&mut self, rest: &mut &[u8], out: &mut BytesMut) -> Result<Step, Violation> {
        while let Some((byte, others)) = rest.split_first() {
            *rest = others;
            if let Some(place) = self.header.get_mut(self.have) {
                *place = *byte;
            }
            self.have += 1;
            match self.have {
                1 => self.first()?,
                2 => self.second()?,
                _ => {}
            }
            if self.have >= 2 && self.have == self.length_end() {
                self.length()?;
            }
            if self.have == self.header_end() {
                if let Some(mask) = self.header.get(self.have.saturating_sub(4)..self.have).filter(|_| self.side == Side::Client) {
                    self.mask.copy_from_slice(mask);
                }
                (self.turn, self.left) = (0, Some(self.length));
                if !self.is_control() {
                    out.put_slice(self.header.get(..self.have).unwrap_or_default());
                }
                return Ok(Step::Header);
            }
        }
        Ok(Step::More)
    }

    fn byte(&self, index: usize) -> u8 {
        self.header.get(index).copied().unwrap_or_default()
    }

    fn opcode(&self) -> u8 {
        self.byte(0) & 0x0f
    }

    fn is_control(&self) -> bool {
        self.have > 0 && self.opcode() >= 8
    }

    fn is_last(&self) -> bool {
        self.byte(0) & 0x80 != 0
    }

    /// Where the length ends in the header.
    fn length_end(&self) -> usize {
        match self.byte(1) & 0x7f {
            126 => 4,
            127 => 10,
            _ => 2,
        }
    }

    fn header_end(&self) -> usize {
        // Before its second byte there is none.
        if self.have < 2 { HEADER } else { self.length_end() + if self.side == Side::Client { 4 } else { 0 } }
    }

    /// Final, reserved bits, opcode.
    fn first(&mut self) -> Result<(), Violation> {
        let byte = self.byte(0);
        if byte & 0x30 != 0 {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        let begins = match self.opcode() {
            0 => false,
            1 | 2 => true,
            8..=10 if !self.is_last() => return Err(Violation::Protocol("a control frame in fragments")),
            8..=10 => false,
            _ => return Err(Violation::Protocol("a reserved opcode")),
        };
        let compressed = byte & 0x40 != 0;
        // RFC 7692 §6: on the first frame of a message alone.
        if compressed && !(self.deflate && begins) {
            return Err(Violation::Protocol("a reserved bit is set"));
        }
        match (begins, self.opcode(), &self.message) {
            (true, _, Some(_)) => Err(Violation::Protocol("a new message within another")),
            (false, 0, None) => Err(Violation::Protocol("a continuation of nothing")),
            (true, opcode, None) => {
                self.message = Some(Message { length: 0, text: (opcode == 1 && !compressed).then(Text::default) });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Mask, and the length or how it is told.
    fn second(&mut self) -> Result<(), Violation> {
        match (self.side, self.byte(1) & 0x80 != 0) {
            (Side::Client, false) => return Err(Violation::Protocol("a frame of the client without a mask")),
            (Side::Service, true) => return Err(Violation::Protocol("a frame of the service with a mask")),
            _ => {}
        }
        if self.is_control() && usize::from(self.byte(1) & 0x7f) > CONTROL {
            return Err(Violation::Protocol("a control frame that is too long"));
        }
        Ok(())
    }

    fn length(&mut self) -> Result<(), Violation> {
        let told = self.header.get(2..self.length_end()).unwrap_or_default();
        let length = match (told.len(), self.byte(1) & 0x7f) {
            (0, length) => u64::from(length),
            _ => told.iter().fold(0, |length, byte| length << 8 | u64::from(*byte)),
        };
        let least = match told.len() {
            0 => 0,
            2 => 126,
            _ => 65_536,
        };
        // RFC 6455 §5.2: the shortest form, and no number over 63 bits.
        if length < least || length >> 63 != 0 {
            return Err(Violation::Protocol("a length in a form that it must not have"));
        }
        self.length = length;
        if let (false, Some(message)) = (self.is_control(), &mut self.message) {
            message.length = message.length.saturating_add(length);
            if message.length > self.most {
                return Err(Violation::TooLarge);
            }
        }
        Ok(())
    }

    /// Looks at a piece of the payload, where it must be looked at.
    fn payload(&mut self, payload: &[u8]) -> Result<(), Violation> {
        let control = self.is_control();
        let text = self.message.as_ref().is_some_and(|message| message.text.is_some());
        if !control && !text {
            return Ok(());
        }
        for piece in payload.chunks(STEP) {
            let mut plain = [0; STEP];
            let plain = plain.get_mut(..piece.len()).unwrap_or_default();
            plain.copy_from_slice(piece);
            if self.side == Side::Client {
                self.mask.rotate_left(self.turn);
                for four in plain.chunks_mut(4) {
                    four.iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
                }
                self.mask.rotate_right(self.turn);
                self.turn = (self.turn + piece.len()) % 4;
            }
            if control {
                self.control.extend_from_slice(plain);
            } else if let Some(text) = self.message.as_mut().and_then(|message| message.text.as_mut())
                && !text.push(plain)
            {
                return Err(Violation::NotText);
            }
        }
        Ok(())
    }

    /// The end of a frame. A control frame goes on now, as a whole.
    fn end(&mut self, out: &mut BytesMut) -> Result<Step, Violation> {
        let mut step = Step::End { message: false, close: None };
        if self.is_control() {
            let payload = std::mem::take(&mut self.control);
            if self.opcode() == 8 {
                step = Step::End { message: false, close: Some(close::read(&payload)?) };
            }
            out.put_slice(self.header.get(..self.have).unwrap_or_default());
            match self.side {
                Side::Client => out.extend(payload.iter().zip(self.mask.iter().cycle()).map(|(byte, mask)| byte ^ mask)),
                Side::Service => out.put_slice(&payload),
            }
        } else if self.is_last() {
            let whole = self.message.take().and_then(|message| message.text).is_none_or(|text| text.is_whole());
            if !whole {
                return Err(Violation::NotText);
            }
            step = Step::End { message: true, close: None };
        }
        (self.left, self.have) = (None, 0);
        Ok(step)
    }
}

enum Step {
    /// More bytes are needed.
    More,
    /// A header is whole.
    Header,
    /// A frame has ended.
    End { message: bool, close: Option<Option<u16>> },
}

#[cfg(test)]
mod tests;
