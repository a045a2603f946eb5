use http::{HeaderName, HeaderValue};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::super::{Draft, MatchConfig, Outcome};
use super::*;
use crate::building::Errors;

fn draft(routes: &[Value], options: &PathOptions) -> (Router, Errors) {
    let mut draft = Draft::default();
    for (place, route) in routes.iter().enumerate() {
        let config: MatchConfig = serde_json::from_value(route.clone()).unwrap();
        draft.add(&format!("r{place}"), &config, options);
    }
    draft.finish(options)
}

/// What is said of the routes, with the place.
fn told(routes: &Value) -> Vec<String> {
    let (_, errors) = draft(routes.as_array().unwrap(), &PathOptions::default());
    errors.0.iter().map(|error| format!("{}: {}", error.path, error.reason)).collect()
}

#[test]
fn a_route_that_others_take_everything_from_is_refused_with_an_example() {
    for (routes, expected) in [
        (
            json!([{"path": "/users/{id}"}, {"path": "~/.*"}]),
            "[0].match: the route `r0` never gets a request: `r1` comes first, for example for `GET http://example.com/users/x`",
        ),
        (
            json!([{"path": "~/health"}, {"path": "/health"}]),
            "[0].match: the route `r0` never gets a request: `r1` comes first, for example for `GET http://example.com/health`",
        ),
        (
            json!([{"path": "/a", "headers": {"X": {"present": true}}}, {"path": "/a", "headers": {"x": "1"}}]),
            "[1].match: the route `r1` never gets a request: `r0` comes first, for example for `GET http://example.com/a` with `x: 1`",
        ),
        (
            json!([{"path": "/a", "query": {"q": {"regex": "[a-z]+"}}}, {"path": "/a", "query": {"q": {"regex": "[p-q]{3}"}}}]),
            "[1].match: the route `r1` never gets a request: `r0` comes first, for example for `GET http://example.com/a?q=ppp`",
        ),
        (
            json!([
                {"path": "~/a/.*", "methods": ["GET"]},
                {"path": "~/a/.+", "methods": ["POST"]},
                {"host": "*.x.com", "path": "/a/{rest...}"},
                {"path": "/a/{x}/b", "methods": ["GET", "POST"]},
            ]),
            "[3].match: the route `r3` never gets a request: `r0` comes first, for example for `GET http://example.com/a/x/b`",
        ),
        (
            json!([{"path": "~/a[0-9]"}, {"path": "~/a[0-4]"}]),
            "[1].match: the route `r1` never gets a request: `r0` comes first, for example for `GET http://example.com/a1`",
        ),
        (json!([{"host": "*.a.com", "path": "~/(b|c)/?"}, {"host": "*.a.com", "path": ["/b/", "/c"]}]), ""),
        (json!([{"host": "*.a.com", "path": ["/b", "/{x}/"]}, {"host": "*.a.com", "path": "~/[^/]+/?"}]), ""),
        (
            json!([{"host": "*.a.com", "path": ["/{y}", "/{x}/"]}, {"host": "*.a.com", "path": "~/[^/]+/?"}]),
            "[0].match: the route `r0` never gets a request: `r1` comes first, for example for `GET http://x.a.com/x`",
        ),
    ] {
        let told = told(&routes);
        assert_eq!(told.join("\n"), expected, "{routes}");
    }
}

#[test]
fn what_may_get_a_request_is_left_alone() {
    for routes in [
        json!([{"path": "~/.*", "headers": {"x": "1"}}, {"path": "/users/{id}"}]),
        json!([{"path": "~/.*", "methods": ["GET"]}, {"path": "/users/{id}"}]),
        json!([{"path": "~/[a-z]+/.*"}, {"path": "/users/{id}"}, {"path": "/{x}/{y}"}])
            .as_array()
            .map(|routes| json!([routes[0], routes[2]]))
            .unwrap(),
        json!([{"path": "/{rest...}"}, {"path": "/a"}, {"path": "~/b.*"}]),
        json!([{"host": "a.com", "path": "~/.*"}, {"path": "/users/{id}"}, {"host": "*.com", "path": "/{x}"}]),
        json!([{"path": "/a", "headers": {"x": {"present": true}, "y": "1"}}, {"path": "/a", "headers": {"x": "1"}}]),
        json!([{"path": "/a", "headers": {"x": {"present": false}}}, {"path": "/a", "headers": {"x": "1"}}]),
        json!([{"path": "~/a", "methods": ["GET"]}, {"path": "/{x}", "methods": ["HEAD", "PUT"]}]),
        json!([{"path": "/{a}"}, {"path": "/{a}/"}, {"path": "/"}, {"path": "/{rest...}"}]),
    ] {
        assert_eq!(told(&routes), [""; 0], "{routes}");
    }
}

#[test]
fn a_matcher_that_no_request_can_meet_is_refused() {
    for (route, expected) in [
        (json!({"path": "~users/.*"}), "[0].match.path: the regex `users/.*` can never match a request path"),
        (json!({"path": ["/ok", {"regex": "/a//b"}]}), "[0].match.path[1].regex: the regex `/a//b` can never match a request path"),
        (json!({"path": r"~/a/\.\./b"}), r"[0].match.path: the regex `/a/\.\./b` can never match a request path"),
        (json!({"path": "~/a%2f.*"}), "[0].match.path: the regex `/a%2f.*` can never match a request path"),
        (json!({"path": "~/a b"}), "[0].match.path: the regex `/a b` can never match a request path"),
        (json!({"path": r"~/a\?b=.*"}), r"[0].match.path: the regex `/a\?b=.*` can never match a request path"),
        (json!({"path": "~/a$b"}), "[0].match.path: the regex `/a$b` can never match a request path"),
        (json!({"headers": {"x": "a\nb"}}), "[0].match.headers.x: no value can be like this, so nothing would match"),
        (json!({"headers": {"x": {"regex": "a\\x00"}}}), "[0].match.headers.x: no value can be like this, so nothing would match"),
        (json!({"query": {"x": {"regex": "a\\bb"}}}), "[0].match.query.x: no value can be like this, so nothing would match"),
        (json!({"host": format!("*.{}.com", "a".repeat(248))}), "[0].match.host: no name under"),
    ] {
        let told = told(&json!([route]));
        assert!(told.len() == 1 && told[0].starts_with(expected), "{route}: {told:?}");
    }
    for path in [r"~/a(\.json|%2F[0-9a-f]+)?", "~.*", "~^/x$", r"~/[^/]+/\.well-known/.*", "~(?i)/ABC", "~.+/"] {
        assert_eq!(told(&json!([{"path": path}])), [""; 0], "{path}");
    }
    let options = PathOptions { merge_slashes: false, ..PathOptions::default() };
    assert!(draft(&[json!({"path": "~/a//b"})], &options).1.0.is_empty());
}

const HOSTS: [&str; 4] = ["a.com", "b.com", "x.a.com", "y.org"];
const PATHS: [&str; 13] = ["/", "/a", "/b", "/ab", "/a/", "/a/b", "/a/a", "/b/a", "/b/x", "/x", "/x/", "/a/b/x", "/x/y/z"];
const METHODS: [&str; 4] = ["GET", "HEAD", "POST", "PURGE"];

fn route(random: &mut StdRng) -> Value {
    let patterns = ["/a", "/b", "/{x}", "/{x}/", "/a/{x}", "/{x}/{y}", "/a{x}", "/a/{rest...}", "/{rest...}"];
    let regexes = ["~/.*", "~/a.*", "~/[ab]", "~/[a-z]+", "~/(a|b)(/.*)?", "~/a/[^/]+", "~.*/", "~/b"];
    let path =
        |random: &mut StdRng| if random.random_bool(0.4) { *regexes.choose(random).unwrap() } else { *patterns.choose(random).unwrap() };
    let mut route = json!({"path": (0..random.random_range(1..3)).map(|_| path(random)).collect::<Vec<_>>()});
    if random.random_bool(0.3) {
        route["host"] = json!(["a.com", "*.com", "*.a.com"].choose(random).unwrap());
    }
    if random.random_bool(0.5) {
        route["methods"] = json!(METHODS.sample(random, 2).collect::<Vec<_>>());
    }
    for key in ["headers", "query"] {
        if random.random_bool(0.25) {
            let conditions =
                [json!("1"), json!({"present": true}), json!({"present": false}), json!({"regex": "[0-9]"}), json!({"regex": ".*"})];
            route[key] = json!({"h": conditions.choose(random).unwrap()});
        }
    }
    route
}

/// The method, host, path, headers and query of an example as it is told.
fn read(reason: &str) -> (http::Method, Example, String) {
    let (_, rest) = reason.split_once("request: `").unwrap();
    let (other, rest) = rest.split_once("` comes first, for example for `").unwrap();
    let (request, with) = rest.split_once('`').unwrap();
    let (method, url) = request.split_once(" http://").unwrap();
    let (host, path) = url.split_at(url.find('/').unwrap());
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query.to_owned())));
    let mut headers = HeaderMap::new();
    for (name, value) in with.split('`').filter_map(|part| part.split_once(": ")) {
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    (method.parse().unwrap(), Example { host: host.into(), path: path.into(), headers, query, with: String::new() }, other.to_owned())
}

#[test]
fn every_example_is_as_told_and_no_request_reaches_a_route_that_is_refused() {
    let mut random = StdRng::seed_from_u64(4);
    let mut found = 0;
    for _ in 0..150 {
        let routes: Vec<Value> = (0..random.random_range(2..9)).map(|_| route(&mut random)).collect();
        let (router, errors) = draft(&routes, &PathOptions::default());
        let find = |method: &http::Method, example: &Example| {
            let Example { host, path, headers, query, .. } = example;
            match router.find(&Query { host, method, asks: None, path, headers, query: query.as_deref() }) {
                Outcome::Found { route, .. } => Some(format!("r{route}")),
                _ => None,
            }
        };
        let shadowed: Vec<_> = errors.0.iter().filter(|error| error.reason.contains("never gets")).collect();
        for error in &shadowed {
            let (method, example, other) = read(&error.reason);
            assert_eq!(find(&method, &example).as_deref(), Some(other.as_str()), "{error}\n{routes:?}");
            found += 1;
        }
        if shadowed.is_empty() {
            continue;
        }
        let lost: Vec<_> = shadowed.iter().map(|error| error.reason.split('`').nth(1).unwrap()).collect();
        for (host, path, method) in
            HOSTS.iter().flat_map(|host| PATHS.iter().flat_map(move |path| METHODS.map(|method| (host, path, method))))
        {
            for (header, query) in [(None, None), (Some("1"), None), (None, Some("h=1")), (Some("2"), Some("h=x")), (Some(""), Some("h="))]
            {
                let headers = header.map(|value| (HeaderName::from_static("h"), HeaderValue::from_static(value))).into_iter().collect();
                let example = Example {
                    host: (*host).into(),
                    path: (*path).into(),
                    headers,
                    query: query.map(ToOwned::to_owned),
                    with: String::new(),
                };
                let taken = find(&method.parse().unwrap(), &example);
                assert!(
                    !taken.as_ref().is_some_and(|taken| lost.contains(&taken.as_str())),
                    "{method} {host}{path} {header:?} {query:?} {taken:?}\n{routes:?}"
                );
            }
        }
    }
    assert!(found > 25, "{found}");
}
