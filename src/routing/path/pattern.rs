use std::sync::Arc;

use super::normalise::{PathError, escape, normalise};
use super::{EncodedSlashes, PathOptions};
use crate::building::BuildError;

/// How many segments a pattern may have: the look-up descends one call for each.
const MOST_SEGMENTS: usize = 128;

/// One segment of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::routing) enum Segment {
    /// This text, in its one spelling; empty after a slash at the end.
    Literal(Box<str>),
    /// A parameter of at least one byte, between two texts that are mostly empty.
    Param { before: Box<str>, after: Box<str> },
}

/// A parsed path pattern, compared with normalised paths.
#[derive(Clone, Debug)]
pub(in crate::routing) struct Pattern {
    /// What stands between the slashes, the text before the first slash (nothing) left out.
    pub(in crate::routing) segments: Vec<Segment>,
    /// Whether zero or more segments may follow.
    pub(in crate::routing) rest: bool,
    /// The parameters from left to right.
    pub(in crate::routing) names: Arc<[Box<str>]>,
}

impl Pattern {
    /// A path in which nothing has a meaning.
    pub(in crate::routing) fn exact(text: &str, options: &PathOptions) -> Result<Self, BuildError> {
        starts_with_slash(text)?;
        let path = normalise(text, options).map_err(|error| refused(text, error))?;
        let segments = path.split('/').skip(1).map(|segment| Segment::Literal(segment.into())).collect();
        bounded(text, Self { segments, rest: false, names: Arc::default() })
    }

    /// `/users/{id}`, `/files/{rest...}`.
    pub(in crate::routing) fn parse(text: &str, options: &PathOptions) -> Result<Self, BuildError> {
        starts_with_slash(text)?;
        if !text.contains(['{', '}']) {
            text.split('/').try_for_each(no_foreign_wildcard)?;
            return Self::exact(text, options);
        }
        let clean = escape_literals(text, options)?;
        let mut pattern = Self { segments: Vec::new(), rest: false, names: Arc::default() };
        let mut names: Vec<Box<str>> = Vec::new();
        let mut segments = clean.split('/').skip(1).peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            no_foreign_wildcard(segment)?;
            let Some((before, name, after)) = split_parameter(segment)? else {
                if matches!(segment, "." | "..") || (segment.is_empty() && !last && options.merge_slashes) {
                    return Err(BuildError::new(
                        format!("`{text}` can never match: request paths have no `{segment}` between slashes once normalised"),
                        "write the path without it",
                    ));
                }
                pattern.segments.push(Segment::Literal(segment.into()));
                continue;
            };
            let name = match name.strip_suffix("...") {
                Some(_) if !last || !before.is_empty() || !after.is_empty() => {
                    return Err(BuildError::new(
                        format!("`{{{name}}}` in `{text}` is not the whole last segment"),
                        "put it at the end, after a slash, or use a regex: `~/a/(?<middle>.+)/z`",
                    ));
                }
                Some(name) => {
                    pattern.rest = true;
                    name
                }
                None => {
                    pattern.segments.push(Segment::Param { before: before.into(), after: after.into() });
                    name
                }
            };
            valid_name(name)?;
            if names.iter().any(|known| **known == *name) {
                return Err(BuildError::new(format!("`{text}` has two parameters `{name}`"), "give each its own name"));
            }
            names.push(name.into());
        }
        pattern.names = names.into();
        bounded(text, pattern)
    }

    /// The path and everything below it, segment by segment: `/v2` is `/v2/{rest...}`.
    pub(in crate::routing) fn prefix(text: &str, options: &PathOptions) -> Result<Self, BuildError> {
        starts_with_slash(text)?;
        if text.ends_with("...}") {
            return Err(BuildError::new(format!("the prefix `{text}` has a rest already"), format!("write `path: {text}`")));
        }
        Self::parse(&format!("{}/{{rest...}}", text.strip_suffix('/').unwrap_or(text)), options)
    }

    /// Every path.
    pub(in crate::routing) fn everything() -> Self {
        Self { segments: Vec::new(), rest: true, names: Arc::default() }
    }

    /// A path that it matches, with this text for each parameter.
    pub(in crate::routing) fn example(&self, value: &str) -> String {
        let mut path = String::new();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => path.extend(["/", text]),
                Segment::Param { before, after } => path.extend(["/", before, value, after]),
            }
        }
        if self.rest {
            path.extend(["/", value]);
        }
        path
    }

    /// The same as a regex.
    pub(in crate::routing) fn expression(&self) -> String {
        let mut text = String::new();
        for segment in &self.segments {
            text.push('/');
            match segment {
                Segment::Literal(literal) => text.push_str(&regex_syntax::escape(literal)),
                Segment::Param { before, after } => {
                    text.extend([regex_syntax::escape(before).as_str(), "[^/]+", regex_syntax::escape(after).as_str()]);
                }
            }
        }
        if self.rest {
            text.push_str("(/.*)?");
        }
        text
    }

    /// The path itself where there is nothing but text in the pattern.
    pub(in crate::routing) fn literal(&self) -> Option<String> {
        let mut path = String::new();
        for segment in &self.segments {
            let Segment::Literal(text) = segment else { return None };
            path.push('/');
            path.push_str(text);
        }
        if self.rest { None } else { Some(path) }
    }
}

fn starts_with_slash(text: &str) -> Result<(), BuildError> {
    if text.starts_with('/') {
        return Ok(());
    }
    Err(BuildError::new(format!("the path `{text}` does not begin with a slash"), format!("write `/{text}`, or `~` and a regex")))
}

fn bounded(text: &str, pattern: Pattern) -> Result<Pattern, BuildError> {
    if pattern.segments.len() > MOST_SEGMENTS {
        return Err(BuildError::new(
            format!("`{text}` has more than {MOST_SEGMENTS} segments"),
            "match its beginning, with `{rest...}` at the end",
        ));
    }
    Ok(pattern)
}

fn refused(text: &str, error: PathError) -> BuildError {
    let fix = match error {
        PathError::Delimiter => "match the query with `query:`; a path has no `?` and no `#`",
        PathError::EncodedSlash => {
            "with `paths.encoded_slashes: refuse` such requests are answered with 400; set it to `keep` or leave this path out"
        }
        PathError::Backslash => {
            "with `paths.backslashes: refuse` such requests are answered with 400; set it to `keep` or leave this path out"
        }
        PathError::Semicolon => {
            "with `paths.semicolons: refuse` such requests are answered with 400; set it to `keep` or leave this path out"
        }
        PathError::Control => "escape a space as `%20`; control characters are never accepted",
        PathError::BadEscape => "write a percent sign as `%25`",
        PathError::HiddenDots | PathError::NotAbsolute => "such requests are answered with 400; leave this path out",
    };
    BuildError::new(format!("`{text}` can never match: {error}"), fix)
}

/// The text outside of braces in its one spelling; what is in braces stays as it is. No brace outside survives, so that they are
/// unambiguous afterwards.
fn escape_literals(text: &str, options: &PathOptions) -> Result<String, BuildError> {
    let unbalanced = || {
        BuildError::new(
            format!("`{text}` has a brace without its partner"),
            "close it, like `{id}`; for a brace that clients send write `%7B` or `%7D`",
        )
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((literal, tail)) = rest.split_once('{') {
        let (name, after) = tail.split_once('}').ok_or_else(unbalanced)?;
        if literal.contains('}') || name.contains('{') {
            return Err(unbalanced());
        }
        if name.contains('/') {
            valid_name(name)?;
        }
        escape(literal, options, &mut out).map_err(|error| refused(text, error))?;
        out.extend(["{", name, "}"]);
        rest = after;
    }
    if rest.contains('}') {
        return Err(unbalanced());
    }
    escape(rest, options, &mut out).map_err(|error| refused(text, error))?;
    // Kept as text it would be compared with segments that never hold one.
    debug_assert!(options.encoded_slashes != EncodedSlashes::Decode || !out.contains("%2F"));
    Ok(out)
}

/// Text, parameter, text. `None` for a segment of text alone.
fn split_parameter(segment: &str) -> Result<Option<(&str, &str, &str)>, BuildError> {
    let Some((before, tail)) = segment.split_once('{') else { return Ok(None) };
    let Some((name, after)) = tail.split_once('}') else { return Ok(None) };
    if after.contains('{') {
        return Err(BuildError::new(
            format!("`{segment}` has two parameters in one segment"),
            "use a regex with named groups, like `~/(?<from>[^/-]+)-(?<to>[^/]+)`",
        ));
    }
    Ok(Some((before, name, after)))
}

fn valid_name(name: &str) -> Result<(), BuildError> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if good {
        return Ok(());
    }
    let fix = match name.split_once(':') {
        Some((name, pattern)) => format!("write `{{{name}}}`, or a regex: `~/…/(?<{name}>{pattern})`"),
        None if name.starts_with('*') => format!("write `{{{}...}}`", name.trim_start_matches('*')),
        None => "use letters, digits, `_` and `-`, a letter first, like `{id}` or `{rest...}`".to_owned(),
    };
    Err(BuildError::new(format!("`{name}` is no name for a parameter"), fix))
}

/// What other gateways write for a parameter would silently be text here.
fn no_foreign_wildcard(segment: &str) -> Result<(), BuildError> {
    let fix = match segment.strip_prefix(':') {
        Some(name) if valid_name(name).is_ok() => format!("write `{{{name}}}`"),
        _ if segment == "*" || segment == "**" => "write `{name}` for one segment or `{rest...}` at the end for all that follow".to_owned(),
        _ => return Ok(()),
    };
    Err(BuildError::new(
        format!("`{segment}` is no parameter here"),
        format!("{fix}; if the text itself is meant, write `path: {{ exact: … }}`"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Pattern, BuildError> {
        Pattern::parse(text, &PathOptions::default())
    }

    fn literal(text: &str) -> Segment {
        Segment::Literal(text.into())
    }

    fn param(before: &str, after: &str) -> Segment {
        Segment::Param { before: before.into(), after: after.into() }
    }

    #[test]
    fn patterns_are_text_parameters_and_a_rest() {
        let pattern = parse("/users/{id}/files/{rest...}").unwrap();
        assert_eq!(pattern.segments, [literal("users"), param("", ""), literal("files")]);
        assert!(pattern.rest);
        assert_eq!(pattern.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["id", "rest"]);
        assert_eq!(parse("/v1/{id}:cancel").unwrap().segments, [literal("v1"), param("", ":cancel")]);
        assert_eq!(parse("/@{user}.json/").unwrap().segments, [param("@", ".json"), literal("")]);
        assert_eq!(parse("/{rest...}").unwrap().segments, []);
    }

    #[test]
    fn patterns_are_spelt_as_requests_are() {
        assert_eq!(parse("/a%2Db//c/../é").unwrap().literal().unwrap(), "/a-b/%C3%A9");
        assert_eq!(parse("/%61/{id}%2ejson").unwrap().segments, [literal("a"), param("", ".json")]);
        assert_eq!(Pattern::exact("/a/{b}", &PathOptions::default()).unwrap().literal().unwrap(), "/a/%7Bb%7D");
        let decode = PathOptions { encoded_slashes: EncodedSlashes::Decode, ..PathOptions::default() };
        assert_eq!(Pattern::parse("/{x}/a%2Fb", &decode).unwrap().segments, [param("", ""), literal("a"), literal("b")]);
    }

    #[test]
    fn a_prefix_is_a_pattern_with_a_rest() {
        for text in ["/v2", "/v2/"] {
            let pattern = Pattern::prefix(text, &PathOptions::default()).unwrap();
            assert_eq!((pattern.segments, pattern.rest), (vec![literal("v2")], true), "{text}");
        }
        assert!(Pattern::prefix("/", &PathOptions::default()).unwrap().segments.is_empty());
        assert!(Pattern::prefix("/a/{rest...}", &PathOptions::default()).is_err());
    }

    #[test]
    fn mistakes_are_refused_with_a_fix() {
        let cases = [
            ("users", "write `/users`"),
            ("/users/:id", "write `{id}`"),
            ("/files/*", "{rest...}"),
            ("/files/{*rest}", "write `{rest...}`"),
            ("/{id:[0-9]+}", "(?<id>[0-9]+)"),
            ("/{a}-{b}", "named groups"),
            ("/{rest...}/x", "at the end"),
            ("/x{rest...}", "at the end"),
            ("/{id}/{id}", "its own name"),
            ("/{id", "close it"),
            ("/id}", "close it"),
            ("/{a{b}}", "close it"),
            ("/{}", "letters"),
            ("/{1}", "letters"),
            ("/a?b=c", "`query:`"),
            ("/a%zz", "%25"),
            ("/{a}/../b", "without it"),
            ("/{a}//b", "without it"),
            ("/a\\b", "paths.backslashes"),
        ];
        for (text, fix) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.fix.contains(fix), "{text}: {error}");
        }
        assert!(parse(&"/a".repeat(MOST_SEGMENTS + 1)).is_err());
        assert_eq!(parse("/users/:").unwrap().literal().unwrap(), "/users/:");
    }
}
