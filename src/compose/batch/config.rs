use schemars::JsonSchema;
use serde::Deserialize;

use crate::types::{Duration, Size};

/// `batch:` of a route — a client posts several requests in one, and gets their answers in one. Each goes the whole way through the gateway, as if it had
/// come by itself on the same connection: routes, policies, limits, metrics and the access log, where `batch` names the request around it.
///
/// The form is that of OData's JSON batches (OData JSON Format 4.01 §19) and of those that are like it. A `POST` of `application/json` such as
/// `{"requests":[{"id":"1","method":"GET","url":"/users/1"},{"id":"2","method":"PUT","url":"/users/2","headers":{"if-match":"x"},"body":{"name":"Ann"}}]}`
/// gets a 200 with `{"responses":[{"id":"1","status":200,"headers":{"content-type":"application/json"},"body":{…}},…]}`, in the order of the requests,
/// whatever became of each: one that is refused, or fails, has its problem there. What is no batch at all has one problem as its answer: 405 for another
/// method than `POST`, 415 for another type, charset or content coding than JSON in UTF-8 as it is, 413 for one longer than `size`, and 400, with the place
/// in `at`, for one that cannot be read or has too many requests. `dependsOn` and `atomicityGroup` are not taken.
///
/// The `url` is a path, with its query: the host is that of the request around it. A `body` is JSON, sent as `application/json` unless `headers` say another
/// type: of a JSON type it is sent as it stands, of text, XML or a form it is a string with the text, and of any other a string in base64. So it is of text
/// in another `charset` than `utf-8` or `us-ascii`, which nobody converts. Answers have theirs in the same way; one in base64 is followed by
/// `"encoding":"base64url"`, and so is one that is not what its type says. Several lines of a header are one there, with commas between them, and bytes
/// that are not UTF-8 stand there as U+FFFD: services that send such values are better asked without a batch.
///
/// The headers of the request around them are theirs too, `Authorization` and cookies among them, but for those about its body (`Content-…`), its connection,
/// its framing, its conditions and ranges, `Accept-Encoding`, `Idempotency-Key`, `X-Request-Id`, `X-Correlation-Id` and whatever has its id. Their own stand
/// in the place of those; only what belongs to a connection or says for whom a proxy speaks (`Host`, `Connection`, `Expect`, `Forwarded`, `X-Forwarded-…`, …)
/// they cannot have. A request around them whose `Connection` names one of the latter is answered with 400.
///
/// What the policies of the batch take out of a request before a service gets it, such as the key of `api_key`, the policies of its requests can read too, but
/// no service gets it, unless a request says it itself or the `headers` of a part of `compose` name it. The query of the batch is not theirs: a credential that is to stand in a query stands in each `url`.
///
/// The cookies that their answers set are set by the answer around them, each once: as the last of them has it, for the paths that it would be for without a
/// batch. They are 50, in 16 KiB, at most, and count with the `answers`; in the place of an answer with which they would be more stands a 502. One that
/// names no path, in the answer for a path with a semicolon in a folder, is not set: it could not say for which paths it is.
///
/// A request in whose place stands a 502 or a 504 may have been carried out all the same. It was, where the 502 is for an answer that is too long or sets
/// too many cookies: bounds should be such that this does not happen to what is not to be done twice.
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
    /// How long all answers may be together, those that are still coming in among them; in the place of what would be more stands a 502. Default: 8MiB.
    pub answers: Size,
    /// How long the whole may take, from its arrival. What has no answer by then is broken off, with a 504 in its place; services have 20 ms less, or nine
    /// tenths where that is more. Default: 10s.
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
