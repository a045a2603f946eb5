use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{Client, Service};
use crate::observe::Metrics;

/// What is done beside requests, on the control thread. Ends when this is dropped.
#[derive(Debug)]
pub struct Tending {
    /// Aborted with it.
    _tasks: JoinSet<()>,
    /// Closed once every task has settled.
    settled: mpsc::Receiver<Infallible>,
}

/// That a task has no first result yet: drop it as soon as it has.
#[derive(Clone, Debug)]
pub struct Settling {
    _sender: mpsc::Sender<Infallible>,
}

/// Something of a room below that is done beside requests.
#[async_trait]
pub trait Beside: Send + Sync {
    /// Does it, for as long as this is not dropped.
    async fn tend(self: Arc<Self>, client: Arc<Client>, metrics: Arc<Metrics>, settling: Settling);
}

impl Tending {
    /// Starts what these services ask for, and these others.
    pub fn start(
        services: &[Arc<Service>],
        others: impl IntoIterator<Item = Arc<dyn Beside>>,
        control: &Handle,
        client: &Arc<Client>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let (sender, settled) = mpsc::channel(1);
        let settling = Settling { _sender: sender };
        let mut tasks = JoinSet::new();
        for service in services {
            service.tend(&mut tasks, control, client, &settling, metrics);
        }
        for other in others {
            tasks.spawn_on(other.tend(client.clone(), metrics.clone(), settling.clone()), control);
        }
        Self { _tasks: tasks, settled }
    }

    /// Waits until all have their first results, and no longer than that. Whether they had.
    pub async fn settle(&mut self, most: Duration) -> bool {
        timeout(most, self.settled.recv()).await.is_ok()
    }
}
