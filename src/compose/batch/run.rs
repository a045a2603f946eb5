use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora_http::RequestHeader;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep_until;

use super::Batch;
use super::read::{Asked, read};
use super::request::{inherited, request};
use super::write::{Written, write};
use crate::handler::{Answered, Came, Conversation, Failed, Inner, Inside};
use crate::observe::Shard;
use crate::problem::{Kind, Problem, Rendered};
use crate::state::Offload;
use crate::types::Reply;

/// So long after the time of all is up, what has not ended by itself is broken off.
const GRACE: Duration = Duration::from_millis(30);

/// How far the requests of one batch have come.
struct Course {
    inside: Arc<dyn Inside>,
    running: JoinSet<Came>,
    /// Which of them each task is.
    tasks: Vec<(Id, usize)>,
    /// Method and path of those that were asked.
    asked: Vec<Option<(Method, String)>>,
    written: Vec<Option<Written>>,
    /// Bytes of the answers that are here.
    held: usize,
    /// When the time of all is up.
    ends: Instant,
    /// The id of the request around them.
    id: String,
    route: Arc<str>,
    shard: Arc<Shard>,
}

impl Batch {
    /// Asks for all that is in a batch, and answers with what comes of it.
    ///
    /// # Errors
    /// The problem of a batch that is none, or a client that is gone.
    pub async fn answer(&self, talk: &mut impl Conversation) -> Result<(), Failed> {
        let inside = talk.inside()?;
        expect(talk.request())?;
        let ends = talk.bound(self.timeout);
        let mut body = BytesMut::new();
        while let Some(piece) = talk.read().await? {
            if body.len() + piece.len() > self.size {
                return Err(Problem::new(Kind::ContentTooLarge, format!("the batch is larger than {} bytes", self.size)).into());
            }
            body.extend_from_slice(&piece);
        }
        let (body, most) = (body.freeze(), self.requests);
        let all = self.offload.of_bytes(body.len(), move || read(body, most)).await?;
        let mut course = Course {
            inside,
            running: JoinSet::new(),
            tasks: Vec::new(),
            asked: all.iter().map(|_| None).collect(),
            written: all.iter().map(|_| None).collect(),
            held: 0,
            ends,
            id: talk.cx().request_id().to_owned(),
            route: self.route.clone(),
            shard: talk.shard(),
        };
        self.run(talk, &all, &mut course).await?;
        talk.reply(&self.whole(&all, course).await).await
    }

    /// Until all have their answer, or the time is up, or the client has left.
    async fn run(&self, talk: &mut impl Conversation, all: &[Asked], course: &mut Course) -> Result<(), Failed> {
        let inherited = inherited(talk.request());
        let mut waiting = all.iter().enumerate();
        let mut late = std::pin::pin!(sleep_until((course.ends + GRACE).into()));
        loop {
            while course.tasks.len() < self.parallel && Instant::now() < course.ends {
                let Some((place, asked)) = waiting.next() else { break };
                match request(asked, &inherited, self.headers.as_deref()) {
                    Ok((head, body)) => course.begin(place, Inner { head, body, most: self.answer, ends: course.ends, full: self.timeout }),
                    Err(problem) => {
                        let answered = course.inside.refuse(problem);
                        self.settle(course, place, asked, "refused", answered).await;
                    }
                }
            }
            if course.tasks.is_empty() {
                return Ok(());
            }
            tokio::select! {
                biased;
                ended = course.running.join_next_with_id() => if let Some(ended) = ended {
                    let (place, came) = course.end(ended);
                    if let Some(asked) = all.get(place) {
                        self.judge(course, place, asked, came).await;
                    }
                },
                left = talk.left() => return Err(left),
                () = &mut late => return Ok(()),
            }
        }
    }

    async fn judge(&self, course: &mut Course, place: usize, asked: &Asked, came: Option<Came>) {
        let (result, problem) = match came {
            Some(Came::Whole(answered)) => return self.settle(course, place, asked, "answered", answered).await,
            Some(Came::TooLarge) => {
                let detail = format!("the answer is longer than {} bytes, the most that a batch takes of one", self.answer);
                ("too_large", Problem::new(Kind::BadGateway, detail))
            }
            Some(Came::Cut) if Instant::now() >= course.ends => ("late", late()),
            Some(Came::Cut) => ("cut", Problem::new(Kind::BadGateway, "the answer broke off")),
            None => ("failed", Problem::new(Kind::Internal, "the request could not be processed")),
        };
        let answered = course.own(problem);
        self.settle(course, place, asked, result, answered).await;
    }

    /// Takes an answer in, unless all together would be longer than they may be.
    async fn settle(&self, course: &mut Course, place: usize, asked: &Asked, result: &'static str, answered: Answered) {
        let (method, path) = course.asked.get_mut(place).and_then(Option::take).unwrap_or_default();
        let mut written = if answered.body.len() < Offload::LARGE {
            write(&asked.id, &method, &path, answered)
        } else {
            let (id, method, path) = (asked.id.clone(), method.clone(), path.clone());
            let work = move || write(&id, &method, &path, answered);
            self.offload.run(work).await.unwrap_or_else(|work| work())
        };
        let mut result = result;
        if written.json.len() > self.answers - course.held {
            let detail = format!("the answers of the batch would be longer than {} bytes together", self.answers);
            let answered = course.own(Problem::new(Kind::BadGateway, detail));
            // It was answered nevertheless: what it has set stays set.
            written.json = write(&asked.id, &method, &path, answered).json;
            result = "too_large";
        } else {
            course.held += written.json.len();
        }
        course.count(result);
        if let Some(place) = course.written.get_mut(place) {
            *place = Some(written);
        }
    }

    /// The answer to the batch.
    async fn whole(&self, all: &[Asked], mut course: Course) -> Reply {
        for (place, asked) in all.iter().enumerate() {
            if course.written.get(place).is_some_and(Option::is_none) {
                let was_asked = course.tasks.iter().any(|(_, running)| *running == place);
                // What was asked says for itself what became of it.
                let answered = if was_asked { course.own(late()) } else { course.inside.refuse(late()) };
                self.settle(&mut course, place, asked, "late", answered).await;
            }
        }
        let mut headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let mut json = Vec::with_capacity(course.held + all.len() + 32);
        json.extend_from_slice(b"{\"responses\":[");
        for (place, written) in std::mem::take(&mut course.written).into_iter().flatten().enumerate() {
            json.extend_from_slice(if place == 0 { b"" } else { b"," });
            json.extend_from_slice(&written.json);
            headers.extend(written.cookies.into_iter().map(|cookie| (header::SET_COOKIE, cookie)));
        }
        json.extend_from_slice(b"]}");
        Reply { status: StatusCode::OK, headers, body: json.into() }
    }
}

/// Whether a request may be a batch at all.
fn expect(req: &RequestHeader) -> Result<(), Problem> {
    if req.method != Method::POST {
        let problem = Problem::new(Kind::MethodNotAllowed, "a batch is sent with POST");
        return Err(problem.header(header::ALLOW, HeaderValue::from_static("POST")));
    }
    let (essence, charset) = crate::compose::outcome::media_type(&req.headers);
    // Other types can be sent by any page, without leave of the gateway's `cors`.
    if essence != "application/json" || charset.is_some_and(|charset| charset != "utf-8") {
        return Err(Problem::new(Kind::UnsupportedMediaType, "a batch is `application/json`, in UTF-8"));
    }
    if req.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(Kind::UnsupportedMediaType, "a batch is sent without a content coding"));
    }
    Ok(())
}

fn late() -> Problem {
    Problem::new(Kind::GatewayTimeout, "the time of the batch was up before there was an answer")
}

impl Course {
    fn begin(&mut self, place: usize, inner: Inner) {
        if let Some(asked) = self.asked.get_mut(place) {
            *asked = Some((inner.head.method.clone(), inner.head.uri.path().to_owned()));
        }
        self.shard.batch_running.with_label_values(&[&*self.route]).inc();
        // Each on a task of its own: who panics, panics alone.
        let task = self.running.spawn(self.inside.ask(inner));
        self.tasks.push((task.id(), place));
    }

    /// Which one has ended, and with what; with nothing where it has panicked.
    fn end(&mut self, ended: Result<(Id, Came), JoinError>) -> (usize, Option<Came>) {
        let (id, came) = match ended {
            Ok((id, came)) => (id, Some(came)),
            Err(error) => (error.id(), None),
        };
        self.shard.batch_running.with_label_values(&[&*self.route]).dec();
        let task = self.tasks.iter().position(|(task, _)| *task == id);
        (task.map_or(usize::MAX, |task| self.tasks.swap_remove(task).1), came)
    }

    /// A problem in the place of an answer.
    fn own(&self, problem: Problem) -> Answered {
        let Rendered { status, headers, body } = problem.render(Some(&self.id));
        Answered { status, headers: HeaderMap::from_iter(headers), body: body.into() }
    }

    fn count(&self, result: &str) {
        self.shard.batch_requests.with_label_values(&[&*self.route, result]).inc();
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
