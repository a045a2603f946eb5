//! Takes several requests in one, and gives their answers in one: each goes the whole way through the gateway.
//!
//! ```yaml
//! routes:
//!   - name: batch
//!     match: { path: /batch, methods: [POST] }
//!     batch: { requests: 20, parallel: 8, timeout: 10s }
//! ```

// Each uses only those above it.
mod config;
mod media;
mod cookies;
mod read;
mod request;
mod write;
mod course;
mod run;

pub use config::BatchConfig;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use crate::building::{BuildError, Errors};
use crate::state::Offload;

/// `batch`, ready to answer.
#[derive(Debug)]
pub struct Batch {
    route: Arc<str>,
    /// Requests in one.
    requests: usize,
    /// How many of them are under way at once.
    parallel: usize,
    /// Bytes of the whole at most.
    size: usize,
    /// Bytes of the body of one answer at most.
    answer: usize,
    /// Bytes of all answers at most.
    answers: usize,
    /// How long all of it may take.
    pub timeout: Duration,
    /// The headers that its requests may have of their own, where not any.
    headers: Option<Box<[HeaderName]>>,
    offload: Arc<Offload>,
}

/// Requests in one batch, whatever a config says: all of them are held.
const MOST: u16 = 1000;

impl Batch {
    /// Checks and prepares it. What is large is read and written by `offload`.
    ///
    /// # Errors
    /// Every mistake, relative to `batch`.
    pub fn build(config: &BatchConfig, route: &str, offload: &Arc<Offload>) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        for (key, count) in [("requests", config.requests), ("parallel", config.parallel)] {
            if count == 0 || count > MOST {
                let error = BuildError::new(format!("{count} is no number of requests"), format!("write 1 to {MOST}"));
                errors.keep::<()>(&[key.into()], Err(error));
            }
        }
        for (key, size) in [("size", config.size), ("answer", config.answer), ("answers", config.answers)] {
            if size.0 == 0 {
                errors.keep::<()>(&[key.into()], Err(BuildError::new("nothing is as short as that", "write a size like `1MiB`")));
            }
        }
        if config.answer.0 > config.answers.0 {
            let error = BuildError::new("one answer may be longer than all together", "write a shorter one, or a longer `batch.answers`");
            errors.keep::<()>(&["answer".into()], Err(error));
        }
        errors.keep(&["timeout".into()], config.timeout.not_zero());
        let mut headers = Vec::new();
        for (place, name) in config.headers.iter().flatten().enumerate() {
            let known = request::allowed(name);
            headers.extend(errors.keep(&["headers".into(), place.into()], known));
        }
        errors.finish(Self {
            route: route.into(),
            requests: config.requests.into(),
            parallel: config.parallel.into(),
            size: config.size.bytes(),
            answer: config.answer.bytes(),
            answers: config.answers.bytes(),
            timeout: config.timeout.into(),
            headers: config.headers.is_some().then(|| headers.into()),
            offload: offload.clone(),
        })
    }
}
