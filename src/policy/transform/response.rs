//! Changes the headers of an answer on its way to the client.
//!
//! ```yaml
//! policies:
//!   - response:
//!       headers:
//!         remove: [Server, X-Powered-By]
//!         rename: { X-Took: X-Upstream-Took }
//!         set: { X-Content-Type-Options: nosniff, X-Request: "{request.id}" }
//!         add: { Link: "</docs>; rel=\"help\"" }
//! ```
//!
//! This happens on every answer, also on those that policies below and the gateway itself make. Answers come up the list, so the changes see what the
//! policies below wrote, and not what those above will write. `{header.NAME}` and `{query.NAME}` are those of the request, never of the answer. Headers
//! that scripts shall read need `expose` in `cors`.

use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::headers::{Edits, HeaderEdits};
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Phases, Policy, PolicyCx};

/// The settings of `response`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Changes to the headers that the client gets, in the order `remove`, `rename`, `set`, `add`.
    pub headers: HeaderEdits,
}

/// `response`, ready to run.
#[derive(Debug)]
pub struct Response {
    headers: Edits,
}

impl Policy for Response {
    type Config = Config;

    const PHASES: Phases = Phases::RESPONSE;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        Ok(Self { headers: Edits::build(&config.headers, cx.params).map_err(|error| error.at("headers"))? })
    }

    fn response(&self, res: &mut ResponseHeader, req: &RequestHeader, cx: &mut Ctx) {
        self.headers.apply(res, self.headers.values(req, cx));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    #[test]
    fn the_client_gets_the_edited_header() {
        let config = r#"{"headers":{"remove":["Server"],"rename":{"X-Took":"X-Upstream-Took"},"set":{"X-Id":"{id} {header.X-Tenant}"}}}"#;
        let mut kit = Kit::<Response>::of(config).header("X-Tenant", "acme");
        let mut res = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [("Server", "nginx"), ("X-Took", "5ms"), ("X-Id", "its own")] {
            res.append_header(name, value).unwrap();
        }
        kit.policy.response(&mut res, &kit.req, &mut kit.cx);
        assert_eq!((&res.headers["x-upstream-took"], &res.headers["x-id"]), (&"5ms".parse().unwrap(), &"42 acme".parse().unwrap()));
        assert_eq!(res.headers.len(), 2);
    }

    #[test]
    fn the_gateways_own_refusals_are_edited_too() {
        assert_eq!(
            Kit::<Response>::of(r#"{"headers":{"set":{"X-Frame-Options":"DENY"}}}"#).response(401).headers["x-frame-options"],
            "DENY"
        );
    }

    #[test]
    fn framing_is_not_to_be_edited() {
        let error = build::<Response>(r#"{"headers":{"remove":["Content-Length"]}}"#, "[]", &Shared::default()).unwrap_err();
        assert_eq!(error.path.to_string(), "headers.remove[0]");
    }
}
