use std::fmt;

use super::text;

/// What is being written, up to a bound.
#[derive(Debug)]
pub struct Out {
    text: Vec<u8>,
    limit: usize,
    fit: Fit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    All,
    TooLong,
}

/// More was to be written than the bound allows, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "longer than {} bytes", self.0)
    }
}

impl std::error::Error for TooLong {}

impl Out {
    /// Nothing yet; at most `limit` bytes, of which about `expected` are likely.
    pub fn new(limit: usize, expected: usize) -> Self {
        Self { text: Vec::with_capacity(expected.min(limit)), limit, fit: Fit::All }
    }

    /// Adds bytes. What is too long takes no more memory; [`Out::finish`] tells.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.fit == Fit::TooLong || bytes.len() > self.limit - self.text.len() {
            self.fit = Fit::TooLong;
            return;
        }
        self.text.extend_from_slice(bytes);
    }

    /// Adds a text as part of a string.
    pub(super) fn put_text(&mut self, text: &str) {
        text::escape(text, |bytes| self.put(bytes));
    }

    /// A place to come back to.
    pub(super) fn mark(&self) -> usize {
        self.text.len()
    }

    /// Forgets what was written since.
    pub(super) fn back_to(&mut self, mark: usize) {
        self.text.truncate(mark);
    }

    /// Leaves of an array that was written since only the items; false, and nothing is left, where there are none or no array.
    pub(super) fn open(&mut self, mark: usize) -> bool {
        let inner = match self.text.get(mark..) {
            Some([b'[', inner @ .., b']']) => inner.trim_ascii().len(),
            _ => 0,
        };
        if inner == 0 {
            self.back_to(mark);
            return false;
        }
        self.text.pop();
        self.text.remove(mark);
        true
    }

    /// All that was written.
    ///
    /// # Errors
    /// It was too long.
    pub fn finish(self) -> Result<Vec<u8>, TooLong> {
        match self.fit {
            Fit::All => Ok(self.text),
            Fit::TooLong => Err(TooLong(self.limit)),
        }
    }
}
