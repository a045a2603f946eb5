use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::super::out::Out;
use super::super::path::Path;
use super::super::text::Text;
use super::super::value::{Kind, Value};
use super::Shape;
use super::node::{Fate, Move, New, Node, Rest, Way};

/// Writes a value as its place wants it.
pub(in super::super) struct Writer<'s, 'd> {
    /// What each move takes along, as far as the object that is being written can tell: set where the paths of the move part, used below that.
    found: SmallVec<[Option<(Value<'d>, &'s Node)>; 4]>,
}

/// A member of an object that is about to be written.
pub(in super::super) struct Member<'s, 'd> {
    pub name: Name<'s, 'd>,
    pub what: What<'s, 'd>,
    /// Of those of the same name, those of the highest rank stay.
    pub rank: usize,
}

pub(in super::super) enum Name<'s, 'd> {
    Came(Text<'d>),
    Given(&'s New),
}

pub(in super::super) enum What<'s, 'd> {
    Copy(Value<'d>),
    Shape(Value<'d>, &'s Node),
    /// An object only of what is moved into it.
    Made(&'s Node),
    /// A body under the first of the names that it is wrapped in.
    Whole(&'s Shape, Value<'d>),
}

/// Lifted from below. Of these, only the last of a name stays.
const LIFTED: usize = 0;
/// Where it was.
const OWN: usize = 1;
/// Put here by name.
const PLACED: usize = 2;

impl Name<'_, '_> {
    fn raw(&self) -> &[u8] {
        match self {
            Name::Came(text) => text.raw(),
            Name::Given(new) => &new.quoted,
        }
    }

    pub fn says(&self) -> Cow<'_, [u8]> {
        match self {
            Name::Came(text) => text.bytes(),
            Name::Given(new) => Cow::Borrowed(&new.says),
        }
    }
}

impl Node {
    fn child(&self, name: Text<'_>) -> Option<&Node> {
        if self.children.is_empty() { None } else { self.children.get(&*name.bytes()) }
    }

    /// Whether a value at this place is one for the paths that lead through it.
    pub(super) fn takes(&self, value: Value<'_>) -> bool {
        self.rest == Rest::Keep || matches!(value.kind(), Kind::Array | Kind::Object)
    }
}

impl<'s, 'd> Writer<'s, 'd> {
    pub fn new(moves: usize) -> Self {
        Self { found: SmallVec::from_elem(None, moves) }
    }

    pub fn write(&mut self, value: Value<'d>, node: &'s Node, out: &mut Out) {
        match (value.kind(), node.way) {
            (Kind::Object, Way::Streamed) => self.stream(value, node, out),
            (Kind::Object, Way::Gathered) => {
                let mut members = Vec::new();
                self.gather(Some(value), node, &mut members);
                settle(&mut members);
                self.members(members, out);
            }
            (Kind::Array, Way::Streamed | Way::Gathered) => {
                out.put(b"[");
                let mut comma: &[u8] = b"";
                for item in value.items().filter(|item| node.takes(*item)) {
                    out.put(comma);
                    self.write(item, node, out);
                    comma = b",";
                }
                out.put(b"]");
            }
            _ => out.put(value.raw()),
        }
    }

    fn members(&mut self, members: Vec<Member<'s, 'd>>, out: &mut Out) {
        let mut before: &[u8] = b"{";
        for member in members {
            out.put(before);
            self.member(member, out);
            before = b",";
        }
        out.put(if before == b"{" { b"{}" } else { b"}" });
    }

    pub fn member(&mut self, member: Member<'s, 'd>, out: &mut Out) {
        out.put(member.name.raw());
        out.put(b":");
        match member.what {
            What::Copy(value) => out.put(value.raw()),
            What::Shape(value, node) => self.write(value, node, out),
            What::Whole(shape, value) => shape.write(value, 1, out),
            What::Made(node) => {
                let mut inner = Vec::new();
                self.gather(None, node, &mut inner);
                settle(&mut inner);
                self.members(inner, out);
            }
        }
    }

    /// Writes an object whose members keep their names and places. Members beside each other that stay as they came are copied in one go.
    fn stream(&mut self, value: Value<'d>, node: &'s Node, out: &mut Out) {
        self.begin(value, node);
        let mut before: &[u8] = b"{";
        let mut run: Option<Range<usize>> = None;
        for (name, member) in value.members() {
            let child = node.child(name);
            let stays = match child {
                None => node.rest == Rest::Keep,
                Some(child) => self.stays(child) && child.takes(member),
            };
            let copied = stays && child.is_none_or(|child| child.way == Way::Copied);
            if copied {
                let start = run.map_or(name.start, |run| run.start);
                run = Some(start..member.span().end);
                continue;
            }
            flush(value, &mut run, &mut before, out);
            if let (true, Some(child)) = (stays, child) {
                out.put(before);
                out.put(name.raw());
                out.put(b":");
                self.write(member, child, out);
                before = b",";
            }
        }
        flush(value, &mut run, &mut before, out);
        out.put(if before == b"{" { b"{}" } else { b"}" });
    }

    fn stays(&self, node: &Node) -> bool {
        match node.fate {
            Fate::Gone => false,
            Fate::Moved(number) => self.found(number).is_none(),
            Fate::Stay | Fate::Renamed | Fate::Lifted => true,
        }
    }

    fn found(&self, number: usize) -> Option<(Value<'d>, &'s Node)> {
        self.found.get(number).copied().flatten()
    }

    /// The members of an object, or those of one that is made.
    pub fn gather(&mut self, value: Option<Value<'d>>, node: &'s Node, members: &mut Vec<Member<'s, 'd>>) {
        if let Some(value) = value {
            self.begin(value, node);
        }
        let mut lasts = Lasts::default();
        for (name, member) in value.iter().flat_map(|value| value.members()) {
            let Some(child) = node.child(name) else {
                if node.rest == Rest::Keep {
                    members.push(Member { name: Name::Came(name), what: What::Copy(member), rank: OWN });
                }
                continue;
            };
            if !self.stays(child) || !child.takes(member) {
                continue;
            }
            let what = What::Shape(member, child);
            match child.fate {
                Fate::Lifted if member.kind() == Kind::Object => {
                    // Of several of this name only the last counts, as ever; and what each move finds can be known of one only.
                    if lasts.is_last(value, name, member) {
                        self.lift(Some(member), child, members);
                    }
                }
                Fate::Renamed => members.push(Member { name: Name::Given(&child.name), what, rank: PLACED }),
                _ => members.push(Member { name: Name::Came(name), what, rank: OWN }),
            }
        }
        self.arrivals(value, node, members);
    }

    fn lift(&mut self, value: Option<Value<'d>>, node: &'s Node, members: &mut Vec<Member<'s, 'd>>) {
        let mut lifted = Vec::new();
        self.gather(value, node, &mut lifted);
        settle(&mut lifted);
        members.extend(lifted.into_iter().map(|member| Member { rank: LIFTED, ..member }));
    }

    /// What is moved into this object, and the objects that are made on the way of what is moved further.
    fn arrivals(&mut self, value: Option<Value<'d>>, node: &'s Node, members: &mut Vec<Member<'s, 'd>>) {
        for (key, child) in &node.children {
            if child.awaited.iter().all(|number| self.found(*number).is_none()) {
                continue;
            }
            let there = value.is_some_and(|value| {
                let mut named = value.members().filter(|(name, _)| *name.bytes() == **key);
                child.fate != Fate::Gone && named.any(|(_, member)| child.takes(member))
            });
            match child.fate {
                _ if there => {}
                Fate::Lifted => self.lift(None, child, members),
                fate => {
                    let rank = if fate == Fate::Renamed { PLACED } else { OWN };
                    members.push(Member { name: Name::Given(&child.name), what: What::Made(child), rank });
                }
            }
        }
        for arrival in &node.arrivals {
            if let Some((value, from)) = self.found(arrival.number) {
                members.push(Member { name: Name::Given(&arrival.name), what: What::Shape(value, from), rank: PLACED });
            }
        }
    }

    /// Finds what moves within this object, before anything in it is written.
    fn begin(&mut self, value: Value<'d>, node: &'s Node) {
        for begun in &node.begins {
            let found = seek(value, node, &begun.from).filter(|_| is_free(value, node, begun));
            if let Some(place) = self.found.get_mut(begun.number) {
                *place = found;
            }
        }
    }
}

fn seek<'s, 'd>(value: Value<'d>, node: &'s Node, path: &Path) -> Option<(Value<'d>, &'s Node)> {
    path.names().try_fold((value, node), |(value, node), name| {
        let node = node.children.get(name.as_bytes())?;
        let value = value.get(name).filter(|value| node.takes(*value))?;
        Some((value, node))
    })
}

/// Whether only objects are on the way to where a move goes, as far as anything is there.
fn is_free(value: Value<'_>, node: &Node, begun: &Move) -> bool {
    let (mut value, mut node) = (value, node);
    for name in begun.to.names() {
        let Some(child) = node.children.get(name.as_bytes()).filter(|child| child.fate != Fate::Gone) else { return true };
        let Some(next) = value.get(name).filter(|next| child.takes(*next)) else { return true };
        if next.kind() != Kind::Object {
            return false;
        }
        (value, node) = (next, child);
    }
    true
}

/// Writes the members that were held back to be copied together, with the commas and the white space between them.
fn flush(value: Value<'_>, run: &mut Option<Range<usize>>, before: &mut &[u8], out: &mut Out) {
    if let Some(run) = run.take() {
        out.put(before);
        out.put(value.document.text.get(run).unwrap_or_default());
        *before = b",";
    }
}

/// The last member of each of a few names: looked for once, however often the name comes.
#[derive(Default)]
struct Lasts<'d>(SmallVec<[(Cow<'d, [u8]>, u32); 2]>);

impl<'d> Lasts<'d> {
    /// Whether no other member of the same name comes behind this one.
    fn is_last(&mut self, object: Option<Value<'d>>, name: Text<'d>, member: Value<'d>) -> bool {
        let name = name.bytes();
        if let Some((_, last)) = self.0.iter().find(|(known, _)| *known == name) {
            return *last == member.at;
        }
        let named = object.into_iter().flat_map(Value::members).filter(|(other, _)| other.bytes() == name);
        let last = named.last().map_or(member.at, |(_, last)| last.at);
        self.0.push((name, last));
        last == member.at
    }
}

/// Leaves to each name only what has the highest rank. What came twice in one object stays twice.
pub(in super::super) fn settle(members: &mut Vec<Member<'_, '_>>) {
    if members.iter().all(|member| member.rank == OWN) {
        return;
    }
    let mut best = HashMap::with_capacity_and_hasher(members.len(), RandomState::default());
    for (place, member) in members.iter().enumerate() {
        let found = (member.rank, place);
        best.entry(member.name.says()).and_modify(|best: &mut (usize, usize)| *best = found.max(*best)).or_insert(found);
    }
    let stays = |(place, member): (usize, &Member<'_, '_>)| {
        let (rank, last) = best.get(&member.name.says()).copied().unwrap_or((member.rank, place));
        member.rank == rank && (rank != LIFTED || place == last)
    };
    let mut stay = members.iter().enumerate().map(stays).collect::<Vec<_>>().into_iter();
    members.retain(|_| stay.next().unwrap_or(true));
}
