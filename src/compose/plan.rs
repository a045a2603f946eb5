use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;

use super::ask::Ask;
use super::config::{ComposeConfig, PartConfig};
use super::each::CALLS;
use super::fill::strings;
use super::order::{Waits, in_order};
use super::part::{Find, Make, Part, Twins};
use super::text::{Items, Scope, is_personal, reads};
use crate::body::json::{Assembly, AssemblyConfig, Merge, Missing, Shape};
use crate::building::{BuildError, Errors, Step};
use crate::expr::{Condition, Template};
use crate::state::{Kept, Offload, Shared};
use crate::upstream::Service;

/// `compose`, ready to answer.
#[derive(Debug)]
pub struct Composition {
    pub(super) route: Arc<str>,
    /// How long all of it may take.
    pub timeout: Duration,
    pub(super) parts: Box<[Part]>,
    pub(super) assembly: Assembly<Template>,
    /// What stands where a value is missing.
    pub(super) missing: Missing,
    /// Bytes of the answer at most.
    pub(super) most: usize,
    /// The request headers that the answer depends on.
    pub(super) reads: Box<[HeaderName]>,
    /// Whether it is for its client alone.
    pub(super) personal: bool,
    pub(super) timing: Timing,
    /// The request headers that say which request it is, to services that are asked for it alone.
    pub(super) ids: Box<[HeaderName]>,
    pub(super) kept: Arc<Kept>,
    pub(super) offload: Arc<Offload>,
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
        let scope = Scope { parts: &names, params, items: Items::None };
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
            if part.each.is_some() && config.merge == Some(Merge::Root) {
                let error = BuildError::new("the part is an array, and parts are merged", "place it by a `template`, or leave `merge` out");
                errors.keep::<()>(&at, Err(error.at("each")));
            }
            match part.shape.as_ref().map_or(Ok(Shape::default()), Shape::build) {
                Ok(shape) => shapes.push((name.as_str(), if part.each.is_some() { shape.of_items() } else { shape })),
                Err(found) => found.0.into_iter().for_each(|error| {
                    errors.keep::<()>(&at, Err(error.at("shape")));
                }),
            }
        }
        if parts.len() < names.len() || shapes.len() < names.len() {
            return Err(errors);
        }
        let order: Vec<_> = parts.iter().map(|part| Waits { name: &part.name, on: &part.waits }).collect();
        errors.keep(&["parts".into()], in_order(&order));
        errors.keep(&["parts".into()], few_calls(&parts));
        errors.keep(&["parts".into()], has_statuses(&parts));
        let settings = AssemblyConfig { merge: config.merge, template: config.template.clone(), missing: config.missing };
        let assembly = errors.keep(&[], Assembly::build(&settings, shapes, &mut |name| scope.request(name)));
        let mut texts: Vec<&str> = config.parts.values().flat_map(PartConfig::texts).collect();
        config.template.iter().for_each(|template| strings(template, &mut texts));
        let mut all: Vec<_> = texts.iter().flat_map(|text| reads(text)).collect();
        all.extend(parts.iter().filter_map(|part| part.when.as_ref()).flat_map(Condition::headers));
        all.sort_unstable_by(|one, other| one.as_str().cmp(other.as_str()));
        all.dedup();
        let personal = texts.into_iter().any(is_personal) || parts.iter().filter_map(|part| part.when.as_ref()).any(Condition::is_personal);
        let Some(assembly) = assembly else { return Err(errors) };
        Twins::mark(&mut parts);
        errors.finish(Self {
            route: route.into(),
            timeout: config.timeout.into(),
            parts: parts.into(),
            assembly,
            missing: config.missing,
            most: config.size.bytes(),
            reads: all.into(),
            personal,
            timing: if config.server_timing { Timing::Shown } else { Timing::Logged },
            ids: Box::default(),
            kept: Arc::default(),
            offload: Arc::default(),
        })
    }

    /// The same with what it shares with all others: where answers are kept, and who reads large ones. In the headers `ids` its route tells services which
    /// request it is.
    #[must_use]
    pub fn with(self, shared: &Shared, ids: &[HeaderName]) -> Self {
        Self { kept: shared.kept.clone(), offload: shared.offload.clone(), ids: ids.into(), ..self }
    }

    /// Whether answers of its parts are kept.
    pub fn keeps(&self) -> bool {
        self.parts.iter().any(|part| part.cache.is_some())
    }

    /// The services that it asks, each as often as it does.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.parts.iter().filter_map(Part::ask).map(|ask: &Ask| &ask.target.service)
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

/// Whether all parts together make no more calls than one answer may.
fn few_calls(parts: &[Part]) -> Result<(), BuildError> {
    let of = |part: &Part| match &part.make {
        Make::Value(_) => 0,
        Make::Call(_) => 1,
        Make::Each(_, each) => each.most,
    };
    match parts.iter().map(of).sum::<usize>() {
        calls if calls <= CALLS => Ok(()),
        calls => Err(BuildError::new(
            format!("all parts together may make {calls} calls, and one answer makes {CALLS} at most"),
            "write a smaller `most` where there is an `each`",
        )),
    }
}

/// Whether each part whose status a condition asks for has one.
fn has_statuses(parts: &[Part]) -> Result<(), BuildError> {
    for part in parts {
        let mut asked = part.when.iter().flat_map(Condition::statuses).filter_map(|place| parts.get(place));
        if let Some(other) = asked.find(|other| !matches!(other.make, Make::Call(_))) {
            let reason = format!("`{}` is not one answer, and has no status", other.name);
            let fix = format!("ask for its body: `has(parts.{}.body)`", other.name);
            return Err(BuildError::new(reason, fix).at("when").at(&*part.name));
        }
    }
    Ok(())
}
