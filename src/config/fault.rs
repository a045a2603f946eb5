use std::fmt;

use serde::de;

use super::scalar::{Kind, Scalar};
use super::tree::{Node, Value};
use crate::building::did_you_mean;

/// Why a part of the document is not what is wanted: first as serde says it, then located and in the words of the house.
#[derive(Debug)]
pub struct Error(Box<State>);

#[derive(Debug)]
enum State {
    Raw(Fault),
    Located(Report),
}

/// What serde or a `Deserialize` impl has to say.
#[derive(Debug)]
pub enum Fault {
    /// In the words of an impl; a `; ` in it separates the reason from the fix.
    Custom(String),
    /// Neither the wanted type nor a wanted value. `found` is for what was buffered and has lost its node.
    Invalid {
        /// As serde describes it.
        found: Option<String>,
        /// As the visitor describes it.
        expected: String,
    },
    /// A list of the wrong length.
    Length(usize, String),
    /// A name that no variant or field has.
    Unknown(String, Vec<String>),
    /// A key that must be there.
    Missing(&'static str),
    /// Nothing of its own: what is wrong was reported elsewhere.
    Consequence,
}

/// A fault at a node.
#[derive(Clone, Debug)]
pub struct Report {
    /// The [`Node::id`] that it is about.
    pub node: usize,
    /// What is wrong.
    pub reason: String,
    /// What to do about it, if known.
    pub fix: String,
    /// How far it can be trusted.
    pub sort: Sort,
}

/// How a report is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// True by itself.
    Own,
    /// About a list or mapping as a whole: may only be so because a part of it was left out.
    Whole,
    /// A key is missing.
    Missing(&'static str),
    /// Not to be told.
    Consequence,
}

impl Error {
    /// A fault without a place.
    pub fn raw(fault: Fault) -> Self {
        Self(Box::new(State::Raw(fault)))
    }

    /// Gives the fault its place if it has none yet: whoever is innermost does it first.
    #[must_use]
    pub fn locate(self, node: &Node, key: bool) -> Self {
        match *self.0 {
            State::Raw(fault) => Self(Box::new(State::Located(fault.at(node, key)))),
            State::Located(_) => self,
        }
    }

    /// The name that is unknown, while the fault has no place.
    pub fn unknown_name(&self) -> Option<&str> {
        match &*self.0 {
            State::Raw(Fault::Unknown(name, _)) => Some(name),
            _ => None,
        }
    }

    /// The report; what nobody located is about the root.
    pub fn report(self, root: &Node) -> Report {
        match *self.0 {
            State::Raw(fault) => fault.at(root, false),
            State::Located(report) => report,
        }
    }
}

impl fmt::Display for Error {
    // Some impls print an inner error into their own: only a located one is known to be free of secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            State::Located(report) => f.write_str(&report.reason),
            State::Raw(_) => f.write_str("the value is not accepted"),
        }
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::raw(Fault::Custom(message.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::raw(Fault::Invalid { found: Some(found.to_string()), expected: expected.to_string() })
    }

    fn invalid_value(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn de::Expected) -> Self {
        Self::raw(Fault::Length(length, expected.to_string()))
    }

    fn unknown_variant(name: &str, known: &'static [&'static str]) -> Self {
        Self::raw(Fault::Unknown(name.to_owned(), known.iter().map(ToString::to_string).collect()))
    }

    fn unknown_field(name: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_variant(name, known)
    }

    fn missing_field(name: &'static str) -> Self {
        Self::raw(Fault::Missing(name))
    }

    fn duplicate_field(name: &'static str) -> Self {
        Self::raw(Fault::Custom(format!("`{name}` is given twice; keep one of the two")))
    }
}

impl Fault {
    fn at(self, node: &Node, key: bool) -> Report {
        let container = matches!(node.value, Value::List(_) | Value::Map(_));
        let whole = if container { Sort::Whole } else { Sort::Own };
        let (sort, reason, fix) = match self {
            Fault::Custom(message) => {
                let message = conceal(plain_words(&message), node);
                let (reason, fix) = message.split_once("; ").unwrap_or((&message, ""));
                (whole, reason.to_owned(), fix.to_owned())
            }
            Fault::Invalid { found, expected } => {
                let expected = expectation(&expected);
                let found = match found.filter(|_| container) {
                    Some(found) => match found.as_str() {
                        "sequence" => "a list".into(),
                        "map" => "a mapping".into(),
                        _ => conceal(found, node),
                    },
                    None => describe(node),
                };
                (whole, format!("expected {expected}, found {found}"), advice(node, &expected))
            }
            Fault::Length(length, expected) => {
                let expected = expectation(&expected);
                let values = if length == 1 { "value" } else { "values" };
                (whole, format!("expected {expected}, found {length} {values}"), format!("write {expected}"))
            }
            Fault::Unknown(name, known) => {
                let name = conceal(name, node);
                let what = if key { "key" } else { "value" };
                (Sort::Own, format!("unknown {what} `{name}`"), choice(&name, known.iter().map(String::as_str)))
            }
            Fault::Missing(name) => (Sort::Missing(name), format!("`{name}` is missing"), format!("add `{name}:`")),
            Fault::Consequence => (Sort::Consequence, String::new(), String::new()),
        };
        Report { node: node.id(), reason, fix, sort }
    }
}

/// The fix for a mistyped word.
pub fn choice<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let mut all = known.clone().map(|word| format!("`{word}`")).collect::<Vec<_>>();
    let list = match (all.pop(), all.is_empty()) {
        (None, _) => return "remove it".into(),
        (Some(last), true) => format!("only {last} is known here"),
        (Some(last), false) => format!("known here are {} and {last}", all.join(", ")),
    };
    match did_you_mean(word, known) {
        Some(near) => format!("did you mean `{near}`? {list}"),
        None => format!("remove or correct it; {list}"),
    }
}

/// What a visitor expects, in words for who writes the file: names of Rust types say nothing there.
pub fn expectation(expected: &str) -> String {
    let whole = |least: &str, most: &str| format!("a whole number from {least} to {most}");
    let (text, least) = expected.strip_prefix("a nonzero ").map_or((expected, "0"), |text| (text, "1"));
    match text {
        "u8" => whole(least, "255"),
        "u16" => whole(least, "65535"),
        "u32" => whole(least, "4294967295"),
        "u64" | "u128" | "usize" => format!("a whole number, {least} or more"),
        "i8" => whole("-128", "127"),
        "i16" => whole("-32768", "32767"),
        "i32" => whole("-2147483648", "2147483647"),
        "i64" | "i128" | "isize" => "a whole number".into(),
        "f32" | "f64" => "a number".into(),
        "a boolean" => "`true` or `false`".into(),
        "a sequence" => "a list".into(),
        "a map" => "a mapping".into(),
        "unit" => "nothing".into(),
        _ => match text.split(' ').collect::<Vec<_>>().as_slice() {
            ["struct", _] => "a mapping".into(),
            ["enum", ..] => "a word or a mapping with one key".into(),
            ["unit", ..] => "nothing".into(),
            ["tuple", ..] => "a list".into(),
            ["a", "tuple", "of", "size", size] | ["an", "array", "of", "length", size] => format!("a list of {size} values"),
            _ => text.to_owned(),
        },
    }
}

/// Messages of types that others wrote, in words that say what to do.
fn plain_words(message: &str) -> String {
    match message {
        "invalid socket address syntax" => "this is not an IP address with a port; write one like `127.0.0.1:8080` or `[::]:8080`".into(),
        "invalid IP address syntax" => "this is not a network; write one like `10.0.0.0/8` or `2001:db8::/32`".into(),
        other if other.starts_with("data did not match any variant of untagged enum") => {
            "fits none of the forms that are allowed here".into()
        }
        other => other.to_owned(),
    }
}

/// What stands in the file, with the value unless it is hidden.
pub fn describe(node: &Node) -> String {
    let scalar = match &node.value {
        Value::Scalar(scalar) => scalar,
        Value::List(_) => return "a list".into(),
        Value::Map(_) => return "a mapping".into(),
        Value::Broken => return "nothing".into(),
    };
    if let Some(hidden) = &scalar.hidden {
        return format!("`***` (from `{}`)", hidden.source);
    }
    match scalar.kind {
        Kind::Null => "nothing".into(),
        Kind::Bool(_) => format!("`{}`", scalar.text),
        Kind::Int(_) | Kind::Big(_) | Kind::Float(_) => format!("the number `{}`", scalar.text),
        Kind::Text if scalar.text.is_empty() => "an empty string".into(),
        Kind::Text => format!("a string `{}`", short(&scalar.text)),
    }
}

fn short(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(MOST).collect();
    if cut.len() < text.len() { format!("{cut}…") } else { cut }
}

fn advice(node: &Node, expected: &str) -> String {
    let write = format!("write {expected}");
    let scalar = match &node.value {
        Value::Scalar(scalar) => scalar,
        Value::List(_) if expected.starts_with("a list") => return write,
        Value::List(_) => return format!("{write} in the place of the list"),
        _ if expected == "a list" => return "begin each entry with `- `".into(),
        _ => return format!("{write} in the place of the mapping"),
    };
    let shown = |scalar: &Scalar| scalar.hidden.as_ref().map_or_else(|| short(&scalar.text), |hidden| hidden.source.clone());
    let fits = match Kind::of(&scalar.text) {
        Kind::Int(_) | Kind::Big(_) => expected.contains("number") || expected.contains("size"),
        Kind::Float(_) => expected == "a number",
        Kind::Bool(_) => expected.contains("`true`"),
        _ => false,
    };
    match expected {
        _ if fits && scalar.quoted => format!("remove the quotes: `{}`", shown(scalar)),
        "`true` or `false`" if scalar.hidden.is_none() => match scalar.text.to_ascii_lowercase().as_str() {
            "on" | "yes" | "y" => "write `true`".into(),
            "off" | "no" | "n" => "write `false`".into(),
            _ => write,
        },
        "a list" => format!("write a list: `[{}]`", shown(scalar)),
        "a mapping" => "write `key: value` lines, indented below the key".into(),
        "nothing" => "remove it".into(),
        _ if scalar.kind == Kind::Null => format!("{write}, or remove the key"),
        _ => write,
    }
}

/// A text without what came from outside the file in this node and below. A text that still quotes a good part of it is withheld.
pub fn conceal(text: String, node: &Node) -> String {
    let hidden = node.hidden();
    let values: Vec<&str> = hidden.iter().flat_map(|hidden| &hidden.values).map(String::as_str).collect();
    let whole = match &node.value {
        Value::Scalar(Scalar { text, hidden: Some(_), .. }) => Some(text.as_str()),
        _ => None,
    };
    conceal_values(text, whole.into_iter().chain(values))
}

/// [`replace_values`]; withholds the text if half of a value (at most ten characters in a row) is still there.
fn conceal_values<'a>(text: String, values: impl Iterator<Item = &'a str> + Clone) -> String {
    let text = replace_values(text, values.clone());
    let lower = text.to_lowercase();
    let mut values = values.filter(|value| !value.is_empty());
    let quotes = |value: &str| {
        let chars: Vec<char> = value.to_lowercase().chars().collect();
        let length = (chars.len() / 2).clamp(4, 10);
        chars.windows(length).any(|part| lower.contains(&part.iter().collect::<String>()))
    };
    if values.any(quotes) { "the value is not accepted (`***`: the reason would show a part of it)".into() } else { text }
}

/// Replaces each value by `***`, escaped forms too, whatever the case.
pub fn replace_values<'a>(mut text: String, values: impl Iterator<Item = &'a str>) -> String {
    let mut values: Vec<&str> = values.filter(|value| !value.is_empty()).collect();
    // A value may be a part of another.
    values.sort_by_key(|value| std::cmp::Reverse(value.len()));
    for value in &values {
        // A document can hold thousands of them, and an error is short.
        if value.trim().len() > text.len() {
            continue;
        }
        let escaped = format!("{value:?}");
        let escaped = escaped.trim_matches('"');
        for form in [value, value.trim(), escaped, escaped.trim()] {
            text = replace(&text, form);
        }
    }
    text
}

fn replace(text: &str, value: &str) -> String {
    if value.is_empty() || value.chars().all(|c| c == '*') {
        return text.to_owned();
    }
    // ASCII only: other letters can change their length with their case.
    let ascii = text.to_ascii_lowercase();
    let wanted = value.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in ascii.match_indices(&wanted) {
        out.push_str(text.get(from..at).unwrap_or_default());
        out.push_str("***");
        from = at + wanted.len();
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_concealed_in_every_form() {
        for text in ["bad hunter2!", "bad HUNTER2!", "bad \"hunter2\"!"] {
            let text = conceal_values(text.into(), ["hunter2"].into_iter());
            assert!(text.contains("***") && !text.to_lowercase().contains("hunter2"), "{text}");
        }
        assert_eq!(conceal_values(r#"string "a\nb\"c""#.into(), ["a\nb\"c"].into_iter()), "string \"***\"");
    }

    #[test]
    fn a_text_that_quotes_a_part_of_a_secret_is_withheld() {
        let text = conceal_values("bad prefix `correct-horse`".into(), ["correct-horse-battery-staple"].into_iter());
        assert!(text.contains("***") && !text.contains("horse"), "{text}");
        let kept = "must begin with `https://`";
        assert_eq!(conceal_values(kept.into(), ["https://id.example.com"].into_iter()), kept);
    }

    #[test]
    fn types_are_named_in_plain_words() {
        assert_eq!(expectation("u16"), "a whole number from 0 to 65535");
        assert_eq!(expectation("a nonzero u16"), "a whole number from 1 to 65535");
        assert_eq!(expectation("struct Server"), "a mapping");
        assert_eq!(expectation("a tuple of size 2"), "a list of 2 values");
        assert_eq!(expectation("a size in bytes, like `512`"), "a size in bytes, like `512`");
    }
}
