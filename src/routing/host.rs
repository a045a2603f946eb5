//! Hosts: how a request's authority is brought to one form, what a `host:` may say, and which hosts a request can meet.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;

use crate::building::BuildError;

/// The longest name that DNS allows, in bytes (RFC 1035 §2.3.4). A longer one can only meet routes without a host.
const LONGEST: usize = 253;

/// The host of an authority (`Host` or `:authority`) in the one form that is matched: lower case, without port and without the
/// dot at the end of an absolute name. An IPv6 address keeps its brackets and is written as RFC 5952 has it. Borrows when there is nothing to change.
///
/// `None` when it is no host (RFC 3986 §3.2.2, without escapes): answer 400.
/// An empty authority is an empty host (RFC 9112 §3.2).
pub fn normalise(authority: &str) -> Option<Cow<'_, str>> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => {
            let (address, port) = inner.split_once(']')?;
            let host = authority.get(..address.len() + 2)?;
            let canonical = format!("[{}]", address.parse::<std::net::Ipv6Addr>().ok()?);
            (if host == canonical { Cow::Borrowed(host) } else { Cow::Owned(canonical) }, port)
        }
        None => {
            let end = authority.find(':').unwrap_or(authority.len());
            let (host, port) = authority.split_at(end);
            let host = host.strip_suffix('.').unwrap_or(host);
            let mut before = b'.';
            let sound = host.bytes().all(|byte| {
                let last = std::mem::replace(&mut before, byte);
                is_name_byte(byte) && (last, byte) != (b'.', b'.')
            });
            if !sound || (before == b'.' && !host.is_empty()) {
                return None;
            }
            (Cow::Borrowed(host), port)
        }
    };
    match port.strip_prefix(':') {
        Some(digits) if digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()) => {}
        None if port.is_empty() => {}
        _ => return None,
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(host.to_ascii_lowercase()));
    }
    Some(host)
}

/// `reg-name` of RFC 3986 §3.2.2.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'('..=b',' | b';' | b'=')
}

/// What one `host:` of a route says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HostPattern {
    /// No host was named.
    Any,
    /// This very host.
    Exact(Box<str>),
    /// One or more labels in front of this name: `*.example.com` is kept as `example.com`.
    Under(Box<str>),
}

impl HostPattern {
    pub(super) fn parse(text: &str) -> Result<Self, BuildError> {
        if text == "*" {
            return Err(BuildError::new("`*` names no host", "leave `host` out to match every host"));
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        if name.contains('*') {
            return Err(BuildError::new(
                format!("the host `{text}` has a `*` that is no whole first label"),
                "write the exact name, or `*.` and a name, like `*.example.com`",
            ));
        }
        if !name.is_ascii() {
            return Err(BuildError::new(
                format!("the host `{text}` is not ASCII"),
                "write it as clients send it, in Punycode: `xn--…` (RFC 5891)",
            ));
        }
        let Some(host) = normalise(name).filter(|host| !host.is_empty() && host.len() <= LONGEST) else {
            return Err(BuildError::new(format!("`{text}` is no host name"), "write a name like `api.example.com` or `*.example.com`"));
        };
        if name.rsplit(']').next().is_some_and(|tail| tail.contains(':')) {
            return Err(BuildError::new(
                format!("the host `{text}` has a port"),
                format!("write `{host}`; ports belong to `server.listeners`"),
            ));
        }
        if wildcard && host.len() + 2 > LONGEST {
            return Err(BuildError::new(
                format!("no name under `{text}` is short enough for DNS (RFC 1035 §2.3.4)"),
                "write a shorter one",
            ));
        }
        let host = host.into_owned().into_boxed_str();
        Ok(if wildcard { Self::Under(host) } else { Self::Exact(host) })
    }

    /// A host that it matches, for messages.
    pub(super) fn example(&self) -> Cow<'_, str> {
        match self {
            Self::Any => Cow::Borrowed("example.com"),
            Self::Exact(host) => Cow::Borrowed(host),
            Self::Under(host) => Cow::Owned(format!("x.{host}")),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Exact(host) => f.write_str(host),
            Self::Under(host) => write!(f, "*.{host}"),
        }
    }
}

/// Something for each host that routes name.
#[derive(Debug)]
pub(super) struct Hosts<T> {
    exact: HashMap<Box<str>, T, RandomState>,
    under: HashMap<Box<str>, T, RandomState>,
    any: T,
}

impl<T: Default> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), under: HashMap::default(), any: T::default() }
    }
}

impl<T: Default> Hosts<T> {
    /// The place of a host pattern; made when it is new.
    pub(super) fn entry(&mut self, host: &HostPattern) -> &mut T {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(host) => self.exact.entry(host.clone()).or_default(),
            HostPattern::Under(host) => self.under.entry(host.clone()).or_default(),
        }
    }
}

impl<T> Hosts<T> {
    /// A host that meets this pattern's place before any other.
    pub(super) fn example(&self, pattern: &HostPattern) -> Option<String> {
        let name = |number: usize| if number == 0 { "x".to_owned() } else { format!("x{number}") };
        match pattern {
            HostPattern::Exact(host) => Some(host.to_string()),
            HostPattern::Under(host) => {
                (0..=self.exact.len()).map(|number| format!("{}.{host}", name(number))).find(|host| !self.exact.contains_key(host.as_str()))
            }
            HostPattern::Any => {
                let names = (0..=self.exact.len() + self.under.len()).map(|number| format!("example.{}", name(number)));
                std::iter::once("example.com".to_owned()).chain(names).find(|host| self.meet(host).count() == 1)
            }
        }
    }

    /// All places, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.under.values()).chain(std::iter::once(&self.any))
    }

    /// Makes of everything something else; by its host.
    pub(super) fn map<U>(self, mut make: impl FnMut(HostPattern, T) -> U) -> Hosts<U> {
        Hosts {
            exact: self.exact.into_iter().map(|(host, value)| (host.clone(), make(HostPattern::Exact(host), value))).collect(),
            under: self.under.into_iter().map(|(host, value)| (host.clone(), make(HostPattern::Under(host), value))).collect(),
            any: make(HostPattern::Any, self.any),
        }
    }

    /// The places that a host meets, the most specific first: its own, then the longest wildcard, then the one of every host.
    pub(super) fn meet<'r, 'h>(&'r self, host: &'h str) -> impl Iterator<Item = &'r T> + use<'r, 'h, T> {
        let named = host.len() <= LONGEST;
        let exact = if named { self.exact.get(host) } else { None };
        let mut left = if named && !self.under.is_empty() { Some(host) } else { None };
        let under = std::iter::from_fn(move || {
            loop {
                let (label, parent) = left?.split_once('.')?;
                left = Some(parent);
                // `*` stands for one or more whole labels, so `.example.com` is under nothing.
                if label.is_empty() {
                    continue;
                }
                if let Some(found) = self.under.get(parent) {
                    return Some(found);
                }
            }
        });
        exact.into_iter().chain(under).chain(std::iter::once(&self.any))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_lower_case_without_port_and_last_dot() {
        let cases = [
            ("API.Example.com", Some("api.example.com")),
            ("api.example.com:8443", Some("api.example.com")),
            ("api.example.com.:80", Some("api.example.com")),
            ("[2001:db8::1]:443", Some("[2001:db8::1]")),
            ("10.0.0.1:80", Some("10.0.0.1")),
            ("my_service", Some("my_service")),
            ("", Some("")),
            ("user@host", None),
            ("a b", None),
            ("a..b", None),
            (".a", None),
            ("a:port", None),
            ("a:123456", None),
            ("[::1", None),
            ("[::1]x", None),
            ("a/b", None),
            ("höst", None),
        ];
        for (authority, expected) in cases {
            assert_eq!(normalise(authority).as_deref(), expected, "{authority}");
        }
        assert!(matches!(normalise("api.example.com:80"), Some(Cow::Borrowed(_))));
    }

    #[test]
    fn hosts_that_cannot_match_are_refused_with_a_fix() {
        for text in ["*", "a.*.com", "*a.com", "bücher.example", "api.example.com:80", "http://a", "", "*."] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
        assert_eq!(HostPattern::parse("*.Example.com").unwrap(), HostPattern::Under("example.com".into()));
        assert_eq!(HostPattern::parse("[::1]").unwrap(), HostPattern::Exact("[::1]".into()));
    }

    #[test]
    fn an_ipv6_address_has_one_form() {
        for spelling in ["[::1]", "[0:0:0:0:0:0:0:1]", "[0::0001]:8080"] {
            assert_eq!(normalise(spelling).as_deref(), Some("[::1]"), "{spelling}");
        }
        assert_eq!(normalise("[2001:DB8::A]").as_deref(), Some("[2001:db8::a]"));
        assert!(matches!(normalise("[::1]:80"), Some(Cow::Borrowed("[::1]"))));
        assert_eq!(HostPattern::parse("[0:0::1]").unwrap(), HostPattern::Exact("[::1]".into()));
        assert!(HostPattern::parse("[::1]:80").unwrap_err().reason.contains("has a port"));
    }

    #[test]
    fn the_most_specific_host_is_met_first() {
        let mut hosts = Hosts::<Option<u8>>::default();
        for (text, mark) in [("a.b.example.com", 1), ("*.b.example.com", 2), ("*.example.com", 3), ("example.com", 4)] {
            *hosts.entry(&HostPattern::parse(text).unwrap()) = Some(mark);
        }
        let met = |host: &str| hosts.meet(host).copied().flatten().collect::<Vec<_>>();
        assert_eq!(met("a.b.example.com"), [1, 2, 3]);
        assert_eq!(met("x.y.b.example.com"), [2, 3]);
        assert_eq!(met("example.com"), [4]);
        assert!(met(".example.com").is_empty());
        assert!(met("notexample.com").is_empty());
        assert!(met(&format!("{}example.com", "a.".repeat(200_000))).is_empty());
    }
}
