use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_http::RequestHeader;
use serde_json::Value;

use super::config::PartConfig;
use super::cookies::Cookies;
use super::outcome::Missing;
use super::target::Target;
use super::text::{Facts, Scope, Text};
use crate::body::json::{self, Filling, Out, Place};
use crate::building::{BuildError, Errors, Step};
use crate::expr::Template;
use crate::problem::Kind;
use crate::types::{FRAMING, Piece, pieces};
use crate::upstream::{Backend, Service};

/// One part, ready to be asked.
#[derive(Debug)]
pub(super) struct Part {
    pub name: Arc<str>,
    pub method: Method,
    pub target: Target,
    headers: Box<[(HeaderName, Text)]>,
    body: Option<json::Template<Variable>>,
    pub need: Need,
    pub timeout: Option<Duration>,
    /// Bytes of the answer's body at most.
    pub most: usize,
    /// The parts that have to be there before.
    pub needs: Box<[usize]>,
    pub twins: Twins,
    /// How long its answers are kept at most.
    pub cache: Option<Duration>,
    pub cookies: Cookies,
}

/// Whether a part may ask for just what another asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twins {
    /// No other asks this service with GET.
    None,
    /// Another does.
    Possible,
}

/// Finds a service by its name; none is given for one that is wrong in itself, which is told elsewhere.
pub type Find<'f> = dyn FnMut(&str) -> Result<Option<Arc<Service>>, BuildError> + 'f;

/// What it means that a part is missing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// There is no answer without it; with these statuses its own goes to the client.
    Required(Box<[StatusCode]>),
    /// The answer is given without it.
    Optional,
}

/// What a variable in a body stands for.
#[derive(Debug)]
enum Variable {
    Part(Place),
    Request(Template),
}

/// The call that a part is.
pub(super) struct Request {
    pub head: RequestHeader,
    pub body: Vec<Bytes>,
}

/// The longest body of a call.
const BODY: usize = 1024 * 1024;

impl PartConfig {
    /// The methods that it names, each with its key and its target.
    pub fn named(&self) -> impl Iterator<Item = (Method, &'static str, &str)> {
        let all = [
            (Method::GET, "get", &self.get),
            (Method::POST, "post", &self.post),
            (Method::PUT, "put", &self.put),
            (Method::PATCH, "patch", &self.patch),
            (Method::DELETE, "delete", &self.delete),
        ];
        all.into_iter().filter_map(|(method, key, target)| Some((method, key, target.as_deref()?)))
    }

    /// All that is written with variables in it.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.named().map(|(_, _, target)| target).chain(self.headers.values().map(String::as_str)).collect();
        self.body.iter().for_each(|body| strings(body, &mut texts));
        texts
    }
}

impl Part {
    /// Prepares a part. None where something was wrong, or its service is, which is noted already.
    pub fn build(name: &str, config: &PartConfig, scope: Scope<'_>, find: &mut Find<'_>, errors: &mut Errors) -> Option<Self> {
        let mut keep = |steps: &[Step], error: BuildError| errors.keep::<()>(steps, Err(error));
        let mut named = config.named();
        let Some((method, key, text)) = named.next() else {
            keep(&[], BuildError::new("the part asks nobody", "write `get: \"<service>:/<path>\"`, or another method"));
            return None;
        };
        if let Some((_, second, _)) = named.next() {
            let reason = format!("a part asks once, and this one has `{key}` and `{second}`");
            keep(&[second.into()], BuildError::new(reason, "remove one of them, or make it another part"));
        }
        let at = [Step::from(key)];
        let target = Target::split(text).and_then(|(to, path)| {
            let Some(service) = find(to)? else { return Ok(None) };
            Target::build(service, path, scope).map(Some)
        });
        let target = target.unwrap_or_else(|error| {
            keep(&at, error);
            None
        });
        let mut headers = Vec::new();
        for (name, text) in &config.headers {
            let built = header_name(name).and_then(|known| {
                if headers.iter().any(|(before, _)| *before == known) {
                    return Err(BuildError::new(format!("`{known}` stands here twice, in other letters"), "remove one of them"));
                }
                let text = Text::parse(text, scope)?;
                match HeaderValue::try_from(text.example("x")) {
                    Ok(_) => Ok((known, text)),
                    Err(_) => Err(BuildError::new("this cannot stand in a header", "leave control characters out")),
                }
            });
            match built {
                Ok(built) => headers.push(built),
                Err(error) => {
                    keep(&["headers".into(), name.as_str().into()], error);
                }
            }
        }
        let mut resolve = |name: &str| match Place::parse(name, scope.parts) {
            Some(place) => place.map(Variable::Part),
            None => scope.request(name).map(Variable::Request),
        };
        let body = match &config.body {
            Some(_) if matches!(method, Method::GET | Method::DELETE) => {
                keep(&["body".into()], BuildError::new(format!("a {method} has no body"), "remove it, or ask with `post`"));
                None
            }
            Some(body) => match json::Template::build(body, &mut resolve) {
                Ok(body) => Some(body),
                Err(error) => {
                    keep(&["body".into()], error);
                    None
                }
            },
            None => None,
        };
        if config.size.0 == 0 {
            keep(&["size".into()], BuildError::new("no answer is as short as that", "write a size like `1MiB`"));
        }
        if let Some(Err(error)) = config.timeout.map(crate::types::Duration::not_zero) {
            keep(&["timeout".into()], error);
        }
        let cookies = match cookies(config) {
            Ok(cookies) => cookies,
            Err(error) => {
                keep(&["set_cookie".into()], error);
                Cookies::None
            }
        };
        if let Err(error) = cache(config, &method) {
            keep(&["cache".into()], error);
        }
        let need = match need(config) {
            Ok(need) => need,
            Err(error) => {
                keep(&["pass".into()], error);
                Need::Optional
            }
        };
        let target = target?;
        let of_body = body.iter().flat_map(json::Template::places);
        let of_body = of_body.filter_map(|place| if let Variable::Part(place) = place { Some(place.part) } else { None });
        let mut needs: Vec<_> = target.needs().chain(headers.iter().flat_map(|(_, text)| text.needs())).chain(of_body).collect();
        needs.sort_unstable();
        needs.dedup();
        Some(Self {
            name: name.into(),
            method,
            target,
            headers: headers.into(),
            body,
            need,
            timeout: config.timeout.map(Into::into),
            most: config.size.bytes(),
            needs: needs.into(),
            twins: Twins::None,
            cache: config.cache.map(Into::into),
            cookies,
        })
    }

    /// Whether there is no answer without it.
    pub fn is_required(&self) -> bool {
        matches!(self.need, Need::Required(_))
    }

    /// The statuses with which its own answer goes to the client.
    pub fn pass(&self) -> &[StatusCode] {
        if let Need::Required(pass) = &self.need { pass } else { &[] }
    }

    /// The call for one request, which tells the service what stands in `told`, and how long it has.
    pub fn request(&self, told: &HeaderMap, facts: Facts<'_>, within: Duration) -> Result<Request, Missing> {
        let lacks = || match self.target.lacks_part(facts) {
            true => Missing::new(Kind::BadGateway, "asking", "value_missing", "was not asked: another part lacks a value that it needs"),
            false => Missing::new(Kind::BadRequest, "asking", "value_missing", "was not asked: the request lacks a value that it needs"),
        };
        let target = self.target.render(facts).ok_or_else(lacks)?;
        // Pingora's own ways to put headers in would read each name anew.
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = PathAndQuery::from_maybe_shared(target).map_err(|_| lacks())?.into();
        parts.headers = told.clone();
        let headers = &mut parts.headers;
        for (name, text) in &self.headers {
            if let Some(value) = text.header(facts) {
                headers.insert(name, value);
            }
        }
        if !headers.contains_key(header::ACCEPT) {
            headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*;q=0.5"));
        }
        if let Backend::Targets(targets) = &self.target.service.backend
            && let Some(name) = &targets.deadline_header
        {
            let left = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
            headers.insert(name, HeaderValue::from(left));
        }
        let mut body = Vec::new();
        if let Some(template) = &self.body {
            let mut out = Out::new(BODY, 256);
            let fill = |variable: &Variable| match variable {
                Variable::Part(place) => facts.outcomes.get(place.part)?.value(place).map(Filling::Json),
                Variable::Request(template) => template.render(facts.req, facts.cx).map(|text| Filling::Text(text.into_owned().into())),
            };
            template.write(json::Missing::Null, &fill, &mut out);
            let too_long =
                |_| Missing::new(Kind::BadGateway, "asking", "value_missing", "was not asked: its request would be longer than 1 MiB");
            body.push(out.finish().map_err(too_long)?.into());
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        // One that has none says so where one could be expected (RFC 9110 §8.6).
        if !matches!(self.method, Method::GET | Method::DELETE) && body.is_empty() {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(0));
        }
        Ok(Request { head: parts.into(), body })
    }
}

impl Twins {
    /// Finds out which of these may ask for the same.
    pub fn mark(parts: &mut [Part]) {
        let reads: Vec<_> = parts.iter().map(|part| (part.method == Method::GET).then(|| part.target.service.clone())).collect();
        for (place, part) in parts.iter_mut().enumerate().filter(|(_, part)| part.method == Method::GET) {
            let mut others = reads.iter().enumerate().filter(|(other, _)| *other != place).filter_map(|(_, service)| service.as_ref());
            if others.any(|service| Arc::ptr_eq(service, &part.target.service)) {
                part.twins = Twins::Possible;
            }
        }
    }
}

/// The texts in a tree, but for names.
pub(super) fn strings<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::String(text) => found.push(text),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(members) => members.values().for_each(|member| strings(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cookies(config: &PartConfig) -> Result<Cookies, BuildError> {
    let cookies = Cookies::build(config.set_cookie.as_ref())?;
    if config.cache.is_some() && cookies != Cookies::None {
        return Err(BuildError::new("an answer that sets cookies is never kept", "remove it, or `cache`"));
    }
    Ok(cookies)
}

/// Whether the answers of a part may be kept.
fn cache(config: &PartConfig, method: &Method) -> Result<(), BuildError> {
    let Some(time) = config.cache else { return Ok(()) };
    if *method != Method::GET {
        return Err(BuildError::new(format!("the answer to a {method} is never kept"), "remove it, or ask with `get`"));
    }
    let each = config.texts().into_iter().flat_map(|text| pieces(text).unwrap_or_default());
    if each.into_iter().any(|piece| matches!(piece, Piece::Variable("request.id"))) {
        return Err(BuildError::new("`{request.id}` makes another call of each", "take it out of the part, or remove `cache`"));
    }
    time.not_zero()
}

fn need(config: &PartConfig) -> Result<Need, BuildError> {
    match (&config.pass, config.required) {
        (Some(_), false) => {
            Err(BuildError::new("the answer is given without this part, whatever its status", "remove it, or write `required: true`"))
        }
        (None, false) => Ok(Need::Optional),
        (None, true) => Ok(Need::Required([StatusCode::NOT_FOUND].into())),
        (Some(pass), true) => {
            let status = |status: &u16| match StatusCode::from_u16(*status) {
                Ok(known) if known.is_client_error() => Ok(known),
                _ => Err(BuildError::new(
                    format!("{status} is no status that tells a client of its mistake"),
                    "write statuses from 400 to 499",
                )),
            };
            Ok(Need::Required(pass.iter().map(status).collect::<Result<_, _>>()?))
        }
    }
}

fn header_name(name: &str) -> Result<HeaderName, BuildError> {
    const OWN: [HeaderName; 6] =
        [header::HOST, header::EXPECT, header::ACCEPT_ENCODING, header::CONTENT_TYPE, header::FORWARDED, header::VIA];
    let known = HeaderName::try_from(name);
    let known = known.map_err(|_| BuildError::new(format!("`{name}` is not a header name"), "use letters, digits and `-`"))?;
    if FRAMING.contains(&known) || OWN.contains(&known) || known.as_str().starts_with("x-forwarded-") {
        return Err(BuildError::new(format!("`{name}` is written by the gateway itself"), "remove it"));
    }
    Ok(known)
}
