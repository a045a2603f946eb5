use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Service;
use crate::observe::Metrics;

/// What is done for services beside their requests, on the control thread. Ends when this is dropped.
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

impl Tending {
    /// Starts what these services ask for.
    pub fn start(services: &[Arc<Service>], control: &Handle, metrics: &Arc<Metrics>) -> Self {
        let (sender, settled) = mpsc::channel(1);
        let settling = Settling { _sender: sender };
        let mut tasks = JoinSet::new();
        for service in services {
            service.tend(&mut tasks, control, &settling, metrics);
        }
        Self { _tasks: tasks, settled }
    }

    /// Waits until all have their first results, and no longer than that. Whether they had.
    pub async fn settle(&mut self, most: Duration) -> bool {
        timeout(most, self.settled.recv()).await.is_ok()
    }
}
