use std::borrow::Cow;

use serde_json::Value as Json;

use super::out::Out;
use super::shape::Shaped;
use super::text;
use super::value::Value;
use crate::building::BuildError;
use crate::types::{Piece, pieces};

/// A JSON value with places that are filled in for each answer. A text that is one variable and nothing else becomes the value that the variable stands
/// for; within a longer text it is inserted as text. In an array, `{parts.orders.body...}` is each item of that array in its place, and nothing where there
/// is none. `{{` and `}}` stand for braces. `H` is what a variable was resolved to.
#[derive(Debug)]
pub struct Template<H>(Node<H>);

#[derive(Debug)]
enum Node<H> {
    /// Nothing in it is to be filled in.
    Fixed(Box<[u8]>),
    Object(Box<[Named<H>]>),
    Array(Box<[Node<H>]>),
    Place(H),
    /// In an array: all items of another.
    Items(H),
    Text(Box<[Part<H>]>),
}

#[derive(Debug)]
struct Named<H> {
    /// As it is written, with its colon.
    name: Box<[u8]>,
    node: Node<H>,
}

#[derive(Debug)]
enum Part<H> {
    Text(Box<[u8]>),
    Place(H),
}

/// What a place is filled with.
#[derive(Clone)]
pub enum Filling<'a> {
    /// A body in its shape.
    Body(Shaped<'a>),
    /// A value, as it is.
    Json(Value<'a>),
    /// A text, which becomes a string.
    Text(Cow<'a, str>),
}

/// What stands where there is nothing to put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// `null`.
    #[default]
    Null,
    /// Nothing: the member or item is left out.
    Absent,
}

/// Whether something was written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Filled {
    Yes,
    No,
    /// There are no items.
    Nothing,
}

/// The deepest nesting of a template.
const DEEPEST: usize = 32;

impl<H> Template<H> {
    /// Compiles a template; `resolve` makes something of each variable.
    ///
    /// # Errors
    /// A brace without its partner, a variable in a name, too deep a nesting, and those of `resolve`.
    pub fn build(config: &Json, resolve: &mut dyn FnMut(&str) -> Result<H, BuildError>) -> Result<Self, BuildError> {
        node(config, DEEPEST, resolve).map(Self)
    }

    /// Every place that is to be filled.
    pub fn places(&self) -> Vec<&H> {
        let mut places = Vec::new();
        self.0.places(&mut places);
        places
    }

    /// Writes it. A place without a value makes the text around it missing too. The whole is never missing: it would be `null`.
    pub fn write<'a>(&'a self, missing: Missing, fill: &dyn Fn(&'a H) -> Option<Filling<'a>>, out: &mut Out) {
        if self.0.write(missing, fill, out) != Filled::Yes {
            out.put(b"null");
        }
    }
}

fn node<H>(config: &Json, deeper: usize, resolve: &mut dyn FnMut(&str) -> Result<H, BuildError>) -> Result<Node<H>, BuildError> {
    let Some(deeper) = deeper.checked_sub(1) else {
        return Err(BuildError::new(format!("the template is nested deeper than {DEEPEST}"), "write a flatter one"));
    };
    match config {
        Json::Object(members) => {
            let member = |(key, value): (&String, &Json)| {
                let name = match pieces(key).map_err(|error| error.at(key.as_str()))?.as_slice() {
                    [] => String::new(),
                    [Piece::Text(name)] => name.clone(),
                    _ => {
                        let error = BuildError::new("a name in a template cannot be filled in", "write `{{` and `}}` for braces");
                        return Err(error.at(key.as_str()));
                    }
                };
                let mut quoted = text::quoted(&name);
                quoted.push(b':');
                Ok(Named { name: quoted.into(), node: node(value, deeper, resolve).map_err(|error| error.at(key.as_str()))? })
            };
            let members = members.iter().map(member).collect::<Result<Vec<_>, _>>()?;
            fixed_or(Node::Object(members.into()))
        }
        Json::Array(items) => {
            let item = |(place, item)| match spread(item) {
                Some(name) => resolve(name).map(Node::Items).map_err(|error| error.at(place)),
                None => node(item, deeper, resolve).map_err(|error| error.at(place)),
            };
            let items = items.iter().enumerate().map(item).collect::<Result<Vec<_>, _>>()?;
            fixed_or(Node::Array(items.into()))
        }
        Json::String(written) => leaf(written, resolve),
        other => Ok(Node::Fixed(other.to_string().into_bytes().into())),
    }
}

/// The array whose items an item of a template stands for. A parameter of a path may end like that too, and is text.
fn spread(item: &Json) -> Option<&str> {
    item.as_str()?.strip_prefix('{')?.strip_suffix("...}").filter(|name| name.starts_with("parts.") && !name.contains(['{', '}']))
}

fn leaf<H>(written: &str, resolve: &mut dyn FnMut(&str) -> Result<H, BuildError>) -> Result<Node<H>, BuildError> {
    let pieces = pieces(written)?;
    match pieces.as_slice() {
        [] => Ok(Node::Fixed(b"\"\""[..].into())),
        [Piece::Text(text)] => Ok(Node::Fixed(text::quoted(text).into())),
        [Piece::Variable(name)] if name.starts_with("parts.") && name.ends_with("...") => {
            let fix = format!("write `[\"{{{name}}}\"]`, or leave the dots out for the array itself");
            Err(BuildError::new("the items of an array stand only in an array", fix))
        }
        [Piece::Variable(name)] => resolve(name).map(Node::Place),
        several => {
            let part = |piece: &Piece<'_>| match piece {
                Piece::Text(text) => {
                    let mut escaped = Vec::new();
                    text::escape(text, |bytes| escaped.extend_from_slice(bytes));
                    Ok(Part::Text(escaped.into()))
                }
                Piece::Variable(name) => resolve(name).map(Part::Place),
            };
            several.iter().map(part).collect::<Result<_, _>>().map(Node::Text)
        }
    }
}

/// What has nothing to fill in is written once and for all.
fn fixed_or<H>(node: Node<H>) -> Result<Node<H>, BuildError> {
    let mut places = Vec::new();
    node.places(&mut places);
    if !places.is_empty() {
        return Ok(node);
    }
    let mut out = Out::new(usize::MAX, 0);
    node.write(Missing::Null, &|_| None, &mut out);
    let text = out.finish().map_err(|error| BuildError::new(error.to_string(), "write a shorter template"))?;
    Ok(Node::Fixed(text.into()))
}

impl<H> Node<H> {
    fn places<'n>(&'n self, places: &mut Vec<&'n H>) {
        match self {
            Node::Fixed(_) => {}
            Node::Object(members) => members.iter().for_each(|member| member.node.places(places)),
            Node::Array(items) => items.iter().for_each(|node| node.places(places)),
            Node::Place(place) | Node::Items(place) => places.push(place),
            Node::Text(parts) => {
                places.extend(parts.iter().filter_map(|part| if let Part::Place(place) = part { Some(place) } else { None }))
            }
        }
    }

    fn write<'a>(&'a self, missing: Missing, fill: &dyn Fn(&'a H) -> Option<Filling<'a>>, out: &mut Out) -> Filled {
        match self {
            Node::Fixed(text) => out.put(text),
            Node::Object(members) => {
                let members = members.iter().map(|member| (&*member.name, &member.node));
                series(members, [b"{", b"}"], missing, fill, out);
            }
            Node::Array(items) => series(items.iter().map(|node| (&b""[..], node)), [b"[", b"]"], missing, fill, out),
            Node::Place(place) => match fill(place) {
                Some(Filling::Body(body)) => body.write(out),
                Some(Filling::Json(value)) => out.put(value.raw()),
                Some(Filling::Text(text)) => string(out, |out| out.put_text(&text)),
                None => return Filled::No,
            },
            Node::Items(place) => {
                let mark = out.mark();
                match fill(place) {
                    Some(Filling::Body(body)) => body.write(out),
                    Some(Filling::Json(value)) => out.put(value.raw()),
                    Some(Filling::Text(_)) | None => {}
                }
                return if out.open(mark) { Filled::Yes } else { Filled::Nothing };
            }
            Node::Text(parts) => {
                let mark = out.mark();
                let mut filled = Filled::Yes;
                string(out, |out| {
                    filled = if parts.iter().all(|part| part.write(fill, out) == Filled::Yes) { Filled::Yes } else { Filled::No };
                });
                if filled == Filled::No {
                    out.back_to(mark);
                }
                return filled;
            }
        }
        Filled::Yes
    }
}

fn string(out: &mut Out, inner: impl FnOnce(&mut Out)) {
    out.put(b"\"");
    inner(out);
    out.put(b"\"");
}

fn series<'a, H: 'a>(
    entries: impl Iterator<Item = (&'a [u8], &'a Node<H>)>,
    [open, close]: [&[u8]; 2],
    missing: Missing,
    fill: &dyn Fn(&'a H) -> Option<Filling<'a>>,
    out: &mut Out,
) {
    out.put(open);
    let mut comma: &[u8] = b"";
    for (name, node) in entries {
        let mark = out.mark();
        out.put(comma);
        out.put(name);
        match (node.write(missing, fill, out), missing) {
            (Filled::Yes, _) => {}
            (Filled::No, Missing::Null) => out.put(b"null"),
            (Filled::No, Missing::Absent) | (Filled::Nothing, _) => {
                out.back_to(mark);
                continue;
            }
        }
        comma = b",";
    }
    out.put(close);
}

impl<H> Part<H> {
    fn write<'a>(&'a self, fill: &dyn Fn(&'a H) -> Option<Filling<'a>>, out: &mut Out) -> Filled {
        let place = match self {
            Part::Text(text) => {
                out.put(text);
                return Filled::Yes;
            }
            Part::Place(place) => place,
        };
        let text = match fill(place) {
            Some(Filling::Text(text)) => Some(text),
            Some(Filling::Json(value)) => value.text(),
            Some(Filling::Body(body)) => body.text(),
            None => None,
        };
        let Some(text) = text else { return Filled::No };
        out.put_text(&text);
        Filled::Yes
    }
}
