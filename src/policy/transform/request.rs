//! Changes the headers of a request on its way to the service.
//!
//! ```yaml
//! policies:
//!   - request:
//!       headers:
//!         remove: [X-Debug]
//!         rename: { X-Old: X-New }
//!         set: { X-Gateway-Version: "1.0", X-User: "{claims.sub}", X-Consumer: "{consumer.name}" }
//!         add: { X-Tag: "users-{id}" }
//! ```
//!
//! This happens on each attempt, on the header as it is about to be sent: with what policies above changed or took out, such as an API key, and with the
//! path of the chosen version. `{header.NAME}` and `{query.NAME}` read it as it stood before the first change here. A header that is to be trusted by
//! the service belongs under `set`, never under `add`: only `set` takes out what the client sent under that name.

use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::headers::{Edits, HeaderEdits};
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Phases, Policy, PolicyCx};
use crate::problem::Problem;

/// The settings of `request`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Changes to the headers that the service gets, in the order `remove`, `rename`, `set`, `add`.
    pub headers: HeaderEdits,
}

/// `request`, ready to run.
#[derive(Debug)]
pub struct Request {
    headers: Edits,
}

impl Policy for Request {
    type Config = Config;

    const PHASES: Phases = Phases::UPSTREAM_REQUEST;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        Ok(Self { headers: Edits::build(&config.headers, cx.params).map_err(|error| error.at("headers"))? })
    }

    fn upstream_request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<(), Problem> {
        let values = self.headers.values(req, cx);
        self.headers.apply(req, values);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    #[test]
    fn the_service_gets_what_the_gateway_vouches_for() {
        let config = r#"{"headers":{"set":{"X-Gateway-Version":"1.0","X-Path-Id":"{id}","X-Consumer":"{consumer.name}"}}}"#;
        let mut kit = Kit::<Request>::of(config).header("X-Consumer", "forged");
        let sent = kit.upstream_request().unwrap();
        assert_eq!((&sent.headers["x-gateway-version"], &sent.headers["x-path-id"]), (&"1.0".parse().unwrap(), &"42".parse().unwrap()));
        assert!(!sent.headers.contains_key("x-consumer"));
    }

    #[test]
    fn each_attempt_starts_from_the_same_header() {
        let mut kit = Kit::<Request>::of(r#"{"headers":{"add":{"X-Tag":"a"}}}"#);
        for _ in 0..2 {
            assert_eq!(kit.upstream_request().unwrap().headers.get_all("x-tag").iter().count(), 1);
        }
    }

    #[test]
    fn an_error_is_told_at_its_place() {
        let error = build::<Request>(r#"{"headers":{"set":{"Host":"a"}}}"#, "[]", &Shared::default()).unwrap_err();
        assert_eq!(error.path.to_string(), "headers.set.Host");
    }
}
