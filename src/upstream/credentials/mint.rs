use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue, header};

use super::Lacking;
use super::config::value;
use super::signed::SignedConfig;
use crate::signing::Signer;
use crate::state::{Flights, Offload, Stock};
use crate::upstream::Base;

/// Signs tokens, each once for all requests that tell the same, and keeps them.
pub(super) struct Mint {
    signer: Arc<Signer>,
    offload: Arc<Offload>,
    audience: Box<str>,
    /// What stands before a token in its header.
    scheme: &'static str,
    ttl: Duration,
    /// None where each request gets one of its own.
    tokens: Option<Arc<Tokens>>,
}

/// What outlives a snapshot: the tokens of one signer and one config, by what they tell.
#[derive(Debug)]
struct Tokens {
    kept: Stock<Arc<str>, HeaderValue>,
    under_way: Arc<Flights<Arc<str>, Result<HeaderValue, Lacking>>>,
}

/// Bytes of what is told of one caller.
const MOST: usize = 16 * 1024;

/// Tokens that wait to be signed, each for any number of requests.
const WAITING: usize = 1024;

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mint").field("signer", &self.signer).field("audience", &self.audience).finish_non_exhaustive()
    }
}

impl Mint {
    /// For tokens that go out in this header.
    pub fn new(config: &SignedConfig, header: &HeaderName, base: &Base<'_>, signer: Arc<Signer>) -> Self {
        let make = || Tokens { kept: Stock::new(config.cache.0), under_way: Arc::new(Flights::new(WAITING)) };
        // With another key, or any other setting, nothing is left of what was kept.
        let tokens = || base.shared.slots.get_or_make(&format!("{} {config:?}", signer.id()), make);
        Self {
            tokens: (config.cache.0 > 0).then(tokens),
            offload: base.shared.offload.clone(),
            audience: config.audience.as_str().into(),
            scheme: if *header == header::AUTHORIZATION { "Bearer " } else { "" },
            ttl: config.ttl.0,
            signer,
        }
    }

    /// The token that tells this, where there is one.
    pub fn at_hand(&self, about: &str) -> Option<HeaderValue> {
        self.tokens.as_ref()?.kept.find(about)
    }

    /// One that tells this, a JSON object.
    ///
    /// # Errors
    /// There is too much to tell, or it could not be signed in time.
    pub async fn token(self: &Arc<Self>, about: &str) -> Result<HeaderValue, Lacking> {
        if about.len() > MOST {
            return Err(lacking("a token about this caller would be longer than 16 KiB".to_owned()));
        }
        // A quick one is there before anybody else on this worker asks for it.
        let Some(tokens) = self.tokens.as_ref().filter(|_| self.signer.is_slow()) else { return self.sign(about).await };
        let (this, about) = (self.clone(), Arc::<str>::from(about));
        let signed = tokens.under_way.begin(about.clone(), || async move {
            match this.at_hand(&about) {
                Some(value) => Ok(value),
                None => this.sign(&about).await,
            }
        });
        let mut signed = signed.ok_or_else(|| lacking("too many tokens wait to be signed".to_owned()))?;
        let signed = signed.wait_for(Option::is_some).await.ok().and_then(|signed| signed.clone());
        signed.unwrap_or_else(|| Err(lacking("who signed it is gone".to_owned())))
    }

    async fn sign(&self, about: &str) -> Result<HeaderValue, Lacking> {
        let began = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut claims = serde_json::json!({
            "iss": self.signer.issuer(),
            "aud": &*self.audience,
            "iat": now,
            "exp": now + self.ttl.as_secs(),
            "jti": format!("{:032x}", rand::random::<u128>()),
        })
        .to_string();
        if let Some(more) = about.strip_prefix('{').filter(|more| *more != "}") {
            claims.pop();
            claims.push(',');
            claims.push_str(more);
        }
        let token = self.signer.sign(&claims, &self.offload).await;
        let token = token.map_err(|why| lacking(format!("a token could not be signed: {why}")))?;
        let value = value(&format!("{}{token}", self.scheme)).map_err(|error| lacking(error.reason))?;
        if let Some(tokens) = &self.tokens {
            let holds = (self.ttl / 5 * 4).saturating_sub(began.elapsed());
            tokens.kept.keep(about.into(), value.clone(), about.len() + value.len(), holds);
        }
        Ok(value)
    }

    /// Bytes of tokens that are kept.
    #[cfg(test)]
    pub fn held(&self) -> u64 {
        self.tokens.as_ref().map_or(0, |tokens| tokens.kept.held())
    }
}

fn lacking(cause: String) -> Lacking {
    Lacking { cause, after: Duration::from_secs(1) }
}
