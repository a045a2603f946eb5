use std::fmt;

use crate::building::BuildError;

/// The way to a value: names of members joined by dots, `address.city`. A dot within a name is written `\.`, a backslash `\\`, and a name that is just an
/// asterisk `\*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    pub(super) steps: Box<[Step]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub name: Box<str>,
    /// The same as the place of an item.
    pub index: Option<usize>,
}

/// The longest path.
const LONGEST: usize = 64;

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// A step without a name, a wildcard, an escape that is not known, too many steps.
    pub fn parse(text: &str) -> Result<Self, BuildError> {
        let mut steps = Vec::new();
        let mut name = String::new();
        let mut written = String::new();
        let mut chars = text.chars();
        loop {
            let char = chars.next();
            match char {
                Some('\\') => match chars.next() {
                    Some(escaped @ ('.' | '\\' | '*')) => {
                        name.push(escaped);
                        written.extend(['\\', escaped]);
                    }
                    _ => {
                        return Err(BuildError::new(
                            format!("`{text}` has a `\\` before nothing that needs one"),
                            "write `\\\\` for itself",
                        ));
                    }
                },
                Some('.') | None => {
                    if name.is_empty() {
                        let reason =
                            if text.is_empty() { "the path is empty".to_owned() } else { format!("`{text}` has a step without a name") };
                        return Err(BuildError::new(reason, "write names with dots between them, like `address.city`"));
                    }
                    if written == "*" {
                        let fix =
                            "leave the step out: a path goes through all items of an array; a name that is an asterisk is written `\\*`";
                        return Err(BuildError::new(format!("`*` in `{text}` is no wildcard"), fix));
                    }
                    steps.push(Step::new(&std::mem::take(&mut name)));
                    written.clear();
                }
                Some(char) => {
                    name.push(char);
                    written.push(char);
                }
            }
            if char.is_none() {
                break;
            }
        }
        if steps.len() > LONGEST {
            return Err(BuildError::new(format!("the path has {} steps", steps.len()), format!("use at most {LONGEST}")));
        }
        Ok(Self { steps: steps.into() })
    }

    /// Its names, from the root.
    pub(super) fn names(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.steps.iter().map(|step| &*step.name)
    }

    /// Whether `other` lies at the end of this path or beyond it.
    pub(super) fn holds(&self, other: &Path) -> bool {
        other.steps.starts_with(&self.steps)
    }
}

impl Step {
    fn new(name: &str) -> Self {
        let digits = name.bytes().all(|byte| byte.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
        Self { name: name.into(), index: if digits { name.parse().ok() } else { None } }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, name) in self.names().enumerate() {
            let escaped = name.replace('\\', "\\\\").replace('.', "\\.");
            let (dot, escaped) = (if place > 0 { "." } else { "" }, if escaped == "*" { "\\*" } else { &escaped });
            write!(f, "{dot}{escaped}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_and_written() {
        for (text, names) in [("a", &["a"][..]), (r"a\.b.c\\.\*", &["a.b", r"c\", "*"]), ("a.0", &["a", "0"]), ("a*.é", &["a*", "é"])] {
            let path = Path::parse(text).unwrap();
            assert_eq!(path.names().collect::<Vec<_>>(), names);
            assert_eq!(path.to_string(), text);
        }
        assert_eq!(Path::parse("12.012").unwrap().steps.iter().map(|step| step.index).collect::<Vec<_>>(), [Some(12), None]);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in ["", ".", "a.", ".a", "a..b", "*", "a.*.b", r"a\", r"\a", &["a"; 65].join(".")] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
    }
}
