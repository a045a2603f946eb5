//! The smallest parts of RFC 8259: white space, strings, numbers, words. Each takes the place where it begins and gives the place behind it.

use super::fault::Fault;

/// One bit pattern in each byte of a word.
const fn each(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Marks the bytes that are zero; behind the first of them it may mark others too, so only the first counts.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(each(1)) & !word & each(0x80)
}

#[inline(always)]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Skips white space (§2).
#[inline(always)]
pub(super) fn space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(byte) = bytes.get(at) {
        if *byte > b' ' || !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            return at;
        }
        at += 1;
        // Text for human eyes is indented: eight at a time.
        while word(bytes, at) == Some(each(b' ')) {
            at += 8;
        }
    }
    at
}

/// The first byte from here that means something within a string: its end, an escape, or a control character, which may not be there. Eight bytes at a
/// time.
#[inline(always)]
pub(super) fn plain(bytes: &[u8], mut at: usize) -> usize {
    while let Some(word) = word(bytes, at) {
        let control = word.wrapping_sub(each(0x20)) & !word & each(0x80);
        let found = control | zeros(word ^ each(b'"')) | zeros(word ^ each(b'\\'));
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= 0x20 && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

/// Whether a string has escapes in it: if not, its bytes are what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escapes {
    None,
    Some,
}

/// A string (§7), from behind its first quote to behind its last one.
#[inline(always)]
pub(super) fn string(bytes: &[u8], mut at: usize) -> Result<(usize, Escapes), Fault> {
    let mut escapes = Escapes::None;
    loop {
        at = plain(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return Ok((at + 1, escapes)),
            Some(b'\\') => {
                escapes = Escapes::Some;
                at = escape(bytes, at + 1)?;
            }
            Some(_) => return Err(Fault::new(at, "a control character in a string")),
            None => return Err(Fault::new(at, "the text ends within a string")),
        }
    }
}

/// Half of a surrogate pair is let through, as the grammar does (§8.2): it is passed on as it came, and whoever asks what it says gets no answer.
fn escape(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    match bytes.get(at) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 1),
        Some(b'u') => match bytes.get(at + 1..at + 5) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 5),
            _ => Err(Fault::new(at, "four hex digits are expected behind `\\u`")),
        },
        _ => Err(Fault::new(at, "an escape that is not known")),
    }
}

/// A number (§6), from its first character.
#[inline(always)]
pub(super) fn number(bytes: &[u8], mut at: usize) -> Result<usize, Fault> {
    if bytes.get(at) == Some(&b'-') {
        at += 1;
    }
    at = match bytes.get(at) {
        Some(b'0') => at + 1,
        _ => digits(bytes, at)?,
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(bytes, at + 1)?;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = bytes.get(at) {
            at += 1;
        }
        at = digits(bytes, at)?;
    }
    Ok(at)
}

#[inline(always)]
fn digits(bytes: &[u8], from: usize) -> Result<usize, Fault> {
    let mut at = from;
    while bytes.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    if at == from { Err(Fault::new(at, "a digit is expected")) } else { Ok(at) }
}

/// `true`, `false` or `null` (§3).
#[inline(always)]
pub(super) fn literal(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let rest = bytes.get(at..).unwrap_or_default();
    for known in [&b"true"[..], b"false", b"null"] {
        if rest.starts_with(known) {
            return Ok(at + known.len());
        }
    }
    let what = match rest.first() {
        None => "the text ends where a value is expected",
        Some(0xef) if rest.starts_with(b"\xef\xbb\xbf") => "a byte order mark, which JSON may not have",
        Some(_) => "a value is expected",
    };
    Err(Fault::new(at, what))
}
