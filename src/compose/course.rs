use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;

use super::each::{Fan, Large};
use super::outcome::{Missing, Outcome};
use super::same::Calls;
use crate::observe::Shard;
use crate::problem::Kind;
use crate::upstream::{Budget, Client};

/// How far the parts of one answer have come.
pub(super) struct Course {
    pub outcomes: Vec<Outcome>,
    started: Vec<Option<Instant>>,
    pub times: Vec<Duration>,
    /// The calls of each part that makes one for each element of an array, while they are under way.
    pub fans: Vec<Option<Fan>>,
    /// What is to be made of parts beside the worker.
    pub large: Vec<(usize, Large)>,
    /// Bytes of the bodies that are here.
    held: usize,
    /// Bytes of them that are held at most.
    most: usize,
    /// When the time of the whole is up.
    pub ends: Instant,
    /// What every service is told.
    pub told: HeaderMap,
    pub client: Arc<Client>,
    /// Those that may be made again.
    pub calls: Calls,
    pub shard: Arc<Shard>,
}

impl Course {
    /// Of so many parts that were not asked yet.
    pub fn new(parts: usize, most: usize, ends: Instant, told: HeaderMap, client: Arc<Client>, shard: Arc<Shard>) -> Self {
        Self {
            outcomes: (0..parts).map(|_| Outcome::Pending).collect(),
            started: vec![None; parts],
            times: vec![Duration::ZERO; parts],
            fans: (0..parts).map(|_| None).collect(),
            large: Vec::new(),
            held: 0,
            most,
            ends,
            told,
            client,
            calls: Calls::new(Arc::new(Budget::new(most))),
            shard,
        }
    }

    /// Takes in a body of this length, unless all together would be more than is held.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Missing> {
        self.held = self.held.saturating_add(bytes);
        if self.held <= self.most {
            return Ok(());
        }
        Err(Missing::new(Kind::BadGateway, "reading", "http_response_body_size", "is more than is held beside the other parts"))
    }

    /// A part is asked from now on.
    pub fn start(&mut self, place: usize) {
        if let (Some(started), Some(outcome)) = (self.started.get_mut(place), self.outcomes.get_mut(place)) {
            (*started, *outcome) = (Some(Instant::now()), Outcome::Running);
        }
    }

    /// It has come to this.
    pub fn settle(&mut self, place: usize, outcome: Outcome) {
        if let (Some(time), Some(Some(started))) = (self.times.get_mut(place), self.started.get(place)) {
            *time = started.elapsed();
        }
        if let Some(settled) = self.outcomes.get_mut(place) {
            *settled = outcome;
        }
        if let Some(fan) = self.fans.get_mut(place) {
            *fan = None;
        }
    }

    /// What is under way has come to its end.
    pub fn stop(&mut self) {
        for ((outcome, started), time) in self.outcomes.iter().zip(&self.started).zip(&mut self.times) {
            if let (Outcome::Running, Some(started)) = (outcome, started) {
                *time = started.elapsed();
            }
        }
    }
}
