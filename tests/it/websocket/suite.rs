//! The categories of the Autobahn test suite, made anew as a table: each case is a connection of its own to a service that echoes messages, through the
//! gateway. What is right comes back; what is wrong ends with the code that the standard gives it.

use super::gateway;
use crate::support::websocket::{BINARY, CLOSE, Got, MASK, PING, PONG, Socket, TEXT, closing, echoing, frame};

struct Case {
    name: String,
    /// What is sent, piece by piece.
    pieces: Vec<Vec<u8>>,
    /// What must come, but for what a violation overtakes.
    echo: Vec<(u8, Vec<u8>)>,
    end: End,
}

#[derive(Clone, Debug)]
enum End {
    /// The client goes on to close with 1000.
    Good,
    /// The Close that comes has this payload.
    Closed(Vec<u8>),
    /// The Close that comes has this code.
    Failed(u16),
}

fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    frame(first, payload, Some(MASK))
}

/// Adds a case with its bytes in one piece, and another one with each byte of the first few hundred by itself.
fn add(cases: &mut Vec<Case>, name: impl Into<String>, bytes: &[u8], echo: &[(u8, &[u8])], end: End) {
    let name = name.into();
    let echo: Vec<_> = echo.iter().map(|(first, payload)| (*first, payload.to_vec())).collect();
    if bytes.len() < 400 {
        let pieces = bytes.iter().map(|byte| vec![*byte]).collect();
        cases.push(Case { name: format!("{name}, byte by byte"), pieces, echo: echo.clone(), end: end.clone() });
    }
    cases.push(Case { name, pieces: vec![bytes.to_vec()], echo, end });
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    framing(&mut all);
    control(&mut all);
    fragments(&mut all);
    text(&mut all);
    farewells(&mut all);
    limits(&mut all);
    all
}

/// 1, 3, 4: sizes, reserved bits, opcodes.
fn framing(all: &mut Vec<Case>) {
    for length in [0, 1, 124, 125, 126, 127, 128, 65_534, 65_535, 65_536] {
        for (kind, byte) in [(TEXT, b'*'), (BINARY, 0xfe)] {
            let payload = vec![byte; length];
            add(all, format!("{length} bytes of {kind:x}"), &masked(kind, &payload), &[(kind, &payload)], End::Good);
        }
    }
    for chop in [1, 10, 997, 1000, 4096] {
        let payload = vec![b'*'; 65_536];
        let pieces = masked(TEXT, &payload).chunks(if chop == 1 { 13 } else { chop }).map(<[u8]>::to_vec).collect();
        all.push(Case { name: format!("65536 bytes in pieces of {chop}"), pieces, echo: vec![(TEXT, payload)], end: End::Good });
    }
    for bits in 1..8_u8 {
        for opcode in [1, 2, 8, 9, 10] {
            add(
                all,
                format!("reserved bits {bits} with opcode {opcode}"),
                &masked(0x80 | bits << 4 | opcode, b"hi"),
                &[],
                End::Failed(1002),
            );
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        add(all, format!("opcode {opcode}"), &masked(0x80 | opcode, b""), &[], End::Failed(1002));
        add(all, format!("opcode {opcode} with a payload"), &masked(0x80 | opcode, b"hi"), &[], End::Failed(1002));
    }
    let long: &[&[u8]] = &[b"\x82\xfe\x00\x7d", b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"];
    for bytes in long {
        add(all, format!("a length as {bytes:x?}"), bytes, &[], End::Failed(1002));
    }
    add(all, "no mask", &frame(TEXT, b"hi", None), &[], End::Failed(1002));
}

/// 2: pings and pongs.
fn control(all: &mut Vec<Case>) {
    for payload in [&b""[..], b"hello", &[0, 0xff, 0xfe, 0xfd], &[0xfe; 125]] {
        add(all, format!("a ping of {}", payload.len()), &masked(PING, payload), &[(PONG, payload)], End::Good);
        let after = [masked(PONG, payload), masked(PING, b"x")].concat();
        add(all, format!("a pong of {} unasked", payload.len()), &after, &[(PONG, b"x")], End::Good);
    }
    for length in [126, 127, 65_536] {
        add(all, format!("a ping of {length}"), &masked(PING, &vec![0; length]), &[], End::Failed(1002));
        add(all, format!("a pong of {length}"), &masked(PONG, &vec![0; length]), &[], End::Failed(1002));
    }
    let ten: Vec<_> = (0..10_u8).map(|number| vec![number]).collect();
    let (sent, pongs): (Vec<_>, Vec<_>) = ten.iter().map(|payload| (masked(PING, payload), (PONG, &payload[..]))).unzip();
    add(all, "ten pings", &sent.concat(), &pongs, End::Good);
}

/// 5: fragments, and what may stand between them.
fn fragments(all: &mut Vec<Case>) {
    add(all, "a ping in fragments", &[masked(0x09, b"a"), masked(0x80, b"b")].concat(), &[], End::Failed(1002));
    add(all, "a pong in fragments", &[masked(0x0a, b"a"), masked(0x80, b"b")].concat(), &[], End::Failed(1002));
    add(all, "two fragments", &[masked(0x01, b"a"), masked(0x80, b"b")].concat(), &[(TEXT, b"ab")], End::Good);
    let between = [masked(0x01, b"a"), masked(PING, b"p"), masked(0x80, b"b")].concat();
    add(all, "a ping between", &between, &[(PONG, b"p"), (TEXT, b"ab")], End::Good);
    let many = [masked(0x02, b""), masked(0x00, b""), masked(PING, b"p"), masked(0x00, b"mid"), masked(0x80, b"")].concat();
    add(all, "empty fragments", &many, &[(PONG, b"p"), (BINARY, b"mid")], End::Good);
    for (name, first) in [("final", 0x80), ("not final", 0x00)] {
        add(all, format!("a continuation of nothing, {name}"), &masked(first, b"x"), &[], End::Failed(1002));
        let after = [masked(TEXT, b"good"), masked(first, b"x")].concat();
        add(all, format!("a continuation after a whole message, {name}"), &after, &[], End::Failed(1002));
        let again = [masked(0x01, b"a"), masked(0x80, b"b"), masked(first, b"x")].concat();
        add(all, format!("a continuation after fragments, {name}"), &again, &[], End::Failed(1002));
    }
    for kind in [0x01, 0x02, TEXT, BINARY] {
        let within = [masked(0x01, b"a"), masked(kind, b"b")].concat();
        add(all, format!("{kind:x} within a message"), &within, &[], End::Failed(1002));
    }
    let pings: Vec<u8> = (0..5).flat_map(|_| [masked(0x00, b"f"), masked(PING, b"p")].concat()).collect();
    let long = [masked(0x01, b"F"), pings, masked(0x80, b"")].concat();
    let pong: (u8, &[u8]) = (PONG, b"p");
    add(all, "many pings between", &long, &[pong, pong, pong, pong, pong, (TEXT, b"Ffffff")], End::Good);
}

/// 6: UTF-8.
fn text(all: &mut Vec<Case>) {
    let right: &[&[u8]] = &[
        b"",
        b"\x00",
        b"Hello-\xc2\xb5@\xc3\x9f\xc3\xb6\xc3\xa4\xc3\xbc\xc3\xa0\xc3\xa1-UTF-8!!",
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
        b"\x7f",
        b"\xc2\x80",
        b"\xdf\xbf",
        b"\xe0\xa0\x80",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xef\xbf\xbe",
        b"\xef\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf0\x9f\xbf\xbe",
        b"\xf4\x8f\xbf\xbf",
        b"\xf4\x8f\xbf\xbe",
    ];
    for payload in right {
        add(all, format!("text {payload:x?}"), &masked(TEXT, payload), &[(TEXT, payload)], End::Good);
        let singly: Vec<u8> = payload.iter().enumerate().flat_map(|(at, byte)| masked(u8::from(at == 0), &[*byte])).collect();
        if !payload.is_empty() {
            let singly = [singly, masked(0x80, b"")].concat();
            add(all, format!("text {payload:x?} in fragments"), &singly, &[(TEXT, payload)], End::Good);
        }
    }
    let wrong: &[&[u8]] = &[
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        b"\xce",
        b"\xce\xba\xe1",
        b"\xce\xba\xe1\xbd",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf",
        b"\x80\xbf",
        b"\x80\xbf\x80\xbf\x80\xbf\x80",
        b"\xc0 \xc1 \xc2 ",
        b"\xe0 \xe1 \xe2 ",
        b"\xf0 \xf1 ",
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xae\x80",
        b"\xed\xbf\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
    ];
    for payload in wrong {
        add(all, format!("text {payload:x?}"), &masked(TEXT, payload), &[], End::Failed(1007));
        add(all, format!("bytes {payload:x?}"), &masked(BINARY, payload), &[(BINARY, payload)], End::Good);
        let after = [masked(0x01, b"good"), masked(PING, b"p"), masked(0x80, payload)].concat();
        add(all, format!("text {payload:x?} in the second fragment"), &after, &[], End::Failed(1007));
    }
    // Nothing follows: the first wrong byte is enough.
    for start in [&b"\x81\xfe\xff\xff"[..], b"\x01\xfe\xff\xff"] {
        let begun = [start, &MASK, &[0xf4 ^ MASK[0], 0x90 ^ MASK[1]]].concat();
        add(all, format!("fail fast after {start:x?}"), &begun, &[], End::Failed(1007));
    }
}

/// 7: how to say farewell.
fn farewells(all: &mut Vec<Case>) {
    add(all, "no code", &masked(CLOSE, b""), &[], End::Closed(Vec::new()));
    add(all, "half a code", &masked(CLOSE, b"\x03"), &[], End::Failed(1002));
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        for reason in ["", "Hello World!", &"*".repeat(123)] {
            let payload = closing(code, reason);
            add(all, format!("code {code}, a reason of {}", reason.len()), &masked(CLOSE, &payload), &[], End::Closed(payload));
        }
    }
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        add(all, format!("code {code}"), &masked(CLOSE, &closing(code, "")), &[], End::Failed(1002));
        add(all, format!("code {code} and a reason"), &masked(CLOSE, &closing(code, "why")), &[], End::Failed(1002));
    }
    add(all, "a reason that is too long", &masked(CLOSE, &closing(1000, &"*".repeat(124))), &[], End::Failed(1002));
    add(all, "a reason that is no text", &masked(CLOSE, b"\x03\xe8\xce\xba\xff"), &[], End::Failed(1007));
    let after = closing(1000, "");
    for more in [masked(TEXT, b"late"), masked(PING, b""), masked(CLOSE, &after), b"rubbish".to_vec()] {
        let bytes = [masked(TEXT, b"before"), masked(CLOSE, &after), more].concat();
        add(all, "what follows a Close counts no more", &bytes, &[(TEXT, b"before")], End::Closed(after.clone()));
    }
    let within = [masked(0x01, b"a"), masked(CLOSE, &after)].concat();
    add(all, "a Close within a message", &within, &[], End::Closed(after));
}

/// 9: large messages, whole and in fragments and pieces.
fn limits(all: &mut Vec<Case>) {
    for kind in [TEXT, BINARY] {
        for size in [64 << 10, 256 << 10, 1 << 20, 4 << 20, 8 << 20, 16 << 20] {
            let payload = vec![b'*'; size];
            add(all, format!("{size} bytes of {kind:x}"), &masked(kind, &payload), &[(kind, &payload)], End::Good);
        }
        for part in [64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20] {
            let payload = vec![b'*'; 1 << 20];
            let mut bytes = masked(kind & 0x0f, b"");
            payload.chunks(part).for_each(|part| bytes.extend(masked(0x00, part)));
            bytes.extend(masked(0x80, b""));
            add(all, format!("1 MiB of {kind:x} in fragments of {part}"), &bytes, &[(kind, &payload)], End::Good);
        }
        for chop in [64, 1000, 1460, 16 << 10] {
            let payload = vec![b'*'; 1 << 20];
            let pieces = masked(kind, &payload).chunks(chop).map(<[u8]>::to_vec).collect();
            all.push(Case { name: format!("1 MiB of {kind:x} in pieces of {chop}"), pieces, echo: vec![(kind, payload)], end: End::Good });
        }
    }
    for (count, size) in [(1000, 0), (1000, 16), (1000, 256), (200, 4096)] {
        let payload = vec![b'*'; size];
        let bytes = masked(TEXT, &payload).repeat(count);
        let echo = vec![(TEXT, payload); count];
        all.push(Case { name: format!("{count} messages of {size}"), pieces: vec![bytes], echo, end: End::Good });
    }
}

fn run(case: &Case, address: std::net::SocketAddr) -> Result<(), String> {
    let socket = Socket::open(address, "/");
    let mut reading = Socket { client: socket.client.twin() };
    let mut writing = socket;
    std::thread::scope(|scope| {
        let pieces = &case.pieces;
        let good = matches!(case.end, End::Good);
        let writer = scope.spawn(move || {
            for piece in pieces {
                // What is wrong may be told before the rest is sent.
                if writing.client.try_send(piece).is_err() {
                    return;
                }
            }
            if good {
                writing.close(1000);
            }
        });
        let said = hear(case, &mut reading);
        drop(reading);
        writer.join().unwrap();
        said
    })
}

fn hear(case: &Case, reading: &mut Socket) -> Result<(), String> {
    let failed = matches!(case.end, End::Failed(_));
    let mut echo = case.echo.iter();
    loop {
        match (reading.read(), &case.end) {
            (Got::Frame(CLOSE, payload), end) => {
                let right = match end {
                    End::Good => echo.next().is_none() && payload == closing(1000, ""),
                    End::Closed(expected) => echo.next().is_none() && payload == *expected,
                    End::Failed(code) => payload.starts_with(&code.to_be_bytes()),
                };
                return if right { Ok(()) } else { Err(format!("a Close came that says {payload:x?}")) };
            }
            (Got::Frame(first, payload), _) if !failed => match echo.next() {
                Some((kind, expected)) if *kind == first && *expected == payload => {}
                _ => return Err(format!("{first:x} of {} bytes came", payload.len())),
            },
            (Got::Frame(..), _) => {}
            (Got::End, _) => return Err("the connection ended without a Close".to_owned()),
        }
    }
}

#[test]
fn what_is_right_passes_and_what_is_wrong_is_told() {
    let origin = echoing();
    let gateway = gateway(origin.address, "");
    let cases = cases();
    assert!(cases.len() > 500, "{}", cases.len());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    if let Err(what) = run(case, gateway.address) {
                        wrong.lock().unwrap().push(format!("{}: {what}", case.name));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
