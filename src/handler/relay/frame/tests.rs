use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
const MOST: u64 = 1 << 20;

fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let bit = if side == Side::Client { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(bit | u8::try_from(length).unwrap()),
        length @ ..65_536 => {
            bytes.push(bit | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(bit | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    if side == Side::Client {
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        bytes.extend(payload);
    }
    bytes
}

/// What came of it: the bytes that went on, the messages and the Close in them, or the violation.
type Verdict = Result<(Vec<u8>, u64, Option<Option<u16>>), Violation>;

/// Checks bytes in pieces that end at these places.
fn run(side: Side, deflate: bool, bytes: &[u8], ends: impl IntoIterator<Item = usize>, one: bool) -> Verdict {
    let (mut checker, mut whole, mut messages, mut close, mut start) = (Checker::new(side, deflate, MOST), Vec::new(), 0, None, 0);
    for end in ends.into_iter().chain([bytes.len()]) {
        let mut piece = &bytes[start..end];
        while !piece.is_empty() && close.is_none() {
            let mut out = BytesMut::new();
            let seen = checker.check(piece, one, &mut out)?;
            whole.extend_from_slice(&out);
            messages += seen.messages;
            close = seen.close;
            piece = &piece[seen.used..];
        }
        start = end;
    }
    Ok((whole, messages, close))
}

fn whole(side: Side, bytes: &[u8]) -> Verdict {
    run(side, false, bytes, [], false)
}

#[test]
fn what_is_right_goes_on_byte_for_byte() {
    for side in [Side::Client, Side::Service] {
        let frames = [
            frame(side, 0x81, "a κόσμε".as_bytes()),
            frame(side, 0x82, &[0xff; 70_000]),
            frame(side, 0x01, b"\xce"),
            frame(side, 0x89, b"ping"),
            frame(side, 0x00, b"\xba"),
            frame(side, 0x8a, b""),
            frame(side, 0x80, b""),
            frame(side, 0x82, &[1; 126]),
            frame(side, 0x82, b""),
            frame(side, 0x88, b"\x03\xe8bye"),
        ]
        .concat();
        let after = [&frames[..], b"whatever comes after a Close"].concat();
        assert_eq!(whole(side, &after), Ok((frames, 5, Some(Some(1000)))), "{side:?}");
    }
}

#[test]
fn every_rule_of_framing_holds() {
    let service = Side::Service;
    for (what, bytes) in [
        ("a reserved bit is set", frame(service, 0xc1, b"")),
        ("a reserved bit is set", frame(service, 0xa1, b"")),
        ("a reserved bit is set", frame(service, 0x92, b"")),
        ("a reserved bit is set", frame(service, 0xc9, b"")),
        ("a reserved opcode", frame(service, 0x83, b"")),
        ("a reserved opcode", frame(service, 0x87, b"")),
        ("a reserved opcode", frame(service, 0x8b, b"")),
        ("a reserved opcode", frame(service, 0x0f, b"")),
        ("a control frame in fragments", frame(service, 0x09, b"")),
        ("a control frame in fragments", frame(service, 0x08, b"")),
        ("a control frame that is too long", frame(service, 0x89, &[0; 126])),
        ("a control frame that is too long", frame(service, 0x88, &[0; 70_000])),
        ("a continuation of nothing", frame(service, 0x80, b"")),
        ("a continuation of nothing", [frame(service, 0x81, b""), frame(service, 0x00, b"")].concat()),
        ("a new message within another", [frame(service, 0x01, b""), frame(service, 0x81, b"")].concat()),
        ("a new message within another", [frame(service, 0x02, b""), frame(service, 0x02, b"")].concat()),
        ("a frame of the service with a mask", frame(Side::Client, 0x81, b"")),
        ("a length in a form that it must not have", b"\x82\x7e\x00\x7d".to_vec()),
        ("a length in a form that it must not have", b"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff".to_vec()),
        ("a length in a form that it must not have", b"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00".to_vec()),
        ("a Close with half a code", frame(service, 0x88, b"\x03")),
        ("a Close with a code that must not be sent", frame(service, 0x88, b"\x03\xed")),
    ] {
        assert_eq!(whole(service, &bytes), Err(Violation::Protocol(what)), "{bytes:x?}");
    }
    let unmasked = whole(Side::Client, &frame(service, 0x81, b""));
    assert_eq!(unmasked, Err(Violation::Protocol("a frame of the client without a mask")));
    for text in [&b"\xff"[..], b"ok\xed\xa0\x80", b"\xe2\x82"] {
        assert_eq!(whole(service, &frame(service, 0x81, text)), Err(Violation::NotText));
        assert!(whole(service, &frame(service, 0x82, text)).is_ok());
    }
    assert_eq!(whole(service, &[frame(service, 0x01, b"\xe2"), frame(service, 0x80, b"x")].concat()), Err(Violation::NotText));
    // Told with the first byte that is wrong, long before the frame is whole.
    assert_eq!(whole(service, b"\x81\x7e\xff\xff\xc0"), Err(Violation::NotText));
}

#[test]
fn a_message_is_measured_by_what_its_headers_tell() {
    assert!(whole(Side::Service, &frame(Side::Service, 0x82, &vec![0; 1 << 20])).is_ok());
    assert_eq!(whole(Side::Service, b"\x82\x7f\x00\x00\x00\x00\x00\x10\x00\x01"), Err(Violation::TooLarge));
    let half = frame(Side::Service, 0x02, &vec![0; 1 << 19]);
    let more = frame(Side::Service, 0x00, &vec![0; 1 << 19]);
    assert!(whole(Side::Service, &[&half[..], &more, b"\x80\x00"].concat()).is_ok());
    assert_eq!(whole(Side::Service, &[&half[..], &more, b"\x80\x01"].concat()), Err(Violation::TooLarge));
}

#[test]
fn compressed_messages_are_let_through_where_both_sides_agreed() {
    let message = [frame(Side::Service, 0x41, b"\xff\xff"), frame(Side::Service, 0x80, b"\xff")].concat();
    assert_eq!(run(Side::Service, true, &message, [], false).unwrap().1, 1);
    assert!(whole(Side::Service, &message).is_err());
    let late = [frame(Side::Service, 0x01, b""), frame(Side::Service, 0xc0, b"")].concat();
    assert_eq!(run(Side::Service, true, &late, [], false), Err(Violation::Protocol("a reserved bit is set")));
    assert_eq!(run(Side::Service, true, &frame(Side::Service, 0x81, b"\xff"), [], false), Err(Violation::NotText));
}

#[test]
fn what_went_on_before_a_violation_are_whole_frames() {
    let (good, bad) = (frame(Side::Service, 0x81, b"good"), frame(Side::Service, 0x81, b"goo\xff"));
    let mut checker = Checker::new(Side::Service, false, MOST);
    let mut out = BytesMut::new();
    assert_eq!(checker.check(&[&good[..], &bad].concat(), false, &mut out), Err(Violation::NotText));
    assert_eq!((&out[..], checker.is_within()), (&good[..], false));
    // Of the second one a part is gone already.
    let mut checker = Checker::new(Side::Service, false, MOST);
    let mut out = BytesMut::new();
    checker.check(&[&good[..], &bad[..3]].concat(), false, &mut out).unwrap();
    assert_eq!((out.len(), checker.is_within()), (good.len() + 3, true));
    out.clear();
    assert_eq!(checker.check(&bad[3..], false, &mut out), Err(Violation::NotText));
    assert!(out.is_empty() && checker.is_within());
}

#[test]
fn the_end_of_a_frame_can_be_stopped_at() {
    let (one, two) = (frame(Side::Service, 0x81, b"one"), frame(Side::Service, 0x81, b"two"));
    let both = [&one[..], &two].concat();
    let mut checker = Checker::new(Side::Service, false, MOST);
    let mut out = BytesMut::new();
    assert_eq!(checker.check(&both, true, &mut out).unwrap().used, one.len());
    assert!(out[..] == one && !checker.is_within());
}

/// A message or a control frame, mostly right.
fn some(random: &mut StdRng, side: Side) -> Vec<u8> {
    let kinds = [0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88, 0xc1, 0x83];
    let most = if random.random_bool(0.05) { kinds.len() } else { 8 };
    let first = kinds[random.random_range(0..most)];
    let text = ["", "a", "κόσμε", "\u{10ffff}", "plain text that is a little longer", &"x".repeat(130)];
    let mut payload = text[random.random_range(0..text.len())].as_bytes().to_vec();
    if first == 0x88 {
        payload = [&1000_u16.to_be_bytes()[..], &payload[..payload.len().min(9)]].concat();
    } else if first & 8 != 0 {
        payload.truncate(125);
    }
    if random.random_bool(0.05) && !payload.is_empty() {
        let at = random.random_range(0..payload.len());
        payload[at] ^= 0x80;
    }
    frame(side, first, &payload)
}

#[test]
fn however_bytes_are_split_the_verdict_is_the_same() {
    let mut random = StdRng::seed_from_u64(6455);
    let (mut right, mut wrong) = (0, 0);
    for round in 0..5_000 {
        let side = if round % 2 == 0 { Side::Client } else { Side::Service };
        let mut bytes: Vec<u8> = (0..random.random_range(1..8)).flat_map(|_| some(&mut random, side)).collect();
        if random.random_bool(0.1) {
            let at = random.random_range(0..bytes.len());
            bytes[at] = random.random();
        }
        let deflate = random.random();
        let verdict = run(side, deflate, &bytes, [], false);
        let mut ends: Vec<usize> = (0..random.random_range(0..9)).map(|_| random.random_range(0..=bytes.len())).collect();
        ends.sort_unstable();
        assert_eq!(run(side, deflate, &bytes, ends, false), verdict, "{bytes:x?}");
        assert_eq!(run(side, deflate, &bytes, 0..bytes.len(), false), verdict, "{bytes:x?}");
        assert_eq!(run(side, deflate, &bytes, [], true), verdict, "{bytes:x?}");
        if verdict.is_ok() { right += 1 } else { wrong += 1 }
    }
    assert!(right > 500 && wrong > 500, "{right} {wrong}");
}
