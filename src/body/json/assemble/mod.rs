use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::RandomState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::out::Out;
use super::place::Place;
use super::shape::{Shape, Shaped};
use super::template::{Filling, Missing, Template};
use super::text;
use super::value::Value;
use crate::building::{BuildError, Step};

/// How the bodies of several parts become one document. Without `merge` and `template` it is an object with each part under its name, in the order of the
/// config.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AssemblyConfig {
    /// `root`: one object of the members of all parts, in the order of the config. Where two parts have a member of the same name, the later part's stays and
    /// is not mixed with the other. A part that is no object cannot be merged and counts as missing.
    pub merge: Option<Merge>,
    /// The document, with variables where values belong: `{ name: "{parts.user.body.name}", all: "{parts.orders.body}" }`. A text that is nothing but one
    /// variable becomes the value itself, exactly as it came; within a longer text it is inserted as text, `"Hello {parts.user.body.name}"`, which only a
    /// string, a number or a truth value can be. In an array, `"{parts.orders.body...}"` is every item of that array. A whole body comes in the part's shape; what lies deeper is found in the body as it came.
    pub template: Option<serde_json::Value>,
    /// What stands where a part or a value is missing: `null`, or nothing with `absent`. With `merge` a missing part has no place. Default: null.
    pub missing: Missing,
}

/// Where parts are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// At the root: members of members are not merged.
    Root,
}

/// [`AssemblyConfig`], ready to run. `X` is what variables stand for that are not about the bodies of parts.
#[derive(Debug)]
pub struct Assembly<X> {
    parts: Box<[Part]>,
    way: Way<X>,
    missing: Missing,
}

#[derive(Debug)]
struct Part {
    /// The name as it is written, with its colon.
    name: Box<[u8]>,
    shape: Shape,
}

#[derive(Debug)]
enum Way<X> {
    Named,
    Merged,
    Template(Template<Variable<X>>),
}

#[derive(Debug)]
enum Variable<X> {
    Part(Place),
    Other(X),
}

/// A part that was given, and has no place in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Which part, in the order of the config.
    pub part: usize,
    /// Why.
    pub why: Why,
}

/// Why a part has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its shape leaves nothing of it.
    Nothing,
    /// It is no object, and parts are merged.
    NotAnObject,
}

impl<X> Assembly<X> {
    /// Compiles the settings for parts of these names and shapes; `other` resolves variables that are not about the body of a part.
    ///
    /// # Errors
    /// `merge` and `template` at once, parts that are wrapped in the same name and merged, those of the template and of `other`. Relative to the settings.
    pub fn build(
        config: &AssemblyConfig,
        parts: Vec<(&str, Shape)>,
        other: &mut dyn FnMut(&str) -> Result<X, BuildError>,
    ) -> Result<Self, BuildError> {
        let names: Vec<&str> = parts.iter().map(|(name, _)| *name).collect();
        let way = match (&config.merge, &config.template) {
            (None, None) => Way::Named,
            (Some(Merge::Root), None) if config.missing == Missing::Absent => {
                let reason = "a part that is missing has no place in what is merged";
                return Err(BuildError::new(reason, "remove it, or `merge`").at("missing"));
            }
            (Some(Merge::Root), None) => {
                wrapped_apart(&parts)?;
                Way::Merged
            }
            (None, Some(template)) => {
                let mut resolve = |name: &str| match Place::parse(name, &names) {
                    Some(place) => place.map(Variable::Part),
                    None => other(name).map(Variable::Other),
                };
                Way::Template(Template::build(template, &mut resolve).map_err(|error| error.at("template"))?)
            }
            (Some(_), Some(_)) => {
                let error = BuildError::new("parts are merged, or placed by a template", "leave one of them out");
                return Err(error.at("merge").beside([Step::from("template")]));
            }
        };
        let part = |(name, shape): (&str, Shape)| {
            let mut quoted = text::quoted(name);
            quoted.push(b':');
            Part { name: quoted.into(), shape }
        };
        Ok(Self { parts: parts.into_iter().map(part).collect(), way, missing: config.missing })
    }

    /// Whether a part's body will have a place: to be asked when it has come, since what has none is as good as missing.
    ///
    /// # Errors
    /// Why it will have none.
    pub fn fits(&self, part: usize, body: Value<'_>) -> Result<(), Unfit> {
        self.shaped(part, body).map(|_| ())
    }

    /// Whether anything of a part has a place.
    pub fn uses(&self, part: usize) -> bool {
        match &self.way {
            Way::Named | Way::Merged => true,
            Way::Template(template) => {
                template.places().into_iter().any(|variable| matches!(variable, Variable::Part(place) if place.part == part))
            }
        }
    }

    fn shaped<'a>(&'a self, part: usize, body: Value<'a>) -> Result<Shaped<'a>, Unfit> {
        let shape = self.parts.get(part).map(|part| &part.shape);
        let shaped = shape.and_then(|shape| shape.of(body)).ok_or(Unfit { part, why: Why::Nothing })?;
        match &self.way {
            Way::Merged if !shaped.is_object() => Err(Unfit { part, why: Why::NotAnObject }),
            _ => Ok(shaped),
        }
    }

    /// Writes the document: always one whole JSON value. The bodies stand in the order of the parts; none is missing. What does not fit (see
    /// [`Assembly::fits`]) counts as missing.
    pub fn write<'a>(&'a self, bodies: &[Option<Value<'a>>], other: &dyn Fn(&'a X) -> Option<Cow<'a, str>>, out: &mut Out) {
        let whole = |part: usize| self.shaped(part, bodies.get(part).copied().flatten()?).ok();
        match &self.way {
            Way::Named => {
                let mut before: &[u8] = b"{";
                for (place, part) in self.parts.iter().enumerate() {
                    let body = whole(place);
                    if body.is_none() && self.missing == Missing::Absent {
                        continue;
                    }
                    out.put(before);
                    out.put(&part.name);
                    match body {
                        Some(body) => body.write(out),
                        None => out.put(b"null"),
                    }
                    before = b",";
                }
                out.put(if before == b"{" { b"{}" } else { b"}" });
            }
            Way::Merged => merge((0..self.parts.len()).filter_map(whole), out),
            Way::Template(template) => {
                let fill = |variable: &'a Variable<X>| match variable {
                    Variable::Part(Place { part, path: None }) => whole(*part).map(Filling::Body),
                    Variable::Part(Place { part, path: Some(path) }) => bodies.get(*part).copied().flatten()?.find(path).map(Filling::Json),
                    Variable::Other(variable) => other(variable).map(Filling::Text),
                };
                template.write(self.missing, &fill, out);
            }
        }
    }
}

/// Refuses parts of which one would always hide the other.
fn wrapped_apart(parts: &[(&str, Shape)]) -> Result<(), BuildError> {
    for (place, (name, shape)) in parts.iter().enumerate() {
        let Some(wrapped) = shape.wrapped_in() else { continue };
        if let Some((other, _)) = parts.iter().skip(place + 1).find(|(_, other)| other.wrapped_in() == Some(wrapped)) {
            let reason = format!("`{name}` and `{other}` are wrapped in the same name, so `{other}` would take the place of `{name}`");
            return Err(BuildError::new(reason, "wrap them in different names, or place them by a `template`").at("merge"));
        }
    }
    Ok(())
}

fn merge<'a>(bodies: impl Iterator<Item = Shaped<'a>>, out: &mut Out) {
    let mut parts: SmallVec<[_; 4]> = bodies.filter_map(Shaped::members).collect();
    let stay: Vec<bool> = {
        let mut last = HashMap::with_capacity_and_hasher(parts.iter().map(|(_, members)| members.len()).sum(), RandomState::default());
        let all = || parts.iter().enumerate().flat_map(|(place, (_, members))| members.iter().map(move |member| (place, member)));
        for (place, member) in all() {
            last.insert(member.name.says(), place);
        }
        all().map(|(place, member)| last.get(&member.name.says()) == Some(&place)).collect()
    };
    let mut stay = stay.into_iter();
    let mut before: &[u8] = b"{";
    for (writer, members) in &mut parts {
        for member in members.drain(..) {
            if stay.next() == Some(true) {
                out.put(before);
                writer.member(member, out);
                before = b",";
            }
        }
    }
    out.put(if before == b"{" { b"{}" } else { b"}" });
}

#[cfg(test)]
mod tests;
