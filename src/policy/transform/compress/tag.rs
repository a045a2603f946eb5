//! Tags of answers that go out in another form, and the way back to those that services know.

use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use smallvec::SmallVec;

use crate::policy::transform::set;

/// What a tag ends with that was made here.
const MARK: &[u8] = b"~encoded";

/// The tag of the same answer in another form, `W/"a~encoded"` of `"a"`: weak, since the bytes are others (RFC 9110 §8.8.1), and marked, so that it can
/// be told from one that a service made weak. Such a one stays as it is.
pub fn marked(tag: &HeaderValue) -> Option<HeaderValue> {
    let text = tag.as_bytes().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    HeaderValue::from_bytes(&[b"W/\"", text, MARK, b"\""].concat()).ok()
}

/// Puts the tags of services in the place of marked ones, in all lines of this name. Gives those that it has put there.
pub fn restore(req: &mut RequestHeader, name: &HeaderName) -> SmallVec<[HeaderValue; 1]> {
    let mut found = SmallVec::new();
    if !req.headers.get_all(name).iter().any(has_mark) {
        return found;
    }
    let lines: Vec<_> = req.headers.get_all(name).iter().map(|line| restored(line, &mut found)).collect();
    for (place, line) in lines.into_iter().enumerate() {
        if place == 0 {
            set(req, name, line);
        } else {
            let _ = req.append_header(name, line);
        }
    }
    found
}

fn has_mark(line: &HeaderValue) -> bool {
    line.as_bytes().windows(MARK.len()).any(|bytes| bytes == MARK)
}

/// A list of tags with those of services in it.
fn restored(line: &HeaderValue, found: &mut SmallVec<[HeaderValue; 1]>) -> HeaderValue {
    // There is no quote within a tag (RFC 9110 §8.8.3): every other piece is the text of one.
    let pieces: Vec<_> = line.as_bytes().split(|byte| *byte == b'"').collect();
    if pieces.len().is_multiple_of(2) {
        return line.clone();
    }
    let mut out = Vec::with_capacity(line.len());
    for pair in pieces.chunks(2) {
        let [before, text] = pair else {
            out.extend_from_slice(pair.first().copied().unwrap_or_default());
            break;
        };
        let own = before.strip_suffix(b"W/").zip(text.strip_suffix(MARK));
        let (before, text) = own.unwrap_or((before, text));
        let tag = [b"\"", text, b"\""].concat();
        out.extend_from_slice(before);
        out.extend_from_slice(&tag);
        found.extend(own.and_then(|_| HeaderValue::from_bytes(&tag).ok()));
    }
    HeaderValue::from_bytes(&out).unwrap_or_else(|_| line.clone())
}

#[cfg(test)]
mod tests {
    use http::header::IF_NONE_MATCH;

    use super::*;

    #[test]
    fn a_strong_tag_is_marked_and_no_other() {
        for (tag, made) in [
            ("\"a\"", Some("W/\"a~encoded\"")),
            ("\"\"", Some("W/\"~encoded\"")),
            ("\"a~encoded\"", Some("W/\"a~encoded~encoded\"")),
            ("W/\"a\"", None),
            ("a", None),
            ("\"", None),
        ] {
            assert_eq!(marked(&HeaderValue::from_static(tag)), made.map(HeaderValue::from_static), "{tag}");
        }
    }

    #[test]
    fn what_was_marked_comes_back_and_the_rest_of_a_list_stays_as_it_is() {
        for (lines, back, found) in [
            (&["W/\"a~encoded\""][..], &["\"a\""][..], &["\"a\""][..]),
            (&["\"b\" ,W/\"a~encoded\",, W/\"c\""], &["\"b\" ,\"a\",, W/\"c\""], &["\"a\""]),
            (&["W/\"x,W/~encoded\", \"y\""], &["\"x,W/\", \"y\""], &["\"x,W/\""]),
            (&["\"b\"", "W/\"a~encoded\"", "\"d\""], &["\"b\"", "\"a\"", "\"d\""], &["\"a\""]),
            (&["W/\"a~encoded~encoded\""], &["\"a~encoded\""], &["\"a~encoded\""]),
            // Services have tags like that, too.
            (&["\"a~encoded\""], &["\"a~encoded\""], &[]),
            (&["w/\"a~encoded\""], &["w/\"a~encoded\""], &[]),
            (&["W/\"a~encoded"], &["W/\"a~encoded"], &[]),
            (&["W/\"~encoded, \"a\""], &["W/\"~encoded, \"a\""], &[]),
            (&["*"], &["*"], &[]),
            (&["~encoded"], &["~encoded"], &[]),
        ] {
            let mut req = RequestHeader::build("GET", b"/", None).unwrap();
            for line in lines {
                req.append_header(IF_NONE_MATCH, *line).unwrap();
            }
            assert_eq!(restore(&mut req, &IF_NONE_MATCH).as_slice(), found, "{lines:?}");
            assert_eq!(req.headers.get_all(IF_NONE_MATCH).iter().collect::<Vec<_>>(), back, "{lines:?}");
        }
    }
}
