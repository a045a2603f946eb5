use std::io;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use listenfd::ListenFd;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// What the service manager is told (`sd_notify(3)`); where there is none, nothing is.
#[derive(Debug, Default)]
pub struct Notify {
    address: Option<SocketAddr>,
    silent: AtomicBool,
}

impl Notify {
    /// The manager that started this process.
    pub fn from_env() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let named = match name.as_bytes().strip_prefix(b"@") {
                Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name),
                None => SocketAddr::from_pathname(&name),
            };
            named.inspect_err(|error| log::warn!("NOTIFY_SOCKET is no address: {error}")).ok()
        });
        Self { address, silent: AtomicBool::new(false) }
    }

    /// Tells it lines of `NAME=value`, in one message.
    pub fn say(&self, lines: &str) {
        let Some(address) = self.address.as_ref().filter(|_| !self.silent.load(Ordering::Acquire)) else { return };
        let send = || {
            let socket = UnixDatagram::unbound()?;
            // A manager that reads nothing must not stop the gateway.
            socket.set_write_timeout(Some(Duration::from_secs(1)))?;
            socket.send_to_addr(lines.as_bytes(), address).map(drop)
        };
        if let Err(error) = send() {
            log::warn!("systemd could not be told {}: {error}", lines.lines().next().unwrap_or_default());
        }
    }

    /// Says nothing from now on: it would be taken for the words of the process that serves in this one's place.
    pub fn hush(&self) {
        self.silent.store(true, Ordering::Release);
    }

    /// The other did not come to serve.
    pub fn speak(&self) {
        self.silent.store(false, Ordering::Release);
    }
}

/// How often the service manager wants to hear that this process works, where it does.
pub fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id())) {
        return None;
    }
    number("WATCHDOG_USEC").filter(|time| *time > 0).map(Duration::from_micros)
}

/// Feeds the watchdog for as long as every worker does what it is given. One that is stuck gets no connection served, and only a restart helps.
pub async fn feed(workers: Vec<Handle>, bound: Duration, feed: impl Fn()) {
    let third = bound / 3;
    let mut tick = interval(third.max(Duration::from_millis(1)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        match stuck(&workers, third).await {
            None => feed(),
            Some(index) => log::error!("worker-{index} has done nothing for {} seconds: the watchdog is not fed", third.as_secs_f32()),
        }
    }
}

/// The first worker that does not take up a task in time.
async fn stuck(workers: &[Handle], within: Duration) -> Option<usize> {
    let tasks: Vec<_> = workers.iter().map(|worker| worker.spawn(async {})).collect();
    let end = tokio::time::Instant::now() + within;
    for (index, task) in tasks.into_iter().enumerate() {
        if timeout(end.saturating_duration_since(tokio::time::Instant::now()), task).await.is_err() {
            return Some(index);
        }
    }
    None
}

/// The TCP sockets that systemd has opened for this process (`sd_listen_fds(3)`), by their addresses.
///
/// # Errors
/// One that is no listening TCP socket.
pub fn sockets() -> io::Result<Vec<(String, OwnedFd)>> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let wrong =
            |error| io::Error::new(io::ErrorKind::InvalidInput, format!("socket {index} of systemd is no listening TCP socket: {error}"));
        if let Some(socket) = passed.take_tcp_listener(index).map_err(wrong)? {
            socket.set_nonblocking(true)?;
            sockets.push((socket.local_addr().map_err(wrong)?.to_string(), socket.into()));
        }
    }
    Ok(sockets)
}

/// Lets the process open as many files as the administrator grants at most, and says how many that are, and were: every connection is one.
pub fn raise_open_files() -> (Option<u64>, Option<u64>) {
    let before = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum }) {
        log::warn!("the limit of open files could not be raised: {error}");
    }
    (getrlimit(Resource::Nofile).current, before.current)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_worker_that_is_stuck_starves_the_watchdog_until_it_goes_on() {
        let control = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (tell, workers) = mpsc::channel();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let tell = tell.clone();
                let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
                let thread = std::thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                    tell.send(runtime.handle().clone()).unwrap();
                    let _ = runtime.block_on(stopped);
                });
                (stop, thread)
            })
            .collect();
        let workers: Vec<Handle> = workers.iter().take(2).collect();
        let within = Duration::from_millis(100);
        assert_eq!(control.block_on(stuck(&workers, Duration::from_secs(10))), None);

        let (go_on, wait) = mpsc::channel::<()>();
        let (block, blocked) = mpsc::channel();
        workers[1].spawn(async move {
            block.send(()).unwrap();
            let _ = wait.recv();
        });
        blocked.recv().unwrap();
        assert_eq!(control.block_on(stuck(&workers, within)), Some(1));
        go_on.send(()).unwrap();
        assert_eq!(control.block_on(stuck(&workers, Duration::from_secs(10))), None);
        for (stop, thread) in threads {
            let _ = stop.send(());
            thread.join().unwrap();
        }
    }
}
