//! How often the gateway allocates for a request. It is counted in a gateway that is this very program, started once more with another allocator, and
//! must not rise: what a request needs twice is better made once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::alloc::System;
use std::fs::read_to_string;
use std::io::{BufRead, BufReader, Read, Write, stdin, stdout};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The shapes of the load test, and how many allocations a request of each takes at most.
const SHAPES: [(&str, &str, usize); 4] =
    [("plain", "/plain", 110), ("policies", "/policies/42", 133), ("jwt", "/jwt", 110), ("composed", "/composed", 197)];

const REQUESTS: usize = 100;

fn main() -> ExitCode {
    // Not by an argument alone: those of `cargo test` come here too.
    if std::env::var_os("ALLOCATIONS").is_some() {
        thread::spawn(|| {
            let mut out = stdout();
            for _ in stdin().lines() {
                let stats = COUNTED.stats();
                writeln!(out, "{}", stats.allocations + stats.reallocations).unwrap();
            }
        });
        return tidegate::cli::main();
    }
    let (service, mut out, mut ended) = (service(), stdout(), ExitCode::SUCCESS);
    for (shape, path, most) in SHAPES {
        let count = Gateway::start(shape, service).count(path, most);
        writeln!(out, "{shape}: {count} allocations for a request, {most} at most").unwrap();
        if count > most {
            ended = ExitCode::FAILURE;
        }
    }
    ended
}

/// A service that answers everything with 1 KiB.
fn service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let body = format!("{{\"fill\":\"{}\"}}", "x".repeat(1013));
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                while header(&mut stream).is_some() {
                    stream.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    address
}

/// Reads to the end of a header, from a peer that sends no more before it has an answer. None at the end.
fn header(stream: &mut TcpStream) -> Option<String> {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return None;
        }
        text.push(byte[0]);
    }
    String::from_utf8(text).ok()
}

/// A gateway of its own process, that tells how often it has allocated.
struct Gateway {
    process: Child,
    ask: ChildStdin,
    told: BufReader<ChildStdout>,
    client: TcpStream,
    headers: String,
    folder: PathBuf,
}

impl Gateway {
    fn start(shape: &str, service: SocketAddr) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-allocations-{}", std::process::id()));
        let _ = std::fs::create_dir(&folder);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let token = token(&folder);
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("loadtest/rivals/tidegate/{shape}.yaml"));
        let config = read_to_string(template).unwrap();
        let config =
            config.replace("@port@", &port.to_string()).replace("@connections@", "100").replace("@service@", &service.port().to_string());
        let file = folder.join("tidegate.yaml");
        std::fs::write(&file, config.replace("@folder@", folder.to_str().unwrap())).unwrap();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["run", "-c", file.to_str().unwrap()])
            .env("ALLOCATIONS", "counted")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It says where it listens once it does.
        let mut said = BufReader::new(process.stderr.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("listening on")), "it did not start");
        thread::spawn(move || said.for_each(drop));
        let (ask, told) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let headers = format!("Host: localhost\r\nX-API-Key: demo-key\r\nAuthorization: Bearer {token}\r\n");
        Self { process, ask, told, client, headers, folder }
    }

    /// The fewest of many turns, or the first that is not above `most`. Whatever else the process does now and then is not a request's, and
    /// requests that a busy machine lets lie share fewer of the timers, which are one for each 10 ms.
    fn count(mut self, path: &str, most: usize) -> usize {
        let request = format!("GET {path} HTTP/1.1\r\n{}\r\n", self.headers);
        // The first one makes what is kept.
        let _ = self.turn(&request);
        let mut fewest = usize::MAX;
        for _ in 0..50 {
            fewest = fewest.min(self.turn(&request));
            if fewest <= most {
                break;
            }
        }
        fewest
    }

    fn turn(&mut self, request: &str) -> usize {
        let before = self.allocations();
        for _ in 0..REQUESTS {
            self.ask(request);
        }
        (self.allocations() - before) / REQUESTS
    }

    fn ask(&mut self, request: &str) {
        self.client.write_all(request.as_bytes()).unwrap();
        let header = header(&mut self.client).unwrap().to_lowercase();
        assert!(header.starts_with("http/1.1 200"), "{header}");
        let (_, length) = header.split_once("content-length: ").unwrap();
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        self.client.read_exact(&mut vec![0; length]).unwrap();
    }

    fn allocations(&mut self) -> usize {
        let mut line = String::new();
        writeln!(self.ask).unwrap();
        self.told.read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A token, whose issuer's key lies in the folder then.
fn token(folder: &Path) -> String {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap();
    let point = &key.public_key().as_ref()[1..];
    let [x, y] = [&point[..32], &point[32..]].map(|part| URL_SAFE_NO_PAD.encode(part));
    let jwks = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k","alg":"ES256","x":"{x}","y":"{y}"}}]}}"#);
    std::fs::write(folder.join("jwks.json"), jwks).unwrap();
    let parts = [r#"{"alg":"ES256","kid":"k"}"#, r#"{"iss":"https://id.example.com","aud":"api","sub":"u","exp":4102444800}"#];
    let [head, claims] = parts.map(|part| URL_SAFE_NO_PAD.encode(part));
    let message = format!("{head}.{claims}");
    let signature = key.sign(&random, message.as_bytes()).unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
