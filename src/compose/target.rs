use std::sync::Arc;

use percent_encoding::percent_decode_str;

use super::text::{Facts, Form, Scope, Text};
use crate::building::BuildError;
use crate::upstream::Service;

/// Whom a part asks, and for what.
#[derive(Debug)]
pub(super) struct Target {
    pub service: Arc<Service>,
    path: Text,
    /// Pair by pair.
    query: Vec<Text>,
}

impl Target {
    /// The service that a target names, and what stands behind it.
    ///
    /// # Errors
    /// It names none.
    pub fn split(text: &str) -> Result<(&str, &str), BuildError> {
        let wrong = || BuildError::new(format!("`{text}` names no service and path"), "write both, like `users:/users/{id}`");
        let (service, path) = text.split_once(':').ok_or_else(wrong)?;
        if path.starts_with("//") {
            let fix = "put it into the `targets` of a service, and write the service's name, like `users:/users/{id}`";
            return Err(BuildError::new(format!("`{text}` is a URL"), fix));
        }
        if service.is_empty() || !path.starts_with('/') {
            return Err(wrong());
        }
        Ok((service, path))
    }

    /// Parses the path and the query that may follow it.
    ///
    /// # Errors
    /// What cannot be either.
    pub fn build(service: Arc<Service>, text: &str, scope: Scope<'_>) -> Result<Self, BuildError> {
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (text, None),
        };
        let path = Text::parse(path, scope)?;
        let pairs = query.into_iter().flat_map(|query| query.split('&'));
        let query = pairs.map(|pair| Text::parse(pair, scope)).collect::<Result<Vec<_>, _>>()?;
        let (example, pairs) = (path.example("x"), query.iter().map(|pair| pair.example("x")).collect::<String>());
        // Many services want brackets in the names of a query, which RFC 3986 §3.4 has not.
        let mut brackets = example.chars().filter(|char| matches!(char, '[' | ']'));
        let others = example.chars().chain(pairs.chars()).find(|char| !char.is_ascii_graphic() || "\\\"<>^`{|}#".contains(*char));
        if let Some(char) = brackets.next().or(others) {
            return Err(BuildError::new(format!("{char:?} cannot stand in a path or query"), "percent-encode it, like `%20` for a space"));
        }
        // An escape that began in the text and ended in a value could become anything.
        if let Some(text) = std::iter::once(&path).chain(&query).flat_map(Text::fixed).find(|text| !is_escaped(text)) {
            return Err(BuildError::new(format!("`{text}` has a `%` that two hex digits do not follow"), "write `%25` for a percent sign"));
        }
        if !keeps(&example) || example.contains("//") {
            let reason = format!("`{text}` has segments that would be resolved, or several slashes in a row");
            return Err(BuildError::new(reason, "write it as the service shall get it, without `.` and `..`"));
        }
        Ok(Self { service, path, query })
    }

    /// Whether there can be values with which the other asks for the same.
    pub fn may_be(&self, other: &Target) -> bool {
        let (one, two) = (self.path.start(), other.path.start());
        Arc::ptr_eq(&self.service, &other.service) && (one.starts_with(two) || two.starts_with(one))
    }

    /// The parts whose values it has.
    pub fn needs(&self) -> impl Iterator<Item = usize> {
        self.path.needs().chain(self.query.iter().flat_map(Text::needs))
    }

    /// Whether another part has not said what it should have.
    pub fn lacks_part(&self, facts: Facts<'_>) -> bool {
        std::iter::once(&self.path).chain(&self.query).any(|text| text.lacks_part(facts))
    }

    /// The path and query of one request; none where a value that it needs is missing or would make another path of it.
    pub fn render(&self, facts: Facts<'_>) -> Option<String> {
        let mut target = self.path.render(Form::Path, facts).filter(|path| keeps(path))?;
        let mut before = '?';
        for pair in &self.query {
            match pair.render(Form::Query, facts) {
                Some(pair) => {
                    target.push(before);
                    target.push_str(&pair);
                    before = '&';
                }
                // What the client may say or not is left out; what another part should have said is not.
                None if pair.is_of_request() => {}
                None => return None,
            }
        }
        Some(target)
    }
}

/// Whether each escape is whole (RFC 3986 §2.1).
fn is_escaped(text: &str) -> bool {
    let hex = |byte: &u8| byte.is_ascii_hexdigit();
    text.split('%').skip(1).all(|after| matches!(after.as_bytes(), [high, low, ..] if hex(high) && hex(low)))
}

/// Whether nobody would make another path of it, not even one who decodes slashes or cuts parameters off.
fn keeps(path: &str) -> bool {
    path.split('/').all(|segment| {
        let decoded: Vec<u8> = percent_decode_str(segment).collect();
        let resolved = |name: &[u8]| matches!(name, b"." | b"..");
        let mut names =
            decoded.split(|byte| matches!(byte, b'/' | b'\\')).map(|name| name.split(|byte| *byte == b';').next().unwrap_or(name));
        !names.any(resolved) && !decoded.iter().any(u8::is_ascii_control)
    })
}

#[cfg(test)]
mod tests {
    use super::keeps;

    #[test]
    fn what_would_be_resolved_behind_us_is_no_path() {
        for path in ["/a/../b", "/a/.", "/%2e%2e/a", "/..;x/a", "/..%2Fa", "/a%5C..%5Cb", "/a%00", "/a%0d%0ab"] {
            assert!(!keeps(path), "{path}");
        }
        for path in ["/", "/a.b/..c", "/a%2Fb", "/%252e%252e/a", "/a;b"] {
            assert!(keeps(path), "{path}");
        }
    }
}
