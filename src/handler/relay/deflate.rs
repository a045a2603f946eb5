//! What two sides agree upon for compressed messages (RFC 7692 §7). The relay compresses nothing itself: it has to know whether the bit may be set.

use http::{HeaderMap, HeaderValue, header};

use super::handshake::members;

const NAME: &str = "permessage-deflate";

/// The offers that go on to the service: those of permessage-deflate.
pub fn offers(headers: &HeaderMap) -> Option<HeaderValue> {
    let ours: Vec<&str> = members(headers, &header::SEC_WEBSOCKET_EXTENSIONS).filter(|offer| name(offer) == NAME).collect();
    if ours.is_empty() { None } else { HeaderValue::try_from(ours.join(", ")).ok() }
}

/// Whether messages may be compressed after this answer to these offers.
///
/// # Errors
/// It agrees to what was not offered, or to what cannot be.
pub fn agreed(headers: &HeaderMap, offers: Option<&HeaderValue>) -> Result<bool, &'static str> {
    let mut extensions = members(headers, &header::SEC_WEBSOCKET_EXTENSIONS);
    let Some(extension) = extensions.next() else { return Ok(false) };
    if extensions.next().is_some() || name(extension) != NAME {
        return Err("the service chose an extension that was not offered");
    }
    let offers = offers.and_then(|offers| offers.to_str().ok()).ok_or("the service chose an extension that was not offered")?;
    let mut seen = Vec::new();
    for (key, value) in parameters(extension) {
        if seen.contains(&key) {
            return Err("the service's answer for permessage-deflate says something twice");
        }
        seen.push(key);
        let bits = value.and_then(|value| value.trim_matches('"').parse::<u8>().ok());
        let right = match key {
            "server_no_context_takeover" | "client_no_context_takeover" => value.is_none(),
            "server_max_window_bits" => bits.is_some_and(|bits| (8..=15).contains(&bits)),
            // RFC 7692 §7.1.2.2: only where the client said that it knows of it.
            "client_max_window_bits" => {
                let knows = offers.split(',').any(|offer| parameters(offer).any(|(key, _)| key == "client_max_window_bits"));
                knows && bits.is_some_and(|bits| (8..=15).contains(&bits))
            }
            _ => false,
        };
        if !right {
            return Err("the service's answer for permessage-deflate is malformed");
        }
    }
    Ok(true)
}

fn name(extension: &str) -> &str {
    extension.split(';').next().unwrap_or_default().trim()
}

fn parameters(extension: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    extension.split(';').skip(1).map(|parameter| match parameter.split_once('=') {
        Some((key, value)) => (key.trim(), Some(value.trim())),
        None => (parameter.trim(), None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_static(value))])
    }

    #[test]
    fn only_what_was_offered_can_be_agreed_upon() {
        let offered = offers(&extensions("permessage-deflate; client_max_window_bits, x-own; a=1, permessage-deflate")).unwrap();
        assert_eq!(offered, "permessage-deflate; client_max_window_bits, permessage-deflate");
        for right in [
            "permessage-deflate",
            "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
            "permessage-deflate; server_max_window_bits=10; client_max_window_bits=\"15\"",
        ] {
            assert_eq!(agreed(&extensions(right), Some(&offered)), Ok(true), "{right}");
        }
        for wrong in [
            "x-own",
            "permessage-deflate, permessage-deflate",
            "permessage-deflate; server_max_window_bits=7",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate; other",
        ] {
            assert!(agreed(&extensions(wrong), Some(&offered)).is_err(), "{wrong}");
        }
        let simple = offers(&extensions("permessage-deflate")).unwrap();
        assert!(agreed(&extensions("permessage-deflate; client_max_window_bits=10"), Some(&simple)).is_err());
        assert!(agreed(&extensions("permessage-deflate"), None).is_err());
        assert_eq!(agreed(&HeaderMap::new(), None), Ok(false));
    }
}
