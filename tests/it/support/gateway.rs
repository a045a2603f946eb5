//! The gateway as its users have it: the binary, a config file, signals, and what it writes.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Client, eventually, secrets};

/// A folder that is gone at the end of its test.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tidegate-it-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file beside the config.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        secrets::of_file(&String::from_utf8_lossy(text.as_ref()));
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What `tidegate check` says of a config, and whether it is content.
pub fn check(yaml: &str) -> (bool, String) {
    let folder = Folder::new();
    let path = folder.file("tidegate.yaml", yaml);
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("check").arg("-c").arg(&path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), said.replace(&format!("{}/", folder.path().display()), ""))
}

/// A running gateway. It is killed at the end of its test.
pub struct Gateway {
    /// Where the config is, and what lies beside it.
    pub folder: Folder,
    /// The first listener.
    pub address: SocketAddr,
    /// The admin address.
    pub admin: SocketAddr,
    child: Child,
    /// The processes that have taken its place, one after the other.
    heirs: Vec<Pid>,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Gateway {
    /// Starts the gateway on a config. What the config leaves open is chosen for tests: two workers, one listener and the admin on free ports, and the
    /// access log in a file. `{dir}` stands for the config's folder.
    pub fn start(yaml: &str) -> Self {
        Self::start_in(Folder::new(), yaml)
    }

    /// The same, with files laid beside the config before.
    pub fn start_in(folder: Folder, yaml: &str) -> Self {
        Self::start_with(folder, yaml, |_| {})
    }

    /// The same, with more said about the process.
    pub fn start_with(folder: Folder, yaml: &str, more: impl FnOnce(&mut Command)) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_tidegate")), folder, yaml, more)
    }

    /// Starts it where only so many files may be open.
    pub fn start_with_files(files: u64, folder: Folder, yaml: &str) -> Self {
        Self::start_after(Command::new("sh"), &format!("ulimit -n {files}"), folder, yaml)
    }

    /// Starts it where no file can be watched (user_namespaces(7), namespaces(7)).
    pub fn start_unwatched(yaml: &str) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "sh"]);
        Self::start_after(unshare, "echo 0 > /proc/sys/user/max_inotify_instances", Folder::new(), yaml)
    }

    fn start_after(mut shell: Command, first: &str, folder: Folder, yaml: &str) -> Self {
        shell.args(["-c", &format!("{first} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_tidegate")]);
        Self::start_by(shell, folder, yaml, |_| {})
    }

    fn start_by(mut command: Command, folder: Folder, yaml: &str, more: impl FnOnce(&mut Command)) -> Self {
        let path = folder.file("tidegate.yaml", complete(&folder, yaml));
        command.args(["run", "-c"]).arg(&path).env("RUST_LOG", "warn,tidegate=info").stdin(Stdio::null());
        more(&mut command);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let heard = said.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = writeln!(heard.lock().unwrap(), "{line}");
            }
        });
        let (address, admin) = eventually("the gateway says where it listens", || {
            let said = said.lock().unwrap();
            if let (None, Some(status)) = (addresses(&said), child.try_wait().unwrap()) {
                panic!("the gateway ended with {status}:\n{said}");
            }
            addresses(&said)
        });
        Self { folder, address, admin, child, heirs: Vec::new(), said, reader: Some(reader) }
    }

    /// A new connection.
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Replaces the config as a deployment does, by renaming a new file onto it, and waits for what becomes of it: `done`, `unchanged` or `refused`.
    pub fn rewrite(&self, yaml: &str) -> &'static str {
        self.reloaded(|| {
            let new = self.folder.file("new", complete(&self.folder, yaml));
            std::fs::rename(new, self.folder.path().join("tidegate.yaml")).unwrap();
        })
    }

    /// Sends SIGHUP and waits for what becomes of it.
    pub fn reload(&self) -> &'static str {
        self.reloaded(|| self.signal(Signal::SIGHUP))
    }

    /// Does something that lets the config be read again, and waits for what becomes of it.
    pub fn reloaded(&self, act: impl FnOnce()) -> &'static str {
        const RESULTS: [&str; 3] = ["done", "unchanged", "refused"];
        let count = || RESULTS.map(|result| self.metric(&format!("tidegate_reloads_total{{result=\"{result}\"}}")));
        let before = count();
        act();
        eventually("the config is read again", || {
            let (before, after) = (before.iter(), count());
            before.zip(after).zip(RESULTS).find(|((before, after), _)| after > *before).map(|(_, result)| result)
        })
    }

    /// `tidegate upgrade` with more arguments: its exit status and what it said.
    pub fn upgrade(&mut self, arguments: &[&str]) -> (i32, String) {
        let (code, said) = self.upgrading(arguments).wait();
        if let Some(pid) = said.strip_prefix("process ").filter(|_| code == 0) {
            self.heirs.push(Pid::from_raw(pid.split(',').next().unwrap().parse().unwrap()));
        }
        (code, said)
    }

    /// Starts the command. Of one that succeeds, the new process outlives the test.
    pub fn upgrading(&self, arguments: &[&str]) -> Upgrading {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["upgrade", "--socket"]).arg(self.folder.path().join("upgrade.sock")).args(arguments);
        Upgrading(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// The process that serves now.
    pub fn serving(&self) -> Pid {
        self.heirs.last().copied().unwrap_or(Pid::from_raw(i32::try_from(self.child.id()).unwrap()))
    }

    /// Waits until all processes have ended but the one that serves.
    pub fn alone(&mut self) {
        if let Some((_, former)) = self.heirs.split_last() {
            eventually("the old process ends", || self.child.try_wait().unwrap());
            former.iter().for_each(|pid| eventually("an old process ends", || (!lives(*pid)).then_some(())));
        }
    }

    /// The process, as the system knows it.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Asks the process to end, with requests under way finished.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits for the end of the process.
    pub fn ended(&mut self) -> ExitStatus {
        let status = eventually("the gateway ends", || self.child.try_wait().unwrap());
        if let Some(reader) = self.reader.take_if(|_| self.heirs.is_empty()) {
            reader.join().unwrap();
        }
        status
    }

    /// Whether the process runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The most memory that the process has held, in KiB.
    pub fn peak_memory(&self) -> u64 {
        self.memory_of("VmHWM:")
    }

    /// The memory that it holds now, in KiB.
    pub fn memory(&self) -> u64 {
        self.memory_of("VmRSS:")
    }

    /// Forgets what it has held at most (proc_pid_clear_refs(5)).
    pub fn forget_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    fn memory_of(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Every address that it listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let said = self.said();
        let (_, rest) = said.split_once("listening on ").unwrap();
        let (listeners, _) = rest.split_once(", admin on ").unwrap();
        listeners.split(", ").filter_map(|address| address.parse().ok()).collect()
    }

    /// All that the gateway has written to its standard error.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits for words on its standard error and gives all that it has written there.
    pub fn await_said(&self, words: &str) -> String {
        eventually(&format!("the gateway says `{words}`"), || Some(self.said()).filter(|said| said.contains(words)))
    }

    /// `GET` on the admin address: status and body.
    pub fn ask(&self, path: &str) -> (u16, String) {
        let answer = Client::connect(self.admin).get(path);
        (answer.status, answer.text())
    }

    /// The value of one series, like `tidegate_requests_total{route="a",status="200"}`; 0 where it does not exist.
    pub fn metric(&self, series: &str) -> f64 {
        let (status, text) = self.ask("/metrics");
        assert_eq!(status, 200, "{text}");
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.map_or(0.0, |value| value.parse().unwrap())
    }

    /// Waits until a series has a value.
    pub fn await_metric(&self, series: &str, value: f64) {
        eventually(&format!("{series} is {value}"), || (self.metric(series) == value).then_some(()));
    }

    /// The lines of the access log so far.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.folder.path().join("access.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// Waits for a line of the access log.
    pub fn await_log(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("the access log tells of {what}"), || self.log().into_iter().find(|line| is(line)))
    }
}

impl Gateway {
    /// Finds that nothing it tells of itself has a secret in it.
    fn keeps_secrets(&self) {
        for path in ["/metrics", "/status", "/readyz"] {
            // It may have ended, or be so busy that it does not answer: that is for its test to tell.
            if let Some(answer) = Client::try_connect(self.admin).ok().and_then(|client| client.try_get(path).ok()) {
                secrets::none_within(path, &answer.text());
            }
        }
        secrets::none_within("the standard error", &self.said());
        let log = std::fs::read(self.folder.path().join("access.log")).unwrap_or_default();
        secrets::none_within("the access log", &String::from_utf8_lossy(&log));
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.keeps_secrets();
        }
        if let (true, Ok(Some(status))) = (std::thread::panicking(), self.child.try_wait()) {
            eprintln!("--- the gateway had ended: {status}");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for heir in self.heirs.iter().filter(|pid| lives(**pid)) {
            let _ = kill(*heir, Signal::SIGKILL);
        }
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            eprintln!("--- the gateway said:\n{}--- and logged last:", self.said());
            self.log().iter().rev().take(10).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// A command that may take its time.
pub struct Upgrading(Child);

impl Upgrading {
    pub fn wait(self) -> (i32, String) {
        let output = self.0.wait_with_output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code().unwrap(), said)
    }
}

/// Whether a process runs: one that has ended may wait for its parent to ask how.
fn lives(pid: Pid) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn addresses(said: &str) -> Option<(SocketAddr, SocketAddr)> {
    let (_, rest) = said.split_once("listening on ")?;
    let (listeners, admin) = rest.lines().next()?.split_once(", admin on ")?;
    Some((listeners.split(", ").next()?.parse().ok()?, admin.trim().parse().ok()?))
}

fn complete(folder: &Folder, yaml: &str) -> String {
    let mut text = yaml.replace("{dir}", &folder.path().display().to_string());
    let has = |text: &str, key: &str| text.lines().any(|line| line.trim_start().starts_with(key));
    let mut open = String::new();
    if !has(&text, "listeners:") {
        open.push_str("\n  listeners: [{ address: \"127.0.0.1:0\" }]");
    }
    if !has(&text, "workers:") {
        open.push_str("\n  workers: 2");
    }
    if has(&text, "server:") {
        text = text.replacen("server:", &format!("server:{open}"), 1);
    } else {
        text = format!("server:{open}\n{text}");
    }
    if !has(&text, "admin:") {
        text.push_str("\nadmin: { address: \"127.0.0.1:0\" }\n");
    }
    if !has(&text, "access_log:") {
        text.push_str(&format!("\naccess_log: {{ to: \"{}/access.log\" }}\n", folder.path().display()));
    }
    text
}
