use std::borrow::Cow;
use std::fmt::Write as _;

use pingora_http::RequestHeader;
use serde_json::Value;

use crate::building::{BuildError, did_you_mean};
use crate::ctx::Ctx;

/// Text with values of the request in it: `user-{id}`, `{consumer.name}`, `{header.X-Tenant}`. `{{` and `}}` stand for braces.
///
/// | variable | value |
/// |---|---|
/// | `{name}` | the path parameter of that name, percent-encoded as in the path |
/// | `{client.ip}` | the client's address |
/// | `{request.id}` `{request.method}` `{request.path}` `{request.host}` `{request.scheme}` | of the request as it came |
/// | `{header.NAME}` `{query.NAME}` | of the request; the first, where there are several |
/// | `{consumer.name}` | who calls |
/// | `{claims.NAME}` | of the verified token; `.` goes deeper |
/// | `{version}` | the API version that was chosen |
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
    Header(Box<str>),
    Query(Box<str>),
    Consumer,
    Claim(Box<[Box<str>]>),
    Version,
}

/// What a template may use besides the fixed variables.
#[derive(Clone, Copy, Debug)]
pub struct Variables<'a> {
    /// The path parameters that every path of the route has.
    pub params: &'a [Box<str>],
    /// Only path parameters: for paths, where other values could change what the path means.
    pub only_params: bool,
}

const FIXED: &[&str] =
    &["client.ip", "request.id", "request.method", "request.path", "request.host", "request.scheme", "consumer.name", "version"];

impl Template {
    /// Parses the text and resolves its variables.
    ///
    /// # Errors
    /// A brace without its partner, or a variable that is not known.
    pub fn parse(text: &str, variables: Variables<'_>) -> Result<Self, BuildError> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            literal.push_str(before);
            if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
                literal.push_str(from.get(..1).unwrap_or_default());
                rest = after;
                continue;
            }
            let Some((name, after)) = from.strip_prefix('{').and_then(|inner| inner.split_once('}')) else {
                return Err(BuildError::new(format!("`{text}` has a brace without its partner"), "write `{{` or `}}` for a brace itself"));
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal).into()));
            }
            parts.push(variable(name, variables)?);
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() || parts.is_empty() {
            parts.push(Part::Text(literal.into()));
        }
        Ok(Self { parts: parts.into() })
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
        "version" => Part::Version,
        _ => match name.split_once('.') {
            Some(("header", header)) if !header.is_empty() => Part::Header(header.into()),
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
            Part::Header(name) => out.push_str(req.headers.get(&**name)?.to_str().ok()?),
            Part::Query(name) => out.push_str(&query(req.uri.query()?, name)?),
            Part::Consumer => out.push_str(&cx.consumer.as_ref()?.name),
            Part::Claim(path) => claim(path.iter().try_fold(&**cx.claims.as_ref()?, |value, key| value.get(&**key))?, out)?,
            Part::Version => out.push_str(cx.version.as_deref()?),
        }
        Some(())
    }
}

fn claim(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::Null => return None,
        Value::String(text) => out.push_str(text),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                claim(item, out)?;
            }
        }
        other => write!(out, "{other}").ok()?,
    }
    Some(())
}

/// The first value of a query parameter, decoded (`+` is a space, WHATWG URL §5.1).
pub fn query<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::testing;

    fn parse(text: &str) -> Result<Template, BuildError> {
        Template::parse(text, Variables { params: &["id".into()], only_params: false })
    }

    fn render(text: &str) -> Option<String> {
        let mut req = RequestHeader::build("GET", b"/users/42?page=a%20b", None).unwrap();
        req.insert_header("X-Tenant", "acme").unwrap();
        let mut cx = testing::ctx("/users/42", &[("id", 7..9)]);
        cx.claims = Some(std::sync::Arc::new(serde_json::json!({"sub": "ann", "roles": ["a", "b"], "org": {"id": 7}})));
        parse(text).unwrap().render(&req, &cx).map(Cow::into_owned)
    }

    #[test]
    fn values_of_the_request_are_put_in_place() {
        assert_eq!(
            render("{id} {client.ip} {request.method} {header.x-tenant} {query.page} {claims.sub} {claims.roles} {claims.org.id}")
                .as_deref(),
            Some("42 192.0.2.1 GET acme a b ann a b 7")
        );
    }

    #[test]
    fn double_braces_stand_for_themselves() {
        assert_eq!(render("{{id}}").as_deref(), Some("{id}"));
    }

    #[test]
    fn a_missing_value_gives_no_text_rather_than_half_of_one() {
        assert_eq!(render("tenant-{header.missing}"), None);
        assert_eq!(render("{consumer.name}"), None);
    }

    #[test]
    fn an_unknown_variable_is_refused_with_the_nearest_known() {
        assert_eq!(parse("{client.ipp}").unwrap_err().fix, "did you mean `{client.ip}`?");
        assert!(parse("{id").is_err());
        assert!(parse("id}").is_err());
    }
}
