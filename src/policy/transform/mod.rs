//! In what form.

mod headers;
pub mod request;
pub mod request_id;
pub mod response;

use http::{HeaderName, HeaderValue};
use pingora_http::{IntoCaseHeaderName, RequestHeader, ResponseHeader};

use crate::building::BuildError;

/// A header name from the config.
///
/// # Errors
/// Text that is no field name (RFC 9110 §5.1).
pub fn header_name(name: &str) -> Result<HeaderName, BuildError> {
    HeaderName::try_from(name)
        .map_err(|_| BuildError::new(format!("`{name}` is not a header name"), "use letters, digits and `-`, like `X-Request-Id`"))
}

/// Sets a header of a request in the place of those of that name. Only a header map that is full refuses it, and the bounds on what clients and
/// services may send are far below that.
pub fn set(req: &mut RequestHeader, name: impl IntoCaseHeaderName, value: HeaderValue) {
    let _ = req.insert_header(name, value);
}

/// Sets a header of an answer in the place of those of that name.
pub fn set_response(res: &mut ResponseHeader, name: impl IntoCaseHeaderName, value: HeaderValue) {
    let _ = res.insert_header(name, value);
}
