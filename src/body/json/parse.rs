use smallvec::SmallVec;

use super::fault::{Bounds, DEEPEST, Fault, LONGEST, Wrong};
use super::scan::{self, Escapes};

/// What is told of a text while it is read, in its order.
pub(super) trait Sink {
    /// A value without others in it, or a member's name.
    fn scalar(&mut self, start: usize, end: usize, escapes: Escapes);
    /// An array or object begins. Gives a word for [`Sink::close`].
    fn open(&mut self, start: usize) -> usize;
    /// It ends, behind its bracket.
    fn close(&mut self, opened: usize, end: usize);
}

/// Where nothing needs to be known but whether it is JSON.
impl Sink for () {
    fn scalar(&mut self, _: usize, _: usize, _: Escapes) {}

    fn open(&mut self, _: usize) -> usize {
        0
    }

    fn close(&mut self, _: usize, _: usize) {}
}

/// Reads one JSON text to its end.
///
/// # Errors
/// What RFC 8259 does not allow, and what is beyond the bounds.
pub(super) fn parse<S: Sink>(bytes: &[u8], bounds: Bounds, sink: S) -> Result<S, Fault> {
    let longest = bounds.bytes.min(LONGEST);
    if bytes.len() > longest {
        return Err(Fault { at: longest, wrong: Wrong::TooLong(longest) });
    }
    if let Err(error) = std::str::from_utf8(bytes) {
        return Err(Fault::new(error.valid_up_to(), "not UTF-8"));
    }
    let mut parser = Parser { bytes, at: 0, sink, left: bounds.values, bounds };
    parser.text(bounds.depth.min(DEEPEST))?;
    Ok(parser.sink)
}

struct Parser<'b, S> {
    bytes: &'b [u8],
    at: usize,
    sink: S,
    bounds: Bounds,
    /// Values that may still come.
    left: usize,
}

/// What the next value stands in.
#[derive(Clone, Copy)]
struct Open {
    within: Within,
    opened: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    /// Nothing: it is the whole text.
    Text,
    Array,
    Object,
}

// Everything is inlined into one loop: as calls with results that may be faults it takes twice as long.
impl<S: Sink> Parser<'_, S> {
    fn text(&mut self, depth: usize) -> Result<(), Fault> {
        let mut around: SmallVec<[Open; 16]> = SmallVec::new();
        let mut open = Open { within: Within::Text, opened: 0 };
        loop {
            if let Some(within) = self.value()? {
                if around.len() >= depth {
                    return Err(Fault { at: self.at, wrong: Wrong::TooDeep(depth) });
                }
                let opened = self.sink.open(self.at);
                self.at += 1;
                match (within, self.peek()) {
                    (Within::Array, Some(b']')) | (Within::Object, Some(b'}')) => {
                        self.at += 1;
                        self.sink.close(opened, self.at);
                    }
                    (_, next) => {
                        around.push(open);
                        open = Open { within, opened };
                        if within == Within::Object {
                            self.name(next, "a name or `}` is expected")?;
                        }
                        continue;
                    }
                }
            }
            // Behind a value: on to the next one, or out of what ends here.
            loop {
                match (self.peek(), open.within) {
                    (Some(b','), Within::Array) => {
                        self.at += 1;
                        break;
                    }
                    (Some(b','), Within::Object) => {
                        self.at += 1;
                        let next = self.peek();
                        self.name(next, "a name is expected")?;
                        break;
                    }
                    (Some(b']'), Within::Array) | (Some(b'}'), Within::Object) => {
                        self.at += 1;
                        self.sink.close(open.opened, self.at);
                        open = around.pop().unwrap_or(Open { within: Within::Text, opened: 0 });
                    }
                    (None, Within::Text) => return Ok(()),
                    (Some(_), Within::Text) => return Err(Fault::new(self.at, "something stands behind the value")),
                    (None, _) => return Err(Fault::new(self.at, "the text ends within an array or object")),
                    (_, Within::Array) => return Err(Fault::new(self.at, "`,` or `]` is expected")),
                    (_, Within::Object) => return Err(Fault::new(self.at, "`,` or `}` is expected")),
                }
            }
        }
    }

    /// The next byte that is no white space.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        self.at = scan::space(self.bytes, self.at);
        self.bytes.get(self.at).copied()
    }

    /// A whole value, or the beginning of one that has others in it, which is left to be read.
    #[inline(always)]
    fn value(&mut self) -> Result<Option<Within>, Fault> {
        let next = self.peek();
        self.count()?;
        let start = self.at;
        let mut escapes = Escapes::None;
        self.at = match next {
            Some(b'{') => return Ok(Some(Within::Object)),
            Some(b'[') => return Ok(Some(Within::Array)),
            Some(b'"') => {
                let end;
                (end, escapes) = scan::string(self.bytes, start + 1)?;
                end
            }
            Some(b'-' | b'0'..=b'9') => scan::number(self.bytes, start)?,
            _ => scan::literal(self.bytes, start)?,
        };
        self.sink.scalar(start, self.at, escapes);
        Ok(None)
    }

    /// A member's name and the colon behind it.
    #[inline(always)]
    fn name(&mut self, next: Option<u8>, expected: &'static str) -> Result<(), Fault> {
        if next != Some(b'"') {
            return Err(Fault::new(self.at, expected));
        }
        self.count()?;
        let (end, escapes) = scan::string(self.bytes, self.at + 1)?;
        self.sink.scalar(self.at, end, escapes);
        self.at = end;
        if self.peek() != Some(b':') {
            return Err(Fault::new(self.at, "`:` is expected"));
        }
        self.at += 1;
        Ok(())
    }

    #[inline(always)]
    fn count(&mut self) -> Result<(), Fault> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(Fault { at: self.at, wrong: Wrong::TooMany(self.bounds.values) }),
        }
        Ok(())
    }
}
