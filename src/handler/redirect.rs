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
use crate::expr::{Template, Variables};
use crate::problem::{Kind, Problem};
use crate::types::Reply;

/// `redirect:` of a route.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectConfig {
    /// The new place: a URL or a path, with variables like `{id}` or `{request.host}`.
    pub to: String,
    /// 301, 302, 303, 307 or 308. Default: 308, which keeps the method and may be cached.
    #[serde(default = "permanent")]
    #[schemars(extend("enum" = [301, 302, 303, 307, 308]))]
    pub status: u16,
    /// Whether the query goes along. Default: true, unless `to` has a query.
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
        Ok(Self { to, status, query: config.query.unwrap_or(!config.to.contains('?')) })
    }

    /// The answer with its `Location` (RFC 9110 §10.2.2).
    ///
    /// # Errors
    /// A value that the place needs is missing, or cannot stand in a header.
    pub fn answer(&self, req: &RequestHeader, cx: &Ctx) -> Result<Reply, Problem> {
        let missing = || Problem::new(Kind::BadRequest, "the request lacks a value that the redirect needs");
        let mut location = self.to.render(req, cx).ok_or_else(missing)?.into_owned();
        if let (true, Some(query)) = (self.query, req.uri.query()) {
            location.push(if location.contains('?') { '&' } else { '?' });
            location.push_str(query);
        }
        // A path parameter may be empty: `//host` would be another host, not a path.
        if location.starts_with("//") {
            location = format!("/{}", location.trim_start_matches('/'));
        }
        let location = HeaderValue::try_from(location).map_err(|_| missing())?;
        Ok(Reply { headers: vec![(header::LOCATION, location)], ..Reply::empty(self.status) })
    }
}
