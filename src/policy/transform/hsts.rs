//! Tells browsers to come over TLS only (HSTS, RFC 6797).
//!
//! ```yaml
//! policies:
//!   - hsts                                                   # for a year
//!   - hsts: { max_age: 365d, include_subdomains: true, preload: true }
//! ```
//!
//! Only answers over TLS say so, be it spoken here or by a trusted proxy: over plain HTTP anyone on the way could (RFC 6797 §7.2).

use http::{HeaderValue, header};
use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Phases, Policy, PolicyCx};
use crate::types::Duration;

/// The settings of `hsts`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How long a browser keeps to it, in whole seconds; `0s` makes it forget. Default: 365d.
    pub max_age: Duration,
    /// Whether the same holds for all hosts below this one. Default: false.
    pub include_subdomains: bool,
    /// Whether the host may be put on the list that browsers come with (hstspreload.org): hard to undo. Needs `include_subdomains` and a `max_age` of
    /// 365d. Default: false.
    pub preload: bool,
}

/// What the list asks for at least.
const YEAR: Duration = Duration::secs(365 * 24 * 3600);

impl Default for Config {
    fn default() -> Self {
        Self { max_age: YEAR, include_subdomains: false, preload: false }
    }
}

/// `hsts`, ready to run.
#[derive(Debug)]
pub struct Hsts(HeaderValue);

impl Policy for Hsts {
    type Config = Config;

    const PHASES: Phases = Phases::RESPONSE;

    fn build(config: &Config, _cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        if config.preload && !(config.include_subdomains && config.max_age >= YEAR) {
            let reason = "the list of browsers takes only hosts with `include_subdomains` and a `max_age` of 365d";
            return Err(BuildError::new(reason, "set both, or take `preload` out").at("preload"));
        }
        let mut text = format!("max-age={}", config.max_age.0.as_secs());
        for (is, word) in [(config.include_subdomains, "; includeSubDomains"), (config.preload, "; preload")] {
            text.push_str(if is { word } else { "" });
        }
        HeaderValue::try_from(text).map(Self).map_err(|error| BuildError::new(error.to_string(), "write another `max_age`"))
    }

    fn response(&self, res: &mut ResponseHeader, _req: &RequestHeader, cx: &mut Ctx) {
        if cx.scheme == "https" {
            super::set_response(res, header::STRICT_TRANSPORT_SECURITY, self.0.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    #[test]
    fn it_is_said_over_tls_alone() {
        for (config, said) in [
            ("{}", "max-age=31536000"),
            (r#"{"max_age":"1h","include_subdomains":true}"#, "max-age=3600; includeSubDomains"),
            (r#"{"include_subdomains":true,"preload":true}"#, "max-age=31536000; includeSubDomains; preload"),
            (r#"{"max_age":"0s"}"#, "max-age=0"),
        ] {
            let mut kit = Kit::<Hsts>::of(config);
            assert!(!kit.response(200).headers.contains_key("strict-transport-security"));
            kit.cx.scheme = "https";
            assert_eq!(kit.response(401).headers["strict-transport-security"], said);
        }
    }

    #[test]
    fn what_the_list_of_browsers_would_not_take_is_refused() {
        for config in [r#"{"preload":true}"#, r#"{"preload":true,"include_subdomains":true,"max_age":"364d"}"#] {
            assert_eq!(build::<Hsts>(config, "[]", &Shared::default()).unwrap_err().path.to_string(), "preload");
        }
    }
}
