//! Who asked: what trusted proxies say of it is read here (`X-Forwarded-*`, RFC 7239), and what the service is told of it is written here.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Version, header};
use ipnet::IpNet;
use pingora_http::RequestHeader;

use super::Connection;
use crate::routing::host;

static FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Whether the forwarding headers of this address are believed.
pub(super) fn trusts(trusted: &[IpNet], address: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&address))
}

/// What trusted proxies say of the client's request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// The rightmost hop that is no trusted proxy.
    pub client: Option<IpAddr>,
    /// Whether the client spoke TLS.
    pub https: Option<bool>,
    /// The host that the client asked for, lower case, without port.
    pub host: Option<String>,
    /// The port that the client connected to.
    pub port: Option<u16>,
}

/// Reads what a trusted peer says. `X-Forwarded-*` counts before `Forwarded`: who sends both may have passed the second on unread. Of several members
/// the last is the peer's own; those before it are what it was told.
pub(super) fn read(headers: &HeaderMap, trusted: &[IpNet]) -> Said {
    let one = |name| lists(headers, name).pop();
    let elements = elements(headers);
    let last = |name: &str| elements.last().and_then(|element| parameter(element, name));
    let client = match headers.contains_key(&FOR) {
        true => client(lists(headers, &FOR).into_iter(), trusted),
        false => client(elements.iter().map(|element| parameter(element, "for").unwrap_or_default()), trusted),
    };
    let proto = one(&PROTO).or_else(|| last("proto"));
    let authority = one(&HOST).or_else(|| last("host"));
    Said {
        client,
        https: proto.map(|proto| proto.eq_ignore_ascii_case("https")),
        host: authority.as_deref().and_then(host::normalise).map(Into::into),
        port: one(&PORT).and_then(|port| port.parse().ok()),
    }
}

/// The members of a list header, over all its lines.
fn lists(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',')).map(|member| member.trim().to_owned()).collect()
}

/// From the right: the first hop that is no trusted proxy. A hop that is no address ends the search, since nothing left of it can be believed.
fn client(hops: impl DoubleEndedIterator<Item = String>, trusted: &[IpNet]) -> Option<IpAddr> {
    let mut client = None;
    for hop in hops.rev() {
        let Some(address) = address(&hop) else { break };
        client = Some(address);
        if !trusts(trusted, address) {
            break;
        }
    }
    client
}

fn address(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

/// The elements of `Forwarded` (RFC 7239 §4): commas and semicolons in quotes separate nothing.
fn elements(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::FORWARDED).iter().map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| split(value, ',')).map(str::to_owned).collect()
}

fn parameter(element: &str, name: &str) -> Option<String> {
    split(element, ';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
        key.trim().eq_ignore_ascii_case(name).then(|| bare.replace('\\', ""))
    })
}

fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    text.split(move |char| {
        let separates = char == separator && !quoted;
        match char {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separates
    })
    .map(str::trim)
}

/// What the service is told, in both spellings, from the same facts.
pub(super) struct Facts<'a> {
    /// Who connected to us, and where.
    pub connection: &'a Connection,
    /// Whether what the peer said is passed on; else it is replaced.
    pub trusted: bool,
    /// The client's scheme.
    pub scheme: &'static str,
    /// The host as the peer wrote it.
    pub authority: &'a HeaderValue,
    /// The port that the client connected to.
    pub port: u16,
    /// The version that the request came in.
    pub version: Version,
}

/// Writes the forwarding headers and `Via` (RFC 9110 §7.6.3). Their names stand here in full: Pingora would copy a `HeaderName` twice.
pub(super) fn write(req: &mut RequestHeader, facts: &Facts<'_>) {
    let peer = &facts.connection.peer_text;
    let hops = earlier(req, &FOR, facts).map(|mut hops| {
        hops.push_str(peer.to_str().unwrap_or_default());
        HeaderValue::try_from(hops)
    });
    set(req, "X-Forwarded-For", hops.and_then(Result::ok).unwrap_or_else(|| peer.clone()));
    set(req, "X-Forwarded-Proto", HeaderValue::from_static(facts.scheme));
    let own = facts.port == facts.connection.local.port();
    set(req, "X-Forwarded-Port", if own { facts.connection.port_text.clone() } else { facts.port.into() });
    if !(facts.trusted && req.headers.contains_key(&HOST)) {
        // A request of HTTP/1.0 may name no host.
        if facts.authority.is_empty() {
            req.remove_header(&HOST);
        } else {
            set(req, "X-Forwarded-Host", facts.authority.clone());
        }
    }

    let mut element = earlier(req, &header::FORWARDED, facts).unwrap_or_else(|| String::with_capacity(96));
    let (before, after) = if facts.connection.peer.ip().to_canonical().is_ipv6() { ("for=\"[", "]\"") } else { ("for=", "") };
    // RFC 7239 §4: what is no token is quoted. A host with a quote or a backslash in it was refused.
    let host = facts.authority.to_str().unwrap_or_default();
    for part in [before, peer.to_str().unwrap_or_default(), after, ";host=\"", host, "\";proto=", facts.scheme] {
        element.push_str(part);
    }
    if let Ok(element) = HeaderValue::try_from(element) {
        set(req, "Forwarded", element);
    }
    let _ = req.append_header("Via", super::via(facts.version));
}

/// What a trusted peer has said, with a comma behind it.
fn earlier(req: &RequestHeader, name: &HeaderName, facts: &Facts<'_>) -> Option<String> {
    if !facts.trusted || !req.headers.contains_key(name) {
        return None;
    }
    let mut text = String::with_capacity(128);
    for value in req.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()) {
        text.push_str(value);
        text.push_str(", ");
    }
    Some(text)
}

fn set(req: &mut RequestHeader, name: &'static str, value: HeaderValue) {
    let _ = req.insert_header(name, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sent: &[(&'static str, &str)]) -> Said {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, value.parse().unwrap());
        }
        read(&headers, &["10.0.0.0/8".parse().unwrap()])
    }

    fn from(sent: &[(&'static str, &str)]) -> Option<String> {
        said(sent).client.map(|client| client.to_string())
    }

    #[test]
    fn the_client_is_the_rightmost_hop_that_is_no_trusted_proxy() {
        assert_eq!(from(&[("x-forwarded-for", "192.0.2.9, 198.51.100.7, 10.0.0.2")]).unwrap(), "198.51.100.7");
        assert_eq!(from(&[("x-forwarded-for", "192.0.2.9"), ("x-forwarded-for", "198.51.100.7:4711")]).unwrap(), "198.51.100.7");
        assert_eq!(from(&[("x-forwarded-for", "[2001:db8::1]:80")]).unwrap(), "2001:db8::1");
        assert_eq!(from(&[("x-forwarded-for", "192.0.2.9, nonsense, 10.0.0.2")]).unwrap(), "10.0.0.2");
        assert_eq!(from(&[]), None);
    }

    #[test]
    fn the_standard_spelling_is_read_where_the_other_is_missing() {
        let sent =
            "for=192.0.2.9;proto=http, for=\"[2001:db8::1]:4711\";proto=https;host=\"api.example.com:443\", for=10.0.0.3;proto=https";
        let said = said(&[("forwarded", sent)]);
        assert_eq!(said.client.unwrap().to_string(), "2001:db8::1");
        assert_eq!(said.https, Some(true));
        assert_eq!(from(&[("forwarded", "for=unknown"), ("forwarded", "for=\"_a,b;c\"")]), None);
        assert_eq!(from(&[("forwarded", "for=192.0.2.9"), ("x-forwarded-for", "192.0.2.8")]).unwrap(), "192.0.2.8");
    }

    #[test]
    fn host_and_port_are_those_the_client_used() {
        let said = said(&[("x-forwarded-host", "API.example.com:8443"), ("x-forwarded-port", "8443"), ("x-forwarded-proto", "https")]);
        assert_eq!((said.host.as_deref(), said.port, said.https), (Some("api.example.com"), Some(8443), Some(true)));
    }

    #[test]
    fn of_several_members_the_peers_own_counts() {
        let said = said(&[("x-forwarded-proto", "http, https"), ("x-forwarded-host", "forged.example, api.example.com")]);
        assert_eq!((said.host.as_deref(), said.https), (Some("api.example.com"), Some(true)));
    }

    fn written(trusted: bool, peer: &str) -> Vec<String> {
        let mut req = RequestHeader::build_no_case("GET", b"/", None).unwrap();
        req.append_header("x-forwarded-for", "192.0.2.9").unwrap();
        req.append_header("forwarded", "for=192.0.2.9").unwrap();
        req.append_header("x-forwarded-host", "forged.example").unwrap();
        let authority = HeaderValue::from_static("api.example.com:80");
        let connection = Connection::new(SocketAddr::new(peer.parse().unwrap(), 4711), "127.0.0.1:80".parse().unwrap());
        write(
            &mut req,
            &Facts { connection: &connection, trusted, scheme: "http", authority: &authority, port: 80, version: Version::HTTP_11 },
        );
        let mut lines: Vec<_> = req.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_an_untrusted_peer_says_of_itself_is_replaced() {
        assert_eq!(
            written(false, "2001:db8::1"),
            [
                "forwarded: for=\"[2001:db8::1]\";host=\"api.example.com:80\";proto=http",
                "via: 1.1 tidegate",
                "x-forwarded-for: 2001:db8::1",
                "x-forwarded-host: api.example.com:80",
                "x-forwarded-port: 80",
                "x-forwarded-proto: http",
            ]
        );
    }

    #[test]
    fn what_a_trusted_peer_says_is_passed_on_with_the_peer_added() {
        let lines = written(true, "10.0.0.1");
        assert_eq!(lines[0], "forwarded: for=192.0.2.9, for=10.0.0.1;host=\"api.example.com:80\";proto=http");
        assert_eq!(lines[2..4], ["x-forwarded-for: 192.0.2.9, 10.0.0.1", "x-forwarded-host: forged.example"]);
    }
}
