use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cookies::SetCookieConfig;
use crate::body::json::{Merge, Missing, ShapeConfig};
use crate::types::{Duration, Size};

/// `compose:` of a route — several services are asked at once, and their answers put together into one of `application/json`.
///
/// Each part is a call of its own: the balance, retries, breaker, ejection and timeouts of its service hold, but neither the service's policies nor its
/// fallback. A part that uses values of others (`{parts.user.body.team_id}`) is asked once those have come; all others are asked at once. When the client
/// breaks off, all are broken off; where it only closes its side, once `server.timeouts.farewell` is over.
///
/// JSON comes out as it came in: numbers of any length, the order of members and escapes stay. What is text or XML (`text/*`, `*/xml`, `*+xml`, in UTF-8)
/// becomes a string, no content becomes null, and anything else counts as an answer that cannot be used. Redirects are not followed.
///
/// A part is `required`, or may be missing. A required one that is missing ends the whole with a problem that names the `part` and the `step` it had come
/// to: 503 where its service is left alone, has no target or says 503, 504 where the time was up or its service says 504, 400 where the request lacks a
/// value that it needs, else 502. Where another part is
/// missing, the answer is given without it, with `Cache-Control: no-store` and the header `Tidegate-Parts`: a list (RFC 9651) of all parts, each
/// with its `received-status` or, in the words of RFC 9209 where it has one, its `error`: `user;received-status=200, orders;error=http_response_timeout`.
///
/// Of the headers of the parts' answers only what says how long the whole is fresh goes on: the shortest `max-age` of all, `private` and `no-cache` where
/// one says so, `no-store` where one says that. `private` is also what is made of who the client is: `{client.ip}`, `{consumer.name}` and their like.
/// A complete answer to GET or HEAD has an `ETag`, and a client that has it already (`If-None-Match`) gets 304.
///
/// Calls with GET that are the same, headers too, are made once within one answer, for all parts that ask for it. An answer that `cache` had kept is told
/// by `hit` in `Tidegate-Parts` and `Server-Timing`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComposeConfig {
    /// How long the whole may take, from the arrival of the request. Default: 2s.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// What the answer is made of, by name: letters, digits, `_` and `-`, a letter first. At most 64.
    pub parts: IndexMap<String, PartConfig>,
    /// `root`: one object of the members of all parts, in the order of the config. Where two parts have a member of the same name, the later part's stays and
    /// is not mixed with the other. A part that is no object counts as missing. Default: an object with each part under its name.
    pub merge: Option<Merge>,
    /// The answer, with variables where values belong: `{ name: "{parts.user.body.name}", all: "{parts.orders.body}" }`. A text that is nothing but one
    /// variable becomes the value itself; within a longer text it is inserted as text. A whole body comes in the part's shape; what lies deeper is found in
    /// the body as it came. In an array, three dots make it each of the items of another: `["{parts.orders.body.items...}", "{parts.more.body...}"]` is one
    /// list of both, and of one where the other is missing. Default: an object with each part under its name.
    pub template: Option<serde_json::Value>,
    /// What stands where a part or a value is missing: `null`, or nothing with `absent`. Not with `merge`, where a missing part has no place. Default: null.
    #[serde(default)]
    pub missing: Missing,
    /// The longest answer; what would be longer is answered with 502. Of all parts together four times as much is held. Default: 8MiB.
    #[serde(default = "whole")]
    pub size: Size,
    /// Whether the answer tells how long each part took, in `Server-Timing`, to everyone who may ask. Default: false.
    #[serde(default)]
    pub server_timing: bool,
}

/// One part of an answer. It names one method and where to: `get: "users:/users/{id}"` asks the service `users` for that path. Or it is a `value`, and asks
/// nobody.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    {"required": ["get"]}, {"required": ["post"]}, {"required": ["put"]}, {"required": ["patch"]}, {"required": ["delete"]}, {"required": ["value"]}
]))]
pub struct PartConfig {
    /// A service and the path there, with variables: the route's path parameters and all that templates know, and values of other parts. Each value but
    /// path parameters and `{request.…}` is percent-encoded; where one would make another path of it, such as `..`, or has no text, the part is not asked. A query may
    /// follow: `"orders:/orders?user={id}&page={query.page}"`; a pair whose value the request does not have is left out. The request's own query does not
    /// go along.
    pub get: Option<String>,
    /// The same with POST.
    pub post: Option<String>,
    /// The same with PUT.
    pub put: Option<String>,
    /// The same with PATCH.
    pub patch: Option<String>,
    /// The same with DELETE.
    pub delete: Option<String>,
    /// What the part is, instead of a call: any JSON, with the variables of a `body`: `{ theme: "{query.theme}", user: "{parts.user.body.id}" }`. Where it has
    /// values of other parts it waits for them. It is never missing; a value that is stands in it as `missing` says. Of the settings below only `shape` goes
    /// with it.
    pub value: Option<serde_json::Value>,
    /// Asks once for each element of this array of another part: `"{parts.orders.body.items}"`. The part is the array of the answers, in the order of the
    /// elements. In its target, headers and body `{item}` is the element, and `{item.product_id}` a value in it. `timeout` holds for all calls together, `size` for
    /// all bodies together, and `shape` is that of each body.
    ///
    /// Where there is no array, or it has more than `most` elements, the part is missing. An element whose call fails is null in its place, and
    /// the answer is given as one that lacks a part: `Cache-Control: no-store`, and `Tidegate-Parts: items;error=items_missing;missing=2;of=10`. If the part is
    /// required, it ends the whole, with a problem that tells the number of the element, from 0, as `item`.
    pub each: Option<String>,
    /// With `each`: how many calls are made at once, from 1 to 64. Default: 8.
    pub parallel: Option<usize>,
    /// With `each`: the most elements that the array may have. All parts of an answer together may ask 1000 times. Default: 100.
    pub most: Option<usize>,
    /// When it is asked at all, as a condition in CEL: `"beta" in claims.groups && parts.user.body.plan != 'free'`. The words are those of variables, without
    /// braces: path parameters, `client.ip`, `request.method`, `consumer.name`, `version` and their like, which are text; `header["X-Tenant"]` and `query.page`,
    /// the same; `claims.…` and `parts.NAME.body.…`, which are what they are in JSON; `parts.NAME.status`, a number. A name that is more than letters, digits and `_` is written `parts["my-orders"].body`. `has(query.page)`,
    /// `has(parts.user.body.plan)` and `"x-tenant" in header` say whether something is there.
    ///
    /// What cannot be worked out does not hold: something is missing, types do not fit, or more than 4,096 values or 64 KiB of text would be looked at. Loops
    /// (`all`, `exists`, `exists_one`, `map`, `filter`) take, for each item, a step for each operator, name and value in what they do, and look anew at what lies
    /// outside of them; `matches` takes one for 4 pairs of a byte of the text and a state of the regex, which has about as many as letters. What would take
    /// more than 131,072 steps and values, or 1 MiB of text, all of them together, does not hold.
    ///
    /// A part whose condition does not hold is skipped. So is, required or not, every part that needs a value of it, unless it is a `value`. What is skipped does not
    /// lack: the answer is whole, and may be kept; in its place stands what stands where a part is missing. Where `Tidegate-Parts` is there for another reason, it is
    /// told as `orders;skipped`.
    pub when: Option<String>,
    /// Headers of the call, with the same variables: `{ Accept-Language: "{header.Accept-Language}" }`. Of the client's headers nothing goes along that is not
    /// listed here, `Authorization` and cookies neither; what the gateway and the route's policies tell services does. One whose value is missing is left out.
    /// Default: `Accept`, for JSON before all else.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// The body of the call, sent as `application/json`, with the same variables. A text that is nothing but one variable becomes the value itself. Not with
    /// `get` and `delete`. Default: none.
    pub body: Option<serde_json::Value>,
    /// Whether there is no answer without it. Default: false.
    #[serde(default)]
    pub required: bool,
    /// How long it may take, over all attempts; never longer than what the whole has left. Default: as long as the whole.
    pub timeout: Option<Duration>,
    /// The longest body of its answer. Default: 1MiB.
    pub size: Option<Size>,
    /// Of a required part: statuses from 400 to 499 with which its answer goes to the client as it is, body and all, in the place of the whole; any other is
    /// answered with 502. Default: `[404]`.
    pub pass: Option<Vec<u16>>,
    /// Keeps its answers for so long at most, for all requests, workers and routes that call the same: service, target and headers. Only with `get`. What the
    /// service says of shared caches holds (RFC 9111): a shorter `s-maxage`, `max-age` or `Expires`; `no-store`, `no-cache` and `private`; and what has
    /// `Set-Cookie`, or came for an `Authorization` without being `public`, is not kept. Only answers that can be used are. Such a call says
    /// nothing of a single client but what `headers` and policies say: no `X-Forwarded-For`, no request id. What changes at the service meanwhile shows when the
    /// time is over. See `cache.size`. Default: not at all.
    pub cache: Option<Duration>,
    /// Which cookies that it sets (`Set-Cookie`) go to the client: `true` for all, or a list of names. An answer that has some is `private`. Default: none.
    pub set_cookie: Option<SetCookieConfig>,
    /// In what form its body goes on. Default: as it came.
    pub shape: Option<ShapeConfig>,
}

fn timeout() -> Duration {
    Duration::secs(2)
}

fn whole() -> Size {
    Size::kib(8 * 1024)
}
