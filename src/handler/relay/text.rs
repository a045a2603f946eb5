//! Whether bytes that come piece by piece are UTF-8 (RFC 3629), told as early as it can be.

/// The state between two pieces: a character that is not whole yet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text {
    tail: [u8; 4],
    length: usize,
}

impl Text {
    /// Takes a piece. False once no bytes that follow could make it text.
    pub fn push(&mut self, piece: &[u8]) -> bool {
        let mut rest = piece;
        while let (1.., Some((first, others))) = (self.length, rest.split_first()) {
            if let Some(place) = self.tail.get_mut(self.length) {
                *place = *first;
            }
            self.length += 1;
            rest = others;
            match std::str::from_utf8(self.tail.get(..self.length).unwrap_or_default()) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_some() => return false,
                Err(_) => {}
            }
        }
        let Err(error) = std::str::from_utf8(rest) else { return true };
        if error.error_len().is_some() {
            return false;
        }
        let tail = rest.get(error.valid_up_to()..).unwrap_or_default();
        for (place, byte) in self.tail.iter_mut().zip(tail) {
            *place = *byte;
        }
        self.length = tail.len();
        true
    }

    /// Whether it may end here.
    pub fn is_whole(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn text_is_text_however_it_is_split() {
        let good = "κόσμε €\u{10ffff}\u{fffd}x";
        for at in 0..=good.len() {
            let mut text = Text::default();
            assert!(text.push(&good.as_bytes()[..at]) && text.push(&good.as_bytes()[at..]) && text.is_whole(), "{at}");
        }
        let mut text = Text::default();
        assert!(good.bytes().all(|byte| text.push(&[byte])) && text.is_whole());
    }

    #[test]
    fn what_cannot_become_text_is_told_with_its_first_wrong_byte() {
        // A surrogate, more than U+10FFFF, an overlong slash, a lone continuation, and bytes that never occur.
        for (start, wrong) in
            [(&b"\xed"[..], 0xa0), (b"\xf4", 0x90), (b"\xe0", 0x80), (b"ok", 0x80), (b"", 0xc0), (b"", 0xff), (b"\xf0\x90", b'x')]
        {
            let mut text = Text::default();
            assert!(text.push(start), "{start:x?}");
            assert!(!text.push(&[wrong]), "{start:x?} {wrong:x}");
            assert!(!Text::default().push(&[start, &[wrong]].concat()));
        }
        let mut text = Text::default();
        assert!(text.push(b"\xe2\x82") && !text.is_whole());
    }
}
