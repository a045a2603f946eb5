//! `tidegate explain`: what it says of a request is what the gateway does with it.

use std::process::Command;

use serde_json::Value;

use crate::support::Gateway;
use crate::support::gateway::Folder;

fn explain(folder: &Folder, args: &[&str]) -> (bool, String) {
    let config = folder.path().join("tidegate.yaml");
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).arg("explain").args(args).arg("-c").arg(config).output().unwrap();
    let said = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(said).unwrap().replace(&format!("{}/", folder.path().display()), ""))
}

const CONFIG: &str = r#"
services:
  s: { mock: { echo: true } }
policies: [request_id]
routes:
  - name: users
    match: { host: [a.com, "*.b.com"], path: "/users/{id}", methods: [GET] }
    versions:
      from: { header: X-Version }
      default: v2
      v1: { to: s, path: "/v1/{id}", sunset: 2020-01-01 }
      v2: { to: s, path: "/v2/{id}" }
  - name: json
    match: { host: a.com, path: "/users/{id}", headers: { accept: { regex: ".*json.*" } }, query: { page: { present: true } } }
    to: s
  - { name: any, match: { path: "~/users/[0-9]+", methods: [PUT] }, to: s, path: /any }
  - { name: gone, match: { path: /old }, redirect: { to: /new } }
"#;

/// A request with its headers: the method and address, then the lines.
const REQUESTS: [(&str, &[&str]); 17] = [
    ("GET http://a.com/users/7", &[]),
    ("GET http://A.com:80/x/../users//7?page=1", &[]),
    ("GET http://x.b.com/users/7", &["X-Version: v1"]),
    ("GET http://x.b.com/users/7", &["X-Version: v9"]),
    ("POST http://a.com/users/7?page=", &["Accept: application/json"]),
    ("POST http://a.com/users/7", &[]),
    ("PUT http://c.com/users/7", &[]),
    ("PUT http://c.com/users/x", &[]),
    ("GET http://c.com/old", &[]),
    ("GET http://c.com/older", &[]),
    ("GET http://c.com/a%zz", &[]),
    ("HEAD http://b.com/users/7", &[]),
    ("DELETE http://b.com/old", &[]),
    ("OPTIONS http://a.com/users/7", &["Origin: https://x.com", "Access-Control-Request-Method: GET"]),
    // A route for all methods stands in the same place; the preflight asks about another.
    ("OPTIONS http://a.com/users/7?page=1", &["Origin: https://x.com", "Access-Control-Request-Method: GET", "Accept: json"]),
    ("OPTIONS http://a.com/users/7?page=1", &["Origin: https://x.com", "Access-Control-Request-Method: PUT", "Accept: json"]),
    ("TRACE http://c.com/old", &[]),
];

#[test]
fn what_it_says_is_what_the_gateway_does() {
    let gateway = Gateway::start(CONFIG);
    for (request, headers) in REQUESTS {
        let (method, address) = request.split_once(" http://").unwrap();
        let (host, target) = address.split_at(address.find('/').unwrap());
        let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let mut client = gateway.client();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}\r\n"));
        let real = if method == "HEAD" { client.read_head() } else { client.read() };

        let mut args = vec![request, "--json"];
        headers.iter().for_each(|line| args.extend(["-H", line]));
        let (right, said) = explain(&gateway.folder, &args);
        assert!(right, "{said}");
        let told: Value = serde_json::from_str(&said).unwrap();
        let status = match (&told["refused"], &told["to"]) {
            (refused @ Value::Object(_), _) => refused["status"].as_u64().unwrap(),
            (_, to) if to["handler"] == "redirect" => 308,
            _ => 200,
        };
        assert_eq!(u64::from(real.status), status, "{request}: {said}");
        if status == 200 && method != "HEAD" {
            assert_eq!(real.json()["path"], told["to"]["service"]["path"], "{request}");
        }
        let taken = told["candidates"].as_array().unwrap().iter().find(|candidate| candidate["why"] == "taken");
        if let Some(taken) = taken {
            assert_eq!(taken["route"], told["route"]["name"], "{request}");
        }
        assert_eq!(
            told["policies"][0]["name"].as_str(),
            (status != 400 || told["route"].is_object()).then_some("request_id"),
            "{request}: {said}"
        );
    }
}

#[test]
fn what_excluded_the_others_is_said_in_words() {
    let folder = Folder::new();
    folder.file("tidegate.yaml", CONFIG);
    for (args, lines) in [
        (
            vec!["GET https://a.com/users/7?x=1", "--client", "192.0.2.7"],
            vec![
                "request    GET /users/7?x=1 (host a.com, client 192.0.2.7)",
                "route      users (tidegate.yaml:6), by host a.com and path /users/{id}",
                "           {id} is 7",
                "version    v2, the default",
                "to         service s (a mock), path /v2/7?x=1",
                "policies   1. request_id { header: X-Request-Id, accept: false } (of the document, tidegate.yaml:4)",
                "not        json (tidegate.yaml:13): asks for header `accept` matching \".*json.*\"",
                "           any (tidegate.yaml:16): is for PUT",
                "           users (tidegate.yaml:6): is for the host *.b.com",
            ],
        ),
        (
            vec!["PATCH /users/7"],
            vec![
                "answer     405 Method not allowed after the policies: this path takes PUT",
                "not        any (tidegate.yaml:16): is for PUT",
            ],
        ),
        (
            vec!["/odl"],
            vec![
                "route      none",
                "answer     404 Not found after the policies: no route takes this request",
                "not        gone (tidegate.yaml:17): is for the path /old",
            ],
        ),
        (vec!["GET http://a.com/%"], vec!["answer     400 Bad Request: the path has a `%` that is not followed by two hex digits"]),
    ] {
        let (right, said) = explain(&folder, &args);
        assert!(right, "{said}");
        for line in lines {
            assert!(said.lines().any(|real| real == line), "{line}\n{said}");
        }
    }
    for (request, expected) in [("a b c", "write a method and an address"), ("ftp://x/", "is no address"), ("G@T /", "is no request")] {
        let (right, said) = explain(&folder, &[request]);
        assert!(!right && said.contains(expected), "{said}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let folder = Folder::new();
    folder.file("token", "hunter2");
    folder.file(
        "tidegate.yaml",
        "policies:\n  - jwt: { issuer: any, audience: any, keys: [{ algorithm: HS256, secret: \"0123456789abcdef0123456789abcdef\" }] }\n  - request: { headers: { set: { X-Token: \"${file:token}\" } } }\n",
    );
    for form in [&["/"][..], &["/", "--json"]] {
        let (right, said) = explain(&folder, form);
        assert!(right && said.contains("${file:token}") && said.contains("***"), "{said}");
        assert!(!said.contains("hunter2") && !said.contains("0123456789"), "{said}");
    }
}

const COMPOSED: &str = r#"
services:
  users: { mock: { json: { team: 7 } } }
  rest: { mock: {} }
routes:
  - name: profile
    match: { path: "/users/{id}" }
    compose:
      parts:
        team: { get: "rest:/teams/{parts.user.body.team}", timeout: 800ms }
        user: { get: "users:/users/{id}", required: true }
        boss: { post: "rest:/bosses", body: { of: "{parts.team.body}", for: "{parts.user.body}" } }
        offers: { get: "rest:/offers?page={query.page}" }
        mates: { each: "{parts.team.body.members}", get: "users:/users/{item}" }
        now: { value: true }
"#;

#[test]
fn the_parts_of_a_composed_answer_are_told_in_the_order_in_which_they_are_asked() {
    let folder = Folder::new();
    folder.file("tidegate.yaml", COMPOSED);
    let (right, said) = explain(&folder, &["/users/7"]);
    assert!(right, "{said}");
    let told = [
        "to         compose: the gateway answers",
        "parts      1. user: GET service users, path /users/{id} (required)",
        "           1. offers: GET service rest, path /offers?page={query.page} (may be missing)",
        "           1. now: asks nobody (may be missing)",
        "           2. team after user: GET service rest, path /teams/{parts.user.body.team} (may be missing, within 800ms)",
        "           3. boss after team, user: POST service rest, path /bosses (may be missing)",
        "           3. mates after team: GET service users, path /users/{item} for each of {parts.team.body.members} (may be missing)",
    ];
    assert!(said.contains(&told.join("\n")), "{said}");
    let (_, said) = explain(&folder, &["/users/7", "--json"]);
    let told: Value = serde_json::from_str(&said).unwrap();
    let boss = serde_json::json!({
        "name": "boss", "step": 3, "after": ["team", "user"], "asks": { "method": "POST", "service": "rest", "target": "/bosses" },
        "each": null, "required": false, "timeout": null,
    });
    assert_eq!((told["to"]["handler"].as_str(), &told["parts"][4]), (Some("compose"), &boss), "{said}");
}

#[test]
fn what_a_request_needs_is_told_for_each_way_to_be_known() {
    for (example, request, wanted) in [
        (
            "introspection",
            "/orders",
            &[
                "needs      a token in `Authorization: Bearer …`",
                "           that http://127.0.0.1:8080/introspect says is good for api, with the scopes orders.read",
            ][..],
        ),
        ("external", "/account", &["needs      a yes of service sessions to GET /sessions, which is told Cookie"]),
        ("mtls", "/invoices", &["needs      a client certificate of billing or partner"]),
        (
            "hmac",
            "/orders",
            &[
                "needs      `Signature-Input` and `Signature` (RFC 9421) over @method @authority @path @query, with `created` and `keyid`",
                "           signed within the last 1m, not used before",
                "           where there is a body, with its digest signed too",
            ],
        ),
        ("hmac", "/legacy", &["needs      `Authorization: Signature …` over (request-target) host date digest"]),
        ("any_of", "/orders", &["           or jwt: a token in `Authorization: Bearer …`"]),
    ] {
        let config = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/examples").join(example).with_extension("yaml");
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["explain", request, "-c"]).arg(config).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        for line in wanted {
            assert!(said.lines().any(|real| real == *line), "{line}\n{said}{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
