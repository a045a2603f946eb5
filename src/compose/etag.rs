use http::{HeaderMap, HeaderValue, header};
use twox_hash::XxHash3_128;

/// The strong tag of a body (RFC 9110 §8.8.3): the same for the same bytes on every machine.
pub(super) fn tag(body: &[u8]) -> HeaderValue {
    let text = format!("\"{:032x}\"", XxHash3_128::oneshot(body));
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Whether the client of a GET or HEAD has what this tag stands for (RFC 9110 §13.1.2, by the weak comparison of §8.8.3.2).
pub(super) fn has(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|line| named(line.as_bytes(), tag.as_bytes()))
}

/// Whether a list of tags has this one, or is `*`. What is no tag ends the list.
fn named(list: &[u8], tag: &[u8]) -> bool {
    if list.trim_ascii() == b"*" {
        return true;
    }
    let mut rest = list;
    loop {
        rest = rest.trim_ascii_start();
        if let Some(more) = rest.strip_prefix(b",") {
            rest = more;
            continue;
        }
        rest = rest.strip_prefix(b"W/").unwrap_or(rest);
        let Some(end) = rest.strip_prefix(b"\"").and_then(|text| text.iter().position(|byte| *byte == b'"')) else { return false };
        let Some((one, more)) = rest.split_at_checked(end + 2) else { return false };
        if one == tag {
            return true;
        }
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_body_has_the_same_tag_in_every_version() {
        assert_eq!(tag(b"{\"a\":1}"), tag(b"{\"a\":1}"));
        assert_ne!(tag(b"{\"a\":1}"), tag(b"{\"a\":2}"));
        // XXH3 of 128 bits with seed 0, of nothing: from its specification.
        assert_eq!(tag(b""), "\"99aa06d3014798d86001c324468d497f\"");
    }

    #[test]
    fn a_tag_is_found_in_lists_weak_or_not_and_what_is_no_list_names_nothing() {
        for (lines, has_it) in [
            (&["\"a\""][..], true),
            (&["W/\"a\""], true),
            (&["\"b\", W/\"a\""], true),
            (&["\"b\",,\t\"a\" "], true),
            (&["\"b\"", "\"a\""], true),
            (&["*"], true),
            (&[" * "], true),
            (&["\"b\", \"x,a\""], false),
            (&["\"b\", *"], false),
            (&["a"], false),
            (&["\"a"], false),
            (&["w/\"a\""], false),
            (&["\"\""], false),
            (&[""], false),
            (&[], false),
        ] {
            let headers: HeaderMap = lines.iter().map(|line| (header::IF_NONE_MATCH, HeaderValue::from_static(line))).collect();
            assert_eq!(has(&headers, &HeaderValue::from_static("\"a\"")), has_it, "{lines:?}");
        }
    }
}
