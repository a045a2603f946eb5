//! In what form a body goes on: what is picked, dropped, renamed, moved, lifted and wrapped, worked out once into a tree of places and applied while the
//! body is written. Whatever no path leads to is copied as one span of bytes.

// Each uses only those above it.
mod config;
mod node;
mod write;
mod build;

pub use config::ShapeConfig;

use std::borrow::Cow;

use super::out::Out;
use super::path::Path;
use super::value::{Kind, Value};
use node::{New, Node};
use write::Writer;
pub(super) use write::{Member, Name, What, settle};

/// [`ShapeConfig`], ready to run.
#[derive(Debug, Default)]
pub struct Shape {
    of: Of,
    take: Option<Path>,
    /// None where all stays as it came.
    root: Option<Node>,
    moves: usize,
    wrap: Box<[New]>,
}

/// What has the shape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Of {
    /// The value.
    #[default]
    Whole,
    /// Each item of the array that it is.
    Items,
}

/// A value in its shape, which is there to be written.
#[derive(Clone, Copy)]
pub struct Shaped<'a> {
    shape: &'a Shape,
    value: Value<'a>,
}

impl Shape {
    /// The same for each item of an array; null is written for one of which nothing is left.
    #[must_use]
    pub fn of_items(self) -> Self {
        Self { of: Of::Items, ..self }
    }

    /// The value as this shape wants it; none where nothing is left: what is taken is not there, or paths are picked and it is neither object nor array.
    pub fn of<'a>(&'a self, value: Value<'a>) -> Option<Shaped<'a>> {
        match self.of {
            Of::Whole => self.of_item(value),
            Of::Items => (value.kind() == Kind::Array).then_some(Shaped { shape: self, value }),
        }
    }

    /// The same for one value, whatever the shape is for.
    pub fn of_item<'a>(&'a self, value: Value<'a>) -> Option<Shaped<'a>> {
        let value = match &self.take {
            Some(path) => value.find(path)?,
            None => value,
        };
        let takes = self.root.as_ref().is_none_or(|root| root.takes(value));
        takes.then_some(Shaped { shape: self, value })
    }

    /// The first name that it is wrapped in, as it is written.
    pub(super) fn wrapped_in(&self) -> Option<&[u8]> {
        self.wrap.first().filter(|_| self.of == Of::Whole).map(|name| &*name.quoted)
    }
}

impl<'a> Shaped<'a> {
    /// Writes it.
    pub fn write(self, out: &mut Out) {
        if self.shape.of == Of::Whole {
            return self.shape.write(self.value, 0, out);
        }
        let mut before: &[u8] = b"[";
        for item in self.value.items() {
            out.put(before);
            match self.shape.of_item(item) {
                Some(item) => self.shape.write(item.value, 0, out),
                None => out.put(b"null"),
            }
            before = b",";
        }
        out.put(if before == b"[" { b"[]" } else { b"]" });
    }

    /// Whether an object will be written.
    pub(super) fn is_object(self) -> bool {
        self.shape.of == Of::Whole && !self.shape.wrap.is_empty() || self.value.kind() == Kind::Object
    }

    /// Its text, if it is a scalar that has one: [`Value::text`].
    pub fn text(self) -> Option<Cow<'a, str>> {
        if self.shape.wrap.is_empty() { self.value.text() } else { None }
    }

    /// Its members and who writes them; none where it is no object.
    pub(super) fn members(self) -> Option<(Writer<'a, 'a>, Vec<Member<'a, 'a>>)> {
        let Shaped { shape, value } = self;
        if shape.of == Of::Items {
            return None;
        }
        let mut writer = Writer::new(shape.moves);
        let mut members = Vec::new();
        match (shape.wrap.first(), &shape.root) {
            (Some(name), _) => members.push(Member { name: Name::Given(name), what: What::Whole(shape, value), rank: 0 }),
            _ if value.kind() != Kind::Object => return None,
            (None, Some(root)) => {
                writer.gather(Some(value), root, &mut members);
                settle(&mut members);
            }
            (None, None) => {
                members.extend(value.members().map(|(name, value)| Member { name: Name::Came(name), what: What::Copy(value), rank: 0 }));
            }
        }
        Some((writer, members))
    }
}

impl Shape {
    /// Writes a value that it has been asked for, less the first names that it is wrapped in.
    fn write(&self, value: Value<'_>, less: usize, out: &mut Out) {
        for name in self.wrap.iter().skip(less) {
            out.put(b"{");
            out.put(&name.quoted);
            out.put(b":");
        }
        match &self.root {
            Some(root) => Writer::new(self.moves).write(value, root, out),
            None => out.put(value.raw()),
        }
        self.wrap.iter().skip(less).for_each(|_| out.put(b"}"));
    }
}

#[cfg(test)]
mod tests;
