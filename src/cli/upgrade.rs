use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::{print, say};
use crate::config::{Config, ServerConfig, load, process_env};
use crate::server::upgrade::{Ask, News, SOCKET, Wire};

/// What `tidegate upgrade` is asked.
#[derive(Debug, clap::Args)]
pub struct Upgrade {
    /// The binary to start. Default: this one.
    #[arg(short, long)]
    binary: Option<PathBuf>,
    /// The config file to start it on. Default: that of the running gateway.
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// The socket of the running gateway. Default: `server.upgrade.socket` of the config, then `upgrade.sock` in RUNTIME_DIRECTORY, then in /run/tidegate.
    #[arg(short, long)]
    socket: Option<PathBuf>,
}

/// The new process failed; the old one serves on.
const FAILED: u8 = 1;
/// The running gateway does not want to now: another upgrade is under way, or it is ending.
const REFUSED: u8 = 3;
/// No gateway answers, or the answer got lost: what serves now is not known.
const UNKNOWN: u8 = 4;

/// For the gateway to say that it has begun.
const BEGIN: Duration = Duration::from_secs(10);

/// `tidegate upgrade`. 0: the new process serves; 1: it failed, and the old one serves on; 3: refused; 4: no gateway answers.
pub fn upgrade(asked: &Upgrade) -> ExitCode {
    match result(asked) {
        Ok(text) => {
            print(&text);
            ExitCode::SUCCESS
        }
        Err((code, why)) => {
            say(&why);
            ExitCode::from(code)
        }
    }
}

fn result(asked: &Upgrade) -> Result<String, (u8, String)> {
    let failed = |what: &str, error: io::Error| (FAILED, format!("nothing was done: {what}: {error}"));
    let binary = match &asked.binary {
        Some(path) => std::path::absolute(path),
        None => std::env::current_exe(),
    };
    let binary = binary.map_err(|error| failed("the binary", error))?;
    let config = asked.config.as_ref().map(std::path::absolute).transpose().map_err(|error| failed("the config", error))?;
    let socket = asked.socket.clone().unwrap_or_else(|| of_config(config.as_deref()));
    let stream = UnixStream::connect(&socket).map_err(|error| {
        let hint = "is it running, and with `server.upgrade.socket` or under systemd? `--socket` names another";
        (UNKNOWN, format!("no gateway takes commands at {}: {error}; {hint}", socket.display()))
    })?;
    let mut wire = Wire::new(stream, BEGIN);
    let lost = |error: io::Error| (UNKNOWN, format!("the gateway at {} did not say what became of it: {error}", socket.display()));
    wire.send(&Ask::Upgrade { binary, config }, &[]).map_err(lost)?;
    loop {
        match wire.receive().map_err(lost)? {
            Some((News::Begun { within }, _)) => wire.extend(Duration::from_millis(within)),
            Some((News::Refused { why }, _)) => return Err((REFUSED, format!("the upgrade was refused: {why}"))),
            Some((News::Failed { why }, _)) => {
                return Err((FAILED, format!("the upgrade failed, and the old process serves on: {why}")));
            }
            Some((News::Done { pid, version, from, from_version, took, drain }, _)) => {
                let (took, drain) = (Duration::from_millis(took), Duration::from_millis(drain));
                return Ok(format!(
                    "process {pid}, version {version}, serves since {}; process {from}, version {from_version}, lets its requests end within {}",
                    humantime::format_duration(took),
                    humantime::format_duration(drain)
                ));
            }
            Some((News::Unknown, _)) => {}
            None => return Err(lost(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

/// Where a gateway on this config takes commands, as far as can be known here: the values of its environment may not be there.
fn of_config(config: Option<&Path>) -> PathBuf {
    let path = config.unwrap_or(Path::new("/etc/tidegate/tidegate.yaml"));
    let server = load(path, &process_env, |config: &Config| Ok(config.server.clone())).map(|(_, server)| server).unwrap_or_default();
    socket(&server, path).unwrap_or_else(|| Path::new("/run/tidegate").join(SOCKET))
}

/// Where a gateway with this `server:` takes commands; nowhere without a folder for it.
pub fn socket(server: &ServerConfig, config: &Path) -> Option<PathBuf> {
    if let Some(socket) = &server.upgrade.socket {
        return Some(config.parent().unwrap_or(Path::new("")).join(socket));
    }
    let folders = std::env::var_os("RUNTIME_DIRECTORY")?;
    // Several are parted by colons; the first is the service's own.
    let first = std::env::split_paths(&folders).next().filter(|path| path.is_absolute())?;
    Some(first.join(SOCKET))
}
