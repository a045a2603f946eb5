use std::sync::Arc;

use super::located::Located;
use super::scalar::{Hidden, Scalar};
use crate::building::{ConfigPath, Step};

/// Where something was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Which of [`Tree::files`].
    pub file: u16,
    /// Counted from 1.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
}

/// A value and where it was written. A value behind an alias keeps the place of its anchor: that is where it is mended.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What was written.
    pub value: Value,
    /// Where it begins; for a value left out, the place of its key.
    pub place: Place,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A leaf.
    Scalar(Scalar),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file; no key twice.
    Map(Vec<Entry>),
    /// Something that was already reported; treated as if it had not been written.
    Broken,
}

/// One `key: value` of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Always a scalar.
    pub key: Node,
    /// What stands behind it.
    pub value: Node,
}

impl Entry {
    /// The key as text.
    pub fn name(&self) -> &str {
        match &self.key.value {
            Value::Scalar(scalar) => &scalar.text,
            _ => "",
        }
    }

    /// Where an error about this entry points: at the value if it is a leaf, else at the key, since a block mapping or list begins on a
    /// line of its own that says nothing.
    pub fn place(&self) -> Place {
        if matches!(self.value.value, Value::Scalar(_)) { self.value.place } else { self.key.place }
    }
}

impl Node {
    /// What tells this node from any other of its tree, as long as the tree is not changed.
    pub fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// The entry of that name, if this is a mapping that has it.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.name() == name),
            _ => None,
        }
    }

    /// What came from outside the file, in this node and below.
    pub fn hidden(&self) -> Vec<&Hidden> {
        let mut found = Vec::new();
        self.gather_hidden(&mut found);
        found
    }

    // Deep, but no deeper than the parser allows.
    fn gather_hidden<'t>(&'t self, found: &mut Vec<&'t Hidden>) {
        match &self.value {
            Value::Scalar(scalar) => found.extend(scalar.hidden.as_deref()),
            Value::List(items) => items.iter().for_each(|item| item.gather_hidden(found)),
            Value::Map(entries) => entries.iter().for_each(|entry| entry.value.gather_hidden(found)),
            Value::Broken => {}
        }
    }
}

/// A document, with the names of the files it came from.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The document itself.
    pub root: Node,
    /// File names, for [`Place::file`]: the main file, then those that are included.
    pub files: Vec<Arc<str>>,
}

impl Tree {
    /// An error at a place of this tree.
    pub fn error(&self, place: Place, path: ConfigPath, reason: impl Into<String>, fix: impl Into<String>) -> Located {
        located(&self.files, place, path, reason, fix)
    }

    /// The path within its file of a path in the whole document, where an included file's entries of a list stand behind those of others.
    pub fn within_file(&self, path: &mut ConfigPath) {
        let [Step::Key(name), Step::Index(index), ..] = path.0.as_mut_slice() else { return };
        let Some(Value::List(items)) = self.root.entry(name).map(|entry| &entry.value.value) else { return };
        let Some(file) = items.get(*index).map(|item| item.place.file) else { return };
        *index = items.iter().take(*index).filter(|item| item.place.file == file).count();
    }

    /// The node that a path leads to, and where an error about it points by the rule of [`Entry::place`]. If the path is not in the
    /// document, the nearest part above it.
    pub fn find(&self, path: &ConfigPath) -> (&Node, Place) {
        let mut found = (&self.root, self.root.place);
        for step in &path.0 {
            let next = match (step, &found.0.value) {
                (Step::Key(name), Value::Map(_)) => found.0.entry(name).map(|entry| (&entry.value, entry.place())),
                (Step::Index(index), Value::List(items)) => items.get(*index).map(|item| (item, item.place)),
                _ => None,
            };
            let Some(next) = next else { break };
            found = next;
        }
        found
    }

    /// Calls `see` for each key, list entry and value, with the path from the root and the place that errors point at.
    pub fn walk(&self, see: &mut dyn FnMut(&Node, &[Step], Place)) {
        walk(&self.root, self.root.place, &mut Vec::new(), see);
    }
}

/// An error at a place of these files.
pub fn located(files: &[Arc<str>], place: Place, path: ConfigPath, reason: impl Into<String>, fix: impl Into<String>) -> Located {
    let file = files.get(usize::from(place.file)).cloned().unwrap_or_default();
    Located { file, line: place.line, column: place.column, path, reason: reason.into(), fix: fix.into() }
}

/// A place as an error names another one: `file:line`.
pub fn said(files: &[Arc<str>], place: Place) -> String {
    format!("{}:{}", files.get(usize::from(place.file)).map_or("", |file| &**file), place.line)
}

fn walk(node: &Node, place: Place, path: &mut Vec<Step>, see: &mut dyn FnMut(&Node, &[Step], Place)) {
    see(node, path, place);
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Step::Index(index));
                walk(item, item.place, path, see);
                path.pop();
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                path.push(Step::Key(entry.name().to_owned()));
                see(&entry.key, path, entry.key.place);
                walk(&entry.value, entry.place(), path, see);
                path.pop();
            }
        }
        Value::Scalar(_) | Value::Broken => {}
    }
}
