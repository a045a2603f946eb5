//! A gRPC server that says how it is, by tonic's implementation of the health protocol.

use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::sync::{mpsc, oneshot};
use tonic_health::ServingStatus;

/// A running server.
pub struct Grpc {
    pub address: SocketAddr,
    say: Option<mpsc::UnboundedSender<(&'static str, bool, oneshot::Sender<()>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Grpc {
    /// A server that serves as a whole, and knows no service by name yet.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (say, mut said) = mpsc::unbounded_channel::<(_, _, oneshot::Sender<()>)>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let (reporter, health) = tonic_health::server::health_reporter();
                let accept = async {
                    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                    loop {
                        let (stream, _) = listener.accept().await.unwrap();
                        let service = TowerToHyperService::new(health.clone());
                        tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service));
                    }
                };
                let report = async {
                    while let Some((service, serves, done)) = said.recv().await {
                        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
                        reporter.set_service_status(service, status).await;
                        done.send(()).unwrap();
                    }
                };
                tokio::select! {
                    () = accept => {}
                    () = report => {}
                }
            });
        });
        Self { address, say: Some(say), thread: Some(thread) }
    }

    /// Says of a service whether it serves.
    pub fn say(&self, service: &'static str, serves: bool) {
        let (done, is_done) = oneshot::channel();
        self.say.as_ref().unwrap().send((service, serves, done)).unwrap();
        is_done.blocking_recv().unwrap();
    }
}

impl Drop for Grpc {
    fn drop(&mut self) {
        drop(self.say.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
