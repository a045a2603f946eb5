use std::net::{IpAddr, Ipv6Addr};

use super::BuildError;

/// The host of an authority, without the brackets of an IPv6 address, and its port.
///
/// # Errors
/// What could never be reached: a host that is neither a name nor an address, a `:` without a port.
pub fn read(authority: &str) -> Result<(&str, Option<u16>), BuildError> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').filter(|(host, _)| host.parse::<Ipv6Addr>().is_ok()).ok_or_else(|| no_host(authority))?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if !authority.starts_with('[') && host.parse::<IpAddr>().is_err() && !is_name(host) {
        return Err(no_host(host));
    }
    if rest.is_empty() {
        return Ok((host, None));
    }
    // A number alone could have a sign.
    let digits = rest.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()).filter(|port| *port > 0) {
        Some(port) => Ok((host, Some(port))),
        None => Err(BuildError::new(format!("`{authority}` has no port from 1 to 65535"), "write one, like `:8080`, or remove the `:`")),
    }
}

fn no_host(host: &str) -> BuildError {
    let fix = "write an IP address, or a name of letters, digits, `-` and `_` between dots";
    BuildError::new(format!("`{host}` is neither the name of a host nor an address"), fix)
}

/// Whether DNS could have it (RFC 1035 §2.3.4), with the `_` of SRV and of private networks; a dot at its end makes it a whole one.
fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let fits = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    host.len() <= 253 && host.split('.').all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_a_port_one_that_exists() {
        let long = "a".repeat(63);
        for (authority, read_as) in [
            ("users.internal", ("users.internal", None)),
            ("users.internal.:1", ("users.internal.", Some(1))),
            ("_api._tcp.users-2", ("_api._tcp.users-2", None)),
            ("127.0.0.1:65535", ("127.0.0.1", Some(65535))),
            ("[::1]", ("::1", None)),
            ("[2001:db8::1]:8080", ("2001:db8::1", Some(8080))),
            (&*long, (&*long, None)),
        ] {
            assert_eq!(read(authority).unwrap(), read_as, "{authority}");
        }
        let longer = "a".repeat(64);
        for authority in [
            "127.0.0.1:99999",
            "users.internal:70000",
            "a:",
            "a:0",
            "a:+80",
            "a:80a",
            "a:80:80",
            "[::1]:",
            "[::1]80",
            "*",
            "*:80",
            "a..b",
            ".a",
            ".",
            "",
            ":80",
            "a..",
            "a b",
            "a~b",
            "[::1%eth0]:80",
            "[::g]",
            "[127.0.0.1]",
            "[::1",
            &longer,
        ] {
            assert!(read(authority).is_err(), "{authority}");
        }
    }
}
