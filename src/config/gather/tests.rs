#![expect(dead_code, reason = "what is read is shown as a whole by `Debug`")]

use std::fmt;

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, de};

use super::super::load_str;
use super::*;
use crate::types::{Duration, Secret, Size};

#[derive(Debug, Deserialize)]
struct Doc {
    #[serde(default)]
    server: Option<Server>,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    keys: Vec<Secret>,
    #[serde(default)]
    sizes: Vec<Size>,
}

#[derive(Debug, Deserialize)]
struct Server {
    port: u16,
    workers: usize,
    level: Option<Level>,
    timeout: Option<Duration>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Info,
    Debug,
}

#[derive(Debug, Deserialize)]
#[serde(try_from = "RawRoute")]
struct Route(RawRoute);

#[derive(Debug, Deserialize)]
struct RawRoute {
    name: String,
    to: Option<String>,
    redirect: Option<String>,
    #[serde(default)]
    policies: Vec<Policy>,
}

impl TryFrom<RawRoute> for Route {
    type Error = String;

    fn try_from(raw: RawRoute) -> Result<Self, String> {
        if raw.to.is_some() == raw.redirect.is_some() {
            return Err(format!("route `{}` has no single destination; write either `to` or `redirect`", raw.name));
        }
        Ok(Self(raw))
    }
}

#[derive(Debug)]
enum Policy {
    RateLimit(RateLimit),
    Jwt(Jwt),
}

#[derive(Debug, Deserialize)]
struct RateLimit {
    requests: u32,
    per: Duration,
}

#[derive(Debug, Deserialize)]
struct Jwt {
    issuer: String,
    audience: String,
}

/// As the registry of policies does it: by hand.
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Policy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a policy")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Policy, A::Error> {
                let name: String = map.next_key()?.ok_or_else(|| A::Error::custom("a policy has one key"))?;
                match name.as_str() {
                    "rate_limit" => map.next_value().map(Policy::RateLimit),
                    "jwt" => map.next_value().map(Policy::Jwt),
                    _ => Err(de::Error::unknown_variant(&name, &["rate_limit", "jwt"])),
                }
            }
        }
        deserializer.deserialize_any(One)
    }
}

fn errors<T: DeserializeOwned>(text: &str) -> Vec<String> {
    let env = |name: &str| (name != "UNSET").then(|| SECRET.to_owned());
    load_str::<T>("t.yaml", text, &env).err().map(|errors| errors.errors.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

const SECRET: &str = "Tr0ub4dor\n&\"3";

#[test]
fn ten_mistakes_are_ten_errors_each_at_its_place() {
    let text = "\
server:
  port: '80'
  workers: many
  levle: info
  timeout: 5
routes:
  - to: a
  - name: b
    to: ${UNSET}
  - name: c
    redirect: x
    redirect: y
  - name: d
    to: d
    policies:
      - jwt: {issuer: i, audience: a}
      - rate_limit: {requests: -1, per: 1m}
      - jvt: {}
      - rate_limit: {requests: 3, per: 1m, brust: 4}
  - name: e
sizes: [1, x]
";
    let errors = errors::<Doc>(text);
    let want = [
        "t.yaml:2:9: server.port: expected a whole number from 0 to 65535, found a string `80`\n    fix: remove the quotes: `80`",
        "t.yaml:3:12: server.workers: expected a whole number, 0 or more, found a string `many`",
        "t.yaml:4:3: server.levle: unknown key `levle`\n    fix: did you mean `level`?",
        "t.yaml:5:12: server.timeout: `5` is not a duration\n    fix: write a number and a unit",
        "t.yaml:7:5: routes[0]: `name` is missing\n    fix: add `name:`",
        "t.yaml:9:9: routes[1].to: the environment variable `UNSET` is not set",
        "t.yaml:12:5: routes[2].redirect: `redirect` is here a second time; the first is at line 11, column 5",
        "t.yaml:17:32: routes[3].policies[1].rate_limit.requests: expected a whole number from 0 to 4294967295, found the number `-1`",
        "t.yaml:18:9: routes[3].policies[2].jvt: unknown key `jvt`\n    fix: did you mean `jwt`?",
        "t.yaml:19:44: routes[3].policies[3].rate_limit.brust: unknown key `brust`\n    fix: ",
        "t.yaml:20:5: routes[4]: route `e` has no single destination\n    fix: write either `to` or `redirect`",
        "t.yaml:21:12: sizes[1]: expected a size in bytes",
    ];
    for (error, want) in errors.iter().zip(want) {
        assert!(error.starts_with(want), "{error}\nshould be\n{want}\nof {errors:#?}");
    }
    assert_eq!(errors.len(), want.len(), "{errors:#?}");
}

#[test]
fn two_keys_missing_in_one_mapping_are_two_errors() {
    let errors = errors::<Doc>("server: {}\nroutes:\n  - to: x\n    policies: [jwt: {}]\n");
    assert_eq!(errors.len(), 5, "{errors:#?}");
    assert!(errors[0].starts_with("t.yaml:1:1: server: `port` is missing"));
    assert!(errors[1].starts_with("t.yaml:1:1: server: `workers` is missing"));
    assert!(errors[2].starts_with("t.yaml:3:5: routes[0]: `name` is missing"));
    assert!(errors[3].starts_with("t.yaml:4:16: routes[0].policies[0].jwt: `issuer` is missing"), "{}", errors[3]);
}

#[test]
fn what_follows_from_an_error_is_not_told() {
    for (text, count) in [
        // The wrong value is taken out; its key is not missing for that.
        ("server: {port: x, workers: 1}", 1),
        // Meant as `workers`.
        ("server: {port: 1, wrokers: 1}", 1),
        // Without its wrong destination a route has none.
        ("routes: [{name: a, to: [x]}]", 1),
        ("routes: [{name: a, to: a, policies: [{jwt: 3}, {jwt: {issuer: [], audience: a}}]}]", 2),
        ("server: {port: 1, workers: ${UNSET}}", 1),
    ] {
        assert_eq!(errors::<Doc>(text).len(), count, "{text}: {:#?}", errors::<Doc>(text));
    }
}

#[test]
fn a_wrong_root_is_one_error() {
    assert_eq!(
        errors::<Doc>("- a\n- b\n"),
        ["t.yaml:1:1: expected a mapping, found a list\n    fix: write a mapping in the place of the list"]
    );
}

#[test]
fn no_secret_appears_in_any_error() {
    struct Leaky;
    impl<'de> Deserialize<'de> for Leaky {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            let half: String = text.chars().take(8).collect();
            Err(D::Error::custom(format!("`{text}` {text:?} {} is bad; not {half}", text.to_uppercase())))
        }
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Buffered {
        Number(u8),
    }
    #[derive(Deserialize)]
    struct Flat {
        #[serde(flatten)]
        all: HashMap<String, u8>,
    }
    #[derive(Deserialize)]
    struct Leaks {
        number: u8,
        flag: bool,
        list: Vec<u8>,
        mapping: Server,
        level: Level,
        policy: Policy,
        leaky: Leaky,
        duration: Duration,
        size: Size,
        buffered: Buffered,
        flat: Flat,
        routes: Vec<Route>,
        json: HashMap<u8, u8>,
    }
    let dir = std::env::temp_dir().join(format!("tidegate-gather-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("secret"), SECRET).unwrap();
    for source in ["${PW}".to_owned(), format!("${{file:{}/secret}}", dir.display()), "\"x${PW}y\"".to_owned()] {
        let keys = ["number", "flag", "list", "mapping", "level", "policy", "leaky", "duration", "size", "buffered"];
        let mut text: String = keys.iter().map(|key| format!("{key}: {source}\n")).collect();
        text += &format!("flat:\n  a: {source}\nroutes:\n  - name: {source}\njson:\n  x: {source}\n");
        let errors = errors::<Leaks>(&text);
        assert_eq!(errors.len(), 13, "{errors:#?}");
        for error in errors {
            let lower = error.to_lowercase();
            for part in ["tr0ub4", "dor", "&\"3", "&\\\"3"] {
                assert!(!lower.contains(part), "{error}");
            }
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

fn many_routes(count: usize, requests: &str) -> String {
    let policies = format!("[jwt: {{issuer: i, audience: a}}, rate_limit: {{requests: {requests}, per: 1m}}]");
    let route = |route| format!("  - name: r{route}\n    to: users\n    policies: {policies}\n");
    format!("routes:\n{}", (0..count).map(route).collect::<String>())
}

#[test]
fn ten_thousand_routes_are_read_in_no_time() {
    let text = many_routes(10_000, "3");
    let begin = std::time::Instant::now();
    assert!(errors::<Doc>(&text).is_empty());
    // 0.13 s in a release build on one core of 2026; this catches what grows with the square.
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
}

#[test]
fn a_mistake_made_everywhere_is_told_a_hundred_times() {
    assert_eq!(errors::<Doc>(&many_routes(120, "x")).len(), ConfigErrors::MAX);
}
