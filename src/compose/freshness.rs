use http::{HeaderMap, HeaderName, HeaderValue, header};

/// How long an answer may be kept, as far as it says so (RFC 9111 §5.2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freshness {
    /// Seconds from now; none where nothing is said.
    max_age: Option<u64>,
    no_store: bool,
    no_cache: bool,
    private: bool,
}

impl Freshness {
    /// Reads it from an answer.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        for directive in list(headers, &header::CACHE_CONTROL) {
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = || value.trim_matches('"').parse::<u64>().unwrap_or_default();
            match name.trim().to_ascii_lowercase().as_str() {
                "max-age" | "s-maxage" => read.max_age = Some(read.max_age.map_or(seconds(), |age| age.min(seconds()))),
                "no-store" => read.no_store = true,
                "no-cache" => read.no_cache = true,
                "private" => read.private = true,
                _ => {}
            }
        }
        // It depends on what no list of headers says (RFC 9110 §12.5.5).
        read.no_store |= list(headers, &header::VARY).any(|name| name == "*");
        let age = list(headers, &header::AGE).next().and_then(|age| age.parse::<u64>().ok()).unwrap_or_default();
        read.max_age = read.max_age.map(|max_age| max_age.saturating_sub(age));
        read
    }

    /// That of two together: fresh for as long as both are.
    pub fn and(self, other: Self) -> Self {
        Self {
            max_age: self.max_age.zip(other.max_age).map(|(one, other)| one.min(other)),
            no_store: self.no_store || other.no_store,
            no_cache: self.no_cache || other.no_cache,
            private: self.private || other.private,
        }
    }

    /// The same of an answer that is for its client alone, or not.
    pub fn of_one(self, personal: bool) -> Self {
        Self { private: self.private || personal, ..self }
    }

    /// The same for an answer that depends on these request headers.
    pub fn headers(self, reads: &[HeaderName]) -> Vec<(HeaderName, HeaderValue)> {
        if self.no_store {
            return vec![(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
        }
        let words = [
            self.private.then(|| "private".to_owned()),
            self.no_cache.then(|| "no-cache".to_owned()),
            self.max_age.map(|seconds| format!("max-age={seconds}")),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        let control = Some(words.join(", ")).filter(|words| !words.is_empty()).map(|words| (header::CACHE_CONTROL, words));
        let vary = Some(reads.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ")).filter(|names| !names.is_empty());
        let all = control.into_iter().chain(vary.map(|names| (header::VARY, names)));
        all.filter_map(|(name, value)| Some((name, HeaderValue::try_from(value).ok()?))).collect()
    }
}

/// Whether an answer depends on what its service was told beside the part's own headers: of the client, of the way that its request came, of what policies know.
/// No cache but the client's own could tell such answers apart.
pub(super) fn varies(headers: &HeaderMap, told: &HeaderMap) -> bool {
    list(headers, &header::VARY).any(|name| told.contains_key(name))
}

pub(super) fn list<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(HeaderName, &'static str)]) -> Freshness {
        Freshness::of(&headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect())
    }

    fn control(parts: &[&'static str]) -> Option<String> {
        let all = parts.iter().map(|control| of(&[(header::CACHE_CONTROL, *control)])).reduce(Freshness::and).unwrap();
        all.headers(&[]).first().map(|(_, value)| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_whole_is_fresh_as_long_as_its_shortest_part() {
        assert_eq!(control(&["public, max-age=60", "max-age=5, s-maxage=100"]).as_deref(), Some("max-age=5"));
        assert_eq!(control(&["max-age=60", ""]), None, "nobody knows of the second");
        assert_eq!(control(&["max-age=60, private", "max-age=7, no-cache"]).as_deref(), Some("private, no-cache, max-age=7"));
        assert_eq!(control(&["max-age=60", "no-store"]).as_deref(), Some("no-store"));
        assert_eq!(control(&["max-age=never", "max-age=60"]).as_deref(), Some("max-age=0"));
    }

    #[test]
    fn the_age_of_a_part_is_taken_off_and_what_varies_unseen_is_not_kept() {
        let aged = of(&[(header::CACHE_CONTROL, "max-age=60"), (header::AGE, "50")]);
        assert_eq!(
            aged.headers(&[header::ACCEPT_LANGUAGE]),
            [(header::CACHE_CONTROL, HeaderValue::from_static("max-age=10")), (header::VARY, HeaderValue::from_static("accept-language")),]
        );
        let varies = of(&[(header::CACHE_CONTROL, "max-age=60"), (header::VARY, "*")]);
        assert_eq!(varies.headers(&[]), [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]);
    }
}
