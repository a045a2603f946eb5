//! Conditions on headers and query parameters, compiled.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use foldhash::fast::RandomState;
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::expression::Expression;
use super::matcher::{Condition, MatchConfig};
use super::prove::is_impossible;
use crate::building::{BuildError, Errors, Step};

/// The query parameters that any route asks for, by number: a look-up decodes those and no others.
pub(super) type QueryNames = HashMap<Box<str>, usize, RandomState>;

/// The decoded value of each of the [`QueryNames`], where the request has it.
pub(super) type QueryValues<'q> = SmallVec<[Option<Cow<'q, [u8]>>; 4]>;

/// All conditions of one route.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    headers: Vec<Asked<HeaderName>>,
    query: Vec<Asked<usize>>,
    /// The same in words: equal words are equal conditions.
    pub(super) words: String,
}

/// What one header or query parameter must be.
#[derive(Debug)]
pub(super) struct Asked<N> {
    pub(super) name: N,
    pub(super) test: Test,
    /// The same in words.
    pub(super) words: Box<str>,
}

#[derive(Debug)]
pub(super) enum Test {
    Exact(Box<[u8]>),
    /// With its text.
    Matches(Box<Expression>, Box<str>),
    Present(bool),
}

impl Test {
    fn build(condition: &Condition, header: bool) -> Result<Self, BuildError> {
        let test = match condition {
            Condition::Exact(text) => Self::Exact(text.as_bytes().into()),
            Condition::Regex(text) => {
                Self::Matches(Box::new(Expression::new(text).map_err(|error| error.at("regex"))?), text.as_str().into())
            }
            Condition::Present(present) => Self::Present(*present),
        };
        if is_impossible(&test, header) {
            return Err(BuildError::new("no value can be like this, so nothing would match", "correct it, or leave the condition out"));
        }
        Ok(test)
    }

    pub(super) fn holds(&self, value: Option<&[u8]>) -> bool {
        match (self, value) {
            (Self::Present(present), value) => value.is_some() == *present,
            (_, None) => false,
            (Self::Exact(text), Some(value)) => **text == *value,
            (Self::Matches(expression, _), Some(value)) => expression.matches(value),
        }
    }
}

impl Conditions {
    /// Compiles what a route asks for; what is wrong is noted under `at`.
    pub(super) fn build(config: &MatchConfig, names: &mut QueryNames, at: &[Step], errors: &mut Errors) -> Self {
        let mut built = Self::default();
        let mut said = Vec::new();
        for (name, condition) in &config.headers {
            let place = [at, &["headers".into(), name.as_str().into()]].concat();
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
                BuildError::new(format!("`{name}` is no header name"), "use letters, digits and `-`; write `:authority` as `host:`")
            });
            let (Some(header), Some(test)) = (errors.keep(&place, header), errors.keep(&place, Test::build(condition, true))) else {
                continue;
            };
            if built.headers.iter().any(|known| known.name == header) {
                errors.keep::<()>(
                    &place,
                    Err(BuildError::new(
                        format!("the header `{header}` has two conditions"),
                        "keep one of them; upper and lower case do not tell headers apart",
                    )),
                );
            }
            let words = words("header", header.as_str(), condition);
            said.push(words.clone());
            built.headers.push(Asked { name: header, test, words: words.into() });
        }
        for (name, condition) in &config.query {
            let place = [at, &["query".into(), name.as_str().into()]].concat();
            let Some(test) = errors.keep(&place, Test::build(condition, false)) else { continue };
            let next = names.len();
            let number = *names.entry(name.as_str().into()).or_insert(next);
            let words = words("query parameter", name, condition);
            said.push(words.clone());
            built.query.push(Asked { name: number, test, words: words.into() });
        }
        said.sort_unstable();
        for one in said {
            let _ = write!(built.words, "{}{one}", if built.words.is_empty() { "" } else { ", " });
        }
        built
    }

    pub(super) fn is_empty(&self) -> bool {
        self.headers.is_empty() && self.query.is_empty()
    }

    /// How many ask for headers, and how many for query parameters.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.headers.len(), self.query.len())
    }

    pub(super) fn headers(&self) -> &[Asked<HeaderName>] {
        &self.headers
    }

    pub(super) fn query(&self) -> &[Asked<usize>] {
        &self.query
    }

    pub(super) fn headers_hold(&self, headers: &HeaderMap) -> bool {
        self.unmet_header(headers).is_none()
    }

    /// The first header that is not as it must be.
    pub(super) fn unmet_header(&self, headers: &HeaderMap) -> Option<&Asked<HeaderName>> {
        self.headers.iter().find(|asked| !asked.test.holds(header(headers, &asked.name).as_deref()))
    }

    pub(super) fn asks_query(&self) -> bool {
        !self.query.is_empty()
    }

    pub(super) fn query_holds(&self, values: &QueryValues<'_>) -> bool {
        self.unmet_query(values).is_none()
    }

    /// The first query parameter that is not as it must be.
    pub(super) fn unmet_query(&self, values: &QueryValues<'_>) -> Option<&Asked<usize>> {
        self.query.iter().find(|asked| !asked.test.holds(values.get(asked.name).and_then(Option::as_deref)))
    }
}

fn words(kind: &str, name: &str, condition: &Condition) -> String {
    match condition {
        Condition::Exact(text) => format!("{kind} `{name}` = {text:?}"),
        Condition::Regex(text) => format!("{kind} `{name}` matching {text:?}"),
        Condition::Present(true) => format!("any {kind} `{name}`"),
        Condition::Present(false) => format!("no {kind} `{name}`"),
    }
}

/// The value of a header; of one that came several times, the list (RFC 9110 §5.3), so that it does not matter how it was split.
fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Cow<'h, [u8]>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?.as_bytes();
    let mut all = Cow::Borrowed(first);
    for value in values {
        let list = all.to_mut();
        list.extend_from_slice(b", ");
        list.extend_from_slice(value.as_bytes());
    }
    Some(all)
}

/// The first value of each parameter that routes ask for. One pass over the query, whatever the number of routes.
pub(super) fn query_values<'q>(query: Option<&'q str>, names: &QueryNames) -> QueryValues<'q> {
    let mut values: QueryValues<'q> = SmallVec::new();
    values.resize(names.len(), None);
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name);
        let number = std::str::from_utf8(&name).ok().and_then(|name| names.get(name));
        if let Some(slot @ None) = number.and_then(|number| values.get_mut(*number)) {
            *slot = Some(decode(value));
        }
    }
    values
}

/// `application/x-www-form-urlencoded`: `+` is a space, a broken escape is itself (URL Standard §5.1).
fn decode(text: &str) -> Cow<'_, [u8]> {
    if text.contains('+') {
        let spaced = text.replace('+', " ");
        return Cow::Owned(percent_encoding::percent_decode_str(&spaced).collect());
    }
    percent_encoding::percent_decode_str(text).into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn build(document: serde_json::Value) -> (Conditions, QueryNames, Errors) {
        let (mut names, mut errors) = (QueryNames::default(), Errors::default());
        let config = serde_json::from_value(document).unwrap();
        let conditions = Conditions::build(&config, &mut names, &[], &mut errors);
        (conditions, names, errors)
    }

    #[test]
    fn headers_are_compared_as_lists() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", HeaderValue::from_static("1"));
        headers.append("x-a", HeaderValue::from_static("2"));
        for (condition, expected) in [
            (json!("1"), false),
            (json!("1, 2"), true),
            (json!({"regex": "1, [0-9]"}), true),
            (json!({"regex": "1"}), false),
            (json!({"present": true}), true),
            (json!({"present": false}), false),
        ] {
            let (conditions, _, _) = build(json!({"headers": {"X-A": condition}}));
            assert_eq!(conditions.headers_hold(&headers), expected, "{}", conditions.words);
        }
    }

    #[test]
    fn query_parameters_are_decoded_and_the_first_counts() {
        for (query, expected) in [
            (Some("a=x+y%21"), true),
            (Some("b&%61=x%20y!&a=other"), true),
            (Some("a=other&a=x+y!"), false),
            (Some("A=x+y!"), false),
            (Some("a"), false),
            (Some("&&="), false),
            (None, false),
        ] {
            let (conditions, names, _) = build(json!({"query": {"a": "x y!"}}));
            assert_eq!(conditions.query_holds(&query_values(query, &names)), expected, "{query:?}");
        }
    }

    #[test]
    fn every_mistake_is_told_with_its_place() {
        let (_, _, errors) =
            build(json!({"headers": {"a b": "x", "X-A": "1", "x-a": "2", "y": {"regex": "("}}, "query": {"q": {"regex": "["}}}));
        let places: Vec<String> = errors.0.iter().map(|error| error.path.to_string()).collect();
        assert_eq!(places, ["headers.a b", "headers.x-a", "headers.y.regex", "query.q.regex"]);
    }
}
