use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::say;
use super::watch::Watch;
use crate::admin::Admin;
use crate::observe::{AccessLog, Metrics};
use crate::reload::{Built, Reloader, build};
use crate::server::{Running, bind, run as serve};
use crate::state::Shared;
use crate::types::Address;

/// `tidegate run`.
pub fn run(path: &Path) -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn,tidegate=info")).init();
    let shared = Arc::new(Shared::default());
    let built = match build(path, &shared) {
        Ok(built) => built,
        Err(errors) => {
            say(&errors.to_string());
            return ExitCode::FAILURE;
        }
    };
    match start(path, shared, built) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("the gateway could not start: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn start(path: &Path, shared: Arc<Shared>, built: Built) -> io::Result<()> {
    let config = built.config.value.server.clone();
    let named = |address: &Address| bind(address).map_err(|error| io::Error::new(error.kind(), format!("{address}: {error}")));
    let sockets = config.listeners.iter().map(|listener| named(&listener.address)).collect::<io::Result<Vec<_>>>()?;
    let admin = named(&Address::Tcp(built.config.value.admin.address))?;
    let metrics = Arc::new(Metrics::new(config.workers.count()).map_err(io::Error::other)?);
    let log = AccessLog::start(&built.config.value.access_log, config.workers.count(), metrics.process.log_dropped.clone())?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut end, mut stop) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (reloader, live) = Reloader::start(path.to_owned(), shared, metrics.clone(), built).await;
        reloads(reloader)?;
        let (shutdown, ending) = watch::channel(false);
        let addresses: Vec<_> = sockets.iter().filter_map(|socket| socket.address().ok()).map(|address| address.to_string()).collect();
        log::info!("listening on {}, admin on {}", addresses.join(", "), admin.address()?);
        let operators = Admin { metrics: metrics.clone(), live: live.clone(), ending };
        let running = Running { config, sockets, admin, live, metrics, log: Arc::new(log), shutdown };
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
    let mut files = Watch::start(reloader.sources(), wake.clone()).map_err(io::Error::other)?;
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
                    files.follow(reloader.sources());
                }
                Err(error) => return log::error!("reloading has ended: {error}"),
            }
        }
    });
    Ok(())
}

/// Between two looks at snapshots that are still held.
const SWEEP: Duration = Duration::from_secs(1);
