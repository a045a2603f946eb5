//! From the first bound socket to the last answered request.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::{HttpServerApp, HttpServerOptions};
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use rustix::io::Errno;
use tokio::sync::{mpsc, watch};

use super::conn::{Conn, Patience, Slowest, Speaks};
use super::crowd::Crowd;
use super::head::{Bounds, FIELDS};
use super::http2::Http2;
use super::listen::{Accepted, Bound, Gate, Listener};
use super::serve::{Serving, Terms, serve};
use super::systemd::{feed, watchdog};
use super::turnstile::Turnstile;
use super::upgrade::Door;
use super::welcome::Welcome;
use super::worker::{Duty, Worker};
use crate::config::ServerConfig;
use crate::observe::{AccessLog, Metrics, Shard};
use crate::proxy::Gateway;
use crate::snapshot::Live;

/// What the life of the process needs.
pub struct Running {
    /// `server:` as it was at start.
    pub config: ServerConfig,
    /// The sockets for clients, one for each listener of the config.
    pub sockets: Vec<Bound>,
    /// The socket for operators.
    pub admin: Bound,
    /// The snapshot that new requests use.
    pub live: Arc<Live>,
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub log: Arc<AccessLog>,
    /// How many files may be open at once; none for any number.
    pub files: Option<u64>,
    /// Turns true when the process shall end.
    pub shutdown: watch::Sender<bool>,
    /// What this process takes over, and hands over one day.
    pub door: Door,
}

/// Serves until `stop` says so or another process serves instead, then lets requests end, for as long as the config grants. `stop` says false for an
/// end at once.
///
/// # Errors
/// The system's, where threads or sockets cannot be had.
pub async fn run<A>(mut running: Running, admin: Arc<A>, stop: impl Future<Output = bool>) -> io::Result<()>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let (alive, mut ended) = mpsc::channel::<()>(1);
    let shards = running.metrics.shards();
    let workers = shards.iter().enumerate().map(|(index, shard)| Worker::start(index, shard.connections.clone()));
    let workers = workers.collect::<io::Result<Vec<_>>>()?;
    let trusted: Arc<[_]> = running.config.trusted_proxies.as_slice().into();
    let mut team = Vec::new();
    let mut tellers = Vec::new();
    for (index, (worker, shard)) in workers.iter().zip(shards).enumerate() {
        let (live, log) = (running.live.clone(), running.log.clone());
        let gateway = Gateway::new(index, live, shard.clone(), log, trusted.clone(), &running.config);
        let _runtime = worker.handle().enter();
        gateway.prepare();
        let app = Arc::new(proxy(&running.config, gateway.clone()));
        gateway.lead_to(&app);
        let refused = Box::new(move |problem, connection: &_| gateway.refused(problem, connection));
        let serving = Serving { app, turnstile: Turnstile::default(), refused };
        // Each worker is told by itself: every request looks, and one place for all would be passed between the cores.
        let (tell, told) = watch::channel(false);
        tellers.push(tell);
        let (live, patience) = (running.live.clone(), running.config.timeouts.handshake.into());
        let welcome = Welcome { live, shard: shard.clone(), trusted: trusted.clone(), patience };
        team.push(Arc::new(Duty {
            serving,
            terms: terms(&running.config, Some(shard.clone())),
            welcome,
            shutdown: told,
            _alive: alive.clone(),
        }));
    }
    let crowd = Crowd::new(&running.config.limits, running.files, trusted, running.metrics.process.turned_away.clone());
    let crew = Arc::new(Crew { workers, team, crowd: crowd.clone() });

    running.door.wait().await?;
    let addresses: Vec<_> = running.sockets.iter().filter_map(|socket| Some(socket.address().ok()?.to_string())).collect();
    let listening = format!("listening on {}, admin on {}", addresses.join(", "), running.admin.address()?);
    let (closing, closed) = watch::channel(None);
    let mut accepting = Vec::new();
    for (index, (socket, listener)) in running.sockets.into_iter().zip(&running.config.listeners).enumerate() {
        let (crew, crowd, gate, closed) = (crew.clone(), crowd.clone(), Gate::new(index, listener), closed.clone());
        // With one worker there is nothing to spread: it accepts by itself, and nobody is woken.
        let alone = crew.workers.first().filter(|_| crew.workers.len() == 1).map(|worker| worker.handle().clone());
        let accept = async move {
            match Listener::new(socket, gate) {
                Ok(listener) => accept(listener, closed, Some(&crowd), |accepted| crew.give(accepted)).await,
                Err(error) => log::error!("a socket cannot be watched: {error}"),
            }
        };
        accepting.push(match alone {
            Some(worker) => worker.spawn(accept),
            None => tokio::spawn(accept),
        });
    }
    let (leaving, left) = watch::channel(None);
    let operators = tokio::spawn(operators(running.admin, admin, terms(&running.config, None), left));
    let (upgrades, notify) = (running.door.upgrades.clone(), running.door.notify.clone());
    let mut opened = running.door.open()?;
    log::info!("{listening}");
    if let Some(bound) = watchdog() {
        let (workers, notify) = (crew.workers.iter().map(|worker| worker.handle().clone()).collect(), notify.clone());
        tokio::spawn(feed(workers, bound, move || notify.say("WATCHDOG=1")));
    }

    let (graceful, handed_over) = tokio::select! {
        graceful = stop => (graceful, false),
        () = upgrades.over() => (true, true),
    };
    notify.say("STOPPING=1\nSTATUS=letting requests end");
    // Their copies of the sockets go first: an address is closed with the last of them.
    upgrades.close();
    opened.close(handed_over);
    let _ = leaving.send(handed_over.then_some(true));
    let _ = closing.send(Some(handed_over));
    for task in accepting {
        let _ = task.await;
    }
    running.live.end();
    let who = if handed_over { "another process serves" } else { "ending" };
    log::info!("{who}: no new connections, and each answer is the last on its connection");
    let _ = running.shutdown.send(true);
    for tell in &tellers {
        let _ = tell.send(true);
    }
    let Some(Crew { workers, team, .. }) = Arc::into_inner(crew) else {
        return Err(io::Error::other("a socket is still being accepted from"));
    };
    drop((team, alive));
    if graceful {
        let bound = Duration::from(running.config.timeouts.drain);
        if tokio::time::timeout(bound, ended.recv()).await.is_err() {
            let left: i64 = workers.iter().map(Worker::connections).sum();
            log::warn!("{left} connections were cut off after {} seconds", bound.as_secs());
        }
    }
    workers.into_iter().for_each(Worker::stop);
    operators.abort();
    Ok(())
}

fn terms(config: &ServerConfig, shard: Option<Arc<Shard>>) -> Terms {
    let bounds = Bounds {
        bytes: config.limits.header.bytes(),
        fields: config.limits.header_fields.min(FIELDS),
        target: config.limits.target.bytes(),
    };
    let patience = Arc::new(Patience {
        upload: Slowest { patience: config.timeouts.body.into(), rate: config.limits.slowest_upload.0 },
        download: Slowest { patience: config.timeouts.write.into(), rate: config.limits.slowest_download.0 },
        farewell: config.timeouts.farewell.into(),
        discard: config.timeouts.discard.into(),
    });
    Terms {
        bounds,
        header: config.timeouts.header.into(),
        idle: config.timeouts.idle.into(),
        requests: config.limits.requests,
        http2: Http2::new(config, patience.clone(), shard.clone()),
        shard,
        patience,
        drain: config.timeouts.discard.into(),
    }
}

fn proxy(config: &ServerConfig, gateway: Gateway) -> HttpProxy<Gateway> {
    // How often a request is sent is decided by its services; this only bounds it.
    let max_retries = 100;
    let conf = ServerConf { threads: 1, upstream_keepalive_pool_size: config.upstream_connections, max_retries, ..ServerConf::default() };
    let mut proxy = HttpProxy::new(gateway, Arc::new(conf));
    let mut server = HttpServerOptions::default();
    // Pingora would refuse it by itself, without a word, and nobody would count it.
    server.allow_connect_method_proxying = true;
    proxy.server_options = Some(server);
    proxy.handle_init_modules();
    proxy
}

/// The workers and what each connection on them needs.
struct Crew {
    workers: Vec<Worker>,
    team: Vec<Arc<Duty<HttpProxy<Gateway>>>>,
    crowd: Arc<Crowd>,
}

impl Crew {
    /// Hands a connection to the worker that has the fewest, if it may come in.
    fn give(&self, accepted: Accepted) {
        let Some(place) = self.crowd.enter(accepted.file(), accepted.client()) else { return accepted.turn_away() };
        let fewest = self.workers.iter().zip(&self.team).min_by_key(|(worker, _)| worker.connections());
        if let Some((worker, duty)) = fewest {
            worker.give(accepted, place, duty);
        }
    }
}

/// Accepts until it shall not, and then what has come by then: the system tells a client that it is connected before anybody accepts, and would cut it off.
/// `closed` says whether another process goes on.
/// Where no file is left, those of a `crowd` are turned away: they would wait in vain, and keep their clients from trying elsewhere.
async fn accept(listener: Listener, mut closed: watch::Receiver<Option<bool>>, crowd: Option<&Crowd>, take: impl Fn(Accepted)) {
    let mut spare = Spare::new();
    let handed_over = loop {
        let came = tokio::select! {
            came = listener.accept() => came,
            closed = closed.wait_for(Option::is_some) => break closed.is_ok_and(|closed| *closed == Some(true)),
        };
        match came {
            Ok(accepted) => take(accepted),
            // The client was faster in leaving than we in accepting.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                let used_up = error.raw_os_error() == Some(Errno::MFILE.raw_os_error());
                match crowd.filter(|_| used_up) {
                    Some(crowd) if spare.spend(&listener) => crowd.turn_away("files", None),
                    _ => {
                        // Some will be closed soon, and trying at once would only burn the time to do so.
                        log::error!("a connection could not be accepted: {error}");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        }
    };
    match listener.waiting(handed_over) {
        Ok(waiting) => waiting.for_each(take),
        Err(error) => log::warn!("connections may have been cut off before they were accepted: {error}"),
    }
}

/// An open file that can be given up for one more connection, which is closed to have it back.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Takes a connection and closes it. False where somebody else was faster in taking the file.
    fn spend(&mut self, listener: &Listener) -> bool {
        if self.0.take().is_none() {
            *self = Self::new();
            return false;
        }
        let turned_away = listener.turn_away();
        *self = Self::new();
        turned_away
    }
}

/// Operators' requests, answered on the control thread, until another process does, or to the very end.
async fn operators<A: HttpServerApp + Send + Sync + 'static>(
    socket: Bound,
    app: Arc<A>,
    terms: Terms,
    closed: watch::Receiver<Option<bool>>,
) {
    let serving =
        Arc::new(Serving { app, turnstile: Turnstile::default(), refused: Box::new(|problem, _| crate::proxy::raw_answer(problem)) });
    let listener = match Listener::new(socket, Gate::default()) {
        Ok(listener) => listener,
        Err(error) => return log::error!("the admin socket cannot be watched: {error}"),
    };
    let (_running, never) = watch::channel(false);
    accept(listener, closed, None, |accepted| {
        let (serving, terms, mut never) = (serving.clone(), terms.clone(), never.clone());
        tokio::spawn(async move {
            let Ok((wire, facts, _)) = accepted.take_over() else { return };
            if let Ok(conn) = Conn::new(wire, Speaks::Either, facts, terms.patience.clone()) {
                serve(Box::new(conn), &serving, &terms, &mut never).await;
            }
        });
    })
    .await;
}
