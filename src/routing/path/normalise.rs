use std::borrow::Cow;

use super::{Backslashes, EncodedSlashes, PathOptions, Semicolons};

/// Why a path is refused: the request is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin with `/`.
    #[error("the path does not begin with `/`")]
    NotAbsolute,
    /// A `%` without two hex digits.
    #[error("the path has a `%` that is not followed by two hex digits")]
    BadEscape,
    /// A control character or a space, raw, or a control character escaped.
    #[error("the path has a control character or a raw space")]
    Control,
    /// A `?` or `#`, which end a path.
    #[error("the path has a `?` or a `#`")]
    Delimiter,
    /// A `\` or `%5C` where they are refused.
    #[error("the path has a backslash")]
    Backslash,
    /// A `%2F` where it is refused.
    #[error("the path has an escaped slash")]
    EncodedSlash,
    /// A `;` or `%3B` where it is refused.
    #[error("the path has a semicolon")]
    Semicolon,
    /// A `.` or `..` that some servers resolve and others do not: before `;`, or beside an escaped slash or backslash.
    #[error("the path has a dot segment in disguise")]
    HiddenDots,
}

/// The one form of a path (see [`PathOptions`]); borrowed when it has that form already, which costs one pass over its bytes.
/// An empty path is `/` (RFC 9110 §4.2.3). Applied to its own result, it changes nothing.
///
/// # Errors
/// A [`PathError`] for what is answered with 400.
pub fn normalise<'p>(path: &'p str, options: &PathOptions) -> Result<Cow<'p, str>, PathError> {
    if path.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    if !path.starts_with('/') {
        return Err(PathError::NotAbsolute);
    }
    if is_normal(path, options) {
        return Ok(Cow::Borrowed(path));
    }
    let mut clean = String::with_capacity(path.len() + 16);
    escape(path, options, &mut clean)?;
    let resolved = resolve(&clean, options.merge_slashes)?;
    Ok(if resolved == path { Cow::Borrowed(path) } else { Cow::Owned(resolved) })
}

/// Whether there is certainly nothing to do. Errs on the side of "no".
fn is_normal(path: &str, options: &PathOptions) -> bool {
    let mut rest = path.as_bytes();
    let mut after_slash = false;
    while let [byte, tail @ ..] = rest {
        match *byte {
            b'/' if after_slash && options.merge_slashes => return false,
            // Only a dot that begins a segment can be, or hide, a dot segment.
            b'.' if after_slash && matches!(tail, [] | [b'/' | b'.' | b';' | b'%', ..]) => return false,
            b'%' => {
                let [high, low, after @ ..] = tail else { return false };
                if high.is_ascii_lowercase() || low.is_ascii_lowercase() {
                    return false;
                }
                match unescape(*high, *low) {
                    None | Some(0..0x20 | 0x7f | b'/' | b'\\' | b';') => return false,
                    Some(byte) if is_unreserved(byte) => return false,
                    Some(_) => rest = after,
                }
                after_slash = false;
                continue;
            }
            b';' if options.semicolons == Semicolons::Refuse => return false,
            byte if !is_path_byte(byte) => return false,
            _ => {}
        }
        after_slash = *byte == b'/';
        rest = tail;
    }
    true
}

/// Appends `text` with every byte in its one spelling. Dots and slashes in a row are left for [`resolve`].
pub(super) fn escape(text: &str, options: &PathOptions, out: &mut String) -> Result<(), PathError> {
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match *byte {
            b'%' => {
                let [high, low, after @ ..] = tail else { return Err(PathError::BadEscape) };
                rest = after;
                match unescape(*high, *low).ok_or(PathError::BadEscape)? {
                    0..0x20 | 0x7f => return Err(PathError::Control),
                    b'/' => match options.encoded_slashes {
                        EncodedSlashes::Keep => out.push_str("%2F"),
                        EncodedSlashes::Refuse => return Err(PathError::EncodedSlash),
                        EncodedSlashes::Decode => out.push('/'),
                    },
                    b'\\' => backslash(options, out)?,
                    b';' if options.semicolons == Semicolons::Refuse => return Err(PathError::Semicolon),
                    byte if is_unreserved(byte) => out.push(char::from(byte)),
                    byte => push_escaped(byte, out),
                }
            }
            b'\\' => backslash(options, out)?,
            0..=0x20 | 0x7f => return Err(PathError::Control),
            b'?' | b'#' => return Err(PathError::Delimiter),
            b';' if options.semicolons == Semicolons::Refuse => return Err(PathError::Semicolon),
            byte if is_path_byte(byte) => out.push(char::from(byte)),
            byte => push_escaped(byte, out),
        }
    }
    Ok(())
}

fn backslash(options: &PathOptions, out: &mut String) -> Result<(), PathError> {
    match options.backslashes {
        Backslashes::Refuse => return Err(PathError::Backslash),
        Backslashes::Keep => out.push_str("%5C"),
    }
    Ok(())
}

/// Dot segments out (RFC 3986 §5.2.4), slashes in a row merged where wanted.
fn resolve(path: &str, merge_slashes: bool) -> Result<String, PathError> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "" if merge_slashes && !last => {}
            "." if last => out.push('/'),
            "." => {}
            ".." => {
                out.truncate(out.rfind('/').unwrap_or(0));
                if last {
                    out.push('/');
                }
            }
            _ if hides_dots(segment) => return Err(PathError::HiddenDots),
            _ => {
                out.push('/');
                out.push_str(segment);
            }
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    Ok(out)
}

/// Whether a server that cuts at `;`, or that takes `%2F` or `%5C` for a slash, would see a dot segment here: the request would
/// then be another one upstream than the one that was matched and authorised.
fn hides_dots(segment: &str) -> bool {
    segment.contains('.')
        && segment.split("%2F").flat_map(|part| part.split("%5C")).any(|part| {
            let name = part.split(';').next().unwrap_or(part);
            name == "." || name == ".."
        })
}

/// A regex that every path matches that [`normalise`] gives; a few others match it too.
pub fn normal(options: &PathOptions) -> String {
    let class = |bytes: &mut dyn Iterator<Item = u8>| bytes.map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let semicolons = options.semicolons == Semicolons::Keep;
    let raw = class(&mut (0..=0x7f).filter(|byte| is_path_byte(*byte) && !matches!(byte, b'/' | b'.') && (*byte != b';' || semicolons)));
    let escaped = (0x20..=0xff).filter(|byte| match byte {
        b'/' => options.encoded_slashes == EncodedSlashes::Keep,
        b'\\' => options.backslashes == Backslashes::Keep,
        b';' => semicolons,
        0x7f => false,
        byte => !is_unreserved(*byte),
    });
    let escapes: Vec<String> = escaped.map(|byte| format!("{byte:02X}")).collect();
    let other = format!("(?:[{raw}]|%(?:{}))", escapes.join("|"));
    let any = format!("(?:{other}|\\.)");
    // Not empty, and neither `.` nor `..`.
    let segment = format!("(?:\\.{{0,2}}{other}{any}*|\\.\\.\\.{any}*)");
    if options.merge_slashes { format!("/(?:{segment}(?:/{segment})*/?)?") } else { format!("(?:/{segment}?)+") }
}

fn unescape(high: u8, low: u8) -> Option<u8> {
    let high = char::from(high).to_digit(16)?;
    let low = char::from(low).to_digit(16)?;
    u8::try_from(high * 16 + low).ok()
}

fn push_escaped(byte: u8, out: &mut String) {
    out.push('%');
    for digit in [byte >> 4, byte & 0xf] {
        out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0').to_ascii_uppercase());
    }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// `pchar` without escapes, and the slash (RFC 3986 §3.3).
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b'/' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@')
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn check(options: &PathOptions, cases: &[(&str, Result<&str, PathError>)]) {
        for (path, expected) in cases {
            assert_eq!(normalise(path, options).as_deref(), expected.as_ref().copied(), "{path}");
        }
    }

    #[test]
    fn one_path_has_one_spelling() {
        check(
            &PathOptions::default(),
            &[
                ("", Ok("/")),
                ("/", Ok("/")),
                ("/users/1", Ok("/users/1")),
                ("/users/", Ok("/users/")),
                ("/%41%7e%2d", Ok("/A~-")),
                ("/a%c3%a9", Ok("/a%C3%A9")),
                ("/aé", Ok("/a%C3%A9")),
                ("/a%2fb", Ok("/a%2Fb")),
                ("/a//b///", Ok("/a/b/")),
                ("/a/./b/../c", Ok("/a/c")),
                ("/a/%2e%2E/b", Ok("/b")),
                ("/../x", Ok("/x")),
                ("/a/b/..", Ok("/a/")),
                ("/a/.", Ok("/a/")),
                ("/..", Ok("/")),
                ("/a//../b", Ok("/b")),
                ("/.well-known/x", Ok("/.well-known/x")),
                ("/.../x", Ok("/.../x")),
                ("/a;v=1/b;c", Ok("/a;v=1/b;c")),
                ("/a|b^{c}\"", Ok("/a%7Cb%5E%7Bc%7D%22")),
                ("/%252e%252e/x", Ok("/%252e%252e/x")),
                ("/a%20b", Ok("/a%20b")),
                ("/$%24", Ok("/$%24")),
            ],
        );
    }

    #[test]
    fn what_servers_disagree_about_is_refused() {
        check(
            &PathOptions::default(),
            &[
                ("*", Err(PathError::NotAbsolute)),
                ("users", Err(PathError::NotAbsolute)),
                ("/%", Err(PathError::BadEscape)),
                ("/%4", Err(PathError::BadEscape)),
                ("/%zz", Err(PathError::BadEscape)),
                ("/%+1", Err(PathError::BadEscape)),
                ("/%00", Err(PathError::Control)),
                ("/%0d%0a", Err(PathError::Control)),
                ("/%7F", Err(PathError::Control)),
                ("/a\u{1}", Err(PathError::Control)),
                ("/a b", Err(PathError::Control)),
                ("/a?b", Err(PathError::Delimiter)),
                ("/a#b", Err(PathError::Delimiter)),
                ("/a\\b", Err(PathError::Backslash)),
                ("/a%5cb", Err(PathError::Backslash)),
                ("/public/..;/admin", Err(PathError::HiddenDots)),
                ("/public/.;x/admin", Err(PathError::HiddenDots)),
                ("/public/..%2fadmin", Err(PathError::HiddenDots)),
                ("/public/x%2f%2e%2e", Err(PathError::HiddenDots)),
            ],
        );
    }

    #[test]
    fn options_change_what_slashes_mean() {
        let options = PathOptions { merge_slashes: false, ..PathOptions::default() };
        check(&options, &[("/a//b", Ok("/a//b")), ("//", Ok("//")), ("/a//../b", Ok("/a/b")), ("/a//.", Ok("/a//"))]);
        let options = PathOptions { encoded_slashes: EncodedSlashes::Decode, ..PathOptions::default() };
        check(&options, &[("/a%2fb", Ok("/a/b")), ("/a/..%2fb", Ok("/b")), ("/a%2F/b", Ok("/a/b")), ("/%252F", Ok("/%252F"))]);
        let options = PathOptions { encoded_slashes: EncodedSlashes::Refuse, ..PathOptions::default() };
        check(&options, &[("/a%2fb", Err(PathError::EncodedSlash)), ("/a%2Fb", Err(PathError::EncodedSlash))]);
        let options = PathOptions { backslashes: Backslashes::Keep, ..PathOptions::default() };
        let refuse = PathOptions { semicolons: Semicolons::Refuse, ..PathOptions::default() };
        check(&refuse, &[("/a;b", Err(PathError::Semicolon)), ("/a%3bb", Err(PathError::Semicolon)), ("/a%3C", Ok("/a%3C"))]);
        check(&options, &[("/a\\b", Ok("/a%5Cb")), ("/a%5cb", Ok("/a%5Cb")), ("/..\\b", Err(PathError::HiddenDots))]);
    }

    #[test]
    fn a_normal_path_is_borrowed() {
        for path in ["/", "/api/v1/users/42", "/.well-known/x", "/a%20b", "/a%2Fb", "/a/b.json", "/a.", "/a../b", "/..a"] {
            assert!(matches!(normalise(path, &PathOptions::default()), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn normalising_twice_changes_nothing_and_leaves_no_dots() {
        let mut random = StdRng::seed_from_u64(7);
        let parts = ["/", "/", ".", "..", "a", "%2e", "%2F", "%2f", "%5c", ";", "%41", "%25", "é", "{", "\\", "%C3", "-", "%3b"];
        for round in 0..40_000 {
            let options = PathOptions {
                merge_slashes: round % 2 == 0,
                encoded_slashes: [EncodedSlashes::Keep, EncodedSlashes::Decode, EncodedSlashes::Refuse][round % 3],
                backslashes: [Backslashes::Refuse, Backslashes::Keep][round / 2 % 2],
                semicolons: [Semicolons::Keep, Semicolons::Refuse][round / 4 % 2],
            };
            let mut path = String::from("/");
            for _ in 0..random.random_range(0..9) {
                path.push_str(parts[random.random_range(0..parts.len())]);
            }
            let Ok(once) = normalise(&path, &options) else { continue };
            assert_eq!(normalise(&once, &options).as_deref(), Ok(&*once), "{path}");
            assert!(once.starts_with('/') && once.is_ascii(), "{path}");
            assert!(once.split('/').all(|segment| segment != "." && segment != ".."), "{path} -> {once}");
            assert!(!options.merge_slashes || !once.contains("//"), "{path} -> {once}");
        }
    }
}
