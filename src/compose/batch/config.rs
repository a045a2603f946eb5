use schemars::JsonSchema;
use serde::Deserialize;

use crate::types::{Duration, Size};

/// `batch:` of a route — a client posts several requests in one, and gets their answers in one. Each goes the whole way through the gateway, as if it had
/// come by itself on the same connection: routes, policies, limits, metrics and the access log, where `batch` names the request around it.
///
/// The form is that of OData's JSON batches (OData JSON Format 4.01 §19) and of those that are like it. A `POST` of `application/json` such as
/// `{"requests":[{"id":"1","method":"GET","url":"/users/1"},{"id":"2","method":"PUT","url":"/users/2","headers":{"if-match":"x"},"body":{"name":"Ann"}}]}`
/// gets a 200 with `{"responses":[{"id":"1","status":200,"headers":{"content-type":"application/json"},"body":{…}},…]}`, in the order of the requests,
/// whatever became of each: one that is refused, or fails, has its problem there. What is no batch at all is answered with one 400 that says where.
/// `dependsOn` and `atomicityGroup` are not taken.
///
/// The `url` is a path, with its query: the host is that of the request around it. A `body` is JSON, sent as `application/json` unless `headers` say another
/// type: of a JSON type it is sent as it stands, of text, XML or a form it is a string with the text, and of any other a string in base64. Answers
/// have theirs in the same way; one in base64 is followed by `"encoding":"base64url"`, and so is one that is not what its type says.
///
/// The headers of the request around them are theirs too, `Authorization` and cookies among them, but for those about its body (`Content-…`), its connection,
/// its framing, its conditions and ranges, `Accept-Encoding` and `Idempotency-Key`. Their own stand in the place of those; only what belongs to a connection
/// or says for whom a proxy speaks (`Host`, `Connection`, `Expect`, `Forwarded`, `X-Forwarded-…`, …) they cannot have. The cookies that their answers
/// set are set by the answer around them.
///
/// Neither WebSockets nor gRPC, `CONNECT`, `TRACE` or another batch can be part of one. A page that `cors` lets ask for a batch gets all that is in it: let none
/// in here that the routes behind it would not.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Requests in one batch. Default: 20.
    pub requests: u16,
    /// How many of them are under way at once; with 1 each begins when the one before it has its answer. Default: 8.
    pub parallel: u16,
    /// The longest body of a batch; a longer one is answered with 413. Default: 1MiB.
    pub size: Size,
    /// The longest body of one answer; in the place of a longer one stands a 502. Default: 1MiB.
    pub answer: Size,
    /// How long all answers may be together, as they are written; in the place of what would be more stands a 502. Default: 8MiB.
    pub answers: Size,
    /// How long the whole may take, from its arrival. What has no answer by then is broken off, with a 504 in its place. Default: 10s.
    pub timeout: Duration,
    /// The headers that its requests may have of their own. To be listed where a proxy in front of the gateway adds headers that services believe, or removes
    /// them: it does not see those within a batch. Default: any, but for those of a connection.
    pub headers: Option<Vec<String>>,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            requests: 20,
            parallel: 8,
            size: Size::kib(1024),
            answer: Size::kib(1024),
            answers: Size::kib(8 * 1024),
            timeout: Duration::secs(10),
            headers: None,
        }
    }
}
