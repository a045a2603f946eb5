use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora_http::RequestHeader;
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::Batch;
use super::cookies::Cookies;
use super::course::{Course, Full, Step};
use super::read::{Asked, read};
use super::request::{Made, Rules, inherited, named, request};
use super::write::{Written, write};
use crate::handler::{Answered, Came, Conversation, Failed, Inner};
use crate::problem::{Kind, Problem};
use crate::state::Offload;
use crate::types::Reply;

/// So long after the time of all is up, what has not ended by itself is broken off.
const GRACE: Duration = Duration::from_millis(10);

/// So much before that the time of each is up, for Pingora's clock is as late: who is late by it says for itself what was waited for.
const MARGIN: Duration = Duration::from_millis(20);

/// After so many that were begun or refused, others of the worker have their turn.
const TURN: usize = 16;

impl Batch {
    /// Asks for all that is in a batch, and answers with what comes of it.
    ///
    /// # Errors
    /// The problem of a batch that is none, or a client that is gone.
    pub async fn answer(&self, talk: &mut impl Conversation) -> Result<(), Failed> {
        let inside = talk.inside()?;
        expect(talk.request())?;
        let over = talk.bound(self.timeout);
        let mut body = BytesMut::new();
        while let Some(piece) = talk.read().await? {
            if body.len() + piece.len() > self.size {
                return Err(Problem::new(Kind::ContentTooLarge, format!("the batch is larger than {} bytes", self.size)).into());
            }
            body.extend_from_slice(&piece);
        }
        let (body, most) = (body.freeze(), self.requests);
        let all = self.offload.of_bytes(body.len(), move || read(body, most)).await?;
        let inherited = inherited(talk.request(), &talk.cx().request_id);
        let mut course = Course::new(inside, all.len(), self.answers, talk.cx().request_id(), &self.route, talk.shard());
        self.run(&mut course, &all, &inherited, over, talk.left()).await?;
        give_up(&mut course, &all).await;
        talk.reply(&whole(course)).await
    }

    /// Until all have their answer, or the time is up, or the client has left.
    async fn run(
        &self,
        course: &mut Course,
        all: &[Asked],
        inherited: &HeaderMap,
        over: Instant,
        left: impl Future<Output = Failed>,
    ) -> Result<(), Failed> {
        let rules = Rules { own: self.headers.as_deref(), most: course.inside.most_fields() };
        let ends = over.checked_sub(MARGIN.min(self.timeout / 10)).unwrap_or(over);
        let mut waiting = all.iter().enumerate();
        let (mut late, mut left) = (pin!(sleep_until((over + GRACE).into())), pin!(left));
        loop {
            while course.under_way() < self.parallel && Instant::now() < ends {
                let Some((place, asked)) = waiting.next() else { break };
                match request(asked, inherited, rules) {
                    Ok(Made { head, own, body }) => {
                        let budget = course.budget.clone();
                        course.begin(place, Inner { head, own, body, most: self.answer, budget, ends });
                    }
                    Err(problem) => refuse(course, place, asked, "refused", problem),
                }
                if place % TURN == TURN - 1 {
                    yield_now().await;
                }
            }
            if course.under_way() == 0 {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = &mut late => return Ok(()),
                left = &mut left => return Err(left),
                ended = course.running.join_next_with_id() => if let Some(ended) = ended {
                    let (place, step) = course.end(ended);
                    if let Some(asked) = all.get(place) {
                        self.judge(course, place, asked, step, ends);
                    }
                },
            }
        }
    }

    fn judge(&self, course: &mut Course, place: usize, asked: &Asked, step: Option<Step>, ends: Instant) {
        let (result, problem) = match step {
            Some(Step::Written(written)) => return self.keep(course, place, asked, written),
            Some(Step::Came(Came::Whole(answered))) => return self.settle(course, place, asked, answered),
            Some(Step::Came(Came::TooLarge)) => {
                let detail = format!("the answer is longer than {} bytes, the most that a batch takes of one", self.answer);
                ("too_large", Problem::new(Kind::BadGateway, detail))
            }
            Some(Step::Came(Came::NoRoom)) => ("too_large", self.full(Full::Answers)),
            Some(Step::Came(Came::Cut)) if Instant::now() >= ends => ("late", late()),
            Some(Step::Came(Came::Cut)) => ("cut", Problem::new(Kind::BadGateway, "the answer broke off")),
            None => ("failed", Problem::new(Kind::Internal, "the request could not be processed")),
        };
        let answered = course.own(problem);
        instead(course, place, asked, result, answered);
    }

    /// Writes an answer as it stands in that to the batch. A long one is written beside the worker, and the others go on meanwhile.
    fn settle(&self, course: &mut Course, place: usize, asked: &Asked, answered: Answered) {
        let (method, path) = course.asked(place);
        if answered.body.len() < Offload::LARGE {
            return self.keep(course, place, asked, write(&asked.id, &method, &path, answered));
        }
        let (id, offload) = (asked.id.clone(), self.offload.clone());
        course.spawn(place, async move {
            let work = move || write(&id, &method, &path, answered);
            Step::Written(offload.run(work).await.unwrap_or_else(|work| work()))
        });
    }

    /// Takes an answer in, unless all together would be more than they may be.
    fn keep(&self, course: &mut Course, place: usize, asked: &Asked, written: Written) {
        match course.take(place, written) {
            Ok(()) => course.count("answered"),
            Err(full) => {
                let answered = course.own(self.full(full));
                instead(course, place, asked, "too_large", answered);
            }
        }
    }

    fn full(&self, full: Full) -> Problem {
        let detail = match full {
            Full::Cookies => Cookies::full(),
            Full::Answers => format!("the answers of the batch would be longer than {} bytes together", self.answers),
        };
        Problem::new(Kind::BadGateway, detail)
    }
}

/// Says of those without an answer that there was no time for one.
async fn give_up(course: &mut Course, all: &[Asked]) {
    for (place, asked) in all.iter().enumerate() {
        if course.is_under_way(place) {
            // What was asked says for itself what became of it.
            let answered = course.own(late());
            instead(course, place, asked, "late", answered);
        } else if !course.is_done(place) {
            refuse(course, place, asked, "late", late());
        }
        if place % TURN == TURN - 1 {
            yield_now().await;
        }
    }
}

/// Counts and logs one that is not asked for.
fn refuse(course: &mut Course, place: usize, asked: &Asked, result: &str, problem: Problem) {
    let (method, path) = named(asked);
    let answered = course.inside.refuse(method, &path, problem);
    instead(course, place, asked, result, answered);
}

/// Puts a problem in the place of an answer. It is short, and no answer of others has to make room for it.
fn instead(course: &mut Course, place: usize, asked: &Asked, result: &str, answered: Answered) {
    course.count(result);
    course.put(place, write(&asked.id, &Method::GET, "/", answered).json);
}

/// The answer to the batch.
fn whole(course: Course) -> Reply {
    let mut headers = vec![
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    let (answers, cookies) = course.into_parts();
    headers.extend(cookies.into_lines().map(|cookie| (header::SET_COOKIE, cookie)));
    let mut json = Vec::with_capacity(answers.iter().map(|answer| answer.len() + 1).sum::<usize>() + 32);
    json.extend_from_slice(b"{\"responses\":[");
    for (place, answer) in answers.into_iter().enumerate() {
        json.extend_from_slice(if place == 0 { b"" } else { b"," });
        json.extend_from_slice(&answer);
    }
    json.extend_from_slice(b"]}");
    Reply { status: StatusCode::OK, headers, body: json.into() }
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

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::compose::batch::BatchConfig;
    use crate::handler::Inside;
    use crate::observe::Metrics;

    /// Answers each at once with so many bytes, and refuses as it must.
    struct Answering(usize);

    impl Inside for Answering {
        fn ask(&self, inner: Inner) -> Pin<Box<dyn Future<Output = Came> + Send>> {
            let (body, charge) = (vec![b'x'; self.0], inner.budget.charge());
            assert!(charge.add(self.0));
            let answered = Answered { status: StatusCode::OK, headers: HeaderMap::new(), body, charge: Some(charge) };
            Box::pin(async { Came::Whole(answered) })
        }

        fn most_fields(&self) -> usize {
            100
        }

        fn refuse(&self, _: Option<Method>, _: &str, problem: Problem) -> Answered {
            problem.render(None).into()
        }
    }

    fn asked(count: usize, url: &str) -> Vec<Asked> {
        let one = |id: usize| Asked { id: id.to_string().into(), method: "GET".into(), url: url.into(), headers: Vec::new(), body: None };
        (0..count).map(one).collect()
    }

    /// A batch, how it runs, and where long answers are written.
    fn batch(size: usize, count: usize) -> (Batch, Course, Arc<Offload>) {
        let offload = Arc::new(Offload::single());
        let batch = Batch::build(&BatchConfig::default(), "batch", &offload).unwrap();
        let shard = Metrics::new(1).unwrap().shards()[0].clone();
        let course = Course::new(Arc::new(Answering(size)), count, batch.answers, "id", &batch.route, shard);
        (batch, course, offload)
    }

    /// Keeps the thread for long answers busy until it is dropped.
    async fn occupied(offload: &Arc<Offload>) -> mpsc::Sender<()> {
        let (offload, (end, ended)) = (offload.clone(), mpsc::channel());
        tokio::spawn(async move { offload.run(move || ended.recv().is_err()).await.is_ok() });
        yield_now().await;
        end
    }

    #[tokio::test]
    async fn an_answer_that_takes_too_long_to_write_is_late_and_the_others_are_not() {
        let (batch, mut course, offload) = batch(Offload::LARGE, 3);
        let end = occupied(&offload).await;
        let all: Vec<_> = ["/a", "no path", "/a"].into_iter().flat_map(|url| asked(1, url)).collect();
        let over = Instant::now() + Duration::from_millis(500);
        batch.run(&mut course, &all, &HeaderMap::new(), over, std::future::pending()).await.unwrap();
        assert!(Instant::now() >= over + GRACE);
        assert_eq!((course.is_under_way(0), course.is_done(1), course.is_under_way(2)), (true, true, true));
        give_up(&mut course, &all).await;
        let text = String::from_utf8(whole(course).body.to_vec()).unwrap();
        assert_eq!(["504", "400"].map(|status| text.matches(&format!("\"status\":{status},\"headers\"")).count()), [2, 1], "{text}");
        drop(end);
    }

    #[tokio::test]
    async fn a_client_that_leaves_while_an_answer_is_written_is_not_kept_waiting_for() {
        let (batch, mut course, offload) = batch(Offload::LARGE, 1);
        let end = occupied(&offload).await;
        let over = Instant::now() + Duration::from_secs(60);
        let left = async {
            // By then its answer was there.
            for _ in 0..10 {
                yield_now().await;
            }
            Problem::new(Kind::Internal, "it has left").into()
        };
        assert!(batch.run(&mut course, &asked(1, "/a"), &HeaderMap::new(), over, left).await.is_err());
        assert_eq!((course.is_under_way(0), course.asked(0)), (true, Default::default()), "it was being written");
        drop(end);
    }

    #[tokio::test]
    async fn a_large_batch_lets_others_have_their_turn() {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = turns.clone();
        tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        let (batch, mut course, _offload) = batch(1, 800);
        let all = asked(800, "no path");
        let over = Instant::now() + Duration::from_secs(60);
        batch.run(&mut course, &all, &HeaderMap::new(), over, std::future::pending()).await.unwrap();
        assert!(turns.load(Ordering::Relaxed) >= 800 / TURN - 1, "{turns:?}");
        assert!((0..800).all(|place| course.is_done(place)));
    }

    #[tokio::test]
    async fn what_the_answers_hold_is_given_back_and_counted_once() {
        let (batch, mut course, _offload) = batch(1000, 100);
        let all = asked(100, "/a");
        let over = Instant::now() + Duration::from_secs(60);
        batch.run(&mut course, &all, &HeaderMap::new(), over, std::future::pending()).await.unwrap();
        let (budget, rest) = (course.budget.clone(), course.budget.charge());
        // One is as long as another but for the digits of its id.
        let answered = Answered { status: StatusCode::OK, headers: HeaderMap::new(), body: vec![b'x'; 1000], charge: None };
        let held = 100 * write(b"10", &Method::GET, "/a", answered).json.len() - 10;
        assert!(rest.add(batch.answers - held) && !rest.add(1));
        drop((rest, whole(course)));
        assert!(budget.charge().add(batch.answers));
    }
}
