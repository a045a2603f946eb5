use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};

/// Whether a request is a call: only HTTP/2 carries one, and gRPC-Web is another protocol.
pub fn is_grpc_call(method: &Method, version: Version, headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes) else { return false };
    let rest = kind.get(..16).filter(|start| start.eq_ignore_ascii_case(b"application/grpc")).and_then(|_| kind.get(16..));
    version == Version::HTTP_2 && method == Method::POST && rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// The table: status, code, the label in logs and metrics, and the word in lists of failures.
macro_rules! statuses {
    ($($(#[$doc:meta])* $status:ident = $code:literal, $label:literal, $word:literal;)*) => {
        /// How a gRPC call ended (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum GrpcStatus { $($(#[$doc])* $status),* }

        impl GrpcStatus {
            /// Every status, by its code.
            pub const ALL: &'static [GrpcStatus] = &[$(GrpcStatus::$status),*];

            /// The number on the wire.
            pub fn code(self) -> u16 {
                match self { $(GrpcStatus::$status => $code),* }
            }

            /// The name, as in the specification.
            pub fn label(self) -> &'static str {
                match self { $(GrpcStatus::$status => $label),* }
            }

            /// The word for it in a list of failures.
            pub fn word(self) -> &'static str {
                match self { $(GrpcStatus::$status => concat!("grpc_", $word)),* }
            }
        }
    };
}

statuses! {
    /// It went well.
    Ok = 0, "OK", "ok";
    /// The caller gave it up.
    Cancelled = 1, "CANCELLED", "cancelled";
    /// Nobody knows why.
    Unknown = 2, "UNKNOWN", "unknown";
    /// The caller asked for what makes no sense.
    InvalidArgument = 3, "INVALID_ARGUMENT", "invalid_argument";
    /// The time of the call was up.
    DeadlineExceeded = 4, "DEADLINE_EXCEEDED", "deadline_exceeded";
    /// What was asked for is not there.
    NotFound = 5, "NOT_FOUND", "not_found";
    /// What was to be made is there.
    AlreadyExists = 6, "ALREADY_EXISTS", "already_exists";
    /// The caller is known, and may not.
    PermissionDenied = 7, "PERMISSION_DENIED", "permission_denied";
    /// A bound is reached: of the caller, of a message, of the service.
    ResourceExhausted = 8, "RESOURCE_EXHAUSTED", "resource_exhausted";
    /// The state of things does not allow it.
    FailedPrecondition = 9, "FAILED_PRECONDITION", "failed_precondition";
    /// Another call came between.
    Aborted = 10, "ABORTED", "aborted";
    /// Past the end.
    OutOfRange = 11, "OUT_OF_RANGE", "out_of_range";
    /// There is no such method.
    Unimplemented = 12, "UNIMPLEMENTED", "unimplemented";
    /// Something is broken.
    Internal = 13, "INTERNAL", "internal";
    /// The service cannot be had now.
    Unavailable = 14, "UNAVAILABLE", "unavailable";
    /// Data is lost for good.
    DataLoss = 15, "DATA_LOSS", "data_loss";
    /// Nobody knows who calls.
    Unauthenticated = 16, "UNAUTHENTICATED", "unauthenticated";
}

impl GrpcStatus {
    /// The header or trailer that tells the status.
    pub const HEADER: HeaderName = HeaderName::from_static("grpc-status");
    /// The one that tells it in words, percent-encoded.
    pub const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
    /// The request header that tells how long a call may take.
    pub const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
    /// How long a client is to wait before it calls again, in milliseconds; below zero for never (gRFC A6).
    pub const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

    /// What headers or trailers tell; a code that nobody knows is [`GrpcStatus::Unknown`].
    pub fn read(headers: &HeaderMap) -> Option<Self> {
        let code = headers.get(Self::HEADER)?.to_str().ok().and_then(|code| code.trim().parse().ok());
        Some(code.and_then(|code: usize| Self::ALL.get(code)).copied().unwrap_or(Self::Unknown))
    }

    /// What an answer without a gRPC status means to a client
    /// (<https://grpc.github.io/grpc/core/md_doc_http-grpc-status-mapping.html>).
    pub fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    /// As it goes over the wire.
    pub fn value(self) -> HeaderValue {
        HeaderValue::from(self.code())
    }

    /// Words as they go over the wire: what is no visible ASCII is percent-encoded.
    pub fn message(words: &str) -> HeaderValue {
        let mut out = String::with_capacity(words.len());
        for byte in words.bytes() {
            match byte {
                b'%' => out.push_str("%25"),
                b' '..=b'~' => out.push(char::from(byte)),
                _ => out.push_str(&format!("%{byte:02X}")),
            }
        }
        HeaderValue::try_from(out).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// The time that a call may take: up to eight digits and a unit (<https://grpc.github.io/grpc/core/md_doc__p_r_o_t_o_c_o_l-_h_t_t_p2.html>).
pub mod grpc_timeout {
    use super::{Duration, HeaderValue};

    /// Reads it; none where it is malformed.
    pub fn read(value: &HeaderValue) -> Option<Duration> {
        let (unit, digits) = value.as_bytes().split_last()?;
        if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        Some(match unit {
            b'H' => Duration::from_secs(count * 3600),
            b'M' => Duration::from_secs(count * 60),
            b'S' => Duration::from_secs(count),
            b'm' => Duration::from_millis(count),
            b'u' => Duration::from_micros(count),
            b'n' => Duration::from_nanos(count),
            _ => return None,
        })
    }

    /// Writes it, as exactly as eight digits can, and never longer than it is.
    pub fn write(time: Duration) -> HeaderValue {
        const MOST: u128 = 99_999_999;
        let units = [(time.as_micros(), 'u'), (time.as_millis(), 'm'), (u128::from(time.as_secs()), 'S')];
        let fits = units.into_iter().find(|(count, _)| *count <= MOST);
        let (count, unit) = fits.unwrap_or((u128::from(time.as_secs() / 3600).min(MOST), 'H'));
        HeaderValue::try_from(format!("{count}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("0u"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_where_its_code_says() {
        for (at, status) in GrpcStatus::ALL.iter().enumerate() {
            assert_eq!(usize::from(status.code()), at);
            assert_eq!(status.word(), format!("grpc_{}", status.label().to_ascii_lowercase()));
        }
        let read = |value: &'static str| GrpcStatus::read(&HeaderMap::from_iter([(GrpcStatus::HEADER, HeaderValue::from_static(value))]));
        assert_eq!([read("0"), read("14"), read("17"), read("x")].map(Option::unwrap).map(GrpcStatus::code), [0, 14, 2, 2]);
        assert_eq!(GrpcStatus::read(&HeaderMap::new()), None);
    }

    #[test]
    fn words_survive_the_wire() {
        assert_eq!(GrpcStatus::message("50% of it\nis übrig"), "50%25 of it%0Ais %C3%BCbrig");
    }

    #[test]
    fn times_are_read_in_each_unit_and_nothing_else_is() {
        let read = |text: &str| grpc_timeout::read(&HeaderValue::from_str(text).unwrap());
        let known =
            [("2H", 7200e3), ("3M", 180e3), ("4S", 4e3), ("99999999m", 99_999_999.0), ("6u", 0.006), ("7n", 0.000_007), ("0S", 0.0)];
        for (text, millis) in known {
            assert_eq!(read(text), Some(Duration::from_secs_f64(millis / 1e3)), "{text}");
        }
        for wrong in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", " 1S", "1 S", "1S "] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_time_is_written_as_exactly_as_it_can_be() {
        for (time, text) in [
            (Duration::from_nanos(999), "0u"),
            (Duration::from_micros(1500), "1500u"),
            (Duration::from_secs(99), "99000000u"),
            (Duration::from_millis(100_001), "100001m"),
            (Duration::from_secs(100_000), "100000S"),
            (Duration::from_secs(100_000_000), "27777H"),
        ] {
            assert_eq!(grpc_timeout::write(time), text);
        }
    }
}
