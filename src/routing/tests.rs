use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;

fn configs(routes: &Value) -> Vec<(String, MatchConfig)> {
    let routes = routes.as_array().unwrap().iter();
    routes.enumerate().map(|(place, route)| (format!("r{place}"), serde_json::from_value(route.clone()).unwrap())).collect()
}

fn try_build(routes: &Value) -> Result<Router, Errors> {
    let configs = configs(routes);
    Router::build(configs.iter().map(|(name, config)| (name.as_str(), config)), &PathOptions::default())
}

fn build(routes: &Value) -> Router {
    try_build(routes).unwrap()
}

/// `GET host/path?query` with headers, looked up; the route with its parameters, or the status with its methods, in words.
fn find(router: &Router, request: &str, headers: &[(&str, &str)]) -> String {
    let (method, url) = request.split_once(' ').unwrap();
    let (host, path) = url.split_at(url.find('/').unwrap());
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect();
    // `OPTIONS>PUT` is a preflight that asks about PUT.
    let (method, asks) = method.split_once('>').map_or((method, None), |(method, asks)| (method, Some(asks)));
    let [method, asks] = [Some(method), asks].map(|method| method.map(|method| http::Method::from_bytes(method.as_bytes()).unwrap()));
    let method = method.unwrap();
    match router.find(&Query { host, method: &method, asks: asks.as_ref(), path, headers: &headers, query }) {
        Outcome::Found { route, names, params, allow } => {
            assert_eq!(names.len(), params.len(), "{request}");
            let params =
                names.iter().zip(&params).map(|(name, range)| format!(" {name}={}", &path[range.start as usize..range.end as usize]));
            let allow = allow.iter().map(|method| format!(" +{method}")).collect::<String>();
            format!("r{route}{}{allow}", params.collect::<String>())
        }
        Outcome::MethodNotAllowed(allow) => format!("405 {}", allow.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", ")),
        Outcome::NotFound => "404".to_owned(),
    }
}

fn check(routes: &Value, cases: &[(&str, &str)]) {
    let router = build(routes);
    for (request, expected) in cases {
        assert_eq!(find(&router, request, &[]), *expected, "{request}");
    }
}

#[test]
fn parameters_are_found_where_they_stand() {
    check(
        &json!([
            {"path": "/users/{id}"},
            {"path": "/users/{id}/orders/{order}"},
            {"path": "/files/{rest...}"},
            {"path": {"prefix": "/v2"}},
            {"path": {"prefix": "/t/{tenant}"}},
            {"path": "/docs/{name}.json"},
            {"path": "/jobs/{id}:cancel"},
            {"path": r"~/items/(?<number>\d+)(?:\.(?<form>json|xml))?"},
        ]),
        &[
            ("GET h/users/42", "r0 id=42"),
            ("GET h/users/a%2Fb", "r0 id=a%2Fb"),
            ("GET h/users/", "404"),
            ("GET h/users", "404"),
            ("GET h/users/42/", "404"),
            ("GET h/users/42/orders/7", "r1 id=42 order=7"),
            ("GET h/files", "r2 rest="),
            ("GET h/files/", "r2 rest="),
            ("GET h/files/a/b/", "r2 rest=a/b/"),
            ("GET h/filesystem", "404"),
            ("GET h/v2", "r3 rest="),
            ("GET h/v2/", "r3 rest="),
            ("GET h/v2/x", "r3 rest=x"),
            ("GET h/v2x", "404"),
            ("GET h/t/acme/a/b", "r4 tenant=acme rest=a/b"),
            ("GET h/t/acme", "r4 tenant=acme rest="),
            ("GET h/t/", "404"),
            ("GET h/docs/a.b.json", "r5 name=a.b"),
            ("GET h/docs/.json", "404"),
            ("GET h/jobs/9:cancel", "r6 id=9"),
            ("GET h/jobs/9", "404"),
            ("GET h/items/5.xml", "r7 number=5 form=xml"),
            ("GET h/items/5", "r7 number=5 form="),
            ("GET h/items/5x", "404"),
            ("OPTIONS h/", "404"),
        ],
    );
    check(&json!([{"path": "/{rest...}"}]), &[("GET h/", "r0 rest="), ("GET h/a//b", "r0 rest=a//b")]);
    check(&json!([{}]), &[("GET h/", "r0"), ("GET h/a/b", "r0")]);
}

#[test]
fn text_beats_expression_beats_parameter_beats_rest() {
    check(
        &json!([
            {"path": "/{rest...}"},
            {"path": "/a/{rest...}"},
            {"path": "/a/{x}/{rest...}"},
            {"path": "/a/{x}/c"},
            {"path": "/a/{x}"},
            {"path": "/a/{x}.json"},
            {"path": "/a/my-{x}.json"},
            {"path": "/a/b"},
            {"path": "~/a/n[0-9]+"},
            {"path": "~/.*[0-9]{3}"},
            {"path": "/a/{x}/{y}"},
        ]),
        &[
            ("GET h/a/b", "r7"),
            ("GET h/a/n1", "r8"),
            ("GET h/a/n123", "r8"),
            ("GET h/a/m123", "r9"),
            ("GET h/a/my-x.json", "r6 x=x"),
            ("GET h/a/my-.json", "r5 x=my-"),
            ("GET h/a/z", "r4 x=z"),
            ("GET h/a/z/c", "r3 x=z"),
            ("GET h/a/z/d", "r10 x=z y=d"),
            ("GET h/a/z/d/e", "r2 x=z rest=d/e"),
            ("GET h/a/", "r1 rest="),
            ("GET h/b", "r0 rest=b"),
        ],
    );
}

#[test]
fn a_dead_end_leads_back_to_the_next_best() {
    check(
        &json!([{"path": "/a/b/c"}, {"path": "/a/{x}/d"}, {"path": "/{y}/b/e"}, {"path": "/{z}/{rest...}"}]),
        &[
            ("GET h/a/b/c", "r0"),
            ("GET h/a/b/d", "r1 x=b"),
            ("GET h/a/b/e", "r2 y=a"),
            ("GET h/a/b/f", "r3 z=a rest=b/f"),
            ("GET h/a/b/e/g", "r3 z=a rest=b/e/g"),
        ],
    );
}

#[test]
fn the_host_comes_first_and_less_specific_ones_are_asked_next() {
    check(
        &json!([
            {"path": "/users/me"},
            {"host": "*.example.com", "path": "/users/{id}"},
            {"host": ["api.example.com", "www.example.com"], "path": "/{rest...}", "methods": ["GET"]},
            {"host": "*.b.example.com", "path": "/x"},
        ]),
        &[
            ("GET api.example.com/users/me", "r2 rest=users/me"),
            ("POST api.example.com/users/me", "r1 id=me"),
            ("POST api.example.com/x", "405 GET, HEAD"),
            ("GET other.example.com/users/me", "r1 id=me"),
            ("GET a.b.example.com/x", "r3"),
            ("GET a.b.example.com/users/1", "r1 id=1"),
            ("GET example.com/users/me", "r0"),
            ("GET elsewhere.org/users/me", "r0"),
            ("GET /users/me", "r0"),
        ],
    );
}

#[test]
fn head_takes_the_route_of_get_unless_one_names_it() {
    check(
        &json!([
            {"path": "/a", "methods": ["GET"]},
            {"path": "/b"},
            {"path": "/b", "methods": ["GET"], "headers": {"x": {"present": false}}},
            {"path": "/b", "methods": ["HEAD"]},
            {"path": "/c", "methods": ["GET"], "implicit_head": false},
            {"path": "/a", "methods": ["PURGE", "POST"]},
        ]),
        &[
            ("HEAD h/a", "r0"),
            ("PURGE h/a", "r5"),
            ("PUT h/a", "405 GET, HEAD, POST, PURGE"),
            ("WEIRD h/a", "405 GET, HEAD, POST, PURGE"),
            ("HEAD h/b", "r3"),
            ("GET h/b", "r2"),
            ("WEIRD h/b", "r1"),
            ("HEAD h/c", "405 GET"),
        ],
    );
}

#[test]
fn a_preflight_takes_the_route_of_the_request_that_follows() {
    check(
        &json!([
            {"path": "/a/{id}", "methods": ["GET", "PUT"]},
            {"path": "/a/{id}", "methods": ["DELETE"]},
            {"path": "/{rest...}"},
            {"path": "/b/{id}", "methods": ["GET"]},
            {"path": "/b/{x}", "methods": ["OPTIONS"]},
            {"path": "/c", "methods": ["OPTIONS"]},
            {"path": "/c/{rest...}", "methods": ["GET"]},
            {"path": "/c/d/{rest...}", "methods": ["OPTIONS"]},
            {"path": "/d/{rest...}", "methods": ["OPTIONS"]},
            {"path": "/d/e", "methods": ["GET"]},
        ]),
        &[
            ("OPTIONS h/a/1", "r2 rest=a/1"),
            ("OPTIONS>PUT h/a/1", "r0 id=1 +GET +HEAD +PUT +DELETE"),
            ("OPTIONS>DELETE h/a/1", "r1 id=1 +GET +HEAD +PUT +DELETE"),
            ("OPTIONS>HEAD h/a/1", "r0 id=1 +GET +HEAD +PUT +DELETE"),
            ("OPTIONS>PATCH h/a/1", "r2 rest=a/1"),
            ("OPTIONS>GET h/b/1", "r4 x=1"),
            ("OPTIONS>GET h/c", "r5"),
            ("OPTIONS>GET h/c/d/e", "r7 rest=e"),
            ("OPTIONS>GET h/d/e", "r9 +GET +HEAD"),
            ("OPTIONS>GET h/d/f", "r8 rest=f"),
        ],
    );
    check(&json!([{"path": "/a", "methods": ["GET"]}]), &[("OPTIONS>GET h/a", "r0 +GET +HEAD"), ("OPTIONS>PUT h/a", "405 GET, HEAD")]);
}

#[test]
fn trace_is_taken_only_by_a_route_that_names_it() {
    check(
        &json!([{"path": "/a"}, {"path": "/a", "methods": ["TRACE"]}, {"path": "/b"}, {"path": "/c", "methods": ["GET"]}]),
        &[("TRACE h/a", "r1"), ("TRACE h/b", "404"), ("TRACE h/c", "405 GET, HEAD"), ("GET h/b", "r2")],
    );
    // What takes all else does not take it.
    build(&json!([{"path": "/{rest...}"}, {"path": "/a/{id}", "methods": ["TRACE"]}, {"path": "~/a/.*"}]));
}

#[test]
fn conditions_decide_and_an_unmet_one_gives_no_405() {
    let router = build(&json!([
        {"path": "/a", "headers": {"Version": "2"}},
        {"path": "/a", "headers": {"version": "2", "x": {"regex": "y+"}}},
        {"path": "/a", "query": {"q": "1"}},
        {"path": "/a", "methods": ["DELETE"], "headers": {"admin": {"present": true}}},
    ]));
    assert_eq!(find(&router, "GET h/a", &[("version", "2")]), "r0");
    assert_eq!(find(&router, "GET h/a?q=1", &[("version", "2"), ("x", "yy")]), "r1");
    assert_eq!(find(&router, "GET h/a?q=1", &[("version", "3")]), "r2");
    assert_eq!(find(&router, "GET h/a?q=2", &[]), "404");
    assert_eq!(find(&router, "GET h/a", &[("admin", "")]), "405 DELETE");
}

#[test]
fn routes_that_tie_are_refused_with_an_example() {
    let cases = [
        (json!([{"path": "/u/{id}"}, {"path": "/u/{name}"}]), "`r0` and `r1` match alike, for example `GET http://example.com/u/x`"),
        (json!([{"path": "/a", "methods": ["GET", "PUT"]}, {"path": "/%61", "methods": ["PUT"]}]), "`PUT http://example.com/a`"),
        (json!([{"path": "/a", "methods": ["HEAD", "GET"]}, {"path": "/a", "methods": ["HEAD"]}]), "`HEAD http://example.com/a`"),
        (json!([{"path": "/a/{rest...}"}, {"path": {"prefix": "/a"}}]), "`GET http://example.com/a/x`"),
        (json!([{"path": "~/a+"}, {"path": {"regex": "/a+"}}]), "with a path that matches `/a+`"),
        (
            json!([{"host": "*.a.com", "headers": {"X": "1"}}, {"host": ["*.A.com", "b.com"], "headers": {"x": "1"}}]),
            "`GET http://x.a.com/x` with header `x` = \"1\"",
        ),
        (json!([{"path": "/b"}, {"path": ["/a", "/a"]}]), "the route `r1` says the same host and path twice"),
    ];
    for (routes, expected) in cases {
        let errors = try_build(&routes).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{errors:?}");
        assert!(errors.0[0].reason.contains(expected), "{}", errors.0[0]);
        assert_eq!(errors.0[0].path.to_string(), "[1].match");
    }
    build(&json!([
        {"path": "/a", "methods": ["GET"]},
        {"path": "/a", "methods": ["HEAD"]},
        {"path": "/a"},
        {"path": "/a", "headers": {"x": "1"}},
        {"path": "/a", "headers": {"x": {"regex": "1"}}},
        {"path": "/a", "query": {"x": "1"}},
    ]));
}

#[test]
fn every_mistake_is_told_with_its_place() {
    let errors = try_build(&json!([
        {"path": ["/ok", "users"], "host": "a.com:80"},
        {"path": "~(", "methods": []},
        {"path": {"prefix": "/a/:id"}, "headers": {"a b": "x"}, "query": {"q": {"regex": "("}}},
        {"path": [], "host": []},
    ]));
    let places: Vec<String> = errors.unwrap_err().0.iter().map(|error| error.path.to_string()).collect();
    assert_eq!(
        places,
        [
            "[0].match.host",
            "[0].match.path[1]",
            "[1].match.path",
            "[2].match.path.prefix",
            "[2].match.headers.a b",
            "[2].match.query.q.regex",
            "[3].match.host",
            "[3].match.path",
        ]
    );
}

#[test]
fn ten_thousand_routes_are_each_found() {
    let routes: Vec<Value> = (0..10_000)
        .map(|number| match number % 5 {
            0 => json!({"path": format!("/literal/{number}")}),
            1 => json!({"path": format!("/service{number}/{{id}}/items/{{item}}")}),
            2 => json!({"path": format!("/{{tenant}}/service{number}/{{rest...}}")}),
            3 => json!({"host": format!("h{number}.example.com"), "path": "/{rest...}"}),
            _ => json!({"path": format!("~/regex{number}/[a-z]+")}),
        })
        .collect();
    let router = build(&Value::Array(routes));
    for number in 0..10_000 {
        let (request, expected) = match number % 5 {
            0 => (format!("GET h/literal/{number}"), format!("r{number}")),
            1 => (format!("GET h/service{number}/4/items/2"), format!("r{number} id=4 item=2")),
            2 => (format!("GET h/acme/service{number}/a/b"), format!("r{number} tenant=acme rest=a/b")),
            3 => (format!("GET h{number}.example.com/x"), format!("r{number} rest=x")),
            _ => (format!("GET h/regex{number}/abc"), format!("r{number}")),
        };
        assert_eq!(find(&router, &request, &[]), expected);
    }
}

#[test]
fn hostile_routes_and_paths_end_soon() {
    // Every mix of text and parameter over 12 segments: 4096 patterns, none of which has the last segment of the path.
    let mixes: Vec<Value> = (0..4096_u32)
        .map(|mix| {
            let segments = (0..12).map(|bit| if mix >> bit & 1 == 0 { "/a".to_owned() } else { format!("/{{p{bit}}}") });
            json!({"path": format!("{}/end", segments.collect::<String>())})
        })
        .collect();
    let router = build(&Value::Array(mixes));
    let started = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(find(&router, &format!("GET h{}/dead", "/a".repeat(12)), &[]), "404");
        assert_eq!(find(&router, &format!("GET h{}", "/a".repeat(50_000)), &[]), "404");
        assert_eq!(find(&router, &format!("GET h/?{}", "&a=b".repeat(50_000)), &[]), "404");
    }
    assert!(started.elapsed().as_secs() < 5, "{:?}", started.elapsed());
}
