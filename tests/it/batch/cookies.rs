//! The cookies that the answers within a batch set.

use serde_json::{Value, json};

use super::{answers, gateway, get, post, statuses};
use crate::support::{Gateway, Origin, RawOrigin};

/// A gateway before a service that sets these cookies, each a line; `{}` stands for the last character of the path.
fn setting(cookies: &'static [&'static str], batch: &str) -> (RawOrigin, Gateway) {
    let origin = RawOrigin::start(move |mut talk| {
        while let Some(request) = talk.request() {
            let text = String::from_utf8_lossy(&request).into_owned();
            let last = text.split(' ').nth(1).unwrap().rsplit('/').next().unwrap().to_owned();
            let lines: String = cookies.iter().map(|cookie| format!("Set-Cookie: {}\r\n", cookie.replace("{}", &last))).collect();
            talk.say(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"));
        }
    });
    let gateway = gateway(&[("up", origin.address.to_string())], batch);
    (origin, gateway)
}

fn many(count: usize) -> Value {
    (0..count).map(|id| get(&id.to_string(), &format!("/up/{id}"))).collect()
}

#[test]
fn those_that_answers_set_are_set_by_the_answer_around_them() {
    let origin = Origin::answering(|seen| {
        let answer = http::Response::builder().header("set-cookie", format!("for={}; HttpOnly", &seen.target[1..3]));
        answer.header("set-cookie", "all=1; Path=/").body(String::new()).unwrap()
    });
    let gateway = gateway(&[("up", origin.address.to_string())], "{ parallel: 1 }");
    let answer = post(&mut gateway.client(), "", &json!([get("1", "/up/a/b"), get("2", "/up/c")]));
    assert_eq!(answer.all("set-cookie"), ["for=up; HttpOnly; Path=/up/a", "for=up; HttpOnly; Path=/up", "all=1; Path=/"]);
    assert!(!answer.text().contains("cookie") && !answer.text().contains("HttpOnly"), "{}", answer.text());
}

#[test]
fn a_path_adds_no_attribute_to_one() {
    let (_origin, gateway) = setting(&["a=1", "b=2; Path=/up"], "{}");
    let path = "/up/x;Domain=evil.test;SameSite=None/";
    let answer = post(&mut gateway.client(), "", &json!([get("1", path)]));
    assert_eq!(answer.json()["responses"][0]["status"], 200, "{answer:?}");
    // For which paths the first is could not be said; and a wider path is not its service's to give.
    assert_eq!(answer.all("set-cookie"), ["b=2; Path=/up"]);
}

#[test]
fn one_may_be_of_any_letters() {
    let (_origin, gateway) = setting(&["name=Zoë", "city=Köln; Path=/"], "{}");
    let answer = post(&mut gateway.client(), "", &json!([get("1", "/up/a")]));
    assert_eq!(answer.all("set-cookie"), ["name=Zoë; Path=/up", "city=Köln; Path=/"]);
}

#[test]
fn they_are_no_more_than_a_header_can_hold() {
    let (_origin, gateway) = setting(&["c{}=1"], "{ requests: 60, parallel: 1 }");
    let answer = post(&mut gateway.client(), "", &many(60));
    let all = answer.json()["responses"].as_array().unwrap().clone();
    assert_eq!(statuses(&all), [vec![200; 50], vec![502; 10]].concat());
    assert_eq!(all[50]["body"]["detail"], "the answers of the batch set more than 50 cookies, or more than 16384 bytes of them");
    assert_eq!((answer.all("set-cookie").len(), answer.all("set-cookie")[49]), (50, "c49=1; Path=/up"));
    gateway.await_metric("tidegate_batch_requests_total{result=\"too_large\",route=\"batch\"}", 10.0);

    let long: &'static str = format!("c{{}}={}", "x".repeat(4000)).leak();
    let (_origin, gateway) = setting(vec![long].leak(), "{ parallel: 1 }");
    assert_eq!(statuses(&answers(&mut gateway.client(), "", &many(6))), [200, 200, 200, 200, 502, 502]);
}

#[test]
fn one_that_all_set_is_set_once() {
    let (_origin, gateway) = setting(&["all={}; Path=/; Domain=A.test", "all={}; path=/; domain=.a.test; Secure"], "{ requests: 60 }");
    let answer = post(&mut gateway.client(), "", &many(60));
    assert_eq!(statuses(answer.json()["responses"].as_array().unwrap()), [200; 60]);
    // The last in the order of the requests, whoever was first.
    assert_eq!(answer.all("set-cookie"), ["all=59; path=/; domain=.a.test; Secure"]);
}

#[test]
fn they_count_with_the_answers() {
    let long: &'static str = format!("c{{}}={}", "x".repeat(1000)).leak();
    let (_origin, gateway) = setting(vec![long].leak(), "{ answer: 1KiB, answers: 1500B, parallel: 1 }");
    let answer = post(&mut gateway.client(), "", &many(2));
    assert_eq!(statuses(answer.json()["responses"].as_array().unwrap()), [200, 502]);
    assert_eq!(answer.all("set-cookie").len(), 1);
}
