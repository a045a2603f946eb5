//! Upgrades under every kind of load: `loadtest/callers.py`, whose clients are by other hands.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

use crate::support::certificates::Authority;
use crate::support::gateway::Folder;
use crate::support::{Gateway, port, tools};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/loadtest/callers.py");

/// The script, as a service or as its callers. It is killed at the end of its test.
struct Callers {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Callers {
    fn start(arguments: &[&str]) -> (Self, String) {
        let mut command = Command::new(tools::python());
        let mut child =
            command.arg(SCRIPT).args(arguments).env("EVENTS", "10").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (input, lines) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()).lines());
        let mut callers = Self { child, input, lines };
        let first = callers.line();
        (callers, first)
    }

    fn line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }

    /// How many requests of each kind there were so far.
    fn counts(&mut self) -> Value {
        writeln!(self.input.as_mut().unwrap()).unwrap();
        serde_json::from_str(&self.line()).unwrap()
    }

    /// Waits until each kind has asked so many times more.
    fn go_on(&mut self, count: u64) {
        let before = self.counts();
        let is_on = |now: &Value| {
            now.as_object().unwrap().iter().all(|(kind, now)| now.as_u64().unwrap() >= before[kind].as_u64().unwrap() + count)
        };
        crate::support::eventually("requests of each kind are answered", || Some(self.counts()).filter(is_on));
    }

    /// Ends them. Gives the table of what they saw, and whether no request has failed.
    fn finish(mut self) -> (String, bool) {
        drop(self.input.take());
        let mut table = String::new();
        while let Some(Ok(line)) = self.lines.next() {
            table += &(line + "\n");
        }
        (table, self.child.wait().unwrap().success())
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn twenty_upgrades_cost_no_caller_of_any_kind_a_request() {
    const UPGRADES: usize = 20;
    let (authority, folder, secure) = (Authority::new(), Folder::new(), port());
    let identity = authority.issue("a.test");
    folder.file("a.pem", &identity.cert);
    folder.file("a.key", &identity.key);
    let ca = folder.file("ca.pem", authority.pem()).display().to_string();
    let (_origin, up) = Callers::start(&["origin", "0"]);
    let mut gateway = Gateway::start_in(
        folder,
        &format!(
            r#"server:
  upgrade: {{ socket: upgrade.sock, timeout: 20s }}
  listeners:
    - address: 127.0.0.1:0
    - {{ address: "127.0.0.1:{secure}", tls: {{ certificates: [{{ cert: a.pem, key: a.key }}] }} }}
services: {{ up: {{ targets: ["http://127.0.0.1:{up}"] }} }}
routes: [{{ name: up, to: up }}]
"#
        ),
    );
    let plain = gateway.address.port().to_string();
    let (mut callers, begun) =
        Callers::start(&["load", &plain, &secure.to_string(), &ca, "a.test", "kept", "single", "h2c", "h2", "tls", "sse", "websocket"]);
    assert_eq!(begun, "begun");
    let mut pids = vec![gateway.serving()];
    for _ in 0..UPGRADES {
        let (code, said) = gateway.upgrade(&[]);
        assert_eq!(code, 0, "{said}");
        pids.push(gateway.serving());
        callers.go_on(1);
    }
    let (table, right) = callers.finish();
    eprintln!("{UPGRADES} upgrades\n{table}");
    assert!(right, "{table}");
    pids.dedup();
    assert_eq!(pids.len(), UPGRADES + 1);
    gateway.alone();
}
