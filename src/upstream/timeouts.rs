use std::time;

use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::building::{BuildError, Errors, Step};
use crate::types::{Duration, FRAMING};

/// How long a target may take.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsConfig {
    /// For a connection to be made, TLS included. Default: 1s.
    pub connect: Duration,
    /// Between one piece of the request's body or of the answer and the next, and from the end of the request to the answer. The
    /// answer of a target over HTTP/2 must begin so long after the header of the request, however long its body takes. Default: 30s.
    pub response: Duration,
    /// In the place of `response` for calls of gRPC, whose streams may be quiet for long: how long a target may say nothing, or take nothing of what is
    /// sent to it. Their deadline (`grpc-timeout`) and `total` hold besides. A call that was given up counts as a `timeout` of the target only where
    /// it had `response` at least. Default: 5m.
    pub stream: Duration,
    /// For the whole request, from its arrival to the end of the answer; over HTTP/2 it is looked at with each piece of the answer only.
    /// Default: none.
    pub total: Option<Duration>,
    /// For a connection to be kept while idle. Default: 60s.
    pub idle: Duration,
}

impl Default for TimeoutsConfig {
    fn default() -> Self {
        Self {
            connect: Duration::secs(1),
            response: Duration::secs(30),
            stream: Duration::secs(300),
            total: None,
            idle: Duration::secs(60),
        }
    }
}

/// How long a target may take, ready to use.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// For a connection to be made.
    pub connect: time::Duration,
    /// Between two signs of life.
    pub response: time::Duration,
    /// The same of a gRPC call.
    pub stream: time::Duration,
    /// For the whole request.
    pub total: Option<time::Duration>,
    /// For a kept connection without use.
    pub idle: time::Duration,
}

impl Timeouts {
    /// What is set, ready to use; what is zero is told.
    pub fn build(config: &TimeoutsConfig, errors: &mut Errors, root: &[Step]) -> Self {
        for (name, value) in [
            ("connect", Some(config.connect)),
            ("response", Some(config.response)),
            ("stream", Some(config.stream)),
            ("total", config.total),
            ("idle", Some(config.idle)),
        ] {
            let checked = value.map_or(Ok(()), Duration::not_zero).map_err(|error| error.at(name).at("timeouts"));
            errors.keep(root, checked);
        }
        Self {
            connect: config.connect.into(),
            response: config.response.into(),
            stream: config.stream.into(),
            total: config.total.map(Into::into),
            idle: config.idle.into(),
        }
    }
}

/// The header that tells a target how long a request has left.
///
/// # Errors
/// None is, or one that says something else.
pub(super) fn deadline_header(name: &str) -> Result<HeaderName, BuildError> {
    const TAKEN: [HeaderName; 10] = [
        header::HOST,
        header::ACCEPT,
        header::AUTHORIZATION,
        header::PROXY_AUTHORIZATION,
        header::COOKIE,
        header::SET_COOKIE,
        header::CONTENT_TYPE,
        header::FORWARDED,
        header::VIA,
        header::EXPECT,
    ];
    let taken = |name: &HeaderName| TAKEN.contains(name) || FRAMING.contains(name);
    let parsed = HeaderName::try_from(name).ok().filter(|name| !taken(name) && !name.as_str().starts_with("x-forwarded-"));
    let wrong = || BuildError::new(format!("`{name}` is not a header that could tell it"), "write one like `X-Request-Timeout-Ms`");
    parsed.ok_or_else(wrong)
}
