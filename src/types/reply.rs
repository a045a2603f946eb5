use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::BuildError;

/// A fixed answer: `{ status: 200, headers: {…}, json: {…} }`, or `text:` in the place of `json:`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReplyConfig {
    /// The HTTP status, 200 to 599. Default: 200.
    #[schemars(range(min = 200, max = 599))]
    pub status: Option<u16>,
    /// Headers of the answer.
    pub headers: BTreeMap<String, String>,
    /// A body of `application/json`.
    pub json: Option<serde_json::Value>,
    /// A body of `text/plain; charset=utf-8`.
    pub text: Option<String>,
}

/// An answer that is here as a whole.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The headers, but for the length.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Reply {
    /// Whether an answer of that status ends with its header (RFC 9110 §15.3.5, §15.3.6, §15.4.5).
    pub fn has_no_body(status: StatusCode) -> bool {
        matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)
    }

    /// An answer without headers and body.
    pub fn empty(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }
}

/// What belongs to the connection, not to the message (RFC 9110 §7.6.1).
pub const FRAMING: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TRAILER,
    header::TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("http2-settings"),
];

impl ReplyConfig {
    /// Prepares the answer.
    ///
    /// # Errors
    /// A status or header that cannot be sent, two bodies, or one where there is none.
    pub fn build(&self) -> Result<Reply, BuildError> {
        let status = self.status.unwrap_or(200);
        let known = StatusCode::from_u16(status).ok().filter(|_| (200..600).contains(&status));
        let Some(status) = known else {
            return Err(BuildError::new(format!("`{status}` is not the status of an answer"), "use 200 to 599").at("status"));
        };
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let wrong = |what| BuildError::new(format!("this is not a header {what}"), "see RFC 9110 §5").at(name.as_str()).at("headers");
            let parsed = HeaderName::try_from(name.as_str()).map_err(|_| wrong("name"))?;
            if FRAMING.contains(&parsed) {
                let error = BuildError::new("this header frames the answer, and the gateway writes it itself", "remove it");
                return Err(error.at(name.as_str()).at("headers"));
            }
            headers.push((parsed, HeaderValue::try_from(value.as_str()).map_err(|_| wrong("value"))?));
        }
        let (kind, body) = match (&self.json, &self.text) {
            (Some(_), Some(_)) => return Err(BuildError::new("an answer has one body", "remove `json` or `text`").at("text")),
            (Some(json), None) => (Some("application/json"), json.to_string().into()),
            (None, Some(text)) => (Some("text/plain; charset=utf-8"), text.clone().into()),
            (None, None) => (None, Bytes::new()),
        };
        if kind.is_some() && Reply::has_no_body(status) {
            let place = if self.json.is_some() { "json" } else { "text" };
            return Err(
                BuildError::new(format!("an answer with the status {} has no body", status.as_u16()), "remove it, or use 200").at(place)
            );
        }
        if let Some(kind) = kind
            && !headers.iter().any(|(name, _)| name == header::CONTENT_TYPE)
        {
            headers.push((header::CONTENT_TYPE, HeaderValue::from_static(kind)));
        }
        Ok(Reply { status, headers, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_has_no_body_is_given_none() {
        for (status, json, text, place) in [
            (204, true, false, Some("json")),
            (205, false, true, Some("text")),
            (304, false, true, Some("text")),
            (204, false, false, None),
            (200, true, false, None),
        ] {
            let config = ReplyConfig {
                status: Some(status),
                json: json.then(|| 1.into()),
                text: text.then(|| "a".to_owned()),
                ..ReplyConfig::default()
            };
            let built = config.build();
            assert_eq!(built.err().map(|error| error.path.to_string()).as_deref(), place, "{status}");
        }
    }
}
