//! In what form.

pub mod compress;
mod headers;
pub mod hsts;
mod identity;
pub mod request;
pub mod request_id;
pub mod response;

pub use identity::{Identity, IdentityConfig};

use http::{HeaderName, HeaderValue};
use pingora_http::{IntoCaseHeaderName, RequestHeader, ResponseHeader};

use crate::building::BuildError;
use crate::types::FRAMING;

/// A header name from the config.
///
/// # Errors
/// Text that is no field name (RFC 9110 §5.1).
pub fn header_name(name: &str) -> Result<HeaderName, BuildError> {
    HeaderName::try_from(name)
        .map_err(|_| BuildError::new(format!("`{name}` is not a header name"), "use letters, digits and `-`, like `X-Request-Id`"))
}

/// The name of a header that a policy may write or take out.
///
/// # Errors
/// Text that is no field name, and a header that is the gateway's own business.
pub fn editable(name: &str) -> Result<HeaderName, BuildError> {
    let header = header_name(name)?;
    let lower = header.as_str();
    // RFC 9209 §2: Proxy-Status alone among the Proxy-* is for everyone on the way.
    if FRAMING.contains(&header) || (lower.starts_with("proxy-") && lower != "proxy-status") {
        let reason = format!("`{name}` belongs to the connection, which the gateway manages itself");
        return Err(BuildError::new(reason, "name another header: the gateway writes or drops this one as the connection needs"));
    }
    if lower == "host" {
        let fix =
            "name another header: the host that a service is sent is a setting of the service; to tell it another, use `X-Forwarded-Host`";
        return Err(BuildError::new("`Host` decides where a request goes", fix));
    }
    Ok(header)
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
