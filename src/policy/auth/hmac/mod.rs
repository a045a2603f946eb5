//! Identifies the consumer by a signature of its request, made a short time ago and not seen before: HTTP message signatures (RFC 9421), or the older form.
//!
//! ```yaml
//! consumers:
//!   - name: billing
//!     signing_keys: [{ id: billing-1, secret: "${BILLING_SECRET}" }]   # or `public_key: |` and PEM
//! policies:
//!   - hmac: { max_age: 1m }                   # RFC 9421
//!   - hmac: { forms: [cavage, rfc9421] }      # `Authorization: Signature keyId=…` besides
//! ```
//!
//! What the signature covers is held to `components`, its time to `max_age` and `clock_skew`. A signature is good once, on whatever route: what was taken
//! is remembered until it is too old. A request that is sent again needs a new one, by another time or another `nonce`; so does one whose body did not come
//! through. Each process remembers for itself, from its start: where there are several, keep `max_age` short. Where there is a body its digest has to be
//! covered, and the body is read to its end before the service hears of the request; without a length in its header it may have 64 KiB (411).

mod cavage;
mod challenge;
mod component;
mod config;
mod digest;
mod message;
mod needs;

pub use config::{Body, Config, Form};
pub use needs::Needs;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, header};
use pingora_http::RequestHeader;
use ring::digest as hash;

use super::Authenticates;
use crate::building::BuildError;
use crate::consumer::{Consumers, SigningAlgorithm, SigningKey};
use crate::ctx::{BodyLimit, Ctx};
use crate::policy::{Flow, Phases, Policy, PolicyCx};
use crate::problem::{Kind, Problem};
use crate::state::{Memory, Noted, Notes, Signatures};
use crate::types::SignedBody;
use message::Choice;

/// `hmac`, ready to run.
#[derive(Debug)]
pub struct Hmac {
    forms: Vec<Form>,
    components: Vec<String>,
    max_age: u64,
    clock_skew: u64,
    /// Bytes of a body that is verified; none where it is not.
    body: Option<u64>,
    choice: Choice,
    forward: bool,
    challenge: Vec<(HeaderName, HeaderValue)>,
    consumers: Arc<Consumers>,
    /// None where signatures are good as often as they are sent.
    notes: Option<Notes>,
    signatures: Arc<Signatures>,
}

/// A signature as a request carries it, in whichever form.
#[derive(Debug)]
struct Signed {
    /// What it calls its key.
    key: String,
    /// How it says that it was made.
    algorithm: Option<SigningAlgorithm>,
    /// The text that it signs.
    base: Vec<u8>,
    signature: Vec<u8>,
    times: Times,
    /// The components that are covered whole, in the names of RFC 9421.
    covered: Vec<String>,
    /// What it says of the body.
    body: Vec<SignedBody>,
}

/// Seconds since 1970.
#[derive(Debug)]
struct Times {
    signed: u64,
    expires: Option<u64>,
}

/// Why a signature is not taken, for its sender.
#[derive(Debug)]
struct Wrong(Cow<'static, str>);

impl From<&'static str> for Wrong {
    fn from(detail: &'static str) -> Self {
        Self(detail.into())
    }
}

impl From<String> for Wrong {
    fn from(detail: String) -> Self {
        Self(detail.into())
    }
}

impl Policy for Hmac {
    type Config = Config;

    const PHASES: Phases = Phases::REQUEST.and(Phases::REQUEST_BODY).and(Phases::UPSTREAM_REQUEST);

    fn build(config: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        for mistake in config.mistakes() {
            cx.mistakes.push(mistake);
        }
        let challenge = challenge::of(config)?;
        if let Some((_, value)) = challenge.first() {
            cx.told.challenge(value.clone());
        }
        let memory = Memory { age: config.max_age.0.as_secs(), most: config.remember };
        Ok(Self {
            forms: config.forms.clone(),
            components: config.components.clone(),
            max_age: memory.age,
            clock_skew: config.clock_skew.0.as_secs(),
            body: (config.body == Body::Verify).then_some(config.max_body.0),
            choice: Choice { label: config.label.clone(), tag: config.tag.clone() },
            forward: config.forward,
            challenge,
            consumers: cx.consumers.clone(),
            notes: (memory.most > 0).then(|| Notes::of(&cx.shared.signatures, memory)),
            signatures: cx.shared.signatures.clone(),
        })
    }

    async fn request(&self, req: &mut RequestHeader, cx: &mut Ctx) -> Result<Flow, Problem> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signed = self.read(req, cx).map_err(|wrong| self.refuse(wrong))?;
        let signed = signed.ok_or_else(|| self.refuse(MISSING.into()))?;
        self.hold(&signed, req, now).map_err(|wrong| self.refuse(wrong))?;
        let key = self.verify(&signed)?;
        self.once(&signed, now, cx)?;
        cx.identify(Some(key.consumer.clone()), Some(key.id.clone()));
        if let Some(bytes) = self.body {
            let empty = signed.body.is_empty().then_some(SignedBody::Empty);
            let digests = cx.signed_body.get_or_insert_default();
            signed.body.into_iter().chain(empty).for_each(|signed| digests.expect(signed));
            let bytes = cx.whole_body.map_or(bytes, |other| bytes.min(other.bytes));
            cx.whole_body = Some(BodyLimit { bytes, policy: "hmac" });
        }
        Ok(Flow::Next)
    }

    fn request_body(&self, body: &[u8], cx: &mut Ctx) -> Result<(), Problem> {
        match cx.signed_body.as_ref().and_then(|digests| digests.wrong(body)) {
            None => Ok(()),
            Some(SignedBody::Empty) => Err(self.refuse(UNSIGNED.into())),
            Some(_) => Err(self.refuse("the body is not the one that was signed".into())),
        }
    }

    fn upstream_request(&self, req: &mut RequestHeader, _cx: &mut Ctx) -> Result<(), Problem> {
        if !self.forward {
            if self.takes(Form::Cavage) && cavage::credential(req).is_some() {
                req.remove_header(&header::AUTHORIZATION);
            }
            if self.takes(Form::Rfc9421) {
                message::remove(req, &self.choice);
            }
        }
        Ok(())
    }
}

impl Authenticates for Hmac {
    fn sees(&self, req: &RequestHeader, _cx: &Ctx) -> bool {
        self.takes(Form::Cavage) && cavage::credential(req).is_some() || self.takes(Form::Rfc9421) && message::is_there(req, &self.choice)
    }

    fn missing(&self) -> Option<Problem> {
        Some(self.refuse(MISSING.into()))
    }
}

const MISSING: &str = "a signature is required";
const UNSIGNED: &str = "the signature covers no digest of the body";

impl Hmac {
    fn takes(&self, form: Form) -> bool {
        self.forms.contains(&form)
    }

    /// The signature that a request carries.
    fn read(&self, req: &RequestHeader, cx: &Ctx) -> Result<Option<Signed>, Wrong> {
        let message = if self.takes(Form::Rfc9421) { message::read(req, cx, &self.choice)? } else { None };
        let older = if self.takes(Form::Cavage) { cavage::read(req, cx)? } else { None };
        match (message, older) {
            (Some(_), Some(_)) => Err("there is more than one signature".into()),
            (message, older) => Ok(message.or(older)),
        }
    }

    /// Holds what a signature says to what is asked of one.
    fn hold(&self, signed: &Signed, req: &RequestHeader, now: u64) -> Result<(), Wrong> {
        let Times { signed: at, expires } = signed.times;
        if at > now.saturating_add(self.clock_skew) {
            return Err("the signature is from the future".into());
        }
        if now.saturating_sub(at) > self.max_age {
            return Err("the signature is too old".into());
        }
        if expires.is_some_and(|expires| expires < now) {
            return Err("the signature has expired".into());
        }
        let missing = self.components.iter().find(|wanted| !covers(&signed.covered, wanted, req.uri.query().is_some()));
        if let Some(missing) = missing {
            return Err(format!("the signature does not cover `{missing}`").into());
        }
        let length = req.headers.get(header::CONTENT_LENGTH);
        let is_sent = req.headers.contains_key(header::TRANSFER_ENCODING) || length.is_some_and(|length| length != "0");
        if self.body.is_some() && is_sent && signed.body.is_empty() {
            return Err(UNSIGNED.into());
        }
        Ok(())
    }

    /// The key that it was made with. One that is not known, and one that is not right, take the same way.
    fn verify(&self, signed: &Signed) -> Result<&SigningKey, Problem> {
        let keys = &self.consumers.signing;
        let known = keys.find(&signed.key);
        let decoy = || {
            // Each unknown id has its sort, as each known one has, and which one nobody can tell beforehand.
            let count = u64::try_from(keys.sorts().len()).ok()?;
            keys.sorts().get(usize::try_from(self.signatures.lot(&signed.key).checked_rem(count)?).ok()?)
        };
        let right = known.or_else(decoy).is_some_and(|key| key.verifies(signed.algorithm, &signed.base, &signed.signature));
        known.filter(|_| right).ok_or_else(|| {
            let cause = if known.is_some() { "the signature is not by the key" } else { "no consumer has the key" };
            let id: String = signed.key.chars().take(64).collect();
            self.refuse("the signature is not valid".into()).cause(format!("{cause} {id:?}"))
        })
    }

    /// Takes it, unless it was taken before. What it signs is what counts: of some algorithms anybody can make a second signature from a first.
    fn once(&self, signed: &Signed, now: u64, cx: &mut Ctx) -> Result<(), Problem> {
        let Some(notes) = &self.notes else { return Ok(()) };
        let mut context = hash::Context::new(&hash::SHA256);
        context.update(signed.key.as_bytes());
        context.update(b"\n");
        context.update(&signed.base);
        let hash = context.finish().as_ref().first_chunk().copied().unwrap_or_default();
        if cx.signature == Some(hash) {
            // Another of the same chain has taken it.
            return Ok(());
        }
        let wrong = match notes.note(&signed.key, hash, signed.times.signed, now) {
            Noted::New => {
                cx.signature = Some(hash);
                return Ok(());
            }
            Noted::Again => "the signature was used before",
            Noted::Forgotten => "whether the signature was used before is not known any more",
            Noted::Full(seconds) => {
                let cause =
                    format!("the key {:?} has as many signatures as others leave it: raise `remember`, or lower `max_age`", signed.key);
                let problem = Problem::new(Kind::Unavailable, "too many signed requests at the moment").cause(cause);
                return Err(problem.header(header::RETRY_AFTER, HeaderValue::from(seconds)));
            }
        };
        Err(self.refuse(wrong.into()))
    }

    fn refuse(&self, wrong: Wrong) -> Problem {
        let problem = Problem::new(Kind::Unauthorized, wrong.0);
        self.challenge.iter().fold(problem, |problem, (name, value)| problem.header(name.clone(), value.clone()))
    }
}

/// Whether what is covered takes in a component.
fn covers(covered: &[String], wanted: &str, has_query: bool) -> bool {
    let covers = |names: &[&str]| covered.iter().any(|name| names.contains(&name.as_str()));
    match wanted {
        "@query" if !has_query => true,
        "@path" | "@query" => covers(&[wanted, "@request-target", "@target-uri"]),
        "@request-target" | "@authority" | "@scheme" => covers(&[wanted, "@target-uri"]),
        wanted => covers(&[wanted]),
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
