use std::sync::Arc;

use http::{HeaderValue, header};
use serde_json::{Map, Value};

use super::kept::Outcome;
use super::record::{self, Revocation};
use super::{Away, OnError, Parts};
use crate::ctx::name;
use crate::problem::{Kind, Problem};

/// Tokens that were taken back before their time, looked up in Redis.
#[derive(Debug)]
pub struct Revocations {
    parts: Arc<Parts>,
    /// What happens to a request of whose token nobody knows.
    on_error: OnError,
}

impl Revocations {
    pub(super) fn new(parts: Arc<Parts>, on_error: OnError) -> Self {
        Self { parts, on_error }
    }

    /// Whether the token with these claims was taken back.
    ///
    /// # Errors
    /// Nobody knows, and requests do not go on then.
    pub async fn has(&self, claims: &Map<String, Value>) -> Result<bool, Problem> {
        let (of_token, of_subject) = tokio::join!(self.find("jti", claims), self.find("sub", claims));
        match (of_token, of_subject) {
            // What one of them says is certain, whatever has become of the other.
            (Ok(true), _) | (_, Ok(true)) => Ok(true),
            (Ok(false), Ok(false)) => Ok(false),
            (Err(away), _) | (_, Err(away)) => match self.on_error {
                OnError::Allow => Ok(false),
                OnError::Deny => {
                    Err(Problem::new(Kind::Unavailable, "whether the token was taken back cannot be looked up now; try again soon")
                        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
                        .cause(away.0))
                }
            },
        }
    }

    async fn find(&self, claim: &str, claims: &Map<String, Value>) -> Result<bool, Away> {
        let Some(name) = claims.get(claim).and_then(name) else { return Ok(false) };
        let (parts, entry) = (&self.parts, Arc::<str>::from(format!("{claim}:{name}")));
        let found = parts.revocations.find(entry.clone(), parts.until(), || parts.clone().revocation(entry)).await.map_err(Away)?;
        Ok(found.is_some_and(|revocation| revocation.takes(claims)))
    }
}

impl Revocation {
    fn takes(&self, claims: &Map<String, Value>) -> bool {
        let of_issuer = self.issuer.as_ref().is_none_or(|issuer| claims.get("iss").and_then(Value::as_str) == Some(issuer));
        // One that does not say when it was issued may have been before.
        let issued = claims.get("iat").and_then(Value::as_f64);
        of_issuer && self.before.is_none_or(|before| issued.is_none_or(|issued| issued < before.seconds()))
    }
}

impl Parts {
    async fn revocation(self: Arc<Self>, entry: Arc<str>) -> Outcome<Revocation> {
        let name = format!("{}revoked:{entry}", self.prefix);
        let fields = self.link.fields(&name).await;
        // What is there takes back, whatever it is.
        let read = |fields: Result<_, _>| {
            let (revocation, wrong) = fields.map_or_else(|why| (Revocation::default(), vec![why]), record::revocation);
            wrong.iter().for_each(|why| log::warn!("{name:?} in Redis takes back more than it may mean to: {why}"));
            Ok(revocation)
        };
        self.told("revocation", &name, fields.map(|found| found.map(read)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_revocation_takes_what_it_says_and_no_more() {
        let of = |before: Option<&str>, issuer: Option<&str>| Revocation {
            before: before.map(|before| before.parse().unwrap()),
            issuer: issuer.map(ToOwned::to_owned),
        };
        let year = 1_767_225_600; // 2026-01-01
        let half = of(Some("2026-01-01T00:00:00.5Z"), None);
        let (all, old, one) = (of(None, None), of(Some("2026-01-01T00:00:00Z"), None), of(None, Some("https://a")));
        for (revocation, claims, takes) in [
            (&all, json!({}), true),
            (&old, json!({"iat": year - 1}), true),
            (&old, json!({}), true),
            (&old, json!({"iat": "now"}), true),
            (&old, json!({"iat": year}), false),
            (&half, json!({"iat": year}), true),
            (&half, json!({"iat": year + 1}), false),
            (&one, json!({"iss": "https://a"}), true),
            (&one, json!({"iss": "https://b"}), false),
            (&one, json!({}), false),
        ] {
            assert_eq!(revocation.takes(claims.as_object().unwrap()), takes, "{revocation:?} {claims}");
        }
    }
}
