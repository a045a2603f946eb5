use std::collections::BTreeMap;
use std::time;

use http::{HeaderValue, header};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::building::BuildError;
use crate::types::{Duration, Reply, ReplyConfig};

/// `mock:` — a service that answers by itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MockConfig {
    /// The HTTP status, 200 to 599. Default: 200.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Headers of the answer.
    pub headers: BTreeMap<String, String>,
    /// A body of `application/json`.
    pub json: Option<Value>,
    /// A body of `text/plain`.
    pub text: Option<String>,
    /// The body is the request that reached the service: method, path, query, headers, body. Default: false.
    pub echo: bool,
    /// How long the service takes. Default: 0s.
    pub delay: Option<Duration>,
}

/// A mock, ready to answer.
#[derive(Debug)]
pub struct Mock {
    reply: Reply,
    echo: bool,
    delay: time::Duration,
}

impl Mock {
    /// Prepares the answer.
    ///
    /// # Errors
    /// A status or header that cannot be sent, or two bodies.
    pub fn build(config: &MockConfig) -> Result<Self, BuildError> {
        if config.echo && (config.json.is_some() || config.text.is_some()) {
            return Err(BuildError::new("an echo has no other body", "remove `json` and `text`, or `echo`").at("echo"));
        }
        let reply =
            ReplyConfig { status: config.status, headers: config.headers.clone(), json: config.json.clone(), text: config.text.clone() };
        let reply = reply.build()?;
        if config.echo && Reply::has_no_body(reply.status) {
            return Err(BuildError::new("an answer with this status has no body to echo in", "use 200, or remove `echo`").at("status"));
        }
        Ok(Self { reply, echo: config.echo, delay: config.delay.map(Into::into).unwrap_or_default() })
    }

    /// Whether the answer shows the request's body.
    pub fn wants_body(&self) -> bool {
        self.echo
    }

    /// Replys the request as it reached the service.
    pub async fn answer(&self, req: &RequestHeader, body: &[u8]) -> Reply {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let mut answer = self.reply.clone();
        if self.echo {
            answer.headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
            answer.body = seen(req, body).to_string().into();
        }
        answer
    }
}

fn seen(req: &RequestHeader, body: &[u8]) -> Value {
    let mut headers = Map::new();
    for (name, value) in &req.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.entry(name.as_str()) {
            serde_json::map::Entry::Vacant(entry) => {
                entry.insert(value.into());
            }
            serde_json::map::Entry::Occupied(mut entry) => {
                let joined = format!("{}, {value}", entry.get().as_str().unwrap_or_default());
                entry.insert(joined.into());
            }
        }
    }
    json!({
        "method": req.method.as_str(),
        "path": req.uri.path(),
        "query": req.uri.query(),
        "headers": headers,
        "body": String::from_utf8_lossy(body),
    })
}
