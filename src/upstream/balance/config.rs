use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::{Duration, Secret};

/// `balance:` of a service: which of its targets the next request goes to. All go by the weights of the targets.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BalanceConfig {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Of two targets drawn by lot, the one with fewer requests under way: slow targets get less, and no two gateways rush to the same one.
    LeastRequests,
    /// Drawn by lot.
    Random,
    /// Requests with the same key go to the same target, at every gateway with the same targets. When one leaves, only its own keys move.
    Hash(HashConfig),
    /// A client stays with the target of its first request, by a cookie.
    Sticky(StickyConfig),
}

/// `hash:` — just one of `header`, `cookie`, `client_ip` and `param` says what the key is. A request without a key goes where `least_requests` would
/// send it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("oneOf" = [
    {"required": ["header"]},
    {"required": ["cookie"]},
    {"required": ["client_ip"], "properties": {"client_ip": {"const": true}}},
    {"required": ["param"]},
]))]
pub struct HashConfig {
    /// The value of this request header.
    pub header: Option<String>,
    /// The value of this cookie.
    pub cookie: Option<String>,
    /// `true`: the client's address; of IPv6 its /64 network, since one client has all of it.
    pub client_ip: bool,
    /// The value of this parameter of the route's path.
    pub param: Option<String>,
    /// How many times its share of the requests under way a target may have before its keys go to the next in their order; above 1. Up to 8 it may
    /// have always. Default: 1.25.
    #[schemars(extend("exclusiveMinimum" = 1))]
    pub bound: Option<f64>,
}

/// `sticky:` — the first request of a client goes where `least_requests` sends it; so does one whose target is gone, away, or
/// stands by (`priority`) while others are in use. Only then the cookie is set.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StickyConfig {
    /// The cookie's name.
    pub cookie: String,
    /// How long the client keeps it, in whole seconds, counted from when it is set. Default: until the browser is closed.
    pub ttl: Option<Duration>,
    /// The paths that the client sends it with. Default: `/`.
    #[serde(default = "root")]
    pub path: String,
    /// Whether the client sends it along from other sites: `strict`, `lax` or `none`. Default: lax.
    #[serde(default)]
    pub same_site: SameSite,
    /// The cookie is a hash of the target's URL: who guesses the URL can check the guess, unless this secret goes into it. Gateways that share clients
    /// must share it. Default: none.
    #[serde(default, skip_serializing)]
    pub secret: Option<Secret>,
}

/// `SameSite` of a cookie. It is `HttpOnly` always, and `Secure` where the client came by HTTPS or this is `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SameSite {
    /// From the same site only.
    Strict,
    /// Along with links from other sites too.
    #[default]
    Lax,
    /// Always.
    None,
}

fn root() -> String {
    "/".to_owned()
}
