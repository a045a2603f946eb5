//! Why a request takes a route, and none of those that are near.

use super::leaf::Verdict;
use super::{Query, Router};

/// What one candidate says, as it was written.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) route: u32,
    pub(super) host: Box<str>,
    pub(super) path: Box<str>,
}

/// One route that was considered for a request, by one of its hosts and paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered<'r> {
    /// Its place in the list that the router was built from.
    pub route: usize,
    /// The host that it names, or `any`.
    pub host: &'r str,
    /// The path that it names, or `any`.
    pub path: &'r str,
    /// What became of it.
    pub why: Why<'r>,
}

/// What became of a candidate: the first thing that is not right, in the order host, path, method, headers, query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why<'r> {
    /// It takes the request.
    Taken,
    /// It would, and another comes first.
    Later,
    /// It is for other hosts.
    Host,
    /// It is for other paths, of which this one is like the request's.
    Path,
    /// It is for other methods.
    Method,
    /// This condition is not met.
    Condition(&'r str),
}

/// How many routes with a similar path are named where none has the right one.
const SIMILAR: usize = 3;

impl Router {
    /// Who was considered for a request: first those whose host and path are right, in the order in which they are asked; then those whose path alone is
    /// right; where there is nobody, those whose paths are most like it.
    pub fn explain<'r>(&'r self, query: &Query<'_>) -> Vec<Considered<'r>> {
        let mut taken = false;
        let mut considered: Vec<_> = self
            .consider(query)
            .into_iter()
            .filter_map(|(candidate, verdict)| {
                let why = match verdict {
                    Verdict::Takes if std::mem::replace(&mut taken, true) => Why::Later,
                    Verdict::Takes => Why::Taken,
                    Verdict::Method => Why::Method,
                    Verdict::Condition(words) => Why::Condition(words),
                };
                self.considered(candidate.number, why)
            })
            .collect();
        let met: Vec<_> = self.hosts.meet(query.host).map(std::ptr::from_ref).collect();
        let mut walk = self.walk(query);
        walk.seen = Some(Vec::new());
        for tree in self.hosts.all().filter(|tree| !met.contains(&std::ptr::from_ref(*tree))) {
            tree.find(&mut walk);
        }
        let mut elsewhere: Vec<u32> = walk.seen.unwrap_or_default().iter().map(|(candidate, _)| candidate.number).collect();
        elsewhere.sort_unstable();
        considered.extend(elsewhere.into_iter().filter_map(|number| self.considered(number, Why::Host)));
        if considered.is_empty() {
            considered.extend(self.similar(query.path));
        }
        considered
    }

    fn considered<'r>(&'r self, number: u32, why: Why<'r>) -> Option<Considered<'r>> {
        let said = self.said.get(number as usize)?;
        Some(Considered { route: said.route as usize, host: &said.host, path: &said.path, why })
    }

    fn similar(&self, path: &str) -> impl Iterator<Item = Considered<'_>> {
        let mut near: Vec<_> =
            self.said.iter().map(|said| (likeness(&said.path, path), said)).filter(|(likeness, _)| *likeness > 0.6).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.truncate(SIMILAR);
        near.into_iter().map(|(_, said)| Considered { route: said.route as usize, host: &said.host, path: &said.path, why: Why::Path })
    }
}

/// From 0 to 1, segment by segment.
fn likeness(pattern: &str, path: &str) -> f64 {
    let length = pattern.split('/').count().max(path.split('/').count());
    let alike =
        pattern.split('/').zip(path.split('/')).skip(1).map(|(pattern, segment)| match pattern.contains('{') && !segment.is_empty() {
            true => 1.0,
            false => strsim::normalized_damerau_levenshtein(pattern, segment),
        });
    let rest = if pattern.ends_with("...}") { 0.5 } else { 0.0 };
    (alike.sum::<f64>() + rest) / f64::from(u32::try_from(length.saturating_sub(1)).unwrap_or(u32::MAX)).max(1.0)
}
