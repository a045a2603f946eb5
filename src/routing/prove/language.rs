//! Sets of texts as automata: whether one lies within another, and what is in it.

use std::collections::{HashMap, VecDeque};

use regex_automata::dfa::dense::{self, DFA};
use regex_automata::dfa::{Automaton, StartKind};
use regex_automata::util::primitives::StateID;
use regex_automata::{Anchored, Input};

use super::super::expression::Parsed;

/// The most bytes of one automaton. What is larger is not looked into.
const MOST_BYTES: usize = 1 << 18;

/// The most states that a search looks at, each one state of every automaton in it.
const MOST_STATES: usize = 10_000;

/// The texts that a regex matches as a whole.
#[derive(Debug)]
pub(super) struct Language(DFA<Vec<u32>>);

/// What a search came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// One of the shortest texts there are.
    Found(Vec<u8>),
    /// There is none.
    Nothing,
    /// Looking further would take too long.
    Unknown,
}

impl Language {
    /// None where the automaton would be too large.
    pub(super) fn new(text: &str) -> Option<Self> {
        let config =
            dense::Config::new().start_kind(StartKind::Anchored).dfa_size_limit(Some(MOST_BYTES)).determinize_size_limit(Some(MOST_BYTES));
        let nfa = Parsed::new(text).ok()?.nfa()?;
        dense::Builder::new().configure(config).build_from_nfa(&nfa).ok().map(Self)
    }

    fn start(&self) -> Option<StateID> {
        self.0.start_state_forward(&Input::new("").anchored(Anchored::Yes)).ok()
    }

    fn accepts(&self, state: StateID) -> bool {
        self.0.is_match_state(self.0.next_eoi_state(state))
    }
}

/// A shortest text of these bytes that is in every `wanted` and in no `unwanted` language. Of bytes that do equally well, the first are taken.
pub(super) fn search(wanted: &[&Language], unwanted: &[&Language], bytes: &[u8]) -> Search {
    let all = || wanted.iter().chain(unwanted);
    let Some(start) = all().map(|language| language.start()).collect::<Option<Box<[StateID]>>>() else { return Search::Unknown };
    // For each place that was reached: how, from which other.
    let mut ways: Vec<(usize, u8)> = vec![(0, 0)];
    let mut seen: HashMap<Box<[StateID]>, ()> = HashMap::from([(start.clone(), ())]);
    let mut next = VecDeque::from([(0, start)]);
    while let Some((place, states)) = next.pop_front() {
        if all().zip(&states).enumerate().all(|(at, (language, state))| language.accepts(*state) == (at < wanted.len())) {
            return Search::Found(text(&ways, place));
        }
        for byte in bytes {
            let after: Box<[StateID]> = all().zip(&states).map(|(language, state)| language.0.next_state(*state, *byte)).collect();
            let lost = wanted.iter().zip(&after).any(|(language, state)| language.0.is_dead_state(*state));
            if lost || seen.contains_key(&after) {
                continue;
            }
            if ways.len() >= MOST_STATES {
                return Search::Unknown;
            }
            seen.insert(after.clone(), ());
            ways.push((place, *byte));
            next.push_back((ways.len() - 1, after));
        }
    }
    Search::Nothing
}

fn text(ways: &[(usize, u8)], mut place: usize) -> Vec<u8> {
    let mut text = Vec::new();
    while let (1.., Some((before, byte))) = (place, ways.get(place)) {
        text.push(*byte);
        place = *before;
    }
    text.reverse();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn language(text: &str) -> Language {
        Language::new(text).unwrap()
    }

    #[test]
    fn what_is_in_one_and_not_in_another_is_found() {
        let search = |wanted: &[&str], unwanted: &[&str]| {
            let (wanted, unwanted): (Vec<_>, Vec<_>) =
                (wanted.iter().map(|text| language(text)).collect(), unwanted.iter().map(|text| language(text)).collect());
            match search(&wanted.iter().collect::<Vec<_>>(), &unwanted.iter().collect::<Vec<_>>(), b"xyzabc/0") {
                Search::Found(text) => String::from_utf8(text).unwrap(),
                other => format!("{other:?}"),
            }
        };
        assert_eq!(search(&["/a.*"], &[]), "/a");
        assert_eq!(search(&["/a.*", ".*b"], &["/ab"]), "/axb");
        assert_eq!(search(&["/a/[a-c]+"], &["/.*"]), "Nothing");
        assert_eq!(search(&["/.*"], &["/a/[a-c]+"]), "/");
        assert_eq!(search(&["a|ab"], &["a"]), "ab");
        assert_eq!(search(&["a$b"], &[]), "Nothing");
        assert_eq!(search(&["é|a".replace('é', "[^a-z/0]").as_str()], &["a"]), "Nothing");
        assert_eq!(search(&[], &["[^y]*"]), "y");
        assert_eq!(search(&[r"\ba"], &[]), "a");
    }

    #[test]
    fn what_would_take_too_long_is_left_open() {
        assert!(Language::new("(x|y)*x(x|y){16}").is_none());
        let (many, sevens) = (language("(x|y)*x(x|y){10}"), language("((x|y){7})*"));
        assert_eq!(search(&[&many, &sevens], &[&language("(x|y)*")], b"xy"), Search::Unknown);
    }
}
