//! `tidegate schema`: what editors complete and check with takes what the gateway takes, and tells the usual mistakes.

use std::path::{Path, PathBuf};
use std::process::Command;

use jsonschema::Validator;
use serde_json::Value;
use tidegate::config::load;

use crate::support::gateway::Folder;

fn schema() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("schema").output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

fn validator() -> Validator {
    jsonschema::draft202012::meta::validate(&schema()).expect("it is a JSON Schema itself");
    jsonschema::draft202012::new(&schema()).unwrap()
}

/// A config as plain data, by the gateway's own reader.
fn read(path: &Path) -> Value {
    let (loaded, ()) = load(path, &|_| None, |_: &Value| Ok(())).unwrap();
    loaded.json()
}

fn read_text(yaml: &str) -> Value {
    read(&Folder::new().file("tidegate.yaml", yaml))
}

/// What is wrong, as `/place: why`.
fn told(validator: &Validator, config: &Value) -> Vec<String> {
    validator.iter_errors(config).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_config_that_we_ship_is_right() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let yaml = files(root.clone())
        .chain(files(root.join("examples")))
        .chain(files(root.join("examples/include")))
        .filter(|path| path.extension().is_some_and(|kind| kind == "yaml"));
    let validator = validator();
    let mut seen = 0;
    for path in yaml {
        assert_eq!(told(&validator, &read(&path)), [""; 0], "{}", path.display());
        seen += 1;
    }
    assert!(seen > 10);
}

#[test]
fn what_the_reader_takes_is_right() {
    let validator = validator();
    for yaml in [
        "",
        "services:\nroutes:\npolicies:\n",
        // As an editor sees it: not replaced yet.
        "server: { workers: \"$${WORKERS}\", limits: { header_fields: \"$${N:-100}\", body: \"$${BODY}\" } }",
        "server: { listeners: [{ address: \"unix:/a\", mode: \"0660\", proxy_protocol: true, redirect_https: 8443 }, { address: \"[::]:80\", redirect_https: true }] }",
        "server: { listeners: [{ address: \"[::]:443\", tls: { certificates: [{ cert: a, key: b }], client_ca: c, client_certificate: optional, client_crl: d, min_version: \"1.3\" } }] }",
        "policies: [hsts, { hsts: { max_age: 0s, preload: false } }]",
        "services: { a: { targets: [\"$${A}\"], timeouts: { connect: \"$${T}\" }, host: \"$${H}\" } }",
        "routes: [{ name: a, match: { path: \"$${P}\", methods: [\"$${M}\"] }, redirect: { to: /, status: \"$${S}\" } }]",
        "policies: [{ rate_limit: { requests: \"$${N}\", per: 1m, by: \"$${BY}\", headers: \"$${H}\" } }, { cors: \"$${CORS:-off}\" }]",
        "consumers: [{ name: a, api_keys: [\"$${file:/run/key}\"] }]",
        "consumers: [{ name: 7, groups: [1, true] }]",
        "policies: [request_id, request_id: , request_id: {}, jwt: off, { request: { headers: { set: { X-V: 1.0 } } } }]",
        "policies: [{ rate_limit: { requests: 1, per: 1h 30m, by: { header: X-A } } }]",
        "services: { a: { targets: [{ url: \"https://a\", weight: 0 }], host: a.b, policies: } }",
        "routes: [{ name: a, match: , to: a, path: /x }, { name: b, match: { host: [a, \"*.b\"], path: { prefix: /x }, headers: { a: b, c: { present: false } } }, reply: }]",
        "routes: [{ name: v, versions: { from: { media_type: \"a/{version}\" }, default: 1, 1: { to: a, sunset: 2026-12-31 }, v2: { to: a, deprecated: 2026-12-31T12:00:00Z } } }]",
    ] {
        assert_eq!(told(&validator, &read_text(yaml)), [""; 0], "{yaml}");
    }
}

#[test]
fn the_usual_mistakes_are_told_where_they_stand() {
    let validator = validator();
    let mut missed = Vec::new();
    for (yaml, place) in [
        ("sever: {}", ""),
        ("server: { wokers: 2 }", "/server"),
        ("server: { workers: 0 }", "/server/workers"),
        ("server: { workers: many }", "/server/workers"),
        ("server: { listeners: [{ address: localhost }] }", "/server/listeners/0/address"),
        ("server: { listeners: { address: \"[::]:80\" } }", "/server/listeners"),
        ("server: { listeners: [{ address: \"unix:\" }] }", "/server/listeners/0/address"),
        ("server: { listeners: [{ address: \"[::]:80\", redirect_https: 0 }] }", "/server/listeners/0/redirect_https"),
        ("server: { listeners: [{ address: \"[::]:80\", proxy_protocol: v2 }] }", "/server/listeners/0/proxy_protocol"),
        ("server: { listeners: [{ address: \"unix:/a\", mode: \"0880\" }] }", "/server/listeners/0/mode"),
        ("server: { listeners: [{ address: \"[::]:80\", tls: {} }] }", "/server/listeners/0/tls"),
        ("server: { listeners: [{ address: \"[::]:80\", tls: { certificates: [] } }] }", "/server/listeners/0/tls"),
        ("server: { listeners: [{ address: \"[::]:80\", tls: { certificates: [{ cert: a }] } }] }", "/server/listeners/0/tls"),
        ("policies: [{ hsts: { max_age: 1 } }]", "/policies/0"),
        ("server: { limits: { body: large } }", "/server/limits/body"),
        ("server: { timeouts: { header: 10 } }", "/server/timeouts/header"),
        ("access_log: { to: syslog }", "/access_log/to"),
        ("paths: { encoded_slashes: no }", "/paths/encoded_slashes"),
        ("consumers: [{ groups: [a] }]", "/consumers/0"),
        ("consumers: [{ name: a, api_keys: [secret] }]", "/consumers/0/api_keys/0"),
        ("services: [{ name: a }]", "/services"),
        ("services: { a: {} }", "/services/a"),
        ("services: { a: { targets: [\"10.0.0.1:80\"] } }", "/services/a/targets/0"),
        ("services: { a: { targets: [{ uri: \"http://a\" }] } }", "/services/a/targets/0"),
        ("services: { a: { targets: [\"http://a\"], mock: { text: a } } }", "/services/a"),
        ("services: { a: { mock: { status: 1000 } } }", "/services/a/mock"),
        ("services: { a: { targets: [\"http://a\"], timeouts: { connect: fast } } }", "/services/a/timeouts"),
        ("services: { a: { targets: [\"http://a\"], retry: { attempts: 0 } } }", "/services/a/retry"),
        ("services: { a: { targets: [\"http://a\"], retry: { on: [refused] } } }", "/services/a/retry"),
        ("services: { a: { targets: [\"http://a\"], retry: { methods: all } } }", "/services/a/retry"),
        ("services: { a: { targets: [\"http://a\"], breaker: { failures: 0 } } }", "/services/a/breaker"),
        ("services: { a: { targets: [\"http://a\"], fallback: { to: b, reply: {} } } }", "/services/a/fallback"),
        ("services: { a: { targets: [\"http://a\"], fallback: { reply: { status: 100 } } } }", "/services/a/fallback"),
        ("policies: [rate_limits]", "/policies/0"),
        ("policies: [jwt]", "/policies/0"),
        ("policies: [{ rate_limit: { requests: 1 } }]", "/policies/0"),
        ("policies: [{ rate_limit: { requests: 0, per: 1s } }]", "/policies/0"),
        ("policies: [{ rate_limit: { requests: 1, per: 1s, by: user } }]", "/policies/0"),
        ("policies: [{ cors: on }]", "/policies/0"),
        ("policies: [{ request_id: {}, cors: off }]", "/policies/0"),
        ("policies: { request_id: {} }", "/policies"),
        ("routes: [{ match: { path: /a }, to: a }]", "/routes/0"),
        ("routes: [{ name: a, match: { path: users }, to: a }]", "/routes/0/match/path"),
        ("routes: [{ name: a, match: { path: [] }, to: a }]", "/routes/0/match/path"),
        ("routes: [{ name: a, match: { methods: GET }, to: a }]", "/routes/0/match/methods"),
        ("routes: [{ name: a, match: { headers: { version: 2 } }, to: a }]", "/routes/0/match/headers/version"),
        ("routes: [{ name: a, match: { query: { q: { presents: true } } }, to: a }]", "/routes/0/match/query/q"),
        ("routes: [{ name: a }]", "/routes/0"),
        ("routes: [{ name: a, to: b, redirect: { to: / } }]", "/routes/0"),
        ("routes: [{ name: a, path: /x, reply: {} }]", "/routes/0"),
        ("routes: [{ name: a, redirect: { to: /, status: 200 } }]", "/routes/0/redirect"),
        ("routes: [{ name: a, versions: { v1: { to: a } } }]", "/routes/0/versions"),
        ("routes: [{ name: a, versions: { from: { head: X-V }, v1: { to: a } } }]", "/routes/0/versions"),
        ("routes: [{ name: a, versions: { from: { query: v }, v1: { to: a, sunset: soon } } }]", "/routes/0/versions"),
        ("routes: [{ name: a, versions: { from: { query: v }, v1: { two: a } } }]", "/routes/0/versions"),
    ] {
        let told = told(&validator, &read_text(yaml));
        if !told.iter().any(|one| one.starts_with(&format!("{place}: ")) || one.starts_with(&format!("{place}/"))) {
            missed.push(format!("{yaml}: {told:?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn every_setting_says_what_it_is_for() {
    fn walk(schema: &Value, place: &str, silent: &mut Vec<String>) {
        for (name, setting) in schema["properties"].as_object().into_iter().flatten() {
            let place = format!("{place}/{name}");
            let described = setting.get("description").is_some() || setting.get("$ref").is_some();
            // The one key of a form is told with the form.
            if !described && schema.get("maxProperties").is_none() && !place.contains("/oneOf/-/") {
                silent.push(place);
            }
        }
        let inside = schema.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value));
        let inside = inside.chain(schema.as_array().into_iter().flatten().map(|value| ("-".to_owned(), value)));
        for (key, value) in inside {
            walk(value, &format!("{place}/{key}"), silent);
        }
    }
    let mut silent = Vec::new();
    walk(&schema(), "", &mut silent);
    assert_eq!(silent, [""; 0]);
}
