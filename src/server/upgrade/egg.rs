use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::wire::{Step, Wire};

/// Tells the new process that its standard input is the old one, and what that speaks.
pub const TOLD: &str = "TIDEGATE_UPGRADE";

/// The new process, until it serves: in a process group of its own, with a parent of its own, which ends as it does. When that parent is taken away, the
/// new process becomes init's child, as systemd wants its main process to be: of anybody else's child it could not be sure to hear the end.
#[derive(Debug)]
pub struct Egg {
    parent: Child,
    group: Option<Pid>,
    hatched: bool,
}

impl Egg {
    /// Starts the binary, and gives the socket over which it speaks.
    ///
    /// # Errors
    /// The system's.
    pub fn lay(binary: &Path, config: &Path) -> io::Result<(Self, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        // By this name also a binary whose file is gone, or another by now, starts itself once more.
        let parent = Command::new("/proc/self/exe")
            .arg("hatch")
            .arg("--")
            .arg(binary)
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .env(TOLD, super::wire::PROTOCOL.to_string())
            // Both name a process by its id: not that one.
            .env_remove("WATCHDOG_PID")
            .env_remove("LISTEN_PID")
            .env_remove("LISTEN_FDS")
            .env_remove("LISTEN_FDNAMES")
            .process_group(0)
            .spawn()?;
        let group = i32::try_from(parent.id()).ok().and_then(Pid::from_raw);
        Ok((Self { parent, group, hatched: false }, ours))
    }

    /// The process group, for whoever must end it from elsewhere.
    pub fn group(&self) -> Option<Pid> {
        self.group
    }

    /// Makes the new process init's child.
    pub fn orphan(&mut self) {
        let _ = self.parent.kill();
        let _ = self.parent.wait();
    }

    /// From now on it lives for itself.
    pub fn hatch(mut self) {
        self.hatched = true;
    }

    /// Ends it where it has not ended, and says how it did.
    pub fn end(&mut self) -> String {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        match self.parent.wait() {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code @ 129..=192), _) => format!("was ended by signal {}", code - 128),
                (Some(code), _) => format!("ended with exit status {code}"),
                (None, Some(signal)) => format!("was ended by signal {signal}"),
                (None, None) => "ended".to_owned(),
            },
            Err(error) => format!("ended, and how is not known: {error}"),
        }
    }
}

impl Drop for Egg {
    fn drop(&mut self) {
        if !self.hatched {
            self.end();
        }
    }
}

/// Runs a command as its parent, for an upgrade, and ends as it does.
pub fn hatch(command: &[OsString]) -> ExitCode {
    let Some((binary, arguments)) = command.split_first() else { return ExitCode::from(2) };
    match Command::new(binary).args(arguments).status() {
        Ok(status) => {
            let code = status.code().or_else(|| Some(128 + status.signal()?)).and_then(|code| u8::try_from(code).ok());
            code.map_or(ExitCode::FAILURE, ExitCode::from)
        }
        Err(error) => {
            let why = format!("{} cannot be run: {error}", Path::new(binary).display());
            if let Ok(input) = io::stdin().as_fd().try_clone_to_owned() {
                let _ = Wire::new(UnixStream::from(input), Duration::from_secs(5)).send(&Step::Failed { why }, &[]);
            }
            ExitCode::from(127)
        }
    }
}
