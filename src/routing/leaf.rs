//! The routes of one place: same host, same path. What is left to decide between them are methods and conditions.

use std::collections::HashMap;
use std::sync::Arc;

use super::condition::{Conditions, QueryNames, QueryValues, query_values};
use super::method::MethodSet;
use super::{Query, Ranges};

/// One way to reach a route: a route has one for each of its hosts and paths.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) route: u32,
    /// Its place among all candidates of all routes.
    pub(super) number: u32,
    /// The methods that it takes; empty for all.
    pub(super) methods: MethodSet,
    /// Those of them that the file names: not HEAD by way of GET.
    pub(super) named: MethodSet,
    pub(super) conditions: Option<Arc<Conditions>>,
    /// The path parameters.
    pub(super) names: Arc<[Box<str>]>,
    /// Which expression of its group it belongs to; 0 where there are no expressions.
    pub(super) expression: u32,
}

impl Candidate {
    fn counts(&self) -> (usize, usize) {
        self.conditions.as_ref().map_or((0, 0), |conditions| conditions.counts())
    }

    fn words(&self) -> &str {
        self.conditions.as_ref().map_or("", |conditions| &conditions.words)
    }

    fn conditions_hold(&self, walk: &mut Walk<'_, '_>) -> bool {
        let Some(conditions) = &self.conditions else { return true };
        conditions.headers_hold(walk.query.headers) && (!conditions.asks_query() || conditions.query_holds(walk.values()))
    }

    /// Whether it takes this method: all that it names, or else all but TRACE.
    pub(super) fn takes(&self, method: MethodSet) -> bool {
        if self.methods.is_empty() { method != MethodSet::TRACE } else { self.methods.overlaps(method) }
    }

    /// Whether it comes before others of its place for what it names: HEAD before those that get it by way of GET, OPTIONS before those that take a
    /// preflight for the request that follows it.
    fn comes_first(&self, walk: &Walk<'_, '_>) -> bool {
        self.named.overlaps(walk.first)
    }

    /// Whether it takes the request, else why not, where host and path are right.
    fn judge<'r>(&'r self, walk: &mut Walk<'r, '_>) -> Verdict<'r> {
        if !self.takes(walk.method) && !self.comes_first(walk) {
            return Verdict::Method;
        }
        let Some(conditions) = &self.conditions else { return Verdict::Takes };
        let unmet = conditions.unmet_header(walk.query.headers).map(|asked| &*asked.words);
        let unmet =
            unmet.or_else(|| if conditions.asks_query() { conditions.unmet_query(walk.values()).map(|asked| &*asked.words) } else { None });
        unmet.map_or(Verdict::Takes, Verdict::Condition)
    }
}

/// What a candidate says to a request whose host and path are right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'r> {
    /// It takes the request.
    Takes,
    /// The method is another.
    Method,
    /// This condition is not met.
    Condition(&'r str),
}

/// Two routes that a request could take alike.
#[derive(Debug)]
pub(super) struct Tie {
    pub(super) first: u32,
    pub(super) second: u32,
    /// The methods they share; empty for all.
    pub(super) methods: MethodSet,
    /// The conditions they share, in words.
    pub(super) words: String,
    pub(super) expression: u32,
}

/// The candidates of one place, the most specific first.
#[derive(Debug, Default)]
pub(super) struct Leaf(Vec<Candidate>);

impl Leaf {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, candidate: Candidate) {
        self.0.push(candidate);
    }

    /// Puts the candidates in order: methods named, header conditions, query conditions, place in the file. Tells those that tie.
    pub(super) fn settle(&mut self) -> Vec<Tie> {
        self.0.sort_by(|a, b| {
            let rank = |candidate: &Candidate| (!candidate.methods.is_empty(), candidate.counts());
            rank(b).cmp(&rank(a)).then(a.route.cmp(&b.route))
        });
        self.0.shrink_to_fit();
        let mut ties = Vec::new();
        let mut alike: HashMap<(u32, bool, &str), Vec<&Candidate>> = HashMap::new();
        for candidate in &self.0 {
            let others = alike.entry((candidate.expression, candidate.methods.is_empty(), candidate.words())).or_default();
            // Others share no method with each other, so there are at most 64 of them.
            match others.iter().find(|other| candidate.named.is_empty() || candidate.named.overlaps(other.named)) {
                Some(other) => ties.push(Tie {
                    first: other.route,
                    second: candidate.route,
                    methods: candidate.named.common_to(other.named),
                    words: candidate.words().to_owned(),
                    expression: candidate.expression,
                }),
                None => others.push(candidate),
            }
        }
        ties
    }

    /// The first candidate that takes the request, among those that `admits` lets through.
    pub(super) fn pick<'r>(&'r self, walk: &mut Walk<'r, '_>, admits: impl Fn(&Candidate) -> bool) -> Option<&'r Candidate> {
        if walk.seen.is_some() {
            self.watch(walk, admits);
            return None;
        }
        if !walk.first.is_empty() {
            let named = self.0.iter().find(|candidate| candidate.comes_first(walk) && admits(candidate) && candidate.conditions_hold(walk));
            if named.is_some() {
                return named;
            }
        }
        self.0.iter().find(|candidate| {
            if !admits(candidate) {
                return false;
            }
            if candidate.takes(walk.method) {
                return candidate.conditions_hold(walk);
            }
            if !walk.allow.includes(candidate.methods) && candidate.conditions_hold(walk) {
                walk.allow = walk.allow.with(candidate.methods);
            }
            false
        })
    }
}

impl Leaf {
    /// Notes what each candidate says, in the order in which [`Leaf::pick`] asks them.
    fn watch<'r>(&'r self, walk: &mut Walk<'r, '_>, admits: impl Fn(&Candidate) -> bool) {
        let (sooner, later): (Vec<_>, Vec<_>) = self.0.iter().partition(|candidate| candidate.comes_first(walk));
        for candidate in sooner.into_iter().chain(later).filter(|candidate| admits(candidate)) {
            let verdict = candidate.judge(walk);
            walk.seen.get_or_insert_default().push((candidate, verdict));
        }
    }
}

/// One look-up on its way: what is asked for, and what was found out so far.
pub(super) struct Walk<'r, 'q> {
    pub(super) query: &'q Query<'q>,
    pub(super) method: MethodSet,
    /// Methods for which a route comes first in its place if it names them.
    first: MethodSet,
    /// The methods of the routes that would have matched with another method.
    pub(super) allow: MethodSet,
    /// The parameters on the way to the place being looked at.
    pub(super) ranges: Ranges,
    /// Everyone who was asked, where that is wanted: then nobody takes the request, and so all are asked, in their order.
    pub(super) seen: Option<Vec<(&'r Candidate, Verdict<'r>)>>,
    names: &'r QueryNames,
    values: Option<QueryValues<'q>>,
}

impl<'r, 'q> Walk<'r, 'q> {
    pub(super) fn new(query: &'q Query<'q>, method: MethodSet, names: &'r QueryNames) -> Self {
        let head = if method == MethodSet::HEAD { MethodSet::HEAD } else { MethodSet::default() };
        let first = if query.asks.is_some() { head.with(MethodSet::OPTIONS) } else { head };
        Self { query, method, first, allow: MethodSet::default(), ranges: Ranges::new(), seen: None, names, values: None }
    }

    pub(super) fn path(&self) -> &'q str {
        self.query.path
    }

    /// Decoded when the first route asks, and only once.
    pub(super) fn values(&mut self) -> &QueryValues<'q> {
        self.values.get_or_insert_with(|| query_values(self.query.query, self.names))
    }
}
