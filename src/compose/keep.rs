//! Answers of parts that are kept for all requests, as a shared cache keeps them (RFC 9111).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_http::{RequestHeader, ResponseHeader};

use super::freshness::list;
use super::part::Part;
use super::same::{Key, deadline};
use crate::observe::Shard;
use crate::state::{Kept, KeptAnswer};
use crate::upstream::{Answer, Service};

/// What is to be kept of one part's answers.
pub(super) struct Keep {
    kept: Arc<Kept>,
    /// At most for so long.
    most: Duration,
    route: Arc<str>,
    part: Arc<str>,
}

/// An answer that may be kept, should it turn out to be of use.
pub(super) struct Keeping {
    keep: Keep,
    key: Key,
    shard: Arc<Shard>,
    /// Whether the call had credentials (RFC 9111 §3.5).
    authorized: bool,
    /// What the answer may not depend on, since the key says nothing of it.
    unsaid: [Option<HeaderName>; 2],
}

/// What a call that is made for all says of nobody: whose address it comes from.
const NOBODY: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// Takes out of a header what would be another for each client or request (`ids`), so that an answer can depend on nothing that the key does not say.
pub(super) fn in_nobodys_name(head: &mut RequestHeader, ids: &[HeaderName]) {
    for name in NOBODY.iter().chain(ids) {
        head.remove_header(name);
    }
}

impl Keep {
    /// None where nothing is.
    pub fn of(part: &Part, route: &Arc<str>, kept: &Arc<Kept>) -> Option<Self> {
        // First of all: most parts keep nothing, and shall not touch what all workers share.
        let most = part.cache?;
        Some(Self { kept: kept.clone(), most, route: route.clone(), part: part.name.clone() })
    }

    /// The answer that is kept for this call, with its age.
    pub fn find(&self, key: &Key, shard: &Shard) -> Option<Answer> {
        // The config may have come to want them fresher.
        let found = self.kept.find(&key.0).filter(|kept| kept.since.elapsed() < self.most).and_then(|kept| answer(&kept));
        self.count(if found.is_some() { "hit" } else { "miss" }, shard);
        found
    }

    /// What is needed to keep the answer of this call.
    pub fn keeping(self, key: Key, service: &Service, head: &RequestHeader, shard: Arc<Shard>) -> Keeping {
        Keeping {
            keep: self,
            key,
            shard,
            authorized: head.headers.contains_key(header::AUTHORIZATION),
            unsaid: [Some(header::VIA), deadline(service).cloned()],
        }
    }

    fn count(&self, result: &str, shard: &Shard) {
        shard.part_cache.with_label_values(&[&*self.route, &*self.part, result]).inc();
    }
}

impl Keeping {
    /// The answer as it would be kept, where it may be.
    pub fn prepare(&self, answer: &Answer) -> Option<KeptAnswer> {
        let head = &answer.head;
        let fresh = lifetime(head.status, &head.headers, self.authorized, self.keep.most)?;
        let varies = |name: &str| self.unsaid.iter().flatten().any(|unsaid| name.eq_ignore_ascii_case(unsaid.as_str()));
        if list(&head.headers, &header::VARY).any(|name| name == "*" || varies(name)) {
            return None;
        }
        const ALONG: [HeaderName; 5] = [header::CONTENT_TYPE, header::CACHE_CONTROL, header::VARY, header::AGE, header::CONTENT_ENCODING];
        let along = head.headers.iter().filter(|(name, _)| ALONG.contains(name)).map(|(name, value)| (name.clone(), value.clone()));
        Some(KeptAnswer { status: head.status, headers: along.collect(), body: answer.body.clone(), since: Instant::now(), fresh })
    }

    /// Keeps it.
    pub fn keep(self, mut answer: KeptAnswer) {
        // It may lie in a larger piece of memory, which nobody counts.
        answer.body = Bytes::copy_from_slice(&answer.body);
        self.keep.kept.keep(self.key.0, answer);
        self.keep.count("stored", &self.shard);
        let (bytes, evicted) = self.keep.kept.told();
        self.shard.part_cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.shard.part_cache_evicted.inc_by(evicted);
    }
}

fn answer(kept: &KeptAnswer) -> Option<Answer> {
    let mut head = ResponseHeader::build_no_case(kept.status, Some(kept.headers.len() + 1)).ok()?;
    for (name, value) in &kept.headers {
        head.append_header(name.clone(), value.clone()).ok()?;
    }
    let age = age(&kept.headers).saturating_add(kept.since.elapsed().as_secs());
    head.insert_header(header::AGE, HeaderValue::from(age)).ok()?;
    Some(Answer { head: Box::new(head), body: kept.body.clone(), charge: None })
}

/// For how long an answer may be kept by all, from now: none where not at all (RFC 9111 §3, §5.2.2), and never longer than `most`.
fn lifetime(status: StatusCode, headers: &HeaderMap, authorized: bool, most: Duration) -> Option<Duration> {
    let is_whole = matches!(status, StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION | StatusCode::NO_CONTENT);
    if !is_whole || headers.contains_key(header::SET_COOKIE) {
        return None;
    }
    let (mut shared, mut own, mut public) = (None, None, false);
    for directive in list(headers, &header::CACHE_CONTROL) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        // One that cannot be read is over, and of two the shorter holds (RFC 9111 §4.2.1).
        let seconds = || value.trim().trim_matches('"').parse::<u64>().unwrap_or_default();
        let shorter = |before: Option<u64>| Some(before.map_or(seconds(), |before| before.min(seconds())));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" | "private" => return None,
            "s-maxage" => (shared, public) = (shorter(shared), true),
            "max-age" => own = shorter(own),
            "public" | "must-revalidate" => public = true,
            _ => {}
        }
    }
    if authorized && !public {
        return None;
    }
    let said = shared.or(own).map(Duration::from_secs).or_else(|| expires(headers));
    let left = said.map_or(most, |said| said.saturating_sub(Duration::from_secs(age(headers))).min(most));
    Some(left).filter(|left| !left.is_zero())
}

/// How long it is until `Expires`: zero where that is over or no date (RFC 9111 §5.3).
fn expires(headers: &HeaderMap) -> Option<Duration> {
    let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let expires = date(headers.get(header::EXPIRES)?);
    let from = headers.get(header::DATE).and_then(date).unwrap_or_else(SystemTime::now);
    Some(expires.and_then(|expires| expires.duration_since(from).ok()).unwrap_or_default())
}

/// Seconds that it was kept before it came here.
fn age(headers: &HeaderMap) -> u64 {
    list(headers, &header::AGE).next().and_then(|age| age.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(status: u16, headers: &[(&'static str, &'static str)], authorized: bool) -> Option<u64> {
        let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        lifetime(StatusCode::from_u16(status).unwrap(), &headers, authorized, Duration::from_secs(30)).map(|left| left.as_secs())
    }

    #[test]
    fn an_answer_is_kept_for_as_long_as_both_sides_say() {
        for (headers, seconds) in [
            (&[][..], Some(30)),
            (&[("cache-control", "max-age=7")], Some(7)),
            (&[("cache-control", "max-age=600")], Some(30)),
            (&[("cache-control", "max-age=7, s-maxage=20")], Some(20)),
            (&[("cache-control", "max-age=20"), ("age", "15")], Some(5)),
            (&[("cache-control", "max-age=20"), ("age", "20")], None),
            (&[("cache-control", "max-age=0")], None),
            (&[("cache-control", "max-age=soon")], None),
            (&[("cache-control", "public, Max-Age=\"7\"")], Some(7)),
            (&[("cache-control", "no-store")], None),
            (&[("cache-control", "no-cache")], None),
            (&[("cache-control", "private=\"x\", max-age=9")], None),
            (&[("set-cookie", "a=b")], None),
            (&[("expires", "0")], None),
            (&[("expires", "Thu, 01 Dec 1994 16:00:07 GMT"), ("date", "Thu, 01 Dec 1994 16:00:00 GMT")], Some(7)),
            (&[("expires", "Thu, 01 Dec 1994 16:00:00 GMT")], None),
            (&[("expires", "0"), ("cache-control", "max-age=9")], Some(9)),
        ] {
            assert_eq!(kept(200, headers, false), seconds, "{headers:?}");
        }
    }

    #[test]
    fn only_what_is_whole_and_for_all_is_kept() {
        for (status, is_kept) in
            [(200, true), (203, true), (204, true), (201, false), (206, false), (302, false), (404, false), (500, false)]
        {
            assert_eq!(kept(status, &[], false).is_some(), is_kept, "{status}");
        }
        for (control, seconds) in
            [("max-age=9", None), ("public", Some(30)), ("s-maxage=9", Some(9)), ("must-revalidate, max-age=8", Some(8)), ("", None)]
        {
            assert_eq!(kept(200, &[("cache-control", control)], true), seconds, "{control}");
        }
    }

    #[test]
    fn a_call_for_all_says_nothing_of_one() {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in [("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=x"), ("X-Id", "acme"), ("X-Tenant", "acme")] {
            head.insert_header(name, value).unwrap();
        }
        in_nobodys_name(&mut head, &[HeaderName::from_static("x-id")]);
        // A client could choose an id that is the value of another header.
        assert_eq!(head.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-tenant"]);
    }
}
