//! A real nginx behind the gateway: large bodies both ways in little memory, events as they happen, and an honest end when it dies.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::support::{End, Gateway, Nginx, PATIENCE, RawOrigin};

const GIB: usize = 1 << 30;
const PIECE: usize = 64 * 1024;
/// What the gateway may need beside its idle memory to carry a body of any size, in KiB. It takes about a third of it.
const MORE: u64 = 32 * 1024;
/// A filter on the body takes the length of `large` away: nginx then sends it in chunks.
const CHUNKS: &str = "location /chunks { alias www/large; sub_filter never-there x; sub_filter_types *; }";

fn before(nginx: &Nginx) -> Gateway {
    Gateway::start(&format!(
        "server:
  limits: {{ body: 2GiB }}
services:
  nginx: {{ targets: [\"http://{}\"] }}
routes:
  - {{ name: all, match: {{ path: \"/{{rest...}}\" }}, to: nginx }}
",
        nginx.address
    ))
}

/// The most memory that the process has ever held, in KiB (proc_pid_status(5)).
fn peak(gateway: &Gateway) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A body in which no two pieces are the same: one that is lost, doubled or out of order is seen.
fn pieces(size: usize, mut each: impl FnMut(usize, &[u8])) {
    let mut piece: Vec<u8> = (0..PIECE).map(|at| (at % 251) as u8).collect();
    for index in 0..size / PIECE {
        piece[..8].copy_from_slice(&index.to_be_bytes());
        each(index, &piece);
    }
}

fn holds_pieces(mut from: impl Read, size: usize) {
    let mut got = vec![0; PIECE];
    pieces(size, |index, wanted| {
        from.read_exact(&mut got).unwrap_or_else(|error| panic!("{error} in piece {index}"));
        assert!(got == wanted, "piece {index} is another");
    });
}

fn store(path: &std::path::Path, size: usize) {
    let mut file = File::create(path).unwrap();
    pieces(size, |_, piece| file.write_all(piece).unwrap());
}

fn connect(gateway: &Gateway) -> TcpStream {
    let stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap().to_ascii_lowercase()
}

/// The body of a chunked answer, without its frames.
struct Chunked<R> {
    from: R,
    left: usize,
}

impl<R: Read> Read for Chunked<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") || line == b"\r\n" {
                if line == b"\r\n" {
                    line.clear();
                }
                let mut byte = [0];
                self.from.read_exact(&mut byte)?;
                line.push(byte[0]);
            }
            self.left = usize::from_str_radix(String::from_utf8_lossy(&line).trim(), 16).unwrap();
        }
        let most = into.len().min(self.left);
        let count = self.from.read(&mut into[..most])?;
        self.left -= count;
        Ok(count)
    }
}

#[test]
fn a_gibibyte_goes_up_in_flat_memory() {
    let nginx = Nginx::start("location / { dav_methods PUT; }");
    let gateway = before(&nginx);
    gateway.client().get("/");
    let idle = peak(&gateway);
    for (name, framing) in [("length", format!("Content-Length: {GIB}")), ("chunks", "Transfer-Encoding: chunked".to_owned())] {
        let mut stream = connect(&gateway);
        write!(stream, "PUT /{name} HTTP/1.1\r\nHost: gateway.test\r\n{framing}\r\n\r\n").unwrap();
        let chunked = name == "chunks";
        pieces(GIB, |_, piece| {
            if chunked {
                write!(stream, "{PIECE:x}\r\n").unwrap();
            }
            stream.write_all(piece).unwrap();
            if chunked {
                stream.write_all(b"\r\n").unwrap();
            }
        });
        if chunked {
            stream.write_all(b"0\r\n\r\n").unwrap();
        }
        assert!(head(&mut stream).starts_with("http/1.1 201 "));
        let file = File::open(nginx.file(name)).unwrap();
        assert_eq!(file.metadata().unwrap().len(), GIB as u64);
        holds_pieces(BufReader::new(file), GIB);
        std::fs::remove_file(nginx.file(name)).unwrap();
        let most = peak(&gateway);
        assert!(most < idle + MORE, "{name}: {most} KiB at most, {idle} KiB before");
    }
}

#[test]
fn a_gibibyte_comes_down_in_flat_memory() {
    let nginx =
        Nginx::start("location /chunks { alias WWW/large; sub_filter never-there x; sub_filter_types *; }".replace("WWW", "www").as_str());
    store(&nginx.file("large"), GIB);
    let gateway = before(&nginx);
    gateway.client().get("/");
    let idle = peak(&gateway);
    for (path, framing) in [("/large", format!("content-length: {GIB}\r\n")), ("/chunks", "transfer-encoding: chunked\r\n".to_owned())] {
        let mut stream = connect(&gateway);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n").unwrap();
        let mut stream = BufReader::new(stream);
        let head = head(&mut stream);
        assert!(head.starts_with("http/1.1 200 ") && head.contains(&framing), "{head}");
        if path == "/chunks" {
            let mut body = Chunked { from: stream, left: 0 };
            holds_pieces(&mut body, GIB);
            assert_eq!(body.read(&mut [0]).unwrap(), 0, "and then the last chunk");
        } else {
            holds_pieces(stream, GIB);
        }
        let most = peak(&gateway);
        assert!(most < idle + MORE, "{path}: {most} KiB at most, {idle} KiB before");
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_service_and_not_the_memory() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = origin.local_addr().unwrap();
    let gateway = Gateway::start(&format!(
        "services: {{ slow: {{ targets: [\"http://{address}\"] }} }}\nroutes: [{{ name: all, match: {{ path: / }}, to: slow }}]\n"
    ));
    let mut client = connect(&gateway);
    write!(client, "GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n").unwrap();
    let (mut stream, _) = origin.accept().unwrap();
    head(&mut stream);
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {GIB}\r\n\r\n").unwrap();
    let idle = peak(&gateway);
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let piece = vec![b'x'; PIECE];
    let mut sent = 0;
    // Until nobody takes any more: what lies between is full.
    while let Ok(count) = stream.write(&piece) {
        sent += count;
        assert!(sent < GIB / 4, "the gateway has read {sent} bytes that nobody wants");
    }
    assert!(head(&mut client).starts_with("http/1.1 200 "));
    let most = peak(&gateway);
    assert!(most < idle + MORE, "{most} KiB at most, {idle} KiB before, {sent} bytes taken");
}

#[test]
fn events_arrive_one_by_one_through_gateway_and_nginx() {
    let (next, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let origin = RawOrigin::start(move |mut talk| {
        if talk.request().is_none() {
            return;
        }
        talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for number in 0..5 {
            let event = format!("data: {number}\n\n");
            talk.say(format!("{:x}\r\n{event}\r\n", event.len()));
            // The next is not sent before the client has this one: if anybody held it back, nothing more would come.
            if wait.lock().unwrap().recv_timeout(PATIENCE).is_err() {
                return;
            }
        }
        talk.say("0\r\n\r\n");
        talk.until_closed();
    });
    let nginx =
        Nginx::start(&format!("location / {{ proxy_pass http://{}; proxy_http_version 1.1; proxy_buffering off; }}", origin.address));
    let gateway = before(&nginx);
    let mut stream = connect(&gateway);
    write!(stream, "GET /events HTTP/1.1\r\nHost: gateway.test\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    assert!(head(&mut stream).contains("content-type: text/event-stream\r\n"));
    let mut body = Chunked { from: stream, left: 0 };
    for number in 0..5 {
        let mut event = [0; 9];
        body.read_exact(&mut event).unwrap();
        assert_eq!(event, format!("data: {number}\n\n").as_bytes());
        next.send(()).unwrap();
    }
    assert_eq!(body.read(&mut [0]).unwrap(), 0, "the end is told");
}

#[test]
fn a_service_that_dies_in_its_answer_is_cut_off_honestly() {
    for path in ["/large", "/chunks"] {
        let mut nginx = Nginx::start(CHUNKS);
        store(&nginx.file("large"), GIB / 4);
        let gateway = before(&nginx);
        let mut client = gateway.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n\r\n"));
        let head = client.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("transfer-encoding").is_some(), path == "/chunks");
        client.bytes(PIECE);
        nginx.kill();
        // A closed or reset connection before the length or the last chunk is how HTTP/1.1 says so (RFC 9112 §8).
        let (end, rest) = client.rest();
        assert!(matches!(end, End::Closed | End::Reset));
        assert!(rest.len() < GIB / 4 - PIECE && !rest.ends_with(b"\r\n0\r\n\r\n"), "{path}: {} bytes came", rest.len());
        let line = gateway.await_log("the request", |line| line["path"] == path);
        assert!(line["cause"].is_string(), "the log says why: {line}");
        gateway.client().get("/large").problem(502, "bad-gateway");
    }
}
