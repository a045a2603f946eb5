//! The codes with which a WebSocket ends (RFC 6455 §7.4).

use bytes::{BufMut, BytesMut};

use super::frame::{Side, Violation};

/// All is done.
pub const NORMAL: u16 = 1000;
/// The endpoint goes away.
pub const AWAY: u16 = 1001;
/// The peer broke the rules of the protocol.
pub const PROTOCOL: u16 = 1002;
/// Text that is none.
pub const NOT_TEXT: u16 = 1007;
/// A message that is too large.
pub const TOO_LARGE: u16 = 1009;
/// The service failed in a way that the client is not to blame for.
pub const FAILED: u16 = 1011;
/// The service restarts: come again (IANA's registry of close codes).
pub const RESTART: u16 = 1012;

/// Whether this code may stand in a frame: those of RFC 6455 §7.4.1 that are not for use inside an endpoint alone, those registered with IANA since (1012 to
/// 1014), and those of libraries and applications (§7.4.2).
pub fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// What the payload of a Close says: its code, where there is one.
///
/// # Errors
/// One that says it wrongly (RFC 6455 §5.5.1).
pub fn read(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(None),
        [_] => return Err(Violation::Protocol("a Close with half a code")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    if !is_sendable(code) {
        return Err(Violation::Protocol("a Close with a code that must not be sent"));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(Violation::NotText),
    }
}

/// A whole Close frame as this side sends it. A reason has at most 123 bytes.
pub fn write(from: Side, code: u16, reason: &str, out: &mut BytesMut) {
    let reason = reason.as_bytes().get(..reason.len().min(123)).unwrap_or_default();
    let length = u8::try_from(reason.len() + 2).unwrap_or(125);
    out.put_u8(0x88);
    let payload = code.to_be_bytes().into_iter().chain(reason.iter().copied());
    match from {
        Side::Service => {
            out.put_u8(length);
            out.extend(payload);
        }
        // RFC 6455 §5.3: a new mask that cannot be foreseen for each frame.
        Side::Client => {
            let mask = rand::random::<[u8; 4]>();
            out.put_u8(0x80 | length);
            out.put_slice(&mask);
            out.extend(payload.zip(mask.into_iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_says_a_code_that_may_be_sent_and_a_reason_that_is_text() {
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            assert_eq!(read(&u16::to_be_bytes(code)), Ok(Some(code)));
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
            assert!(matches!(read(&u16::to_be_bytes(code)), Err(Violation::Protocol(_))), "{code}");
        }
        assert_eq!(read(b""), Ok(None));
        assert!(matches!(read(b"\x03"), Err(Violation::Protocol(_))));
        assert_eq!(read(b"\x03\xe8bye \xc3\xa9"), Ok(Some(1000)));
        assert_eq!(read(b"\x03\xe8bye \xc3"), Err(Violation::NotText));
    }

    #[test]
    fn the_frame_is_masked_towards_the_service_alone() {
        let mut out = BytesMut::new();
        write(Side::Service, RESTART, "again", &mut out);
        assert_eq!(&out[..], b"\x88\x07\x03\xf4again");
        out.clear();
        write(Side::Client, AWAY, "", &mut out);
        assert_eq!((out[0], out[1], out.len()), (0x88, 0x82, 8));
        assert_eq!([out[6] ^ out[2], out[7] ^ out[3]], AWAY.to_be_bytes());
    }
}
