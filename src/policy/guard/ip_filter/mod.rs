//! Lets requests through, or not, by the network that they come from.
//!
//! ```yaml
//! policies:
//!   - ip_filter: { allow: [10.0.0.0/8, "2001:db8::/32", 192.0.2.7], deny: [10.9.0.0/16] }
//!   - ip_filter: { deny_files: [lists/blocked.txt] }
//! ```
//!
//! What counts is the client's address as the gateway knows it: that of the connection, or the one that `server.trusted_proxies` tell of. IPv4 in IPv6
//! (`::ffff:192.0.2.7`) is IPv4, here and in the lists. Who is refused gets 403.

mod networks;

use std::net::IpAddr;

use ipnet::IpNet;
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};

use networks::Networks;

/// The settings of `ip_filter`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Networks, or addresses, that may call: nobody else may. Default: everyone may.
    pub allow: Option<Vec<String>>,
    /// Files of more that may call: a network or an address on each line, comments behind `#` or `;`. They are read with the config, and again when they
    /// change.
    pub allow_files: Option<Vec<String>>,
    /// Networks, or addresses, that may not call, though they are allowed.
    pub deny: Vec<String>,
    /// Files of more that may not call.
    pub deny_files: Vec<String>,
}

/// `ip_filter`, ready to run.
#[derive(Debug)]
pub struct IpFilter {
    /// None where everyone may call.
    allow: Option<Networks>,
    deny: Networks,
}

impl Policy for IpFilter {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let limits = config.allow.is_some() || config.allow_files.is_some();
        if !limits && config.deny.is_empty() && config.deny_files.is_empty() {
            return Err(BuildError::new("this filter lets everyone through", "list networks in `allow` or `deny`, like `10.0.0.0/8`"));
        }
        let allowed = listed("allow", config.allow.as_deref().unwrap_or_default(), cx);
        let denied = listed("deny", &config.deny, cx);
        let first = Networks::new(&denied.iter().map(|(_, net)| *net).collect::<Vec<_>>());
        for (place, net) in allowed.iter().filter(|(_, net)| first.cover(net)) {
            let fix = "take it out of one of the two: `deny` has the last word";
            cx.mistakes.push(BuildError::new(format!("`{net}` is denied, all of it"), fix).at(*place).at("allow"));
        }
        let allowed = together(allowed, "allow_files", config.allow_files.as_deref().unwrap_or_default(), cx);
        let denied = together(denied, "deny_files", &config.deny_files, cx);
        if limits && allowed.is_empty() && cx.mistakes.0.is_empty() {
            let key = if config.allow_files.is_some() { "allow_files" } else { "allow" };
            return Err(BuildError::new("nobody is allowed", "list who may call, or remove this to allow everyone").at(key));
        }
        Ok(Self { allow: limits.then_some(allowed), deny: denied })
    }

    fn files(config: &Config) -> Vec<&str> {
        config.allow_files.iter().flatten().chain(&config.deny_files).map(String::as_str).collect()
    }

    async fn request(&self, _req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        match self.refusal(cx.client) {
            None => Ok(Flow::Next),
            Some(why) => Err(Problem::new(Kind::Forbidden, "requests from this address are not taken").cause(why)),
        }
    }
}

impl IpFilter {
    /// Why an address may not call.
    fn refusal(&self, client: IpAddr) -> Option<&'static str> {
        if self.deny.contain(client) {
            return Some("the address is denied");
        }
        self.allow.as_ref().is_some_and(|allow| !allow.contain(client)).then_some("the address is not among those allowed")
    }
}

/// The networks of a list, each with its place there.
fn listed(key: &str, list: &[String], cx: &mut PolicyCx<'_>) -> Vec<(usize, IpNet)> {
    let parsed = list.iter().enumerate().filter_map(|(place, text)| {
        let net = cx.mistakes.keep(&[key.into(), place.into()], networks::parse(text))?;
        Some((place, net))
    });
    parsed.collect()
}

/// Those of a list and of files.
fn together(listed: Vec<(usize, IpNet)>, key: &str, files: &[String], cx: &mut PolicyCx<'_>) -> Networks {
    let mut all: Vec<IpNet> = listed.into_iter().map(|(_, net)| net).collect();
    for (place, name) in files.iter().enumerate() {
        let (found, wrong) = networks::read(cx.folder, name);
        all.extend(found);
        cx.mistakes.0.extend(wrong.into_iter().map(|error| error.at(place).at(key)));
    }
    Networks::new(&all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, mistakes};

    async fn passes(config: &str, client: &str) -> bool {
        let mut kit = Kit::<IpFilter>::of(config);
        kit.cx.client = client.parse().unwrap();
        match kit.request().await {
            Ok(Flow::Next) => true,
            Err(problem) => {
                assert_eq!((problem.kind, &*problem.detail), (Kind::Forbidden, "requests from this address are not taken"));
                assert!(problem.cause.is_some());
                false
            }
            Ok(other) => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_is_denied_is_refused_and_everyone_else_passes() {
        let config = r#"{"deny":["10.9.0.0/16","2001:db8::/32"]}"#;
        for client in ["10.9.1.2", "::ffff:10.9.1.2", "2001:db8::1"] {
            assert!(!passes(config, client).await, "{client}");
        }
        for client in ["10.8.255.255", "192.0.2.1", "2001:db9::1"] {
            assert!(passes(config, client).await, "{client}");
        }
    }

    #[tokio::test]
    async fn who_is_not_allowed_is_refused_and_a_denial_has_the_last_word() {
        let config = r#"{"allow":["10.0.0.0/8","192.0.2.1"],"deny":["10.9.0.0/16"]}"#;
        for client in ["10.0.0.1", "192.0.2.1", "::ffff:10.0.0.1"] {
            assert!(passes(config, client).await, "{client}");
        }
        for client in ["10.9.0.1", "192.0.2.2", "2001:db8::1", "::10.0.0.1"] {
            assert!(!passes(config, client).await, "{client}");
        }
    }

    fn file(name: &str, text: &str) -> String {
        let path = std::env::temp_dir().join(format!("tidegate-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn files_are_read_with_their_comments() {
        let blocked = file("blocked", "# of the week\r\n\n10.9.0.0/16 ; SBL1\n  2001:db8::/32#all\n192.0.2.7\n");
        let config = serde_json::json!({"allow": ["0.0.0.0/0", "::/0"], "deny_files": [blocked]}).to_string();
        for (client, expected) in [("10.9.1.1", false), ("2001:db8::1", false), ("192.0.2.7", false), ("192.0.2.8", true)] {
            assert_eq!(passes(&config, client).await, expected, "{client}");
        }
        std::fs::remove_file(blocked).unwrap();
    }

    #[test]
    fn every_line_of_a_file_that_is_wrong_is_told() {
        let bad = file("bad", &format!("10.0.0.0/8\nnonsense # why\n10.0.0.1/8\n{}", "x\n".repeat(12)));
        let told = mistakes::<IpFilter>(&serde_json::json!({"deny": ["a"], "deny_files": [bad, "no/such"]}).to_string());
        assert_eq!(told.len(), 13, "{told:?}");
        assert!(told[0].starts_with("deny[0]: `a` is no network"), "{told:?}");
        assert!(told[1].starts_with(&format!("deny_files[0]: {bad}:2: `nonsense` is no network (write an address and")), "{told:?}");
        assert!(told[2].starts_with(&format!("deny_files[0]: {bad}:3: `10.0.0.1/8` names an address")), "{told:?}");
        assert!(told[11].starts_with(&format!("deny_files[0]: {bad}: 4 more lines are no networks")), "{told:?}");
        assert!(told[12].starts_with("deny_files[1]: cannot read"), "{told:?}");
        std::fs::remove_file(bad).unwrap();
    }

    #[test]
    fn a_filter_that_cannot_be_meant_is_refused() {
        let empty = file("empty", "# nothing\n");
        let with = |key: &str| serde_json::json!({key: [empty]}).to_string();
        for (config, wanted) in [
            ("{}", ": this filter lets everyone through"),
            (r#"{"deny":[]}"#, ": this filter lets everyone through"),
            (r#"{"allow":[]}"#, "allow: nobody is allowed"),
            (r#"{"allow":[],"deny":["10.0.0.0/8"]}"#, "allow: nobody is allowed"),
            (&with("allow_files"), "allow_files: nobody is allowed"),
            (r#"{"allow":["192.0.2.1","10.9.1.0/24"],"deny":["10.9.0.0/16"]}"#, "allow[1]: `10.9.1.0/24` is denied, all of it"),
        ] {
            let told = mistakes::<IpFilter>(config);
            assert!(told.len() == 1 && told[0].starts_with(wanted), "{config}: {told:?}");
        }
        // A list of who is blocked may well be empty one day.
        assert_eq!(mistakes::<IpFilter>(&with("deny_files")), [""; 0]);
        std::fs::remove_file(empty).unwrap();
    }
}
