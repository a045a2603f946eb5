use std::fmt;
use std::sync::Arc;

use super::sources::Sources;
use crate::building::ConfigPath;

/// One error with the place that it is about, as a user reads it: `file:line:column: path: reason`, then the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The file as it was named when loading.
    pub file: Arc<str>,
    /// Counted from 1; 0 when the error is about the file as a whole.
    pub line: u32,
    /// In characters, counted from 1.
    pub column: u32,
    /// The place as a path from the root; empty for the root itself and for errors of syntax.
    pub path: ConfigPath,
    /// What is wrong, lower case, without a full stop.
    pub reason: String,
    /// What to do about it; empty when nothing better than the reason is known.
    pub fix: String,
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.0.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.reason)?;
        if !self.fix.is_empty() {
            write!(f, "\n    fix: {}", self.fix)?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a config, in the order of the file; shown one error after the other and a last line with the count.
#[derive(Clone, Debug, Default)]
pub struct ConfigErrors {
    /// Sorted by place, at most [`ConfigErrors::MAX`].
    pub errors: Vec<Located>,
    /// Whether there are more that are not kept.
    pub more: bool,
    /// The files that were read: what to watch until the mistakes are mended.
    pub sources: Sources,
}

impl ConfigErrors {
    /// How many errors are kept: who has more of them has one cause, not a hundred.
    pub const MAX: usize = 100;

    /// Sorts by place, drops what is told twice (a wrong value behind an alias is met once per use) and keeps the first [`ConfigErrors::MAX`].
    pub fn new(mut errors: Vec<Located>) -> Self {
        errors.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        errors.dedup_by(|a, b| a.line > 0 && (&a.file, a.line, a.column, &a.reason) == (&b.file, b.line, b.column, &b.reason));
        let more = errors.len() > Self::MAX;
        errors.truncate(Self::MAX);
        Self { errors, more, sources: Sources::default() }
    }
}

impl From<Located> for ConfigErrors {
    fn from(error: Located) -> Self {
        Self::new(vec![error])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            writeln!(f, "{error}")?;
        }
        match (self.errors.len(), self.more) {
            (1, false) => f.write_str("1 error"),
            (count, false) => write!(f, "{count} errors"),
            (count, true) => write!(f, "the first {count} errors; there are more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32, reason: &str) -> Located {
        let path = ConfigPath(vec!["routes".into(), 0.into(), "match".into(), "path".into()]);
        Located { file: "conf/tidegate.yaml".into(), line, column, path, reason: reason.into(), fix: "write `/api/users`".into() }
    }

    #[test]
    fn an_error_says_where_what_and_how_to_mend_it() {
        assert_eq!(
            at(12, 9, "must start with `/`").to_string(),
            "conf/tidegate.yaml:12:9: routes[0].match.path: must start with `/`\n    fix: write `/api/users`"
        );
    }

    #[test]
    fn errors_come_in_the_order_of_the_file_and_are_counted() {
        let errors = ConfigErrors::new(vec![at(9, 1, "second"), at(2, 7, "first"), at(2, 7, "first")]);
        let text = errors.to_string();
        assert!(text.starts_with("conf/tidegate.yaml:2:7: routes[0].match.path: first\n    fix: "), "{text}");
        assert!(text.ends_with("\n2 errors"), "{text}");
    }

    #[test]
    fn more_than_a_hundred_errors_are_cut() {
        let errors = ConfigErrors::new((1..=101).map(|line| at(line, 1, "bad")).collect());
        assert_eq!((errors.errors.len(), errors.more), (100, true));
        assert!(errors.to_string().ends_with("the first 100 errors; there are more"));
    }
}
