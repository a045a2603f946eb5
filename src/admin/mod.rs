//! What operators ask for: metrics, health, and how the services stand.

mod status;

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode};
use pingora_core::apps::http_app::ServeHttp;
use pingora_core::protocols::http::ServerSession;
use tokio::sync::watch;

use self::status::Status;
use crate::observe::Metrics;
use crate::snapshot::Live;

/// The little server on the admin address.
///
/// | path | answer |
/// |---|---|
/// | `/metrics` | everything that is counted, in the Prometheus text format |
/// | `/status` | each service with its targets, and how they stand, in JSON |
/// | `/healthz` | 200 as long as the process runs |
/// | `/readyz` | 200 while it takes requests, 503 once it was told to end |
#[derive(Debug)]
pub struct Admin {
    /// Everything that is counted.
    pub metrics: Arc<Metrics>,
    /// What runs now.
    pub live: Arc<Live>,
    /// True once the process was told to end.
    pub ending: watch::Receiver<bool>,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut kind = "text/plain; version=0.0.4; charset=utf-8";
        let (status, body) = match session.req_header().uri.path() {
            "/metrics" => match self.metrics.render() {
                Ok(text) => (StatusCode::OK, text),
                Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
            "/status" => {
                kind = "application/json";
                let snapshot = self.live.load();
                match serde_json::to_string_pretty(&Status::of(&snapshot, self.metrics.process.config_generation.get())) {
                    Ok(text) => (StatusCode::OK, text + "\n"),
                    Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
                }
            }
            "/healthz" => (StatusCode::OK, "alive\n".to_owned()),
            "/readyz" if *self.ending.borrow() => (StatusCode::SERVICE_UNAVAILABLE, "ending\n".to_owned()),
            "/readyz" => (StatusCode::OK, "ready\n".to_owned()),
            _ => (StatusCode::NOT_FOUND, "there are /metrics, /status, /healthz and /readyz\n".to_owned()),
        };
        let mut response = Response::new(body.into_bytes());
        *response.status_mut() = status;
        let length = http::HeaderValue::from(response.body().len());
        response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length);
        response
    }
}
