use serde_json::Value as Json;

use super::text::{Facts, Scope, item};
use crate::body::json::{Filling, Path, Place, Template};
use crate::building::BuildError;
use crate::expr;

/// What a variable within JSON stands for.
#[derive(Debug)]
pub(super) enum Variable {
    Part(Place),
    Item(Option<Path>),
    Request(expr::Template),
}

impl Variable {
    /// The value of one request, as it came.
    pub fn fill<'a>(&self, facts: Facts<'a>) -> Option<Filling<'a>> {
        match self {
            Variable::Part(place) => facts.outcomes.get(place.part)?.value(place).map(Filling::Json),
            Variable::Item(path) => item(path.as_ref(), facts).map(Filling::Json),
            Variable::Request(template) => template.render(facts.req, facts.cx).map(|text| Filling::Text(text.into_owned().into())),
        }
    }
}

/// JSON with variables in it.
///
/// # Errors
/// Those of the template, and a variable that is not known.
pub(super) fn template(config: &Json, scope: Scope<'_>) -> Result<Template<Variable>, BuildError> {
    let mut resolve = |name: &str| {
        if let Some(path) = scope.item(name) {
            return path.map(Variable::Item);
        }
        match Place::parse(name, scope.parts) {
            Some(place) => place.map(Variable::Part),
            None => scope.request(name).map(Variable::Request),
        }
    };
    Template::build(config, &mut resolve)
}

/// The parts whose values it has, each as often as it does.
pub(super) fn needs(template: &Template<Variable>) -> Vec<usize> {
    let places = template.places().into_iter();
    places.filter_map(|variable| if let Variable::Part(place) = variable { Some(place.part) } else { None }).collect()
}

/// The texts in a tree, but for names.
pub(super) fn strings<'v>(value: &'v Json, found: &mut Vec<&'v str>) {
    match value {
        Json::String(text) => found.push(text),
        Json::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Json::Object(members) => members.values().for_each(|member| strings(member, found)),
        Json::Null | Json::Bool(_) | Json::Number(_) => {}
    }
}
