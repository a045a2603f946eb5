use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use super::etag;
use super::freshness::Freshness;
use super::outcome::{Calls, Missing, Outcome};
use super::part::Part;
use super::plan::{Composition, Timing};
use super::text::Facts;
use crate::body::json::{Out, Value};
use crate::observe::PartTold;
use crate::problem::{Kind, Problem};
use crate::types::Reply;

/// How it stands with each part of an answer that lacks one.
const PARTS: HeaderName = HeaderName::from_static("tidegate-parts");

static SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

impl Composition {
    /// The answer, once every part is settled and no required one is missing.
    pub(super) fn whole(&self, facts: Facts<'_>, times: &[Duration]) -> Result<Reply, Problem> {
        let bodies: Vec<Option<Value<'_>>> = facts.outcomes.iter().map(Outcome::body).collect();
        let expected: usize = bodies.iter().flatten().map(|body| body.raw().len()).sum();
        let mut out = Out::new(self.most, expected + 32 * self.parts.len());
        self.assembly.write(&bodies, &|template| template.render(facts.req, facts.cx).map(|text| text.into_owned().into()), &mut out);
        let mut status = StatusCode::OK;
        let mut body = out.finish().map_err(|long| {
            let problem = Problem::new(Kind::BadGateway, "the answer is longer than it may be").cause(long);
            problem.header(PARTS, self.standing(facts.outcomes)).header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        })?;
        let mut headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        if facts.outcomes.iter().any(Outcome::lacks) {
            headers.push((header::CACHE_CONTROL, HeaderValue::from_static("no-store")));
            headers.push((PARTS, self.standing(facts.outcomes)));
        } else {
            let all = facts.outcomes.iter().filter_map(|outcome| if let Outcome::Got(got) = outcome { got.freshness } else { None });
            // What sets cookies is for one client too (RFC 9111 §7.3).
            let of_one = self.personal || facts.outcomes.iter().any(|outcome| outcome.cookies().next().is_some());
            headers.extend(all.reduce(Freshness::and).unwrap_or_default().of_one(of_one).headers(&self.reads));
            if matches!(facts.req.method, Method::GET | Method::HEAD) {
                let tag = etag::tag(&body);
                if etag::has(&facts.req.headers, &tag) {
                    (status, body) = (StatusCode::NOT_MODIFIED, Vec::new());
                    headers.retain(|(name, _)| *name != header::CONTENT_TYPE);
                }
                headers.push((header::ETAG, tag));
            }
        }
        headers.extend(facts.outcomes.iter().flat_map(Outcome::cookies).map(|cookie| (header::SET_COOKIE, cookie.clone())));
        headers.extend(self.timing(facts.outcomes, times));
        Ok(Reply { status, headers, body: body.into() })
    }

    /// What is answered where a required part is missing.
    pub(super) fn refusal(
        &self,
        part: &Part,
        missing: &mut Missing,
        standing: HeaderValue,
        timing: Option<(HeaderName, HeaderValue)>,
    ) -> Result<Reply, Problem> {
        let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(mut reply) = missing.pass.take() {
            reply.headers.extend([no_store, (PARTS, standing)].into_iter().chain(timing));
            return Ok(*reply);
        }
        let of = missing.item.map(|item| format!(", asked for element {item},")).unwrap_or_default();
        let problem = Problem::new(missing.kind, format!("the part `{}`{of} {}", part.name, missing.detail));
        let problem =
            problem.member("part", &*part.name).member("step", missing.step).header(PARTS, standing).header(no_store.0, no_store.1);
        let problem = match missing.status {
            Some(status) => problem.member("part_status", status.as_u16()),
            None => problem,
        };
        let problem = match missing.item {
            Some(item) => problem.member("item", item),
            None => problem,
        };
        let seconds = missing.retry_after.filter(|_| missing.kind == Kind::Unavailable);
        let problem = match seconds.map(|left| left.as_secs() + u64::from(left.subsec_nanos() > 0)) {
            Some(seconds) => problem.header(header::RETRY_AFTER, HeaderValue::from(seconds)),
            None => problem,
        };
        Err(match timing {
            Some((name, value)) => problem.header(name, value),
            None => problem,
        })
    }

    /// How it stands with each part, as a list (RFC 9651 §3.1).
    pub(super) fn standing(&self, outcomes: &[Outcome]) -> HeaderValue {
        let mut text = String::new();
        for (part, outcome) in self.parts.iter().zip(outcomes) {
            let _ = write!(text, "{}{}", if text.is_empty() { "" } else { ", " }, part.name);
            if let Some(status) = outcome.status() {
                let _ = write!(text, ";received-status={}", status.as_u16());
            }
            let error = match outcome {
                Outcome::Missing(missing) => missing.error,
                Outcome::Got(_) => Some(outcome.word()).filter(|_| outcome.lacks()),
                Outcome::Pending | Outcome::Running => Some(outcome.word()),
                Outcome::Skipped => None,
            };
            if let Some(error) = error {
                let _ = write!(text, ";error={error}");
            }
            match outcome.calls() {
                Some(Calls { of, missing: 0 }) => drop(write!(text, ";of={of}")),
                Some(Calls { of, missing }) => drop(write!(text, ";missing={missing};of={of}")),
                None => {}
            }
            if matches!(outcome, Outcome::Skipped) {
                text.push_str(";skipped");
            }
            if outcome.is_kept() {
                text.push_str(";hit");
            }
        }
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// How long each part took (Server Timing §2), where the client is to know.
    pub(super) fn timing(&self, outcomes: &[Outcome], times: &[Duration]) -> Option<(HeaderName, HeaderValue)> {
        if self.timing == Timing::Logged {
            return None;
        }
        let mut text = String::new();
        for ((part, outcome), time) in self.parts.iter().zip(outcomes).zip(times) {
            if !matches!(outcome, Outcome::Pending | Outcome::Skipped) {
                let _ = write!(text, "{}{};dur={:.1}", if text.is_empty() { "" } else { ", " }, part.name, time.as_secs_f64() * 1000.0);
                text.push_str(if outcome.is_kept() { ";desc=hit" } else { "" });
            }
        }
        Some((SERVER_TIMING.clone(), HeaderValue::try_from(text).ok()?))
    }

    /// The same for the log.
    pub(super) fn told(&self, outcomes: &[Outcome], times: &[Duration]) -> Vec<PartTold> {
        let all = self.parts.iter().zip(outcomes).zip(times);
        let told = all.map(|((part, outcome), time)| PartTold {
            name: part.name.clone(),
            status: outcome.status().map(|status| status.as_u16()),
            result: outcome.word(),
            calls: outcome.calls().map(|calls| calls.of),
            missing: outcome.calls().map(|calls| calls.missing).filter(|missing| *missing > 0),
            cache: outcome.is_kept().then_some("hit"),
            duration_ms: (time.as_secs_f64() * 1e6).round() / 1e3,
        });
        told.collect()
    }
}
