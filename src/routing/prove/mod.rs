//! What can be proven of a set of routes before the first request comes: which of them never get one.
//!
//! A route is refused when each of its hosts and paths is taken, for every method that it takes, by candidates that come first in the
//! [order](super) and ask for no more: their path matches all that its path matches (compared as automata, over the paths that
//! [`normalise`] gives), and each of their conditions follows from one of its own. Then there is an example: a request that it matches and that
//! another route takes. So is a matcher refused that no request can meet.
//!
//! Only what is proven is refused. Not looked for: routes whose paths are covered by several others together, none of which covers them alone;
//! conditions that contradict each other across names; regexes whose automata would be very large; anything at all where more than 1,000 regexes of a host have the same literal
//! beginning.

mod language;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

use super::condition::{Conditions, Test};
use super::expression::Parsed;
use super::host::HostPattern;
use super::leaf::{Candidate, Verdict};
use super::method::MethodSet;
use super::path::{Pattern, normal, normalise};
use super::{PathOptions, Query, Router};
use crate::building::{BuildError, Step};
use language::{Language, Search, search};

/// One way to reach a route, as it was written.
pub(super) struct Proposal {
    pub(super) route: u32,
    pub(super) host: HostPattern,
    pub(super) path: Path,
    pub(super) methods: MethodSet,
    pub(super) named: MethodSet,
    pub(super) conditions: Option<Arc<Conditions>>,
}

/// The path of a [`Proposal`].
#[derive(Clone)]
pub(super) enum Path {
    Pattern(Pattern),
    /// A regex, with its place below `match`.
    Expression(Rc<str>, Rc<[Step]>),
}

/// Says which routes never get a request. Those in `told` have other mistakes.
pub(super) fn prove(
    router: &Router,
    proposals: &[Proposal],
    names: &[String],
    options: &PathOptions,
    told: &HashSet<u32>,
) -> Vec<BuildError> {
    if router.hosts.all().any(|tree| tree.widest() > MOST_REGEXES) {
        return Vec::new();
    }
    let path_bytes = bytes().into_iter().filter(|byte| byte.is_ascii_graphic()).collect();
    let prover = Prover { router, proposals, names, options, normal: normal(options), path_bytes, languages: RefCell::default() };
    let routes = proposals.chunk_by(|a, b| a.route == b.route).scan(0, |first, chunk| {
        let start = *first;
        *first += chunk.len();
        Some((start, chunk))
    });
    let mut errors = Vec::new();
    for (start, chunk) in routes.filter(|(_, chunk)| chunk.first().is_some_and(|first| !told.contains(&first.route))) {
        prover.route(start, chunk, &mut errors);
        if errors.len() >= MOST_ERRORS {
            break;
        }
    }
    errors
}

/// More of them have one cause, and each takes a while to be proven.
const MOST_ERRORS: usize = 100;

/// How many regexes of one host may have the same literal beginning: a look-up runs all of them, and there is one for each route.
const MOST_REGEXES: usize = 1000;

/// Bytes of a text, those that read well first: examples are made of them.
fn bytes() -> Vec<u8> {
    let mut bytes: Vec<u8> = b"x".iter().copied().chain(b'a'..=b'z').chain(b'0'..=b'9').chain(b'A'..=b'Z').chain(0..=0xff).collect();
    let mut seen = HashSet::new();
    bytes.retain(|byte| seen.insert(*byte));
    bytes
}

/// Whether no value of a header, or of a query parameter, can be as this text or regex says.
pub(super) fn is_impossible(test: &Test, header: bool) -> bool {
    // RFC 9110 §5.5: white space around a value is no part of it.
    let fits = |value: &[u8]| !header || (HeaderValue::from_bytes(value).is_ok() && value.trim_ascii() == value);
    match test {
        Test::Present(_) => false,
        Test::Exact(text) => !fits(text),
        Test::Matches(expression, text) => {
            let sample = Parsed::new(text).map(|parsed| parsed.sample()).unwrap_or_default();
            if expression.matches(&sample) && fits(&sample) {
                return false;
            }
            // Blanks may stand within.
            let bytes: Vec<u8> = bytes().into_iter().filter(|byte| fits(&[b'x', *byte, b'x'])).collect();
            Language::new(text).is_some_and(|language| search(&[&language], &[], &bytes) == Search::Nothing)
        }
    }
}

/// A request that a proposal matches.
struct Example {
    host: String,
    path: String,
    headers: HeaderMap,
    query: Option<String>,
    /// What is to be sent with it, for people.
    with: String,
}

/// What was found out of a proposal.
enum Reach {
    /// It may get requests.
    Maybe,
    /// All are taken before: for example this one, with this method.
    Never(Box<Example>, http::Method),
    /// It can match nothing.
    Nothing,
}

/// What a search for a path came to.
enum Found {
    Path(String),
    Nothing,
    Unknown,
}

struct Prover<'a> {
    router: &'a Router,
    proposals: &'a [Proposal],
    names: &'a [String],
    options: &'a PathOptions,
    /// What every path matches, and the bytes it is made of.
    normal: String,
    path_bytes: Vec<u8>,
    languages: RefCell<HashMap<String, Option<Rc<Language>>>>,
}

impl Prover<'_> {
    fn route(&self, start: usize, proposals: &[Proposal], errors: &mut Vec<BuildError>) {
        let mut never = None;
        for (at, proposal) in proposals.iter().enumerate() {
            match self.reach(start + at, proposal) {
                // One way to reach it is enough; what can match nothing is told all the same.
                Reach::Maybe if proposals.iter().any(|other| matches!(other.path, Path::Expression(..))) => never = Some(None),
                Reach::Maybe => return,
                Reach::Never(example, method) => never = never.or(Some(Some((proposal, example, method)))),
                Reach::Nothing => {
                    errors.push(impossible(proposal));
                    never = Some(None);
                }
            }
        }
        let Some(Some((proposal, example, method))) = never else { return };
        let Some(other) = self.taker(&example, &method).map(|other| other as usize) else { return };
        let name = |route: usize| self.names.get(route).map_or("", String::as_str);
        let own = proposal.route as usize;
        let reason = format!(
            "the route `{}` never gets a request: `{}` comes first, for example for `{method} http://{}{}{}`{}",
            name(own),
            name(other),
            example.host,
            example.path,
            example.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default(),
            example.with
        );
        let fix = format!("let `{}` match less, or leave `{}` out", name(other), name(own));
        errors.push(BuildError::new(reason, fix).at("match").at(own).beside([other.into(), "match".into()]));
    }

    fn reach(&self, number: usize, proposal: &Proposal) -> Reach {
        // Often another takes the plainest request alone, and not one with characters that regexes rarely name: that spares the automata.
        if let Path::Pattern(pattern) = &proposal.path
            && let Some(example) = self.example(proposal, pattern.example("0-~"))
            && self.is_normal(&example.path)
            && self.taker(&example, &self.method(proposal)) == Some(proposal.route)
        {
            return Reach::Maybe;
        }
        let plain = self.plain_path(&proposal.path).and_then(|path| self.reach_by(number, proposal, path));
        plain.unwrap_or_else(|| match self.path(&proposal.path) {
            Found::Path(path) => self.reach_by(number, proposal, path).unwrap_or(Reach::Maybe),
            Found::Nothing => Reach::Nothing,
            Found::Unknown => Reach::Maybe,
        })
    }

    /// The same by one path; none where the proposal does not match it.
    fn reach_by(&self, number: usize, proposal: &Proposal, path: String) -> Option<Reach> {
        let Some(example) = self.example(proposal, path) else { return Some(Reach::Maybe) };
        let method = self.method(proposal);
        let seen = self.router.consider(&self.query(&example, &method));
        if taker(&seen) == Some(proposal.route) {
            return Some(Reach::Maybe);
        }
        let own = seen.iter().position(|(candidate, _)| candidate.number as usize == number)?;
        let mut taken = MethodSet::default();
        for (other, verdict) in seen.iter().take(own) {
            // One that says no for a reason other than the method does not take all.
            if matches!(verdict, Verdict::Condition(_)) || !self.covers(other, proposal) {
                continue;
            }
            if other.methods.is_empty() && !proposal.methods.overlaps(MethodSet::TRACE) {
                return Some(Reach::Never(Box::new(example), method));
            }
            taken = taken.with(self.takes(other, proposal));
        }
        let all = !proposal.methods.is_empty() && taken.includes(proposal.methods);
        Some(if all { Reach::Never(Box::new(example), method) } else { Reach::Maybe })
    }

    fn query<'q>(&self, example: &'q Example, method: &'q http::Method) -> Query<'q> {
        Query { host: &example.host, method, asks: None, path: &example.path, headers: &example.headers, query: example.query.as_deref() }
    }

    /// The route that takes an example.
    fn taker(&self, example: &Example, method: &http::Method) -> Option<u32> {
        taker(&self.router.consider(&self.query(example, method)))
    }

    /// One that the proposal takes. GET before HEAD: of routes that name HEAD the order is another.
    fn method(&self, proposal: &Proposal) -> http::Method {
        self.router.methods.list(proposal.methods).into_iter().next().unwrap_or(http::Method::GET)
    }

    /// The methods of the proposal that a candidate before it takes. In one place, whoever names HEAD comes before those that get it by way of GET.
    fn takes(&self, other: &Candidate, proposal: &Proposal) -> MethodSet {
        let by_way = other.methods.overlaps(MethodSet::HEAD) && !other.named.overlaps(MethodSet::HEAD);
        if by_way && proposal.named.overlaps(MethodSet::HEAD) { other.named } else { other.methods }
    }

    /// Whether a candidate asks for nothing, but for the method, that the proposal does not ask for.
    fn covers(&self, other: &Candidate, proposal: &Proposal) -> bool {
        let Some(said) = self.proposals.get(other.number as usize) else { return false };
        let follow = match (&other.conditions, &proposal.conditions) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(other), Some(own)) => self.follow(own, other),
        };
        follow && self.within(&proposal.path, &said.path)
    }

    /// Whether who meets `own` meets `other`.
    fn follow(&self, own: &Conditions, other: &Conditions) -> bool {
        let implies = |own: &Test, other: &Test| self.implies(own, other);
        other.headers().iter().all(|asked| own.headers().iter().any(|known| known.name == asked.name && implies(&known.test, &asked.test)))
            && other
                .query()
                .iter()
                .all(|asked| own.query().iter().any(|known| known.name == asked.name && implies(&known.test, &asked.test)))
    }

    fn implies(&self, own: &Test, other: &Test) -> bool {
        match (own, other) {
            (Test::Present(own), Test::Present(other)) => own == other,
            (_, Test::Present(present)) => *present,
            (Test::Exact(text), other) => other.holds(Some(text)),
            (Test::Matches(_, own), Test::Matches(_, other)) => own == other || self.lies_within(Some(own), other, &bytes()),
            (Test::Present(true), Test::Matches(_, other)) => self.lies_within(None, other, &bytes()),
            (Test::Present(false), Test::Matches(..)) | (_, Test::Exact(_)) => false,
        }
    }

    /// Whether every text that a regex matches, or every text, is matched by another.
    fn lies_within(&self, own: Option<&str>, other: &str, bytes: &[u8]) -> bool {
        let Some(other) = self.language(other) else { return false };
        match own.map(|own| self.language(own)) {
            None => search(&[], &[&other], bytes) == Search::Nothing,
            Some(Some(own)) => search(&[&own], &[&other], bytes) == Search::Nothing,
            Some(None) => false,
        }
    }

    fn within(&self, own: &Path, other: &Path) -> bool {
        let (own, other) = (expression(own), expression(other));
        if own == other {
            return true;
        }
        let (Some(own), Some(other), Some(normal)) = (self.language(&own), self.language(&other), self.language(&self.normal)) else {
            return false;
        };
        search(&[&own, &normal], &[&other], &self.path_bytes) == Search::Nothing
    }

    fn language(&self, text: &str) -> Option<Rc<Language>> {
        self.languages.borrow_mut().entry(text.to_owned()).or_insert_with(|| Language::new(text).map(Rc::new)).clone()
    }

    /// Whether a request can have this path.
    fn is_normal(&self, path: &str) -> bool {
        normalise(path, self.options).is_ok_and(|normal| *normal == *path)
    }

    /// The plainest path that may match, found without looking far: whether it does shows when the router looks for it.
    fn plain_path(&self, path: &Path) -> Option<String> {
        let text = match path {
            Path::Pattern(pattern) => pattern.example("x"),
            Path::Expression(text, _) => String::from_utf8(Parsed::new(text).ok()?.sample()).ok()?,
        };
        Some(text).filter(|text| self.is_normal(text))
    }

    /// A path that matches, looked for among all that there are.
    fn path(&self, path: &Path) -> Found {
        let (Some(own), Some(normal)) = (self.language(&expression(path)), self.language(&self.normal)) else {
            return Found::Unknown;
        };
        match search(&[&own, &normal], &[], &self.path_bytes) {
            Search::Found(path) => match String::from_utf8(path) {
                Ok(path) if self.is_normal(&path) => Found::Path(path),
                _ => Found::Unknown,
            },
            Search::Nothing => Found::Nothing,
            Search::Unknown => Found::Unknown,
        }
    }

    fn example(&self, proposal: &Proposal, path: String) -> Option<Example> {
        let host = self.router.hosts.example(&proposal.host)?;
        let mut example = Example { host, path, headers: HeaderMap::new(), query: None, with: String::new() };
        let Some(conditions) = &proposal.conditions else { return Some(example) };
        for asked in conditions.headers() {
            let Some(value) = self.value(&asked.test)? else { continue };
            let value = HeaderValue::from_bytes(&value).ok()?;
            let joint = if example.with.is_empty() { " with" } else { "," };
            example.with.push_str(&format!("{joint} `{}: {}`", asked.name, value.to_str().unwrap_or("…")));
            example.headers.insert(asked.name.clone(), value);
        }
        let mut pairs = Vec::new();
        for asked in conditions.query() {
            let Some(value) = self.value(&asked.test)? else { continue };
            let name = self.router.query_names.iter().find(|(_, number)| **number == asked.name)?.0;
            let encode = |text: &[u8]| percent_encoding::percent_encode(text, ESCAPED).to_string();
            pairs.push(format!("{}={}", encode(name.as_bytes()), encode(&value)));
        }
        example.query = (!pairs.is_empty()).then(|| pairs.join("&"));
        Some(example)
    }

    /// A value that meets the test; inside none where there must be none, outside none where it is not found.
    fn value(&self, test: &Test) -> Option<Option<Vec<u8>>> {
        let value = match test {
            Test::Present(false) => return Some(None),
            Test::Present(true) => b"x".to_vec(),
            Test::Exact(text) => text.to_vec(),
            Test::Matches(_, text) => {
                let sample = Parsed::new(text).ok()?.sample();
                match test.holds(Some(&sample)) {
                    true => sample,
                    false => match search(&[&*self.language(text)?], &[], &bytes()) {
                        Search::Found(value) => value,
                        _ => return None,
                    },
                }
            }
        };
        Some(Some(value))
    }
}

/// What is escaped in the query of an example.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn taker(seen: &[(&Candidate, Verdict<'_>)]) -> Option<u32> {
    seen.iter().find(|(_, verdict)| *verdict == Verdict::Takes).map(|(candidate, _)| candidate.route)
}

fn expression(path: &Path) -> String {
    match path {
        Path::Pattern(pattern) => pattern.expression(),
        Path::Expression(text, _) => text.to_string(),
    }
}

fn impossible(proposal: &Proposal) -> BuildError {
    let Path::Expression(text, place) = &proposal.path else { return BuildError::new("this can never match", "leave it out") };
    let fix = if text.starts_with(['/', '^', '(', '.', '[', '\\']) {
        "a request path begins with `/`, has no `//` and no `.` or `..` between slashes, and its escapes are in upper case: see `paths:`"
    } else {
        "begin it with `/`, as every path does"
    };
    let error = BuildError::new(format!("the regex `{text}` can never match a request path"), fix);
    place.iter().rev().fold(error, |error, step| error.at(step.clone())).at("match").at(proposal.route as usize)
}

#[cfg(test)]
mod tests;
