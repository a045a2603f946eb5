//! A part that asks once for each element of an array.

use std::time::Instant;

use super::ask::Ask;
use super::course::Course;
use super::each::{Each, Fan, Large};
use super::fetch::Fetch;
use super::outcome::{Got, Missing, Outcome};
use super::part::{Make, Part};
use super::plan::Composition;
use super::run::{Of, Terms, time};
use crate::body::json;
use crate::handler::Conversation;
use crate::problem::Kind;

impl Composition {
    /// Finds the elements of a part.
    ///
    /// # Errors
    /// There is no array, or it has too many.
    pub(super) fn open(&self, part: &Part, ask: &Ask, each: &Each, course: &Course) -> Result<Fan, Missing> {
        let array = course.outcomes.get(each.over.part).and_then(|outcome| outcome.value(&each.over));
        let Some(array) = array.filter(|value| value.kind() == json::Kind::Array) else {
            let detail = "was not asked: there is no array where its elements should be";
            return Err(Missing::new(Kind::BadGateway, "asking", "value_missing", detail));
        };
        let count = array.items().take(each.most.saturating_add(1)).count();
        if count > each.most {
            let detail = "was not asked: there are more elements than it may ask for";
            return Err(Missing::new(Kind::BadGateway, "asking", "too_many_items", detail));
        }
        let full = self.full(part, ask);
        let time = time(full, course.ends)?;
        Ok(Fan::new(count, full, Instant::now() + time.within))
    }

    /// A next element to ask for, of any part.
    pub(super) fn next_item(&self, talk: &impl Conversation, course: &mut Course) -> Option<(Of, Result<Fetch, Missing>)> {
        for (place, part) in self.parts.iter().enumerate() {
            let (Make::Each(ask, each), Some(Some(fan))) = (&part.make, course.fans.get_mut(place)) else { continue };
            let Some(item) = fan.next(each) else { continue };
            let (time, most) = (time(fan.full, fan.ends.min(course.ends)), part.most.saturating_sub(fan.held));
            let of = Of { part: place, item: Some(item) };
            let ready = time.and_then(|time| self.prepare(of, ask, Terms { time, most }, talk, course));
            return Some((of, ready));
        }
        None
    }

    /// Takes in what has become of the call for an element.
    pub(super) fn settle_item(&self, place: usize, item: usize, judged: Result<Got, Missing>, course: &mut Course) {
        let Some(part) = self.parts.get(place) else { return };
        let Some(Some(fan)) = course.fans.get_mut(place) else { return };
        let kept = judged.and_then(|got| {
            fan.held = fan.held.saturating_add(got.body.text().len());
            match fan.held <= part.most {
                true => Ok(got),
                false => Err(Missing::new(Kind::BadGateway, "reading", "http_response_body_size", "is larger than it may be")),
            }
        });
        let kept = match kept {
            // It is the same for all: they have one bound together.
            Err(missing) if missing.error == Some("http_response_body_size") => Err(missing),
            Err(missing) if part.is_required() => Err(Missing { item: Some(item), ..missing }),
            Err(_) => Ok(None),
            Ok(got) => course.hold(got.body.text().len()).map(|()| Some(got)),
        };
        match (kept, course.fans.get_mut(place)) {
            (Err(missing), _) => course.settle(place, Outcome::of(Err(missing))),
            (Ok(kept), Some(Some(fan))) => {
                fan.settle(item, kept);
                self.close(place, course);
            }
            (Ok(_), _) => {}
        }
    }

    /// Puts the answers of all elements together, if they have come.
    pub(super) fn close(&self, place: usize, course: &mut Course) {
        let Some(fan) = course.fans.get_mut(place).and_then(|fan| fan.take_if(|fan| fan.is_whole())) else { return };
        course.calls.forget(place);
        if fan.is_large() {
            course.large.push((place, Large::Join(Box::new(fan))));
        } else {
            course.settle(place, Outcome::of(fan.close()));
        }
    }
}
