use http::{HeaderMap, HeaderValue, header};
use ring::{digest, hmac};

use super::config::{SameSite, StickyConfig};
use crate::building::BuildError;

/// The value of a cookie (RFC 6265 §5.4); of several with its name the first. What is no text in another hides none.
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(header::COOKIE).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| pair.trim_ascii_start().strip_prefix(name.as_bytes())?.strip_prefix(b"="));
    values.next().map(<[u8]>::trim_ascii_end)
}

/// Whether this can be the name of a cookie (RFC 6265 §4.1.1: a token).
///
/// # Errors
/// It cannot.
pub fn name(name: &str) -> Result<&str, BuildError> {
    let fits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    if fits { Ok(name) } else { Err(BuildError::new(format!("`{name}` is not the name of a cookie"), "use letters, digits, `-` and `_`")) }
}

/// The cookies that name the targets of a service.
#[derive(Debug)]
pub struct Sticky {
    /// The cookie's name.
    pub name: Box<str>,
    crumbs: Box<[Crumb]>,
    /// The places of those that get requests, sorted by what names them.
    named: Box<[(u64, usize)]>,
}

#[derive(Debug)]
struct Crumb {
    plain: HeaderValue,
    secure: HeaderValue,
}

impl Sticky {
    /// A cookie for each of the targets, given as URL and whether it gets requests.
    ///
    /// # Errors
    /// Settings that make no cookie.
    pub fn build<'a>(config: &StickyConfig, service: &str, targets: impl Iterator<Item = (&'a str, bool)>) -> Result<Self, BuildError> {
        let name = name(&config.cookie).map_err(|error| error.at("cookie"))?;
        if !config.path.starts_with('/') || config.path.bytes().any(|byte| !byte.is_ascii_graphic() || byte == b';') {
            return Err(BuildError::new(format!("`{}` is not a path", config.path), "write one like `/` or `/shop`").at("path"));
        }
        let age = match config.ttl.map(|ttl| ttl.0) {
            Some(ttl) if ttl.is_zero() || ttl.subsec_nanos() > 0 => {
                return Err(BuildError::new("this is not a whole number of seconds, 1s or more", "write it like `30m` or `1h`").at("ttl"));
            }
            ttl => ttl.map(|ttl| format!("; Max-Age={}", ttl.as_secs())).unwrap_or_default(),
        };
        let (site, always) = match config.same_site {
            SameSite::Strict => ("Strict", ""),
            SameSite::Lax => ("Lax", ""),
            // Browsers take it no other way.
            SameSite::None => ("None", "; Secure"),
        };
        let crumb = |url: &str| {
            let id = id(config, service, url);
            let plain = format!("{name}={id:016x}; Path={}{age}; HttpOnly; SameSite={site}{always}", config.path);
            let secure = if always.is_empty() { format!("{plain}; Secure") } else { plain.clone() };
            let value = |text: String| {
                HeaderValue::try_from(text).map_err(|error| BuildError::new(error.to_string(), "use visible ASCII characters"))
            };
            Ok((id, Crumb { plain: value(plain)?, secure: value(secure)? }))
        };
        let (mut crumbs, mut named) = (Vec::new(), Vec::new());
        for (index, (url, gets)) in targets.enumerate() {
            let (id, crumb) = crumb(url)?;
            crumbs.push(crumb);
            named.extend(gets.then_some((id, index)));
        }
        named.sort_unstable();
        Ok(Self { name: name.into(), crumbs: crumbs.into(), named: named.into() })
    }

    /// The place of the target that the cookie names.
    pub fn target(&self, value: &[u8]) -> Option<usize> {
        // What was sent is 16 digits; a number alone could have a sign.
        let digits = str::from_utf8(value).ok().filter(|value| value.len() == 16 && !value.starts_with('+'))?;
        let id = u64::from_str_radix(digits, 16).ok()?;
        let place = self.named.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.named.get(place).map(|(_, index)| *index)
    }

    /// The `Set-Cookie` that names the target at this place.
    pub fn cookie(&self, index: usize, secure: bool) -> Option<HeaderValue> {
        self.crumbs.get(index).map(|crumb| if secure { crumb.secure.clone() } else { crumb.plain.clone() })
    }
}

/// The same for the same target after a restart and at other gateways: 64 bits of a hash.
fn id(config: &StickyConfig, service: &str, url: &str) -> u64 {
    let text = format!("{service}\n{url}");
    let number = |bytes: &[u8]| bytes.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    match &config.secret {
        Some(secret) => number(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.reveal().as_bytes()), text.as_bytes()).as_ref()),
        None => number(digest::digest(&digest::SHA256, text.as_bytes()).as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_that_is_no_text_hides_no_other() {
        let mut headers = HeaderMap::new();
        let line = HeaderValue::from_bytes(b"name=J\xf6rg; seat=a \t; raw=\xe9; seat=b; xseat=c").unwrap();
        headers.append(header::COOKIE, line);
        headers.append(header::COOKIE, HeaderValue::from_static("other=d"));
        let found = ["seat", "raw", "other", "eat", "name"].map(|name| find(&headers, name));
        assert_eq!(found, [Some(&b"a"[..]), Some(b"\xe9"), Some(b"d"), None, Some(b"J\xf6rg")]);
    }
}
