use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use pingora_http::RequestHeader;
use serde_json::Value as Json;

use super::Parts;
use super::pattern::Matcher;
use super::reference::{Caller, How, Looks, Reference, What};
use super::toll::{Left, Size, Toll};
use crate::body::json::{Kind, Value};
use crate::ctx::{self, Ctx};

/// What the places of one condition stand for in one request, each looked at when it is first asked for.
pub(super) struct Look<'a> {
    places: &'a [Reference],
    req: &'a RequestHeader,
    cx: &'a Ctx,
    parts: &'a Parts<'a>,
    seen: Vec<OnceLock<Option<Seen<'a>>>>,
    /// What may still be looked at, each for the first time.
    left: Left,
    /// What loops and regexes may still take.
    work: Arc<Left>,
}

/// What a place stands for, and how much that is where it is looked at again.
struct Seen<'a>(Box<dyn Val + 'a>, Size);

/// Values of one condition at most.
const VALUES: usize = 4096;

/// Bytes of its texts at most.
const BYTES: usize = 64 * 1024;

const ONE: Size = Size { values: 1, bytes: 0 };

impl<'a> Look<'a> {
    pub fn new(places: &'a [Reference], req: &'a RequestHeader, cx: &'a Ctx, parts: &'a Parts<'a>) -> Self {
        let seen = places.iter().map(|_| OnceLock::new()).collect();
        Self { places, req, cx, parts, seen, left: Left::new(VALUES, BYTES), work: Arc::new(Left::of_work()) }
    }

    fn see(&self, place: &'a Reference) -> Option<Seen<'a>> {
        let value = self.look(place)?;
        let size = if place.looks == Looks::Again { Size::of(&*value) } else { Size::default() };
        Some(Seen(value, size))
    }

    fn look(&self, place: &'a Reference) -> Option<Box<dyn Val + 'a>> {
        match place.how {
            How::Value => self.value(&place.what),
            How::Has => Some(Box::new(CelBool::from(self.has(&place.what)))),
            How::Size => Some(Box::new(CelInt::from(i64::try_from(self.size(&place.what)?).ok()?))),
        }
    }

    fn value(&self, what: &'a What) -> Option<Box<dyn Val + 'a>> {
        match what {
            What::Request(template) => self.text(template.render(self.req, self.cx)?),
            What::Caller(caller, path) => self.of_caller(self.find(*caller, path)?),
            What::Scopes => {
                let texts = self.scopes()?.map(|scope| self.text(scope.into()));
                Some(Box::new(CelList::from(texts.collect::<Option<Vec<_>>>()?)))
            }
            What::Body(place) => self.json(self.body(place)?),
            What::Status(part) => Some(Box::new(CelInt::from(i64::from((self.parts)(*part).status?)))),
            What::Pattern(pattern) => Some(Box::new(Matcher::new(pattern.clone(), self.work.clone()))),
            What::Loop(work) => Some(Box::new(Toll::new(*work, self.work.clone()))),
        }
    }

    fn has(&self, what: &What) -> bool {
        match what {
            What::Request(template) => template.render(self.req, self.cx).is_some(),
            What::Caller(caller, path) => self.find(*caller, path).is_some(),
            What::Scopes => self.cx.claims.is_some(),
            What::Body(place) => self.body(place).is_some(),
            What::Status(part) => (self.parts)(*part).status.is_some(),
            What::Pattern(_) | What::Loop(_) => true,
        }
    }

    fn size(&self, what: &What) -> Option<usize> {
        let text = |text: &str| Some(text.chars().count());
        match what {
            What::Request(template) => text(&template.render(self.req, self.cx)?),
            What::Scopes => Some(self.scopes()?.count()),
            What::Caller(caller, path) => match self.find(*caller, path)? {
                Json::String(said) => text(said),
                Json::Array(items) => Some(items.len()),
                Json::Object(members) => Some(members.len()),
                Json::Null | Json::Bool(_) | Json::Number(_) => None,
            },
            What::Body(place) => {
                let value = self.body(place)?;
                match value.kind() {
                    Kind::String => text(&value.text()?),
                    Kind::Array => Some(value.items().count()),
                    Kind::Object => Some(value.members().count()),
                    Kind::Null | Kind::Bool | Kind::Number => None,
                }
            }
            What::Status(_) | What::Pattern(_) | What::Loop(_) => None,
        }
    }

    fn find(&self, caller: Caller, path: &[Box<str>]) -> Option<&'a Json> {
        let facts = match caller {
            Caller::Claims => self.cx.claims.as_deref()?,
            Caller::Consumer => self.cx.consumer.as_deref()?.facts(),
        };
        path.iter().try_fold(facts, |value, name| match value {
            Json::Array(items) => items.get(name.parse::<usize>().ok()?),
            other => other.get(&**name),
        })
    }

    fn scopes(&self) -> Option<impl Iterator<Item = &'a str>> {
        let claims = self.cx.claims.as_deref()?;
        Some(ctx::scopes(|name| claims.get(name)))
    }

    fn body(&self, place: &crate::body::json::Place) -> Option<Value<'a>> {
        let body = (self.parts)(place.part).body?;
        if let Some(path) = &place.path { body.find(path) } else { Some(body) }
    }

    fn text(&self, text: Cow<'a, str>) -> Option<Box<dyn Val + 'a>> {
        self.left.take(Size { values: 0, bytes: text.len() })?;
        Some(Box::new(CelString::from(text)))
    }

    fn json(&self, value: Value<'a>) -> Option<Box<dyn Val + 'a>> {
        self.left.take(ONE)?;
        Some(match value.kind() {
            Kind::Null => Box::new(CelNull),
            Kind::Bool => Box::new(CelBool::from(value.raw() == b"true")),
            Kind::Number => number(std::str::from_utf8(value.raw()).ok()?)?,
            Kind::String => self.text(value.text()?)?,
            Kind::Array => {
                let items = value.items().map(|item| self.json(item)).collect::<Option<Vec<_>>>()?;
                Box::new(CelList::from(items))
            }
            Kind::Object => {
                let member = |(name, value): (crate::body::json::Text<'a>, Value<'a>)| {
                    let name = name.decoded()?;
                    self.left.take(Size { values: 0, bytes: name.len() })?;
                    Some((CelMapKey::String(CelString::from(name)), self.json(value)?))
                };
                Box::new(CelMap::from(value.members().map(member).collect::<Option<HashMap<_, _>>>()?))
            }
        })
    }

    fn of_caller(&self, value: &'a Json) -> Option<Box<dyn Val + 'a>> {
        self.left.take(ONE)?;
        Some(match value {
            Json::Null => Box::new(CelNull),
            Json::Bool(is) => Box::new(CelBool::from(*is)),
            Json::Number(said) => number(&said.to_string())?,
            Json::String(text) => self.text(text.as_str().into())?,
            Json::Array(items) => Box::new(CelList::from(items.iter().map(|item| self.of_caller(item)).collect::<Option<Vec<_>>>()?)),
            Json::Object(members) => {
                let member = |(name, value): (&'a String, &'a Json)| {
                    self.left.take(Size { values: 0, bytes: name.len() })?;
                    Some((CelMapKey::from(name.as_str()), self.of_caller(value)?))
                };
                Box::new(CelMap::from(members.iter().map(member).collect::<Option<HashMap<_, _>>>()?))
            }
        })
    }
}

/// A number: whole ones that fit as such, others as the nearest that there is.
fn number<'v>(text: &str) -> Option<Box<dyn Val + 'v>> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(Box::new(CelInt::from(whole)));
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(Box::new(CelUInt::from(whole)));
    }
    let near: f64 = text.parse().ok()?;
    near.is_finite().then(|| Box::new(CelDouble::from(near)) as Box<dyn Val + 'v>)
}

impl VariableResolver for Look<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let place = name.strip_prefix('@')?.parse::<usize>().ok()?;
        let reference = self.places.get(place)?;
        let Seen(value, size) = self.seen.get(place)?.get_or_init(|| self.see(reference)).as_ref()?;
        if reference.looks == Looks::Again {
            self.work.take(*size)?;
        }
        Some(CowVal::Borrowed(&**value))
    }
}
