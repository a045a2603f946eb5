use http::HeaderValue;
use serde_json::{Value, json};

use super::*;
use crate::policy::kit::{Kit, build, build_among, client};
use crate::state::Shared;
use crate::upstream::testing::service;

const CONSUMERS: &str = r#"[{"name":"app"}]"#;

/// The policy, which asks a service that answers like this.
fn policy(config: Value, mock: Value) -> External {
    let mut config = config;
    config["service"] = "decides".into();
    let services = [("decides", Some(service("decides", &json!({"mock": mock}))))];
    build_among::<External>(&config.to_string(), CONSUMERS, &services, &Shared::default()).unwrap()
}

fn kit(config: Value, mock: Value) -> Kit<External> {
    let Kit { req, cx, .. } = Kit::<super::super::anonymous::Anonymous>::of("{}");
    Kit { policy: policy(config, mock), req, cx }
}

#[tokio::test]
async fn a_yes_lets_the_request_through_with_what_was_told_and_nothing_of_what_the_client_claims() {
    let yes = json!({"headers": {"X-User": "ada", "X-Other": "x"}});
    let mut kit =
        kit(json!({"copy": ["X-User", "X-Roles"]}), yes).header("x-user", "root").header("x-roles", "admin").header("x-other", "own");
    assert!(matches!(kit.request().await, Ok(Flow::Next)));
    let headers: Vec<_> = kit.req.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("x-other", "own"), ("x-user", "ada")]);
}

#[tokio::test]
async fn a_no_is_what_the_client_gets() {
    let no = json!({"status": 401, "text": "sign in", "headers": {"WWW-Authenticate": "Login", "Set-Cookie": "a=b", "X-Inner": "x"}});
    let mut kit =
        kit(json!({"copy": ["X-User"], "refusal_headers": ["WWW-Authenticate", "Set-Cookie"]}), no.clone()).header("x-user", "root");
    let Ok(Flow::Reply(reply)) = kit.request().await else { panic!("it goes on") };
    assert_eq!((reply.status.as_u16(), &reply.body[..]), (401, &b"sign in"[..]));
    let headers: Vec<_> = reply.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    assert_eq!(headers, ["www-authenticate: Login", "set-cookie: a=b", "content-type: text/plain; charset=utf-8"]);
    assert!(kit.req.headers.is_empty());
    let mut kit = self::kit(json!({"refusal_size": 3}), no);
    let problem = kit.request().await.unwrap_err();
    assert_eq!((problem.kind, &*problem.detail), (Kind::Unauthorized, "the request may not go on"));
    assert_eq!(problem.headers, [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Login"))]);
}

#[tokio::test]
async fn what_is_neither_yes_nor_no_is_no_answer() {
    for mock in [json!({"status": 500}), json!({"status": 302}), json!({"status": 404}), json!({"delay": "1h"})] {
        let deny = json!({"timeout": "50ms", "copy": ["X-User"]});
        let problem = kit(deny.clone(), mock.clone()).request().await.unwrap_err();
        assert_eq!(problem.kind, Kind::Unavailable);
        assert_eq!((problem.headers.len(), &problem.headers[0].0), (1, &header::RETRY_AFTER));
        assert!(problem.cause.unwrap().starts_with("service decides cannot be asked: "));
        let mut allow = deny;
        allow["on_error"] = "allow".into();
        let mut kit = kit(allow, mock).header("x-user", "root");
        assert!(matches!(kit.request().await, Ok(Flow::Next)));
        assert!(kit.req.headers.is_empty(), "what the client claims goes no further");
    }
}

#[tokio::test]
async fn it_can_name_the_consumer() {
    for (name, unknown, wanted) in
        [("app", "refuse", Ok(Some("app"))), ("other", "allow", Ok(None)), ("other", "refuse", Err(Kind::Forbidden))]
    {
        let config = json!({"consumer": "X-Consumer", "unknown_consumer": unknown});
        let mut kit = kit(config, json!({"headers": {"X-Consumer": name}}));
        let who = kit.request().await.map(|_| kit.cx.consumer.as_ref().map(|consumer| consumer.name.as_str()));
        assert_eq!(who.map_err(|problem| problem.kind), wanted);
    }
    let mut silent = kit(json!({"consumer": "X-Consumer"}), json!({}));
    assert_eq!(silent.request().await.unwrap_err().kind, Kind::Forbidden);
}

/// The key of a request's answer.
fn key(policy: &External, kit: &Kit<External>) -> String {
    format!("{:?}", policy.ask.question(&kit.req, &kit.cx).unwrap().key())
}

#[test]
fn what_is_kept_is_for_requests_that_are_alike_in_all_that_is_told() {
    let fresh = || kit(json!({"cache": {"time": "1m"}, "headers": ["X-A", "X-B"]}), json!({}));
    let policy = fresh().policy;
    let same = key(&policy, &fresh().header("x-a", "1").header("x-other", "2"));
    assert_eq!(key(&policy, &fresh().header("x-a", "1").header("x-other", "3")), same);
    let mut stranger = fresh().header("x-a", "1");
    stranger.cx.client = [192, 0, 2, 99].into();
    for other in [
        fresh(),
        fresh().header("x-a", "2"),
        fresh().header("x-b", "1"),
        fresh().header("x-a", "1").header("x-a", "1"),
        fresh().header("x-a", "1").method("POST"),
        fresh().header("x-a", "1").uri("/users/42?a=b"),
        stranger,
    ] {
        assert_ne!(key(&policy, &other), same);
    }
}

#[test]
fn what_is_kept_by_some_headers_is_never_for_others() {
    let fresh = || kit(json!({"cache": {"time": "1m", "by": ["X-A", "X-B"]}}), json!({}));
    let policy = fresh().policy;
    let same = key(&policy, &fresh().header("x-a", "1"));
    assert_eq!(key(&policy, &fresh().header("x-a", "1").method("POST").header("cookie", "a=b")), same);
    for other in
        [fresh(), fresh().header("x-b", "1"), fresh().header("x-a", "1").header("x-b", ""), fresh().header("x-a", "1").header("x-a", "1")]
    {
        assert_ne!(key(&policy, &other), same);
    }
    assert_ne!(key(&policy, &fresh().header("x-a", "b").header("x-a", "v")), key(&policy, &fresh().header("x-b", "b").header("x-b", "v")));
}

#[test]
fn each_mistake_in_the_settings_is_told_at_its_place() {
    for (change, wanted) in [
        (json!({"service": "decide"}), "service: there is no service `decide`"),
        (json!({"service": "broken"}), "service: "),
        (json!({"path": "check"}), "path: `check` is not a path"),
        (json!({"path": "/a#b"}), "path: `/a#b` is not a path"),
        (json!({"method": "CONNECT"}), "method: `CONNECT` is no method to ask with"),
        (json!({"method": "G T"}), "method: `G T` is no method to ask with"),
        (json!({"headers": ["Host"]}), "headers[0]: `Host` decides where a request goes"),
        (json!({"service": "shown"}), "headers: `authorization` does not come to the service"),
        (json!({"service": "shown", "headers": ["X-Key"]}), "headers: `x-key` does not come to the service"),
        (json!({"copy": ["X-A", "Content-Length"]}), "copy[1]: `Content-Length` belongs to the connection"),
        (json!({"refusal_headers": ["a b"]}), "refusal_headers[0]: `a b` is not a header name"),
        (json!({"refusal_size": "1MiB"}), "refusal_size: no more than 64KiB"),
        (json!({"consumer": "a b"}), "consumer: `a b` is not a header name"),
        (json!({"timeout": "0s"}), "timeout: this leaves no time at all"),
        (json!({"waiting": 0}), "waiting: no request could wait"),
        (json!({"cache": {"time": "0s"}}), "cache.time: this leaves no time at all"),
        (json!({"cache": {"time": "1s", "by": []}}), "cache.by: the same answer would be for everyone"),
    ] {
        let mut config = json!({"service": "decides"});
        change.as_object().unwrap().iter().for_each(|(name, value)| config[name] = value.clone());
        let shown = json!({"targets": ["http://127.0.0.1:9"], "credentials": {"headers": {"X-Key": "b"}}});
        let services =
            [("decides", Some(service("decides", &json!({"mock": {}})))), ("shown", Some(service("shown", &shown))), ("broken", None)];
        let told = build_among::<External>(&config.to_string(), "[]", &services, &Shared::default()).unwrap_err().to_string();
        assert!(told.starts_with(wanted), "{told}");
    }
    assert!(build::<External>(r#"{"service":"decides"}"#, "[]", &Shared::default()).is_err());
}

#[tokio::test]
async fn the_way_down_stays_small() {
    let (mut kit, client) = (kit(json!({}), json!({})), client());
    let size = size_of_val(&kit.policy.request_with(&mut kit.req, &mut kit.cx, &client));
    assert!(size <= 384, "{size} bytes");
}
