use http::StatusCode;

use crate::types::GrpcStatus;

/// The table: kind, status, what a caller of gRPC gets, name (the last part of the type URI, the metrics label and the word in the log) and title.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:ident, $grpc:ident, $name:literal, $title:literal;)*) => {
        /// Every problem that the gateway knows. The names are stable: clients may depend on them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $($(#[$doc])* $kind),* }

        impl Kind {
            /// Every kind, in the order of their statuses.
            pub const ALL: &'static [Kind] = &[$(Kind::$kind),*];

            /// The HTTP status of the answer.
            pub fn status(self) -> StatusCode {
                match self { $(Kind::$kind => StatusCode::$status),* }
            }

            /// The status of a gRPC call that it ends, unless the problem says otherwise.
            pub fn grpc(self) -> GrpcStatus {
                match self { $(Kind::$kind => GrpcStatus::$grpc),* }
            }

            /// The stable name, as in logs, metrics and at the end of the type URI.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name),* }
            }

            /// The short summary, the same for each occurrence (RFC 9457 §3.1.3).
            pub fn title(self) -> &'static str {
                match self { $(Kind::$kind => $title),* }
            }
        }
    };
}

kinds! {
    /// The request cannot be understood: malformed header, path or framing.
    BadRequest = BAD_REQUEST, Internal, "bad-request", "Bad request";
    /// The version that the client asks for does not exist.
    UnknownVersion = BAD_REQUEST, Unimplemented, "unknown-version", "Unknown API version";
    /// No credentials, or credentials that are not valid.
    Unauthorized = UNAUTHORIZED, Unauthenticated, "unauthorized", "Unauthorized";
    /// Known caller, but not allowed.
    Forbidden = FORBIDDEN, PermissionDenied, "forbidden", "Forbidden";
    /// No route matches.
    NotFound = NOT_FOUND, Unimplemented, "not-found", "Not found";
    /// A route matches, but not with this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, Unimplemented, "method-not-allowed", "Method not allowed";
    /// No version can be given in the media type asked for.
    NotAcceptable = NOT_ACCEPTABLE, Unimplemented, "not-acceptable", "Not acceptable";
    /// The request did not arrive in time.
    RequestTimeout = REQUEST_TIMEOUT, DeadlineExceeded, "request-timeout", "Request timeout";
    /// The version was retired.
    Gone = GONE, Unimplemented, "gone", "Gone";
    /// The body comes without its length, and is too large to be held without.
    LengthRequired = LENGTH_REQUIRED, InvalidArgument, "length-required", "Length required";
    /// The request body is over its bound.
    ContentTooLarge = PAYLOAD_TOO_LARGE, ResourceExhausted, "content-too-large", "Content too large";
    /// The request target is over its bound.
    UriTooLong = URI_TOO_LONG, InvalidArgument, "uri-too-long", "URI too long";
    /// The request's body is of a type that is not taken.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE, InvalidArgument, "unsupported-media-type", "Unsupported media type";
    /// The request asks for another protocol, in a version that is not spoken.
    UpgradeRequired = UPGRADE_REQUIRED, Unimplemented, "upgrade-required", "Upgrade required";
    /// A limit of the caller is used up.
    QuotaExceeded = TOO_MANY_REQUESTS, ResourceExhausted, "quota-exceeded", "Quota exceeded";
    /// The request header is over its bound, in bytes or in count.
    HeaderTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, ResourceExhausted, "header-too-large", "Request header fields too large";
    /// A defect of the gateway.
    Internal = INTERNAL_SERVER_ERROR, Internal, "internal", "Internal error";
    /// The request asks for what the gateway does not do, such as a transfer coding.
    NotImplemented = NOT_IMPLEMENTED, Unimplemented, "not-implemented", "Not implemented";
    /// The service could not be reached, or its answer could not be understood.
    BadGateway = BAD_GATEWAY, Unavailable, "bad-gateway", "Bad gateway";
    /// The service cannot take the request now.
    Unavailable = SERVICE_UNAVAILABLE, Unavailable, "unavailable", "Service unavailable";
    /// The HTTP version is none that the gateway speaks.
    VersionNotSupported = HTTP_VERSION_NOT_SUPPORTED, Unimplemented, "version-not-supported", "HTTP version not supported";
    /// The service did not answer in time.
    GatewayTimeout = GATEWAY_TIMEOUT, Unavailable, "gateway-timeout", "Gateway timeout";
}

impl Kind {
    /// The type URI (RFC 9457 §3.1.1): the registered one where there is one.
    pub fn type_uri(self) -> String {
        match self {
            Kind::QuotaExceeded => "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned(),
            other => format!("urn:tidegate:problem:{}", other.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn every_name_is_unique_and_every_status_an_error() {
        let names: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.status().is_client_error() || kind.status().is_server_error()));
    }
}
