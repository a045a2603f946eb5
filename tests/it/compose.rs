//! Composed answers: what they are made of, and what becomes of them when a service is slow, down, or says what nobody can use.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, RawOrigin, eventually, port};

/// An origin that answers each request with this JSON.
fn json(body: &'static str) -> Origin {
    Origin::answering(move |_| answer("application/json", body))
}

fn answer(kind: &str, body: &str) -> Answer {
    http::Response::builder().header("content-type", kind).body(body.to_owned()).unwrap()
}

/// A gateway with these services by name and address, and one route with this `compose`.
fn gateway(services: &[(&str, String)], compose: &str) -> Gateway {
    let services: String = services.iter().map(|(name, address)| format!("  {name}: {{ targets: [\"http://{address}\"] }}\n")).collect();
    let compose = compose.replace('\n', "\n      ");
    Gateway::start(&format!(
        "services:\n{services}  fixed: {{ mock: {{ json: {{ theme: dark }} }} }}\nroutes:\n  - name: whole\n    match: {{ path: \"/whole/{{id}}\" }}\n    compose:\n      {compose}\n"
    ))
}

#[test]
fn parts_are_asked_at_once_and_stand_in_the_answer_as_they_came() {
    // Neither service answers before both were asked.
    let both = Arc::new(Barrier::new(2));
    let meet = |body: &'static str| {
        let both = both.clone();
        Origin::answering(move |_| {
            both.wait();
            answer("application/json", body)
        })
    };
    let (one, other) = (meet(" {\"n\":123456789012345678901234567890.10, \"b\":1,\"a\":\"\\u00e9\",\"a\":2}\n"), meet("[1e400]"));
    let gateway = gateway(
        &[("one", one.address.to_string()), ("other", other.address.to_string())],
        "parts:\n  user: { get: \"one:/users/{id}?page={query.page}\", required: true }\n  orders: { get: \"other:/users/{id}/orders\" }\n  preferences: { get: \"fixed:/\" }",
    );
    let answer =
        gateway.client().get_with("/whole/4%202?page=a%26b=c", "Authorization: Bearer x\r\nCookie: a=b\r\nX-Forwarded-For: 1.2.3.4\r\n");
    assert_eq!(
        (answer.status, answer.text()),
        (200, "{\"user\":{\"n\":123456789012345678901234567890.10, \"b\":1,\"a\":\"\\u00e9\",\"a\":2},\"orders\":[1e400],\"preferences\":{\"theme\":\"dark\"}}".to_owned())
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!((answer.header("cache-control"), answer.header("tidegate-parts"), answer.header("server-timing")), (None, None, None));
    let seen = one.only();
    assert_eq!(seen.target, "/users/4%202?page=a%26b%3Dc");
    assert_eq!((seen.header("authorization"), seen.header("cookie")), (None, None));
    assert_eq!((seen.header("x-forwarded-for"), seen.header("x-forwarded-host")), (Some("127.0.0.1"), Some("gateway.test")));
    assert_eq!((seen.header("accept"), seen.header("via")), (Some("application/json, */*;q=0.5"), Some("1.1 tidegate")));
    assert_eq!(other.only().target, "/users/4%202/orders");
    for result in ["user", "orders", "preferences"] {
        gateway.await_metric(&format!("tidegate_parts_total{{part=\"{result}\",result=\"ok\",route=\"whole\"}}"), 1.0);
    }
    assert_eq!(gateway.metric("tidegate_parts_running{route=\"whole\"}"), 0.0);
}
