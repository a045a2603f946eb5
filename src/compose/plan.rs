use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::config::{ComposeConfig, PartConfig};
use super::part::{Find, Part, Twins, strings};
use super::text::{Scope, is_personal, reads};
use crate::body::json::{Assembly, AssemblyConfig, Shape};
use crate::building::{BuildError, Errors, Step};
use crate::expr::Template;
use crate::state::Kept;
use crate::upstream::Service;

/// `compose`, ready to answer.
#[derive(Debug)]
pub struct Composition {
    pub(super) route: Arc<str>,
    pub(super) timeout: Duration,
    pub(super) parts: Box<[Part]>,
    pub(super) assembly: Assembly<Template>,
    /// Bytes of the answer at most.
    pub(super) most: usize,
    /// The request headers that the answer depends on.
    pub(super) reads: Box<[HeaderName]>,
    /// Whether it is for its client alone.
    pub(super) personal: bool,
    pub(super) timing: Timing,
    pub(super) kept: Arc<Kept>,
}

/// Whom the times of the parts are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timing {
    /// The log and the metrics.
    Logged,
    /// The client too.
    Shown,
}

/// Parts of one answer at most.
const PARTS: usize = 64;

impl Composition {
    /// Checks and prepares the parts of a route with these path parameters. `find` finds a service by its name.
    ///
    /// # Errors
    /// Every mistake, relative to `compose`. None at all where only a service is wrong.
    pub fn build(config: &ComposeConfig, route: &str, params: &[Box<str>], find: &mut Find<'_>) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        errors.keep(&["timeout".into()], config.timeout.not_zero());
        if config.size.0 == 0 {
            errors.keep::<()>(&["size".into()], Err(BuildError::new("no answer is as short as that", "write a size like `8MiB`")));
        }
        if config.parts.is_empty() || config.parts.len() > PARTS {
            let reason = format!("there are {} parts", config.parts.len());
            errors.keep::<()>(&["parts".into()], Err(BuildError::new(reason, format!("write 1 to {PARTS}"))));
        }
        let names: Vec<&str> = config.parts.keys().map(String::as_str).collect();
        let scope = Scope { parts: &names, params };
        let (mut parts, mut shapes) = (Vec::new(), Vec::new());
        for (name, part) in &config.parts {
            let at: [Step; 2] = ["parts".into(), name.as_str().into()];
            errors.keep(&at, named(name));
            if part.timeout.is_some_and(|timeout| timeout > config.timeout) {
                let error = BuildError::new("the part has more time than the whole", "write a shorter one, or a longer `compose.timeout`");
                errors.keep::<()>(&at, Err(error.at("timeout")));
            }
            let mut of_part = Errors::default();
            parts.extend(Part::build(name, part, scope, find, &mut of_part));
            of_part.0.into_iter().for_each(|error| {
                errors.keep::<()>(&at, Err(error));
            });
            match part.shape.as_ref().map_or(Ok(Shape::default()), Shape::build) {
                Ok(shape) => shapes.push((name.as_str(), shape)),
                Err(found) => found.0.into_iter().for_each(|error| {
                    errors.keep::<()>(&at, Err(error.at("shape")));
                }),
            }
        }
        if parts.len() < names.len() || shapes.len() < names.len() {
            return Err(errors);
        }
        errors.keep(&["parts".into()], in_order(&parts));
        let settings = AssemblyConfig { merge: config.merge, template: config.template.clone(), missing: config.missing };
        let assembly = errors.keep(&[], Assembly::build(&settings, shapes, &mut |name| scope.request(name)));
        let mut texts: Vec<&str> = config.parts.values().flat_map(PartConfig::texts).collect();
        config.template.iter().for_each(|template| strings(template, &mut texts));
        let mut all: Vec<_> = texts.iter().flat_map(|text| reads(text)).collect();
        all.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        all.dedup();
        let Some(assembly) = assembly else { return Err(errors) };
        Twins::mark(&mut parts);
        errors.finish(Self {
            route: route.into(),
            timeout: config.timeout.into(),
            parts: parts.into(),
            assembly,
            most: config.size.bytes(),
            reads: all.into(),
            personal: texts.into_iter().any(is_personal),
            timing: if config.server_timing { Timing::Shown } else { Timing::Logged },
            kept: Arc::default(),
        })
    }

    /// The same with the place where answers are kept.
    #[must_use]
    pub fn keeping_in(self, kept: Arc<Kept>) -> Self {
        Self { kept, ..self }
    }

    /// Whether answers of its parts are kept.
    pub fn keeps(&self) -> bool {
        self.parts.iter().any(|part| part.cache.is_some())
    }

    /// The services that it asks, each as often as it does.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.parts.iter().map(|part| &part.target.service)
    }
}

/// Whether a part may be called that: its name goes into headers as a token (RFC 9651 §3.3.4), and into variables, where dots have a meaning.
fn named(name: &str) -> Result<(), BuildError> {
    let right = name.starts_with(|char: char| char.is_ascii_alphabetic())
        && name.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-'));
    if right {
        Ok(())
    } else {
        Err(BuildError::new(format!("`{name}` is no name of a part"), "use letters, digits, `_` and `-`, a letter first"))
    }
}

/// Whether the parts can be asked one after the other, each after those that it needs.
fn in_order(parts: &[Part]) -> Result<(), BuildError> {
    let mut done = vec![false; parts.len()];
    loop {
        let mut moved = false;
        for (place, part) in parts.iter().enumerate() {
            let ready = part.needs.iter().all(|need| done.get(*need).copied().unwrap_or_default());
            if let Some(done) = done.get_mut(place).filter(|done| ready && !**done) {
                (*done, moved) = (true, true);
            }
        }
        if !moved {
            break;
        }
    }
    let left = |place: &usize| !done.get(*place).copied().unwrap_or_default();
    let Some(first) = (0..parts.len()).find(|place| left(place)) else { return Ok(()) };
    // Each that is left needs another that is left: following them comes back to one that was met.
    let mut way = vec![first];
    let around = loop {
        let next = way.last().and_then(|place| parts.get(*place)?.needs.iter().copied().find(|place| left(place)));
        let Some(next) = next else { break &[] as &[usize] };
        if let Some(from) = way.iter().position(|met| *met == next) {
            break way.get(from..).unwrap_or_default();
        }
        way.push(next);
    };
    let name = |place: &usize| parts.get(*place).map_or("", |part| &*part.name);
    let mut names: Vec<_> = around.iter().map(name).collect();
    let start = names.first().copied().unwrap_or_default();
    names.push(start);
    let reason = format!("no part of these could be asked first: {}", names.join(" needs "));
    Err(BuildError::new(reason, "take one of the values out").at(start))
}
