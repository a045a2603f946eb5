//! What systemd hears of the gateway, and what it hands it. A datagram socket of the test's stands for systemd.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use crate::support::gateway::Folder;
use crate::support::{Client, Gateway, PATIENCE, eventually};

/// What a service manager would hear.
struct Manager(UnixDatagram);

impl Manager {
    fn start(folder: &Folder) -> Self {
        let socket = UnixDatagram::bind(folder.path().join("notify.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.0.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    /// The first line of the next message that is not about the watchdog, and all of it.
    fn hears(&self) -> (String, String) {
        let message = std::iter::repeat_with(|| self.next()).find(|message| message != "WATCHDOG=1").unwrap();
        (message.lines().next().unwrap().to_owned(), message)
    }
}

const CONFIG: &str =
    "server:\n  upgrade: { socket: upgrade.sock, timeout: 10s }\nroutes: [{ match: { path: /here }, name: here, reply: { text: a } }]\n";

/// Starts the gateway as systemd does, with a watchdog of that many milliseconds where there are any.
fn start(watchdog: u64) -> (Gateway, Manager) {
    let folder = Folder::new();
    let manager = Manager::start(&folder);
    let path = folder.path().join("notify.sock");
    let gateway = Gateway::start_with(folder, CONFIG, |command| {
        command.env("NOTIFY_SOCKET", path).env_remove("WATCHDOG_PID").env("WATCHDOG_USEC", (watchdog * 1000).to_string());
    });
    (gateway, manager)
}

#[test]
fn systemd_hears_who_serves_and_never_a_word_of_a_process_that_has_handed_over() {
    let (mut gateway, manager) = start(0);
    assert_eq!(manager.hears().0, "READY=1");
    let first = gateway.serving();

    let (code, said) = gateway.upgrade(&["--config", "/nowhere.yaml"]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(manager.hears().0, "RELOADING=1");
    let (who, message) = manager.hears();
    assert_eq!(who, format!("MAINPID={first}"), "it is the one that it was");
    assert!(message.contains("\nREADY=1\n"), "{message}");

    assert_eq!(gateway.upgrade(&[]).0, 0);
    assert_eq!(manager.hears().0, "RELOADING=1");
    let (who, message) = manager.hears();
    assert_eq!(who, format!("MAINPID={}", gateway.serving()));
    assert!(message.contains("\nREADY=1\n"), "one message says both: {message}");
    let parent = std::fs::read_to_string(format!("/proc/{}/stat", gateway.serving())).unwrap();
    let parent = parent.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().to_owned();
    assert!(parent != first.to_string(), "nobody's child but init's");
    gateway.alone();

    nix::sys::signal::kill(gateway.serving(), nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(manager.hears().0, "STOPPING=1", "the first thing after: the old process has said nothing at its end");
}

#[test]
fn the_watchdog_is_fed_by_all_workers_and_not_by_all_but_one() {
    let (gateway, manager) = start(600);
    let fed = |times: usize| (0..times).for_each(|_| while manager.next() != "WATCHDOG=1" {});
    fed(3);
    let tasks = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap().map(|task| task.unwrap().path());
    let worker = tasks.into_iter().find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name == "worker-1\n")).unwrap();
    let worker = Pid::from_raw(worker.file_name().unwrap().to_str().unwrap().parse().unwrap());
    // One thread alone is stopped, in the middle of what it does.
    ptrace::attach(worker).unwrap();
    waitpid(worker, Some(WaitPidFlag::__WALL)).unwrap();
    gateway.await_said("worker-1 has done nothing");
    // What was said before it hung.
    manager.0.set_nonblocking(true).unwrap();
    while manager.0.recv(&mut [0; 64]).is_ok() {}
    manager.0.set_nonblocking(false).unwrap();
    manager.0.set_read_timeout(Some(Duration::from_millis(1200))).unwrap();
    let start = Instant::now();
    assert!(manager.0.recv(&mut [0; 64]).is_err(), "it was fed after {:?}", start.elapsed());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    ptrace::detach(worker, None).unwrap();
    fed(3);
}

#[test]
fn sockets_that_systemd_has_opened_are_used_and_handed_on() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    // Whoever connects before the gateway runs waits for it.
    let mut early = Client::connect(address);
    let folder = Folder::new();
    let path = folder.path().join("tidegate.yaml");
    let yaml = CONFIG.replacen("server:", &format!("server:\n  listeners: [{{ address: \"{address}\" }}]"), 1);
    let mut gateway = Gateway::start_with(folder, &yaml, |command| {
        *command = activated(&path, socket);
    });
    assert_eq!(gateway.address, address);
    assert_eq!(early.get("/here").text(), "a");
    assert_eq!(gateway.upgrade(&[]).0, 0);
    assert_eq!(gateway.client().get("/here").text(), "a");
}

#[test]
fn a_socket_of_systemd_that_no_listener_names_is_refused() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let folder = Folder::new();
    let path = folder.file("tidegate.yaml", "server: { listeners: [{ address: \"127.0.0.1:0\" }] }\nadmin: { address: \"127.0.0.1:0\" }\n");
    let output = activated(&path, socket).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("systemd opens {address}, and no listener has that address")), "{said}");
}

/// The gateway with its first inherited descriptor, as `sd_listen_fds(3)` has it.
fn activated(config: &std::path::Path, socket: TcpListener) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" run -c \"$1\" 3<&0 0</dev/null", env!("CARGO_BIN_EXE_tidegate")]);
    command.arg(config).stdin(OwnedFd::from(socket)).env("RUST_LOG", "warn,tidegate=info");
    command
}

#[test]
fn the_journal_gets_priorities_and_no_times() {
    let folder = Folder::new();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let theirs = OwnedFd::from(theirs);
    let number = std::fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&theirs))).unwrap();
    let stream = format!("{}:{}", std::os::unix::fs::MetadataExt::dev(&number), std::os::unix::fs::MetadataExt::ino(&number));
    let path = folder.file("tidegate.yaml", "server: { listeners: [{ address: \"127.0.0.1:0\" }] }\nadmin: { address: \"127.0.0.1:0\" }\n");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "-c"])
        .arg(path)
        .env("JOURNAL_STREAM", stream)
        .stdin(Stdio::null())
        .stderr(theirs)
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(ours)).map(Result::unwrap);
    let line = lines.find(|line| line.contains("listening on")).unwrap();
    assert!(line.starts_with("<6>listening on "), "{line}");
    child.kill().unwrap();
    eventually("it ends", || child.try_wait().unwrap());
}
