use http::{HeaderMap, HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::building::BuildError;

/// Which cookies of a part's answer the client gets.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "this must be `true` for all cookies, or a list of their names")]
pub enum SetCookieConfig {
    /// All of them, or none.
    All(bool),
    /// Those of these names.
    Named(Vec<String>),
}

/// The same, ready to choose by.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Cookies {
    /// None.
    #[default]
    None,
    /// All of them.
    All,
    /// Those of these names.
    Named(Box<[Box<str>]>),
}

impl Cookies {
    /// Checks the names.
    ///
    /// # Errors
    /// A list of none, and what cannot be the name of a cookie (RFC 6265 §4.1.1).
    pub fn build(config: Option<&SetCookieConfig>) -> Result<Self, BuildError> {
        let names = match config {
            None | Some(SetCookieConfig::All(false)) => return Ok(Self::None),
            Some(SetCookieConfig::All(true)) => return Ok(Self::All),
            Some(SetCookieConfig::Named(names)) => names,
        };
        if names.is_empty() {
            return Err(BuildError::new("this names no cookie", "name one, or write `true` for all"));
        }
        for (place, name) in names.iter().enumerate() {
            let is_token = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
            if name.is_empty() || !name.chars().all(is_token) {
                return Err(BuildError::new(format!("`{name}` is no name of a cookie"), "use letters, digits, `_` and `-`").at(place));
            }
        }
        Ok(Self::Named(names.iter().map(|name| name.as_str().into()).collect()))
    }

    /// Those of an answer that go on.
    pub fn of(&self, headers: &HeaderMap) -> Vec<HeaderValue> {
        let goes = |value: &HeaderValue| match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => {
                let text = value.as_bytes();
                let name = text.split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or(text).trim_ascii();
                names.iter().any(|known| known.as_bytes() == name)
            }
        };
        match self {
            Self::None => Vec::new(),
            Self::All | Self::Named(_) => headers.get_all(header::SET_COOKIE).iter().filter(|value| goes(value)).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_go_on_by_their_names() {
        let headers = ["session=1; Path=/", "theme=dark", "session2=x", "=x", "junk"];
        let headers: HeaderMap = headers.iter().map(|line| (header::SET_COOKIE, HeaderValue::from_static(line))).collect();
        let of = |config: SetCookieConfig| Cookies::build(Some(&config)).unwrap().of(&headers).len();
        assert_eq!((of(SetCookieConfig::All(true)), of(SetCookieConfig::All(false))), (5, 0));
        let named = Cookies::build(Some(&SetCookieConfig::Named(vec!["session".to_owned()]))).unwrap();
        assert_eq!(named.of(&headers), ["session=1; Path=/"]);
    }
}
