//! The look-up structure of one host: a table of literal paths, the expressions, and a tree with one level for each segment.
//!
//! A look-up enters each node of the tree at most once, for a node is at a fixed depth and so meets a fixed place of the path: it
//! costs at most the number of nodes that patterns similar to the path have, and usually one per segment. Nodes whose patterns
//! are all longer or all shorter than what is left of the path are not entered.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;

use super::expression::{Expressions, ExpressionsDraft, Parsed};
use super::leaf::{Candidate, Leaf, Walk};
use super::path::{Pattern, Segment};
use crate::building::BuildError;

/// The routes of one host.
#[derive(Debug, Default)]
pub(super) struct Tree {
    literal: ByText<Leaf>,
    expressions: Expressions,
    root: Node,
}

/// The same while routes are gathered.
#[derive(Default)]
pub(super) struct TreeDraft {
    literal: ByText<Leaf>,
    expressions: ExpressionsDraft,
    root: Node,
}

impl TreeDraft {
    pub(super) fn add(&mut self, pattern: &Pattern, candidate: Candidate) {
        match pattern.literal() {
            Some(path) => self.literal.entry(path.into()).or_default().push(candidate),
            None => self.root.add(&pattern.segments, pattern.rest, candidate),
        }
    }

    pub(super) fn add_expression(&mut self, text: &str, parsed: Parsed, candidate: Candidate) {
        self.expressions.add(text, parsed, candidate);
    }

    /// Every leaf with its place, to be put in order.
    pub(super) fn each_leaf(&mut self, see: &mut dyn FnMut(Place<'_>, &mut Leaf)) {
        for (path, leaf) in &mut self.literal {
            see(Place::Path(path), leaf);
        }
        for (texts, leaf) in self.expressions.leaves() {
            see(Place::Expressions(texts), leaf);
        }
        self.root.each_leaf(&mut String::new(), see);
    }

    pub(super) fn compile(mut self) -> Result<Tree, BuildError> {
        self.root.measure();
        Ok(Tree { literal: self.literal, expressions: self.expressions.compile()?, root: self.root })
    }
}

/// Where a leaf is, for messages.
pub(super) enum Place<'a> {
    /// A path that leads there.
    Path(&'a str),
    /// The texts of the expressions, by their numbers.
    Expressions(&'a [String]),
}

impl Tree {
    /// The most expressions that one look-up runs at once.
    pub(super) fn widest(&self) -> usize {
        self.expressions.widest()
    }

    /// The most specific candidate that takes the request; its parameters are in `walk.ranges`.
    pub(super) fn find<'r>(&'r self, walk: &mut Walk<'r, '_>) -> Option<&'r Candidate> {
        let literal = self.literal.get(walk.path()).and_then(|leaf| leaf.pick(walk, |_| true));
        let found = literal.or_else(|| self.expressions.find(walk));
        found.or_else(|| {
            let segments = walk.path().bytes().filter(|byte| *byte == b'/').count();
            self.root.find(0, segments, walk)
        })
    }
}

#[derive(Debug, Default)]
struct Node {
    literals: ByText<Node>,
    /// Parameters with text beside them, the longest text first.
    affixed: BTreeMap<Shape, ByText<ByText<Node>>>,
    param: Option<Box<Node>>,
    /// Patterns that end here.
    end: Leaf,
    /// Patterns with a rest from here on.
    rest: Leaf,
    /// How many more segments patterns below have at least and at most; without bound where one has a rest.
    least: usize,
    most: usize,
}

/// The lengths of the text beside a parameter: of both together, and of the one in front.
type Shape = Reverse<(usize, usize)>;

type ByText<T> = HashMap<Box<str>, T, RandomState>;

impl Node {
    fn add(&mut self, segments: &[Segment], rest: bool, candidate: Candidate) {
        let Some((segment, tail)) = segments.split_first() else {
            if rest {
                self.rest.push(candidate)
            } else {
                self.end.push(candidate)
            }
            return;
        };
        let child = match segment {
            Segment::Literal(text) => self.literals.entry(text.clone()).or_default(),
            Segment::Param { before, after } if before.is_empty() && after.is_empty() => self.param.get_or_insert_default(),
            Segment::Param { before, after } => self.affixed(before, after),
        };
        child.add(tail, rest, candidate);
    }

    fn affixed(&mut self, before: &str, after: &str) -> &mut Node {
        let shape = Reverse((before.len() + after.len(), before.len()));
        self.affixed.entry(shape).or_default().entry(before.into()).or_default().entry(after.into()).or_default()
    }

    fn each_leaf(&mut self, path: &mut String, see: &mut dyn FnMut(Place<'_>, &mut Leaf)) {
        let here = path.len();
        see(Place::Path(path), &mut self.end);
        path.push_str("/x");
        see(Place::Path(path), &mut self.rest);
        if let Some(child) = &mut self.param {
            child.each_leaf(path, see);
        }
        for (text, child) in &mut self.literals {
            path.truncate(here);
            path.extend(["/", text]);
            child.each_leaf(path, see);
        }
        for (before, ends) in self.affixed.values_mut().flatten() {
            for (after, child) in ends {
                path.truncate(here);
                path.extend(["/", before, "x", after]);
                child.each_leaf(path, see);
            }
        }
        path.truncate(here);
    }

    fn measure(&mut self) {
        let (mut least, mut most) = (usize::MAX, 0);
        let affixed = self.affixed.values_mut().flat_map(HashMap::values_mut).flat_map(HashMap::values_mut);
        for child in self.literals.values_mut().chain(affixed).chain(self.param.as_deref_mut()) {
            child.measure();
            least = least.min(child.least.saturating_add(1));
            most = most.max(child.most.saturating_add(1));
        }
        if !self.end.is_empty() {
            least = 0;
        }
        if !self.rest.is_empty() {
            (least, most) = (0, usize::MAX);
        }
        (self.least, self.most) = (least, most);
    }

    /// `at` is where the path goes on: at the slash before the next of the `left` segments, or at its end.
    fn find<'r>(&'r self, at: usize, left: usize, walk: &mut Walk<'r, '_>) -> Option<&'r Candidate> {
        if left < self.least || left > self.most {
            return None;
        }
        let path = walk.path();
        let Some(tail) = path.get(at..)?.strip_prefix('/') else {
            let found = self.end.pick(walk, |_| true);
            return found.or_else(|| self.find_rest(path.len(), walk));
        };
        let start = at + 1;
        let segment = tail.split('/').next().unwrap_or(tail);
        let (end, left) = (start + segment.len(), left.saturating_sub(1));
        let found = self.literals.get(segment).and_then(|child| child.find(end, left, walk));
        let found = found.or_else(|| self.find_affixed(segment, start, left, walk));
        let found = found.or_else(|| {
            let child = self.param.as_deref().filter(|_| !segment.is_empty())?;
            with_range(start, end, walk, |walk| child.find(end, left, walk))
        });
        found.or_else(|| self.find_rest(start, walk))
    }

    fn find_affixed<'r>(&'r self, segment: &str, start: usize, left: usize, walk: &mut Walk<'r, '_>) -> Option<&'r Candidate> {
        self.affixed.iter().find_map(|(Reverse((both, before)), children)| {
            let end = segment.len().checked_sub(both - before).filter(|end| end > before)?;
            let child = children.get(segment.get(..*before)?)?.get(segment.get(end..)?)?;
            with_range(start + before, start + end, walk, |walk| child.find(start + segment.len(), left, walk))
        })
    }

    fn find_rest<'r>(&'r self, start: usize, walk: &mut Walk<'r, '_>) -> Option<&'r Candidate> {
        let end = walk.path().len();
        with_range(start, end, walk, |walk| self.rest.pick(walk, |_| true))
    }
}

/// Goes on with one parameter more, and forgets it where that leads nowhere.
fn with_range<'r, 'q>(
    start: usize,
    end: usize,
    walk: &mut Walk<'r, 'q>,
    go_on: impl FnOnce(&mut Walk<'r, 'q>) -> Option<&'r Candidate>,
) -> Option<&'r Candidate> {
    walk.ranges.push(super::range(start, end));
    let found = go_on(walk);
    if found.is_none() {
        walk.ranges.pop();
    }
    found
}
