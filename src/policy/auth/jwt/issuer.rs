//! One issuer: its keys, and what its tokens must say.

use std::sync::Arc;

use jsonwebtoken::Algorithm;
use serde_json::Value;

use super::claims::{Rules, media_type};
use super::config::{Audience, Config, Expiry, IssuerConfig};
use super::keys;
use crate::building::BuildError;
use crate::policy::PolicyCx;
use crate::policy::auth::jwks::{KeySet, Provider, Source, configured};
use crate::types::Duration;
use crate::upstream::Base;

/// One issuer, ready to run.
#[derive(Debug)]
pub(super) struct Issuer {
    /// What its tokens must say.
    pub rules: Rules,
    /// What they may be signed with; none for all that keys are for.
    pub algorithms: Option<Box<[Algorithm]>>,
    /// Its keys.
    pub keys: Keys,
    /// Scopes that they must have.
    pub scopes: Vec<String>,
    /// The claim that names the consumer.
    pub consumer: Option<String>,
}

/// Where an issuer's keys are.
#[derive(Debug)]
pub(super) enum Keys {
    /// Here.
    Own(KeySet),
    /// They are fetched.
    Fetched(Arc<Provider>),
}

impl Issuer {
    /// # Errors
    /// What is wrong, at its place in `config`.
    pub(super) fn build(config: &IssuerConfig, all: &Config, cx: &mut PolicyCx<'_>) -> Result<Self, BuildError> {
        let named = config.algorithms.iter().flatten().enumerate();
        let algorithms = named.map(|(at, name)| configured(name).map_err(|error| error.at(at).at("algorithms")));
        let algorithms: Vec<Algorithm> = algorithms.collect::<Result<_, _>>()?;
        let issuer = match config.issuer.as_str() {
            "" => return Err(BuildError::new("an issuer is needed", "write the `iss` of the tokens, or `any`").at("issuer")),
            "any" => None,
            issuer => Some(issuer.to_owned()),
        };
        Ok(Self {
            rules: rules(config, issuer, all.expiry, all.leeway)?,
            keys: keys(config, &algorithms, cx)?,
            algorithms: (!algorithms.is_empty()).then(|| algorithms.into()),
            scopes: config.scopes.clone().unwrap_or_default(),
            consumer: config.consumer.clone(),
        })
    }
}

/// What tokens of an issuer must say; none accepts every issuer.
///
/// # Errors
/// What is wrong, at its place in `config`.
pub(crate) fn rules(config: &IssuerConfig, issuer: Option<String>, expiry: Expiry, leeway: Duration) -> Result<Rules, BuildError> {
    let (required, scopes) = (config.required.as_deref().unwrap_or_default(), config.scopes.as_deref().unwrap_or_default());
    for (name, words) in [("scopes", scopes), ("required", required)] {
        if let Some(index) = words.iter().position(|word| !is_word(word)) {
            let reason = "this is not one word of plain letters";
            return Err(BuildError::new(reason, "write one per entry, without spaces, quotes or backslashes").at(index).at(name));
        }
    }
    for (name, value) in [("typ", &config.typ), ("consumer", &config.consumer), ("jwks", &config.jwks)] {
        if value.as_deref() == Some("") {
            return Err(BuildError::new(format!("`{name}` is empty"), format!("write a value, or leave `{name}` out")).at(name));
        }
    }
    let claims = config.claims.iter().flatten();
    Ok(Rules {
        issuer,
        audience: audience(config.audience.as_ref()).map_err(|error| error.at("audience"))?,
        expiry,
        required: required.to_vec(),
        values: claims.map(|(name, value)| values(name, value)).collect::<Result<_, _>>()?,
        typ: config.typ.as_deref().map(media_type),
        leeway: leeway.0.as_secs_f64(),
    })
}

fn keys(config: &IssuerConfig, algorithms: &[Algorithm], cx: &mut PolicyCx<'_>) -> Result<Keys, BuildError> {
    let IssuerConfig { issuer, keys, jwks, .. } = config;
    if !keys.is_empty() {
        if jwks.is_some() {
            return Err(BuildError::new("an issuer has its `keys` here or there", "remove `jwks`, or `keys`").at("jwks"));
        }
        let own = keys::build(keys, cx.folder)?;
        if !algorithms.is_empty() && !own.is_for(algorithms) {
            return Err(BuildError::new("no key is for one of these algorithms", "name those of the keys, or none").at("algorithms"));
        }
        return Ok(Keys::Own(own));
    }
    let is_url =
        ["https://", "http://"].iter().any(|scheme| issuer.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let source = match jwks {
        Some(url) => Source::Jwks(url),
        None if is_url => Source::Issuer(issuer),
        None => {
            let fix = "write `keys:` with at least one of `{ algorithm, secret }`, `{ algorithm, pem_file }` and `{ jwks_file }`, or `jwks: https://…`; \
                       the URL of an OpenID provider as `issuer` does too";
            return Err(BuildError::new("there is no key to verify tokens with", fix).at("keys"));
        }
    };
    let base = Base { shared: cx.shared, folder: cx.folder, names: cx.names };
    let fetch = config.fetch.clone().unwrap_or_default();
    cx.providers.get(source, algorithms, &fetch, &base).map(Keys::Fetched)
}

/// What may stand in a challenge (RFC 6750 §3).
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}

fn audience(audience: Option<&Audience>) -> Result<Option<Vec<String>>, BuildError> {
    let names = match audience {
        None => &[],
        Some(Audience::One(name)) if name == "any" => return Ok(None),
        Some(Audience::One(name)) => std::slice::from_ref(name),
        Some(Audience::Several(names)) => names.as_slice(),
    };
    if names.is_empty() || names.iter().any(String::is_empty) {
        return Err(BuildError::new("an audience is needed", "write what the tokens name as `aud`, or `any`"));
    }
    if names.iter().any(|name| name == "any") {
        return Err(BuildError::new("`any` stands for every audience", "write `audience: any`, or take it off the list"));
    }
    Ok(Some(names.to_vec()))
}

/// The values of which a claim must have one.
fn values(name: &str, value: &Value) -> Result<(String, Vec<Value>), BuildError> {
    let at = |error: BuildError| error.at(name).at("claims");
    if !is_word(name) {
        return Err(at(BuildError::new("this is not the name of a claim", "write it without spaces, quotes or backslashes")));
    }
    let values = match value {
        Value::Array(values) => values.clone(),
        value => vec![value.clone()],
    };
    if values.is_empty() || values.iter().any(|value| value.is_null() || value.is_array() || value.is_object()) {
        return Err(at(BuildError::new(
            "a claim is compared with a value or several",
            "write one like `acme`, or a list like `[admin, editor]`",
        )));
    }
    Ok((name.to_owned(), values))
}
