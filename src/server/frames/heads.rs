//! Where frames begin, and what their heads say (RFC 9113 §4.1, §6).

/// Bytes of a frame's head.
const HEAD: usize = 9;

/// Bytes of a body that are worth a frame, where padding may hide that there are none.
const WORTHY: usize = 256;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

/// The head of a frame.
pub struct Head {
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
}

impl Head {
    /// Whether it brings a header, a piece of a body, or a body's end.
    pub fn brings(&self) -> bool {
        match self.kind {
            DATA if self.flags & END_STREAM != 0 => true,
            DATA if self.flags & PADDED != 0 => self.length > WORTHY,
            _ => self.length > 0,
        }
    }
}

/// Finds the heads in one direction's bytes, however they are cut.
#[derive(Default)]
pub struct Heads {
    head: [u8; HEAD],
    /// Bytes of the present head that are here.
    have: usize,
    /// Bytes of the present frame that are still to come after its head.
    left: usize,
    kind: u8,
}

impl Heads {
    /// Calls `meet` with each head and what of its frame is in the same bytes.
    pub fn follow(&mut self, mut bytes: &[u8], mut meet: impl FnMut(Head, &[u8])) {
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

    /// Whether a piece of a body is on its way, and its head is here.
    pub fn is_in_data(&self) -> bool {
        self.left > 0 && self.kind == DATA
    }

    /// Whether no frame has begun that is not at its end.
    pub fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A frame on stream 1.
    pub fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
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
}
