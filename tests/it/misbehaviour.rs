//! What a client sees of a service whose target misbehaves, and in what time: with and without a sound target beside it, another attempt, and a breaker.
//! `cargo test --test it misbehaviour -- --nocapture` shows the table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::support::{Gateway, Nginx, PATIENCE, RawOrigin};

/// How a target misbehaves, and what its client is told where nothing helps.
struct Peer {
    what: &'static str,
    address: SocketAddr,
    alone: &'static str,
    _origin: Option<RawOrigin>,
}

fn peer(what: &'static str, alone: &'static str, script: fn(crate::support::origin::Talk)) -> Peer {
    let origin = RawOrigin::start(script);
    Peer { what, address: origin.address, alone, _origin: Some(origin) }
}

/// One byte a second, of which the first second is enough.
fn drip(talk: &mut crate::support::origin::Talk) {
    let (_held, never) = mpsc::channel::<()>();
    while talk.try_say("x") {
        let _ = never.recv_timeout(Duration::from_secs(1));
    }
}

fn peers(sound: SocketAddr) -> Vec<Peer> {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let still = |what, address, alone| Peer { what, address, alone, _origin: None };
    vec![
        still("is sound (nginx)", sound, "200"),
        still("refuses", refusing, "502"),
        peer("accepts and stalls", "504", |mut talk| talk.until_closed()),
        peer("resets at once", "502", |talk| talk.reset()),
        peer("resets after the request", "502", |mut talk| {
            talk.request();
            talk.reset();
        }),
        peer("answers garbage", "502", |mut talk| {
            talk.request();
            talk.say("\x01\x02 this is no HTTP\r\n\r\n");
        }),
        peer("drips its header", "504", |mut talk| {
            talk.request();
            talk.say("HTTP/1.1 200 OK\r\nX: ");
            drip(&mut talk);
        }),
        peer("drips its body", "200 cut off", |mut talk| {
            talk.request();
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
            drip(&mut talk);
        }),
        peer("closes in the body", "200 cut off", |mut talk| {
            talk.request();
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        }),
        peer("closes in the chunks", "200 cut off", |mut talk| {
            talk.request();
            talk.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
        }),
        // Each connection is closed while the next request may be on its way.
        peer("closes kept connections", "200", |mut talk| {
            talk.request();
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        }),
        peer("answers 503", "503", |mut talk| {
            while talk.request().is_some() {
                talk.say("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nill");
            }
        }),
    ]
}

/// The settings of the columns: whether a sound target stands beside, and the keys of the service.
const COLUMNS: [(&str, bool, &str); 5] = [
    ("alone", false, ""),
    ("breaker", false, BREAKER),
    ("beside a sound one", true, ""),
    ("… with retry", true, RETRY),
    ("… with both", true, BOTH),
];
const RETRY: &str = ", retry: { on: [connect, reset, malformed, timeout, 503], budget: 100% }";
const BREAKER: &str = ", breaker: { failures: 3, open: 1m }";
const BOTH: &str = ", retry: { on: [connect, reset, malformed, timeout, 503], budget: 100% }, breaker: { failures: 3, open: 1m }";
const TIMES: &str = ", timeouts: { connect: 300ms, response: 300ms, total: 2s }";

const REQUESTS: usize = 6;

/// What one client sees, each request on a connection of its own: the status, and whether the answer is whole.
fn ask(gateway: SocketAddr) -> String {
    let mut stream = TcpStream::connect(gateway).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => return "hangs".to_owned(),
        _ => {}
    }
    let text = String::from_utf8_lossy(&bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return "nothing".to_owned() };
    let status = head.split(' ').nth(1).unwrap_or_default();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
    let whole = match length {
        Some(length) => body.len() == length,
        None => body.ends_with("0\r\n\r\n"),
    };
    if whole && status == "200" && body != "here" {
        return "a wrong 200".to_owned();
    }
    if whole { status.to_owned() } else { format!("{status} cut off") }
}

/// How often each was seen, and the longest time.
fn cell(peer: &Peer, sound: SocketAddr, beside: bool, settings: &str) -> (BTreeMap<String, usize>, Duration) {
    let targets = if beside { format!("\"http://{}\", \"http://{sound}\"", peer.address) } else { format!("\"http://{}\"", peer.address) };
    let service = format!("services: {{ up: {{ targets: [{targets}]{TIMES}{settings} }} }}");
    let gateway = Gateway::start(&format!("server:\n  workers: 1\n{service}\nroutes: [{{ name: up, to: up }}]\n"));
    let (mut seen, mut longest) = (BTreeMap::new(), Duration::ZERO);
    for _ in 0..REQUESTS {
        let started = Instant::now();
        *seen.entry(ask(gateway.address)).or_default() += 1;
        longest = longest.max(started.elapsed());
    }
    (seen, longest)
}

fn nginx() -> Nginx {
    let nginx = Nginx::start("location / { try_files /here =404; }");
    std::fs::write(nginx.file("here"), "here").unwrap();
    nginx
}

#[test]
fn no_client_waits_for_long_or_gets_a_wrong_answer_whatever_a_target_does() {
    let (nginx, sound) = (nginx(), nginx());
    let peers = peers(nginx.address);
    let mut table = String::new();
    for peer in &peers {
        let _ = writeln!(table, "{}", peer.what);
        let cells: Vec<_> = std::thread::scope(|scope| {
            let sound = sound.address;
            let runs = COLUMNS.map(|(_, beside, settings)| scope.spawn(move || cell(peer, sound, beside, settings)));
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        for ((column, beside, settings), (seen, longest)) in COLUMNS.iter().zip(cells) {
            let shown: Vec<_> = seen.iter().map(|(what, count)| format!("{count} × {what}")).collect();
            let _ = writeln!(table, "    {column:<20} {:<32} {:>5} ms", shown.join(", "), longest.as_millis());
            let count = |what: &str| seen.get(what).copied().unwrap_or_default();
            let place = format!("{} {column}: {seen:?}", peer.what);
            assert!(longest < PATIENCE / 2, "{place}");
            // An answer that has begun is the one there is; a retry cannot help it, nor can a breaker know a failure by it.
            let has_begun = peer.alone == "200 cut off";
            match (*beside, settings.contains("retry"), settings.contains("breaker")) {
                _ if peer.alone == "200" => assert_eq!(count("200"), REQUESTS, "{place}"),
                (false, _, false) => assert_eq!(count(peer.alone), REQUESTS, "{place}"),
                (false, _, true) => assert_eq!((count(peer.alone), count("503")), told_by_breaker(peer.alone), "{place}"),
                (true, true, _) if !has_begun => assert_eq!(count("200"), REQUESTS, "{place}"),
                // Half of the first choices, and a connection that does not come about is made elsewhere in any case.
                (true, ..) => {
                    assert_eq!(count("200") + count(peer.alone), REQUESTS, "{place}");
                    assert!(count("200") >= REQUESTS / 2, "{place}");
                }
            }
        }
    }
    std::io::stdout().write_all(table.as_bytes()).unwrap();
}

/// Three failures, then it is left alone.
fn told_by_breaker(alone: &str) -> (usize, usize) {
    if alone == "503" { (REQUESTS, REQUESTS) } else { (3, REQUESTS - 3) }
}
