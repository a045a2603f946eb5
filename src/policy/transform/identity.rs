//! What services are told of who calls, on every route.

use std::collections::BTreeMap;

use http::{HeaderName, header};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::Deserialize;

use super::headers::{Edits, HeaderEdits};
use crate::building::BuildError;
use crate::ctx::Ctx;

/// `identity:` — what services are told of who calls, whichever policy has found it out:
/// `identity: { headers: { X-Consumer-Name: "{consumer.name}", X-Consumer-Groups: "{consumer.groups}" } }`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// Headers with templates. Each request to a service has those whose value is known. What clients send under these names is taken out before anything
    /// looks at the request: on every route, and of requests that nobody has identified too. So is what differs only in having `_` for `-`, since many
    /// services cannot tell the two apart.
    pub headers: BTreeMap<String, String>,
}

/// [`IdentityConfig`], ready to run.
#[derive(Debug)]
pub struct Identity {
    edits: Edits,
    /// In lower case, with `-` for `_`.
    names: Box<[String]>,
}

impl Identity {
    /// Parses names and templates.
    ///
    /// # Errors
    /// What cannot be such a header, at a path relative to the settings.
    pub fn build(config: &IdentityConfig) -> Result<Self, BuildError> {
        for name in config.headers.keys() {
            let lower = plain(name);
            const OTHERS: [HeaderName; 5] = [header::AUTHORIZATION, header::COOKIE, header::FORWARDED, header::VIA, header::EXPECT];
            if OTHERS.iter().any(|other| *other == *lower) || lower.starts_with("x-forwarded-") {
                let reason = format!("`{name}` says something else, which would be lost with what clients send under this name");
                return Err(BuildError::new(reason, "choose another name, like `X-Consumer-Name`").at(name.as_str()).at("headers"));
            }
        }
        let edits = HeaderEdits { set: config.headers.clone(), ..HeaderEdits::default() };
        let edits = Edits::build(&edits, &[]).map_err(|mut error| {
            if let Some(step) = error.path.0.first_mut() {
                *step = "headers".into();
            }
            error
        })?;
        Ok(Self { edits, names: config.headers.keys().map(|name| plain(name)).collect() })
    }

    /// Takes out what a client says of itself.
    pub fn strip(&self, req: &mut RequestHeader) {
        if self.names.is_empty() {
            return;
        }
        let forged = |name: &HeaderName| {
            let name = name.as_str();
            self.names.iter().any(|known| known.len() == name.len() && *known == plain(name))
        };
        let found: Vec<_> = req.headers.keys().filter(|name| forged(name)).cloned().collect();
        for name in found {
            req.remove_header(&name);
        }
    }

    /// Writes what is known.
    pub fn tell(&self, req: &mut RequestHeader, cx: &Ctx) {
        if !self.names.is_empty() {
            let values = self.edits.values(req, cx);
            self.edits.apply(req, values);
        }
    }
}

/// A name as services may read it.
fn plain(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::consumer::Consumer;
    use crate::ctx::testing;
    use crate::policy::kit::yaml;

    fn build(config: &str) -> Result<Identity, BuildError> {
        Identity::build(&yaml(config).unwrap())
    }

    #[test]
    fn services_are_told_who_calls_and_never_by_the_client() {
        let identity = build(r#"{ headers: { X-Consumer-Name: "{consumer.name}", X_Groups: "{consumer.groups}" } }"#).unwrap();
        for known in [false, true] {
            let mut req = RequestHeader::build("GET", b"/", None).unwrap();
            for name in ["X-Consumer-Name", "x_consumer_name", "X-CONSUMER_NAME", "X-Groups", "x_groups", "X-Consumer", "X-Consumer-Names"]
            {
                req.append_header(name, "forged").unwrap();
                req.append_header(name, "twice").unwrap();
            }
            let mut cx = testing::ctx("/", &[]);
            let groups = vec!["gold".to_owned(), "eu".to_owned()];
            cx.consumer = known.then(|| Arc::new(Consumer { name: "app".to_owned(), groups, ..Consumer::default() }));
            identity.strip(&mut req);
            let mut names: Vec<_> = req.headers.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, ["x-consumer", "x-consumer-names"]);
            identity.tell(&mut req, &cx);
            let told = |name: &str| req.headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!((told("x-consumer-name"), told("x_groups")), if known { (Some("app"), Some("gold,eu")) } else { (None, None) });
        }
    }

    #[test]
    fn a_header_that_says_something_else_is_refused() {
        for (name, place) in [
            ("Authorization", "headers.Authorization"),
            ("X-Forwarded-For", "headers.X-Forwarded-For"),
            ("X_Forwarded_For", "headers.X_Forwarded_For"),
            ("Host", "headers.Host"),
            ("Connection", "headers.Connection"),
            ("X Y", "headers.X Y"),
        ] {
            assert_eq!(build(&format!("{{ headers: {{ \"{name}\": a }} }}")).unwrap_err().path.to_string(), place);
        }
        assert_eq!(build("{ headers: { X-A: '{consumer.nam}' } }").unwrap_err().path.to_string(), "headers.X-A");
    }
}
