//! Every mistake of a document at once, though serde stops at the first.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use serde::de::DeserializeOwned;

use super::de::{De, Known};
use super::fault::{Report, Sort, replace_values};
use super::located::{ConfigErrors, Located};
use super::tree::{Node, Tree, Value};
use crate::building::{BuildError, ConfigPath, Step};

/// An end to passes that go nowhere; each error takes one, and a few for what follows from it.
const MAX_PASSES: usize = 4 * ConfigErrors::MAX;

/// Makes a `T` of the tree, or finds everything that is wrong with it.
///
/// serde stops at the first error. So the value that an error is about is taken out of the tree and `T` is tried again, until it
/// succeeds or the root itself is wrong. What is wrong only because something was taken out is not told. `errors` are those that
/// were found before. With any of them the `T`, if there is one, is what is left of the document: good for finding more errors, and for
/// nothing else.
///
/// # Errors
/// All of them, by place, at most [`ConfigErrors::MAX`], where nothing is left.
pub fn gather<T: DeserializeOwned>(tree: &Tree, mut errors: Vec<Located>) -> Result<Draft<T>, ConfigErrors> {
    let known = Known::default();
    let mut reports: Vec<Report> = Vec::new();
    let mut rest = None;
    for _ in 0..MAX_PASSES {
        let report = match T::deserialize(De::new(&tree.root, &known)) {
            Ok(value) => {
                rest = Some(value);
                break;
            }
            Err(error) => error.report(&tree.root),
        };
        // Missing keys are few and far between: look for the mapping only then.
        let node = if matches!(report.sort, Sort::Whole | Sort::Missing(_)) { find(&tree.root, report.node) } else { None };
        let follows = match report.sort {
            Sort::Own => false,
            Sort::Consequence => true,
            Sort::Whole => node.is_some_and(|node| known.is_damaged(node)),
            Sort::Missing(name) => known.explains_missing(report.node, name) || node.and_then(|node| node.entry(name)).is_some(),
        };
        let goes_on = match report.sort {
            Sort::Missing(name) => known.fill(report.node, name) || known.poison(report.node),
            _ => known.poison(report.node),
        };
        if !follows {
            reports.push(report);
        }
        if !goes_on || known.is_poisoned(&tree.root) || reports.len() > ConfigErrors::MAX {
            break;
        }
    }
    reports.extend(known.take_unknown());
    errors.extend(locate(tree, reports));
    match rest {
        Some(value) => Ok(Draft { value, known, errors }),
        None => Err(ConfigErrors::new(errors)),
    }
}

/// A config as far as it could be read.
pub struct Draft<T> {
    /// What is left of the document; all of it where there are no errors.
    pub value: T,
    /// What was taken out.
    pub known: Known,
    /// What is wrong.
    pub errors: Vec<Located>,
}

impl<T> Draft<T> {
    /// The path in the document of a path in what is left of it, where lists are shorter. None for an error that only follows from one
    /// that is told already: its place holds, or its missing name belongs to, something that was taken out.
    pub fn original(&self, tree: &Tree, error: &BuildError) -> Option<ConfigPath> {
        let path = self.in_document(tree, &error.path);
        let follows = self.errors.iter().any(|told| told.path == path)
            || self.is_hurt(tree.find(&path).0)
            || error.missing.as_deref().is_some_and(|name| self.lost(&tree.root, name));
        (!follows).then_some(path)
    }

    /// The path in the document of a path in what is left of it.
    pub fn in_document(&self, tree: &Tree, path: &ConfigPath) -> ConfigPath {
        let mut path = path.clone();
        let mut node = Some(&tree.root);
        for step in &mut path.0 {
            let Some(here) = node else { break };
            node = match (&mut *step, &here.value) {
                (Step::Key(name), Value::Map(_)) => here.entry(name).map(|entry| &entry.value),
                (Step::Index(index), Value::List(items)) => {
                    let left = items.iter().enumerate().filter(|(_, item)| !self.known.is_poisoned(item)).nth(*index);
                    left.map(|(place, item)| {
                        *index = place;
                        item
                    })
                }
                _ => None,
            };
        }
        path
    }

    /// Whether anything in there was taken out or filled in.
    fn is_hurt(&self, node: &Node) -> bool {
        self.known.is_poisoned(node)
            || self.known.is_damaged(node)
            || match &node.value {
                Value::List(items) => items.iter().any(|item| self.is_hurt(item)),
                Value::Map(entries) => entries.iter().any(|entry| self.is_hurt(&entry.value)),
                Value::Scalar(_) | Value::Broken => false,
            }
    }

    /// Whether an entry of that name was taken out somewhere.
    fn lost(&self, node: &Node, name: &str) -> bool {
        match &node.value {
            Value::List(items) => items.iter().any(|item| self.lost(item, name)),
            Value::Map(entries) => {
                entries.iter().any(|entry| (entry.name() == name && self.known.is_gone(entry)) || self.lost(&entry.value, name))
            }
            Value::Scalar(_) | Value::Broken => false,
        }
    }
}

fn find(node: &Node, id: usize) -> Option<&Node> {
    if node.id() == id {
        return Some(node);
    }
    match &node.value {
        Value::List(items) => items.iter().find_map(|item| find(item, id)),
        Value::Map(entries) => entries.iter().find_map(|entry| find(&entry.value, id)),
        Value::Scalar(_) | Value::Broken => None,
    }
}

/// One walk over the tree finds place and path of all.
fn locate(tree: &Tree, reports: Vec<Report>) -> Vec<Located> {
    if reports.is_empty() {
        return Vec::new();
    }
    let mut by_node: HashMap<usize, Vec<Report>> = HashMap::new();
    for report in reports {
        by_node.entry(report.node).or_default().push(report);
    }
    let secrets = secrets(tree);
    let conceal = |text: String| replace_values(text, secrets.iter().copied());
    let mut errors = Vec::new();
    tree.walk(&mut |node, path, place| {
        for report in by_node.remove(&node.id()).unwrap_or_default() {
            errors.push(tree.error(place, ConfigPath(path.to_vec()), conceal(report.reason), conceal(report.fix)));
        }
    });
    errors
}

/// What came from outside the file, wherever in the document, each value once. Short values are left: a `80` or `prod` would tear holes
/// into texts that have nothing to do with it, and an error about the value itself conceals it anyway.
pub fn secrets(tree: &Tree) -> Vec<&str> {
    const SHORT: usize = 6;
    let mut values: Vec<&str> = tree.root.hidden().into_iter().flat_map(|hidden| &hidden.values).map(String::as_str).collect();
    values.retain(|value| value.len() >= SHORT);
    values.sort_unstable();
    values.dedup();
    values
}
