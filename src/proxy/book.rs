use std::sync::Arc;

use crate::observe::{AccessLog, Line, Shard};
use crate::types::GrpcStatus;

/// Where one worker writes down what became of its requests.
pub(super) struct Book {
    pub worker: usize,
    pub shard: Arc<Shard>,
    pub log: Arc<AccessLog>,
}

impl Book {
    /// One request, at its end.
    pub fn record(&self, line: &Line<'_>) {
        let shard = &self.shard;
        let mut status = itoa::Buffer::new();
        shard.requests.with_label_values(&[line.route, status.format(line.status)]).inc();
        // How long a WebSocket was open says nothing of how fast anybody is.
        if line.websocket.is_none() {
            shard.duration.with_label_values(&[line.route]).observe(line.duration_ms / 1e3);
            if let (Some(service), Some(upstream)) = (line.service, line.upstream_ms) {
                shard.upstream_duration.with_label_values(&[service]).observe(upstream / 1e3);
            }
        }
        if let Some(consumer) = line.consumer {
            shard.consumers.count(consumer, line.status);
        }
        if let Some(problem) = line.problem {
            shard.problems.with_label_values(&[problem, line.policy.unwrap_or("")]).inc();
        }
        if line.received > 0 {
            shard.received.with_label_values(&[line.route]).inc_by(line.received as u64);
        }
        shard.sent.with_label_values(&[line.route]).inc_by(line.sent as u64);
        if let Some(code) = line.grpc_status {
            let label = GrpcStatus::ALL.get(usize::from(code)).map_or("", |status| status.label());
            shard.grpc_calls.with_label_values(&[line.route, label]).inc();
        }
        if self.log.is_on() {
            self.log.write(self.worker, line);
        }
    }
}
