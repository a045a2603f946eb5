//! Lets requests through that carry a JSON Web Token of the right issuer (RFC 7519, RFC 8725), as a bearer token (RFC 6750). Its claims are then known
//! to later policies as `{claims.NAME}`, and one of them can name the consumer.
//!
//! ```yaml
//! policies:
//!   - jwt:
//!       issuer: "https://id.example.com"   # an OpenID provider, which says where its keys are
//!       audience: api
//!       # keys: [{ id: k1, algorithm: RS256, pem_file: keys/public.pem }, { jwks_file: keys/jwks.json }]
//!       # jwks: "https://id.example.com/keys"
//!       scopes: [orders.read]
//!       consumer: sub
//! ```

mod cache;
pub(super) mod challenge;
pub(super) mod claims;
mod config;
mod issuer;
mod keys;
mod needs;
pub(super) mod token;
#[cfg(test)]
mod vectors;

pub use config::{Audience, Config, Expiry, IssuerConfig, KeyConfig, Unknown};
pub(super) use issuer::rules;
pub use needs::Needs;
pub(super) use needs::{is_exposed, places};

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::Guard;
use pingora_http::RequestHeader;
use serde_json::{Map, Value};

use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::policy::auth::Authenticates;
use crate::policy::auth::caller::Caller;
use crate::policy::auth::jwks::{KeySet, Known, Provider, Wish};
use crate::policy::auth::revoked::Revoked;
use crate::policy::auth::source::{Several, Sources};
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::Problem;
use crate::types::Size;
use cache::{Tokens, Verified};
use challenge::Challenge;
use claims::{Window, grants, proven};
use issuer::{Issuer, Keys};
use token::{Refusal, Token, Unverified};

/// The most that clocks may differ: RFC 7519 §4.1.4 allows "no more than a few minutes", and one is enough where clocks are kept.
const MOST_LEEWAY: Duration = Duration::from_secs(60);

/// `jwt`, ready to run.
#[derive(Debug)]
pub struct Jwt {
    sources: Sources,
    max_size: usize,
    issuers: Box<[Issuer]>,
    expiry: Expiry,
    tokens: Tokens,
    revoked: Revoked,
    caller: Caller,
    forward: bool,
    challenge: Challenge,
}

/// Why a token goes no further, for now or for good.
#[derive(Debug)]
enum Stop {
    Refused(Refusal),
    /// Its key is not among those of this version.
    Unknown(Arc<Provider>, u64, Refusal),
    /// Its issuer has no keys that may be used.
    NoKeys(Arc<Provider>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<&'static str> for Stop {
    fn from(detail: &'static str) -> Self {
        Stop::Refused(detail.into())
    }
}

impl Policy for Jwt {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        bounds(config.leeway, config.max_size)?;
        if let Some(parameter) = &config.query {
            cx.told.credential(parameter);
        }
        let challenge = Challenge::new(&config.realm)?;
        cx.told.challenge(challenge.bare());
        Ok(Self {
            sources: Sources::of_tokens(config.header.as_deref(), config.query.as_deref(), config.cookie.as_deref())?,
            max_size: config.max_size.bytes(),
            issuers: issuers(config, cx)?,
            expiry: config.expiry,
            tokens: Tokens::new(config.cache.0),
            revoked: Revoked::build(config.revoked.as_deref(), cx)?,
            caller: Caller::new(cx, config.unknown_consumer),
            forward: config.forward,
            challenge,
        })
    }

    fn files(config: &Config) -> Vec<&str> {
        config.files()
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        let token = match self.sources.find(req) {
            Ok(Some(token)) => token,
            Ok(None) => return Err(self.challenge.missing()),
            Err(Several) => return Err(self.challenge.several()),
        };
        let verified = match self.verify(&token) {
            Ok(verified) => verified,
            Err(Stop::Refused(refusal)) => return Err(self.challenge.invalid(refusal)),
            // Boxed: it hardly ever comes to that, and every request would hold the room for it.
            Err(Stop::Unknown(provider, version, _)) => Box::pin(self.again(&token, &provider, Some(version))).await?,
            Err(Stop::NoKeys(provider)) => Box::pin(self.again(&token, &provider, None)).await?,
        };
        let Some((issuer, claims)) = self.issuers.get(verified.issuer).zip(verified.claims.as_object()) else {
            return Err(self.challenge.missing());
        };
        proven(claims, cx.client_cert.as_deref()).map_err(|refusal| self.challenge.invalid(refusal))?;
        self.revoked.check(claims, &self.challenge).await?;
        if !grants(claims, &issuer.scopes) {
            return Err(self.challenge.insufficient(&issuer.scopes, claims));
        }
        if let Some(path) = &issuer.consumer {
            // The token has the say: whom another policy has found is not whom it names.
            cx.identify(self.caller.of(claims, path).await?, None);
        }
        cx.claims = Some(verified.claims.clone());
        Ok(Flow::Next)
    }

    fn upstream_request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<(), Problem> {
        if self.forward { Ok(()) } else { self.sources.remove(req) }
    }
}

impl Authenticates for Jwt {
    fn sees(&self, req: &RequestHeader, _cx: &Ctx) -> bool {
        !matches!(self.sources.find(req), Ok(None))
    }

    fn missing(&self) -> Option<Problem> {
        Some(self.challenge.missing())
    }
}

impl Jwt {
    /// Finds a token to be good: one that was found so before, or by its issuer's keys and rules.
    fn verify(&self, token: &[u8]) -> Result<Arc<Verified>, Stop> {
        if token.len() > self.max_size {
            return Err("the token is too long".into());
        }
        let now = now();
        if let Some(known) = self.tokens.find(token)
            && self.holds(&known, now)
        {
            return Ok(known);
        }
        let signed = Token::read(token)?;
        // What the token says of itself only tells with which keys it is verified.
        let claims =
            token::object(&signed.payload).ok_or("the token's claims are not a JSON object, have a member twice, or nest too deeply")?;
        let (number, issuer) = self.issuer(&claims)?;
        let present = issuer.keys.present();
        let verdict = issuer.keys.usable(&present).map(|keys| signed.verify(keys, issuer.algorithms.as_deref()));
        if let Some(Err(Unverified::Wrong(refusal))) = verdict {
            return Err(refusal.into());
        }
        // One that is refused whoever has signed it is not worth a wait.
        issuer.rules.check(signed.typ.as_deref(), &claims, now)?;
        match (verdict, &issuer.keys) {
            (Some(Ok(())), _) => {}
            (Some(Err(Unverified::Unknown(refusal))), Keys::Fetched(provider)) => {
                return Err(Stop::Unknown(provider.clone(), version(&present), refusal));
            }
            (None, Keys::Fetched(provider)) => return Err(Stop::NoKeys(provider.clone())),
            (Some(Err(Unverified::Unknown(refusal) | Unverified::Wrong(refusal))), _) => return Err(refusal.into()),
            (None, Keys::Own(_)) => return Err(Refusal::from("the token is signed with an unknown key").into()),
        }
        let window = Window::of(&claims, issuer.rules.leeway)?;
        let verified = Arc::new(Verified { issuer: number, version: version(&present), window, claims: Arc::new(Value::Object(claims)) });
        self.tokens.keep(token, &verified);
        Ok(verified)
    }

    /// Whether a token that was good is so still.
    fn holds(&self, known: &Verified, now: f64) -> bool {
        let Some(issuer) = self.issuers.get(known.issuer) else { return false };
        let present = issuer.keys.present();
        issuer.keys.usable(&present).is_some() && version(&present) == known.version && known.window.check(now, self.expiry).is_ok()
    }

    /// The issuer that a token says it is of, by its number.
    fn issuer(&self, claims: &Map<String, Value>) -> Result<(usize, &Issuer), Refusal> {
        let named =
            |issuer: &Issuer| issuer.rules.issuer.as_ref().is_none_or(|name| claims.get("iss").and_then(Value::as_str) == Some(name));
        match (&*self.issuers, self.issuers.iter().position(named)) {
            // Who is alone is found out by its rules.
            ([alone], None) => Ok((0, alone)),
            (all, Some(number)) => all.get(number).map(|issuer| (number, issuer)).ok_or_else(|| Refusal::from(OTHER)),
            (_, None) => Err(match claims.get("iss") {
                None => "the token has no issuer (iss)".into(),
                Some(other) => Refusal::because(OTHER, format!("iss {}", claims::quoted(other))),
            }),
        }
    }

    /// Waits for other keys, or the first ones, and looks at the token once more.
    async fn again(&self, token: &[u8], provider: &Provider, version: Option<u64>) -> Result<Arc<Verified>, Problem> {
        let mut asked = version;
        loop {
            let wish = provider.renew(asked).await;
            return match self.verify(token) {
                Ok(verified) => Ok(verified),
                Err(Stop::Refused(refusal)) => Err(self.challenge.invalid(refusal)),
                // Others have renewed them in the meantime, and maybe too early for this one.
                Err(Stop::Unknown(_, now, _)) if asked == version && version.is_some_and(|version| version != now) => {
                    asked = Some(now);
                    continue;
                }
                // It is certain only where the issuer was asked, and not long ago.
                Err(Stop::Unknown(_, _, refusal)) if wish != Wish::Open && !provider.is_in_trouble() => {
                    Err(self.challenge.invalid(refusal))
                }
                Err(Stop::Unknown(..) | Stop::NoKeys(_)) => Err(provider.unavailable()),
            };
        }
    }
}

const OTHER: &str = "the token is from another issuer (iss)";

impl Keys {
    /// What is known of keys that are fetched.
    fn present(&self) -> Option<Guard<Arc<Known>>> {
        if let Keys::Fetched(provider) = self { Some(provider.known()) } else { None }
    }

    /// The keys, where they may be used.
    fn usable<'k>(&'k self, present: &'k Option<Guard<Arc<Known>>>) -> Option<&'k KeySet> {
        match (self, present) {
            (Keys::Own(keys), _) => Some(keys),
            (Keys::Fetched(provider), Some(known)) => provider.keys(known),
            (Keys::Fetched(_), None) => None,
        }
    }
}

/// Which keys they are.
fn version(present: &Option<Guard<Arc<Known>>>) -> u64 {
    present.as_ref().map_or(0, |known| known.version)
}

/// Checks what bounds the look at a token.
///
/// # Errors
/// What cannot be meant, at its place.
pub(super) fn bounds(leeway: crate::types::Duration, max_size: Size) -> Result<(), BuildError> {
    if leeway.0 > MOST_LEEWAY {
        return Err(BuildError::new("the leeway is too long", "write at most `60s`, and keep the clocks in step").at("leeway"));
    }
    if max_size.bytes() == 0 {
        return Err(BuildError::new("no token fits into nothing", "write a size like `8KiB`").at("max_size"));
    }
    Ok(())
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn issuers(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Box<[Issuer]>, BuildError> {
    let alone = [("issuer", config.issuer.is_some()), ("keys", !config.keys.is_empty()), ("jwks", config.jwks.is_some())];
    if let Some((name, _)) = alone.iter().find(|(_, is_there)| *is_there && !config.issuers.is_empty()) {
        let reason = format!("there are `issuers`, each with its own, and `{name}`");
        return Err(BuildError::new(reason, format!("move `{name}` into one of the `issuers`, or leave these out")).at(*name));
    }
    let all = config.all();
    for (at, (_, issuer)) in all.iter().enumerate() {
        let error = match all.iter().take(at).position(|(_, other)| other.issuer == issuer.issuer) {
            Some(first) => {
                let error = BuildError::new(format!("`{}` is named twice", issuer.issuer), "give all its keys to one entry").at("issuer");
                error.at(at).beside([first.into(), "issuer".into()])
            }
            None if issuer.issuer == "any" && all.len() > 1 => {
                let reason = "beside other issuers `any` would let their tokens be signed by anyone's keys";
                BuildError::new(reason, "name the issuer, or give it a policy of its own").at("issuer").at(at)
            }
            None => continue,
        };
        return Err(error.at("issuers"));
    }
    let built = all.iter().map(|(place, issuer)| {
        Issuer::build(issuer, config, cx).map_err(|error| match place {
            Some(place) => error.at(*place).at("issuers"),
            None => error,
        })
    });
    built.collect()
}

#[cfg(test)]
mod several;
#[cfg(test)]
pub(crate) mod tests;
