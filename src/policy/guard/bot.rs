//! Lets clients through, or not, by what they say they are: the `User-Agent`.
//!
//! ```yaml
//! policies:
//!   - bot: { deny: ["bot|crawler|spider", "^curl/"], allow: ["Googlebot/"], empty: deny }
//! ```
//!
//! Anyone can write anything there: this keeps out who says the truth, which well-known crawlers and most scanners do. Who is refused gets 403.

use http::{HeaderValue, header};
use pingora_http::RequestHeader;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};

/// The settings of `bot`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Regexes: who matches one of them is refused. They match anywhere, and in upper case as in lower (`(?-i)` tells them apart).
    pub deny: Vec<String>,
    /// Regexes of who may call, though `deny` matches too. Without `deny`, nobody else may who says what it is.
    pub allow: Vec<String>,
    /// What becomes of a client that says nothing. Default: `allow`.
    pub empty: Empty,
}

/// What becomes of a client that says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Empty {
    /// It goes on.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

/// Bytes of all patterns of a list, compiled.
const LARGEST: usize = 4 * 1024 * 1024;

/// `bot`, ready to run.
#[derive(Debug)]
pub struct Bot {
    /// All patterns of a list in one automaton each.
    deny: Option<Regex>,
    allow: Option<Regex>,
    empty: Empty,
}

impl Policy for Bot {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        if config.deny.is_empty() && config.allow.is_empty() && config.empty == Empty::Allow {
            return Err(BuildError::new("this lets everyone through", "list patterns in `deny` or `allow`, or write `empty: deny`"));
        }
        let deny = compile("deny", &config.deny, cx);
        Ok(Self { deny, allow: compile("allow", &config.allow, cx), empty: config.empty })
    }

    async fn request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<Flow, Problem> {
        match self.refusal(req) {
            None => Ok(Flow::Next),
            Some(why) => Err(Problem::new(Kind::Forbidden, "requests of this user agent are not taken").cause(why)),
        }
    }
}

impl Bot {
    /// Why a request may not go on.
    fn refusal(&self, req: &RequestHeader) -> Option<&'static str> {
        // Each of several counts: a service may read any of them.
        let mut said =
            req.headers.get_all(header::USER_AGENT).iter().map(HeaderValue::as_bytes).filter(|agent| !agent.is_empty()).peekable();
        if said.peek().is_none() {
            return (self.empty == Empty::Deny).then_some("it says no user agent");
        }
        said.find_map(|agent| match (&self.deny, &self.allow) {
            (_, Some(allow)) if allow.is_match(agent) => None,
            (Some(deny), _) => deny.is_match(agent).then_some("its user agent is denied"),
            (None, _) => self.allow.is_some().then_some("its user agent is not among those allowed"),
        })
    }
}

/// All patterns of a list, each tried by itself first, so that every one that is wrong is told.
fn compile(key: &str, patterns: &[String], cx: &mut PolicyCx<'_>) -> Option<Regex> {
    if patterns.is_empty() {
        return None;
    }
    let mut right = true;
    for (place, text) in patterns.iter().enumerate() {
        right &= cx.mistakes.keep(&[key.into(), place.into()], one(text)).is_some();
    }
    let all = right.then(|| {
        let wrong = |why| BuildError::new(format!("the patterns are too large together: {why}"), "write fewer or simpler ones");
        regex(patterns).map_err(wrong)
    });
    cx.mistakes.keep(&[key.into()], all?)
}

fn one(text: &String) -> Result<(), BuildError> {
    let fix = "write one like `^curl/`; a backslash before a sign takes its meaning away";
    let tried = regex(std::slice::from_ref(text)).map_err(|why| BuildError::new(format!("`{text}` is no regex: {why}"), fix))?;
    if tried.is_match(b"") {
        return Err(BuildError::new(format!("`{text}` matches everyone"), "write what a user agent must have in it"));
    }
    Ok(())
}

/// All of these in one automaton, or why not.
fn regex(patterns: &[String]) -> Result<Regex, String> {
    let config = Regex::config().nfa_size_limit(Some(LARGEST)).hybrid_cache_capacity(LARGEST).utf8_empty(false);
    // What clients send need be no text.
    let syntax = syntax::Config::new().case_insensitive(true).utf8(false);
    let built = Regex::builder().configure(config).syntax(syntax).build_many(patterns);
    built.map_err(|error| error.syntax_error().map_or_else(|| error.to_string(), ToString::to_string))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, mistakes};

    async fn passes(config: &str, agents: &[&str]) -> bool {
        let mut kit = agents.iter().fold(Kit::<Bot>::of(config), |kit, agent| kit.header("User-Agent", agent));
        match kit.request().await {
            Ok(_) => true,
            Err(problem) => {
                assert_eq!((problem.kind, &*problem.detail), (Kind::Forbidden, "requests of this user agent are not taken"));
                false
            }
        }
    }

    #[tokio::test]
    async fn who_is_denied_is_refused_unless_it_is_allowed() {
        let config = r#"{"deny":["bot|crawler","^curl/"],"allow":["Googlebot/\\d"]}"#;
        for agent in ["Mozilla/5.0 (X11)", "Mozilla/5.0 (compatible; Googlebot/2.1)", "libcurl/8", "x"] {
            assert!(passes(config, &[agent]).await, "{agent}");
        }
        for agent in ["EvilBot/1.0", "a CRAWLER", "curl/8.5.0", "Googlebot/x"] {
            assert!(!passes(config, &[agent]).await, "{agent}");
        }
    }

    #[tokio::test]
    async fn with_an_allow_list_alone_nobody_else_passes() {
        let config = r#"{"allow":["^shop-app/","^Mozilla/"]}"#;
        assert!(passes(config, &["shop-app/1.2"]).await && passes(config, &["mozilla/5.0"]).await);
        assert!(!passes(config, &["a shop-app/1.2"]).await);
        assert!(!passes(r#"{"allow":["(?-i)^Mozilla/"]}"#, &["mozilla/5.0"]).await);
    }

    #[tokio::test]
    async fn who_says_nothing_is_treated_as_chosen() {
        for agents in [&[][..], &[""], &["", ""]] {
            assert!(passes(r#"{"deny":["bot"]}"#, agents).await);
            assert!(!passes(r#"{"empty":"deny"}"#, agents).await);
        }
        assert!(passes(r#"{"empty":"deny"}"#, &["anything"]).await);
    }

    #[tokio::test]
    async fn each_of_several_user_agents_counts_and_none_need_be_text() {
        let config = r#"{"deny":["bot"]}"#;
        assert!(!passes(config, &["Mozilla/5.0", "evilbot"]).await && !passes(config, &["", "evilbot"]).await);
        assert!(!passes(r#"{"deny":["bot"],"allow":["Mozilla"]}"#, &["Mozilla/5.0", "evilbot"]).await);
        let mut kit = Kit::<Bot>::of(config);
        kit.req.append_header("User-Agent", HeaderValue::from_bytes(b"\xff\xfebot\xff").unwrap()).unwrap();
        assert!(kit.request().await.is_err());
    }

    #[test]
    fn every_pattern_that_cannot_be_meant_is_told() {
        for config in ["{}", r#"{"deny":[],"allow":[]}"#] {
            assert!(mistakes::<Bot>(config)[0].starts_with(": this lets everyone through"));
        }
        let told = mistakes::<Bot>(r#"{"deny":["ok","(","bot|"],"allow":["","[z-a]"],"empty":"deny"}"#);
        let wanted = [
            "deny[1]: `(` is no regex",
            "deny[2]: `bot|` matches everyone",
            "allow[0]: `` matches everyone",
            "allow[1]: `[z-a]` is no regex",
        ];
        assert_eq!(told.len(), wanted.len(), "{told:?}");
        assert!(told.iter().zip(wanted).all(|(told, wanted)| told.starts_with(wanted)), "{told:?}");
    }
}
