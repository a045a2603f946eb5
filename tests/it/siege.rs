//! What clients can do to a gateway, what they get for it, and that it costs little memory and no neighbour's answer.
//! `cargo test --test it siege -- --nocapture` shows the table.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::certificates::Authority;
use crate::support::gateway::Folder;
use crate::support::{Client, Gateway, PATIENCE, RawOrigin, eventually};

/// One way to lay siege.
struct Row {
    what: &'static str,
    /// Settings of the server beside the usual ones.
    server: &'static str,
    /// How many files it may open, where that matters.
    files: Option<u64>,
    /// What it may need in memory, in MiB.
    most: u64,
    /// Does it, and says what the client got.
    siege: fn(&Field) -> String,
}

/// What it is about.
struct Field {
    gateway: Gateway,
    /// The listener that speaks TLS.
    secure: SocketAddr,
}

const TIMES: &str = "header: 1s, body: 1s, write: 1s, handshake: 1s, farewell: 500ms";

const ROWS: &[Row] = &[
    Row { what: "500 headers that drip, a byte each 50 ms", server: "", files: None, most: 40, siege: slow_headers },
    Row { what: "500 bodies that drip, a byte each 50 ms", server: "", files: None, most: 60, siege: slow_bodies },
    Row { what: "50 clients that read nothing of an endless answer", server: "", files: None, most: 60, siege: slow_readers },
    Row { what: "500 that close their side at once", server: "", files: None, most: 40, siege: half_closed_at_once },
    Row { what: "100 that close their side after a request", server: "", files: None, most: 40, siege: half_closed_asking },
    Row { what: "100 that do so with a service that never answers", server: "", files: None, most: 40, siege: half_closed_waiting },
    Row { what: "pipelining, 100 deep", server: "", files: None, most: 20, siege: |field| pipelined(field, 100) },
    Row { what: "pipelining, 10,000 deep", server: "", files: None, most: 20, siege: |field| pipelined(field, 10_000) },
    Row { what: "pipelining without end, no answer read", server: "", files: None, most: 20, siege: pipelined_deaf },
    Row { what: "100 headers of 1 MiB", server: "", files: None, most: 20, siege: |field| refused(field, header_of_a_mebibyte, 431) },
    Row {
        what: "100 headers of 100,000 fields",
        server: "",
        files: None,
        most: 20,
        siege: |field| refused(field, header_of_many_fields, 431),
    },
    Row { what: "100 request lines without end", server: "", files: None, most: 20, siege: |field| refused(field, endless_line, 414) },
    Row { what: "10,000 idle connections", server: "", files: None, most: 80, siege: idle },
    Row {
        what: "1,000 connections of one that may have 100",
        server: "limits: { connections_per_client: 101 }",
        files: None,
        most: 20,
        siege: capped,
    },
    Row {
        what: "1,000 connections where 100 may be",
        server: "limits: { connections: 101, connections_per_client: 101 }",
        files: None,
        most: 20,
        siege: capped,
    },
    Row {
        what: "1,000 connections where 100 files may be open",
        server: "limits: { connections_per_client: 1000 }",
        files: Some(100),
        most: 20,
        siege: out_of_files,
    },
    Row { what: "5,000 that connect and close", server: "", files: None, most: 40, siege: storm },
    Row { what: "500 handshakes of TLS that stall", server: "", files: None, most: 40, siege: stalled_handshakes },
];

/// Bears a siege and gives its line of the table.
fn bear(row: &Row) -> String {
    let up = RawOrigin::start(|mut talk| {
        while let Some(header) = talk.header() {
            match header.get(..6) {
                Some(b"GET /e") => {
                    talk.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                    while talk.try_say([b"4000\r\n".to_vec(), vec![b'x'; 0x4000], b"\r\n".to_vec()].concat()) {}
                }
                Some(b"GET /h" | b"POST /") => talk.until_closed(),
                _ => talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere"),
            }
        }
    });
    let (folder, authority) = (Folder::new(), Authority::new());
    let identity = authority.issue("a.test");
    folder.file("a.pem", &identity.cert);
    folder.file("a.key", &identity.key);
    let yaml = format!(
        "server:
  timeouts: {{ {TIMES} }}
  listeners:
    - {{ address: \"127.0.0.1:0\" }}
    - {{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ cert: a.pem, key: a.key }}] }} }}
  {}
services: {{ up: {{ targets: [\"http://{}\"] }}, mock: {{ mock: {{ text: here }} }} }}
routes: [{{ name: mock, match: {{ path: /mock }}, to: mock }}, {{ name: up, match: {{ path: \"/{{rest...}}\" }}, to: up }}]
",
        if row.server.is_empty() { "limits: { connections_per_client: 20000 }" } else { row.server },
        up.address
    );
    let gateway = match row.files {
        Some(files) => Gateway::start_with_files(files, folder, &yaml),
        None => Gateway::start_in(folder, &yaml),
    };
    let secure = gateway.addresses()[1];
    let mut neighbour = gateway.client();
    (0..100).for_each(|_| assert_eq!(neighbour.get("/").status, 200));
    let field = Field { gateway, secure };
    let before = field.gateway.memory();
    field.gateway.forget_peak_memory();
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    let (got, took, (answers, slowest)) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let (mut answers, mut slowest) = (0_u32, Duration::ZERO);
            while answers == 0 || !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                assert_eq!(neighbour.get("/").status, 200, "a neighbour was not answered");
                slowest = slowest.max(asked.elapsed());
                answers += 1;
                std::thread::park_timeout(Duration::from_millis(2));
            }
            (answers, slowest)
        });
        let ends = Over(&over);
        let got = (row.siege)(&field);
        let took = begun.elapsed();
        drop(ends);
        (got, took, asking.join().unwrap())
    });
    let peak = field.gateway.peak_memory();
    let grown = peak.saturating_sub(before) / 1024;
    let mebibytes = |kibibytes: u64| format!("{:.1}", kibibytes as f64 / 1024.0);
    let line = format!(
        "{:52} | {got:58} | {:5.1} s | {:>5} → {:>5} MiB | {answers:5} answers, the slowest {:4} ms",
        row.what,
        took.as_secs_f64(),
        mebibytes(before),
        mebibytes(peak),
        slowest.as_millis()
    );
    assert!(grown <= row.most, "{line}: more than {} MiB", row.most);
    line
}

/// Ends the neighbour's requests, also where a siege fails: the thread would be waited for.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_siege_is_borne_and_no_neighbour_notices() {
    let mut table = String::new();
    for row in ROWS {
        let line = bear(row);
        eprintln!("{line}");
        let _ = writeln!(table, "{line}");
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Many connections that have sent this.
fn many(count: usize, address: SocketAddr, bytes: &[u8]) -> Vec<TcpStream> {
    let mut all: Vec<_> = (0..count).map(|_| connect(address)).collect();
    all.iter_mut().for_each(|stream| stream.write_all(bytes).unwrap());
    all
}

/// All that comes before the end, which must come; none where it is a reset before a byte.
fn rest(stream: &mut TcpStream) -> Option<String> {
    let mut text = Vec::new();
    let end = stream.read_to_end(&mut text);
    assert!(!end.as_ref().is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)), "no end");
    (end.is_ok() || !text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// Sends a byte on each of them, round by round, until the gateway has answered or closed all. Each must begin its answer with this.
fn drip(mut all: Vec<TcpStream>, answer: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !all.is_empty() {
        assert!(Instant::now() < deadline, "{} still drip", all.len());
        all.retain_mut(|stream| {
            stream.set_nonblocking(true).unwrap();
            let mut peeked = [0; 1];
            match stream.peek(&mut peeked) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = stream.write(b"x");
                    true
                }
                _ => {
                    stream.set_nonblocking(false).unwrap();
                    let _ = stream.shutdown(Shutdown::Write);
                    let told = rest(stream).unwrap_or_default();
                    assert!(told.starts_with(answer), "{told:?}");
                    false
                }
            }
        });
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

fn slow_headers(field: &Field) -> String {
    drip(many(500, field.gateway.address, b"GET / HTTP/1.1\r\nHost: a\r\nX: "), "HTTP/1.1 408 ");
    "408 each, then closed".to_owned()
}

fn slow_bodies(field: &Field) -> String {
    drip(many(500, field.gateway.address, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"), "HTTP/1.1 408 ");
    field.gateway.await_metric("tidegate_slow_clients_total{direction=\"upload\"}", 500.0);
    "408 each, then closed".to_owned()
}

fn slow_readers(field: &Field) -> String {
    let _deaf = many(50, field.gateway.address, b"GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
    field.gateway.await_metric("tidegate_slow_clients_total{direction=\"download\"}", 50.0);
    "the answer's beginning, then cut off".to_owned()
}

fn half_closed_at_once(field: &Field) -> String {
    let mut all = many(500, field.gateway.address, b"");
    all.iter().for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
    assert!(all.iter_mut().all(|stream| rest(stream).is_some_and(|text| text.is_empty())));
    "closed".to_owned()
}

fn half_closed_asking(field: &Field) -> String {
    let mut all = many(100, field.gateway.address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    all.iter().for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
    assert!(all.iter_mut().all(|stream| rest(stream).is_some_and(|text| text.starts_with("HTTP/1.1 200 ") && text.ends_with("here"))));
    "200 each, then closed".to_owned()
}

fn half_closed_waiting(field: &Field) -> String {
    let mut all = many(100, field.gateway.address, b"GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n");
    all.iter().for_each(|stream| stream.shutdown(Shutdown::Write).unwrap());
    assert!(all.iter_mut().all(|stream| rest(stream).is_none_or(|text| text.is_empty())));
    "closed after `farewell`, the service freed".to_owned()
}

fn pipelined(field: &Field, depth: usize) -> String {
    let requests = "GET /mock HTTP/1.1\r\nHost: a\r\n\r\n".repeat(depth);
    // Who writes all before it reads may wait for ever, as with any server.
    let mut writer = connect(field.gateway.address);
    let reader = writer.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(requests.as_bytes()).unwrap());
    let mut client = Client::over(reader);
    for answers in 0..depth {
        assert_eq!(client.read().text(), "here", "after {answers}");
    }
    writing.join().unwrap();
    format!("{depth} answers, in order of asking")
}

fn pipelined_deaf(field: &Field) -> String {
    let mut stream = connect(field.gateway.address);
    let requests = b"GET /mock HTTP/1.1\r\nHost: a\r\n\r\n".repeat(1000);
    let mut sent = 0;
    let deadline = Instant::now() + PATIENCE;
    while let Ok(count) = stream.write(&requests) {
        sent += count;
        assert!(Instant::now() < deadline, "it takes requests for ever");
    }
    field.gateway.await_metric("tidegate_slow_clients_total{direction=\"download\"}", 1.0);
    format!("{} KiB taken by the systems, then cut off", sent / 1024)
}

fn header_of_a_mebibyte() -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(1 << 20)).into_bytes()
}

fn header_of_many_fields() -> Vec<u8> {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(100_000)).into_bytes()
}

fn endless_line() -> Vec<u8> {
    format!("GET /{}", "x".repeat(1 << 20)).into_bytes()
}

fn refused(field: &Field, request: fn() -> Vec<u8>, status: u16) -> String {
    let request = request();
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = field.gateway.client();
                    let _ = client.try_send(&request);
                    let answer = client.read();
                    assert_eq!((answer.status, answer.header("connection")), (status, Some("close")));
                })
            })
            .collect();
        asking.into_iter().for_each(|asking| asking.join().unwrap());
    });
    format!("{status} each, then closed")
}

fn idle(field: &Field) -> String {
    // Where the system grants fewer files, there are fewer.
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum });
    let count = files.maximum.map_or(10_000, |most| usize::try_from(most / 2).unwrap().min(10_000));
    let before = field.gateway.memory();
    let mut all = many(count, field.gateway.address, b"GET /mock HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut piece = [0; 4096];
    for stream in &mut all {
        assert!(stream.read(&mut piece).unwrap() > 0);
    }
    let each = (field.gateway.memory() - before) as f64 / count as f64;
    let mut last = all.pop().unwrap();
    last.write_all(b"GET /mock HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert!(last.read(&mut piece).unwrap() > 0);
    format!("200 each, then kept for {each:.2} KiB")
}

fn capped(field: &Field) -> String {
    let mut all: Vec<_> = (0..1000).filter_map(|_| Client::try_connect(field.gateway.address).ok()).collect();
    let mut served = 0;
    for client in &mut all {
        let _ = client.try_send("GET /mock HTTP/1.1\r\nHost: a\r\n\r\n");
        served += usize::from(client.try_read().is_ok_and(|answer| answer.status == 200));
    }
    assert_eq!(served, 100, "with the neighbour's own");
    format!("{served} served, the others reset")
}

fn out_of_files(field: &Field) -> String {
    let mut all: Vec<_> = (0..1000).filter_map(|_| Client::try_connect(field.gateway.address).ok()).collect();
    let mut served = 0;
    for client in &mut all {
        let _ = client.try_send("GET /mock HTTP/1.1\r\nHost: a\r\n\r\n");
        served += usize::from(client.try_read().is_ok_and(|answer| answer.status == 200));
    }
    assert!((1..75).contains(&served), "{served}");
    assert!(field.gateway.metric("tidegate_connections_turned_away_total{bound=\"files\"}") >= 900.0);
    drop(all);
    eventually("there is room again", || {
        let mut client = field.gateway.client();
        (client.try_send("GET /mock HTTP/1.1\r\nHost: a\r\n\r\n").is_ok() && client.try_read().is_ok()).then_some(())
    });
    format!("{served} served, the others reset; room again after them")
}

fn storm(field: &Field) -> String {
    for round in 0..5_000 {
        let stream = connect(field.gateway.address);
        if round % 2 == 0 {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    eventually("all have gone", || {
        let held: f64 = (0..2).map(|worker| field.gateway.metric(&format!("tidegate_connections{{worker=\"{worker}\"}}"))).sum();
        (held == 1.0).then_some(())
    });
    "nothing; none is left".to_owned()
}

fn stalled_handshakes(field: &Field) -> String {
    // The beginning of a hello.
    let mut all = many(500, field.secure, &[22, 3, 1, 2, 0, 1]);
    assert!(all.iter_mut().all(|stream| rest(stream).is_none_or(|text| text.is_empty())));
    field.gateway.await_metric("tidegate_handshakes_total{result=\"late\"}", 500.0);
    "closed after `handshake`".to_owned()
}
