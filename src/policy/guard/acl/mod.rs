//! Lets callers through by who they are: consumers, groups, scopes, roles and claims, and conditions in CEL.
//!
//! ```yaml
//! policies:
//!   - jwt: { issuer: "https://id.example.com", audience: api, keys: [{ jwks_file: keys/jwks.json }], consumer: sub }
//!   - acl: { groups: [gold, silver] }                                     # one of these is enough
//!   - acl: { when: "request.method != 'GET'", scopes: { all: [orders.write] }, roles: { any: [editor], none: [guest] } }
//!   - acl: { condition: "consumer.labels.region == header['x-region'] || 'admin' in scopes" }
//! ```
//!
//! Put it below authentication. A caller of whom nothing is known gets 401 with the challenges of the policies above it; one who is known and not allowed
//! gets 403, with `insufficient_scope` and the scopes where the token lacks some (RFC 6750 §3.1). What is asked of the consumer needs one, and what is asked of
//! the token needs one too, also where something must not be there. Several entries of `acl` must all let a request through.

mod config;
mod rule;
#[cfg(test)]
mod tests;

pub use config::{Config, Wanted, WantedMap};

use http::{HeaderValue, header};
use pingora_http::RequestHeader;

use crate::building::{BuildError, Step};
use crate::ctx::Ctx;
use crate::expr::{Condition, Names, Said};
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};

use rule::{Broken, Fact, Rule};

/// `acl`, ready to run.
#[derive(Debug)]
pub struct Acl {
    when: Option<Condition>,
    rules: Box<[Rule]>,
    condition: Option<Condition>,
    /// How policies above ask who calls.
    challenges: Box<[HeaderValue]>,
    /// What a token is told that lacks a scope.
    insufficient: Option<HeaderValue>,
}

impl Policy for Acl {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        if !config.asks_consumer() && !config.asks_token() && config.condition.is_none() {
            let fix = "write who may call: `groups`, `scopes`, `roles`, `claims`, `consumers` or a `condition`";
            return Err(BuildError::new("this acl lets everyone through", fix));
        }
        let mut rules = Vec::new();
        let known = [("consumers", Fact::Consumer, &config.consumers), ("groups", Fact::Groups, &config.groups)];
        let roles = Fact::Roles(config.roles_claim.as_str().into());
        let said = [("scopes", Fact::Scopes, &config.scopes), ("roles", roles, &config.roles)];
        // Nobody knows who is kept elsewhere.
        let consumers = cx.directory.is_none().then_some(&**cx.consumers);
        let mut rule = |fact, place: &[Step], wanted| rules.push(Rule::build(fact, place, wanted, consumers, cx.mistakes));
        for (key, fact, wanted) in known.into_iter().chain(said) {
            if let Some(wanted) = wanted {
                rule(fact, &[key.into()], wanted);
            }
        }
        for (name, wanted) in &config.claims {
            rule(Fact::Claim(name.as_str().into()), &["claims".into(), name.as_str().into()], wanted);
        }
        for (key, name) in std::iter::once(("roles_claim", &config.roles_claim)).chain(config.claims.keys().map(|name| ("claims", name))) {
            if name.is_empty() {
                cx.mistakes.push(BuildError::new("a claim needs a name", "write its name, like `roles`").at(key));
            }
        }
        let when = condition("when", config.when.as_deref(), cx);
        let condition = condition("condition", config.condition.as_deref(), cx);
        let challenges: Box<[_]> = cx.told.challenges().into();
        let insufficient = rules.iter().find(|rule| rule.fact == Fact::Scopes).and_then(|rule| insufficient(&challenges, rule));
        Ok(Self { when, rules: rules.into(), condition, challenges, insufficient })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        self.check(req, cx).map(|()| Flow::Next)
    }
}

impl Acl {
    fn check(&self, req: &RequestHeader, cx: &Ctx) -> Result<(), Problem> {
        let nothing = |_| Said::default();
        // Who could make it fail would not be asked.
        if self.when.as_ref().is_some_and(|when| when.verdict(req, cx, &nothing) == Some(false)) {
            return Ok(());
        }
        let is_unknown = cx.consumer.is_none() && cx.claims.is_none();
        if is_unknown && !self.rules.is_empty() {
            return Err(self.unknown());
        }
        for rule in &self.rules {
            if let Err(broken) = rule.check(cx) {
                return Err(self.refuse(rule, broken));
            }
        }
        match &self.condition {
            Some(condition) if !condition.holds(req, cx, &nothing) => {
                if is_unknown && condition.asks_caller() {
                    return Err(self.unknown());
                }
                Err(Problem::new(Kind::Forbidden, "this is not allowed").cause("the condition does not hold"))
            }
            _ => Ok(()),
        }
    }

    /// Nobody has found out who calls.
    fn unknown(&self) -> Problem {
        const DETAIL: &str = "only known callers are allowed to do this";
        if self.challenges.is_empty() {
            // RFC 9110 §15.5.2: a 401 says how to become known.
            return Problem::new(Kind::Forbidden, DETAIL).cause("no policy above finds out who calls");
        }
        let problem = Problem::new(Kind::Unauthorized, DETAIL);
        self.challenges.iter().fold(problem, |problem, challenge| problem.header(header::WWW_AUTHENTICATE, challenge.clone()))
    }

    fn refuse(&self, rule: &Rule, broken: Broken) -> Problem {
        let problem = Problem::new(Kind::Forbidden, rule.fact.detail()).cause(rule.cause(broken));
        match &self.insufficient {
            Some(challenge) if rule.fact == Fact::Scopes && matches!(broken, Broken::Any | Broken::All) => {
                problem.header(header::WWW_AUTHENTICATE, challenge.clone())
            }
            _ => problem,
        }
    }
}

/// A condition without parts.
fn condition(key: &str, text: Option<&str>, cx: &mut PolicyCx<'_>) -> Option<Condition> {
    let parsed = Condition::parse(text?, Names { params: cx.params, parts: &[] });
    cx.mistakes.keep(&[key.into()], parsed)
}

/// What a token is told that lacks a scope: how tokens are asked for here, and the scopes (RFC 6750 §3).
fn insufficient(challenges: &[HeaderValue], rule: &Rule) -> Option<HeaderValue> {
    let mut told = challenges.iter().filter_map(|challenge| challenge.to_str().ok());
    let bearer = told.find(|challenge| challenge.starts_with("Bearer"))?;
    let (detail, scope) = (rule.fact.detail(), rule.asked().collect::<Vec<_>>().join(" "));
    let value = format!("{bearer}, error=\"insufficient_scope\", error_description=\"{detail}\", scope=\"{scope}\"");
    HeaderValue::try_from(value).ok()
}
