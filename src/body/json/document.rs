use bytes::Bytes;

use super::fault::{Bounds, Fault, LONGEST, Wrong};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

    /// The array of these, in their order, with `null` for each that is none. Their places are moved, and nothing is read again.
    ///
    /// # Errors
    /// It has more values than the bounds allow, or is longer. It is one deeper than they are.
    pub fn array<'d>(items: impl Iterator<Item = Option<&'d Self>> + Clone, bounds: Bounds) -> Result<Self, Fault> {
        let sum = |sum: (usize, usize), item: Option<&Self>| {
            let (bytes, values) = item.map_or((NULL.len(), 1), |item| (item.text.len(), item.values()));
            (sum.0.saturating_add(bytes + 1), sum.1.saturating_add(values))
        };
        let (bytes, values) = items.clone().fold((2, 1), sum);
        let (longest, most) = (bounds.bytes.min(LONGEST), bounds.values);
        let wrong = if bytes > longest { Some(Wrong::TooLong(longest)) } else { (values > most).then_some(Wrong::TooMany(most)) };
        if let Some(wrong) = wrong {
            return Err(Fault { at: 0, wrong });
        }
        let (mut text, mut tape) = (Vec::with_capacity(bytes), Vec::with_capacity(values));
        tape.push(Entry { start: 0, end: 0, next: place(values) });
        for item in items {
            text.push(if text.is_empty() { b'[' } else { b',' });
            match item {
                Some(item) => item.copy(&mut text, &mut tape),
                None => {
                    tape.push(Entry { start: place(text.len()), end: place(text.len() + NULL.len()), next: 0 });
                    text.extend_from_slice(NULL);
                }
            }
        }
        if text.is_empty() {
            text.push(b'[');
        }
        text.push(b']');
        if let Some(whole) = tape.first_mut() {
            whole.end = place(text.len());
        }
        Ok(Self { text: text.into(), tape })
    }

    /// Copies the value behind others.
    fn copy(&self, text: &mut Vec<u8>, tape: &mut Vec<Entry>) {
        let Some(root) = self.tape.first() else { return };
        let (from, to, before) = (root.start, place(text.len()), place(tape.len()));
        text.extend_from_slice(self.text.get(root.start as usize..root.end as usize).unwrap_or_default());
        tape.extend(self.tape.iter().map(|entry| Entry {
            start: entry.start - from + to,
            end: entry.end - from + to,
            next: match self.text.get(entry.start as usize) {
                Some(b'[' | b'{') => entry.next + before,
                _ => entry.next,
            },
        }));
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

const NULL: &[u8] = b"null";

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::json::Dice;

    #[test]
    fn an_array_of_documents_is_what_reading_it_would_be() {
        let mut dice = Dice(7);
        let mut made = 0;
        for round in 0..2000 {
            let items: Vec<Option<Document>> = (0..dice.roll(5))
                .map(|_| match dice.roll(6) {
                    0 => None,
                    1 => Some(Document::string("a \"quoted\" text")),
                    _ => {
                        let mut text = String::new();
                        dice.text(4, &mut text);
                        Document::parse(text, Bounds::default()).ok()
                    }
                })
                .collect();
            let array = Document::array(items.iter().map(Option::as_ref), Bounds::default()).unwrap();
            let read = Document::parse(array.text.clone(), Bounds::default()).unwrap();
            assert_eq!(array.tape, read.tape, "{round}: {:?}", array.text);
            made += items.iter().flatten().filter(|item| item.values() > 5).count();
        }
        assert!(made > 500, "{made}");
    }

    #[test]
    fn an_array_beyond_the_bounds_is_refused() {
        let item = Document::parse("[1, 2]", Bounds::default()).unwrap();
        let of = |count: usize, bounds| Document::array(std::iter::repeat_n(Some(&item), count), bounds).map(|array| array.values());
        let bounds = Bounds { values: 10, ..Bounds::default() };
        assert_eq!((of(3, bounds), of(4, bounds).map_err(|fault| fault.wrong)), (Ok(10), Err(Wrong::TooMany(10))));
        let bounds = Bounds { bytes: 20, ..Bounds::default() };
        assert_eq!(of(3, bounds).map_err(|fault| fault.wrong), Err(Wrong::TooLong(20)));
        let bounds = Bounds { bytes: 23, ..Bounds::default() };
        assert_eq!(of(3, bounds), Ok(10));
    }
}
