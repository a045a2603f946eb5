//! What works in a composition and is hardly meant. Only what is certain is told.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use super::config::{ComposeConfig, PartConfig};
use super::plan::Composition;
use super::target::Target;
use crate::building::{BuildError, Step};
use crate::expr::variables;

/// What is known of the route and its services.
pub struct Around<'a> {
    /// What is to be done about a variable that never has a value there; none of one that may have.
    pub never: &'a dyn Fn(&str) -> Option<&'static str>,
    /// How long a service gives every request.
    pub total: &'a dyn Fn(&str) -> Option<Duration>,
}

impl Composition {
    /// Every doubt, relative to `compose`. `config` is what it was built from.
    pub fn doubts(&self, config: &ComposeConfig, around: &Around<'_>) -> Vec<BuildError> {
        let mut found = Vec::new();
        for (name, part) in &config.parts {
            let at = |error: BuildError| error.at(name.as_str()).at("parts");
            found.extend(never(part, around).into_iter().map(at));
            found.extend(late(part, around).map(at));
        }
        config.template.iter().for_each(|template| in_tree(template, &mut vec!["template".into()], around, &mut found));
        for (place, part) in self.parts.iter().enumerate() {
            let at = |error: BuildError| error.at(&*part.name).at("parts");
            if part.is_required() {
                continue;
            }
            let needing = || self.parts.iter().filter(|other| other.needs.contains(&place));
            if let Some(other) = needing().find(|other| other.is_required()) {
                let reason = format!("without this part there is no answer: `{}` needs it, and is required", other.name);
                found.push(at(BuildError::new(reason, "write `required: true`, and the problem will name this part")));
            }
            // Others may be asked for what they do.
            let reads =
                config.parts.get(&*part.name).and_then(|part| part.named().next()).is_some_and(|(method, ..)| method == Method::GET);
            if reads && !self.assembly.uses(place) && needing().next().is_none() {
                let reason = "this part is asked, and nobody uses what it says";
                found.push(at(BuildError::new(reason, "place it by the `template`, or take it out")));
            }
        }
        found
    }
}

/// A part that would have more time than its service ever gives.
fn late(part: &PartConfig, around: &Around<'_>) -> Option<BuildError> {
    let timeout: Duration = part.timeout?.into();
    let (service, _) = Target::split(part.named().next()?.2).ok()?;
    let total = (around.total)(service).filter(|total| *total < timeout)?;
    let reason = format!("the service `{service}` has given up before: its `timeouts.total` is {}", humantime::format_duration(total));
    Some(BuildError::new(reason, "write a shorter one, or a longer `timeouts.total`").at("timeout"))
}

/// The variables of a part's target, headers and body that never have a value.
fn never(part: &PartConfig, around: &Around<'_>) -> Vec<BuildError> {
    let mut found = Vec::new();
    for (_, key, target) in part.named() {
        in_text(target, &[key.into()], around, &mut found);
    }
    for (name, text) in &part.headers {
        in_text(text, &["headers".into(), name.as_str().into()], around, &mut found);
    }
    part.body.iter().for_each(|body| in_tree(body, &mut vec!["body".into()], around, &mut found));
    found
}

fn in_text(text: &str, at: &[Step], around: &Around<'_>, found: &mut Vec<BuildError>) {
    let doubts = variables(text).into_iter().filter_map(|name| {
        let error = BuildError::new(format!("`{{{name}}}` never has a value here"), (around.never)(name)?);
        Some(at.iter().rev().fold(error, |error, step| error.at(step.clone())))
    });
    found.extend(doubts);
}

fn in_tree(value: &Value, at: &mut Vec<Step>, around: &Around<'_>, found: &mut Vec<BuildError>) {
    let mut inner = |step: Step, value: &Value| {
        at.push(step);
        in_tree(value, at, around, found);
        at.pop();
    };
    match value {
        Value::String(text) => in_text(text, at, around, found),
        Value::Array(items) => items.iter().enumerate().for_each(|(place, item)| inner(place.into(), item)),
        Value::Object(members) => members.iter().for_each(|(name, member)| inner(name.as_str().into(), member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
