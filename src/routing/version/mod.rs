//! API versions of one route: which one a request asks for, and what an old one tells its callers (RFC 9745, RFC 8594).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, header};
use indexmap::IndexMap;
use pingora_http::{RequestHeader, ResponseHeader};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use time::format_description::well_known::Rfc3339;
use time::{Date, OffsetDateTime, PrimitiveDateTime, Time};

use crate::building::{BuildError, Errors, Step};
use crate::ctx::Ctx;
use crate::expr::query;
use crate::problem::{Kind, Problem};

/// `versions:` of a route: `from`, `default`, and one key per version.
#[derive(Debug)]
pub struct VersionsConfig {
    /// Where a request says which version it wants.
    pub from: Source,
    /// The version of a request that does not say. Without it such a request is refused.
    pub default: Option<String>,
    /// The versions by name.
    pub versions: IndexMap<String, VersionConfig>,
}

/// One version.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VersionConfig {
    /// The service that answers it.
    pub to: String,
    /// The path at the service, with the route's path parameters. Default: the path that was matched.
    pub path: Option<String>,
    /// Since when, or from when on, it should not be used any more: a date, or a time with its zone.
    pub deprecated: Option<Moment>,
    /// When it ends; after that its callers get 410.
    pub sunset: Option<Moment>,
    /// The version to use in its place.
    pub successor: Option<String>,
    /// A page that tells how to move on.
    pub docs: Option<String>,
}

/// Where a request says which version it wants.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A header.
    Header(String),
    /// A query parameter.
    Query(String),
    /// A parameter of the route's path.
    Param(String),
    /// A media type in `Accept`, with `{version}` in the version's place: `application/vnd.acme.{version}+json`.
    MediaType(String),
}

/// A point in time: `2026-12-31` (its first second, UTC) or `2026-12-31T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, JsonSchema)]
#[schemars(with = "String", extend("pattern" = "^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ].+)?$"))]
pub struct Moment(OffsetDateTime);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let day = time::macros::format_description!("[year]-[month]-[day]");
        let date = Date::parse(&text, day).map(|date| PrimitiveDateTime::new(date, Time::MIDNIGHT).assume_utc());
        let moment = date.or_else(|_| OffsetDateTime::parse(&text, &Rfc3339));
        moment.map(Moment).map_err(|_| de::Error::custom(format!("`{text}` is not a date; write `2026-12-31` or `2026-12-31T12:00:00Z`")))
    }
}

impl JsonSchema for VersionsConfig {
    fn schema_name() -> Cow<'static, str> {
        "VersionsConfig".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`from`, `default`, and one key per version.",
            "type": "object",
            "properties": {
                "from": generator.subschema_for::<Source>(),
                "default": {"type": ["string", "null"], "description": "The version of a request that does not say. Without it such a request is refused."},
            },
            "additionalProperties": generator.subschema_for::<VersionConfig>(),
            "required": ["from"]
        })
    }
}

impl<'de> Deserialize<'de> for VersionsConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = VersionsConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping with `from`, `default` and the versions")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<VersionsConfig, A::Error> {
                let (mut from, mut default, mut versions) = (None, None, IndexMap::new());
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "from" => from = Some(map.next_value()?),
                        "default" => default = Some(map.next_value()?),
                        _ => {
                            versions.insert(key, map.next_value()?);
                        }
                    }
                }
                let from = from.ok_or_else(|| de::Error::missing_field("from"))?;
                Ok(VersionsConfig { from, default, versions })
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

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
    MediaType { before: Box<str>, after: Box<str> },
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
        for (name, version) in &config.versions {
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
        let wanted = self.wanted(req, cx);
        let index = match &wanted {
            None => self.default,
            Some(name) => self.versions.iter().position(|version| *version.name == **name),
        };
        let Some((index, version)) = index.and_then(|index| self.versions.get(index).map(|version| (index, version))) else {
            return Err(self.unknown(wanted.as_deref()));
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
        self.wanted(req, cx).is_some()
    }

    fn unknown(&self, wanted: Option<&str>) -> Problem {
        let detail = match wanted {
            Some(_) => format!("there is no such version; there are: {}", self.names),
            None => format!("say which version you want; there are: {}", self.names),
        };
        let kind = if matches!(self.from, Wanted::MediaType { .. }) { Kind::NotAcceptable } else { Kind::UnknownVersion };
        Problem::new(kind, detail).member("versions", self.list())
    }

    fn list(&self) -> Vec<String> {
        self.versions.iter().map(|version| version.name.to_string()).collect()
    }

    fn wanted(&self, req: &RequestHeader, cx: &Ctx) -> Option<String> {
        match &self.from {
            Wanted::Header(name) => req.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()),
            Wanted::Query(name) => query(req.uri.query()?, name).map(Into::into),
            Wanted::Param(name) => cx.param(name).map(str::to_owned),
            Wanted::MediaType { before, after } => {
                let accept =
                    req.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
                let named = accept.filter_map(|range| {
                    let (media, parameters) = range.split_once(';').unwrap_or((range, ""));
                    let media = media.trim().to_ascii_lowercase();
                    let version = media.strip_prefix(&**before)?.strip_suffix(&**after)?.to_owned();
                    Some((weight(parameters), version)).filter(|(weight, _)| *weight > 0)
                });
                // Of equal weight the first counts.
                named.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, version)| version)
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
            Wanted::MediaType { .. } => Some(header::ACCEPT),
            Wanted::Query(_) | Wanted::Param(_) => None,
        }
    }

    /// The path of the same request at another version, for its link.
    fn elsewhere(&self, version: &str, req: &RequestHeader, cx: &Ctx) -> String {
        let query = req.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        match &self.from {
            Wanted::Param(name) => match cx.params.names.iter().position(|known| known == name).and_then(|at| cx.params.ranges.get(at)) {
                Some(range) => {
                    let (start, end) = (range.start as usize, range.end as usize);
                    format!("{}{version}{}{query}", cx.path.get(..start).unwrap_or_default(), cx.path.get(end..).unwrap_or_default())
                }
                None => format!("{}{query}", cx.path),
            },
            Wanted::Query(name) => {
                let mut pairs = form_urlencoded::Serializer::new(String::new());
                let others = form_urlencoded::parse(req.uri.query().unwrap_or_default().as_bytes()).filter(|(key, _)| key != &**name);
                pairs.extend_pairs(others).append_pair(name, version);
                format!("{}?{}", cx.path, pairs.finish())
            }
            Wanted::Header(_) | Wanted::MediaType { .. } => format!("{}{query}", cx.path),
        }
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
            let _ = res.append_header(name, value);
        }
        if let Some(name) = self.vary() {
            let _ = res.append_header(header::VARY, HeaderValue::from(name));
        }
    }
}

/// `q` in thousandths (RFC 9110 §12.4.2); 1000 where there is none, 0 where it cannot be read.
fn weight(parameters: &str) -> u16 {
    let q = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("q="));
    q.map_or(1000, |q| q.trim().parse::<f32>().map_or(0, |q| (q.clamp(0.0, 1.0) * 1000.0) as u16))
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

impl VersionsConfig {
    fn place(&self, name: &str) -> Result<usize, BuildError> {
        let known = || self.versions.keys().map(String::as_str);
        self.versions.get_index_of(name).ok_or_else(|| BuildError::unknown("version", name, known().collect::<Vec<_>>()))
    }
}

impl Wanted {
    fn build(source: &Source, params: &[Box<str>]) -> Result<Self, BuildError> {
        match source {
            Source::Header(name) => HeaderName::try_from(name.as_str())
                .map(Wanted::Header)
                .map_err(|_| BuildError::new(format!("`{name}` is not a header name"), "write one like `X-API-Version`").at("header")),
            Source::Query(name) => Ok(Wanted::Query(name.as_str().into())),
            Source::Param(name) if params.iter().any(|param| **param == **name) => Ok(Wanted::Param(name.as_str().into())),
            Source::Param(name) => {
                let fix = format!("put `{{{name}}}` into every path of the route's `match`");
                Err(BuildError::new(format!("the route's path has no parameter `{name}`"), fix).at("param"))
            }
            Source::MediaType(pattern) => match pattern.to_ascii_lowercase().split_once("{version}") {
                Some((before, after)) => Ok(Wanted::MediaType { before: before.into(), after: after.into() }),
                None => Err(BuildError::new("the media type has no `{version}`", "write one like `application/vnd.acme.{version}+json`")
                    .at("media_type")),
            },
        }
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
            docs.parse::<http::Uri>()
                .map_err(|_| BuildError::new(format!("`{docs}` is not a URL"), "write one like `https://example.com/docs`").at("docs"))?;
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

fn value(text: String) -> Result<HeaderValue, BuildError> {
    HeaderValue::try_from(text).map_err(|_| BuildError::new("this cannot stand in a header", "use printable ASCII"))
}
