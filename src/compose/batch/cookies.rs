use http::HeaderValue;

/// Lines of cookies in the answer to a batch, and their bytes: what may stand in a header besides all else.
const LINES: usize = 50;
const BYTES: usize = 16 * 1024;

/// The cookies of all answers, as the one around them sets them: each once (RFC 6265 §4.1.1), as the last answer in the order of the requests has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Cookies(Vec<Cookie>);

#[derive(Clone, Debug)]
struct Cookie {
    /// The place of the request whose answer sets it.
    place: usize,
    /// Name, domain and path.
    identity: [Vec<u8>; 3],
    line: HeaderValue,
}

impl Cookies {
    /// The same with those of one more answer; none where they would be too many.
    pub fn with(&self, place: usize, lines: Vec<HeaderValue>) -> Option<Self> {
        let mut all = self.clone();
        for line in lines {
            let identity = identity(line.as_bytes());
            let same = all.0.iter().position(|cookie| cookie.identity == identity);
            if same.and_then(|same| all.0.get(same)).is_some_and(|same| same.place > place) {
                continue;
            }
            same.map(|same| all.0.remove(same));
            all.0.push(Cookie { place, identity, line });
            if all.0.len() > LINES || all.bytes() > BYTES {
                return None;
            }
        }
        Some(all)
    }

    /// What is told where there would be too many.
    pub fn full() -> String {
        format!("the answers of the batch set more than {LINES} cookies, or more than {BYTES} bytes of them")
    }

    /// How long they are.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(|cookie| cookie.line.len()).sum()
    }

    /// Their lines, in the order of the requests.
    pub fn into_lines(self) -> impl Iterator<Item = HeaderValue> {
        let mut all = self.0;
        all.sort_by_key(|cookie| cookie.place);
        all.into_iter().map(|cookie| cookie.line)
    }
}

/// What a browser tells cookies apart by (RFC 6265 §5.3).
fn identity(line: &[u8]) -> [Vec<u8>; 3] {
    let pair = line.split(|byte| *byte == b';').next().unwrap_or_default();
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
    let domain = attribute(line, "domain").unwrap_or_default();
    let domain = domain.strip_prefix(b".").unwrap_or(domain).to_ascii_lowercase();
    [name.to_vec(), domain, attribute(line, "path").unwrap_or_default().to_vec()]
}

/// The value of an attribute: the last counts.
fn attribute<'l>(line: &'l [u8], name: &str) -> Option<&'l [u8]> {
    let values = line.split(|byte| *byte == b';').skip(1).filter_map(|attribute| {
        let mut halves = attribute.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
        let is_it = halves.next()?.eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| halves.next().unwrap_or_default())
    });
    values.last()
}

/// A cookie of the answer to a request for `path`, as the answer around it sets it: where it does not say for which paths it is, a browser would take those
/// of the batch, not those of the request (RFC 6265 §5.1.4). None where that cannot be said for it.
pub(super) fn placed(cookie: &HeaderValue, path: &str) -> Option<HeaderValue> {
    if attribute(cookie.as_bytes(), "path").is_some_and(|path| path.starts_with(b"/")) {
        return Some(cookie.clone());
    }
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    // A semicolon ends the attribute, and what is behind would be another one, of the client's making.
    if folder.contains(';') {
        return None;
    }
    let folder = if folder.is_empty() { "/" } else { folder };
    HeaderValue::from_bytes(&[cookie.as_bytes(), b"; Path=", folder.as_bytes()].concat()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> HeaderValue {
        HeaderValue::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn one_without_a_path_gets_that_of_its_request() {
        for (cookie, path, set) in [
            ("a=b; HttpOnly", "/x/y/z", Some("a=b; HttpOnly; Path=/x/y")),
            ("a=b", "/x", Some("a=b; Path=/")),
            ("a=ü;", "/x/y", Some("a=ü;; Path=/x")),
            ("a=b; path=/x", "/y/z", Some("a=b; path=/x")),
            ("a=b; Path=/x; Path=", "/y/z", Some("a=b; Path=/x; Path=; Path=/y")),
            ("a=b; Path", "/y/z", Some("a=b; Path; Path=/y")),
            ("path=/a", "/y/z", Some("path=/a; Path=/y")),
            ("a=b", "/x;Domain=evil.test/y", None),
            ("a=b; Path=/", "/x;Domain=evil.test/y", Some("a=b; Path=/")),
            ("a=b", "/x/y;z", Some("a=b; Path=/x")),
        ] {
            assert_eq!(placed(&line(cookie), path), set.map(line), "{cookie} for {path}");
        }
    }

    #[test]
    fn each_is_set_once_as_the_last_request_has_it_whoever_is_first() {
        let (first, second) = (vec![line("a=1; Path=/"), line("b=1; Path=/")], vec![line("a=2; Path=/"), line("a=2; Path=/x")]);
        let lines = |all: Cookies| all.into_lines().collect::<Vec<_>>();
        let set = ["b=1; Path=/", "a=2; Path=/", "a=2; Path=/x"];
        let all = Cookies::default().with(1, second.clone()).and_then(|all| all.with(0, first.clone())).unwrap();
        assert_eq!(lines(all), set);
        let all = Cookies::default().with(0, first).and_then(|all| all.with(1, second)).unwrap();
        assert_eq!(lines(all), set);
    }

    #[test]
    fn there_are_no_more_than_a_header_can_hold() {
        let lines = |count: usize| (0..count).map(|name| line(&format!("{name}=1; Path=/"))).collect::<Vec<_>>();
        let full = Cookies::default().with(0, lines(LINES)).unwrap();
        assert!(full.with(1, lines(LINES)).is_some(), "they are the same");
        assert!(full.with(1, vec![line("other=1")]).is_none());
        assert!(Cookies::default().with(0, vec![line(&"x".repeat(BYTES))]).is_some_and(|all| all.bytes() == BYTES));
        assert!(Cookies::default().with(0, vec![line(&"x".repeat(BYTES + 1))]).is_none());
    }
}
