//! Which route a request takes.
//!
//! # The order
//! One total order says which of several matching routes wins; it is the Gateway API's (`HTTPRouteRule`), with patterns and
//! expressions put into it. The first difference decides:
//!
//! 1. **Host**: the request's own name; then wildcards, the longest first; then routes without a host. Routes of less specific
//!    hosts are asked when no route of a more specific one matches in every respect.
//! 2. **Path**: a path of text alone; then regexes, the longest literal beginning first; then patterns, compared segment by
//!    segment: text, then `{param}` with text beside it (`{id}.json`: the more text the sooner; of the same amount the one with
//!    more of it in front), then `{param}`, then the end of the pattern, then `{rest...}` or the end of a prefix.
//! 3. **Methods**: for HEAD, routes that name it; then routes that name methods (GET stands for HEAD); then routes for all methods.
//! 4. **Headers**: more conditions first.
//! 5. **Query**: more conditions first.
//! 6. **Place in the file**: the earlier first.
//!
//! A route with several hosts or paths is in the order once for each. Two routes that say the same in 1, 2, 4 and 5 and share a
//! method would be told apart by their places alone, so they are a build error. So is a route that [others before it](prove) take everything from.
//!
//! When routes match in everything but the method, the answer is 405 with what they allow (RFC 9110 §15.5.6). TRACE, which shows a client what it sent
//! and proxies added, is taken only by routes that name it. A CORS preflight is taken by the route of the request that it asks about, or by one that
//! names OPTIONS in the same place or before it.

mod condition;
mod explain;
mod expression;
/// Hosts: their one form, and which of the routes' hosts a request meets.
pub mod host;
mod leaf;
mod matcher;
mod method;
mod prove;
/// Paths: their one form, and the patterns of routes.
pub mod path;
mod tree;

mod mirror;
mod route;
mod split;
mod version;

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

pub use explain::{Considered, Why};
pub use matcher::{Condition, MatchConfig, OneOrMany, PathMatch};
pub use method::Method;
pub use mirror::{MARK, Mirror, MirrorConfig};
pub use path::{PathOptions, PathTemplate};
pub use route::{Destination, Goal, Route, RouteConfig, Way};
pub use split::{By, Caller, Choice, ForceConfig, Split, StickyConfig, ToConfig};
pub use version::{Source, Version, Versions, VersionsConfig};

use crate::building::{BuildError, Errors, Step};
use condition::{Conditions, QueryNames};
use explain::Said;
use expression::Parsed;
use host::{HostPattern, Hosts};
use leaf::{Candidate, Tie, Verdict, Walk};
use method::{MethodSet, Methods};
use path::Pattern;
use prove::{Path, Proposal, prove};
use tree::{Place, Tree, TreeDraft};

/// Places in the normalised path, as [`crate::ctx::Params`] has them.
pub type Ranges = SmallVec<[Range<u32>; 4]>;

/// What a route is looked up by.
#[derive(Clone, Copy, Debug)]
pub struct Query<'q> {
    /// As [`host::normalise`] gives it.
    pub host: &'q str,
    /// The method.
    pub method: &'q http::Method,
    /// The method that a CORS preflight asks about. The route of that request takes the preflight, for its policies answer it, unless one that is not
    /// behind it in host and path names OPTIONS.
    pub asks: Option<&'q http::Method>,
    /// As [`path::normalise`] gives it.
    pub path: &'q str,
    /// The headers of the request.
    pub headers: &'q http::HeaderMap,
    /// What stands behind the `?`, as it came.
    pub query: Option<&'q str>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'r> {
    /// A route takes the request.
    Found {
        /// Its place in the list that the router was built from.
        route: usize,
        /// The names of the path parameters. Lent, so that a look-up touches no reference count that cores share.
        names: &'r Arc<[Box<str>]>,
        /// For each name its bytes of the path.
        params: Ranges,
        /// What is allowed there, where the route takes a preflight for the request that follows it and not for its own method.
        allow: Vec<http::Method>,
    },
    /// Routes would take it with one of these methods: 405 and `Allow`.
    MethodNotAllowed(Vec<http::Method>),
    /// No route takes it: 404.
    NotFound,
}

/// All routes, ready to be looked up.
#[derive(Debug, Default)]
pub struct Router {
    hosts: Hosts<Tree>,
    methods: Methods,
    query_names: QueryNames,
    /// What each candidate says, by its number.
    said: Vec<Said>,
}

impl Router {
    /// Builds from the name and the `match:` of each route, in the order of the file. Patterns are normalised as paths will be.
    ///
    /// # Errors
    /// Every mistake of every route, under `[place].match`; the caller puts its `routes` in front.
    pub fn build<'a>(routes: impl IntoIterator<Item = (&'a str, &'a MatchConfig)>, options: &PathOptions) -> Result<Self, Errors> {
        let mut draft = Draft::default();
        for (name, config) in routes {
            draft.add(name, config, options);
        }
        let (router, errors) = draft.finish(options);
        errors.finish(router)
    }

    /// Everyone whose host and path are right for a request, in the order in which they are asked, with what they say to it. The first who takes it is
    /// the one that [`Router::find`] finds, for it is the same walk.
    fn consider<'r>(&'r self, query: &Query<'_>) -> Vec<(&'r Candidate, Verdict<'r>)> {
        let mut walk = self.walk(query);
        walk.seen = Some(Vec::new());
        self.hosts.meet(query.host).for_each(|tree| {
            tree.find(&mut walk);
        });
        walk.seen.unwrap_or_default()
    }

    fn walk<'r, 'q>(&'r self, query: &'q Query<'q>) -> Walk<'r, 'q> {
        Walk::new(query, self.methods.find(query.asks.unwrap_or(query.method)), &self.query_names)
    }

    /// The route that a request takes, by the [order](self). Allocates only for regexes, repeated headers, query values with escapes, 405 and preflights.
    pub fn find(&self, query: &Query<'_>) -> Outcome<'_> {
        let mut walk = self.walk(query);
        let found = self.hosts.meet(query.host).find_map(|tree| tree.find(&mut walk));
        match found {
            Some(candidate) => {
                let mut params = walk.ranges;
                // The rest of a prefix may have no name, where another route of the same place has one.
                params.truncate(candidate.names.len());
                let allow = match query.asks {
                    Some(_) if !candidate.takes(self.methods.find(query.method)) => self.allow(query, candidate.methods),
                    _ => Vec::new(),
                };
                Outcome::Found { route: candidate.route as usize, names: &candidate.names, params, allow }
            }
            None if walk.allow.is_empty() => Outcome::NotFound,
            None => Outcome::MethodNotAllowed(self.methods.list(walk.allow)),
        }
    }

    /// What the routes of a request's place allow, `known` among it, where its own method is not.
    fn allow(&self, query: &Query<'_>, known: MethodSet) -> Vec<http::Method> {
        let query = Query { asks: None, ..*query };
        let mut walk = self.walk(&query);
        let _ = self.hosts.meet(query.host).find_map(|tree| tree.find(&mut walk));
        self.methods.list(walk.allow.with(known))
    }
}

/// Paths longer than 4 GiB do not come; their places would saturate.
fn range(start: usize, end: usize) -> Range<u32> {
    let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
    place(start)..place(end)
}

#[derive(Default)]
struct Draft {
    hosts: Hosts<TreeDraft>,
    router: Router,
    names: Vec<String>,
    /// Every candidate, as it was written.
    proposals: Vec<Proposal>,
    errors: Errors,
}

/// One path of a route, parsed.
enum ParsedPath<'a> {
    Pattern(Pattern),
    Expression(&'a str),
}

impl Draft {
    fn add(&mut self, name: &str, config: &MatchConfig, options: &PathOptions) {
        let place = self.names.len();
        self.names.push(name.to_owned());
        let at: [Step; 2] = [place.into(), "match".into()];
        let hosts = match &config.host {
            None => vec![HostPattern::Any],
            Some(hosts) => self.each(&at, "host", hosts, |text| HostPattern::parse(text)),
        };
        let paths = match &config.path {
            None => vec![ParsedPath::Pattern(Pattern::everything())],
            Some(paths) => self.each(&at, "path", paths, |path| parse_path(path, options)),
        };
        let (methods, named) = self.methods(&at, config);
        let conditions = Conditions::build(config, &mut self.router.query_names, &at, &mut self.errors);
        let conditions = if conditions.is_empty() { None } else { Some(Arc::new(conditions)) };
        let route = u32::try_from(place).unwrap_or(u32::MAX);
        for (index, path) in paths.iter().enumerate() {
            let written =
                config.path.as_ref().and_then(|paths| paths.as_slice().get(index)).map_or_else(|| "any".to_owned(), ToString::to_string);
            let said = match path {
                ParsedPath::Pattern(pattern) => Path::Pattern(pattern.clone()),
                ParsedPath::Expression(text) => {
                    Path::Expression((*text).into(), config.path.as_ref().map(|path| place_of(path, index)).unwrap_or_default().into())
                }
            };
            let mut candidate =
                Candidate { route, methods, named, conditions: conditions.clone(), names: Arc::default(), expression: 0, number: 0 };
            match path {
                ParsedPath::Pattern(pattern) => {
                    candidate.names = Arc::clone(&pattern.names);
                    for host in &hosts {
                        candidate.number = self.propose(host, &said, &candidate, &written);
                        self.hosts.entry(host).add(pattern, candidate.clone());
                    }
                }
                ParsedPath::Expression(text) => {
                    for host in &hosts {
                        // Parsed again for each host: it is moved into the host's automaton. It was found good before.
                        let Ok(parsed) = Parsed::new(text) else { continue };
                        candidate.names = parsed.names().into();
                        candidate.number = self.propose(host, &said, &candidate, &written);
                        self.hosts.entry(host).add_expression(text, parsed, candidate.clone());
                    }
                }
            }
        }
    }

    /// Notes a candidate, and gives it its number.
    fn propose(&mut self, host: &HostPattern, path: &Path, candidate: &Candidate, text: &str) -> u32 {
        self.router.said.push(Said { route: candidate.route, host: host.to_string().into(), path: text.into() });
        let Candidate { route, methods, named, .. } = *candidate;
        let conditions = candidate.conditions.clone();
        self.proposals.push(Proposal { route, host: host.clone(), path: path.clone(), methods, named, conditions });
        u32::try_from(self.proposals.len() - 1).unwrap_or(u32::MAX)
    }

    /// Parses one value or each of a list.
    fn each<'a, T, U>(
        &mut self,
        at: &[Step],
        key: &str,
        values: &'a OneOrMany<T>,
        parse: impl Fn(&'a T) -> Result<U, BuildError>,
    ) -> Vec<U> {
        let at = [at, &[key.into()]].concat();
        if values.as_slice().is_empty() {
            self.errors
                .keep::<()>(&at, Err(BuildError::new("the list is empty: nothing would match", format!("name one, or leave `{key}` out"))));
        }
        let parsed = values.as_slice().iter().enumerate().map(|(place, value)| match values {
            OneOrMany::One(_) => (at.clone(), parse(value)),
            OneOrMany::Many(_) => ([&*at, &[place.into()]].concat(), parse(value)),
        });
        parsed.filter_map(|(at, value)| self.errors.keep(&at, value)).collect()
    }

    /// The methods that a route takes, and those it names.
    fn methods(&mut self, at: &[Step], config: &MatchConfig) -> (MethodSet, MethodSet) {
        let mut named = MethodSet::default();
        for (place, method) in config.methods.iter().enumerate() {
            let at = [at, &["methods".into(), place.into()]].concat();
            let learnt = self.router.methods.learn(&method.0);
            named = named.with(self.errors.keep(&at, learnt).unwrap_or_default());
        }
        let head = named.overlaps(MethodSet::GET) && config.implicit_head.unwrap_or(true);
        (if head { named.with(MethodSet::HEAD) } else { named }, named)
    }

    /// The router of all that could be read, and what is wrong.
    fn finish(mut self, options: &PathOptions) -> (Router, Errors) {
        let (names, methods, errors) = (&self.names, &self.router.methods, &mut self.errors);
        let hosts = self.hosts.map(|host, mut tree| {
            tree.each_leaf(&mut |place, leaf| {
                for tie in leaf.settle() {
                    errors.push(tie_error(&tie, names, methods, &host, &place));
                }
            });
            tree.compile().unwrap_or_else(|error| {
                errors.push(error);
                Tree::default()
            })
        });
        let Self { mut router, mut errors, names, proposals, .. } = self;
        router.hosts = hosts;
        let told = errors.0.iter().filter_map(|error| match error.path.0.first() {
            Some(Step::Index(place)) => u32::try_from(*place).ok(),
            _ => None,
        });
        let told = told.collect();
        errors.0.extend(prove(&router, &proposals, &names, options, &told));
        // The tables are walked in no order; the file has one.
        errors.0.sort_by_key(|error| match error.path.0.first() {
            Some(Step::Index(place)) => *place,
            _ => usize::MAX,
        });
        (router, errors)
    }
}

/// Where a path stands below `match`.
fn place_of(path: &OneOrMany<PathMatch>, index: usize) -> Vec<Step> {
    let mut place = vec![Step::from("path")];
    if matches!(path, OneOrMany::Many(_)) {
        place.push(index.into());
    }
    if matches!(path.as_slice().get(index), Some(PathMatch::Regex(_))) {
        place.push("regex".into());
    }
    place
}

/// The path parameters that every path of the route has; those of a path that is wrong are left to [`Router::build`].
pub fn params(config: &MatchConfig, options: &PathOptions) -> Vec<Box<str>> {
    let paths = config.path.as_ref().map_or(&[][..], OneOrMany::as_slice);
    let mut names = paths.iter().filter_map(|path| {
        Some(match parse_path(path, options).ok()? {
            ParsedPath::Pattern(pattern) => pattern.names.to_vec(),
            ParsedPath::Expression(text) => Parsed::new(text).ok()?.names().to_vec(),
        })
    });
    let Some(first) = names.next() else { return Vec::new() };
    names.fold(first, |common, other| common.into_iter().filter(|name| other.contains(name)).collect())
}

fn parse_path<'a>(path: &'a PathMatch, options: &PathOptions) -> Result<ParsedPath<'a>, BuildError> {
    match path {
        PathMatch::Regex(text) => Parsed::new(text).map(|_| ParsedPath::Expression(text)).map_err(|error| error.at("regex")),
        PathMatch::Exact(text) => Pattern::exact(text, options).map(ParsedPath::Pattern).map_err(|error| error.at("exact")),
        PathMatch::Prefix(text) => Pattern::prefix(text, options).map(ParsedPath::Pattern).map_err(|error| error.at("prefix")),
        PathMatch::Pattern(text) => match text.strip_prefix('~') {
            Some(text) => Parsed::new(text).map(|_| ParsedPath::Expression(text)),
            None => Pattern::parse(text, options).map(ParsedPath::Pattern),
        },
    }
}

fn tie_error(tie: &Tie, names: &[String], methods: &Methods, host: &HostPattern, place: &Place<'_>) -> BuildError {
    let name = |route: u32| names.get(route as usize).map_or("", String::as_str);
    let method = methods.list(tie.methods).first().map_or_else(|| "GET".to_owned(), ToString::to_string);
    let mut example = format!("`{method} http://{}", host.example());
    match place {
        Place::Path(path) => example.extend([*path, "`"]),
        Place::Expressions(texts) => {
            let text = texts.get(tie.expression as usize).map_or("", String::as_str);
            example.extend(["/…` with a path that matches `", text, "`"]);
        }
    }
    if !tie.words.is_empty() {
        example.extend([" with ", &tie.words]);
    }
    let (reason, fix) = if tie.first == tie.second {
        (format!("the route `{}` says the same host and path twice: {example}", name(tie.second)), "leave one of them out")
    } else {
        (
            format!("the routes `{}` and `{}` match alike, for example {example}", name(tie.first), name(tie.second)),
            "give one of them another path, host, method or condition, or leave it out",
        )
    };
    let error = BuildError::new(reason, fix).at("match").at(tie.second as usize);
    if tie.first == tie.second { error } else { error.beside([(tie.first as usize).into(), "match".into()]) }
}

#[cfg(test)]
mod tests;
