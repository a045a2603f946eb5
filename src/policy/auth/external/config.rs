//! The settings of `external`: their docs are the user's reference.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::auth::jwt::Unknown;
use crate::types::{Duration, Size};

/// The settings of `external`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The service of `services` that is asked. Its targets, balance, retries, breaker and TLS are those of its own; its policies do not run.
    pub service: String,
    /// The path that it is asked at, and a query where there is one. Default: `/`.
    #[serde(default = "path")]
    pub path: String,
    /// The method that it is asked with. Default: `GET`.
    #[serde(default = "method")]
    pub method: String,
    /// Headers of the request that go along, as they came. Default: `Authorization` and `Cookie`.
    #[serde(default = "headers")]
    pub headers: Vec<String>,
    /// Headers of its answer that the request goes on with, such as `X-User`. What the client has sent under these names is always taken out before.
    #[serde(default)]
    pub copy: Vec<String>,
    /// Headers of a refusal (401 or 403) that the client gets, besides `Content-Type`. Default: `WWW-Authenticate`.
    #[serde(default = "refusal_headers")]
    pub refusal_headers: Vec<String>,
    /// Bytes of a refusal's body that are passed on; one that is longer is replaced. Default: `16KiB`.
    #[serde(default = "refusal_size")]
    pub refusal_size: Size,
    /// The header of its answer that names the consumer, in the place of one that a policy above has found. Default: it names none.
    pub consumer: Option<String>,
    /// What happens to a request that it lets through without naming a known consumer. Default: `refuse`, with 403.
    #[serde(default)]
    pub unknown_consumer: Unknown,
    /// How long it may take. Default: `1s`.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// How many requests wait for it at once; for others it counts as failed. Default: 1000.
    #[serde(default = "waiting")]
    #[schemars(range(min = 1))]
    pub waiting: usize,
    /// What becomes of a request where it does not answer, or says neither yes (2xx) nor no (401, 403): `deny`, with 503, or `allow`, as if nobody had asked.
    /// Default: deny.
    #[serde(default)]
    pub on_error: OnError,
    /// Whether what it says is kept for a while. Default: it is asked for each request.
    pub cache: Option<CacheConfig>,
}

/// How its answers are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheConfig {
    /// For how long: so long may a request still get through that it would refuse by now. Refusals are kept as long, failures never.
    pub time: Duration,
    /// The headers that its answer depends on. Default: all that it is told, so that the same answer is for the same method, host, address and headers from the
    /// same client. With a list it is for all requests with these headers: list all that it looks at.
    #[serde(default)]
    pub by: Option<Vec<String>>,
    /// Bytes of answers that are kept: of those that let through so many, of refusals an eighth. Default: `4MiB`.
    #[serde(default = "cache_size")]
    pub size: Size,
}

/// What becomes of a request when nobody can say whether it may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It is refused, with 503.
    #[default]
    Deny,
    /// It goes on, as if nobody had asked.
    Allow,
}

fn path() -> String {
    "/".to_owned()
}

fn method() -> String {
    "GET".to_owned()
}

fn headers() -> Vec<String> {
    vec!["Authorization".to_owned(), "Cookie".to_owned()]
}

fn refusal_headers() -> Vec<String> {
    vec!["WWW-Authenticate".to_owned()]
}

fn refusal_size() -> Size {
    Size::kib(16)
}

fn timeout() -> Duration {
    Duration::secs(1)
}

fn waiting() -> usize {
    1000
}

fn cache_size() -> Size {
    Size::kib(4096)
}
