//! The conformance cases of the Kubernetes Gateway API for route matching and its precedence, replayed.
//!
//! Each match of each rule of each HTTPRoute of a file becomes one route, in the order of the file. Every case is replayed and
//! held to what the suite says; where the suite says 404 for a request that meets everything but a method, our answer is
//! documented to be 405 (RFC 9110 §15.5.6): those three cases are named in [`METHOD_ALONE`], and no other may be 405. The suite's methods
//! are exact, so `implicit_head` is off. The namespaces, ports and the Gateway of `parentRefs` are not routing's business.

use std::collections::BTreeMap;
use std::path::Path;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use tidegate::routing::{MatchConfig, Outcome, PathOptions, Query, Router, host, path};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/vectors/gateway-api");

/// Cases in which a route matches but for the method: file, method and path.
const METHOD_ALONE: [(&str, &str, &str); 3] = [
    ("httproute-method-matching", "HEAD", "/"),
    ("httproute-method-matching", "PUT", "/"),
    ("httproute-method-matching", "DELETE", "/path4"),
];

/// The text of a field that must be there.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

/// The fields of an object are all known, so that nothing of a case is skipped without a word.
fn only(value: &Value, known: &[&str]) {
    for key in value.as_object().unwrap().keys() {
        assert!(known.contains(&key.as_str()), "{key} is not translated: {value}");
    }
}

fn conditions(list: &Value) -> Value {
    let mut map = BTreeMap::new();
    for one in list.as_array().into_iter().flatten() {
        only(one, &["name", "value", "type"]);
        let value = text(one, "value");
        let condition = match one["type"].as_str().unwrap_or("Exact") {
            "Exact" => json!(value),
            "RegularExpression" => json!({"regex": value}),
            other => panic!("{other}"),
        };
        map.insert(text(one, "name").to_owned(), condition);
    }
    json!(map)
}

fn translate(one: &Value, hosts: &Value) -> MatchConfig {
    only(one, &["path", "headers", "queryParams", "method"]);
    let mut config = json!({"implicit_head": false, "headers": conditions(&one["headers"]), "query": conditions(&one["queryParams"])});
    let (kind, value) = match one.get("path") {
        Some(path) => (path["type"].as_str().unwrap_or("PathPrefix"), path["value"].as_str().unwrap_or("/")),
        None => ("PathPrefix", "/"),
    };
    config["path"] = match kind {
        "Exact" => json!({"exact": value}),
        "PathPrefix" => json!({"prefix": value}),
        "RegularExpression" => json!({"regex": value}),
        other => panic!("{other}"),
    };
    if let Some(method) = one.get("method") {
        config["methods"] = json!([method]);
    }
    if !hosts.is_null() {
        config["host"] = hosts.clone();
    }
    serde_json::from_value(config).unwrap()
}

/// The router, and the backend of each of its routes.
fn build(suite: &Value) -> (Router, Vec<String>) {
    let mut routes = Vec::new();
    for manifest in suite["manifests"].as_array().unwrap() {
        assert_eq!(text(manifest, "kind"), "HTTPRoute");
        only(&manifest["spec"], &["parentRefs", "hostnames", "rules"]);
        for rule in manifest["spec"]["rules"].as_array().unwrap() {
            only(rule, &["matches", "backendRefs"]);
            let [backend] = &**rule["backendRefs"].as_array().unwrap() else { panic!("{rule}") };
            for one in rule["matches"].as_array().unwrap() {
                routes.push((text(backend, "name").to_owned(), translate(one, &manifest["spec"]["hostnames"])));
            }
        }
    }
    let router = Router::build(routes.iter().map(|(name, config)| (name.as_str(), config)), &PathOptions::default()).unwrap();
    (router, routes.into_iter().map(|(backend, _)| backend).collect())
}

/// What the case's request reaches: a backend, or a status.
fn replay(router: &Router, backends: &[String], request: &Value) -> Result<String, u64> {
    only(request, &["Host", "Method", "Path", "Headers"]);
    let (raw, query) = match text(request, "Path").split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text(request, "Path"), None),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in request["Headers"].as_object().into_iter().flatten() {
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value.as_str().unwrap()).unwrap());
    }
    let query = Query {
        asks: None,
        host: &host::normalise(request["Host"].as_str().unwrap_or("any.example")).unwrap(),
        method: &request["Method"].as_str().unwrap_or("GET").parse().unwrap(),
        path: &path::normalise(raw, &PathOptions::default()).unwrap(),
        headers: &headers,
        query,
    };
    match router.find(&query) {
        Outcome::Found { route, .. } => Ok(backends[route].clone()),
        Outcome::MethodNotAllowed(_) => Err(405),
        Outcome::NotFound => Err(404),
    }
}

#[test]
fn all_cases_of_the_gateway_api_reach_what_the_suite_says() {
    let mut files: Vec<_> =
        std::fs::read_dir(VECTORS).unwrap_or_else(|error| panic!("{VECTORS}: {error}")).map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension() == Some("json".as_ref()));
    files.sort();
    let (mut cases, mut by_method) = (0, 0);
    for file in files {
        let suite: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let (router, backends) = build(&suite);
        let name = file.file_stem().and_then(|stem| Path::new(stem).to_str()).unwrap();
        for case in suite["cases"].as_array().unwrap() {
            only(case, &["Request", "Backend", "Namespace", "Response"]);
            let request = &case["Request"];
            let key = (name, request["Method"].as_str().unwrap_or("GET"), text(request, "Path"));
            let expected = match case.get("Backend") {
                Some(backend) => Ok(backend.as_str().unwrap().to_owned()),
                None if METHOD_ALONE.contains(&key) && request["Headers"].is_null() => {
                    assert_eq!(case["Response"]["StatusCode"], 404, "{name}: {case}");
                    by_method += 1;
                    Err(405)
                }
                None => Err(case["Response"]["StatusCode"].as_u64().unwrap()),
            };
            assert_eq!(replay(&router, &backends, request), expected, "{name}: {case}");
            cases += 1;
        }
    }
    assert_eq!((cases, by_method), (71, 3));
}
