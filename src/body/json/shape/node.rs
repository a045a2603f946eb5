use std::collections::BTreeMap;

use super::super::path::Path;
use super::super::text;

/// What happens at one place of a document, and below it. An array is the same place as each of its items.
#[derive(Debug)]
pub(in super::super) struct Node {
    pub children: BTreeMap<Box<[u8]>, Node>,
    /// What happens to members that are no children here.
    pub rest: Rest,
    pub fate: Fate,
    /// What the member at this place is called in the end.
    pub name: New,
    /// What is moved into this object.
    pub arrivals: Vec<Arrival>,
    /// The moves whose two paths part here.
    pub begins: Vec<Move>,
    /// Every move from outside that ends here or below.
    pub awaited: Vec<usize>,
    /// Whether the members must be known before the first is written.
    pub way: Way,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Rest {
    Keep,
    Leave,
}

/// What becomes of the member at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Fate {
    Stay,
    /// Left out. Something may still be made in its place, for what is moved there.
    Gone,
    Renamed,
    /// By the move of this number, if that can be made; else it stays.
    Moved(usize),
    Lifted,
}

/// How an object at a place is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Way {
    /// As it came.
    Copied,
    /// Member by member.
    Streamed,
    /// After its members were gathered.
    Gathered,
}

#[derive(Debug)]
pub(in super::super) struct Arrival {
    pub name: New,
    pub number: usize,
}

#[derive(Debug)]
pub(in super::super) struct Move {
    pub number: usize,
    /// Both from where the paths part. The way to the object that it comes into is shorter than the path by the name that it gets there.
    pub from: Path,
    pub to: Path,
}

/// A name that is not from the document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct New {
    /// As it is written.
    pub quoted: Box<[u8]>,
    /// What it says.
    pub says: Box<[u8]>,
}

impl New {
    pub fn of(name: &str) -> Self {
        Self { quoted: text::quoted(name).into(), says: name.as_bytes().into() }
    }
}

impl Node {
    pub fn new(name: &str, rest: Rest, fate: Fate) -> Self {
        Self {
            children: BTreeMap::new(),
            rest,
            fate,
            name: New::of(name),
            arrivals: Vec::new(),
            begins: Vec::new(),
            awaited: Vec::new(),
            way: Way::Copied,
        }
    }

    /// The place at the end of these names, made where it is not known yet.
    pub fn reach<'p>(&mut self, names: impl Iterator<Item = &'p str>) -> &mut Node {
        let mut node = self;
        for name in names {
            // What is not picked, or is within something that is gone, may only be made anew.
            let fate = if node.rest == Rest::Leave || node.fate == Fate::Gone { Fate::Gone } else { Fate::Stay };
            node = node.children.entry(name.as_bytes().into()).or_insert_with(|| Node::new(name, Rest::Keep, fate));
        }
        node
    }

    /// Opens the way to something picked, and closes it to all beside.
    pub fn pick<'p>(&mut self, names: impl Iterator<Item = &'p str>) {
        let mut node = self;
        for name in names {
            node.rest = Rest::Leave;
            node = node.children.entry(name.as_bytes().into()).or_insert_with(|| Node::new(name, Rest::Keep, Fate::Stay));
        }
    }

    /// Works out what depends on the whole.
    pub fn finish(&mut self) {
        self.awaited = self.arrivals.iter().map(|arrival| arrival.number).collect();
        for child in self.children.values_mut() {
            child.finish();
            self.awaited.extend(&child.awaited);
        }
        self.awaited.retain(|number| self.begins.iter().all(|begun| begun.number != *number));
        let gathers = |child: &Node| matches!(child.fate, Fate::Renamed | Fate::Lifted) || !child.awaited.is_empty();
        self.way = if !self.arrivals.is_empty() || self.children.values().any(gathers) {
            Way::Gathered
        } else if !self.children.is_empty() || self.rest == Rest::Leave {
            Way::Streamed
        } else {
            Way::Copied
        };
    }
}
