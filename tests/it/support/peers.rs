//! Peers in Python and Node: a script of `tests/it/peers`, what it prints line by line, and what it is told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};

use super::{eventually, tools};

/// A running script. It is killed at the end of its test.
pub struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    lines: Vec<String>,
    errors: String,
    /// Of the two outputs, how many have ended.
    ended: usize,
}

impl Peer {
    /// Starts a script with these arguments.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/peers").join(script);
        let mut command = if script.extension().is_some_and(|extension| extension == "mjs") {
            let mut node = Command::new("node");
            node.env("MODULES", tools::modules());
            node
        } else {
            let mut python = Command::new(tools::python());
            // Without it Python would leave its own files beside the scripts.
            python.arg("-B");
            python
        };
        command.arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let said = Arc::<Mutex<Said>>::default();
        let (output, errors) = (BufReader::new(child.stdout.take().unwrap()), child.stderr.take().unwrap());
        let heard = said.clone();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).for_each(|line| heard.lock().unwrap().lines.push(line));
            heard.lock().unwrap().ended += 1;
        });
        let heard = said.clone();
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = { errors }.read_to_string(&mut text);
            let mut heard = heard.lock().unwrap();
            (heard.errors, heard.ended) = (text, heard.ended + 1);
        });
        Self { input: child.stdin.take(), child, said }
    }

    /// Waits until it has printed so many lines that begin with these words, and gives the last of them.
    pub fn await_lines(&self, words: &str, count: usize) -> String {
        eventually(&format!("the peer says `{words}` {count} times"), || {
            let said = self.said.lock().unwrap();
            let found = said.lines.iter().filter(|line| line.starts_with(words)).nth(count - 1).cloned();
            assert!(found.is_some() || said.ended < 2, "the peer has ended: {:?}\n{}", said.lines, said.errors);
            found
        })
    }

    /// Waits until it has printed a line that begins with these words.
    pub fn await_line(&self, words: &str) -> String {
        self.await_lines(words, 1)
    }

    /// Its lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.said.lock().unwrap().lines.clone()
    }

    /// Sends it a line.
    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Kills it, as a machine dies: its connections end where they are.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end, which must be a good one.
    pub fn done(mut self) {
        drop(self.input.take());
        let status = eventually("the peer ends", || self.child.try_wait().unwrap());
        let said = eventually("the peer is heard to the end", || Some(self.said.lock().unwrap()).filter(|said| said.ended == 2));
        assert!(status.success(), "{status}: {:?}\n{}", said.lines, said.errors);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            eprintln!("--- a peer said: {:?}\n{}", said.lines, said.errors);
        }
    }
}

/// A gRPC server by grpcio, over TLS where it is given the files of a certificate and its key. It knows the methods of `tests/it/peers/tide.py`.
pub fn grpc_server(tls: &[&str]) -> (Peer, SocketAddr) {
    let server = Peer::start("grpc_server.py", tls);
    let line = server.await_line("listening ");
    let port = line.trim_start_matches("listening ").parse().unwrap();
    (server, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A gRPC client by grpcio that plays these scenes of `tests/it/peers/grpc_client.py`.
pub fn grpc_client(address: SocketAddr, arguments: &[&str]) -> Peer {
    let address = address.to_string();
    Peer::start("grpc_client.py", &[&[address.as_str()], arguments].concat())
}
