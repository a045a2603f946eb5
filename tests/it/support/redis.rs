//! A real Redis, as Debian packages it, and a slow way to it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::gateway::Folder;
use super::{eventually, port};

/// A running Redis. It is killed at the end of its test.
pub struct Redis {
    pub address: SocketAddr,
    /// Where its files are, and its socket, `redis.sock`.
    pub folder: Folder,
    settings: Vec<String>,
    child: Child,
}

impl Redis {
    pub fn start() -> Self {
        Self::start_with(Folder::new(), &[])
    }

    /// The same in this folder, with more settings, as its command line has them. `{dir}` stands for the folder.
    pub fn start_with(folder: Folder, more: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port()));
        let dir = folder.path().display().to_string();
        let port = address.port().to_string();
        let socket = format!("{dir}/redis.sock");
        // What was written is there again after it was killed.
        let own = ["--bind", "127.0.0.1", "--port", &port, "--unixsocket", &socket, "--dir", &dir, "--save", "", "--appendonly", "yes"];
        let settings: Vec<_> = own.iter().chain(more).map(|setting| setting.replace("{dir}", &dir)).collect();
        let child = spawn(&settings);
        let mut redis = Self { address, folder, settings, child };
        redis.await_start();
        redis
    }

    /// Runs `redis-cli` as an operator would, and gives what it prints.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.folder.path().join("redis.sock")).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap().trim_end().to_owned();
        assert!(output.status.success() && !said.starts_with("ERR"), "{arguments:?}: {said}");
        said
    }

    /// A number of its `INFO`.
    pub fn info(&self, name: &str) -> u64 {
        let info = self.cli(&["INFO", "everything"]);
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("0");
        value.trim().split(',').next().unwrap().trim_start_matches("calls=").parse().unwrap()
    }

    /// How often it was asked for a hash.
    pub fn lookups(&self) -> u64 {
        self.info("cmdstat_hgetall")
    }

    /// Stops it where it is, so that its system takes connections and it never answers, or lets it go on.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Kills it, as a machine dies: its connections end where they are.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, with what it had.
    pub fn revive(&mut self) {
        self.child = spawn(&self.settings);
        self.await_start();
    }

    fn await_start(&mut self) {
        let socket = self.folder.path().join("redis.sock");
        eventually("Redis answers", || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("Redis ended with {status}");
            }
            let output = Command::new("redis-cli").arg("-s").arg(&socket).arg("PING").output().unwrap();
            let said = String::from_utf8(output.stdout).unwrap();
            (said.starts_with("PONG") || said.starts_with("NOAUTH")).then_some(())
        });
    }
}

fn spawn(settings: &[String]) -> Child {
    let child = Command::new("redis-server").args(settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.expect("these tests need a real Redis: `make test` installs it, or `apt-get install redis-server`")
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A way to a server on which each answer takes a while longer.
pub struct Slow {
    pub address: SocketAddr,
    delay: Arc<AtomicU64>,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Slow {
    /// The way to this server, which is as fast as ever at first.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (delay, sent) = (Arc::new(AtomicU64::new(0)), Arc::<Mutex<Vec<u8>>>::default());
        let (waits, heard) = (delay.clone(), sent.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (waits, heard) = (waits.clone(), heard.clone());
                let (up, down) = ((client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client));
                std::thread::spawn(move || pass(up, |piece| heard.lock().unwrap().extend_from_slice(piece)));
                std::thread::spawn(move || pass(down, |_| std::thread::park_timeout(Duration::from_millis(waits.load(Ordering::Relaxed)))));
            }
        });
        Self { address, delay, sent }
    }

    /// Lets each answer take so much longer from now on.
    pub fn delay(&self, delay: Duration) {
        self.delay.store(u64::try_from(delay.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// All that was sent to the server.
    pub fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent.lock().unwrap()).into_owned()
    }
}

fn pass((mut from, mut to): (TcpStream, TcpStream), before: impl Fn(&[u8])) {
    let mut piece = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece) {
        before(&piece[..length]);
        if to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
