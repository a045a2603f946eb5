//! What happened: the access log and the metrics.

mod access;
mod metrics;

pub use access::{AccessLog, AccessLogConfig, Closing, Line, PartTold, Sink};
pub use metrics::{JwksMetrics, Kept, Metrics, ProcessMetrics, Shard, StoreMetrics, TokenMetrics};
