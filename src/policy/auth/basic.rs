//! Identifies the consumer by a user name and a password (RFC 7617). The config holds only hashes of passwords, and the service sees none.
//!
//! ```yaml
//! consumers:
//!   - name: partner
//!     passwords:
//!       - { hash: "$argon2id$v=19$m=19456,t=2,p=1$…" }            # the user `partner`
//!       - { user: partner-batch, hash: "$2b$12$…" }
//! policies:
//!   - basic
//!   - basic: { realm: partners, cache: 1m }
//! ```
//!
//! `tidegate hash-key --password` makes the hash. To try a password takes tens of milliseconds, as it should, so it is done beside the workers, a few at a
//! time. The others wait, 256 at most, half of them of one client address, which take turns; what comes beyond, or has waited for two seconds, gets 503 with
//! `Retry-After`. A right password is then known for as long as `cache` says, a wrong one for a few seconds. A user name that nobody has takes as long as one
//! with a wrong password. Passwords that are short are found by trying many: put a `rate_limit` by `client_ip` above.

use std::sync::Arc;
use std::time;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, header};
use pingora_http::RequestHeader;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Authenticates;
use super::challenge::Challenge;
use super::source::{Scheme, Sources};
use crate::building::BuildError;
use crate::consumer::Consumers;
use crate::ctx::Ctx;
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};
use crate::state::{Attempt, LONGEST, Offload, Passwords};
use crate::types::Duration;

/// The settings of `basic`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What clients are told that the password is for. Default: `tidegate`.
    pub realm: String,
    /// For how long a right password is known without trying it again, at most `1h`; one in use is tried again a little earlier, and nobody waits. One that
    /// is taken out of the config, or gets another hash, is refused at once. Default: `5m`; `0s` tries each time.
    pub cache: Duration,
    /// Whether the service gets the user name and the password too. Default: `false`.
    pub forward: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { realm: "tidegate".to_owned(), cache: Duration::secs(300), forward: false }
    }
}

/// `basic`, ready to run.
#[derive(Debug)]
pub struct Basic {
    sources: Sources,
    challenge: Challenge,
    cache: time::Duration,
    forward: bool,
    consumers: Arc<Consumers>,
    passwords: Arc<Passwords>,
    offload: Arc<Offload>,
}

/// A user name and a password as they were sent.
struct Sent {
    text: String,
    /// The place of the colon between them.
    colon: usize,
}

/// Bytes of user name and password that are looked at, with the colon between them.
pub const MOST: usize = 1023;

impl Policy for Basic {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        if config.cache.0 > LONGEST {
            return Err(BuildError::new("a password is known for an hour at most", "write `1h` or less").at("cache"));
        }
        let challenge = Challenge::new("Basic", Some(&config.realm))?;
        cx.told.challenge(challenge.bare());
        Ok(Self {
            sources: Sources { header: Some(header::AUTHORIZATION), scheme: Scheme::Always("Basic".into()), query: None, cookie: None },
            challenge,
            cache: config.cache.into(),
            forward: config.forward,
            consumers: cx.consumers.clone(),
            passwords: cx.shared.passwords.clone(),
            offload: cx.shared.offload.clone(),
        })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        let sent = self.sent(req)?;
        let (user, password) = sent.parts();
        let login = self.consumers.by_user(user);
        let attempt = Attempt { user, login, costs: self.consumers.costs(), password: password.as_bytes(), client: cx.client };
        let pair = self.passwords.pair(attempt);
        let right = match self.passwords.known(pair, attempt, self.cache, &self.offload) {
            Some(right) => right,
            // Rare, and its future is large.
            None => Box::pin(self.passwords.verify(pair, attempt, &self.offload)).await.map_err(|_| busy())?,
        };
        match login.filter(|_| right) {
            Some(login) => {
                cx.identify(Some(login.consumer.clone()), Some(login.user.clone()));
                Ok(Flow::Next)
            }
            None => Err(self.challenge.invalid("the user name or the password is wrong")),
        }
    }

    fn upstream_request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<(), Problem> {
        if self.forward { Ok(()) } else { self.sources.remove(req) }
    }
}

impl Authenticates for Basic {
    fn sees(&self, req: &RequestHeader, _cx: &Ctx) -> bool {
        !matches!(self.sources.find(req), Ok(None))
    }

    fn missing(&self) -> Option<Problem> {
        Some(self.challenge.missing(MISSING))
    }
}

const MISSING: &str = "a user name and a password are required";

impl Basic {
    /// What the request carries.
    fn sent(&self, req: &RequestHeader) -> Result<Sent, Problem> {
        let several = |_| self.challenge.invalid("more than one Authorization was sent");
        let found = self.sources.find(req).map_err(several)?;
        let token = found.ok_or_else(|| self.challenge.missing(MISSING))?;
        if token.len() > MOST.div_ceil(3) * 4 {
            return Err(self.challenge.invalid("the user name or the password is too long"));
        }
        Sent::read(&token).ok_or_else(|| self.challenge.invalid("the user name and the password are not sent as RFC 7617 has it"))
    }
}

impl Sent {
    /// RFC 7617 §2: base64 of both with a colon between them, in UTF-8 without control characters.
    fn read(token: &[u8]) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(token).ok()?).ok()?;
        let colon = text.find(':')?;
        (!text.contains(char::is_control)).then_some(Self { text, colon })
    }

    fn parts(&self) -> (&str, &str) {
        let (user, rest) = self.text.split_at_checked(self.colon).unwrap_or_default();
        (user, rest.get(1..).unwrap_or_default())
    }
}

fn busy() -> Problem {
    Problem::new(Kind::Unavailable, "too many passwords are being tried; try again soon")
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::kit::{Kit, build};
    use crate::state::Shared;

    /// Of `pencil` and of `grün:weiß`.
    const CONSUMERS: &str = r#"[
        {"name": "ann", "passwords": [{"hash": "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$TNXVaepwoQBOVs70Xg+kbVgzd21gRaq+ul2VEICRv7g"}]},
        {"name": "bob", "passwords": [{"user": "bøb", "hash": "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$fQpuDOm+Bs9tyzVWY10tItwTNx8oz5jj1HryPlZ4bdI"}]},
        {"name": "cid", "passwords": [{"hash": "$2b$04$XKSqeh1I93xkQYf6WErzougS2WebBwr1aiWS1YIBBOu7XtRTmJ9FG"}]}
    ]"#;

    fn kit(config: &str) -> Kit<Basic> {
        Kit::<Basic>::with_consumers(config, CONSUMERS)
    }

    fn token(pair: &str) -> String {
        format!("Basic {}", STANDARD.encode(pair))
    }

    async fn refused(kit: &mut Kit<Basic>) -> String {
        let problem = kit.request().await.unwrap_err();
        assert_eq!(problem.kind, Kind::Unauthorized);
        assert_eq!(problem.headers, [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"tidegate\", charset=\"UTF-8\""))]);
        assert!(kit.cx.consumer.is_none() && kit.cx.credential.is_none());
        problem.detail.into_owned()
    }

    #[tokio::test]
    async fn a_user_with_the_right_password_is_the_consumer_and_the_service_sees_neither() {
        for (pair, consumer, user) in [("ann:pencil", "ann", "ann"), ("bøb:grün:weiß", "bob", "bøb"), ("cid:pencil", "cid", "cid")] {
            let mut kit = kit("{}").header("Authorization", &token(pair));
            // The second time it is known.
            for _ in 0..2 {
                kit.request().await.unwrap();
                assert_eq!((kit.cx.consumer.take().unwrap().name.as_str(), kit.cx.credential.take().as_deref()), (consumer, Some(user)));
            }
            assert!(kit.upstream_request().unwrap().headers.get("authorization").is_none());
        }
        let mut kit = kit(r#"{"forward":true,"cache":"0s"}"#).header("Authorization", &token("ann:pencil"));
        kit.request().await.unwrap();
        assert!(kit.upstream_request().unwrap().headers.get("authorization").is_some());
    }

    #[tokio::test]
    async fn a_wrong_password_and_a_user_that_nobody_is_are_refused_alike() {
        for pair in ["ann:pen", "ann:", "ann:grün:weiß", "dan:pencil", ":pencil", "Ann:pencil", "bob:grün:weiß"] {
            let mut kit = kit("{}").header("Authorization", &token(pair));
            for _ in 0..2 {
                assert_eq!(refused(&mut kit).await, "the user name or the password is wrong", "{pair}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_and_another_scheme_are_asked_for_a_password() {
        assert_eq!(refused(&mut kit("{}")).await, "a user name and a password are required");
        for other in ["Bearer x", "Basic", "Basicx", "Digest username=\"ann\""] {
            let mut kit = kit("{}").header("Authorization", other);
            let told = refused(&mut kit).await;
            let expected = if other == "Basic" { "as RFC 7617 has it" } else { "are required" };
            assert!(told.contains(expected), "{other}: {told}");
        }
    }

    #[tokio::test]
    async fn what_could_be_read_in_two_ways_is_refused() {
        for malformed in
            ["Basic !!", "Basic YW5u", "Basic YW5uOnBlbmNpbA", "Basic YW5uOnBlbmNpbA== x", &token("ann:pen\ncil"), &token("ann:\0")]
        {
            assert!(refused(&mut kit("{}").header("Authorization", malformed)).await.contains("as RFC 7617 has it"), "{malformed}");
        }
        let latin = format!("Basic {}", STANDARD.encode(b"b\xf8b:x"));
        assert!(refused(&mut kit("{}").header("Authorization", &latin)).await.contains("as RFC 7617 has it"));
        let mut twice = kit("{}").header("Authorization", &token("ann:pencil")).header("Authorization", "Bearer x");
        assert_eq!(refused(&mut twice).await, "more than one Authorization was sent");
        let mut long = kit("{}").header("Authorization", &token(&format!("ann:{}", "x".repeat(1100))));
        assert_eq!(refused(&mut long).await, "the user name or the password is too long");
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for (config, place) in [(r#"{"cache":"2h"}"#, "cache"), (r#"{"realm":"a\"b"}"#, "realm")] {
            assert_eq!(build::<Basic>(config, "[]", &Shared::default()).unwrap_err().path.to_string(), place, "{config}");
        }
    }
}
