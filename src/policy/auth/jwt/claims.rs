//! What the claims of a token must say (RFC 7519 §4.1, RFC 8725 §3).

use serde_json::{Map, Value};

use super::config::Expiry;
use super::token::{Refusal, shown};
use crate::ctx;
use crate::types::Certificate;

/// The rules, ready to run.
#[derive(Debug)]
pub(crate) struct Rules {
    /// The one issuer; none accepts every one.
    pub issuer: Option<String>,
    /// The audiences of which one is needed; none accepts all.
    pub audience: Option<Vec<String>>,
    /// Whether `exp` is needed.
    pub expiry: Expiry,
    /// Names of claims that must be there.
    pub required: Vec<String>,
    /// Claims that must have one of these values.
    pub values: Vec<(String, Vec<Value>)>,
    /// The media type without `application/`, lower case.
    pub typ: Option<String>,
    /// Seconds that clocks may differ.
    pub leeway: f64,
}

/// Types that say themselves that they give no access: a logout token (OpenID Connect Back-Channel Logout §2.4) and a proof (RFC 9449 §4.2).
const NO_ACCESS: [&str; 2] = ["logout+jwt", "dpop+jwt"];

impl Rules {
    /// Checks a token's type and claims at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub(crate) fn check(&self, typ: Option<&str>, claims: &Map<String, Value>, now: f64) -> Result<(), Refusal> {
        let kind = typ.map(media_type);
        let fits = match (&self.typ, &kind) {
            (Some(wanted), kind) => kind.as_ref() == Some(wanted),
            (None, Some(kind)) => !NO_ACCESS.contains(&kind.as_str()),
            (None, None) => true,
        };
        if !fits {
            return Err(Refusal::because("the token has the wrong type (typ)", format!("typ {}", shown(typ.unwrap_or_default()))));
        }
        bound(claims)?;
        Window::of(claims, self.leeway)?.check(now, self.expiry)?;
        if let Some(wanted) = &self.issuer {
            match claims.get("iss") {
                Some(Value::String(issuer)) if issuer == wanted => {}
                None => return Err("the token has no issuer (iss)".into()),
                Some(other) => return Err(Refusal::because("the token is from another issuer (iss)", format!("iss {}", quoted(other)))),
            }
        }
        if let Some(ours) = &self.audience {
            let is_ours = |value: &Value| value.as_str().is_some_and(|name| ours.iter().any(|ours| ours == name));
            match claims.get("aud") {
                Some(Value::Array(names)) if names.iter().any(is_ours) => {}
                Some(name) if is_ours(name) => {}
                None => return Err("the token has no audience (aud)".into()),
                Some(other) => return Err(Refusal::because("the token is for another audience (aud)", format!("aud {}", quoted(other)))),
            }
        }
        if let Some(name) = self.required.iter().find(|name| claims.get(name.as_str()).is_none_or(Value::is_null)) {
            return Err(Refusal { detail: format!("the token lacks the claim {name}").into(), cause: None });
        }
        for (name, wanted) in &self.values {
            let found = at(claims, name);
            let fits = match found {
                Some(Value::Array(list)) => list.iter().any(|value| wanted.contains(value)),
                Some(value) => wanted.contains(value),
                None => false,
            };
            if !fits {
                let cause = found.map(|value| format!("{name} {}", quoted(value)));
                return Err(Refusal { detail: format!("the claim {name} of the token has no value that is accepted").into(), cause });
            }
        }
        Ok(())
    }
}

/// The certificate that a token is bound to, by its `x5t#S256` (RFC 8705 §3.1).
///
/// # Errors
/// It is bound to something else: RFC 7800 §3.1 makes it good only with a proof of that, which nothing here asks for. Who stole it has none (RFC 9449 §7.1).
fn bound(claims: &Map<String, Value>) -> Result<Option<&str>, Refusal> {
    match claims.get("cnf") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(members)) if members.len() == 1 && members.contains_key("x5t#S256") => {
            let print = members.get("x5t#S256").and_then(Value::as_str);
            print.map(Some).ok_or_else(|| "the token is bound to a certificate that it does not name (cnf)".into())
        }
        Some(_) => Err("the token is bound to a key (cnf), and is no bearer token".into()),
    }
}

/// Checks that the client that has shown this certificate may use a token: on each request, for the token may come over another connection.
///
/// # Errors
/// It is bound to another one.
pub(crate) fn proven(claims: &Map<String, Value>, shown: Option<&Certificate>) -> Result<(), Refusal> {
    match (bound(claims)?, shown) {
        (None, _) => Ok(()),
        (Some(print), Some(shown)) if print == &*shown.thumbprint => Ok(()),
        (Some(_), None) => Err("the token is bound to a certificate (cnf), and none was shown".into()),
        (Some(_), Some(shown)) => {
            Err(Refusal::because("the token is bound to another certificate (cnf)", format!("SHA-256 {} was shown", shown.fingerprint)))
        }
    }
}

/// When a token is good, in seconds since 1970, with the leeway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    not_before: f64,
    issued: f64,
    /// From when on it is no more, "on or after" which it must not be accepted (RFC 7519 §4.1.4); none where it does not say.
    pub until: Option<f64>,
}

impl Window {
    /// # Errors
    /// A time that is none.
    pub(crate) fn of(claims: &Map<String, Value>, leeway: f64) -> Result<Self, Refusal> {
        let (until, from) = (date(claims, "exp")?, |date: Option<f64>| date.unwrap_or(f64::NEG_INFINITY) - leeway);
        let (not_before, issued) = (from(date(claims, "nbf")?), from(date(claims, "iat")?));
        Ok(Self { not_before, issued, until: until.map(|exp| exp + leeway) })
    }

    /// # Errors
    /// The token is not good at `now`.
    pub(crate) fn check(&self, now: f64, expiry: Expiry) -> Result<(), Refusal> {
        match self.until {
            Some(until) if now >= until => {
                return Err(Refusal::because("the token has expired (exp)", format!("{:.0} s ago, with the leeway", now - until)));
            }
            None if expiry == Expiry::Required => return Err("the token does not say when it expires (exp)".into()),
            _ => {}
        }
        let ahead = |from: f64| format!("{:.0} s ahead, with the leeway", from - now);
        if now < self.not_before {
            return Err(Refusal::because("the token is not valid yet (nbf)", ahead(self.not_before)));
        }
        if now < self.issued {
            return Err(Refusal::because("the token was issued in the future (iat)", ahead(self.issued)));
        }
        Ok(())
    }
}

/// The claim of that name, or where a dot goes deeper: a name may hold dots itself, as URLs do, so the whole name comes first.
pub(crate) fn at<'a>(claims: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    if let Some(claim) = claims.get(path) {
        return Some(claim);
    }
    let (first, rest) = path.split_once('.')?;
    at(claims.get(first)?.as_object()?, rest)
}

/// A NumericDate: seconds since 1970, a fraction allowed (RFC 7519 §2).
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Refusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    match value.as_f64() {
        Some(seconds) if seconds.is_finite() => Ok(Some(seconds)),
        _ => Err(Refusal::because("a time in the token is not a number of seconds", format!("{name} {}", quoted(value)))),
    }
}

/// A `typ` as it is compared: without regard to case, and `application/` may be left out (RFC 7515 §4.1.9).
pub(crate) fn media_type(typ: &str) -> String {
    let typ = typ.to_ascii_lowercase();
    typ.strip_prefix("application/").map(str::to_owned).unwrap_or(typ)
}

/// Whether the claims grant every one of these scopes.
pub(crate) fn grants(claims: &Map<String, Value>, scopes: &[String]) -> bool {
    let granted: Vec<&str> = ctx::scopes(|name| claims.get(name)).collect();
    scopes.iter().all(|scope| granted.contains(&scope.as_str()))
}

pub(crate) fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        other => shown(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::borrow::Cow;

    const NOW: f64 = 1_000_000.0;

    fn rules() -> Rules {
        Rules {
            issuer: Some("me".into()),
            audience: Some(vec!["api".into(), "web".into()]),
            expiry: Expiry::Required,
            required: vec![],
            values: vec![],
            typ: None,
            leeway: 30.0,
        }
    }

    fn verdict(rules: &Rules, change: Value) -> Result<(), Cow<'static, str>> {
        let mut claims = json!({"iss": "me", "aud": "api", "exp": NOW + 60.0});
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let claims: Map<String, Value> =
            claims.as_object().unwrap().clone().into_iter().filter(|(_, value)| *value != json!("absent")).collect();
        rules.check(None, &claims, NOW).map_err(|refusal| refusal.detail)
    }

    #[test]
    fn times_count_with_their_leeway_and_their_fractions() {
        let expired = Err(Cow::from("the token has expired (exp)"));
        assert_eq!(verdict(&rules(), json!({"exp": NOW - 29.9})), Ok(()));
        assert_eq!(verdict(&rules(), json!({"exp": NOW - 30.0})), expired.clone());
        assert_eq!(verdict(&rules(), json!({"exp": 0})), expired.clone());
        assert_eq!(verdict(&rules(), json!({"exp": -1e300})), expired.clone());
        assert_eq!(verdict(&rules(), json!({"nbf": NOW + 30.0})), Ok(()));
        assert_eq!(verdict(&rules(), json!({"nbf": NOW + 30.5})), Err("the token is not valid yet (nbf)".into()));
        assert_eq!(verdict(&rules(), json!({"iat": NOW as u64 + 31})), Err("the token was issued in the future (iat)".into()));
        for wrong in [json!("9999999999"), json!(null), json!([1]), json!(true)] {
            assert_eq!(verdict(&rules(), json!({"exp": wrong})), Err("a time in the token is not a number of seconds".into()));
            assert!(verdict(&rules(), json!({"nbf": wrong})).is_err() && verdict(&rules(), json!({"iat": wrong})).is_err());
        }
    }

    #[test]
    fn a_token_must_expire_unless_it_is_told_otherwise() {
        assert_eq!(verdict(&rules(), json!({"exp": "absent"})), Err("the token does not say when it expires (exp)".into()));
        let lax = Rules { expiry: Expiry::Optional, ..rules() };
        assert_eq!(verdict(&lax, json!({"exp": "absent"})), Ok(()));
        assert_eq!(verdict(&lax, json!({"exp": 1})), Err("the token has expired (exp)".into()));
    }

    #[test]
    fn the_issuer_is_exact() {
        for wrong in [json!("Me"), json!("me/"), json!(["me"]), json!(null), json!("absent")] {
            assert!(verdict(&rules(), json!({"iss": wrong})).is_err(), "{wrong}");
        }
        assert_eq!(verdict(&Rules { issuer: None, ..rules() }, json!({"iss": "absent"})), Ok(()));
    }

    #[test]
    fn one_audience_of_ours_is_enough() {
        for right in [json!("web"), json!(["other", "api"])] {
            assert_eq!(verdict(&rules(), json!({"aud": right})), Ok(()));
        }
        for wrong in [json!("other"), json!(["other"]), json!([]), json!(1), json!({"api": 1}), json!([["api"]]), json!("absent")] {
            assert!(verdict(&rules(), json!({"aud": wrong})).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_required_claim_must_be_there() {
        let rules = Rules { required: vec!["sub".into()], ..rules() };
        assert_eq!(verdict(&rules, json!({"sub": "x"})), Ok(()));
        assert_eq!(verdict(&rules, json!({})), Err("the token lacks the claim sub".into()));
        assert!(verdict(&rules, json!({"sub": null})).is_err());
    }

    #[test]
    fn a_claim_must_have_one_of_the_values_that_are_wanted() {
        let wanted = |name: &str, values: Value| Rules { values: vec![(name.into(), values.as_array().unwrap().clone())], ..rules() };
        let tenants = wanted("org.tenant", json!(["acme", 7]));
        for right in [json!("acme"), json!(7), json!(["other", "acme"])] {
            assert_eq!(verdict(&tenants, json!({"org": {"tenant": right}})), Ok(()));
        }
        for wrong in [json!("Acme"), json!("7"), json!(["other"]), json!([["acme"]]), json!({"acme": 1}), json!(null)] {
            let told = verdict(&tenants, json!({"org": {"tenant": wrong}})).unwrap_err();
            assert_eq!(told, "the claim org.tenant of the token has no value that is accepted");
        }
        assert!(verdict(&tenants, json!({})).is_err());
        assert_eq!(verdict(&wanted("email_verified", json!([true])), json!({"email_verified": true})), Ok(()));
        assert!(verdict(&wanted("email_verified", json!([true])), json!({"email_verified": "true"})).is_err());
    }

    #[test]
    fn a_type_is_compared_as_a_media_type() {
        let rules = Rules { typ: Some("at+jwt".into()), ..rules() };
        let claims = json!({"iss": "me", "aud": "api", "exp": NOW + 1.0}).as_object().unwrap().clone();
        let good = |typ| rules.check(typ, &claims, NOW).is_ok();
        assert!(good(Some("at+jwt")) && good(Some("AT+JWT")) && good(Some("application/at+jwt")));
        assert!(!good(Some("JWT")) && !good(None) && !good(Some("text/at+jwt")));
    }

    #[test]
    fn a_token_that_says_it_gives_no_access_is_refused_unless_it_is_asked_for() {
        let claims = json!({"iss": "me", "aud": "api", "exp": NOW + 1.0}).as_object().unwrap().clone();
        for typ in ["dpop+jwt", "Logout+JWT", "application/logout+jwt"] {
            assert!(rules().check(Some(typ), &claims, NOW).is_err(), "{typ}");
        }
        assert!(rules().check(Some("JWT"), &claims, NOW).is_ok());
        let asked = Rules { typ: Some("logout+jwt".into()), ..rules() };
        assert!(asked.check(Some("logout+jwt"), &claims, NOW).is_ok());
    }

    #[test]
    fn a_token_that_is_bound_to_a_key_is_no_bearer_token() {
        for cnf in [
            json!({"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
            json!({"x5t#S256": "a", "jkt": "a"}),
            json!({"x5t": "a"}),
            json!({}),
            json!("a"),
        ] {
            assert_eq!(verdict(&rules(), json!({"cnf": cnf})), Err("the token is bound to a key (cnf), and is no bearer token".into()));
        }
        assert!(verdict(&rules(), json!({"cnf": {"x5t#S256": 1}})).is_err());
        assert_eq!(verdict(&rules(), json!({"cnf": null})), Ok(()));
    }

    #[test]
    fn a_token_that_is_bound_to_a_certificate_is_good_with_it_alone() {
        let claims = json!({"cnf": {"x5t#S256": "print"}}).as_object().unwrap().clone();
        let shown = |print: &str| Certificate { thumbprint: print.into(), ..Certificate::default() };
        assert_eq!(proven(&claims, Some(&shown("print"))), Ok(()));
        let why = |shown: Option<&Certificate>| proven(&claims, shown).unwrap_err().detail;
        assert_eq!(why(Some(&shown("Print"))), "the token is bound to another certificate (cnf)");
        assert_eq!(why(Some(&shown(""))), "the token is bound to another certificate (cnf)");
        assert_eq!(why(None), "the token is bound to a certificate (cnf), and none was shown");
        assert_eq!(proven(&Map::new(), Some(&shown("print"))), Ok(()));
        let empty = json!({"cnf": {"x5t#S256": ""}}).as_object().unwrap().clone();
        assert!(proven(&empty, None).is_err());
    }

    #[test]
    fn scopes_are_whole_words_and_all_are_needed() {
        let grants = |claims: Value| grants(claims.as_object().unwrap(), &["read".into(), "write".into()]);
        assert!(grants(json!({"scope": "write read admin"})) && grants(json!({"scp": ["read", "write"]})));
        assert!(!grants(json!({"scope": "read"})) && !grants(json!({"scope": "readwrite read"})) && !grants(json!({})));
        assert!(!grants(json!({"scope": "read", "scp": "write"})));
    }
}
