use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::say;
use super::upgrade::socket;
use super::watch::Watch;
use crate::admin::Admin;
use crate::config::ServerConfig;
use crate::observe::{AccessLog, Metrics};
use crate::reload::{Built, Reloader, build};
use crate::server::upgrade::{Control, Door, Incoming, Inherited, Name, Role, Upgrades};
use crate::server::{Bound, Notify, Running, activated, bind, raise_open_files, run as serve};
use crate::state::Shared;
use crate::types::Address;

/// `tidegate run`.
pub fn run(path: &Path) -> ExitCode {
    super::log::start();
    // The allocator asks for huge pages: memory would be half more, come and go by 2 MiB, and a request be cheaper by two percent at most. Its crate's
    // `no_thp` does nothing to its second version. Where the kernel refuses, the gateway only takes more memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let result = inherited().and_then(|(mut incoming, inherited)| {
        start(path, &mut incoming, inherited).inspect_err(|why| {
            if let Some(incoming) = incoming {
                incoming.failed(why);
            }
        })
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&why);
            ExitCode::FAILURE
        }
    }
}

/// What was open before this process: passed by the one that it takes over from, or by systemd.
fn inherited() -> Result<(Option<Incoming>, Inherited), String> {
    if let Some((incoming, inherited)) = Incoming::from_env().map_err(|error| format!("the running gateway passes nothing on: {error}"))? {
        return Ok((Some(incoming), inherited));
    }
    let passed = activated().map_err(could_not_start)?;
    Ok((None, passed.into_iter().map(|(address, socket)| (Name { role: Role::Listener, address }, socket)).collect()))
}

fn could_not_start(error: io::Error) -> String {
    format!("the gateway could not start: {error}")
}

fn start(path: &Path, incoming: &mut Option<Incoming>, mut inherited: Inherited) -> Result<(), String> {
    let path = std::path::absolute(path).map_err(could_not_start)?;
    let shared = Arc::new(Shared::default());
    if let Some(keys) = inherited.tickets.take()
        && !shared.tickets.take_over(&keys)
    {
        log::warn!("the keys of TLS sessions have a form that this version does not know: each client shakes hands in full once more");
    }
    let built = build(&path, &shared).map_err(|errors| errors.to_string())?;
    let (files, before) = raise_open_files();
    let number = |files: Option<u64>| files.map_or_else(|| "any number of".to_owned(), |files| files.to_string());
    log::info!("{} files may be open at once, {} before", number(files), number(before));
    let server = &built.config.value.server;
    shared.encoders.bound(server.limits.encoders);
    let mut sockets = Sockets::open(server, built.config.value.admin.address, inherited, incoming.is_some()).map_err(could_not_start)?;
    let control = match socket(server, &path) {
        Some(socket) => Some(Control::bind(&socket, incoming.is_some()).map_err(could_not_start)?),
        None => {
            log::info!("no upgrade in place, for there is no folder for its socket: `server.upgrade.socket` names one");
            None
        }
    };
    let names = sockets.copies().map_err(could_not_start)?;
    let notify = Arc::new(Notify::from_env());
    let upgrades = Upgrades::new(names, shared.tickets.clone(), path.clone(), server, notify.clone());
    let gone = std::mem::take(&mut sockets.gone);
    let door = Door { incoming: incoming.take(), control, upgrades: Arc::new(upgrades), notify, gone };
    live(path, shared, built, sockets, files, door).map_err(could_not_start)
}

/// The sockets that are accepted from.
struct Sockets {
    listeners: Vec<(Name, Bound)>,
    admin: (Name, Bound),
    /// Where Unix sockets are that the process before this one served, and this one does not.
    gone: Vec<PathBuf>,
}

impl Sockets {
    /// Takes those that are open, and opens the others.
    fn open(server: &ServerConfig, admin: SocketAddr, mut inherited: Inherited, upgrade: bool) -> io::Result<Self> {
        let mut open = |role, address: &Address, mode| {
            let name = Name { role, address: address.to_string() };
            if let Some(socket) = inherited.claim(role, &name.address) {
                return Ok((name, Bound::inherit(address, mode, socket)?));
            }
            let socket = bind(address, mode).map_err(|error| {
                let hint = match error.kind() {
                    io::ErrorKind::AddrInUse if upgrade => "; an address that overlaps one of the running gateway takes a restart",
                    _ => "",
                };
                io::Error::new(error.kind(), format!("{address}: {error}{hint}"))
            })?;
            Ok((name, socket))
        };
        let listeners = server
            .listeners
            .iter()
            .map(|listener| open(Role::Listener, &listener.address, listener.mode))
            .collect::<io::Result<Vec<_>>>()?;
        let admin = open(Role::Admin, &Address::Tcp(admin), None)?;
        let gone = inherited.addresses().filter_map(|address| address.strip_prefix("unix:").map(PathBuf::from)).collect();
        let unclaimed = inherited.addresses().collect::<Vec<_>>().join(", ");
        match (unclaimed.is_empty(), upgrade) {
            (true, _) => {}
            (false, true) => log::info!("no longer served: {unclaimed}"),
            // systemd would go on letting clients connect, and nobody would ever answer them.
            (false, false) => {
                let why = format!("systemd opens {unclaimed}, and no listener has that address; name it under `server.listeners`");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
            }
        }
        Ok(Self { listeners, admin, gone })
    }

    /// For the process after this one.
    fn copies(&self) -> io::Result<Vec<(Name, OwnedFd)>> {
        let all = self.listeners.iter().chain([&self.admin]);
        all.map(|(name, socket)| Ok((name.clone(), socket.copy()?))).collect()
    }
}

fn live(path: PathBuf, shared: Arc<Shared>, built: Built, sockets: Sockets, files: Option<u64>, mut door: Door) -> io::Result<()> {
    let config = built.config.value.server.clone();
    let metrics = Arc::new(Metrics::new(config.workers.count()).map_err(io::Error::other)?);
    let log = AccessLog::start(&built.config.value.access_log, config.workers.count(), metrics.process.log_dropped.clone())?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut end, mut stop) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let begun = Reloader::start(path, shared, metrics.clone(), built).await;
        let (reloader, live) = begun.map_err(|why| {
            if let Some(incoming) = door.incoming.take() {
                incoming.failed(&format!("the gateway could not start: {why}"));
            }
            io::Error::other(why)
        })?;
        reloads(reloader)?;
        let (shutdown, ending) = watch::channel(false);
        let Sockets { listeners, admin: (_, admin), .. } = sockets;
        let sockets: Vec<_> = listeners.into_iter().map(|(_, socket)| socket).collect();
        let operators = Admin { metrics: metrics.clone(), live: live.clone(), ending };
        let running = Running { config, sockets, admin, live, metrics, log: Arc::new(log), files, shutdown, door };
        let graceful = async {
            tokio::select! {
                _ = end.recv() => true,
                _ = stop.recv() => false,
            }
        };
        serve(running, Arc::new(operators), graceful).await
    })
}

/// Reloads on SIGHUP and when a file of the config changes, one after the other, off the control thread.
fn reloads(mut reloader: Reloader) -> io::Result<()> {
    let (wake, mut woken) = mpsc::channel(1);
    // The system may have no watcher left, or not let the folder be watched: that is no reason not to serve.
    let unwatched =
        |error| log::warn!("changes of the config will not be noticed, and SIGHUP is needed: {error} (see fs.inotify.max_user_instances)");
    let mut files = Watch::start(reloader.sources(), wake.clone()).map_err(unwatched).ok();
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let _ = wake.send(Duration::ZERO).await;
        }
    });
    tokio::spawn(async move {
        let mut retired = false;
        loop {
            // Workers leave an old snapshot with their next request: look again until all have.
            let woken = match retired {
                true => tokio::time::timeout(SWEEP, woken.recv()).await.ok(),
                false => Some(woken.recv().await),
            };
            let task = match woken {
                Some(None) => return,
                Some(Some(delay)) => {
                    tokio::time::sleep(delay).await;
                    tokio::task::spawn_blocking(move || {
                        reloader.reload();
                        (true, reloader)
                    })
                }
                None => tokio::task::spawn_blocking(move || (reloader.sweep(), reloader)),
            };
            match task.await {
                Ok((more, back)) => {
                    (retired, reloader) = (more, back);
                    files.iter_mut().for_each(|files| files.follow(reloader.sources()));
                }
                Err(error) => return log::error!("reloading has ended: {error}"),
            }
        }
    });
    Ok(())
}

/// Between two looks at snapshots that are still held.
const SWEEP: Duration = Duration::from_secs(1);
