//! Where an issuer has its keys: OpenID Connect Discovery 1.0 §4, RFC 8414 §3.

use serde::Deserialize;

use crate::upstream::Missed;

/// Where an issuer tells of itself. A slash at its end is not doubled (§4.1).
pub(super) fn place(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer))
}

/// What matters here of what it tells.
#[derive(Deserialize)]
struct Told {
    issuer: String,
    jwks_uri: String,
}

/// Where the keys are of the issuer that tells this of itself. It must call itself just as the config does (§4.3, RFC 8414 §3.3): one issuer could
/// otherwise give out its keys as another's.
///
/// # Errors
/// It is another one, or does not say it.
pub(super) fn keys(json: &[u8], issuer: &str) -> Result<String, Missed> {
    let told: Told = serde_json::from_slice(json).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Missed::new("malformed", format!("what it tells of itself is no JSON object with `issuer` and `jwks_uri` ({place})"))
    })?;
    if told.issuer != issuer {
        let other: String = told.issuer.chars().take(200).collect();
        return Err(Missed::new("wrong_issuer", format!("it calls itself {other:?}, which must be {issuer:?} to the letter")));
    }
    Ok(told.jwks_uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_tells_of_itself_below_its_own_path() {
        for (issuer, url) in [
            ("https://id.test", "https://id.test/.well-known/openid-configuration"),
            ("https://id.test/", "https://id.test/.well-known/openid-configuration"),
            ("https://id.test/realms/a", "https://id.test/realms/a/.well-known/openid-configuration"),
        ] {
            assert_eq!(place(issuer), url);
        }
    }

    #[test]
    fn it_must_be_called_as_the_config_calls_it() {
        let told = |issuer: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://id.test/keys","token_endpoint":"x"}}"#);
        let keys = |issuer: &str| keys(told(issuer).as_bytes(), "https://id.test");
        assert_eq!(keys("https://id.test").unwrap(), "https://id.test/keys");
        for other in ["https://id.test/", "https://ID.test", "http://id.test", "https://evil.test", ""] {
            assert_eq!(keys(other).unwrap_err().word, "wrong_issuer", "{other}");
        }
        for wrong in
            ["", "<html>", "[]", r#"{"issuer":"https://id.test"}"#, r#"{"issuer":["https://id.test"],"jwks_uri":"https://id.test/keys"}"#]
        {
            assert_eq!(super::keys(wrong.as_bytes(), "https://id.test").unwrap_err().word, "malformed", "{wrong}");
        }
    }
}
