//! Gives every request an id that is told to the client and to the service, and stands in the log and in every problem.
//!
//! ```yaml
//! policies:
//!   - request_id                        # the defaults
//!   - request_id: { header: X-Correlation-Id, accept: true }
//! ```

use http::{HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::Problem;

/// The settings of `request_id`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The header that carries the id, to the service and to the client. Default: `X-Request-Id`.
    pub header: String,
    /// Whether an id that the client sends is kept: 1 to 128 visible ASCII characters, else a new one is made. Default: false.
    pub accept: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { header: "X-Request-Id".to_owned(), accept: false }
    }
}

/// `request_id`, ready to run.
#[derive(Debug)]
pub struct RequestId {
    header: HeaderName,
    accept: bool,
}

impl Policy for RequestId {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST).and(Phases::RESPONSE);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let header = super::editable(&config.header).map_err(|error| error.at("header"))?;
        cx.told.expose(header.clone());
        cx.told.id(header.clone());
        Ok(Self { header, accept: config.accept })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        if self.accept
            && let Some(id) = req.headers.get(&self.header).filter(|id| acceptable(id))
        {
            cx.request_id = id.clone();
        }
        Ok(Flow::Next)
    }

    fn upstream_request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<(), Problem> {
        super::set(req, &self.header, cx.request_id.clone());
        Ok(())
    }

    fn response(&self, res: &mut ResponseHeader, _req: &RequestHeader, cx: &mut Ctx) {
        super::set_response(res, &self.header, cx.request_id.clone());
    }
}

fn acceptable(id: &HeaderValue) -> bool {
    (1..=128).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::Kit;

    #[tokio::test]
    async fn the_service_and_the_client_are_told_the_id() {
        let mut kit = Kit::<RequestId>::of("{}");
        kit.request().await.unwrap();
        assert_eq!(kit.upstream_request().unwrap().headers["x-request-id"], "test-id");
        assert_eq!(kit.response(200).headers["x-request-id"], "test-id");
    }

    #[test]
    fn a_header_of_the_connection_carries_no_id() {
        for name in ["Content-Length", "Transfer-Encoding", "Host"] {
            let config = format!(r#"{{"header":"{name}"}}"#);
            let error = crate::policy::kit::build::<RequestId>(&config, "[]", &Default::default()).unwrap_err();
            assert_eq!(error.path.to_string(), "header", "{name}");
        }
    }

    #[tokio::test]
    async fn a_clients_id_is_kept_only_where_it_is_accepted_and_fit() {
        for (config, sent, kept) in
            [("{}", "abc", "test-id"), (r#"{"accept":true}"#, "abc", "abc"), (r#"{"accept":true}"#, "a b", "test-id")]
        {
            let mut kit = Kit::<RequestId>::of(config).header("X-Request-Id", sent);
            kit.request().await.unwrap();
            assert_eq!(kit.upstream_request().unwrap().headers["x-request-id"], kept);
        }
    }
}
