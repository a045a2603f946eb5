//! Every mistake of a config is told at once: with its line and column, its path, the reason and the fix.

use crate::support::gateway::{Folder, check};

/// A config full of mistakes; each line that has one says which, behind `#!`: the column, the path, words of the reason, words of the fix.
const WRONG: &str = r##"
server:
  listeners: [{ address: "127.0.0.1:0" }]
  wokers: 2 #! 3 | server.wokers | unknown key `wokers` | did you mean `workers`?
  trusted_proxies: [10.0.0.0/40] #! 21 | server.trusted_proxies[0] | not a network | `10.0.0.0/8`
admin: { address: localhost } #! 19 | admin.address | not an IP address with a port | `127.0.0.1:8080`
consumers:
  - name: app
    api_keys: ["sha256:9f86d08"] #! 16 | consumers[0].api_keys[0] | not `sha256:` and 64 hex digits | hash-key
services:
  users:
    targets: ["http://127.0.0.1:9"]
    timeouts: { connect: fast } #! 26 | services.users.timeouts.connect | `fast` is not a duration | `800ms`
  both:
    targets: ["http://127.0.0.1:9"]
    mock: { text: hi } #! 5 | services.both.mock | not both | remove one
policies:
  - rate_limits: { requests: 1, per: 1s } #! 5 | policies[0].rate_limits | unknown key `rate_limits` | did you mean `rate_limit`?
routes:
  - name: lost
    match: { path: /lost }
    to: user #! 9 | routes[0].to | no service `user` | did you mean `users`?
  - name: expression
    match: { path: "~/a(b" } #! 20 | routes[1].match.path | unclosed group | docs.rs/regex
    to: users
  - name: first
    match: { path: "/x/{a}" }
    to: users
  - name: second
    match: { path: "/x/{b}" } #! 5 | routes[3].match | `first` and `second` match alike | another path
    to: users
  - name: template
    match: { path: "/t/{id}" }
    policies:
      - request: { headers: { set: { X-Who: "{consumer.nam}" } } } #! 45 | routes[4].policies[0].request.headers.set.X-Who | `{consumer.nam}` | did you mean `{consumer.name}`?
    to: users
  - name: two
    match: { path: /two }
    to: users
    reply: { status: 204 } #! 5 | routes[5].reply | one place | remove one
  - name: version
    match: { path: /v }
    versions:
      from: { header: X-Version }
      default: v3 #! 16 | routes[6].versions.default | no version `v3` | did you mean `v1`?
      v1: { to: users, sunset: soon } #! 32 | routes[6].versions.v1.sunset | `soon` is not a date | `2026-12-31`
  - name: typed
    match: { path: /typed }
    to: users
    policies:
      - rate_limit: { requests: many, per: 1m } #! 33 | routes[7].policies[0].rate_limit.requests | found a string `many` | whole number
  - name: lost #! 11 | routes[8].name | two routes named `lost` | its own name
    match: { path: /again }
    reply: { status: 99 } #! 22 | routes[8].reply.status | `99` | 200 to 599
"##;

/// The mistakes as `file:line:column: path: reason` with the lines of their fix.
fn told(said: &str) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for line in said.lines() {
        match told.last_mut() {
            _ if line.starts_with("tidegate.yaml:") => told.push(line.to_owned()),
            Some(last) => {
                last.push('\n');
                last.push_str(line);
            }
            None => panic!("this belongs to no mistake: {line}"),
        }
    }
    told
}

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_its_fix() {
    let (content, said) = check(WRONG);
    assert!(!content);
    let told = told(&said);
    let expected: Vec<(usize, Vec<&str>)> = WRONG
        .lines()
        .enumerate()
        .filter_map(|(index, line)| line.split_once("#! ").map(|(_, words)| (index + 1, words.split(" | ").collect())))
        .collect();
    assert!(expected.len() >= 10);
    for (told, (line, words)) in told.iter().zip(&expected) {
        let [column, path, reason, fix] = words.as_slice() else { panic!("{words:?}") };
        assert!(told.starts_with(&format!("tidegate.yaml:{line}:{column}: {path}: ")), "line {line}: {told}\n\nof:\n{said}");
        let (before, after) = told.split_once("fix: ").unwrap_or_else(|| panic!("no fix: {told}"));
        assert!(before.contains(reason), "{reason}: {told}");
        assert!(after.contains(fix), "{fix}: {told}");
    }
    assert_eq!(told.len(), expected.len(), "{said}");
    assert!(said.trim_end().ends_with(&format!("{} errors", expected.len())), "{said}");
}

#[test]
fn a_config_without_mistakes_is_said_to_be_so() {
    let (content, said) = check(include_str!("../../conf/tidegate.yaml"));
    assert!(content, "{said}");
    assert!(said.contains("nothing is wrong"), "{said}");
}

#[test]
fn an_order_of_policies_that_makes_no_sense_is_warned_of_once_with_both_places() {
    let (content, said) = check(
        "policies:\n  - rate_limit: { requests: 1, per: 1s }\nservices: { s: { mock: {}, policies: [api_key] } }\nroutes:\n  - { name: a, match: { path: /a }, to: s }\n  - { name: b, match: { path: /b }, to: s }\n  - { name: c, match: { path: /c }, policies: [cors: { origins: [\"*\"] }], reply: {} }\nconsumers: [{ name: app, api_keys: [\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"] }]\n",
    );
    assert!(content, "{said}");
    let (first, warnings) = said.split_once('\n').unwrap();
    assert!(first.ends_with("3 routes, 1 services, nothing is wrong"), "{said}");
    let warnings: Vec<_> = warnings.split("warning: ").skip(1).collect();
    assert_eq!(warnings.len(), 2, "{said}");
    assert!(warnings[0].starts_with("tidegate.yaml:3:39: services.s.policies[0]"), "{said}");
    assert!(warnings[0].contains("it counts addresses; the other is at tidegate.yaml:2\n    fix: put it below `api_key`"), "{said}");
    assert!(warnings[1].starts_with("tidegate.yaml:7:48: routes[2].policies[0].cors: `cors` stands below `rate_limit`"), "{said}");
}

#[test]
fn what_we_ship_gives_no_warning() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    for file in files.chain([folder.join("../tidegate.yaml")]) {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["check", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !said.contains("warning"), "{said}");
    }
}

#[test]
fn text_that_is_no_yaml_is_told_with_its_place() {
    let (content, said) = check("routes:\n  - name: a\n    match: { path: /a\n    to: b\n");
    assert!(!content);
    assert!(said.starts_with("tidegate.yaml:4:") || said.starts_with("tidegate.yaml:3:"), "{said}");
    assert!(said.contains("fix:"), "{said}");
}

#[test]
fn a_secret_that_is_wrong_is_not_shown() {
    let folder = crate::support::gateway::Folder::new();
    let secret = folder.file("secret", "hunter2-hunter2-hunter2");
    let (content, said) = check(&format!("consumers: [{{ name: app, api_keys: [\"${{file:{}}}\"] }}]\n", secret.display()));
    assert!(!content && said.contains("1:37: consumers[0].api_keys[0]"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_gateway_does_not_start_on_a_config_with_mistakes() {
    let folder = crate::support::gateway::Folder::new();
    let path = folder.file("tidegate.yaml", WRONG);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["run", "-c"]).arg(path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("did you mean `workers`?"));
}

#[test]
fn what_can_be_read_and_cannot_work_is_refused() {
    let (taken, said) = crate::support::gateway::check(
        r#"
server:
  timeouts: { header: 0s }
  limits: { header_fields: 5000, target: 1 }
  listeners: []
services:
  up: { targets: ["http://127.0.0.1:1"], timeouts: { connect: 0s } }
  mock: { mock: { json: {}, headers: { Transfer-Encoding: chunked } } }
  slow: { mock: { json: {} }, timeouts: { total: 1s } }
"#,
    );
    assert!(!taken);
    for part in [
        "3:23: server.timeouts.header: this leaves no time at all",
        "4:28: server.limits.header_fields: 5000 is no number of fields",
        "4:42: server.limits.target: 1 bytes is no bound",
        "5:3: server.listeners: there is no address to listen on",
        "7:63: services.up.timeouts.connect: this leaves no time at all",
        "8:59: services.mock.mock.headers.Transfer-Encoding: this header frames the answer",
        "9:31: services.slow.timeouts: a mock has no `timeouts`",
        "\n7 errors",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
}

#[test]
fn bounds_that_would_serve_nobody_are_refused() {
    let (taken, said) = check(
        r#"
server:
  limits: { connections: 0, requests: 0, slowest_upload: 2MiB, streams: 0, resets: 0, control_frames: 0, encoders: 0 }
  listeners: [{ address: 127.0.0.1:0, protocols: [] }]
"#,
    );
    assert!(!taken);
    for part in [
        "3:26: server.limits.connections: with 0, nobody would be served",
        "3:39: server.limits.requests: with 0, nobody would be served",
        "3:58: server.limits.slowest_upload: 2097152 bytes per second is more than many clients have",
        "3:73: server.limits.streams: with 0, nobody would be served",
        "3:84: server.limits.resets: with 0, nobody would be served",
        "3:103: server.limits.control_frames: with 0, nobody would be served",
        "3:116: server.limits.encoders: with 0, nothing would be encoded",
        "4:39: server.listeners[0].protocols: there is no HTTP to speak",
        "\n8 errors",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
    let (taken, said) = check("server:\n  limits: { connections: 10, connections_per_client: 11 }\n");
    assert!(!taken && said.contains("2:54: server.limits.connections_per_client: no client can have 11 of 10 connections"), "{said}");
}

#[test]
fn a_file_in_another_encoding_is_told_to_be_saved_anew() {
    let folder = Folder::new();
    let path = folder.file("tidegate.yaml", b"\xff\xfer\x00o\x00");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("check").arg("-c").arg(&path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("it is not UTF-8 text") && said.contains("save it as UTF-8"), "{said}");
}

#[test]
fn a_variable_that_never_has_a_value_here_is_doubted() {
    let (right, said) = check(
        r#"
services: { s: { mock: { echo: true } } }
policies: [request: { headers: { set: { X-Sub: "{claims.sub}" } } }]
routes:
  - name: a
    match: { path: /a }
    policies: [response: { headers: { set: { X-Who: "{consumer.name}", X-Version: "{version}", X-Braces: "{{claims.x}}" } } }]
    to: s
  - { name: moved, match: { path: /b }, redirect: { to: "/{claims.sub}" } }
"#,
    );
    assert!(right, "{said}");
    for told in ["`{consumer.name}` never has a value", "`{version}` never has a value", "tidegate.yaml:9"] {
        assert!(said.contains(told), "{told}: {said}");
    }
    assert_eq!(said.matches("warning:").count(), 3, "{said}");
}

#[test]
fn a_condition_that_no_header_meets_and_a_header_that_is_none_are_refused() {
    for (text, place) in [
        ("match: { path: /a, headers: { X-A: \" x \" } }", "no value can be like this"),
        ("match: { path: /a, headers: { X-A: \"\\tx\" } }", "no value can be like this"),
        (
            "match: { path: /a }, policies: [request: { headers: { set: { X-T: \"{header.X Tenant}\" } } }]",
            "`X Tenant` is not a header name",
        ),
        ("match: { path: /a }, policies: [request_id: { header: Content-Length }]", "belongs to the connection"),
    ] {
        let (right, said) = check(&format!("services: {{ s: {{ mock: {{ echo: true }} }} }}\nroutes:\n  - {{ name: a, {text}, to: s }}\n"));
        assert!(!right && said.contains(place), "{text}: {said}");
    }
}

#[test]
fn a_cors_that_preflights_miss_is_doubted() {
    let config = |default: &str, second: &str| {
        format!(
            r#"
services:
  c: {{ mock: {{ echo: true }}, policies: [{{ cors: {{ origins: ["*"] }} }}] }}
  d: {{ mock: {{ echo: true }}, policies: [{{ cors: {{ origins: ["*"] }} }}] }}
routes: [{{ name: v, match: {{ path: /v }}, versions: {{ from: {{ header: X-V }}, {default} v1: {{ to: c }}, v2: {{ to: {second} }} }} }}]
"#
        )
    };
    let told = |config: &str| check(config).1.contains("a preflight says no version");
    assert!(told(&config("", "d")));
    assert!(!told(&config("default: v1,", "d")) && !told(&config("", "c")));
}
