//! `tidegate upgrade`: another process takes the gateway's place, and nobody notices; or it fails, and nobody notices.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};

use rustls::HandshakeKind;

use crate::support::certificates::Authority;
use crate::support::gateway::{Folder, check};
use crate::support::{Client, End, Gateway, Origin, eventually, port};

/// Clients that ask again and again, and what became of it.
struct Load {
    done: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

const KEPT: &str = "GET /up/a HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
const SINGLE: &str = "GET /up/a HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n";

impl Load {
    /// So many on connections that they keep while they may, and so many on a new one for each request.
    fn start(address: SocketAddr, kept: usize, single: usize) -> Self {
        let (done, failures, stop): (Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>, Arc<AtomicBool>) = Default::default();
        let requests = std::iter::repeat_n(KEPT, kept).chain(std::iter::repeat_n(SINGLE, single));
        let clients = requests.map(|request| {
            let (done, failures, stop) = (done.clone(), failures.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut client = None;
                while !stop.load(Ordering::Relaxed) {
                    match ask(client.take(), address, request) {
                        Ok(kept) => client = kept,
                        Err(error) => failures.lock().unwrap().push(error),
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { done, failures, stop, clients }
    }

    /// Waits for so many more requests.
    fn go_on(&self, count: usize) {
        let goal = self.done.load(Ordering::Relaxed) + count;
        eventually("requests are answered", || (self.done.load(Ordering::Relaxed) >= goal).then_some(()));
    }

    /// How many requests there were, and what went wrong.
    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        (self.done.load(Ordering::Relaxed), std::mem::take(&mut self.failures.lock().unwrap()))
    }
}

/// One request; the connection, where it may be used again.
fn ask(kept: Option<Client>, address: SocketAddr, request: &str) -> Result<Option<Client>, String> {
    let mut client = match kept {
        Some(client) => client,
        None => Client::try_connect(address).map_err(|error| format!("connecting: {error}"))?,
    };
    client.try_send(request).map_err(|error| format!("sending: {error}"))?;
    let answer = client.try_read().map_err(|error| format!("reading: {error}"))?;
    if (answer.status, answer.text().as_str()) != (200, "here") {
        return Err(format!("{} {}", answer.status, answer.text()));
    }
    Ok(Some(client).filter(|_| answer.header("connection") != Some("close")))
}

fn config(server: &str, rest: &str) -> String {
    format!("server:\n  upgrade: {{ socket: upgrade.sock, timeout: 10s }}\n{server}\n{rest}")
}

fn forwarding(up: &Origin) -> String {
    format!(
        "services: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, match: {{ path: \"/up/{{rest...}}\" }}, to: up }}]\n",
        up.address
    )
}

fn reply(text: &str) -> String {
    format!("routes: [{{ name: here, match: {{ path: /here }}, reply: {{ text: \"{text}\" }} }}]\n")
}

/// A file that is run as if it were another version.
fn script(folder: &Folder, name: &str, text: &str) -> PathBuf {
    let path = folder.file(name, format!("#!/bin/sh\n{text}\n"));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn five_upgrades_under_load_cost_no_request() {
    let up = Origin::start();
    let mut gateway = Gateway::start(&config("  timeouts: { drain: 10s }", &forwarding(&up)));
    let load = Load::start(gateway.address, 4, 2);
    load.go_on(100);
    let mut pids = vec![gateway.serving()];
    let mut took = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let (code, said) = gateway.upgrade(&[]);
        took.push(start.elapsed());
        assert_eq!(code, 0, "{said}");
        assert!(
            said.contains("version 0.1.0, serves since ") && said.contains(&format!("process {}, version", pids.last().unwrap())),
            "{said}"
        );
        pids.push(gateway.serving());
        load.go_on(100);
    }
    gateway.alone();
    load.go_on(100);
    let (count, failures) = load.stop();
    eprintln!("{count} requests, {} failed, over 5 upgrades that took {took:?}", failures.len());
    assert!(failures.is_empty(), "of {count} requests: {failures:?}");
    pids.dedup();
    assert_eq!(pids.len(), 6, "six processes, one after the other");
    // Of all of them, only the last one's socket for commands is left.
    let names = std::fs::read_dir(gateway.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.starts_with("upgrade")).collect::<Vec<_>>(), ["upgrade.sock"]);
}

#[test]
fn a_connection_from_before_an_upgrade_gets_one_more_answer_and_a_request_under_way_comes_to_its_end() {
    let mut gateway = Gateway::start(&config("  timeouts: { farewell: 20s, drain: 20s }", &reply("a")));
    let mut idle = gateway.client();
    assert_eq!(idle.get("/here").header("connection"), Some("keep-alive"));
    let mut late = gateway.client();
    late.send("GET /here HTTP/1.1\r\nHost: ");
    // The first byte has been read when a later connection has been answered on each worker.
    (0..2).for_each(|_| assert_eq!(gateway.client().get("/here").status, 200));
    let former = gateway.serving();
    assert_eq!(gateway.upgrade(&[]).0, 0);
    assert_ne!(gateway.serving(), former);
    gateway.await_said("another process serves");
    late.send("gateway.test\r\n\r\n");
    for answer in [idle.get("/here"), late.read()] {
        assert_eq!((answer.text().as_str(), answer.header("connection")), ("a", Some("close")));
    }
    assert_eq!((idle.ends(), late.ends()), (End::Closed, End::Closed));
    gateway.alone();
}

#[test]
fn a_changed_server_section_takes_effect_and_an_address_that_is_gone_refuses() {
    let (kept, gone, new) = (port(), port(), port());
    let server = |workers: usize, ports: [u16; 2]| {
        let [one, other] = ports.map(|port| format!("{{ address: \"127.0.0.1:{port}\" }}"));
        format!("  workers: {workers}\n  listeners: [{one}, {other}]")
    };
    let mut gateway = Gateway::start(&config(&server(1, [kept, gone]), &reply("before")));
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    assert_eq!(Client::connect(at(gone)).get("/here").text(), "before");
    let other =
        gateway.folder.file("other.yaml", config(&server(3, [new, kept]), &reply("after")) + "admin: { address: \"127.0.0.1:0\" }\n");
    let (code, said) = gateway.upgrade(&["--config", other.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    gateway.alone();
    assert_eq!(Client::connect(at(kept)).get("/here").text(), "after");
    assert_eq!(Client::connect(at(new)).get("/here").text(), "after");
    assert_eq!(Client::try_connect(at(gone)).err().unwrap().kind(), ErrorKind::ConnectionRefused);
    let (status, text) = gateway.ask("/metrics");
    assert_eq!(status, 200);
    assert!(text.contains("tidegate_connections{worker=\"2\"}"), "three workers: {text}");
    gateway.await_said(&format!("no longer served: 127.0.0.1:{gone}"));
    // And the next one is started on that config.
    assert_eq!(gateway.upgrade(&[]).0, 0);
    assert_eq!(Client::connect(at(new)).get("/here").text(), "after");
}

#[test]
fn what_waits_at_an_address_that_goes_is_answered() {
    let (kept, gone) = (port(), port());
    let listeners = |ports: &[u16]| {
        let list: Vec<_> = ports.iter().map(|port| format!("{{ address: \"127.0.0.1:{port}\" }}")).collect();
        format!("  listeners: [{}]", list.join(", "))
    };
    let up = Origin::start();
    let mut gateway = Gateway::start(&config(&listeners(&[kept, gone]), &forwarding(&up)));
    let other = gateway.folder.file("other.yaml", config(&listeners(&[kept]), &forwarding(&up)) + "admin: { address: \"127.0.0.1:0\" }\n");
    let load = Load::start(SocketAddr::from(([127, 0, 0, 1], gone)), 0, 4);
    load.go_on(100);
    let (code, said) = gateway.upgrade(&["--config", other.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    gateway.alone();
    let (_, failures) = load.stop();
    assert!(!failures.is_empty(), "nobody serves there any more");
    // What came before the end was answered, what came after was refused. Between the last look at the queue and the end lie microseconds.
    let cut: Vec<_> = failures.iter().filter(|failure| !failure.starts_with("connecting: ")).collect();
    assert!(cut.len() <= 1, "{cut:?}");
}

#[test]
fn a_session_of_tls_outlives_an_upgrade() {
    let (authority, folder) = (Authority::new(), Folder::new());
    let identity = authority.issue("a.test");
    folder.file("a.pem", &identity.cert);
    folder.file("a.key", &identity.key);
    let tls = "  listeners: [{ address: \"127.0.0.1:0\", tls: { certificates: [{ cert: a.pem, key: a.key }] } }]";
    let mut gateway = Gateway::start_in(folder, &config(tls, &reply("a")));
    let client = authority.client(None, &["http/1.1"]);
    let shake = |address| {
        let mut client = Client::secure(address, &client, "a.test");
        assert_eq!(client.get("/here").text(), "a");
        client.tls().handshake_kind().unwrap()
    };
    assert_eq!([shake(gateway.address), shake(gateway.address)], [HandshakeKind::Full, HandshakeKind::Resumed]);
    for _ in 0..2 {
        assert_eq!(gateway.upgrade(&[]).0, 0);
        gateway.alone();
        assert_eq!(shake(gateway.address), HandshakeKind::Resumed);
    }
}

#[test]
fn a_unix_socket_stays_where_it_is_until_nobody_serves_it() {
    let yaml = |socket: &str| {
        let listeners = format!("  listeners: [{{ address: \"127.0.0.1:0\" }}, {{ address: \"unix:{{dir}}/{socket}.sock\" }}]");
        config(&listeners, &(reply("a") + "admin: { address: \"127.0.0.1:0\" }\n"))
    };
    let mut gateway = Gateway::start(&yaml("one"));
    let place = |name: &str| gateway.folder.path().join(format!("{name}.sock"));
    let (one, other) = (place("one"), place("other"));
    let get = |path: &PathBuf| {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(b"GET /here HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.starts_with("HTTP/1.1 200 ")
    };
    let changed = gateway.folder.file("changed.yaml", yaml("other").replace("{dir}", gateway.folder.path().to_str().unwrap()));
    assert!(get(&one));
    assert_eq!(gateway.upgrade(&[]).0, 0);
    gateway.alone();
    assert!(get(&one), "the old process has left it where it is");
    assert_eq!(gateway.upgrade(&["--config", "/nowhere.yaml"]).0, 1);
    assert!(get(&one), "and so has one that failed");
    assert_eq!(gateway.upgrade(&["--config", changed.to_str().unwrap()]).0, 0);
    gateway.alone();
    assert!(get(&other) && !one.exists());
    kill(gateway.serving(), Signal::SIGTERM).unwrap();
    eventually("the last one takes it away", || (!other.exists()).then_some(()));
}

#[test]
fn a_new_process_that_fails_is_told_of_and_the_old_one_serves_on() {
    let up = Origin::start();
    let mut gateway = Gateway::start(&config("", &forwarding(&up)));
    let load = Load::start(gateway.address, 2, 1);
    let folder = Folder::new();
    let broken = folder.file("broken.yaml", "routes: [{ name: a, to: nowhere }]\n");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let elsewhere = folder.file("elsewhere.yaml", format!("server: {{ listeners: [{{ address: \"{taken}\" }}] }}\n"));
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    for (arguments, words) in [
        (["--config", &text(&broken)], "no service"),
        (["--config", "/nowhere/tidegate.yaml"], "/nowhere/tidegate.yaml"),
        (["--config", &text(&elsewhere)], "in use"),
        (["--binary", "/nowhere/tidegate"], "/nowhere/tidegate cannot be run: No such file"),
        (["--binary", &text(&script(&folder, "exits", "exit 7"))], "the new process ended with exit status 7"),
        (["--binary", &text(&script(&folder, "crashes", "kill -SEGV $$"))], "the new process was ended by signal 11"),
        (["--binary", &text(&script(&folder, "mumbles", "echo 0123456789 >&0"))], "does not speak as a gateway does"),
    ] {
        let (code, said) = gateway.upgrade(&arguments);
        assert_eq!(code, 1, "{arguments:?}: {said}");
        assert!(said.contains("the old process serves on") && said.contains(words), "{arguments:?}: {said}");
        load.go_on(20);
    }
    assert!(gateway.runs());
    gateway.await_said("this process serves on: the new process");
    // None of it stands in the way of one that works.
    let (code, said) = gateway.upgrade(&[]);
    assert_eq!(code, 0, "{said}");
    gateway.alone();
    load.go_on(20);
    let (count, failures) = load.stop();
    assert!(failures.is_empty(), "of {count} requests: {failures:?}");
}

#[test]
fn a_new_process_that_hangs_is_killed_and_a_second_upgrade_meanwhile_is_refused() {
    let yaml = config("", &reply("a")).replace("timeout: 10s", "timeout: 3s");
    let mut gateway = Gateway::start(&yaml);
    let folder = Folder::new();
    let pid = folder.path().join("pid");
    let hangs = script(&folder, "hangs", &format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display()));
    let first = gateway.upgrading(&["--binary", hangs.to_str().unwrap()]);
    let hanging = eventually("the new process runs", || std::fs::read_to_string(&pid).ok());
    let (code, said) = gateway.upgrade(&[]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("refused") && said.contains("another upgrade is under way"), "{said}");
    assert_eq!(gateway.client().get("/here").text(), "a");
    let (code, said) = first.wait();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the new process was not ready within 3 seconds, and was killed"), "{said}");
    eventually("it is gone", || (!std::path::Path::new(&format!("/proc/{}", hanging.trim())).exists()).then_some(()));
    assert_eq!(gateway.upgrade(&[]).0, 0);
    assert_eq!(gateway.client().get("/here").text(), "a");
}

#[test]
fn the_end_of_the_gateway_is_the_end_of_an_upgrade_under_way() {
    let mut gateway = Gateway::start(&config("", &reply("a")));
    let folder = Folder::new();
    let pid = folder.path().join("pid");
    let hangs = script(&folder, "hangs", &format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display()));
    let upgrade = gateway.upgrading(&["--binary", hangs.to_str().unwrap()]);
    let hanging = eventually("the new process runs", || std::fs::read_to_string(&pid).ok());
    gateway.terminate();
    assert_eq!(gateway.ended().code(), Some(0), "{}", gateway.said());
    let (code, said) = upgrade.wait();
    assert!(code == 1 || code == 4, "{code}: {said}");
    eventually("the new process is gone", || (!std::path::Path::new(&format!("/proc/{}", hanging.trim())).exists()).then_some(()));
    assert!(!gateway.folder.path().join("upgrade.sock").exists());
}

#[test]
fn a_process_that_took_over_ends_on_sigterm_as_the_first_one_would() {
    let mut gateway = Gateway::start(&config("", &reply("a")));
    assert_eq!(gateway.upgrade(&[]).0, 0);
    let mut idle = gateway.client();
    assert_eq!(idle.get("/here").text(), "a");
    kill(gateway.serving(), Signal::SIGTERM).unwrap();
    assert_eq!(idle.ends(), End::Closed);
    eventually("nobody listens", || Client::try_connect(gateway.address).err());
    eventually("its socket for commands is gone", || (!gateway.folder.path().join("upgrade.sock").exists()).then_some(()));
}

#[test]
fn only_a_gateway_that_is_there_can_be_upgraded_and_one_socket_takes_commands_for_one() {
    let gateway = Gateway::start(&config("", &reply("a")));
    let socket = gateway.folder.path().join("upgrade.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let run = |arguments: &[&str]| {
        let output =
            std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).args(arguments).env("RUNTIME_DIRECTORY", "/nowhere").output();
        let output = output.unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&["upgrade"]);
    assert_eq!(code, Some(4));
    assert!(said.contains("no gateway takes commands at /nowhere/upgrade.sock"), "{said}");
    let other =
        gateway.folder.file("other.yaml", config("  listeners: [{ address: \"127.0.0.1:0\" }]", "admin: { address: \"127.0.0.1:0\" }\n"));
    let (code, said) = run(&["run", "-c", other.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(said.contains("another gateway takes commands there"), "{said}");
    let (code, said) = run(&["upgrade", "--config", other.to_str().unwrap(), "--binary", "/nowhere/tidegate"]);
    assert_eq!(code, Some(1), "the config names the socket: {said}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (upgrade, words) in [
        ("socket: /".to_owned(), ["upgrade.socket", "names no file"]),
        (format!("socket: \"/{}\"", "a".repeat(120)), ["upgrade.socket", "longer than the system takes"]),
        ("timeout: 0s".to_owned(), ["upgrade.timeout", "no time at all"]),
        ("socked: a".to_owned(), ["upgrade", "socket"]),
    ] {
        let (right, said) = check(&format!("server: {{ upgrade: {{ {upgrade} }} }}\n"));
        assert!(!right && words.iter().all(|word| said.contains(word)), "{upgrade}: {said}");
    }
}
