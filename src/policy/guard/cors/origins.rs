use std::collections::HashSet;
use std::net::Ipv6Addr;

use http::HeaderValue;
use regex_automata::meta::Regex;

use super::pattern;
use crate::building::BuildError;

/// The origins that may use the API.
#[derive(Debug)]
pub(super) enum Origins {
    /// Everyone.
    Any,
    /// These alone.
    Listed { exact: HashSet<Box<str>>, subdomains: Vec<Subdomains>, patterns: Option<Regex> },
}

/// `https://*.example.com:8443` as what stands before and behind the star.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subdomains {
    before: String,
    behind: String,
}

impl Origins {
    /// Parses the list.
    ///
    /// # Errors
    /// What is no origin, at its place in the list; a star where it is forbidden.
    pub(super) fn build(listed: &[String], credentials: bool) -> Result<Self, BuildError> {
        if listed.is_empty() {
            return Err(BuildError::new("no origin is allowed", "list those that may use the API, like `https://app.example.com`"));
        }
        if let Some(place) = listed.iter().position(|origin| origin == "*") {
            return match (listed.len(), credentials) {
                (1, false) => Ok(Origins::Any),
                // Any page that a user visits could act in the user's name; Fetch §3.3.5 forbids it.
                (1, true) => {
                    Err(BuildError::new("`*` with credentials is forbidden", "list the origins, or leave `credentials` out").at(place))
                }
                _ => Err(BuildError::new("`*` stands beside other origins", "keep `*` alone, or list origins without it").at(place)),
            };
        }
        if let Some(place) = listed.iter().position(|origin| origin == "null").filter(|_| credentials) {
            // Any page can make itself one of that origin, with a sandboxed frame.
            let fix = "take it off the list, or leave `credentials` out";
            return Err(BuildError::new("`null` with credentials lets every page act in the user's name", fix).at(place));
        }
        let (mut exact, mut subdomains, mut patterns) = (HashSet::new(), Vec::new(), Vec::new());
        for (place, text) in listed.iter().enumerate() {
            if text.starts_with('^') {
                patterns.push(pattern::read(text, credentials).map_err(|error| error.at(place))?);
                continue;
            }
            let origin = normalise(text).ok_or_else(|| {
                let fix = "write scheme, host and port if it is not the usual one, without a path, like `https://app.example.com`; \
                           a star may only stand for subdomains, like `https://*.example.com`, and a regex begins with `^`";
                BuildError::new(format!("`{text}` is not an origin"), fix).at(place)
            })?;
            match origin.split_once('*') {
                Some((before, behind)) => subdomains.push(Subdomains { before: before.to_owned(), behind: behind.to_owned() }),
                None => drop(exact.insert(origin.into())),
            }
        }
        let patterns = (!patterns.is_empty()).then(|| pattern::compile(&patterns)).transpose()?;
        Ok(Origins::Listed { exact, subdomains, patterns })
    }

    /// Whether the request of that `Origin` may be read by its page. Compared byte by byte: browsers send origins in the form to which the config's
    /// were brought (HTML §7.1.1).
    pub(super) fn allow(&self, origin: Option<&HeaderValue>) -> bool {
        let Origins::Listed { exact, subdomains, patterns } = self else { return true };
        let Some(origin) = origin.and_then(|origin| origin.to_str().ok()) else { return false };
        exact.contains(origin)
            || subdomains.iter().any(|parent| parent.allow(origin))
            || patterns.as_ref().is_some_and(|patterns| patterns.is_match(origin))
    }
}

impl Subdomains {
    fn allow(&self, origin: &str) -> bool {
        let labels = origin.strip_prefix(&*self.before).and_then(|rest| rest.strip_suffix(&*self.behind));
        labels.is_some_and(are_labels)
    }
}

/// Scheme and host in lower case, without the scheme's usual port; none for what is no origin.
fn normalise(text: &str) -> Option<String> {
    if text == "null" {
        return Some(text.to_owned());
    }
    let text = text.to_ascii_lowercase();
    let (scheme, authority) = text.split_once("://")?;
    if !scheme.starts_with(|c: char| c.is_ascii_lowercase()) || !scheme.bytes().all(|c| c.is_ascii_alphanumeric() || b"+-.".contains(&c)) {
        return None;
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port.parse::<u16>().ok()?)),
        _ => (authority, None),
    };
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => format!("[{}]", address.parse::<Ipv6Addr>().ok()?),
        None if are_labels(host.strip_prefix("*.").unwrap_or(host)) => host.to_owned(),
        None => return None,
    };
    Some(match (scheme, port) {
        (_, None) | ("http", Some(80)) | ("https", Some(443)) => format!("{scheme}://{host}"),
        (_, Some(port)) => format!("{scheme}://{host}:{port}"),
    })
}

/// Names as they stand between the dots of a host, in lower case.
fn are_labels(text: &str) -> bool {
    let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    text.split('.').all(|label| !label.is_empty() && label.bytes().all(letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(listed: &[&str]) -> Result<Origins, BuildError> {
        Origins::build(&listed.iter().map(ToString::to_string).collect::<Vec<_>>(), false)
    }

    fn allows(listed: &str, origin: &'static str) -> bool {
        build(&[listed]).unwrap().allow(Some(&HeaderValue::from_static(origin)))
    }

    #[test]
    fn only_the_very_same_scheme_host_and_port_are_allowed() {
        assert!(allows("https://app.example.com", "https://app.example.com"));
        for origin in ["http://app.example.com", "https://app.example.com:444", "https://app.example.com.evil.example", "null", ""] {
            assert!(!allows("https://app.example.com", origin), "{origin}");
        }
        assert!(!build(&["https://app.example.com"]).unwrap().allow(None));
    }

    #[test]
    fn a_star_stands_for_whole_labels_only() {
        for origin in ["https://a.example.org:8443", "https://a.b.example.org:8443"] {
            assert!(allows("https://*.example.org:8443", origin));
        }
        for origin in [
            "https://example.org:8443",
            "https://evilexample.org:8443",
            "https://.example.org:8443",
            "https://evil.example/.example.org:8443",
            "https://a@b.example.org:8443",
            "https://a.example.org",
            "http://a.example.org:8443",
        ] {
            assert!(!allows("https://*.example.org:8443", origin), "{origin}");
        }
    }

    #[test]
    fn the_configs_origins_are_brought_to_the_form_that_browsers_send() {
        for (listed, origin) in [
            ("HTTPS://App.Example.com:443", "https://app.example.com"),
            ("http://[0:0::1]:3000", "http://[::1]:3000"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("null", "null"),
        ] {
            assert!(allows(listed, origin), "{listed}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for wrong in ["https://a.example/", "a.example", "https://*", "https://a*.example", "https://a.*.example", "https://a:b", "//a", ""]
        {
            assert_eq!(build(&["https://a.example", wrong]).unwrap_err().path.to_string(), "[1]", "{wrong}");
        }
        assert!(build(&[]).is_err());
        assert!(build(&["*", "https://a.example"]).is_err());
    }
}
