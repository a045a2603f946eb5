//! Sends the client to another place.
//!
//! ```yaml
//! routes:
//!   - name: moved
//!     match: { path: "/old/{rest...}" }
//!     redirect: { to: "/new/{rest}", status: 308 }
//! ```

use http::{HeaderValue, StatusCode, header};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::expr::{Template, Variables, without};
use crate::problem::{Kind, Problem};
use crate::types::Reply;

/// `redirect:` of a route.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectConfig {
    /// The new place: a URL or a path, with variables like `{id}` or `{query.page}`. Values are percent-encoded; path parameters and `{request.path}` are
    /// so already. Before the path only `{request.host}` may stand, alone or with a port behind it: who chooses the host chooses the place. To the same
    /// place by TLS: `https://{request.host}{request.path}`.
    pub to: String,
    /// 301, 302, 303, 307 or 308. Default: 308, which keeps the method and may be cached.
    #[serde(default = "permanent")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
    /// Whether the query goes along, without the parameters that carry credentials to the route's policies. Default: true, unless `to` has a query.
    pub query: Option<bool>,
}

fn permanent() -> u16 {
    308
}

/// `redirect`, ready to answer.
#[derive(Debug)]
pub struct Redirect {
    to: Template,
    status: StatusCode,
    query: bool,
}

impl Redirect {
    /// Checks and prepares the redirect.
    ///
    /// # Errors
    /// A status that does not redirect, or a place that cannot be made.
    pub fn build(config: &RedirectConfig, params: &[Box<str>]) -> Result<Self, BuildError> {
        let status = match config.status {
            301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(config.status).unwrap_or(StatusCode::PERMANENT_REDIRECT),
            other => {
                let reason = format!("{other} is not the status of a redirect");
                return Err(BuildError::new(reason, "use 301, 302, 303, 307 or 308").at("status"));
            }
        };
        if !["/", "http://", "https://"].iter().any(|start| config.to.starts_with(start)) || config.to.starts_with("//") {
            return Err(BuildError::new("this is not a place to go to", "start with `/`, `https://` or `http://`").at("to"));
        }
        let to = Template::parse(&config.to, Variables { params, only_params: false }).map_err(|error| error.at("to"))?;
        fixed_host(&config.to).map_err(|error| error.at("to"))?;
        let to = to.map_text(|text| written(text).map(|()| text.to_owned())).map_err(|error| error.at("to"))?;
        Ok(Self { to, status, query: config.query.unwrap_or(!config.to.contains('?')) })
    }

    /// The answer with its `Location` (RFC 9110 §10.2.2).
    ///
    /// # Errors
    /// A value that the place needs is missing, or cannot stand in a header.
    pub fn answer(&self, req: &RequestHeader, cx: &Ctx) -> Result<Reply, Problem> {
        let missing = || Problem::new(Kind::BadRequest, "the request lacks a value that the redirect needs");
        let mut location = self.to.render_url(req, cx).ok_or_else(missing)?.into_owned();
        if let (true, Some(query)) = (self.query, req.uri.query()) {
            let end = location.find('#').unwrap_or(location.len());
            let fragment = location.split_off(end);
            let query = without(query, |name| cx.is_credential(name));
            if !query.is_empty() {
                location.push(if location.contains('?') { '&' } else { '?' });
                location.push_str(&query);
            }
            location.push_str(&fragment);
        }
        // A path parameter may be empty: `//host` would be another host, not a path.
        if location.starts_with("//") {
            location = format!("/{}", location.trim_start_matches('/'));
        }
        let location = HeaderValue::try_from(location).map_err(|_| missing())?;
        Ok(Reply { headers: vec![(header::LOCATION, location)], ..Reply::empty(self.status) })
    }
}

/// Whether nobody but the operator, or the client for itself, chooses the host.
fn fixed_host(to: &str) -> Result<(), BuildError> {
    let Some((_, rest)) = to.split_once("://").filter(|_| !to.starts_with('/')) else { return Ok(()) };
    // A path always begins with its slash, so it ends the host as a written one does.
    let before = rest.split("{request.path}").next().unwrap_or(rest);
    let authority = before.split(['/', '?', '#']).next().unwrap_or(before);
    let port = authority.strip_prefix("{request.host}");
    let of_the_request = port.is_some_and(|port| port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()));
    if of_the_request || (!authority.is_empty() && !authority.contains(['{', '}', '@'])) {
        return Ok(());
    }
    let fix = "write the host out, or `{request.host}` with nothing but a port beside it, and a `/` before other variables";
    Err(BuildError::new("whoever chooses this value would choose the host", fix))
}

/// What may stand in a URL (RFC 3986 §2).
fn written(text: &str) -> Result<(), BuildError> {
    match text.chars().find(|char| !char.is_ascii_graphic() || "\\\"<>^`{|}".contains(*char)) {
        None => Ok(()),
        Some(char) => Err(BuildError::new(format!("{char:?} cannot stand in a URL"), "percent-encode it, like `%20` for a space")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::testing;

    fn build(to: &str) -> Result<Redirect, BuildError> {
        Redirect::build(&RedirectConfig { to: to.to_owned(), status: 308, query: None }, &["id".into()])
    }

    fn location(to: &str, target: &str, header: &str) -> String {
        let mut req = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        req.insert_header("x-a", header).unwrap();
        let reply = build(to).unwrap().answer(&req, &testing::ctx("/users/42", &[("id", 7..9)])).unwrap();
        reply.headers[0].1.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_value_of_the_request_leads_to_no_other_host() {
        assert_eq!(location("/{query.next}?x", "/?next=%5Cevil.example", ""), "/%5Cevil.example?x");
        assert_eq!(location("/{query.next}?x", "/?next=/evil.example", ""), "/%2Fevil.example?x");
        assert_eq!(location("/{header.X-A}", "/", "\tevil é?"), "/%09evil%20%C3%A9%3F");
        assert_eq!(location("https://{request.host}:8443/{id}", "/", ""), "https://api.example.com:8443/42");
        assert_eq!(location("https://{request.host}{request.path}", "/", ""), "https://api.example.com/users/42");
        for to in [
            "https://{header.X-A}/",
            "https://h.example{id}",
            "https://{request.host}{id}",
            "https://u@h.example/",
            "https:///x",
            "http://{request.host}.x/",
        ] {
            assert_eq!(build(to).unwrap_err().path.to_string(), "to", "{to}");
        }
    }

    #[test]
    fn the_query_goes_along_before_a_fragment() {
        assert_eq!(location("/new#top", "/old?a=1", ""), "/new?a=1#top");
        assert_eq!(location("/new?b=2", "/old?a=1", ""), "/new?b=2");
    }

    #[test]
    fn what_cannot_stand_in_a_url_is_refused() {
        for to in ["/a b", "/é", "/a\\b", "/{{id}}"] {
            assert!(build(to).is_err(), "{to}");
        }
    }
}
