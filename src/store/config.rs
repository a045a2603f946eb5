use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::building::{BuildError, Errors};
use crate::types::{Duration, Secret};

/// `redis:` — a Redis or Valkey in which things are kept that change without a reload, and that several gateways share.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// Where it is: `redis://10.0.0.5:6379`, `rediss://…` over TLS, either with the number of a database behind a slash, or `unix:///run/redis.sock`. A
    /// cluster is not followed.
    #[schemars(extend("pattern" = "^(rediss?://[^/@]+(/[0-9]+)?/?|unix:///.+)$"))]
    pub url: String,
    /// The user of its ACL. Default: its default user.
    pub username: Option<String>,
    /// The password of that user.
    pub password: Option<Secret>,
    /// A file with the certificates, in PEM, of those who may vouch for it over TLS. Default: those that the system believes.
    pub ca: Option<String>,
    /// What the names of all keys begin with. Default: `tidegate:`.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// How long a request waits for it at most. Default: `500ms`.
    #[serde(default = "timeout")]
    pub timeout: Duration,
    /// That consumers and API keys are looked up there which the config does not have.
    pub consumers: Option<StoredConfig>,
    /// That tokens are looked up there which were taken back before their time.
    pub revoked: Option<RevokedConfig>,
}

/// Consumers and API keys in Redis, beside those of the config, which come first.
///
/// A key is a hash named `tidegate:key:` and the SHA-256 of the key in hex, as `tidegate hash-key` prints it behind `sha256:`. Its fields: `consumer`, the
/// name of who has it; `expires`, a date or a time with its zone, from when on it is refused; `id`, what it is called in the access log. Redis's own
/// `EXPIRE` does as well. The consumer is one of the config, or a hash named `tidegate:consumer:` and the name. Its fields: `groups`, joined by commas;
/// `label:NAME`; `limit:NAME`, like `1000/1m`, or `1000/1m/50` with a burst. A `note` may stand in both. A field that is none of these, or is not UTF-8, makes
/// the entry void, since it may be a slip that lets somebody in, and so is an entry that is no hash: the log tells.
///
/// `HSET tidegate:consumer:app groups gold,eu` and `HSET tidegate:key:9f86d08… consumer app expires 2027-01-01` let somebody in, `DEL tidegate:key:9f86d08…`
/// takes one key away, `DEL tidegate:consumer:app` all of the consumer's. The gateway needs `HGETALL` and `PING` alone, and `SELECT` where `url` has the number of a
/// database: `ACL SETUSER gateway on >SECRET ~tidegate:* +hgetall +ping`, there with `+select`. What it may not look up the log tells, and
/// `tidegate_redis_up` is 0 then.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StoredConfig {
    /// For how long an answer is good: who is taken away there is refused here after so long at the latest. Default: `10s`.
    pub cache: Duration,
    /// For how long it is known that a key is none, so that nobody can flood Redis with the same one. A key that was tried before it was made is taken
    /// after so long. Default: `1s`.
    pub unknown: Duration,
    /// For how much longer than `cache` an answer is good while Redis cannot be asked. Who was taken away meanwhile is let in for that long. Default: `0s`.
    pub stale: Duration,
    /// How many keys and how many consumers are known at most; those that are asked for least are forgotten. Default: 100000.
    #[schemars(range(min = 1))]
    pub entries: u64,
    /// What happens to a request while Redis cannot be asked who it is from, and it is not known. Default: `deny`.
    pub on_error: OnError,
}

/// Tokens that were taken back before their time, in Redis, beside those of the policies' own files (`revoked`). It goes for the tokens of every `jwt` and every
/// `introspection`.
///
/// A token is refused when there is a hash named `tidegate:revoked:jti:` and its `jti`, or `tidegate:revoked:sub:` and its `sub`. Their fields: `before`, a date
/// or a time with its zone, for tokens that were issued before alone; `issuer`, for tokens of that `iss` alone; `note`, anything. A field that is none of these, or
/// wrong, is taken as if it were not there, and so is all of an entry that is no hash; the log tells: who is out by mistake says so.
///
/// `HSET tidegate:revoked:jti:42 note stolen` takes one token back, `HSET tidegate:revoked:sub:ada before 2026-01-31T12:00:00Z` all that `ada` had until then. With
/// `EXPIREAT` at the end of the token's time the list stays short.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RevokedConfig {
    /// For how long an answer is good: what is taken back there is refused here after so long at the latest. Default: `10s`.
    pub cache: Duration,
    /// Of how many tokens and subjects it is known at most; those that are asked for least are forgotten. Default: 100000.
    #[schemars(range(min = 1))]
    pub entries: u64,
    /// What happens to a request with a good token while Redis cannot be asked, and it is not known whether it was taken back. Default: `deny`.
    pub on_error: OnError,
}

/// What happens to a request that cannot be decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It is refused with 503 and `Retry-After`.
    #[default]
    Deny,
    /// It goes on: one with a key without a consumer, whatever its key is, and what stands below must see to it; one with a token or a certificate that names
    /// a consumer without one, whatever `unknown_consumer` says; and one with a token as if nobody had taken that back.
    Allow,
}

impl Default for StoredConfig {
    fn default() -> Self {
        let (cache, unknown, stale) = (Duration::secs(10), Duration::secs(1), Duration::secs(0));
        Self { cache, unknown, stale, entries: 100_000, on_error: OnError::Deny }
    }
}

impl Default for RevokedConfig {
    fn default() -> Self {
        Self { cache: Duration::secs(10), entries: 100_000, on_error: OnError::Deny }
    }
}

impl RedisConfig {
    /// What can be read and cannot work, at paths below `redis`.
    pub fn mistakes(&self) -> Errors {
        let mut errors = Errors::default();
        let mut wrong = |error: BuildError, at: &str| errors.push(error.at(at).at("redis"));
        if self.timeout.0.is_zero() || self.timeout > Duration::secs(60) {
            wrong(BuildError::new("a request cannot wait so long, or not at all", "write a time up to a minute, like `500ms`"), "timeout");
        }
        if self.username.is_some() && self.password.is_none() {
            wrong(BuildError::new("a user without a password", "write `password`, best as `${REDIS_PASSWORD}`"), "username");
        }
        if self.consumers.is_none() && self.revoked.is_none() {
            errors
                .push(BuildError::new("nothing is looked up there", "write `consumers: {}` or `revoked: {}`, or take it out").at("redis"));
        }
        if self.revoked.as_ref().is_some_and(|revoked| revoked.entries == 0) {
            errors.push(BuildError::new("nothing could be known", "write at least 1").at("entries").at("revoked").at("redis"));
        }
        let Some(consumers) = &self.consumers else { return errors };
        let mut wrong = |error: BuildError, at: &str| errors.push(error.at(at).at("consumers").at("redis"));
        if consumers.entries == 0 {
            wrong(BuildError::new("nothing could be known", "write at least 1"), "entries");
        }
        if consumers.unknown > consumers.cache {
            let reason = "what is none would be known for longer than what is one";
            wrong(BuildError::new(reason, "write no more than `cache`"), "unknown");
        }
        errors
    }
}

fn prefix() -> String {
    "tidegate:".to_owned()
}

fn timeout() -> Duration {
    Duration::millis(500)
}
