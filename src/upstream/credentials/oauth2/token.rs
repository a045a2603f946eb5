//! What the provider answers with (RFC 6749 §5).

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::client::Client;
use crate::upstream::Missed;
use crate::upstream::credentials::config::value;

/// A token, ready to be shown.
#[derive(Debug)]
pub struct Token {
    /// The value of `Authorization`.
    pub value: HeaderValue,
    /// Another for each token.
    pub number: u64,
    /// When it was asked for.
    pub got: Instant,
    /// For how long it holds from then.
    pub life: Duration,
    /// When it ends.
    pub ends: SystemTime,
    /// Whether a service has not taken it.
    doubted: AtomicBool,
}

/// A token that arrives when it ends is none: so long before that it is not shown any more, or a tenth of its time.
const MARGIN: Duration = Duration::from_secs(5);

/// Beyond that it holds for ever, as far as clocks go.
const FOREVER: Duration = Duration::from_secs(366 * 24 * 3600);

/// Bytes of a token.
const MOST: usize = 16 * 1024;

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: String,
    expires_in: Option<Value>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    error_description: Option<String>,
}

impl Token {
    /// Reads the answer to what was asked at `got`. `ttl` is how long a token holds that does not say it.
    ///
    /// # Errors
    /// It is no token, or none that can be shown.
    pub(super) fn read(
        status: StatusCode,
        body: &[u8],
        (got, number): (Instant, u64),
        ttl: Duration,
        client: &Client,
    ) -> Result<Self, Missed> {
        if status != StatusCode::OK {
            return Err(refused(status, body, client));
        }
        let malformed = |text: String| Missed::new("malformed", text);
        let granted: Granted = serde_json::from_slice(body).map_err(|error| {
            // serde's text may quote what it read.
            let place = format!("line {}, column {}", error.line(), error.column());
            malformed(format!("what it answered is no JSON object with `access_token` and `token_type` ({place})"))
        })?;
        let Granted { access_token, token_type, expires_in } = granted;
        if !token_type.eq_ignore_ascii_case("Bearer") {
            let kind: String = client.conceal(&token_type).chars().take(50).collect();
            return Err(malformed(format!("its token is of the type {kind:?}, and not `Bearer`")));
        }
        let fits = !access_token.is_empty() && access_token.len() <= MOST && access_token.bytes().all(|byte| byte.is_ascii_graphic());
        let shown = value(&format!("Bearer {access_token}")).ok().filter(|_| fits);
        let value = shown.ok_or_else(|| malformed("its token cannot stand in a header".to_owned()))?;
        let life = match expires_in {
            None | Some(Value::Null) => ttl,
            // Some write it as text.
            Some(said) => said
                .as_f64()
                .or_else(|| said.as_str()?.parse().ok())
                .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
                .ok_or_else(|| malformed("it does not say in seconds how long its token holds (`expires_in`)".to_owned()))?,
        }
        .min(FOREVER);
        let passed = got.elapsed();
        if life <= passed {
            return Err(malformed("its token ends before it is there (`expires_in`)".to_owned()));
        }
        Ok(Self { value, number, got, life, ends: SystemTime::now() + (life - passed), doubted: AtomicBool::new(false) })
    }

    /// Whether it can be shown.
    pub(super) fn holds(&self) -> bool {
        Instant::now() < self.until()
    }

    /// Until when it can.
    pub(super) fn until(&self) -> Instant {
        self.got + self.life - MARGIN.min(self.life / 10)
    }

    /// Whether a service has not taken it, and another is to come.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubted.load(Ordering::Relaxed)
    }

    /// Says so. Whether it was so before.
    pub(super) fn doubt(&self, doubted: bool) -> bool {
        self.doubted.swap(doubted, Ordering::Relaxed)
    }
}

/// RFC 6749 §5.2, without the secret, should the provider repeat it.
fn refused(status: StatusCode, body: &[u8], client: &Client) -> Missed {
    let number = status.as_u16();
    if status.is_redirection() {
        return Missed::new("status", format!("it answered {number}, and redirects are not followed"));
    }
    let Ok(Refused { error, error_description }) = serde_json::from_slice(body) else {
        return Missed::new("status", format!("it answered {number}"));
    };
    // Whole: of a secret that is cut not all would be found.
    let short = |text: &str| client.conceal(text).chars().take(200).collect::<String>();
    let more = error_description.map(|text| format!(": {:?}", short(&text))).unwrap_or_default();
    Missed::new("refused", format!("it answered {number}, {:?}{more}", short(&error)))
}

#[cfg(test)]
mod tests {
    use super::super::client::tests::client;
    use super::*;

    fn read(status: u16, body: &str) -> Result<Token, Missed> {
        Token::read(
            StatusCode::from_u16(status).unwrap(),
            body.as_bytes(),
            (Instant::now(), 1),
            Duration::from_secs(300),
            &client("client_secret_post"),
        )
    }

    #[test]
    fn a_token_holds_as_long_as_the_provider_says() {
        for (expires, seconds) in
            [("", 300), (r#","expires_in":60"#, 60), (r#","expires_in":"3600""#, 3600), (r#","expires_in":null"#, 300)]
        {
            let token = read(200, &format!(r#"{{"access_token":"a.b-c","token_type":"bearer"{expires}}}"#)).unwrap();
            assert_eq!(token.life, Duration::from_secs(seconds));
            assert_eq!((token.value.to_str().unwrap(), token.value.is_sensitive()), ("Bearer a.b-c", true));
            assert_eq!(token.until(), token.got + token.life - Duration::from_secs(5));
            assert!(token.holds() && !format!("{token:?}").contains("a.b-c"));
        }
        assert!(read(200, r#"{"access_token":"a","token_type":"Bearer","expires_in":1e300}"#).is_err());
    }

    #[test]
    fn a_secret_is_concealed_though_its_end_is_cut_off() {
        let said = format!("{}s3cret:\"of %", "a".repeat(195));
        let body = serde_json::json!({"error": "invalid_client", "error_description": said}).to_string();
        let missed = read(400, &body).unwrap_err();
        assert!(missed.text.ends_with("aaa***\""), "{}", missed.text);
    }

    #[test]
    fn what_is_no_token_is_told_without_what_it_says() {
        for (status, body, word) in [
            (200, r#"{"access_token":"hunter2"}"#, "malformed"),
            (200, r#"{"access_token":"hunter2","token_type":"DPoP"}"#, "malformed"),
            (200, r#"{"access_token":"hunter2 x","token_type":"Bearer"}"#, "malformed"),
            (200, r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":0}"#, "malformed"),
            (200, r#"{"access_token":"hunter2","token_type":"Bearer","expires_in":-5}"#, "malformed"),
            (200, r#"{"access_token":["hunter2"],"token_type":"Bearer"}"#, "malformed"),
            (200, r#""hunter2""#, "malformed"),
            (500, "<html>hunter2", "status"),
            (302, "hunter2", "status"),
            (401, r#"{"error":"invalid_client","error_description":"who?"}"#, "refused"),
        ] {
            let missed = read(status, body).unwrap_err();
            assert_eq!(missed.word, word, "{body}");
            assert!(!missed.text.contains("hunter2"), "{}", missed.text);
        }
        assert_eq!(
            read(401, r#"{"error":"invalid_client","error_description":"who?"}"#).unwrap_err().text,
            "it answered 401, \"invalid_client\": \"who?\""
        );
    }
}
