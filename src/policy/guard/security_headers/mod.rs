//! Tells browsers to be careful with an answer, and takes out what tells attackers too much.
//!
//! ```yaml
//! policies:
//!   - security_headers                                      # the defaults
//!   - security_headers: { frames: same_origin, content_security_policy: "default-src 'self'", permissions_policy: off }
//! ```
//!
//! Every answer gets the headers, the gateway's own too. What the service says itself stands, unless `overwrite` is set; if it says who may show it
//! in a frame in one of the two headers for that, neither is added. That browsers come over TLS only is said by `hsts`.

mod config;
mod csp;

pub use config::{Config, ContentTypeOptions, EmbedderPolicy, Frames, OpenerPolicy, ReferrerPolicy, ResourcePolicy};

use http::{HeaderName, HeaderValue, header};
use pingora_http::{RequestHeader, ResponseHeader};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::transform::{editable, set_response};
use crate::policy::{Phases, Policy, PolicyCx};

/// `security_headers`, ready to run.
#[derive(Debug)]
pub struct SecurityHeaders {
    /// Those that stand for themselves.
    plain: Box<[(&'static str, HeaderValue)]>,
    /// The whole `Content-Security-Policy`, frames too.
    policy: Option<HeaderValue>,
    /// The same without what `frames` adds, for answers that say that otherwise.
    bare_policy: Option<HeaderValue>,
    frame_options: Option<HeaderValue>,
    remove: Box<[HeaderName]>,
    overwrite: bool,
}

const CONTENT_SECURITY_POLICY: &str = "Content-Security-Policy";
const FRAME_OPTIONS: &str = "X-Frame-Options";

impl Policy for SecurityHeaders {
    type Config = Config;

    const PHASES: Phases = Phases::RESPONSE;

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let permissions = permissions(&config.permissions_policy).map_err(|error| error.at("permissions_policy"));
        let permissions = cx.mistakes.keep(&[], permissions).flatten();
        let plain = [
            ("X-Content-Type-Options", config.content_type_options.word()),
            ("Referrer-Policy", config.referrer_policy.word()),
            ("Cross-Origin-Opener-Policy", config.cross_origin_opener_policy.word()),
            ("Cross-Origin-Resource-Policy", config.cross_origin_resource_policy.word()),
            ("Cross-Origin-Embedder-Policy", config.cross_origin_embedder_policy.word()),
        ];
        let plain = plain.into_iter().filter_map(|(name, word)| Some((name, HeaderValue::from_static(word?))));
        let plain = plain.chain(permissions.map(|value| ("Permissions-Policy", value))).collect();
        let own = Some(config.content_security_policy.as_str()).filter(|text| *text != "off");
        let checked = own.map(csp::check).transpose().and_then(|_| own.map(value).transpose());
        let bare_policy = cx.mistakes.keep(&["content_security_policy".into()], checked).flatten();
        let frames = cx.mistakes.keep(&["frames".into()], ancestors(&config.frames)).flatten();
        let policy = match (own, frames) {
            (Some(own), Some(_)) if csp::says_frames(own) => bare_policy.clone(),
            (Some(own), Some(frames)) => value(&format!("{}; {frames}", own.trim_end_matches([';', ' ']))).ok(),
            (None, Some(frames)) => value(&frames).ok(),
            (_, None) => bare_policy.clone(),
        };
        let frame_options = match config.frames {
            // What the policy says has the last word in browsers, and is no word of `frames`.
            _ if own.is_some_and(csp::says_frames) => None,
            Frames::Deny => Some(HeaderValue::from_static("DENY")),
            Frames::SameOrigin => Some(HeaderValue::from_static("SAMEORIGIN")),
            Frames::Origins(_) | Frames::Off => None,
        };
        let remove =
            config.remove.iter().enumerate().filter_map(|(place, name)| cx.mistakes.keep(&["remove".into(), place.into()], editable(name)));
        Ok(Self { plain, policy, bare_policy, frame_options, remove: remove.collect(), overwrite: config.overwrite })
    }

    fn response(&self, res: &mut ResponseHeader, _req: &RequestHeader, _cx: &mut Ctx) {
        for name in &self.remove {
            res.remove_header(name);
        }
        for (name, value) in &self.plain {
            self.say(res, name, value);
        }
        let says = |text: &HeaderValue| text.to_str().is_ok_and(csp::says_frames);
        let framed =
            res.headers.contains_key(header::X_FRAME_OPTIONS) || res.headers.get_all(header::CONTENT_SECURITY_POLICY).iter().any(says);
        // Either header would undo what the service says in the other one.
        let (policy, options) = match framed && !self.overwrite {
            true => (&self.bare_policy, &None),
            false => (&self.policy, &self.frame_options),
        };
        if let Some(policy) = policy {
            self.say(res, CONTENT_SECURITY_POLICY, policy);
        }
        match options {
            Some(options) => self.say(res, FRAME_OPTIONS, options),
            None if self.overwrite && self.policy.is_some() => drop(res.remove_header(&header::X_FRAME_OPTIONS)),
            None => {}
        }
    }
}

impl SecurityHeaders {
    fn say(&self, res: &mut ResponseHeader, name: &'static str, value: &HeaderValue) {
        if self.overwrite || !res.headers.contains_key(name) {
            set_response(res, name, value.clone());
        }
    }
}

/// Who may show the page in a frame, as a directive; none where that is not said.
fn ancestors(frames: &Frames) -> Result<Option<String>, BuildError> {
    Ok(match frames {
        Frames::Deny => Some("frame-ancestors 'none'".to_owned()),
        Frames::SameOrigin => Some("frame-ancestors 'self'".to_owned()),
        Frames::Origins(origins) if origins.is_empty() => {
            return Err(BuildError::new("no origin is listed", "list those that may show the page, or write `deny`"));
        }
        Frames::Origins(origins) => {
            for (place, origin) in origins.iter().enumerate() {
                let is_one =
                    origin == "'self'" || origin.split_once("://").is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty());
                if !is_one || origin.contains([' ', ';', ',']) || value(origin).is_err() {
                    let fix = "write scheme and host, like `https://portal.example.com` or `https://*.example.com`, or `'self'`";
                    return Err(BuildError::new(format!("`{origin}` is no origin"), fix).at(place));
                }
            }
            Some(format!("frame-ancestors {}", origins.join(" ")))
        }
        Frames::Off => None,
    })
}

/// A `Permissions-Policy` is a dictionary (Permissions Policy §5.2); browsers pass over one of the older form without a word.
fn permissions(text: &str) -> Result<Option<HeaderValue>, BuildError> {
    if text == "off" {
        return Ok(None);
    }
    let is_feature = |member: &str| {
        let (name, allowed) = member.split_once('=').unwrap_or_default();
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        named && (allowed == "*" || allowed == "self" || (allowed.starts_with('(') && allowed.ends_with(')')))
    };
    match text.split(',').map(str::trim).find(|member| !is_feature(member)) {
        Some(member) => {
            let fix = "write features and who may use them, like `camera=(), geolocation=(self \"https://maps.example.com\")`, or `off`";
            Err(BuildError::new(format!("`{member}` is no permission"), fix))
        }
        None => value(text).map(Some),
    }
}

fn value(text: &str) -> Result<HeaderValue, BuildError> {
    HeaderValue::from_str(text)
        .map_err(|_| BuildError::new(format!("`{text}` is no header value"), "use visible ASCII characters, in one line"))
}

#[cfg(test)]
mod tests;
