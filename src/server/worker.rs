//! One worker: a thread with a runtime of its own, on which every connection given to it lives and dies.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use pingora_core::apps::HttpServerApp;
use pingora_core::server::ShutdownWatch;
use prometheus::IntGauge;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};

use super::conn::{Conn, Speaks};
use super::crowd::Place;
use super::listen::Accepted;
use super::serve::{Serving, Terms, serve};
use super::welcome::{Met, Welcome};
use super::wire::Wire;
use crate::problem::{Kind, Problem};
use crate::proxy::Connection;

/// A running worker, as the control thread sees it.
#[derive(Debug)]
pub struct Worker {
    handle: Handle,
    connections: IntGauge,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What every connection of a worker needs.
pub struct Duty<A> {
    /// Who answers.
    pub serving: Serving<A>,
    /// What a connection may take.
    pub terms: Terms,
    /// What comes before a connection's first request.
    pub welcome: Welcome,
    /// Turns true when the process shall end.
    pub shutdown: ShutdownWatch,
    /// Never sent on: the receiving side is told when the last connection, and so the last holder of this, has ended.
    pub _alive: mpsc::Sender<()>,
}

impl<A> Duty<A> {
    /// Tells a client that it has come to the right port with the wrong protocol.
    async fn explain(&self, wire: Wire, facts: Connection) {
        let problem = Problem::new(Kind::BadRequest, "this port speaks TLS, and the request came without: ask with `https://`");
        let answer = (self.serving.refused)(problem, &facts);
        if let Ok(mut conn) = Conn::new(wire, Speaks::Http1, facts, self.terms.patience.clone()) {
            self.terms.close(&mut conn, &answer).await;
        }
    }
}

impl Worker {
    /// Starts the thread. `connections` counts what it holds, for the choice of a worker and for operators alike.
    ///
    /// # Errors
    /// The system's, where it gives no thread.
    pub fn start(index: usize, connections: IntGauge) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let _ = runtime.block_on(stopped);
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, connections, stop, thread })
    }

    /// The runtime, to start what shall live on this worker.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// How many connections it holds.
    pub fn connections(&self) -> i64 {
        self.connections.get()
    }

    /// Gives it a connection: one wake-up, and none after that.
    pub fn give<A: HttpServerApp + Send + Sync + 'static>(&self, accepted: Accepted, place: Place, duty: &Arc<Duty<A>>) {
        let held = Held::new(self.connections.clone());
        // Boxed: a connection would hold the room for its beginning to its end.
        let begun = Box::pin(begin(accepted, place, duty.clone()));
        let duty = duty.clone();
        self.handle.spawn(async move {
            let _held = held;
            let Some((conn, _place)) = begun.await else { return };
            serve(conn, &duty.serving, &duty.terms, &mut duty.shutdown.clone()).await;
        });
    }

    /// Ends the thread. What still runs on it is dropped.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Makes a connection ready for its first request; none where there will be none.
async fn begin<A>(accepted: Accepted, mut place: Place, duty: Arc<Duty<A>>) -> Option<(Box<Conn>, Place)> {
    let (wire, mut facts, gate) = match accepted.take_over() {
        Ok(taken) => taken,
        Err(error) => {
            log::warn!("a connection could not be taken over: {error}");
            return None;
        }
    };
    match duty.welcome.greet(wire, &mut facts, &gate, &mut place).await {
        Met::Ready(wire, speaks) => {
            let conn = Conn::new(wire, speaks, facts, duty.terms.patience.clone()).ok()?;
            Some((Box::new(conn), place))
        }
        Met::Plain(wire) => {
            duty.explain(wire, facts).await;
            None
        }
        Met::Lost => None,
    }
}

/// One connection in the count.
struct Held(IntGauge);

impl Held {
    fn new(count: IntGauge) -> Self {
        count.inc();
        Self(count)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
