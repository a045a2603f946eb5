//! API versions of one route: which one a request asks for, and what an old one tells its callers (RFC 9745, RFC 8594).

mod accept;
mod config;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, Uri, header};
use pingora_http::{RequestHeader, ResponseHeader};
use time::OffsetDateTime;

pub use config::{Source, VersionConfig, VersionsConfig};

use super::path;
use crate::building::{BuildError, Errors, Step};
use crate::ctx::Ctx;
use crate::expr::{query, without};
use crate::problem::{Kind, Problem};
use crate::types::Moment;
use accept::MediaType;

/// The versions of a route, ready to choose from. Which destination belongs to which is the route's business: they share their order.
#[derive(Debug)]
pub struct Versions {
    from: Wanted,
    default: Option<usize>,
    versions: Box<[Version]>,
    names: Arc<str>,
}

#[derive(Debug)]
enum Wanted {
    Header(HeaderName),
    Query(Box<str>),
    Param(Box<str>),
    MediaType(MediaType),
}

/// What a request says about its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// It wants the version of this place.
    Known(usize),
    /// It says nothing.
    Open,
    /// It wants one that there is not, or none of those that there are.
    Unknown,
}

/// One version and what it tells its callers.
#[derive(Debug)]
pub struct Version {
    /// Its name.
    pub name: Arc<str>,
    sunset: Option<OffsetDateTime>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The successor's name, for the link that depends on the request.
    successor: Option<Arc<str>>,
}

impl Versions {
    /// Checks and prepares the versions.
    ///
    /// # Errors
    /// Names that do not exist, dates in the wrong order, a source that cannot be read; at paths below `versions`.
    pub fn build(config: &VersionsConfig, params: &[Box<str>]) -> Result<Self, Errors> {
        let mut errors = Errors::default();
        if config.versions.is_empty() {
            errors.push(BuildError::new("there is no version", "write one, like `v1: { to: users }`"));
        }
        let from = errors.keep(&["from".into()], Wanted::build(&config.from, params));
        let default = config.default.as_ref().map(|name| errors.keep(&["default".into()], config.place(name)));
        let mut versions = Vec::new();
        for (place, (name, version)) in config.versions.iter().enumerate() {
            if let Some(from) = &from {
                let earlier = config.versions.keys().take(place).map(String::as_str);
                errors.keep(&[Step::from(name.as_str())], from.can_be_asked(name, earlier));
            }
            versions.extend(errors.keep(&[Step::from(name.as_str())], Version::build(name, version, config)));
        }
        let names: Vec<&str> = config.versions.keys().map(String::as_str).collect();
        match from {
            Some(from) => {
                errors.finish(Self { from, default: default.flatten(), versions: versions.into(), names: names.join(", ").into() })
            }
            None => Err(errors),
        }
    }

    /// The place and the facts of the version that the request asks for.
    ///
    /// # Errors
    /// A problem that names the versions there are; 410 where the version has ended.
    pub fn choose(&self, req: &RequestHeader, cx: &Ctx) -> Result<(usize, &Version), Problem> {
        let choice = self.choice(req, cx);
        let index = match choice {
            Choice::Known(index) => Some(index),
            Choice::Open => self.default,
            Choice::Unknown => None,
        };
        let Some((index, version)) = index.and_then(|index| self.versions.get(index).map(|version| (index, version))) else {
            return Err(self.unknown(choice));
        };
        if version.sunset.is_some_and(|sunset| sunset <= now()) {
            let mut problem = Problem::new(Kind::Gone, format!("version `{}` has ended", version.name));
            if let Some(successor) = &version.successor {
                problem = problem.member("successor", &**successor);
            }
            problem.headers.extend(self.facts(version, req, cx));
            return Err(problem);
        }
        Ok((index, version))
    }

    /// Whether the request says which version it wants.
    pub fn asked(&self, req: &RequestHeader, cx: &Ctx) -> bool {
        self.choice(req, cx) != Choice::Open
    }

    fn unknown(&self, choice: Choice) -> Problem {
        let detail = match choice {
            Choice::Open => format!("say which version you want; there are: {}", self.names),
            _ => format!("there is no such version; there are: {}", self.names),
        };
        let kind = if matches!(self.from, Wanted::MediaType(_)) { Kind::NotAcceptable } else { Kind::UnknownVersion };
        Problem::new(kind, detail).member("versions", self.list())
    }

    fn list(&self) -> Vec<String> {
        self.versions.iter().map(|version| version.name.to_string()).collect()
    }

    fn choice(&self, req: &RequestHeader, cx: &Ctx) -> Choice {
        let named = |name: Option<&[u8]>| match name {
            None => Choice::Open,
            Some(name) => self.versions.iter().position(|version| version.name.as_bytes() == name).map_or(Choice::Unknown, Choice::Known),
        };
        match &self.from {
            Wanted::Header(name) => named(req.headers.get(name).map(HeaderValue::as_bytes)),
            Wanted::Query(name) => named(req.uri.query().and_then(|pairs| query(pairs, name)).as_deref().map(str::as_bytes)),
            Wanted::Param(name) => named(cx.param(name).map(str::as_bytes)),
            Wanted::MediaType(media) => {
                let accept = req.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
                media.choose(accept, self.versions.iter().map(|version| &*version.name), self.default)
            }
        }
    }

    /// The version at that place.
    pub fn get(&self, index: usize) -> Option<&Version> {
        self.versions.get(index)
    }

    /// The names of the headers on which the answer depends, for `Vary` (RFC 9110 §12.5.5).
    pub fn vary(&self) -> Option<HeaderName> {
        match &self.from {
            Wanted::Header(name) => Some(name.clone()),
            Wanted::MediaType(_) => Some(header::ACCEPT),
            Wanted::Query(_) | Wanted::Param(_) => None,
        }
    }

    /// The path of the same request at another version, for its link: without what nobody but the gateway should read.
    fn elsewhere(&self, version: &str, req: &RequestHeader, cx: &Ctx) -> String {
        let own = if let Wanted::Query(name) = &self.from { Some(&**name) } else { None };
        let pairs = without(req.uri.query().unwrap_or_default(), |name| cx.is_credential(name) || Some(name) == own);
        let chosen = own.map(|name| form_urlencoded::Serializer::new(String::new()).append_pair(name, version).finish());
        let pairs: Vec<&str> = [&*pairs].into_iter().chain(chosen.as_deref()).filter(|pairs| !pairs.is_empty()).collect();
        let range = match &self.from {
            Wanted::Param(name) => cx.params.names.iter().position(|known| known == name).and_then(|at| cx.params.ranges.get(at)),
            _ => None,
        };
        let mut place = match range {
            Some(range) => {
                let (start, end) = (range.start as usize, range.end as usize);
                format!("{}{version}{}", cx.path.get(..start).unwrap_or_default(), cx.path.get(end..).unwrap_or_default())
            }
            None => cx.path.to_string(),
        };
        if !pairs.is_empty() {
            place.push('?');
            place.push_str(&pairs.join("&"));
        }
        place
    }

    /// `Deprecation`, `Sunset` and `Link` of a version.
    fn facts(&self, version: &Version, req: &RequestHeader, cx: &Ctx) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let successor = version.successor.as_ref().and_then(|successor| {
            let link = format!("<{}>; rel=\"successor-version\"", self.elsewhere(successor, req, cx));
            HeaderValue::try_from(link).ok().map(|link| (header::LINK, link))
        });
        version.headers.iter().cloned().chain(successor)
    }

    /// Tells the caller how the version stands that was chosen, if one was, and what the choice depends on.
    pub fn tell(&self, version: Option<&Version>, res: &mut ResponseHeader, req: &RequestHeader, cx: &Ctx) {
        for (name, value) in version.into_iter().flat_map(|version| self.facts(version, req, cx)) {
            // RFC 9745 §2 and RFC 8594 §3: one value each, and here the gateway knows; links are a list.
            let _ = if name == header::LINK { res.append_header(name, value).map(drop) } else { res.insert_header(name, value) };
        }
        if let Some(name) = self.vary() {
            let _ = res.append_header(header::VARY, HeaderValue::from(name));
        }
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

impl Wanted {
    fn build(source: &Source, params: &[Box<str>]) -> Result<Self, BuildError> {
        match source {
            Source::Header(name) => HeaderName::try_from(name.as_str())
                .map(Wanted::Header)
                .map_err(|_| BuildError::new(format!("`{name}` is not a header name"), "write one like `X-API-Version`").at("header")),
            Source::Query(name) if name.is_empty() => {
                Err(BuildError::new("a query parameter needs a name", "write its name, like `version`").at("query"))
            }
            Source::Query(name) => Ok(Wanted::Query(name.as_str().into())),
            Source::Param(name) if params.iter().any(|param| **param == **name) => Ok(Wanted::Param(name.as_str().into())),
            Source::Param(name) => {
                let fix = format!("put `{{{name}}}` into every path of the route's `match`");
                Err(BuildError::new(format!("the route's path has no parameter `{name}`"), fix).at("param"))
            }
            Source::MediaType(pattern) => MediaType::build(pattern).map(Wanted::MediaType).map_err(|error| error.at("media_type")),
        }
    }

    /// Whether a request can say this name, and means this version by it.
    fn can_be_asked<'a>(&self, name: &str, mut earlier: impl Iterator<Item = &'a str>) -> Result<(), BuildError> {
        let can = match self {
            _ if name.is_empty() || name.trim() != name => false,
            Wanted::Header(_) => HeaderValue::from_str(name).is_ok(),
            Wanted::Query(_) => true,
            // The path is compared in its one form.
            Wanted::Param(_) => {
                let place = format!("/{name}");
                !name.contains('/') && path::normalise(&place, &path::PathOptions::default()).is_ok_and(|normal| *normal == *place)
            }
            Wanted::MediaType(_) => name.bytes().all(accept::is_name_byte),
        };
        if !can {
            return Err(BuildError::new(
                format!("no request can ask for a version `{name}`"),
                "use letters, digits, `-` and `.`, like `v1`",
            ));
        }
        if matches!(self, Wanted::MediaType(_)) && earlier.any(|other| other.eq_ignore_ascii_case(name)) {
            let reason = format!("there is a version `{name}` already: upper and lower case are the same in a media type");
            return Err(BuildError::new(reason, "give one of them another name"));
        }
        Ok(())
    }
}

impl Version {
    fn build(name: &str, config: &VersionConfig, all: &VersionsConfig) -> Result<Self, BuildError> {
        let successor = match &config.successor {
            Some(successor) if successor == name => {
                return Err(BuildError::new("a version cannot succeed itself", "name another version").at("successor"));
            }
            Some(successor) => all.place(successor).map(|_| Some(Arc::from(successor.as_str()))).map_err(|error| error.at("successor"))?,
            None => None,
        };
        if let (Some(Moment(deprecated)), Some(Moment(sunset))) = (config.deprecated, config.sunset)
            && sunset < deprecated
        {
            let fix = "let `sunset` be the same day or later (RFC 9745 §4)";
            return Err(BuildError::new("the version ends before it is deprecated", fix).at("sunset"));
        }
        let mut headers = Vec::new();
        if let Some(Moment(deprecated)) = config.deprecated {
            // RFC 9745 §2.1: a Structured Field Date.
            headers.push((HeaderName::from_static("deprecation"), value(format!("@{}", deprecated.unix_timestamp()))?));
        }
        if let Some(Moment(sunset)) = config.sunset {
            // RFC 8594 §3: an HTTP-date.
            let seconds = u64::try_from(sunset.unix_timestamp()).unwrap_or_default();
            let moment: SystemTime = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            headers.push((HeaderName::from_static("sunset"), value(httpdate::fmt_http_date(moment))?));
        }
        if let Some(docs) = &config.docs {
            if !is_link(docs) {
                let error =
                    BuildError::new(format!("`{docs}` is no URL"), "write one like `https://example.com/docs`, or a path like `/docs`");
                return Err(error.at("docs"));
            }
            if config.deprecated.is_some() {
                headers.push((header::LINK, value(format!("<{docs}>; rel=\"deprecation\"; type=\"text/html\""))?));
            }
            if config.sunset.is_some() {
                headers.push((header::LINK, value(format!("<{docs}>; rel=\"sunset\"; type=\"text/html\""))?));
            }
        }
        Ok(Self { name: name.into(), sunset: config.sunset.map(|Moment(sunset)| sunset), headers, successor })
    }
}

/// A whole URL, or a path of this host.
fn is_link(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    match uri.scheme_str() {
        Some(scheme) => matches!(scheme, "http" | "https") && uri.host().is_some_and(|host| !host.is_empty()),
        None => text.starts_with('/') && !text.starts_with("//"),
    }
}

fn value(text: String) -> Result<HeaderValue, BuildError> {
    HeaderValue::try_from(text).map_err(|_| BuildError::new("this cannot stand in a header", "use printable ASCII"))
}
