use std::sync::Arc;

use http::Method;
use tokio::task::{Id, JoinError, JoinSet};

use super::cookies::Cookies;
use super::write::Written;
use crate::handler::{Answered, Came, Inner, Inside};
use crate::observe::Shard;
use crate::problem::Problem;
use crate::upstream::{Budget, Charge};

/// How far the requests of one batch have come.
pub(super) struct Course {
    pub inside: Arc<dyn Inside>,
    pub running: JoinSet<Step>,
    /// What the answers may hold together.
    pub budget: Arc<Budget>,
    /// For which request each task is.
    tasks: Vec<(Id, usize)>,
    /// Method and path of those that were asked.
    asked: Vec<Option<(Method, String)>>,
    /// The answers that are here.
    written: Vec<Option<Vec<u8>>>,
    cookies: Cookies,
    /// What both take of the budget.
    held: Charge,
    /// The id of the request around them.
    id: String,
    route: Arc<str>,
    shard: Arc<Shard>,
}

/// What a task came to.
#[derive(Debug)]
pub(super) enum Step {
    /// A request was asked.
    Came(Came),
    /// Its answer was written.
    Written(Written),
}

/// Why an answer is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There would be too many cookies.
    Cookies,
    /// All would be too long.
    Answers,
}

impl Course {
    /// Of so many requests, whose answers may hold so many bytes together.
    pub fn new(inside: Arc<dyn Inside>, count: usize, answers: usize, id: &str, route: &Arc<str>, shard: Arc<Shard>) -> Self {
        let budget = Arc::new(Budget::new(answers));
        Self {
            inside,
            running: JoinSet::new(),
            held: budget.charge(),
            budget,
            tasks: Vec::new(),
            asked: (0..count).map(|_| None).collect(),
            written: (0..count).map(|_| None).collect(),
            cookies: Cookies::default(),
            id: id.to_owned(),
            route: route.clone(),
            shard,
        }
    }

    /// How many are under way.
    pub fn under_way(&self) -> usize {
        self.tasks.len()
    }

    /// Whether that one is.
    pub fn is_under_way(&self, place: usize) -> bool {
        self.tasks.iter().any(|(_, running)| *running == place)
    }

    /// Whether that one has an answer.
    pub fn is_done(&self, place: usize) -> bool {
        self.written.get(place).is_none_or(Option::is_some)
    }

    /// Asks for one.
    pub fn begin(&mut self, place: usize, inner: Inner) {
        if let Some(asked) = self.asked.get_mut(place) {
            *asked = Some((inner.head.method.clone(), inner.head.uri.path().to_owned()));
        }
        let asking = self.inside.ask(inner);
        self.spawn(place, async move { Step::Came(asking.await) });
    }

    /// Has something done for one, on a task of its own: who panics, panics alone.
    pub fn spawn(&mut self, place: usize, task: impl Future<Output = Step> + Send + 'static) {
        self.shard.batch_running.with_label_values(&[&*self.route]).inc();
        let task = self.running.spawn(task);
        self.tasks.push((task.id(), place));
    }

    /// For which one a task has ended, and with what; with nothing where it has panicked.
    pub fn end(&mut self, ended: Result<(Id, Step), JoinError>) -> (usize, Option<Step>) {
        let (id, step) = match ended {
            Ok((id, step)) => (id, Some(step)),
            Err(error) => (error.id(), None),
        };
        self.shard.batch_running.with_label_values(&[&*self.route]).dec();
        let task = self.tasks.iter().position(|(task, _)| *task == id);
        (task.map_or(usize::MAX, |task| self.tasks.swap_remove(task).1), step)
    }

    /// Method and path of one that was asked.
    pub fn asked(&mut self, place: usize) -> (Method, String) {
        self.asked.get_mut(place).and_then(Option::take).unwrap_or_default()
    }

    /// A problem in the place of an answer.
    pub fn own(&self, problem: Problem) -> Answered {
        problem.render(Some(&self.id)).into()
    }

    /// Takes in the answer to one.
    ///
    /// # Errors
    /// With it all together would be more than they may be. What it has set may stay set: it was answered nevertheless.
    pub fn take(&mut self, place: usize, written: Written) -> Result<(), Full> {
        let Written { json, cookies, charge } = written;
        // What its body was takes no room any more: this is what it has become.
        drop(charge);
        let cookies = self.cookies.with(place, cookies).ok_or(Full::Cookies)?;
        if !self.held.add(cookies.bytes().saturating_sub(self.cookies.bytes())) {
            return Err(Full::Answers);
        }
        self.cookies = cookies;
        if !self.held.add(json.len()) {
            return Err(Full::Answers);
        }
        self.put(place, json);
        Ok(())
    }

    /// Puts something in the place of one.
    pub fn put(&mut self, place: usize, json: Vec<u8>) {
        if let Some(place) = self.written.get_mut(place) {
            *place = Some(json);
        }
    }

    /// Counts one by what became of it.
    pub fn count(&self, result: &str) {
        self.shard.batch_requests.with_label_values(&[&*self.route, result]).inc();
    }

    /// All answers, and the cookies that they set.
    pub fn into_parts(mut self) -> (Vec<Vec<u8>>, Cookies) {
        (self.written.iter_mut().filter_map(|written| written.as_mut().map(std::mem::take)).collect(), std::mem::take(&mut self.cookies))
    }
}

impl Drop for Course {
    fn drop(&mut self) {
        for _ in &self.tasks {
            self.shard.batch_running.with_label_values(&[&*self.route]).dec();
        }
        // All have an answer by the end, but where the client has left.
        for _ in self.written.iter().filter(|written| written.is_none()) {
            self.count("cancelled");
        }
    }
}
