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
        if walk.method == MethodSet::HEAD {
            // A route that names HEAD comes before all that get it by way of GET.
            let named = self
                .0
                .iter()
                .find(|candidate| candidate.named.overlaps(MethodSet::HEAD) && admits(candidate) && candidate.conditions_hold(walk));
            if named.is_some() {
                return named;
            }
        }
        self.0.iter().find(|candidate| {
            if !admits(candidate) {
                return false;
            }
            if candidate.methods.is_empty() || candidate.methods.overlaps(walk.method) {
                return candidate.conditions_hold(walk);
            }
            if !walk.allow.includes(candidate.methods) && candidate.conditions_hold(walk) {
                walk.allow = walk.allow.with(candidate.methods);
            }
            false
        })
    }
}

/// One look-up on its way: what is asked for, and what was found out so far.
pub(super) struct Walk<'r, 'q> {
    pub(super) query: &'q Query<'q>,
    pub(super) method: MethodSet,
    /// The methods of the routes that would have matched with another method.
    pub(super) allow: MethodSet,
    /// The parameters on the way to the place being looked at.
    pub(super) ranges: Ranges,
    names: &'r QueryNames,
    values: Option<QueryValues<'q>>,
}

impl<'r, 'q> Walk<'r, 'q> {
    pub(super) fn new(query: &'q Query<'q>, method: MethodSet, names: &'r QueryNames) -> Self {
        Self { query, method, allow: MethodSet::default(), ranges: Ranges::new(), names, values: None }
    }

    pub(super) fn path(&self) -> &'q str {
        self.query.path
    }

    /// Decoded when the first route asks, and only once.
    fn values(&mut self) -> &QueryValues<'q> {
        self.values.get_or_insert_with(|| query_values(self.query.query, self.names))
    }
}
