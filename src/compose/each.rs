use std::time::{Duration, Instant};

use super::config::PartConfig;
use super::freshness::Freshness;
use super::outcome::{Calls, Got, Missing, Source};
use http::HeaderValue;

use crate::body::json::{Bounds, Document, Place};
use crate::building::{BuildError, Errors};
use crate::problem::Kind;
use crate::state::Offload;
use crate::types::{Piece, pieces};

/// That a part asks once for each element of an array.
#[derive(Debug)]
pub(super) struct Each {
    /// Where the array is.
    pub over: Place,
    /// So many calls at once at most.
    pub parallel: usize,
    /// So many elements at most.
    pub most: usize,
}

/// Calls at once, where nothing is said.
const PARALLEL: usize = 8;

/// Elements, where nothing is said.
const MOST: usize = 100;

/// Calls at once of one part at most.
const WIDEST: usize = 64;

/// So many bytes take about 100 µs to put together: a quarter of what it takes to read them.
const LARGE: usize = 4 * Offload::LARGE;

/// Calls of one answer at most.
pub(super) const CALLS: usize = 1000;

/// What would hold a worker up.
pub(super) enum Large {
    /// To put the answers of its calls together.
    Join(Box<Fan>),
    /// To read what it is.
    Read(Vec<u8>),
}

impl Each {
    /// Reads it, where a part has it.
    ///
    /// # Errors
    /// What is no array of a part, bounds of nothing or beyond all, and bounds of elements where there are none.
    pub fn build(config: &PartConfig, parts: &[&str], params: &[Box<str>], errors: &mut Errors) -> Option<Self> {
        let Some(text) = &config.each else {
            for (key, is_set) in [("parallel", config.parallel.is_some()), ("most", config.most.is_some())] {
                if is_set {
                    let error =
                        BuildError::new("the part asks once, not for each element of an array", "remove it, or name an array with `each`");
                    errors.push(error.at(key));
                }
            }
            return None;
        };
        let bound = |key: &str, value: Option<usize>, default: usize, most: usize| match value.unwrap_or(default) {
            wrong if wrong == 0 || wrong > most => {
                Err(BuildError::new(format!("{wrong} is out of bounds"), format!("write 1 to {most}")).at(key))
            }
            right => Ok(right),
        };
        let parallel = errors.keep(&[], bound("parallel", config.parallel, PARALLEL, WIDEST));
        let most = errors.keep(&[], bound("most", config.most, MOST, CALLS));
        if params.iter().any(|param| &**param == "item") {
            let error = BuildError::new("`{item}` is a parameter of the route's path already", "give that parameter another name");
            errors.push(error.at("each"));
        }
        let over = match pieces(text).as_deref() {
            Ok([Piece::Variable(name)]) => Place::parse(name, parts),
            _ => None,
        };
        let none = || BuildError::new(format!("`{text}` is no array of another part"), "write one, like `\"{parts.orders.body.items}\"`");
        let over = errors.keep(&[], over.unwrap_or_else(|| Err(none())).map_err(|error| error.at("each")));
        Some(Self { over: over?, parallel: parallel?, most: most? })
    }
}

/// The calls of one part, one for each element, as far as they have come.
pub(super) struct Fan {
    items: Vec<Item>,
    /// The next that was not asked for.
    next: usize,
    running: usize,
    missing: usize,
    /// Bytes of the bodies that are here.
    pub held: usize,
    /// How long all may take.
    pub full: Duration,
    /// When that is over.
    pub ends: Instant,
    freshness: Option<Freshness>,
    cookies: Vec<HeaderValue>,
}

/// What became of one element.
#[derive(Clone)]
enum Item {
    /// Nothing yet.
    Open,
    Got(Document),
    Missing,
}

impl Fan {
    /// For so many elements.
    pub fn new(count: usize, full: Duration, ends: Instant) -> Self {
        Self { items: vec![Item::Open; count], next: 0, running: 0, missing: 0, held: 0, full, ends, freshness: None, cookies: Vec::new() }
    }

    /// An element to ask for now, where not too many are asked for already.
    pub fn next(&mut self, each: &Each) -> Option<usize> {
        let next = self.next;
        if self.running >= each.parallel || next >= self.items.len() {
            return None;
        }
        (self.next, self.running) = (next + 1, self.running + 1);
        Some(next)
    }

    /// Takes in what was said of an element.
    pub fn settle(&mut self, item: usize, got: Option<Got>) {
        self.running = self.running.saturating_sub(1);
        let Some(place) = self.items.get_mut(item) else { return };
        match got {
            Some(got) => {
                self.freshness = match (self.freshness, got.freshness) {
                    (Some(one), Some(other)) => Some(one.and(other)),
                    (one, other) => one.or(other),
                };
                self.cookies.extend(got.cookies);
                *place = Item::Got(got.body);
            }
            None => {
                self.missing += 1;
                *place = Item::Missing;
            }
        }
    }

    /// Whether nothing is to come.
    pub fn is_whole(&self) -> bool {
        self.running == 0 && self.next == self.items.len()
    }

    /// Whether it takes too long to put all together for a worker to do it.
    pub fn is_large(&self) -> bool {
        self.held >= LARGE
    }

    /// How the calls have ended.
    pub fn calls(&self) -> Calls {
        Calls { of: self.items.len(), missing: self.missing }
    }

    /// The array of all, in the order of the elements, with null for each that is missing.
    ///
    /// # Errors
    /// It is more JSON than is taken.
    pub fn close(self) -> Result<Got, Missing> {
        let items = self.items.iter().map(|item| if let Item::Got(body) = item { Some(body) } else { None });
        let body = Document::array(items, Bounds { bytes: usize::MAX, ..Bounds::default() })
            .map_err(|_| Missing::new(Kind::BadGateway, "reading", "body_unusable", "is more or deeper JSON than is taken"))?;
        let calls = Some(self.calls());
        Ok(Got { status: None, body, freshness: self.freshness, calls, cookies: self.cookies, source: Source::Service })
    }
}
