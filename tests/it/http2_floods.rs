//! What clients of HTTP/2 can do to a gateway with frames: each is told to be calm, counted, and costs little memory and no neighbour's answer.
//! `cargo test --test it http2_floods -- --nocapture` shows the table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

use crate::support::speaker::{
    CALM, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, PROTOCOL_ERROR, RESET, SETTINGS, Speaker, WINDOW,
    block, frame,
};
use crate::support::{Gateway, PATIENCE, RawOrigin};

/// One flood.
struct Row {
    what: &'static str,
    /// The kind that it is counted as.
    kind: &'static str,
    /// What is said before.
    first: fn() -> Vec<u8>,
    /// What is said again and again; by the number of the turn.
    again: fn(u32) -> Vec<u8>,
}

const ROWS: &[Row] = &[
    Row { what: "SETTINGS", kind: "settings", first: Vec::new, again: |_| frame(SETTINGS, 0, 0, &[]) },
    Row {
        what: "SETTINGS that change the window of 100 streams",
        kind: "settings",
        first: || (0..100).flat_map(|n| frame(HEADERS, END_HEADERS, 2 * n + 1, &block("POST", "/wait", &[]))).collect(),
        again: |turn| frame(SETTINGS, 0, 0, &[&[0, 4][..], &(turn % 60_000).to_be_bytes()].concat()),
    },
    Row { what: "PING", kind: "ping", first: Vec::new, again: |_| frame(PING, 0, 0, &[0; 8]) },
    Row { what: "PRIORITY", kind: "priority", first: Vec::new, again: |turn| frame(PRIORITY, 0, 2 * turn + 1, &[0, 0, 0, 0, 1]) },
    Row { what: "WINDOW_UPDATE", kind: "window_update", first: Vec::new, again: |_| frame(WINDOW, 0, 0, &[0, 0, 0, 1]) },
    Row { what: "unknown frames", kind: "other", first: Vec::new, again: |_| frame(0x42, 0, 0, &[0; 16]) },
    Row { what: "empty DATA", kind: "empty_data", first: post, again: |_| frame(DATA, 0, 1, &[]) },
    Row { what: "DATA of padding", kind: "empty_data", first: post, again: |_| frame(DATA, 8, 1, &[10; 11]) },
    Row { what: "CONTINUATION, empty", kind: "continuation", first: begun, again: |_| frame(CONTINUATION, 0, 1, &[]) },
    Row {
        what: "CONTINUATION, each with a field",
        kind: "continuation",
        first: begun,
        again: |turn| {
            let name = format!("x-{turn}");
            frame(CONTINUATION, 0, 1, &[&[0, u8::try_from(name.len()).unwrap()], name.as_bytes(), &[1, b'y']].concat())
        },
    },
    Row {
        what: "a bomb of HPACK: 4 KB named 16,000 times",
        kind: "header_list",
        first: Vec::new,
        again: |turn| {
            let mut fields = block("GET", "/", &[]);
            if turn == 0 {
                // With incremental indexing (RFC 7541 §6.2.1): it stays in the table.
                fields.extend([&[0x40, 1, b'x', 127, 0xa1, 0x1e][..], &[b'y'; 4000][..]].concat());
            }
            fields.extend([0xbe; 12_000]);
            frame(HEADERS, END_STREAM | END_HEADERS, 2 * turn + 1, &fields)
        },
    },
    Row {
        what: "rapid reset",
        kind: "resets",
        first: Vec::new,
        again: |turn| {
            let stream = 2 * turn + 1;
            [frame(HEADERS, END_STREAM | END_HEADERS, stream, &block("GET", "/wait", &[])), frame(RESET, 0, stream, &[0, 0, 0, 8])].concat()
        },
    },
    Row {
        what: "resets that the gateway is made to send",
        kind: "resets",
        first: Vec::new,
        again: |turn| {
            let stream = 2 * turn + 1;
            [
                frame(HEADERS, END_STREAM | END_HEADERS, stream, &block("GET", "/wait", &[])),
                // A window that cannot be (RFC 9113 §6.9.1).
                frame(WINDOW, 0, stream, &[0x7f, 0xff, 0xff, 0xff]),
            ]
            .concat()
        },
    },
];

fn post() -> Vec<u8> {
    frame(HEADERS, END_HEADERS, 1, &block("POST", "/wait", &[]))
}

fn begun() -> Vec<u8> {
    frame(HEADERS, 0, 1, &block("GET", "/wait", &[]))
}

/// Answers `/here`, and lets all others wait for as long as they like.
fn gateway(more: &str) -> (RawOrigin, Gateway) {
    let origin = RawOrigin::start(|mut talk| {
        while let Some(request) = talk.request() {
            if !request.starts_with(b"GET /here") {
                return talk.until_closed();
            }
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        }
    });
    let up = format!("services: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]", origin.address);
    let gateway = Gateway::start(&format!("server:\n  workers: 1\n  {more}\naccess_log: {{ to: off }}\n{up}\n"));
    (origin, gateway)
}

/// Frames said in one write.
const BATCH: u32 = 100;

#[test]
fn who_floods_with_frames_is_told_to_be_calm() {
    let mut table = String::new();
    for row in ROWS {
        let (_origin, gateway) = gateway("");
        let mut neighbour = gateway.client();
        assert_eq!(neighbour.get("/here").status, 200);
        let before = gateway.memory();
        gateway.forget_peak_memory();
        let started = Instant::now();
        let mut speaker = Speaker::connect(gateway.address);
        assert!(speaker.say_all(&(row.first)()), "{}", row.what);
        let mut flooder = speaker.other();
        let flood = std::thread::spawn(move || {
            for turn in (0..).step_by(BATCH as usize) {
                assert!(started.elapsed() < PATIENCE, "{}: it is let flood for ever", row.what);
                let batch: Vec<_> = (turn..turn + BATCH).flat_map(row.again).collect();
                if !flooder.say_all(&batch) {
                    return turn;
                }
            }
            unreachable!()
        });
        let heard = speaker.until_closed();
        drop(speaker);
        let turns = flood.join().unwrap();
        let last = heard.iter().rfind(|heard| heard.kind == GOAWAY).unwrap_or_else(|| panic!("{}: {heard:?}", row.what));
        assert_eq!(last.code(), CALM, "{}", row.what);
        gateway.await_metric(&format!("tidegate_http2_floods_total{{kind=\"{}\"}}", row.kind), 1.0);
        assert_eq!(neighbour.get("/here").status, 200, "{}", row.what);
        let grown = gateway.peak_memory().saturating_sub(before);
        let _ = writeln!(table, "{:<48} {turns:>7} turns {:>6} ms {grown:>6} KiB", row.what, started.elapsed().as_millis());
        assert!(grown < 20 * 1024, "{}: {grown} KiB", row.what);
    }
    std::io::stdout().write_all(table.as_bytes()).unwrap();
}

#[test]
fn who_comes_without_settings_has_made_a_mistake() {
    let (_origin, gateway) = gateway("");
    let mut speaker = Speaker::silent(gateway.address);
    assert!(speaker.say_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(PING, 0, 0, &[0; 8])[..]].concat()));
    let heard = speaker.until_closed();
    assert_eq!(heard.iter().rfind(|heard| heard.kind == GOAWAY).map(|heard| heard.code()), Some(PROTOCOL_ERROR), "{heard:?}");
    gateway.await_metric("tidegate_http2_floods_total{kind=\"no_settings\"}", 1.0);
}

#[test]
fn settings_and_headers_have_their_time() {
    let (_origin, gateway) = gateway("timeouts: { header: 200ms, idle: 60s }");
    let mut mute = Speaker::silent(gateway.address);
    assert!(mute.say_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    let mut slow = Speaker::connect(gateway.address);
    assert!(slow.say_all(&begun()));
    let mut slower = Speaker::connect(gateway.address);
    assert!(slower.say_all(&begun()[..20]));
    for speaker in [&mut mute, &mut slow, &mut slower] {
        let heard = speaker.until_closed();
        assert_eq!(heard.iter().rfind(|heard| heard.kind == GOAWAY).map(|heard| heard.code()), Some(CALM), "{heard:?}");
    }
    gateway.await_metric("tidegate_http2_floods_total{kind=\"slow_header\"}", 3.0);
}

#[test]
fn frames_that_serve_a_long_exchange_are_no_flood() {
    let (_origin, gateway) = gateway("limits: { control_frames: 1, resets: 1 }");
    let mut speaker = Speaker::connect(gateway.address);
    // 3,000 requests, with a PING, two WINDOW_UPDATE and a PRIORITY each, and the last word of each answer met with a reset.
    for turn in 0..3000 {
        let stream = 2 * turn + 1;
        assert!(speaker.get(stream, "/here"));
        let talk = [
            frame(PING, 0, 0, &[0; 8]),
            frame(WINDOW, 0, 0, &[0, 0, 0, 1]),
            frame(WINDOW, 0, stream, &[0, 0, 0, 1]),
            frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]),
        ];
        assert!(speaker.say_all(&talk.concat()));
        let body = speaker.hear_of(DATA, stream).unwrap_or_else(|| panic!("closed at {turn}"));
        assert_eq!(body.payload, b"here");
    }
}

#[test]
fn so_many_requests_run_at_once_and_more_are_refused() {
    let (_origin, gateway) = gateway("limits: { streams: 3 }");
    let mut speaker = Speaker::connect(gateway.address);
    let settings = speaker.hear().unwrap();
    assert!(settings.payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 0, 3]), "{settings:?}");
    for n in 0..3 {
        assert!(speaker.get(2 * n + 1, "/wait"));
    }
    assert!(speaker.get(7, "/here"));
    let refused = speaker.hear_of(RESET, 7).unwrap();
    assert_eq!(refused.code(), 7, "REFUSED_STREAM");
    gateway.await_metric("tidegate_http2_streams_refused_total", 1.0);
    assert!(speaker.say(RESET, 0, 1, &[0, 0, 0, 8]));
    assert!(speaker.get(9, "/here"));
    assert_eq!(speaker.hear_of(DATA, 9).unwrap().payload, b"here");
}
