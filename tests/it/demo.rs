//! The demo in `conf/tidegate.yaml`, line by line as the README tells it, on the file itself with only its ports changed.

use crate::support::{Client, Gateway, Response};

fn demo() -> Gateway {
    let file = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/conf/tidegate.yaml")).unwrap();
    assert!(file.contains("127.0.0.1:8080") && file.contains("127.0.0.1:9090"), "the demo listens where the README says");
    Gateway::start(&file.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9090", "127.0.0.1:0"))
}

const KEY: &str = "X-API-Key: demo-key\r\n";

/// The request id is on the answer and, for a problem, the same in its body.
fn request_id(answer: &Response) -> &str {
    let id = answer.header("x-request-id").unwrap();
    assert!(id.len() >= 16, "{id}");
    id
}

#[test]
fn without_a_key_the_answer_is_a_401_problem() {
    let gateway = demo();
    let answer = gateway.client().get("/api/users/42");
    let problem = answer.problem(401, "unauthorized");
    assert_eq!(problem["request_id"], request_id(&answer));
    assert!(answer.header("www-authenticate").is_some(), "RFC 9110 §11.6.1: {:?}", answer.headers);
    assert_eq!(answer.all("access-control-allow-origin"), Vec::<&str>::new());

    let answer = gateway.client().get_with("/api/users/42", "X-API-Key: another-key\r\n");
    answer.problem(401, "unauthorized");
}

#[test]
fn a_401_carries_the_cors_headers_when_an_origin_is_sent() {
    let gateway = demo();
    let answer = gateway.client().get_with("/api/users/42", "Origin: https://app.example.com\r\n");
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(answer.all("vary").iter().any(|vary| vary.eq_ignore_ascii_case("origin")), "{:?}", answer.headers);

    let answer = gateway.client().get_with("/api/users/42", "Origin: https://evil.example.com\r\n");
    answer.problem(401, "unauthorized");
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[test]
fn with_the_key_the_service_sees_what_the_gateway_vouches_for_and_no_key() {
    let gateway = demo();
    let answer = gateway.client().get_with("/api/users/42", &format!("{KEY}X-Consumer: admin\r\nX-Gateway-Version: 9\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("ratelimit"), Some("\"default\";r=99;t=1"));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=100;w=60"));
    for absent in ["deprecation", "sunset", "link"] {
        assert_eq!(answer.header(absent), None);
    }
    let seen = answer.json();
    assert_eq!(seen["method"], "GET");
    assert_eq!(seen["path"], "/users/42");
    assert_eq!(seen["headers"]["x-gateway-version"], "1.0");
    assert_eq!(seen["headers"]["x-consumer"], "demo-app");
    assert_eq!(seen["headers"]["x-request-id"], request_id(&answer));
    assert!(seen["headers"]["x-api-key"].is_null() && !answer.text().contains("demo-key"), "{seen}");
}

#[test]
fn the_old_version_answers_and_names_its_successor() {
    let gateway = demo();
    let answer = gateway.client().get_with("/api/users/42", &format!("{KEY}X-API-Version: v1\r\n"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["path"], "/v1/users/42");
    // 2026-01-01T00:00:00Z (RFC 9745 §2) and 2099-12-31 (RFC 8594 §3).
    assert_eq!(answer.header("deprecation"), Some("@1767225600"));
    assert_eq!(answer.header("sunset"), Some("Thu, 31 Dec 2099 00:00:00 GMT"));
    let link = answer.header("link").unwrap();
    assert!(link.contains("rel=\"successor-version\"") && link.starts_with('<'), "{link}");
}

#[test]
fn an_unknown_version_is_a_problem_that_names_the_known_ones() {
    let gateway = demo();
    let problem = gateway.client().get_with("/api/users/42", &format!("{KEY}X-API-Version: v9\r\n")).problem(400, "unknown-version");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("v1") && detail.contains("v2"), "{detail}");
}

#[test]
fn a_method_that_no_route_takes_is_answered_with_those_that_are() {
    let gateway = demo();
    let mut client = gateway.client();
    client.send(format!("DELETE /api/users/42 HTTP/1.1\r\nHost: gateway.test\r\n{KEY}\r\n"));
    let answer = client.read();
    answer.problem(405, "method-not-allowed");
    let mut allowed: Vec<_> = answer.header("allow").unwrap().split(", ").collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "PUT"]);
}

#[test]
fn the_fourth_request_within_a_minute_is_over_the_limit() {
    let gateway = demo();
    let mut client = gateway.client();
    for left in [2, 1, 0] {
        let answer = client.get("/api/limited");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json()["message"], "there is more where this came from");
        assert!(answer.header("ratelimit").unwrap().starts_with(&format!("\"default\";r={left};t=")), "{:?}", answer.headers);
    }
    let answer = client.get("/api/limited");
    answer.problem(429, "quota-exceeded");
    let after: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&after), "a token comes every 20 s: {after}");
    assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=3;w=60"));
}

#[test]
fn a_preflight_is_answered_by_the_gateway() {
    let gateway = demo();
    let mut client: Client = gateway.client();
    client.send(
        "OPTIONS /api/users/42 HTTP/1.1\r\nHost: gateway.test\r\nOrigin: https://app.example.com\r\n\
         Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-api-key\r\n\r\n",
    );
    let answer = client.read();
    assert_eq!((answer.status, answer.body.len()), (204, 0), "{answer:?}");
    assert_eq!(answer.header("content-length"), None, "RFC 9110 §8.6 forbids it on 204");
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("PUT"), "{:?}", answer.headers);
    assert!(answer.header("access-control-allow-headers").unwrap().to_lowercase().contains("x-api-key"), "{:?}", answer.headers);
    assert_eq!(client.get("/nowhere").status, 404, "the connection goes on");
}

#[test]
fn what_no_route_takes_is_a_404_problem() {
    let gateway = demo();
    let answer = gateway.client().get("/nowhere");
    let problem = answer.problem(404, "not-found");
    assert_eq!(problem["request_id"], request_id(&answer));
}
