use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, StatusCode};

use super::ask::{Ask, header_name};
use super::config::PartConfig;
use super::cookies::Cookies;
use super::each::Each;
use super::fill::{self, Variable, strings};
use super::target::Target;
use super::text::{Items, Scope, Text};
use crate::body::json;
use crate::building::{BuildError, Errors, Step};
use crate::expr::{Condition, Names};
use crate::types::{Piece, Size, pieces};
use crate::upstream::Service;

/// One part, ready to be asked.
#[derive(Debug)]
pub(super) struct Part {
    pub name: Arc<str>,
    pub make: Make,
    pub need: Need,
    pub timeout: Option<Duration>,
    /// Bytes of the answer's body at most.
    pub most: usize,
    /// The parts without which it is not asked.
    pub needs: Box<[usize]>,
    /// Those that have to be settled before: these, and others.
    pub waits: Box<[usize]>,
    /// Whether it is asked at all.
    pub when: Option<Condition>,
    pub twins: Twins,
    /// How long its answers are kept at most.
    pub cache: Option<Duration>,
    pub cookies: Cookies,
}

/// What a part is made of.
#[derive(Debug)]
pub(super) enum Make {
    /// Nobody is asked.
    Value(json::Template<Variable>),
    /// One answer.
    Call(Ask),
    /// One answer for each element of an array.
    Each(Ask, Each),
}

/// Whether a part may ask for just what another, or it itself, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Twins {
    /// No other does.
    None,
    /// Another does, or it itself does for other elements.
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

/// The longest body of an answer, where nothing is said.
const SIZE: Size = Size::kib(1024);

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

    /// What it says of calls, key by key.
    fn of_calls(&self) -> impl Iterator<Item = &'static str> {
        let others = [
            ("each", self.each.is_some()),
            ("parallel", self.parallel.is_some()),
            ("most", self.most.is_some()),
            ("headers", !self.headers.is_empty()),
            ("body", self.body.is_some()),
            ("required", self.required),
            ("timeout", self.timeout.is_some()),
            ("size", self.size.is_some()),
            ("pass", self.pass.is_some()),
            ("cache", self.cache.is_some()),
            ("set_cookie", self.set_cookie.is_some()),
        ];
        let set = others.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key);
        self.named().map(|(_, key, _)| key).chain(set)
    }

    /// All that is written with variables in it.
    pub(super) fn texts(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.named().map(|(_, _, target)| target).chain(self.headers.values().map(String::as_str)).collect();
        self.body.iter().chain(&self.value).for_each(|tree| strings(tree, &mut texts));
        texts
    }
}

impl Part {
    /// Prepares a part. None where something was wrong, or its service is, which is noted already.
    pub fn build(name: &str, config: &PartConfig, scope: Scope<'_>, find: &mut Find<'_>, errors: &mut Errors) -> Option<Self> {
        let names = Names { params: scope.params, parts: scope.parts };
        let when = config.when.as_ref().map(|text| Condition::parse(text, names)).transpose();
        let when = errors.keep(&["when".into()], when);
        if let Some(value) = &config.value {
            return Self::value(name, config, value, when?, scope, errors);
        }
        let each = Each::build(config, scope.parts, scope.params, errors);
        let scope = Scope { items: if config.each.is_some() { Items::Each } else { Items::None }, ..scope };
        let mut keep = |steps: &[Step], error: BuildError| errors.keep::<()>(steps, Err(error));
        let mut named = config.named();
        let Some((method, key, text)) = named.next() else {
            keep(&[], BuildError::new("the part asks nobody", "write `get: \"<service>:/<path>\"`, another method, or a `value`"));
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
        let body = match &config.body {
            Some(_) if matches!(method, Method::GET | Method::DELETE) => {
                keep(&["body".into()], BuildError::new(format!("a {method} has no body"), "remove it, or ask with `post`"));
                None
            }
            Some(body) => match fill::template(body, scope) {
                Ok(body) => Some(body),
                Err(error) => {
                    keep(&["body".into()], error);
                    None
                }
            },
            None => None,
        };
        if config.size.is_some_and(|size| size.0 == 0) {
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
        if config.each.is_some() && each.is_none() {
            return None;
        }
        let (target, when) = (target?, when?);
        if config.cache.is_some() && target.service.knows_callers() {
            let error = BuildError::new("its service is told who calls, and one's answer is none for all", "remove it");
            errors.push(error.at("cache"));
        }
        let of_body = body.iter().flat_map(fill::needs);
        let of_items = each.iter().map(|each| each.over.part);
        let needs = target.needs().chain(headers.iter().flat_map(|(_, text)| text.needs())).chain(of_body).chain(of_items);
        let needs = sorted(needs.collect());
        let ask = Ask { method, target, headers: headers.into(), body };
        Some(Self {
            name: name.into(),
            make: match each {
                Some(each) => Make::Each(ask, each),
                None => Make::Call(ask),
            },
            need,
            timeout: config.timeout.map(Into::into),
            most: config.size.unwrap_or(SIZE).bytes(),
            waits: sorted(needs.iter().copied().chain(when.iter().flat_map(Condition::parts)).collect()),
            needs,
            when,
            twins: Twins::None,
            cache: config.cache.map(Into::into),
            cookies,
        })
    }

    /// Prepares a part that asks nobody.
    fn value(
        name: &str,
        config: &PartConfig,
        value: &serde_json::Value,
        when: Option<Condition>,
        scope: Scope<'_>,
        errors: &mut Errors,
    ) -> Option<Self> {
        for key in config.of_calls() {
            let error = BuildError::new("the part is a value, and asks nobody", "remove it, or `value`");
            errors.push(error.at(key));
        }
        let value = errors.keep(&["value".into()], fill::template(value, scope))?;
        Some(Self {
            name: name.into(),
            // What it lacks has no value in it, as in the template of the whole; it does not lack as a whole.
            needs: Box::default(),
            waits: sorted(fill::needs(&value).into_iter().chain(when.iter().flat_map(Condition::parts)).collect()),
            when,
            make: Make::Value(value),
            need: Need::Optional,
            timeout: None,
            most: usize::MAX,
            twins: Twins::None,
            cache: None,
            cookies: Cookies::None,
        })
    }

    /// The call that it makes, once or more often.
    pub fn ask(&self) -> Option<&Ask> {
        match &self.make {
            Make::Value(_) => None,
            Make::Call(ask) | Make::Each(ask, _) => Some(ask),
        }
    }

    /// The elements that it asks for.
    pub fn each(&self) -> Option<&Each> {
        if let Make::Each(_, each) = &self.make { Some(each) } else { None }
    }

    /// Whether there is no answer without it.
    pub fn is_required(&self) -> bool {
        matches!(self.need, Need::Required(_))
    }

    /// The statuses with which its own answer goes to the client.
    pub fn pass(&self) -> &[StatusCode] {
        if let Need::Required(pass) = &self.need { pass } else { &[] }
    }
}

/// Each once, in the order of the config.
fn sorted(mut places: Vec<usize>) -> Box<[usize]> {
    places.sort_unstable();
    places.dedup();
    places.into()
}

impl Twins {
    /// Finds out which of these may ask for the same.
    pub fn mark(parts: &mut [Part]) {
        let asks: Vec<_> = parts.iter().map(|part| part.ask().filter(|ask| ask.method == Method::GET)).collect();
        let twins = asks.iter().enumerate().map(|(place, ask)| {
            let mut others = asks.iter().enumerate().filter(|(other, _)| *other != place).filter_map(|(_, ask)| *ask);
            let is_each = parts.get(place).is_some_and(|part| part.each().is_some());
            ask.is_some_and(|ask| is_each || others.any(|other| ask.target.may_be(&other.target)))
        });
        let twins: Vec<_> = twins.collect();
        for (part, _) in parts.iter_mut().zip(twins).filter(|(_, twins)| *twins) {
            part.twins = Twins::Possible;
        }
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
        (Some(_), _) if config.each.is_some() => {
            Err(BuildError::new("the answer is made of several, and none of them can stand for the whole", "remove it"))
        }
        (None, true) if config.each.is_some() => Ok(Need::Required(Box::default())),
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
