use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process_group};

use super::Name;
use super::egg::Egg;
use super::wire::{Ask, Grant, News, PROTOCOL, Step, TOGETHER, Wire};
use crate::server::systemd::Notify;

/// How this process hands over to the next one.
#[derive(Debug)]
pub struct Upgrades {
    /// What the next process gets. Given up with the end of this one, so that an address that nobody serves refuses.
    sockets: Mutex<Vec<(Name, OwnedFd)>>,
    config: PathBuf,
    bound: Duration,
    drain: Duration,
    state: Mutex<State>,
    notify: Arc<Notify>,
    over: tokio::sync::Notify,
}

#[derive(Debug)]
enum State {
    Serving,
    Upgrading {
        since: Instant,
        group: Option<Pid>,
    },
    /// It was told to end, or another serves.
    Ending,
}

/// For a command to say what it wants, and for the new process's last steps, where nothing is left to do.
const MOMENT: Duration = Duration::from_secs(10);

/// The new process.
struct Next {
    pid: u32,
    version: String,
}

impl Upgrades {
    /// Hands over these sockets, to a process on the same config where no other is asked for, which has `bound` to become ready. `drain` is only told.
    pub fn new(sockets: Vec<(Name, OwnedFd)>, config: PathBuf, bound: Duration, drain: Duration, notify: Arc<Notify>) -> Self {
        let (sockets, state) = (Mutex::new(sockets), Mutex::new(State::Serving));
        Self { sockets, config, bound, drain, state, notify, over: tokio::sync::Notify::new() }
    }

    /// Waits until another process serves.
    pub async fn over(&self) {
        self.over.notified().await;
    }

    /// No more upgrades: this process ends. One under way ends with it.
    pub fn close(&self) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Ending);
        if let State::Upgrading { group: Some(group), .. } = before {
            let _ = kill_process_group(group, Signal::KILL);
        }
        self.sockets.lock().clear();
    }

    /// Hears a command out, does it, and says what became of it.
    pub fn answer(&self, stream: UnixStream) {
        let mut wire = Wire::new(stream, MOMENT);
        let (binary, config) = match wire.receive() {
            Ok(Some((Ask::Upgrade { binary, config }, _))) => (binary, config),
            Ok(Some((Ask::Unknown, _))) => {
                let why = format!("the running process, version {}, does not know this command", env!("CARGO_PKG_VERSION"));
                let _ = wire.send(&News::Refused { why }, &[]);
                return;
            }
            // Somebody only looked whether anybody is here.
            Ok(None) => return,
            Err(error) => return log::warn!("a command could not be understood: {error}"),
        };
        let start = Instant::now();
        if let Err(why) = self.begin(start) {
            log::warn!("an upgrade was refused: {why}");
            let _ = wire.send(&News::Refused { why }, &[]);
            return;
        }
        let config = config.as_ref().unwrap_or(&self.config);
        log::info!("upgrade: starting {} on {}", binary.display(), config.display());
        self.notify.say(&format!("RELOADING=1\nSTATUS=starting {}", binary.display()));
        let within = self.bound + MOMENT + MOMENT;
        wire.extend(within);
        let _ = wire.send(&News::Begun { within: millis(within) }, &[]);
        let news = match self.hand_over(&binary, config) {
            Ok(next) => {
                log::info!("upgrade: process {} serves, version {}", next.pid, next.version);
                let (from, from_version) = (std::process::id(), env!("CARGO_PKG_VERSION").to_owned());
                let (took, drain) = (millis(start.elapsed()), millis(self.drain));
                News::Done { pid: next.pid, version: next.version, from, from_version, took, drain }
            }
            Err(why) => {
                log::error!("upgrade: this process serves on: {why}");
                News::Failed { why }
            }
        };
        let done = matches!(news, News::Done { .. });
        let _ = wire.send(&news, &[]);
        if done {
            self.over.notify_one();
        }
    }

    fn begin(&self, now: Instant) -> Result<(), String> {
        if std::process::id() == 1 {
            return Err("the gateway is process 1, and its end would be the container's: start another container beside it".to_owned());
        }
        let mut state = self.state.lock();
        match &*state {
            State::Serving => *state = State::Upgrading { since: now, group: None },
            State::Upgrading { since, .. } => {
                return Err(format!("another upgrade is under way, for {} seconds now", since.elapsed().as_secs()));
            }
            State::Ending => return Err("this process is ending; where another serves already, ask again".to_owned()),
        }
        Ok(())
    }

    /// All the way to a new process that serves. Whatever goes wrong, it is ended, and this one is what it was.
    fn hand_over(&self, binary: &Path, config: &Path) -> Result<Next, String> {
        let begun = Egg::lay(binary, config).map_err(|error| format!("the new process could not be started: {error}"));
        let result = begun.and_then(|(mut egg, stream)| {
            self.set_group(egg.group());
            let mut wire = Wire::new(stream, self.bound);
            match self.bring_up(&mut egg, &mut wire) {
                Ok(next) => {
                    egg.hatch();
                    Ok(next)
                }
                Err(why) => {
                    self.set_group(None);
                    let end = egg.end();
                    Err(why.unwrap_or_else(|| {
                        format!("the new process {end} before it served; what it said is where the gateway's own words are")
                    }))
                }
            }
        });
        let mut state = self.state.lock();
        match (&*state, &result) {
            (State::Ending, _) => return Err("this process was told to end meanwhile".to_owned()),
            (_, Ok(_)) => *state = State::Ending,
            (_, Err(_)) => {
                *state = State::Serving;
                self.notify.speak();
                // It may have made itself known already.
                self.notify.say(&format!("MAINPID={}\nREADY=1\nSTATUS=serving; the last upgrade failed", std::process::id()));
            }
        }
        result
    }

    /// The steps, one after the other. No reason means that the process has ended.
    fn bring_up(&self, egg: &mut Egg, wire: &mut Wire) -> Result<Next, Option<String>> {
        let (protocol, version, pid) = loop {
            if let Step::Hello { protocol, version, pid } = self.step(wire)? {
                break (protocol, version, pid);
            }
        };
        if protocol != PROTOCOL {
            return Err(Some(format!(
                "the new process, version {version}, takes over by protocol {protocol}, this one hands over by {PROTOCOL}: it takes a restart"
            )));
        }
        self.give(wire).map_err(|error| Some(format!("the sockets could not be passed to the new process: {error}")))?;
        while !matches!(self.step(wire)?, Step::Ready) {}
        egg.orphan();
        // From now on what this process says to systemd would be taken for the new one's words.
        self.notify.hush();
        wire.extend(MOMENT);
        wire.send(&Grant::Go, &[]).map_err(|error| Some(format!("the new process could not be told to serve: {error}")))?;
        while !matches!(self.step(wire)?, Step::Serving) {}
        Ok(Next { pid, version })
    }

    fn step(&self, wire: &mut Wire) -> Result<Step, Option<String>> {
        match wire.receive() {
            Ok(Some((Step::Failed { why }, _))) => Err(Some(format!("the new process says: {why}"))),
            Ok(Some((step, _))) => Ok(step),
            Ok(None) => Err(None),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                Err(Some(format!("the new process was not ready within {} seconds, and was killed", self.bound.as_secs_f32())))
            }
            Err(error) => Err(Some(format!("the new process does not speak as a gateway does: {error}"))),
        }
    }

    fn give(&self, wire: &mut Wire) -> io::Result<()> {
        let sockets = self.sockets.lock();
        let mut chunks = sockets.chunks(TOGETHER).peekable();
        while let Some(chunk) = chunks.next() {
            let names = chunk.iter().map(|(name, _)| name.clone()).collect();
            let fds: Vec<_> = chunk.iter().map(|(_, fd)| fd.as_fd()).collect();
            wire.send(&Grant::Sockets { names, more: chunks.peek().is_some() }, &fds)?;
        }
        Ok(())
    }

    fn set_group(&self, known: Option<Pid>) {
        if let State::Upgrading { group, .. } = &mut *self.state.lock() {
            *group = known;
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
