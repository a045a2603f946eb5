//! The router against the plainest reading of its order: filter every route, rank what is left, take the first.

use std::collections::{BTreeSet, HashMap};
use std::sync::LazyLock;

use http::{HeaderMap, HeaderValue, Method};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tidegate::building::Step;
use tidegate::routing::{MatchConfig, Outcome, PathOptions, Query, Router, Why};

/// With a `[`, `.` or `(` where the literal beginning ends.
const REGEXES: [&str; 6] = ["~/[ab]", "~/a/.*", "~/a(/b)?", "~/ab/[ab]+", "~.*b", "~/a/b[a-z.]*"];

struct Request {
    host: &'static str,
    method: Method,
    path: String,
    headers: HeaderMap,
    query: String,
}

/// One route that matches, with what decides between several: compared field by field, the smaller first.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Rank {
    host: (u8, isize),
    path: PathRank,
    method: u8,
    headers: isize,
    query: isize,
    place: usize,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum PathRank {
    Text,
    /// Minus the length of the literal beginning.
    Regex(isize),
    Pattern(Vec<SegmentRank>),
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SegmentRank {
    Text,
    /// Minus the length of both texts, minus that of the first.
    Affixed(isize, isize),
    Param,
    End,
    Rest,
}

fn minus(length: usize) -> isize {
    -isize::try_from(length).unwrap()
}

fn host_rank(pattern: Option<&str>, host: &str) -> Option<(u8, isize)> {
    let Some(pattern) = pattern else { return Some((2, 0)) };
    match pattern.strip_prefix('*') {
        None => (pattern == host).then_some((0, 0)),
        Some(suffix) => (host.len() > suffix.len() && host.ends_with(suffix)).then_some((1, minus(suffix.len()))),
    }
}

fn path_rank(pattern: &str, path: &str) -> Option<PathRank> {
    static COMPILED: LazyLock<HashMap<&str, regex::Regex>> =
        LazyLock::new(|| REGEXES.map(|text| (text, regex::Regex::new(&format!("^(?:{})$", &text[1..])).unwrap())).into());
    if let Some(whole) = COMPILED.get(pattern) {
        let prefix = pattern[1..].find(['[', '.', '(']).unwrap();
        return whole.is_match(path).then(|| PathRank::Regex(minus(prefix)));
    }
    if !pattern.contains('{') {
        return (pattern == path).then_some(PathRank::Text);
    }
    let mut ranks = Vec::new();
    let mut left = path.split('/').skip(1);
    for segment in pattern.split('/').skip(1) {
        if segment == "{rest...}" {
            ranks.push(SegmentRank::Rest);
            return Some(PathRank::Pattern(ranks));
        }
        let found = left.next()?;
        let Some((before, tail)) = segment.split_once('{') else {
            if segment != found {
                return None;
            }
            ranks.push(SegmentRank::Text);
            continue;
        };
        let after = tail.split_once('}').unwrap().1;
        let beside = before.len() + after.len();
        if found.len() <= beside || !found.starts_with(before) || !found.ends_with(after) {
            return None;
        }
        ranks.push(if beside == 0 { SegmentRank::Param } else { SegmentRank::Affixed(minus(beside), minus(before.len())) });
    }
    ranks.push(SegmentRank::End);
    left.next().is_none().then_some(PathRank::Pattern(ranks))
}

fn method_rank(config: &MatchConfig, method: &Method) -> Option<u8> {
    let names = |method: &Method| config.methods.iter().any(|known| known.0 == *method);
    if config.methods.is_empty() {
        return Some(2);
    }
    if names(method) {
        return Some(if method == Method::HEAD { 0 } else { 1 });
    }
    (method == Method::HEAD && names(&Method::GET)).then_some(1)
}

/// Conditions are texts or `{present}` here.
fn holds(condition: &Value, value: Option<&str>) -> bool {
    match condition {
        Value::String(text) => value == Some(text),
        other => other["present"].as_bool().unwrap() == value.is_some(),
    }
}

fn conditions_hold(document: &Value, request: &Request) -> bool {
    let each = |key: &str| document[key].as_object().into_iter().flatten().collect::<Vec<_>>();
    let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap());
    let query =
        |name: &str| request.query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value);
    each("headers").iter().all(|(name, condition)| holds(condition, header(name)))
        && each("query").iter().all(|(name, condition)| holds(condition, query(name)))
}

/// The place of the route, or the methods that would have matched.
fn naive(routes: &[(Value, MatchConfig)], request: &Request) -> Result<usize, BTreeSet<String>> {
    let mut ranks = Vec::new();
    let mut allow = BTreeSet::new();
    for (place, (document, config)) in routes.iter().enumerate() {
        let list = |key: &str| document[key].as_array().into_iter().flatten().map(|one| one.as_str().unwrap());
        let host = match &config.host {
            None => host_rank(None, request.host),
            Some(_) => list("host").filter_map(|host| host_rank(Some(host), request.host)).min(),
        };
        let path = list("path").filter_map(|path| path_rank(path, &request.path)).min();
        let (Some(host), Some(path), true) = (host, path, conditions_hold(document, request)) else { continue };
        let Some(method) = method_rank(config, &request.method) else {
            allow.extend(config.methods.iter().map(|method| method.0.to_string()));
            if allow.contains("GET") {
                allow.insert("HEAD".to_owned());
            }
            continue;
        };
        ranks.push(Rank { host, path, method, headers: minus(config.headers.len()), query: minus(config.query.len()), place });
    }
    ranks.into_iter().min().map(|rank| rank.place).ok_or(allow)
}

fn random_path(random: &mut StdRng, pattern: bool) -> String {
    let texts = ["a", "b", "ab", "a.js", "aab"];
    let params = ["{p#}", "{p#}", "a{p#}", "{p#}b", "{p#}.js", "a{p#}b"];
    if pattern && random.random_bool(0.15) {
        return (*REGEXES.choose(random).unwrap()).to_owned();
    }
    let mut path = String::new();
    for place in 0..random.random_range(0..5) {
        path.push('/');
        if pattern && random.random_bool(0.4) {
            path.push_str(&params.choose(random).unwrap().replace('#', &place.to_string()));
        } else {
            path.push_str(texts.choose(random).unwrap());
        }
    }
    match random.random_range(0..4) {
        0 if pattern => path.push_str("/{rest...}"),
        1 => path.push('/'),
        _ if path.is_empty() => path.push('/'),
        _ => {}
    }
    path
}

fn random_route(random: &mut StdRng) -> Value {
    let paths: Vec<_> = (0..random.random_range(1..3)).map(|_| random_path(random, true)).collect();
    let mut route = json!({ "path": paths });
    let hosts = ["a.x.com", "*.x.com", "*.a.x.com", "x.com", "*.com"];
    if random.random_bool(0.6) {
        route["host"] = json!(hosts.sample(random, 2).collect::<Vec<_>>());
    }
    if random.random_bool(0.4) {
        route["methods"] = json!(["GET", "HEAD", "POST", "PURGE"].sample(random, 2).collect::<Vec<_>>());
    }
    for (key, names) in [("headers", ["h", "i"]), ("query", ["q", "r"])] {
        for name in names {
            if random.random_bool(0.2) {
                route[key][name] =
                    [json!("1"), json!("2"), json!({"present": true}), json!({"present": false})].choose(random).unwrap().clone();
            }
        }
    }
    route
}

fn random_request(random: &mut StdRng) -> Request {
    let mut headers = HeaderMap::new();
    let mut query = String::new();
    for (header, parameter) in [("h", "q"), ("i", "r")] {
        if random.random_bool(0.5) {
            headers.insert(header, HeaderValue::from_static(["1", "2"].choose(random).unwrap()));
        }
        if random.random_bool(0.5) {
            query.push_str(&format!("&{parameter}={}", random.random_range(1..4)));
        }
    }
    Request {
        host: ["a.x.com", "b.x.com", "b.a.x.com", "x.com", "y.org", ""].choose(random).unwrap(),
        method: ["GET", "HEAD", "POST", "PURGE", "PUT"].choose(random).unwrap().parse().unwrap(),
        path: random_path(random, false),
        headers,
        query,
    }
}

/// A router of random routes. What ties is left out: the order says nothing about it. So is what others take everything from.
fn random_router(random: &mut StdRng) -> (Router, Vec<(Value, MatchConfig)>) {
    let documents = (0..random.random_range(1..60)).map(|_| random_route(random));
    let mut routes: Vec<_> = documents.map(|document| (document.clone(), serde_json::from_value(document).unwrap())).collect();
    loop {
        let errors = match Router::build(routes.iter().map(|(_, config)| ("r", config)), &PathOptions::default()) {
            Ok(router) => return (router, routes),
            Err(errors) => errors,
        };
        let places = errors.0.iter().map(|error| match error.path.0.first() {
            Some(Step::Index(place)) if ["alike", "twice", "never gets"].iter().any(|word| error.reason.contains(word)) => *place,
            _ => panic!("{error}"),
        });
        for place in places.collect::<BTreeSet<_>>().into_iter().rev() {
            routes.remove(place);
        }
    }
}

#[test]
fn the_tree_finds_what_the_plain_order_says() {
    let mut random = StdRng::seed_from_u64(20_261_124);
    let (mut found, mut refused) = (0, 0);
    for round in 0..200 {
        let (router, routes) = random_router(&mut random);
        for _ in 0..200 {
            let request = random_request(&mut random);
            let Request { host, method, path, headers, query } = &request;
            let outcome = match router.find(&Query { host, method, asks: None, path, headers, query: Some(query) }) {
                Outcome::Found { route, .. } => Ok(route),
                Outcome::MethodNotAllowed(allow) => Err(allow.iter().map(ToString::to_string).collect()),
                Outcome::NotFound => Err(BTreeSet::new()),
            };
            // What `tidegate explain` says is what is done.
            let told = router.explain(&Query { host, method, asks: None, path, headers, query: Some(query) });
            let taken: Vec<_> = told.iter().filter(|one| one.why == Why::Taken).map(|one| one.route).collect();
            assert_eq!(taken, outcome.iter().copied().collect::<Vec<_>>(), "{told:?}");
            let first = told.iter().position(|one| one.why == Why::Taken).unwrap_or_default();
            assert!(!told[..first].iter().any(|one| matches!(one.why, Why::Later | Why::Host | Why::Path)), "{told:?}");
            let documents = || routes.iter().map(|(document, _)| document.to_string()).collect::<Vec<_>>().join("\n");
            let expected = naive(&routes, &request);
            assert_eq!(outcome, expected, "round {round}: {method} {host}{path}?{query} {headers:?}\n{}", documents());
            *(if outcome.is_ok() { &mut found } else { &mut refused }) += 1;
        }
    }
    assert!(found > 5_000 && refused > 5_000, "{found} {refused}");
}
