use bytes::Bytes;

use super::fault::{Bounds, Fault};
use super::parse::{Sink, parse};
use super::scan::Escapes;
use super::text;

/// One JSON text and where everything in it is. The text itself is neither decoded nor copied.
#[derive(Clone, Debug)]
pub struct Document {
    pub(super) text: Bytes,
    pub(super) tape: Vec<Entry>,
}

/// One value, or the name of a member, which stands right before its value. A document's values lie one behind the other in the order of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub start: u32,
    pub end: u32,
    /// Of an array or object: the entry behind all that is in it. Of anything else: 1 for a string with escapes.
    pub next: u32,
}

impl Document {
    /// Reads a text.
    ///
    /// # Errors
    /// What RFC 8259 does not allow, and what is beyond the bounds.
    pub fn parse(text: impl Into<Bytes>, bounds: Bounds) -> Result<Self, Fault> {
        let text = text.into();
        let tape = parse(&text, bounds, Tape(Vec::with_capacity((text.len() / 6).clamp(1, 4096))))?.0;
        Ok(Self { tape, text })
    }

    /// A document that is one string: for what is no JSON but has a place in one.
    pub fn string(content: &str) -> Self {
        let text = text::quoted(content);
        let escapes = if text.len() == content.len() + 2 { Escapes::None } else { Escapes::Some };
        // A content of more than 4 GiB has no place in a document; it is bounded long before.
        let end = u32::try_from(text.len()).unwrap_or_default();
        Self { tape: vec![Entry { start: 0, end, next: escapes as u32 }], text: text.into() }
    }

    /// The text as it came, with the white space around it.
    pub fn text(&self) -> &Bytes {
        &self.text
    }

    /// How many values it has, names of members among them.
    pub fn values(&self) -> usize {
        self.tape.len()
    }
}

/// Whether a text is JSON within the bounds, where nobody wants to know more: quicker, and without memory for what is in it.
///
/// # Errors
/// As [`Document::parse`].
pub fn check(text: &[u8], bounds: Bounds) -> Result<(), Fault> {
    parse(text, bounds, ())
}

struct Tape(Vec<Entry>);

/// A place in a text, which [`parse`] has seen to be short enough.
fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Sink for Tape {
    fn scalar(&mut self, start: usize, end: usize, escapes: Escapes) {
        self.0.push(Entry { start: place(start), end: place(end), next: escapes as u32 });
    }

    fn open(&mut self, start: usize) -> usize {
        self.0.push(Entry { start: place(start), end: 0, next: 0 });
        self.0.len() - 1
    }

    fn close(&mut self, opened: usize, end: usize) {
        let next = place(self.0.len());
        if let Some(entry) = self.0.get_mut(opened) {
            (entry.end, entry.next) = (place(end), next);
        }
    }
}
