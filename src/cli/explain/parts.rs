use serde::Serialize;

use crate::compose::{ComposeConfig, Composition, PartConfig};

/// One part of a composed answer.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    name: String,
    /// When it is asked: those of 1 at once, the others as soon as those in `after` are there.
    step: usize,
    after: Vec<String>,
    /// None where it asks nobody.
    asks: Option<Asks>,
    required: bool,
    /// Its own time; none where it has that of the whole.
    timeout: Option<String>,
}

#[derive(Debug, Serialize)]
struct Asks {
    method: String,
    service: String,
    /// The path and query there, as written.
    target: String,
}

/// The parts in the order in which they are asked.
pub(super) fn parts(config: &ComposeConfig, composition: &Composition) -> Vec<Part> {
    let part = |step: crate::compose::Step<'_>| {
        let config = config.parts.get(step.part)?;
        Some(Part {
            name: step.part.to_owned(),
            step: step.number,
            after: step.after.into_iter().map(ToOwned::to_owned).collect(),
            asks: asks(config),
            required: config.required,
            timeout: config.timeout.map(|timeout| humantime::format_duration(timeout.into()).to_string()),
        })
    };
    composition.steps().into_iter().filter_map(part).collect()
}

fn asks(config: &PartConfig) -> Option<Asks> {
    let (method, _, text) = config.named().next()?;
    let (service, target) = text.split_once(':')?;
    Some(Asks { method: method.to_string(), service: service.to_owned(), target: target.to_owned() })
}

impl Part {
    /// The same for people.
    pub(super) fn line(&self) -> String {
        let asks = match &self.asks {
            Some(Asks { method, service, target }) => format!("{method} service {service}, path {target}"),
            None => "asks nobody".to_owned(),
        };
        let after = if self.after.is_empty() { String::new() } else { format!(" after {}", self.after.join(", ")) };
        let need = if self.required { "required" } else { "may be missing" };
        let timeout = self.timeout.as_ref().map(|timeout| format!(", within {timeout}")).unwrap_or_default();
        format!("{}. {}{after}: {asks} ({need}{timeout})", self.step, self.name)
    }
}
