//! Makes answers shorter for clients that can read them so: with Zstandard, Brotli or gzip.
//!
//! ```yaml
//! policies:
//!   - compress                                               # the defaults
//!   - compress: { with: [br, gzip], from: 4KiB, types: [application/json, "text/*"] }
//! ```
//!
//! This holds for every answer: forwarded ones, which go on piece by piece, composed ones, and the gateway's own. What the client likes best
//! (`Accept-Encoding`, RFC 9110 §12.5.3) is taken, and of what it likes equally the first of `with`. `Vary: Accept-Encoding` is said
//! wherever it might have been done. Left as they are: what the service has encoded already, parts of an answer (206), what says `no-transform`, gRPC,
//! and answers to HTTP/1.0. A client that refuses what is not encoded (`identity;q=0`) gets the rest encoded, whatever its type and length.
//!
//! An answer under way takes 0.3 MiB (gzip), 1.2 MiB (zstd) or 2 MiB (br) meanwhile.
//!
//! An `ETag` becomes weak, since the same content goes out in several forms: `If-None-Match` works as before, `If-Match` asks for a strong one (RFC 9110
//! §8.8.3.2, §13.1.1), so leave it off where clients send that. And where one answer has secrets beside text that others choose: its length tells of them.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version, header};
use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::{Phases, Policy, PolicyCx};
use crate::types::{Coding, Recoding, Reply, Size};

/// The settings of `compress`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// With what, the best first. Default: `[zstd, br, gzip]`.
    pub with: Vec<Coding>,
    /// What is shorter is left as it is, where its length is known. Default: 1KiB.
    pub from: Size,
    /// The types of content that become shorter: `application/json`, `text/*`, or `*+json` for all that end so. Default: text, JSON, XML, JavaScript, YAML and
    /// WebAssembly.
    pub types: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        let types = [
            "text/*",
            "*+json",
            "*+xml",
            "application/json",
            "application/x-ndjson",
            "application/xml",
            "application/javascript",
            "application/yaml",
            "application/wasm",
        ];
        Self { with: vec![Coding::Zstd, Coding::Br, Coding::Gzip], from: Size::kib(1), types: types.map(str::to_owned).into() }
    }
}

/// `compress`, ready to run.
#[derive(Debug)]
pub struct Compress {
    with: Box<[Coding]>,
    from: u64,
    types: Box<[Kind]>,
}

/// Some types of content.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// This one.
    One(Box<str>),
    /// All that start so.
    Start(Box<str>),
    /// All that end so.
    End(Box<str>),
}

/// What a client can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    /// What it likes best of what there is.
    coding: Option<Coding>,
    /// Whether it refuses what is not encoded.
    insists: bool,
}

impl Policy for Compress {
    type Config = Config;

    const PHASES: Phases = Phases::RESPONSE;

    fn build(config: &Config, _cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        if config.with.is_empty() {
            return Err(BuildError::new("there is nothing to do it with", "name `zstd`, `br` or `gzip`").at("with"));
        }
        for (place, coding) in config.with.iter().enumerate() {
            if config.with.iter().take(place).any(|before| before == coding) {
                return Err(BuildError::new(format!("`{}` stands here twice", coding.name()), "remove one").at(place).at("with"));
            }
        }
        if config.types.is_empty() {
            return Err(BuildError::new("no answer is of these types", "name one, like `application/json`").at("types"));
        }
        let types = config.types.iter().enumerate().map(|(place, text)| Kind::parse(text).map_err(|error| error.at(place).at("types")));
        Ok(Self { with: config.with.clone().into(), from: config.from.0, types: types.collect::<Result<_, _>>()? })
    }

    fn response(&self, res: &mut ResponseHeader, req: &RequestHeader, cx: &mut Ctx) {
        // A 304 tells of an answer that it does not show, and would be kept beside it: it gets the same tag (RFC 9111 §4.3.4).
        let told = res.status == StatusCode::NOT_MODIFIED;
        let never = res.status.is_informational() || res.status == StatusCode::PARTIAL_CONTENT || Reply::has_no_body(res.status) && !told;
        let encoded = res.headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
        if never || encoded || keeps_form(&req.headers) || keeps_form(&res.headers) {
            return;
        }
        let Wish { coding, insists } = self.wish(&req.headers);
        if !told && !self.takes(&res.headers, insists) {
            return;
        }
        if !varies(&res.headers) {
            let _ = res.append_header(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        let Some(coding) = coding.filter(|_| req.version != Version::HTTP_10) else { return };
        weaken(res);
        if told {
            return;
        }
        cx.recoding = Some(Recoding { coding, length: length(&res.headers) });
        for name in ABOUT_BYTES {
            res.remove_header(&name);
        }
        super::set_response(res, header::CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
}

/// What is said of the bytes that would have gone out.
const ABOUT_BYTES: [HeaderName; 6] = [
    header::CONTENT_LENGTH,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

impl Compress {
    /// Whether an answer of this type and length becomes shorter.
    fn takes(&self, headers: &HeaderMap, insists: bool) -> bool {
        let text = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let essence = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        // Without a type there may be no content either.
        if essence.is_empty() || essence.starts_with("application/grpc") {
            return false;
        }
        let length = length(headers);
        let worth = length.is_none_or(|length| length >= self.from) && self.types.iter().any(|kind| kind.has(&essence));
        worth || insists && length != Some(0)
    }

    /// What the client can read, by the weights that it gives (RFC 9110 §12.4.2, §12.5.3).
    fn wish(&self, headers: &HeaderMap) -> Wish {
        let mut any = None;
        let mut own = None;
        let mut known = [None; 3];
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        for member in lines.flat_map(|line| line.split(',')) {
            let (name, weight) = member.split_once(';').unwrap_or((member, ""));
            let (name, Some(weight)) = (name.trim(), weight_of(weight)) else { continue };
            let place = self.with.iter().position(|coding| coding.is_named(name));
            match place.and_then(|place| known.get_mut(place)) {
                Some(known) => *known = Some(weight),
                None if name == "*" => any = Some(weight),
                None if name.eq_ignore_ascii_case("identity") => own = Some(weight),
                None => {}
            }
        }
        let mut best = (0, None);
        for (coding, weight) in self.with.iter().zip(known) {
            let weight = weight.or(any).unwrap_or(0);
            if weight > best.0 {
                best = (weight, Some(*coding));
            }
        }
        let coding = best.1.filter(|_| own.is_none_or(|own| own <= best.0));
        Wish { coding, insists: coding.is_some() && own.or(any) == Some(0) }
    }
}

/// Bytes of the body, where that is said.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A weight in thousandths: 1000 where there is none; none where it cannot be read.
fn weight_of(parameter: &str) -> Option<u16> {
    let parameter = parameter.trim();
    if parameter.is_empty() {
        return Some(1000);
    }
    let (name, value) = parameter.split_once('=')?;
    let (whole, part) = value.trim().split_once('.').unwrap_or((value.trim(), ""));
    let is_weight = name.trim().eq_ignore_ascii_case("q") && part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = format!("{part:0<3}").parse::<u16>().ok().filter(|_| is_weight)?;
    match (whole, thousandths) {
        ("0", _) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// Whether nobody on the way may change the form of the content (RFC 9111 §5.2.1.6, §5.2.2.6).
fn keeps_form(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CACHE_CONTROL).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|directive| directive.trim().eq_ignore_ascii_case("no-transform"))
}

fn varies(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).any(|name| name == "*" || name.eq_ignore_ascii_case("accept-encoding"))
}

/// Makes the tag of an answer weak (RFC 9110 §8.8.1): other bytes, the same content.
fn weaken(res: &mut ResponseHeader) {
    let Some(tag) = res.headers.get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")) else { return };
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat()) {
        super::set_response(res, header::ETAG, weak);
    }
}

impl Kind {
    fn parse(text: &str) -> Result<Self, BuildError> {
        let wrong = || {
            let reason = format!("`{text}` is no type of content");
            BuildError::new(reason, "write one like `application/json`, `text/*` or `*+json`")
        };
        let text = text.to_ascii_lowercase();
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte));
        if let Some(end) = text.strip_prefix("*+") {
            return if is_name(end) { Ok(Self::End(format!("+{end}").into())) } else { Err(wrong()) };
        }
        match text.split_once('/') {
            Some((kind, "*")) if is_name(kind) => Ok(Self::Start(format!("{kind}/").into())),
            Some((kind, name)) if is_name(kind) && is_name(name) => Ok(Self::One(text.into())),
            _ => Err(wrong()),
        }
    }

    fn has(&self, essence: &str) -> bool {
        match self {
            Self::One(one) => **one == *essence,
            Self::Start(start) => essence.starts_with(&**start),
            Self::End(end) => essence.ends_with(&**end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    /// What becomes of an answer with these headers, for a client that says this of itself: its `Content-Encoding`, and whether it varies.
    fn outcome(config: &str, request: &[(&str, &str)], status: u16, answer: &[(&'static str, &str)]) -> (Option<String>, bool) {
        let mut kit = Kit::<Compress>::of(config);
        for (name, value) in request {
            kit = kit.header(name, value);
        }
        let mut res = ResponseHeader::build(status, None).unwrap();
        for (name, value) in answer {
            res.append_header(*name, *value).unwrap();
        }
        kit.policy.response(&mut res, &kit.req, &mut kit.cx);
        let coding = res.headers.get("content-encoding").map(|coding| coding.to_str().unwrap().to_owned());
        assert_eq!(
            kit.cx.recoding.map(|recoding| recoding.coding.name()),
            coding.as_deref().filter(|_| !answer.iter().any(|(name, _)| *name == "Content-Encoding"))
        );
        (coding, res.headers.contains_key("vary"))
    }

    #[test]
    fn the_client_gets_what_it_likes_best_of_what_there_is() {
        for (accepted, coding) in [
            ("gzip", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("br;q=0.5, gzip;q=0.8", Some("gzip")),
            ("br;q=0.8,gzip ; q=0.8", Some("br")),
            ("zstd;q=0, br;q=0.001", Some("br")),
            ("*", Some("zstd")),
            ("*;q=0.5, gzip", Some("gzip")),
            ("*, zstd;q=0", Some("br")),
            ("gzip;q=0.5, identity", None),
            ("gzip;q=0.5, identity;q=0.5", Some("gzip")),
            ("identity;q=0, gzip", Some("gzip")),
            ("*;q=0", None),
            ("gzip;q=0", None),
            ("deflate", None),
            ("identity", None),
            ("", None),
            ("gzip;q=2", None),
            ("gzip;q=1.001", None),
            ("gzip;q=0.1234", None),
            ("gzip;level=9", None),
            ("gzip;q=1.000", Some("gzip")),
        ] {
            let (found, varies) = outcome("{}", &[("Accept-Encoding", accepted)], 200, &[("Content-Type", "application/json")]);
            assert_eq!((found.as_deref(), varies), (coding, true), "{accepted}");
        }
        let (found, varies) = outcome("{}", &[], 200, &[("Content-Type", "text/html; charset=utf-8")]);
        assert_eq!((found, varies), (None, true));
        let both = [("Accept-Encoding", "br;q=0.5"), ("Accept-Encoding", "gzip")];
        assert_eq!(outcome(r#"{"with":["br","gzip"]}"#, &both, 200, &[("Content-Type", "text/html")]).0.as_deref(), Some("gzip"));
        assert_eq!(
            outcome(r#"{"with":["gzip"]}"#, &[("Accept-Encoding", "zstd, *;q=0.1")], 200, &[("Content-Type", "text/css")]).0.as_deref(),
            Some("gzip")
        );
    }

    #[test]
    fn what_would_not_become_shorter_or_must_not_change_is_left_alone() {
        let json = ("Content-Type", "application/json");
        for (status, answer, coding, varies) in [
            (200, &[json][..], true, true),
            (404, &[json], true, true),
            (500, &[json], true, true),
            (204, &[json], false, false),
            (205, &[json], false, false),
            (206, &[json], false, false),
            (304, &[json], false, true),
            (200, &[json, ("Content-Length", "1024")], true, true),
            (200, &[json, ("Content-Length", "1023")], false, false),
            (200, &[("Content-Type", "image/png")], false, false),
            (200, &[("Content-Type", "image/svg+xml")], true, true),
            (200, &[("Content-Type", "text/event-stream")], true, true),
            (200, &[("Content-Type", "application/grpc+json")], false, false),
            (200, &[], false, false),
            (200, &[json, ("Content-Encoding", "br")], false, false),
            (200, &[json, ("Cache-Control", "max-age=5, No-Transform")], false, false),
        ] {
            let found = outcome("{}", &[("Accept-Encoding", "gzip")], status, answer);
            let encoded = found.0.as_deref() == Some("gzip");
            assert_eq!((encoded, found.1), (coding, varies), "{status} {answer:?}");
        }
        let asked = [("Accept-Encoding", "gzip"), ("Cache-Control", "no-transform")];
        assert_eq!(outcome("{}", &asked, 200, &[json]), (None, false));
        let insists = [("Accept-Encoding", "gzip, identity;q=0")];
        for answer in [&[json, ("Content-Length", "7")], &[("Content-Type", "image/png"), ("Content-Length", "7")]] {
            assert_eq!(outcome("{}", &insists, 200, answer), (Some("gzip".to_owned()), true), "{answer:?}");
        }
    }

    #[test]
    fn what_is_said_of_the_bytes_goes_and_the_tag_becomes_weak() {
        for (status, tag, weak) in [(200, "\"a\"", "W/\"a\""), (200, "W/\"a\"", "W/\"a\""), (304, "\"a\"", "W/\"a\"")] {
            let mut kit = Kit::<Compress>::of("{}").header("Accept-Encoding", "br");
            let mut res = ResponseHeader::build(status, None).unwrap();
            let length = if status == 200 { "5000" } else { "" };
            for (name, value) in [
                ("Content-Type", "text/plain"),
                ("ETag", tag),
                ("Accept-Ranges", "bytes"),
                ("Content-Length", length),
                ("Vary", "accept-encoding"),
            ] {
                res.append_header(name, value).unwrap();
            }
            kit.policy.response(&mut res, &kit.req, &mut kit.cx);
            assert_eq!((&res.headers["etag"], res.headers.get_all("vary").iter().count()), (&HeaderValue::from_static(weak), 1));
            assert_eq!(res.headers.contains_key("accept-ranges"), status == 304);
        }
    }

    #[test]
    fn settings_that_cannot_be_meant_are_refused() {
        for (config, path) in [
            (r#"{"with":[]}"#, "with"),
            (r#"{"with":["gzip","br","gzip"]}"#, "with[2]"),
            (r#"{"types":[]}"#, "types"),
            (r#"{"types":["text/*","*/*"]}"#, "types[1]"),
            (r#"{"types":["json"]}"#, "types[0]"),
            (r#"{"types":["text/html; charset=utf-8"]}"#, "types[0]"),
        ] {
            assert_eq!(build::<Compress>(config, "[]", &Shared::default()).unwrap_err().path.to_string(), path, "{config}");
        }
    }
}
