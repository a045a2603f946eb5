use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::super::fault::{Report, Sort, choice};
use super::super::tree::{Entry, Node, Value};
use crate::building::did_you_mean;

/// What the passes over one tree have found out so far; by [`Node::id`].
#[derive(Default)]
pub struct Known {
    /// Taken out: read as if not written.
    poisoned: RefCell<HashSet<usize>>,
    /// Keys that are missing in a mapping and filled in.
    filled: RefCell<HashMap<usize, Vec<&'static str>>>,
    /// Unknown keys in the order they were met.
    unknown: RefCell<Vec<Report>>,
    /// Keys that an unknown key of a mapping was probably meant to be: not missing besides.
    meant: RefCell<HashSet<(usize, &'static str)>>,
}

impl Known {
    /// Takes a node out. False if it was out already.
    pub fn poison(&self, node: usize) -> bool {
        self.poisoned.borrow_mut().insert(node)
    }

    /// Fills in a missing key. False if that was tried already.
    pub fn fill(&self, mapping: usize, name: &'static str) -> bool {
        let mut filled = self.filled.borrow_mut();
        let names = filled.entry(mapping).or_default();
        let new = !names.contains(&name);
        if new {
            names.push(name);
        }
        new
    }

    /// Whether the node is taken out.
    pub fn is_poisoned(&self, node: &Node) -> bool {
        matches!(node.value, Value::Broken) || self.poisoned.borrow().contains(&node.id())
    }

    /// Whether a list or mapping, or one right inside it, is not as the file has it.
    pub fn is_damaged(&self, node: &Node) -> bool {
        self.filled.borrow().contains_key(&node.id())
            || match &node.value {
                Value::List(items) => items.iter().any(|item| self.is_out(item)),
                Value::Map(entries) => entries.iter().any(|entry| self.is_out(&entry.value) || self.is_poisoned(&entry.key)),
                Value::Scalar(_) | Value::Broken => false,
            }
    }

    /// Whether a key is missing for a reason that is told already.
    pub fn explains_missing(&self, mapping: usize, name: &'static str) -> bool {
        self.meant.borrow().contains(&(mapping, name)) || self.filled.borrow().get(&mapping).is_some_and(|names| names.contains(&name))
    }

    /// The reports on unknown keys.
    pub fn take_unknown(&self) -> Vec<Report> {
        self.unknown.take()
    }

    fn is_out(&self, node: &Node) -> bool {
        self.is_poisoned(node) || self.filled.borrow().contains_key(&node.id())
    }

    /// Whether an entry is taken out.
    pub fn is_gone(&self, entry: &Entry) -> bool {
        self.is_poisoned(&entry.value) || self.is_poisoned(&entry.key)
    }

    /// An unknown key does not end the pass: it is noted, and its entry taken out.
    pub fn note_unknown(&self, mapping: &Node, entry: &Entry, fields: &'static [&'static str]) {
        let name = entry.name();
        let fix = choice(name, fields.iter().copied());
        self.unknown.borrow_mut().push(Report { node: entry.key.id(), reason: format!("unknown key `{name}`"), fix, sort: Sort::Own });
        self.poison(entry.key.id());
        if let Some(meant) = did_you_mean(name, fields.iter().copied()) {
            self.meant.borrow_mut().insert((mapping.id(), meant));
        }
    }

    /// The keys to be filled in for a mapping.
    pub fn names_filled(&self, mapping: &Node) -> Vec<&'static str> {
        self.filled.borrow().get(&mapping.id()).cloned().unwrap_or_default()
    }
}
