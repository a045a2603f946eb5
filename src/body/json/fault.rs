use std::fmt;

/// How much JSON is taken in. What is beyond is refused before it costs memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of the whole text. Default: 8 MiB. Places are kept in 32 bits, so nothing beyond 4 GiB is ever taken.
    pub bytes: usize,
    /// Arrays and objects within each other. Default: 128. Never more than 512: what walks a document does so on the stack.
    pub depth: usize,
    /// Values, and names of members among them; each costs 12 bytes beside the text. Default: 1,000,000.
    pub values: usize,
}

/// The longest text that any bounds allow: places are told in 32 bits.
pub(super) const LONGEST: usize = u32::MAX as usize - 1;

/// The deepest nesting that any bounds allow.
pub(super) const DEEPEST: usize = 512;

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 8 * 1024 * 1024, depth: 128, values: 1_000_000 }
    }
}

/// Why a text is not taken as JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The byte at which it shows, from 0.
    pub at: usize,
    /// What it is.
    pub wrong: Wrong,
}

/// What can be wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It is no JSON (RFC 8259); what was expected or met instead.
    Syntax(&'static str),
    /// It is longer than this many bytes.
    TooLong(usize),
    /// It is nested deeper than this.
    TooDeep(usize),
    /// It has more values than this.
    TooMany(usize),
}

impl Fault {
    #[cold]
    pub(super) fn new(at: usize, what: &'static str) -> Self {
        Self { at, wrong: Wrong::Syntax(what) }
    }

    /// Whether it may well be JSON, just more of it than the bounds allow.
    pub fn is_bound(&self) -> bool {
        !matches!(self.wrong, Wrong::Syntax(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wrong {
            Wrong::Syntax(what) => write!(f, "not JSON: {what}")?,
            Wrong::TooLong(bytes) => return write!(f, "longer than {bytes} bytes"),
            Wrong::TooDeep(depth) => write!(f, "nested deeper than {depth}")?,
            Wrong::TooMany(values) => write!(f, "more than {values} values")?,
        }
        write!(f, " at byte {}", self.at)
    }
}

impl std::error::Error for Fault {}
