//! What must be so of one fact of the caller.

use serde_json::Value;

use super::config::Wanted;
use crate::building::{BuildError, Errors, Step};
use crate::consumer::Consumers;
use crate::ctx::{Ctx, claim, scopes};

/// One rule, ready to run.
#[derive(Debug)]
pub(super) struct Rule {
    pub fact: Fact,
    /// As the config names it, for the log.
    name: Box<str>,
    any: Box<[Box<str>]>,
    all: Box<[Box<str>]>,
    none: Box<[Box<str>]>,
}

/// What is looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fact {
    Consumer,
    Groups,
    Scopes,
    Roles(Box<str>),
    Claim(Box<str>),
}

/// Why a caller may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// There is no consumer, or no token, that could have it.
    Unknown,
    /// It has none of `any`.
    Any,
    /// It lacks one of `all`.
    All,
    /// It has one of `none`.
    None,
}

impl Rule {
    /// Checks what is wanted of the fact that stands at `place`. What is wrong is noted.
    pub fn build(fact: Fact, place: &[Step], wanted: &Wanted, consumers: Option<&Consumers>, mistakes: &mut Errors) -> Self {
        let (any, all, none) = match wanted {
            Wanted::Any(any) => (Some(any), None, None),
            Wanted::Map(map) => (map.any.as_ref(), map.all.as_ref(), map.none.as_ref()),
        };
        let lists = [("any", any), ("all", all), ("none", none)];
        let mut wrong = |key: &str, steps: &[Step], error| {
            let key = Some(Step::from(key)).filter(|_| matches!(wanted, Wanted::Map(_)));
            let place = place.iter().cloned().chain(key).chain(steps.iter().cloned());
            mistakes.keep::<()>(&place.collect::<Vec<_>>(), Err(error));
        };
        for (key, list) in lists {
            if list.is_some_and(Vec::is_empty) {
                wrong(key, &[], BuildError::new("this list is empty", "write what the caller must have, or take it out"));
            }
            for (index, item) in list.into_iter().flatten().enumerate() {
                if let Some(error) = fact.mistake(item, consumers) {
                    wrong(key, &[index.into()], error);
                } else if key != "none" && none.is_some_and(|none| none.contains(item)) {
                    let error =
                        BuildError::new(format!("`{item}` is asked for, and must not be there"), "take it off one of the two lists");
                    wrong(key, &[index.into()], error);
                }
            }
        }
        if lists.iter().all(|(_, list)| list.is_none()) {
            let error = BuildError::new("nothing is asked for", "write a list, or `any`, `all` or `none` with one");
            mistakes.keep::<()>(place, Err(error));
        }
        let list = |list: Option<&Vec<String>>| list.into_iter().flatten().map(|item| Box::from(item.as_str())).collect();
        let name = place.iter().map(|step| match step {
            Step::Key(key) => key.clone(),
            Step::Index(index) => index.to_string(),
        });
        let name = name.collect::<Vec<_>>().join(".").into();
        Self { fact, name, any: list(any), all: list(all), none: list(none) }
    }

    /// Whether the caller keeps it.
    ///
    /// # Errors
    /// Which part of it is broken. Where it is not known who calls, it is: what cannot be looked at may be anything.
    pub fn check(&self, cx: &Ctx) -> Result<(), Broken> {
        match &self.fact {
            Fact::Consumer => {
                let consumer = cx.consumer.as_deref().ok_or(Broken::Unknown)?;
                self.keeps(|wanted| consumer.name == wanted)
            }
            Fact::Groups => {
                let consumer = cx.consumer.as_deref().ok_or(Broken::Unknown)?;
                self.keeps(|wanted| consumer.groups.iter().any(|group| group == wanted))
            }
            Fact::Scopes => {
                let claims = cx.claims.as_deref().ok_or(Broken::Unknown)?;
                self.keeps(|wanted| scopes(|name| claims.get(name)).any(|scope| scope == wanted))
            }
            Fact::Roles(path) | Fact::Claim(path) => {
                let claims = cx.claims.as_deref().and_then(Value::as_object).ok_or(Broken::Unknown)?;
                let said = claim(claims, path);
                self.keeps(|wanted| match said {
                    Some(Value::Array(items)) => items.iter().any(|item| says(item, wanted)),
                    Some(said) => says(said, wanted),
                    None => false,
                })
            }
        }
    }

    fn keeps(&self, has: impl Fn(&str) -> bool) -> Result<(), Broken> {
        if self.none.iter().any(|wanted| has(wanted)) {
            return Err(Broken::None);
        }
        if !self.all.iter().all(|wanted| has(wanted)) {
            return Err(Broken::All);
        }
        if !self.any.is_empty() && !self.any.iter().any(|wanted| has(wanted)) {
            return Err(Broken::Any);
        }
        Ok(())
    }

    /// What the log is told.
    pub fn cause(&self, broken: Broken) -> String {
        let name = &self.name;
        match broken {
            Broken::Unknown => format!("{name}: this caller has no {}", if self.fact.is_of_token() { "token" } else { "consumer" }),
            Broken::Any => format!("{name}: none of `any`"),
            Broken::All => format!("{name}: not each of `all`"),
            Broken::None => format!("{name}: one of `none`"),
        }
    }

    /// What is asked for, each once.
    pub fn asked(&self) -> impl Iterator<Item = &str> {
        let also = self.any.iter().filter(|item| !self.all.contains(item));
        self.all.iter().chain(also).map(|item| &**item)
    }
}

impl Fact {
    /// Whether the token says it.
    fn is_of_token(&self) -> bool {
        !matches!(self, Fact::Consumer | Fact::Groups)
    }

    /// What a caller is told who has not what is needed.
    pub fn detail(&self) -> &'static str {
        match self {
            Fact::Consumer => "this consumer is not allowed to do this",
            Fact::Groups => "the consumer is in no group that is allowed to do this",
            Fact::Scopes => "the token lacks a scope that is needed here",
            Fact::Roles(_) => "the token names no role that is allowed to do this",
            Fact::Claim(_) => "the token does not allow this",
        }
    }

    /// What is wrong with a value that is asked for.
    fn mistake(&self, item: &str, consumers: Option<&Consumers>) -> Option<BuildError> {
        if item.is_empty() {
            return Some(BuildError::new("this is empty", "write a value, or take it off the list"));
        }
        let unknown = |what, mut known: Vec<&'_ str>| {
            known.sort_unstable();
            known.dedup();
            BuildError::unknown(what, item, known.iter().copied())
        };
        match self {
            Fact::Consumer => {
                let consumers = consumers.filter(|consumers| consumers.named(item).is_none())?;
                Some(unknown("consumer", consumers.names().collect()))
            }
            Fact::Groups => {
                let consumers = consumers.filter(|consumers| !consumers.groups().any(|group| group == item))?;
                Some(unknown("group of consumers", consumers.groups().collect()))
            }
            // RFC 6749 §3.3: what else it holds could not stand in a token, or in a challenge.
            Fact::Scopes if !item.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) => {
                Some(BuildError::new("this is not one scope", "write one per entry, without spaces, quotes or backslashes"))
            }
            Fact::Scopes | Fact::Roles(_) | Fact::Claim(_) => None,
        }
    }
}

/// Whether a claim says just this. What is neither text nor a number nor a truth value says nothing.
fn says(claim: &Value, wanted: &str) -> bool {
    match claim {
        Value::String(text) => text == wanted,
        Value::Bool(is) => wanted == if *is { "true" } else { "false" },
        Value::Number(number) => number.to_string() == wanted,
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}
