use std::borrow::Cow;
use std::fmt::Write as _;

use http::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pingora_http::RequestHeader;
use serde_json::Value;

use super::query;
use crate::building::{BuildError, did_you_mean};
use crate::ctx::Ctx;
use crate::types::{Piece, pieces};

/// Text with values of the request in it: `user-{id}`, `{consumer.name}`, `{header.X-Tenant}`. `{{` and `}}` stand for braces.
///
/// | variable | value |
/// |---|---|
/// | `{name}` | the path parameter of that name, percent-encoded as in the path |
/// | `{client.ip}` | the client's address |
/// | `{request.id}` `{request.method}` `{request.scheme}` | of the request |
/// | `{request.path}` | the normalised path that was matched, percent-encoded |
/// | `{request.host}` | the host that the client asked for, lower case, without port |
/// | `{header.NAME}` `{query.NAME}` | of the request; the first, where there are several |
/// | `{consumer.name}` | who calls |
/// | `{consumer.groups}` | the groups of who calls, joined by commas, as a list in a header is (RFC 9110 §5.6.1) |
/// | `{consumer.labels.NAME}` | what the config says of who calls |
/// | `{client_cert.subject}` `{client_cert.common_name}` `{client_cert.fingerprint}` | of the certificate that the client has shown over TLS: the subject as RFC 4514 writes it, its common name, the SHA-256 in hex |
/// | `{client_cert.names}` | its alternative names: hosts, URIs and e-mail addresses, joined by spaces |
/// | `{claims.NAME}` | of the verified token; `.` goes deeper. The items of a list are joined by spaces |
/// | `{version}` | the API version that was chosen |
///
/// A header that is not UTF-8 counts as missing. So does a claim that is empty or has white space around it, and a list with an item that is empty or has
/// white space in it: behind us it could not be told from another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(Box<str>),
    Param(Box<str>),
    ClientIp,
    RequestId,
    Method,
    Path,
    Host,
    Scheme,
    Header(HeaderName),
    Query(Box<str>),
    Consumer,
    Groups,
    Label(Box<str>),
    Claim(Box<[Box<str>]>),
    Version,
    Subject,
    CommonName,
    Fingerprint,
    Names,
}

/// What a template may use besides the fixed variables.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// The path parameters that every path of the route has.
    pub params: &'a [Box<str>],
    /// Only path parameters: for paths, where other values could change what the path means.
    pub only_params: bool,
}

const FIXED: &[&str] = &[
    "client.ip",
    "request.id",
    "request.method",
    "request.path",
    "request.host",
    "request.scheme",
    "consumer.name",
    "consumer.groups",
    "version",
    "client_cert.subject",
    "client_cert.common_name",
    "client_cert.fingerprint",
    "client_cert.names",
];

impl Template {
    /// Parses the text and resolves its variables.
    ///
    /// # Errors
    /// A brace without its partner, or a variable that is not known.
    pub fn parse(text: &str, variables: Variables<'_>) -> Result<Self, BuildError> {
        let parts = pieces(text)?.into_iter().map(|piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text.into())),
            Piece::Variable(name) => variable(name, variables),
        });
        let mut parts = parts.collect::<Result<Vec<_>, _>>()?;
        if parts.is_empty() {
            parts.push(Part::Text(Box::default()));
        }
        Ok(Self { parts: parts.into() })
    }

    /// The same with each text between the variables changed.
    ///
    /// # Errors
    /// Those of `change`.
    pub fn map_text<E>(self, mut change: impl FnMut(&str) -> Result<String, E>) -> Result<Self, E> {
        let parts = self.parts.into_iter().map(|part| match part {
            Part::Text(text) => change(&text).map(|text| Part::Text(text.into())),
            other => Ok(other),
        });
        Ok(Self { parts: parts.collect::<Result<_, _>>()? })
    }

    /// The text with the same word for each variable: what it may come to.
    pub fn example(&self, word: &str) -> String {
        let parts = self.parts.iter().map(|part| if let Part::Text(text) = part { &**text } else { word });
        parts.collect()
    }

    /// The text, if nothing in it depends on the request.
    pub fn constant(&self) -> Option<&str> {
        match &*self.parts {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for this request; none where a value that it needs is missing.
    pub fn render<'a>(&'a self, req: &RequestHeader, cx: &'a Ctx) -> Option<Cow<'a, str>> {
        if let Some(text) = self.constant() {
            return Some(Cow::Borrowed(text));
        }
        let mut out = String::new();
        for part in &self.parts {
            part.render(&mut out, req, cx)?;
        }
        Some(Cow::Owned(out))
    }

    /// The same as part of a URL: a value that is not part of one already is percent-encoded, so that it can change nothing around it.
    pub fn render_url<'a>(&'a self, req: &RequestHeader, cx: &'a Ctx) -> Option<Cow<'a, str>> {
        if let Some(text) = self.constant() {
            return Some(Cow::Borrowed(text));
        }
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(_) | Part::Param(_) | Part::Path | Part::Host | Part::Scheme => part.render(&mut out, req, cx)?,
                other => {
                    let mut value = String::new();
                    other.render(&mut value, req, cx)?;
                    out.extend(utf8_percent_encode(&value, NOT_UNRESERVED));
                }
            }
        }
        Some(Cow::Owned(out))
    }
}

/// All but RFC 3986 §2.3.
pub const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The names of the variables in a template; none of one that is wrong.
pub fn variables(text: &str) -> Vec<&str> {
    let pieces = pieces(text).unwrap_or_default();
    pieces.iter().filter_map(|piece| if let Piece::Variable(name) = piece { Some(*name) } else { None }).collect()
}

fn variable(name: &str, variables: Variables<'_>) -> Result<Part, BuildError> {
    let name = name.strip_suffix("...").unwrap_or(name);
    if variables.params.iter().any(|param| **param == *name) {
        return Ok(Part::Param(name.into()));
    }
    let part = match name {
        "client.ip" => Part::ClientIp,
        "request.id" => Part::RequestId,
        "request.method" => Part::Method,
        "request.path" => Part::Path,
        "request.host" => Part::Host,
        "request.scheme" => Part::Scheme,
        "consumer.name" => Part::Consumer,
        "consumer.groups" => Part::Groups,
        "version" => Part::Version,
        "client_cert.subject" => Part::Subject,
        "client_cert.common_name" => Part::CommonName,
        "client_cert.fingerprint" => Part::Fingerprint,
        "client_cert.names" => Part::Names,
        _ => match name.split_once('.') {
            Some(("consumer", rest)) => match rest.strip_prefix("labels.") {
                Some(label) if !label.is_empty() => Part::Label(label.into()),
                _ => return Err(unknown(name, variables)),
            },
            Some(("header", header)) if !header.is_empty() => Part::Header(HeaderName::try_from(header).map_err(|_| {
                BuildError::new(
                    format!("`{header}` is not a header name, so `{{{name}}}` never has a value"),
                    "use letters, digits and `-`",
                )
            })?),
            Some(("query", query)) if !query.is_empty() => Part::Query(query.into()),
            Some(("claims", claim)) if !claim.is_empty() => Part::Claim(claim.split('.').map(Box::from).collect()),
            _ => return Err(unknown(name, variables)),
        },
    };
    if variables.only_params { Err(unknown(name, variables)) } else { Ok(part) }
}

fn unknown(name: &str, variables: Variables<'_>) -> BuildError {
    let fixed = if variables.only_params { &[] } else { FIXED };
    let known = || variables.params.iter().map(|param| &**param).chain(fixed.iter().copied());
    let fix = match did_you_mean(name, known()) {
        Some(near) => format!("did you mean `{{{near}}}`?"),
        None if variables.only_params && variables.params.is_empty() => "the route's path has no parameters to use here".to_owned(),
        None => format!("known here: {}", known().collect::<Vec<_>>().join(", ")),
    };
    BuildError::new(format!("`{{{name}}}` is not a known variable"), fix)
}

impl Part {
    fn render(&self, out: &mut String, req: &RequestHeader, cx: &Ctx) -> Option<()> {
        match self {
            Part::Text(text) => out.push_str(text),
            Part::Param(name) => out.push_str(cx.param(name)?),
            Part::ClientIp => write!(out, "{}", cx.client).ok()?,
            Part::RequestId => out.push_str(cx.request_id()),
            Part::Method => out.push_str(req.method.as_str()),
            Part::Path => out.push_str(&cx.path),
            Part::Host => out.push_str(&cx.host),
            Part::Scheme => out.push_str(cx.scheme),
            Part::Header(name) => out.push_str(std::str::from_utf8(req.headers.get(name)?.as_bytes()).ok()?),
            Part::Query(name) => out.push_str(&query(req.uri.query()?, name)?),
            Part::Consumer => out.push_str(&cx.consumer.as_ref()?.name),
            Part::Groups => {
                out.push_str(&cx.consumer.as_ref().map(|consumer| consumer.groups.join(",")).filter(|groups| !groups.is_empty())?)
            }
            Part::Label(name) => out.push_str(cx.consumer.as_ref()?.labels.get(&**name)?),
            Part::Claim(path) => claim(path.iter().try_fold(&**cx.claims.as_ref()?, |value, key| value.get(&**key))?, out)?,
            Part::Version => out.push_str(cx.version.as_deref()?),
            Part::Subject => out.push_str(&cx.client_cert.as_ref()?.subject),
            Part::CommonName => out.push_str(cx.client_cert.as_ref()?.common_name.as_deref()?),
            Part::Fingerprint => out.push_str(&cx.client_cert.as_ref()?.fingerprint),
            Part::Names => out.push_str(&cx.client_cert.as_ref().map(|cert| cert.names.join(" ")).filter(|names| !names.is_empty())?),
        }
        Some(())
    }
}

fn claim(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::Null => return None,
        Value::String(text) if text.is_empty() || text.trim() != text => return None,
        Value::String(text) => out.push_str(text),
        Value::Array(items) if items.is_empty() => return None,
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                let start = out.len();
                claim(item, out)?;
                if out.get(start..)?.contains(char::is_whitespace) {
                    return None;
                }
            }
        }
        other => write!(out, "{other}").ok()?,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::Consumer;
    use crate::ctx::testing;

    fn parse(text: &str) -> Result<Template, BuildError> {
        Template::parse(text, Variables { params: &["id".into()], only_params: false })
    }

    fn render(text: &str) -> Option<String> {
        let mut req = RequestHeader::build("GET", b"/users/42?page=a%20b", None).unwrap();
        req.insert_header("X-Tenant", "acme").unwrap();
        let mut cx = testing::ctx("/users/42", &[("id", 7..9)]);
        cx.claims = Some(std::sync::Arc::new(serde_json::json!({"sub": "ann", "roles": ["a", "b"], "org": {"id": 7}})));
        let (groups, labels) = (vec!["gold".to_owned(), "eu".to_owned()], [("tenant".to_owned(), "acme".to_owned())].into());
        cx.consumer = Some(std::sync::Arc::new(Consumer { name: "app".to_owned(), groups, labels, ..Consumer::default() }));
        parse(text).unwrap().render(&req, &cx).map(Cow::into_owned)
    }

    #[test]
    fn values_of_the_request_are_put_in_place() {
        assert_eq!(
            render("{id} {client.ip} {request.method} {header.x-tenant} {query.page} {claims.sub} {claims.roles} {claims.org.id}")
                .as_deref(),
            Some("42 192.0.2.1 GET acme a b ann a b 7")
        );
        assert_eq!(render("{consumer.name} {consumer.groups} {consumer.labels.tenant}").as_deref(), Some("app gold,eu acme"));
        assert_eq!(render("{consumer.labels.none}"), None);
        assert!(parse("{consumer.label.tenant}").is_err() && parse("{consumer.labels.}").is_err());
    }

    #[test]
    fn a_claim_that_could_be_taken_for_another_counts_as_missing() {
        let render = |claim: Value| {
            let mut cx = testing::ctx("/", &[]);
            cx.claims = Some(std::sync::Arc::new(serde_json::json!({ "x": claim })));
            let req = RequestHeader::build("GET", b"/", None).unwrap();
            parse("{claims.x}").unwrap().render(&req, &cx).map(Cow::into_owned)
        };
        for claim in [
            serde_json::json!(" alice "),
            "".into(),
            "a\n".into(),
            serde_json::json!(["a", "admin b"]),
            serde_json::json!(["a", ""]),
            serde_json::json!([]),
        ] {
            assert_eq!(render(claim.clone()), None, "{claim}");
        }
        assert_eq!(render("José Ñ".into()).as_deref(), Some("José Ñ"));
    }

    #[test]
    fn a_header_in_utf_8_has_a_value_and_another_has_none() {
        let mut req = RequestHeader::build("GET", b"/", None).unwrap();
        req.insert_header("x-a", &b"Jos\xc3\xa9"[..]).unwrap();
        req.insert_header("x-b", &b"Jos\xe9"[..]).unwrap();
        let cx = testing::ctx("/", &[]);
        assert_eq!(parse("{header.X-A}").unwrap().render(&req, &cx).as_deref(), Some("José"));
        assert_eq!(parse("{header.X-B}").unwrap().render(&req, &cx), None);
        assert_eq!(parse("{header.X Tenant}").unwrap_err().fix, "use letters, digits and `-`");
    }

    #[test]
    fn a_value_in_a_url_changes_nothing_around_it() {
        let mut req = RequestHeader::build("GET", b"/?q=%5Cevil%09%2F..%3Fa", None).unwrap();
        req.insert_header("x-a", "a b").unwrap();
        let cx = testing::ctx("/users/4%202", &[("id", 7..12)]);
        let url = parse("/{query.q}/{header.X-A}/{id}{request.path}").unwrap().render_url(&req, &cx).map(Cow::into_owned);
        assert_eq!(url.as_deref(), Some("/%5Cevil%09%2F..%3Fa/a%20b/4%202/users/4%202"));
    }

    #[test]
    fn the_variables_of_a_template_are_found() {
        assert_eq!(variables("a{x}b{{y}}{claims.z}"), ["x", "claims.z"]);
    }

    #[test]
    fn double_braces_stand_for_themselves() {
        assert_eq!(render("{{id}}").as_deref(), Some("{id}"));
    }

    #[test]
    fn a_missing_value_gives_no_text_rather_than_half_of_one() {
        assert_eq!(render("tenant-{header.missing}"), None);
        assert_eq!(render("{version}"), None);
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_known() {
        assert_eq!(parse("{client.ipp}").unwrap_err().fix, "did you mean `{client.ip}`?");
        assert!(parse("{id").is_err());
        assert!(parse("id}").is_err());
    }
}
