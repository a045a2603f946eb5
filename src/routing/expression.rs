//! Regular expressions: always matched against the whole text, in time linear in it, and of bounded size. A path's are grouped by
//! their literal beginning, so that a look-up runs one automaton for each beginning the path really has.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use regex_automata::meta::Regex;
use regex_automata::nfa::thompson;
use regex_automata::util::captures::Captures;
use regex_automata::{Input, MatchKind, PatternSet};
use regex_syntax::hir::{Class, Hir, HirKind, Look};
use smallvec::SmallVec;

use super::Ranges;
use super::leaf::{Candidate, Leaf, Walk};
use crate::building::BuildError;

/// The most bytes that one compiled expression may take.
const SIZE_LIMIT: usize = 1 << 20;

/// An expression that was parsed: it must match the whole text.
pub(super) struct Parsed {
    hir: Hir,
    /// What every text that matches begins with.
    prefix: Vec<u8>,
    names: Vec<Box<str>>,
}

impl Parsed {
    pub(super) fn new(text: &str) -> Result<Self, BuildError> {
        let error = |reason: String| {
            BuildError::new(format!("the regex `{text}` {reason}"), "see https://docs.rs/regex/#syntax for what can be written")
        };
        if !text.is_ascii() {
            return Err(error("is not ASCII; what is matched is: write `%C3%A9` for `é` in a path".to_owned()));
        }
        let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).nest_limit(100).build();
        let hir = parser.parse(text).map_err(|reason| error(format!("cannot be read: {reason}")))?;
        let (prefix, _) = literal_prefix(&hir);
        let mut names = Vec::new();
        group_names(&hir, &mut names);
        // From the syntax tree, not as text: `(?:…)$` around it would be undone by a comment, and would change `a|b`.
        let hir = Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        thompson::Compiler::new()
            .configure(thompson::Config::new().utf8(false).nfa_size_limit(Some(SIZE_LIMIT)))
            .build_from_hir(&hir)
            .map_err(|_| error(format!("is larger than {SIZE_LIMIT} bytes when compiled; use smaller repetitions")))?;
        Ok(Self { hir, prefix, names })
    }

    /// Its automaton, not yet made deterministic.
    pub(super) fn nfa(&self) -> Option<thompson::NFA> {
        let config = thompson::Config::new().utf8(false).nfa_size_limit(Some(SIZE_LIMIT)).which_captures(thompson::WhichCaptures::None);
        thompson::Compiler::new().configure(config).build_from_hir(&self.hir).ok()
    }

    /// A text that matches, mostly: places like `^`, `$` and `\b` within it are not looked at.
    pub(super) fn sample(&self) -> Vec<u8> {
        let mut text = Vec::new();
        sample(&self.hir, &mut text);
        text
    }

    /// The names of the groups, from left to right.
    pub(super) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    fn compile(&self) -> Result<Regex, BuildError> {
        compile(std::slice::from_ref(&self.hir), MatchKind::LeftmostFirst)
    }
}

fn compile(expressions: &[Hir], kind: MatchKind) -> Result<Regex, BuildError> {
    // No limit here: each expression was measured by itself.
    // Who only asks which of many match needs no captures, whose memory grows with the square of their number.
    let captures = if kind == MatchKind::All { thompson::WhichCaptures::None } else { thompson::WhichCaptures::All };
    Regex::builder()
        .configure(Regex::config().utf8_empty(false).match_kind(kind).nfa_size_limit(None).which_captures(captures))
        .build_many_from_hir(expressions)
        .map_err(|error| BuildError::new(format!("the regex cannot be compiled: {error}"), "write a simpler one"))
}

/// The literal beginning, and whether it is all of the expression.
fn literal_prefix(hir: &Hir) -> (Vec<u8>, bool) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(Look::Start) => (Vec::new(), true),
        HirKind::Literal(literal) => (literal.0.to_vec(), true),
        HirKind::Capture(group) => literal_prefix(&group.sub),
        HirKind::Concat(parts) => {
            let mut all = Vec::new();
            for part in parts {
                let (prefix, complete) = literal_prefix(part);
                all.extend(prefix);
                if !complete {
                    return (all, false);
                }
            }
            (all, true)
        }
        _ => (Vec::new(), false),
    }
}

/// The shortest choice everywhere, with bytes that read well.
fn sample(hir: &Hir, out: &mut Vec<u8>) {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => out.extend_from_slice(&literal.0),
        HirKind::Class(class) => {
            let ranges: Vec<(u8, u8)> = match class {
                Class::Bytes(class) => class.iter().map(|range| (range.start(), range.end())).collect(),
                Class::Unicode(_) => Vec::new(),
            };
            let nice = b"x10a-./".iter().find(|byte| ranges.iter().any(|(start, end)| (start..=end).contains(byte)));
            out.extend(nice.copied().or_else(|| ranges.first().map(|(start, _)| *start)));
        }
        HirKind::Repetition(repetition) => {
            let mut one = Vec::new();
            sample(&repetition.sub, &mut one);
            (0..repetition.min.min(1000)).for_each(|_| out.extend_from_slice(&one));
        }
        HirKind::Capture(group) => sample(&group.sub, out),
        HirKind::Concat(parts) => parts.iter().for_each(|part| sample(part, out)),
        HirKind::Alternation(parts) => parts.first().into_iter().for_each(|part| sample(part, out)),
    }
}

fn group_names(hir: &Hir, names: &mut Vec<Box<str>>) {
    match hir.kind() {
        HirKind::Capture(group) => {
            names.extend(group.name.clone());
            group_names(&group.sub, names);
        }
        HirKind::Repetition(repetition) => group_names(&repetition.sub, names),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().for_each(|part| group_names(part, names)),
        _ => {}
    }
}

/// An expression for one value.
#[derive(Debug)]
pub(super) struct Expression(Regex);

impl Expression {
    pub(super) fn new(text: &str) -> Result<Self, BuildError> {
        Parsed::new(text)?.compile().map(Self)
    }

    pub(super) fn matches(&self, value: &[u8]) -> bool {
        self.0.is_match(value)
    }
}

/// The path expressions of one host, while routes are gathered.
#[derive(Default)]
pub(super) struct ExpressionsDraft {
    groups: HashMap<Vec<u8>, GroupDraft>,
}

#[derive(Default)]
struct GroupDraft {
    /// The same text is the same expression.
    places: HashMap<String, u32>,
    texts: Vec<String>,
    parsed: Vec<Parsed>,
    leaf: Leaf,
}

impl ExpressionsDraft {
    pub(super) fn add(&mut self, text: &str, parsed: Parsed, mut candidate: Candidate) {
        let group = self.groups.entry(parsed.prefix.clone()).or_default();
        let next = group.parsed.len();
        let place = *group.places.entry(text.to_owned()).or_insert(u32::try_from(next).unwrap_or(u32::MAX));
        if place as usize == next {
            group.parsed.push(parsed);
            group.texts.push(text.to_owned());
        }
        candidate.expression = place;
        group.leaf.push(candidate);
    }

    /// Every leaf, with the texts of its expressions.
    pub(super) fn leaves(&mut self) -> impl Iterator<Item = (&[String], &mut Leaf)> {
        self.groups.values_mut().map(|group| (&*group.texts, &mut group.leaf))
    }

    pub(super) fn compile(self) -> Result<Expressions, BuildError> {
        let mut expressions = Expressions::default();
        for (prefix, draft) in self.groups {
            let captures = draft.parsed.iter().map(|parsed| if parsed.names.is_empty() { Ok(None) } else { parsed.compile().map(Some) });
            let captures = captures.collect::<Result<_, _>>()?;
            let all: Vec<Hir> = draft.parsed.into_iter().map(|parsed| parsed.hir).collect();
            expressions.lengths.push(prefix.len());
            expressions.groups.insert(prefix.into(), Group { any: compile(&all, MatchKind::All)?, captures, leaf: draft.leaf });
        }
        expressions.lengths.sort_unstable_by(|a, b| b.cmp(a));
        expressions.lengths.dedup();
        Ok(expressions)
    }
}

/// The path expressions of one host.
#[derive(Debug, Default)]
pub(super) struct Expressions {
    groups: HashMap<Box<[u8]>, Group, RandomState>,
    /// The lengths of the literal beginnings, the longest first.
    lengths: Vec<usize>,
}

#[derive(Debug)]
struct Group {
    any: Regex,
    /// For each expression with named groups, itself alone.
    captures: Vec<Option<Regex>>,
    leaf: Leaf,
}

impl Expressions {
    /// The most expressions that one look-up runs at once.
    pub(super) fn widest(&self) -> usize {
        self.groups.values().map(|group| group.captures.len()).max().unwrap_or_default()
    }

    pub(super) fn find<'r>(&'r self, walk: &mut Walk<'r, '_>) -> Option<&'r Candidate> {
        let path = walk.path();
        self.lengths.iter().find_map(|length| {
            let group = self.groups.get(path.as_bytes().get(..*length)?)?;
            let candidate = group.pick(path.as_bytes(), walk)?;
            if let Some(Some(regex)) = group.captures.get(candidate.expression as usize) {
                walk.ranges = captured(regex, path);
            }
            Some(candidate)
        })
    }
}

impl Group {
    fn pick<'r>(&'r self, path: &[u8], walk: &mut Walk<'r, '_>) -> Option<&'r Candidate> {
        if let [_] = *self.captures {
            return if self.any.is_match(path) { self.leaf.pick(walk, |_| true) } else { None };
        }
        let mut matching = PatternSet::new(self.captures.len());
        self.any.which_overlapping_matches(&Input::new(path), &mut matching);
        let matches = |candidate: &Candidate| {
            regex_automata::PatternID::new(candidate.expression as usize).is_ok_and(|expression| matching.contains(expression))
        };
        if matching.is_empty() { None } else { self.leaf.pick(walk, matches) }
    }
}

/// The bytes of each named group; none for a group that took no part.
fn captured(regex: &Regex, path: &str) -> Ranges {
    let mut captures: Captures = regex.create_captures();
    regex.captures(path, &mut captures);
    let names = captures.group_info().pattern_names(regex_automata::PatternID::ZERO);
    let mut ranges = SmallVec::new();
    for (group, name) in names.enumerate() {
        if name.is_some() {
            let (start, end) = captures.get_group(group).map_or((0, 0), |span| (span.start, span.end));
            ranges.push(super::range(start, end));
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_value_must_match() {
        let matches = |text: &str, value: &str| Expression::new(text).unwrap().matches(value.as_bytes());
        assert!(matches("a|ab", "ab"));
        assert!(!matches("a|ab", "abc"));
        assert!(!matches("b", "ab"));
        assert!(matches("(?x) a b # a comment", "ab"));
        assert!(matches("^a$", "a"));
        assert!(matches(r"\d+", "123"));
        assert!(!matches("a", "a\n"));
    }

    #[test]
    fn the_literal_beginning_is_what_every_match_begins_with() {
        for (text, prefix) in [
            ("/a/[0-9]+", "/a/"),
            ("^/a/b$", "/a/b"),
            ("/a(/b.*)?", "/a"),
            ("(/a/)(b)c*", "/a/b"),
            ("/a|/b", "/"),
            ("(?i)/a", "/"),
            (".*", ""),
        ] {
            let found = Parsed::new(text).unwrap().prefix;
            assert!(prefix.as_bytes().starts_with(&found) && (found.len() == prefix.len() || text == "/a|/b"), "{text}: {found:?}");
        }
    }

    #[test]
    fn what_is_too_large_or_wrong_is_refused() {
        for text in ["(", "a{1000}{1000}{1000}", "(?<x>a)(?<x>b)", "é", r"(?=a)", &"(".repeat(200)] {
            assert!(Parsed::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_evil_expression_takes_linear_time() {
        let evil = Expression::new("(a*)*b").unwrap();
        assert!(!evil.matches("a".repeat(100_000).as_bytes()));
    }
}
