//! What is known about one request: the only channel between policies. Each field says who writes it and who reads it.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::consumer::Consumer;
use crate::types::{Certificate, Digests, Rate, Recoding};

/// The facts of one request.
#[derive(Debug)]
pub struct Ctx {
    /// The client's address: the rightmost hop that is no trusted proxy. Written by `proxy`; read by limits, templates and the log.
    pub client: IpAddr,
    /// What the client has shown over TLS, and proven to be its own. Written by `proxy`; read by templates and the log.
    pub client_cert: Option<Arc<Certificate>>,
    /// The scheme the client used, as far as trusted proxies tell. Written by `proxy`; read by templates and forwarding headers.
    pub scheme: &'static str,
    /// The host the client asked for, as far as trusted proxies tell, lower case, without port. Written by `proxy`; read by templates and the log.
    pub host: Box<str>,
    /// The port the client connected to, as far as trusted proxies tell. Written by `proxy`; read by forwarding headers and redirects.
    pub port: u16,
    /// The normalised path that was matched and is forwarded, percent-encoded. Written by `proxy`; read by everyone.
    pub path: Box<str>,
    /// The route's path parameters. Written by `proxy`; read by templates, versions and limits.
    pub params: Params,
    /// The id of this request. Written by `proxy`, replaced by `request_id`; read by templates, problems and the log.
    pub request_id: HeaderValue,
    /// Who calls. Written by authentication; read by limits, templates, the log.
    pub consumer: Option<Arc<Consumer>>,
    /// What the credential that has proven it is called: the id of an API key, a user name. Written by authentication; read by the log.
    pub credential: Option<Arc<str>>,
    /// The verified claims of the caller's token. Written by `jwt`; read by templates and authorisation.
    pub claims: Option<Arc<Value>>,
    /// What limits found, in the order of the chain. Written and read by `rate_limit`, one entry per policy that ran and tells clients.
    pub limits: SmallVec<[LimitState; 2]>,
    /// Query parameters of the route that carry credentials: not to be shown in addresses that answers tell. Written by `proxy`; read by versions and
    /// redirects.
    pub credentials: Option<Arc<[Box<str>]>>,
    /// The version that was chosen. Written by `proxy`; read by templates and the log.
    pub version: Option<Arc<str>>,
    /// Whether the answer announces trailers, which its header says no more. Written by `proxy`; read by `compress`.
    pub trailers: bool,
    /// Tags of encoded answers that the client has asked with, as services know them. Written and read by `compress`.
    pub encoded_tags: SmallVec<[HeaderValue; 1]>,
    /// The form in which the body of the answer goes out, where its header says so already. Written by `compress`; read by `proxy`.
    pub recoding: Option<Recoding>,
    /// How large the body of the request may be, where that is less than what the server takes. Written by `size_limit`; read by `proxy`.
    pub body_limit: Option<BodyLimit>,
    /// That the body of the request has to be there, whole, before anything of the request goes further, and how large it may be for that. Written by
    /// policies that read it; read by `proxy`.
    pub whole_body: Option<BodyLimit>,
    /// The hash of what the request was signed over. Written and read by `hmac`, which takes each signature for one request alone.
    pub signature: Option<[u8; 16]>,
    /// What the caller has signed of the body. Written by `hmac`; shown the body by `proxy` as it arrives; read by `hmac`.
    pub signed_body: Option<Box<Digests>>,
}

/// The bound of a request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit {
    /// Bytes at most; of a gRPC call in each message.
    pub bytes: u64,
    /// The policy that says so.
    pub policy: &'static str,
}

/// How one limit stands after this request.
#[derive(Clone, Debug)]
pub struct LimitState {
    /// Which policy of the chain: its number from `PolicyCx`.
    pub slot: usize,
    /// Requests left right now.
    pub remaining: u64,
    /// Seconds until the next request is added to them, rounded up.
    pub reset: u64,
    /// The limit that the consumer has in the place of the policy's.
    pub own: Option<Rate>,
}

/// Path parameters by name, as places in the normalised path.
#[derive(Clone, Debug, Default)]
pub struct Params {
    /// The names, from the route.
    pub names: Arc<[Box<str>]>,
    /// For each name the bytes of [`Ctx::path`].
    pub ranges: SmallVec<[Range<u32>; 4]>,
}

impl Ctx {
    /// Of a request of which nothing is known yet.
    pub fn new(request_id: HeaderValue) -> Self {
        Self {
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            client_cert: None,
            scheme: "http",
            host: Box::default(),
            port: 80,
            path: Box::default(),
            params: Params::default(),
            request_id,
            consumer: None,
            credential: None,
            claims: None,
            limits: SmallVec::new(),
            credentials: None,
            version: None,
            trailers: false,
            encoded_tags: SmallVec::new(),
            recoding: None,
            body_limit: None,
            whole_body: None,
            signature: None,
            signed_body: None,
        }
    }

    /// Says who calls, if anybody known, and what the credential is called that has proven it: neither outlives the other.
    pub fn identify(&mut self, consumer: Option<Arc<Consumer>>, credential: Option<Arc<str>>) {
        (self.consumer, self.credential) = (consumer, credential);
    }

    /// A path parameter, percent-encoded as it stands in the path.
    pub fn param(&self, name: &str) -> Option<&str> {
        let place = self.params.names.iter().position(|known| **known == *name)?;
        let range = self.params.ranges.get(place)?;
        self.path.get(range.start as usize..range.end as usize)
    }

    /// Whether a query parameter of that name carries credentials.
    pub fn is_credential(&self, parameter: &str) -> bool {
        self.credentials.iter().flat_map(|names| names.iter()).any(|name| **name == *parameter)
    }

    /// The request id as text.
    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}

/// The claim of that name, or where a dot goes deeper: a name may hold dots itself, as URLs do, so the whole name comes first.
pub fn claim<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(found) = claims.get(path) {
        return Some(found);
    }
    let (first, rest) = path.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

/// The name that a claim is: a text, or a number as it is written. Consumers, subjects and tokens are named by either.
pub fn name(claim: &Value) -> Option<Cow<'_, str>> {
    match claim {
        Value::String(name) => Some(Cow::Borrowed(name)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    }
}

/// The scopes that claims grant: `scope` as RFC 8693 §4.2 has it, separated by spaces, or else `scp`; a list is read too.
pub fn scopes<'a>(claim: impl Fn(&str) -> Option<&'a Value>) -> impl Iterator<Item = &'a str> {
    let said = claim("scope").or_else(|| claim("scp"));
    let words = said.and_then(Value::as_str).into_iter().flat_map(|words| words.split(' ')).filter(|word| !word.is_empty());
    words.chain(said.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str))
}

/// How a request ended, for `finish`.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The status that the client got, if one was sent.
    pub status: Option<StatusCode>,
    /// The problem that the gateway answered with, by name.
    pub problem: Option<&'a str>,
}

#[cfg(test)]
pub(crate) mod testing {
    use std::ops::Range;

    use http::HeaderValue;

    use super::{Ctx, Params};

    /// The facts of a request for this path, with parameters as places in it.
    pub fn ctx(path: &str, params: &[(&str, Range<u32>)]) -> Ctx {
        let params = Params {
            names: params.iter().map(|(name, _)| Box::from(*name)).collect(),
            ranges: params.iter().map(|(_, range)| range.clone()).collect(),
        };
        Ctx {
            client: [192, 0, 2, 1].into(),
            client_cert: None,
            scheme: "http",
            host: "api.example.com".into(),
            port: 80,
            path: path.into(),
            params,
            request_id: HeaderValue::from_static("test-id"),
            consumer: None,
            credential: None,
            claims: None,
            limits: Default::default(),
            credentials: None,
            version: None,
            trailers: false,
            encoded_tags: Default::default(),
            recoding: None,
            body_limit: None,
            whole_body: None,
            signature: None,
            signed_body: None,
        }
    }
}
