//! What strings say, and how it is written (RFC 8259 §7).

use std::borrow::Cow;

use super::scan;

/// A string of a document: a member's name or a value.
#[derive(Clone, Copy, Debug)]
pub struct Text<'d> {
    /// With its quotes.
    pub(super) raw: &'d [u8],
    pub(super) escaped: bool,
    /// Where it begins in the document.
    pub(super) start: usize,
}

impl<'d> Text<'d> {
    /// As it stands in the document, with its quotes.
    pub fn raw(self) -> &'d [u8] {
        self.raw
    }

    /// What it says. None where it has half of a surrogate pair: that says nothing.
    pub fn decoded(self) -> Option<Cow<'d, str>> {
        match self.bytes() {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
            Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
        }
    }

    /// The same in bytes. Half of a surrogate pair is encoded as if it were a character, which nothing in UTF-8 equals: two strings are the same exactly
    /// if these are.
    pub(super) fn bytes(self) -> Cow<'d, [u8]> {
        let inner = self.raw.get(1..self.raw.len().saturating_sub(1)).unwrap_or_default();
        if self.escaped { Cow::Owned(decode(inner)) } else { Cow::Borrowed(inner) }
    }

    /// Whether it says this, however it is written.
    pub fn is(self, text: &str) -> bool {
        *self.bytes() == *text.as_bytes()
    }
}

fn decode(inner: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before);
        let simple = match from.get(1) {
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                rest = unicode(from, &mut out);
                continue;
            }
            Some(other) => *other,
            None => b'\\',
        };
        out.push(simple);
        rest = from.get(2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// Decodes the `\u` with which the text begins, and its second half if it is a pair. Gives what follows.
fn unicode<'t>(text: &'t [u8], out: &mut Vec<u8>) -> &'t [u8] {
    let first = unit(text);
    let rest = text.get(6..).unwrap_or_default();
    if (0xd800..0xdc00).contains(&first) && rest.starts_with(b"\\u") {
        let second = unit(rest);
        if (0xdc00..0xe000).contains(&second) {
            put(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00), out);
            return rest.get(6..).unwrap_or_default();
        }
    }
    put(first, out);
    rest
}

fn unit(text: &[u8]) -> u32 {
    let digits = text.get(2..6).unwrap_or_default();
    digits.iter().fold(0, |unit, digit| unit * 16 + char::from(*digit).to_digit(16).unwrap_or_default())
}

fn put(code: u32, out: &mut Vec<u8>) {
    match char::from_u32(code) {
        Some(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        None => {
            out.extend([0xe0 | code >> 12, 0x80 | code >> 6 & 0x3f, 0x80 | code & 0x3f].iter().filter_map(|byte| u8::try_from(*byte).ok()))
        }
    }
}

/// A text as a string, with its quotes.
pub(super) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    out.push(b'"');
    escape(text, |bytes| out.extend_from_slice(bytes));
    out.push(b'"');
    out
}

/// Writes a text as part of a string. Only what must be is escaped.
pub(super) fn escape(text: &str, mut put: impl FnMut(&[u8])) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    let mut rest = text.as_bytes();
    loop {
        let (before, from) = rest.split_at(scan::plain(rest, 0));
        put(before);
        let Some((byte, behind)) = from.split_first() else { return };
        match byte {
            b'"' | b'\\' => put(&[b'\\', *byte]),
            b'\n' => put(b"\\n"),
            b'\r' => put(b"\\r"),
            b'\t' => put(b"\\t"),
            other => {
                let digit = |half: u8| HEX.get(usize::from(half)).copied().unwrap_or(b'0');
                put(&[b'\\', b'u', b'0', b'0', digit(other >> 4), digit(other & 15)]);
            }
        }
        rest = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(raw: &str) -> Text<'_> {
        Text { raw: raw.as_bytes(), escaped: raw.contains('\\'), start: 0 }
    }

    #[test]
    fn escapes_say_what_they_stand_for() {
        assert_eq!(text(r#""\u0061\"\\\/\b\f\n\r\t\u00e9\uD83D\uDE00é""#).decoded().unwrap(), "a\"\\/\u{8}\u{c}\n\r\té\u{1f600}é");
        assert!(text(r#""\u0061""#).is("a") && text(r#""a""#).is("a") && !text(r#""\\u0061""#).is("a"));
    }

    #[test]
    fn half_of_a_surrogate_pair_says_nothing_and_equals_only_itself() {
        for half in [r#""\uD800""#, r#""\uDC00""#, r#""\uD800\u0061""#, r#""\uDC00\uD800""#, r#""\uD800\uD800\uDC00""#] {
            assert_eq!(text(half).decoded(), None, "{half}");
        }
        assert_eq!(text(r#""\uD800""#).bytes(), text(r#""\ud800""#).bytes());
        assert_ne!(text(r#""\uD800""#).bytes(), text(r#""\uFFFD""#).bytes());
    }

    #[test]
    fn what_is_quoted_says_the_same() {
        let all: String = (0..0x300).chain([0xffff, 0x1_f600]).filter_map(char::from_u32).collect();
        let out = quoted(&all);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
        assert_eq!(text(std::str::from_utf8(&out).unwrap()).decoded().unwrap(), all);
    }
}
