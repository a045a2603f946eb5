//! Lets requests through that do not say who calls: as a consumer of their own, or as nobody's.
//!
//! ```yaml
//! consumers: [{ name: guest }]
//! policies:
//!   - any_of:
//!       - jwt: { issuer: "https://id.example.com", audience: api }
//!       - anonymous: { consumer: guest }   # without a token; one that is not good is refused
//! ```
//!
//! In the list of `any_of` it is for requests that carry none of what the others go by. By itself it names those whom no policy above it has named.

use std::sync::Arc;

use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::consumer::Consumer;
use crate::ctx::Ctx;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::Problem;

/// The settings of `anonymous`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The consumer that they are, with its groups and limits. Default: none.
    pub consumer: Option<String>,
}

/// `anonymous`, ready to run.
#[derive(Debug)]
pub struct Anonymous {
    consumer: Option<Arc<Consumer>>,
}

impl Policy for Anonymous {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let Some(name) = &config.consumer else { return Ok(Self { consumer: None }) };
        let unknown =
            || BuildError::new(format!("there is no consumer `{name}`"), format!("add `- name: {name}` to `consumers`")).at("consumer");
        Ok(Self { consumer: Some(cx.consumers.named(name).cloned().ok_or_else(unknown)?) })
    }

    async fn request(&self, _req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        if cx.consumer.is_none() {
            cx.identify(self.consumer.clone(), None);
        }
        Ok(Flow::Next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    const CONSUMERS: &str = r#"[{"name":"guest"},{"name":"app"}]"#;

    #[tokio::test]
    async fn who_is_nobody_is_a_guest_and_who_is_somebody_stays_so() {
        for (config, before, after) in [
            (r#"{"consumer":"guest"}"#, None, Some("guest")),
            (r#"{"consumer":"guest"}"#, Some("app"), Some("app")),
            ("{}", None, None),
            ("{}", Some("app"), Some("app")),
        ] {
            let mut kit = Kit::<Anonymous>::with_consumers(config, CONSUMERS);
            let known =
                |name: &str| build::<Anonymous>(&format!(r#"{{"consumer":"{name}"}}"#), CONSUMERS, &Shared::default()).unwrap().consumer;
            kit.cx.consumer = before.and_then(known);
            kit.request().await.unwrap();
            assert_eq!(kit.cx.consumer.as_ref().map(|consumer| consumer.name.as_str()), after);
        }
    }

    #[test]
    fn a_guest_must_be_known() {
        let error = build::<Anonymous>(r#"{"consumer":"gest"}"#, CONSUMERS, &Shared::default()).unwrap_err();
        assert_eq!(error.to_string(), "consumer: there is no consumer `gest` (add `- name: gest` to `consumers`)");
    }
}
