use std::borrow::Cow;

use http::{HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, percent_encode, utf8_percent_encode};
use pingora_http::RequestHeader;

use super::outcome::Outcome;
use crate::body::json::{Path, Place, Value};
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::expr::{NOT_UNRESERVED, Template, Variables};
use crate::types::{Piece, pieces};

/// What variables may stand for.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// The names of all parts.
    pub parts: &'a [&'a str],
    /// The path parameters of the route.
    pub params: &'a [Box<str>],
    /// Whether `{item}` stands for anything.
    pub items: Items,
}

/// Whether a part asks once for each element of an array.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Items {
    /// It does: `{item}` is the element.
    Each,
    /// It does not.
    None,
}

/// What they do stand for.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub req: &'a RequestHeader,
    pub cx: &'a Ctx,
    pub outcomes: &'a [Outcome],
    /// The element that is asked for, where it is one.
    pub item: Option<Value<'a>>,
}

/// Text with values of the request and of other parts in it.
#[derive(Debug)]
pub(super) struct Text(Box<[Bit]>);

#[derive(Debug)]
enum Bit {
    Fixed(Box<str>),
    Param(Box<str>),
    Request(Template),
    Part(Place),
    Item(Option<Path>),
}

/// Where a text goes, which says how values are put into it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Into a path: path parameters stay as they are, the others become part of one segment.
    Path,
    /// Into a query.
    Query,
    /// Into a header: as it is.
    Header,
}

impl<'a> Scope<'a> {
    /// A variable that is about the request.
    pub fn request(&self, name: &str) -> Result<Template, BuildError> {
        let stands_for = |name: &str| self.params.iter().any(|param| **param == *name);
        if (name == "item" || name.starts_with("item.")) && !stands_for(name) {
            let reason = format!("`{{{name}}}` is an element of an array, and there is none here");
            return Err(BuildError::new(reason, "use it in the target, headers or body of a part with `each`"));
        }
        Template::parse(&format!("{{{name}}}"), Variables { params: self.params, only_params: false })
    }

    /// A variable that is about the element that is asked for: where in it its value is.
    pub fn item(&self, name: &str) -> Option<Result<Option<Path>, BuildError>> {
        let rest = name.strip_prefix("item").filter(|_| self.items == Items::Each)?;
        match rest {
            "" => Some(Ok(None)),
            path => Some(Path::parse(path.strip_prefix('.')?).map(Some)),
        }
    }

    fn bit(&self, name: &str) -> Result<Bit, BuildError> {
        if let Some(path) = self.item(name) {
            return path.map(Bit::Item);
        }
        if let Some(place) = Place::parse(name, self.parts) {
            return place.map(Bit::Part);
        }
        let bare = name.strip_suffix("...").unwrap_or(name);
        if self.params.iter().any(|param| **param == *bare) {
            return Ok(Bit::Param(bare.into()));
        }
        self.request(name).map(Bit::Request)
    }
}

impl Text {
    /// Takes the text apart.
    ///
    /// # Errors
    /// A brace without its partner, a variable that is not known.
    pub fn parse(text: &str, scope: Scope<'_>) -> Result<Self, BuildError> {
        let bits = pieces(text)?.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Bit::Fixed(text.into())),
            Piece::Variable(name) => scope.bit(name),
        });
        Ok(Self(bits.collect::<Result<_, _>>()?))
    }

    /// The parts whose values it has, each as often as it does.
    pub fn needs(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|bit| if let Bit::Part(place) = bit { Some(place.part) } else { None })
    }

    /// The text between the values, piece by piece.
    pub fn fixed(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|bit| if let Bit::Fixed(text) = bit { Some(&**text) } else { None })
    }

    /// What stands before the first value.
    pub fn start(&self) -> &str {
        if let Some(Bit::Fixed(text)) = self.0.first() { text } else { "" }
    }

    /// The text with a word for each value: what it may come to.
    pub fn example(&self, word: &str) -> String {
        self.0.iter().map(|bit| if let Bit::Fixed(text) = bit { &**text } else { word }).collect()
    }

    /// Whether all that is put into it comes with the request.
    pub fn is_of_request(&self) -> bool {
        !self.0.iter().any(|bit| matches!(bit, Bit::Part(_) | Bit::Item(_)))
    }

    /// Whether a value of another part is missing, or empty.
    pub fn lacks_part(&self, facts: Facts<'_>) -> bool {
        self.0.iter().any(|bit| match bit {
            Bit::Part(place) => value(place, facts).is_none_or(|value| value.is_empty()),
            Bit::Item(path) => item(path.as_ref(), facts).and_then(Value::text).is_none_or(|value| value.is_empty()),
            Bit::Fixed(_) | Bit::Param(_) | Bit::Request(_) => false,
        })
    }

    /// The text of one request; none where a value is missing. In a path none may be empty but a path parameter's, which may be so in the request too.
    pub fn render(&self, form: Form, facts: Facts<'_>) -> Option<String> {
        let mut out = String::new();
        for bit in &self.0 {
            match bit {
                Bit::Fixed(text) if form == Form::Path => join(text, &mut out),
                Bit::Fixed(text) => out.push_str(text),
                Bit::Param(name) => {
                    let value = facts.cx.param(name)?;
                    match form {
                        Form::Path => join(value, &mut out),
                        Form::Header => out.push_str(value),
                        Form::Query => out.extend(percent_encode(&percent_decode_str(value).collect::<Vec<_>>(), NOT_UNRESERVED)),
                    }
                }
                Bit::Request(template) if form == Form::Path => {
                    let value = template.render_url(facts.req, facts.cx).filter(|value| !value.is_empty())?;
                    join(&utf8_percent_encode(&value, BRACKETS).to_string(), &mut out);
                }
                Bit::Request(template) => put(&template.render(facts.req, facts.cx)?, form, &mut out),
                Bit::Part(_) | Bit::Item(_) => {
                    let value = match bit {
                        Bit::Part(place) => value(place, facts)?,
                        Bit::Item(path) => item(path.as_ref(), facts)?.text()?,
                        Bit::Fixed(_) | Bit::Param(_) | Bit::Request(_) => return None,
                    };
                    if form == Form::Path && value.is_empty() {
                        return None;
                    }
                    put(&value, form, &mut out);
                }
            }
        }
        Some(out)
    }

    /// The same as the value of a header.
    pub fn header(&self, facts: Facts<'_>) -> Option<HeaderValue> {
        HeaderValue::try_from(self.render(Form::Header, facts)?).ok()
    }
}

fn value<'a>(place: &Place, facts: Facts<'a>) -> Option<Cow<'a, str>> {
    facts.outcomes.get(place.part)?.value(place)?.text()
}

/// Of what a URL may hold, a path may not: the brackets around an address (RFC 3986 §3.2.2).
const BRACKETS: &AsciiSet = &CONTROLS.add(b'[').add(b']');

/// Goes on with a path. Where two pieces meet there is one slash at most: two would make an empty segment of nothing, and at the beginning a host.
fn join(piece: &str, path: &mut String) {
    path.push_str(if path.ends_with('/') { piece.trim_start_matches('/') } else { piece });
}

/// A value of the element that is asked for.
pub(super) fn item<'a>(path: Option<&Path>, facts: Facts<'a>) -> Option<Value<'a>> {
    match path {
        Some(path) => facts.item?.find(path),
        None => facts.item,
    }
}

fn put(value: &str, form: Form, out: &mut String) {
    match form {
        Form::Header => out.push_str(value),
        Form::Path | Form::Query => out.extend(utf8_percent_encode(value, NOT_UNRESERVED)),
    }
}

/// Whether a text says who the client is: what is made of it is for that client alone.
pub(super) fn is_personal(text: &str) -> bool {
    const PERSONAL: [&str; 4] = ["client.", "consumer.", "claims.", "client_cert."];
    let is = |piece: &Piece<'_>| matches!(piece, Piece::Variable(name) if PERSONAL.iter().any(|start| name.starts_with(start)));
    pieces(text).unwrap_or_default().iter().any(is)
}

/// The request headers that variables of a text stand for: what is made of it depends on them.
pub(super) fn reads(text: &str) -> impl Iterator<Item = HeaderName> {
    let named = pieces(text).unwrap_or_default().into_iter().filter_map(|piece| match piece {
        Piece::Variable(name) => HeaderName::try_from(name.strip_prefix("header.")?).ok(),
        Piece::Text(_) => None,
    });
    named.collect::<Vec<_>>().into_iter()
}
