//! Every secret that the suite uses, and the search for them in all that a gateway tells of itself: its standard error, its access log, its metrics, its
//! admin answers, its problems. None may be there. What is secret is seen where it goes by: in configs and files beside them, and in what clients send.

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use regex::Regex;

static KNOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Shorter ones stand by chance in other words.
const SHORTEST: usize = 10;

/// Remembers a secret.
pub fn note(secret: &str) {
    if secret.len() >= SHORTEST {
        KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert(secret.to_owned());
    }
}

/// Remembers what is secret in a config, or in a file beside it.
pub fn of_file(text: &str) {
    static SET: LazyLock<Regex> = LazyLock::new(|| {
        let names = "secret|secret_base64|client_secret|password|token|private_key|cookie_secret";
        Regex::new(&format!(r#"(?m)\b(?:{names}):\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'\[{{,}}][^\s,}}]*))"#)).unwrap()
    });
    static HASHED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"sha256:[0-9a-f]{64}|\$(?:argon2id|2[aby])\$[^\s,\]]+").unwrap());
    static KEY: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END").unwrap());
    for found in SET.captures_iter(text) {
        let value = found.iter().skip(1).flatten().next().map_or("", |value| value.as_str());
        // A variable names a secret, and what stands behind `:-` is one.
        let value =
            value.strip_prefix("${").map_or(value, |name| name.split_once(":-").map_or("", |(_, value)| value.trim_end_matches('}')));
        note(value);
    }
    HASHED.find_iter(text).for_each(|found| note(found.as_str().trim_end_matches('"')));
    for key in KEY.captures_iter(text) {
        key[1].split(['\n', ' ']).chain(key[1].split("\\n")).filter(|line| line.len() >= 32 && !line.contains('\\')).for_each(note);
    }
}

/// Remembers what is secret in the header of a request, as a client sends it.
pub fn of_request(bytes: &[u8]) {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(32 * 1024)]);
    let mut lines = head.split("\r\n").take_while(|line| !line.is_empty());
    of_target(lines.next().unwrap_or_default());
    lines.filter_map(|line| line.split_once(':')).for_each(|(name, value)| of_header(name, value));
}

/// The same of one header.
pub fn of_header(name: &str, value: &str) {
    let value = value.trim();
    match name.to_ascii_lowercase().as_str() {
        "authorization" | "proxy-authorization" => {
            let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
            note(rest);
            if let (true, Ok(pair)) = (scheme.eq_ignore_ascii_case("basic"), BASE64_STANDARD.decode(rest)) {
                note(String::from_utf8_lossy(&pair).split_once(':').map_or("", |(_, password)| password));
            }
        }
        "x-api-key" | "api-key" | "apikey" | "x-token" => note(value),
        "cookie" => value.split(';').filter_map(|pair| pair.split_once('=')).for_each(|(_, value)| note(value)),
        _ => {}
    }
}

/// The same of its target.
pub fn of_target(target: &str) {
    static GIVEN: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[?&](?:key|api_key|apikey|token|access_token)=([^&\s#']+)").unwrap());
    GIVEN.captures_iter(target).for_each(|found| note(&found[1]));
}

/// Remembers what a command line sends, as `curl` takes it.
pub fn of_command(command: &str) {
    static HEADER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(?:-H|--header)\s+(?:'([^']+)'|"([^"]+)")"#).unwrap());
    static USER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"(?:-u|--user)\s+'?"?[^:\s]+:([^'"\s]+)"#).unwrap());
    for found in HEADER.captures_iter(command) {
        let header = found.iter().skip(1).flatten().next().map_or("", |header| header.as_str());
        if let Some((name, value)) = header.split_once(':') {
            of_header(name, value);
        }
    }
    USER.captures_iter(command).for_each(|found| note(&found[1]));
    of_target(command);
}

/// The secrets that stand in a text.
pub fn within(text: &str) -> Vec<String> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|secret| text.contains(secret.as_str())).cloned().collect()
}

/// Finds that no secret stands in what the gateway tells.
pub fn none_within(what: &str, text: &str) {
    let found = within(text);
    let lines = || text.lines().filter(|line| found.iter().any(|secret| line.contains(secret.as_str()))).take(3).collect::<Vec<_>>();
    assert!(found.is_empty(), "{what} tells of {found:?}: {:#?}", lines());
}

#[test]
fn secrets_are_seen_where_they_go_by_and_found_where_they_should_not_be() {
    of_file(
        "client_secret: \"of-a-client-1\"\npassword: of-a-user-22 # so\n{ secret: 'of-a-cookie', a: 1 }\n${A}: 1\nsecret: \"${NAME:-of-a-default}\"",
    );
    of_file("api_keys: [\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]\nhash: $argon2id$v=19$of-hashing");
    of_file("-----BEGIN PRIVATE KEY-----\nbase64-of-a-key-that-is-long-enough-\nend\n-----END PRIVATE KEY-----");
    of_request(b"GET /a?x=1&api_key=of-a-query-1 HTTP/1.1\r\nAuthorization: Bearer of-a-token-1\r\nCookie: a=of-a-cookie-2; b=1\r\n\r\nX-Api-Key: of-a-body-12\r\n");
    of_header("authorization", "Basic dXNlcjpvZi1iYXNpYy0x");
    of_command("curl -H 'X-API-Key: of-a-command-1' -u name:of-a-user-33 'http://a/?key=of-a-query-2'");
    for secret in [
        "of-a-client-1",
        "of-a-user-22",
        "of-a-cookie",
        "of-a-default",
        "$argon2id$v=19$of-hashing",
        "base64-of-a-key-that-is-long-enough-",
        "of-a-query-1",
        "of-a-token-1",
        "of-a-cookie-2",
        "of-basic-1",
        "of-a-command-1",
        "of-a-user-33",
        "of-a-query-2",
    ] {
        assert!(within(&format!("a log tells of {secret}.")).iter().any(|found| found == secret), "{secret}");
    }
    assert!(within("sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").len() == 1);
    assert!(within("of-a-body-12 and 1").is_empty(), "a body is no header");
    let told = std::panic::catch_unwind(|| none_within("a log", "a line\nwith of-a-token-1 in it"));
    assert!(told.is_err());
}
