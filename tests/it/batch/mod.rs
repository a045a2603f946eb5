//! Batches: several requests in one, each of which goes the whole way by itself.

mod bounds;
mod cookies;
mod headers;
mod inputs;
mod trust;

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::client::H2;
use crate::support::{Answer, Client, Gateway, Origin, RawOrigin, Response, port};

/// Posts a batch of these requests, with more header lines.
fn post(client: &mut Client, lines: &str, requests: &Value) -> Response {
    send(client, lines, &json!({ "requests": requests }).to_string());
    client.read()
}

fn send(client: &mut Client, lines: &str, body: &str) {
    client.send(format!(
        "POST /batch HTTP/1.1\r\nHost: gateway.test\r\nContent-Type: application/json\r\n{lines}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
}

/// The same, and the answers.
fn answers(client: &mut Client, lines: &str, requests: &Value) -> Vec<Value> {
    let answer = post(client, lines, requests);
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    answer.json()["responses"].as_array().unwrap().clone()
}

fn get(id: &str, url: &str) -> Value {
    json!({ "id": id, "method": "GET", "url": url })
}

fn statuses(answers: &[Value]) -> Vec<u64> {
    answers.iter().map(|answer| answer["status"].as_u64().unwrap()).collect()
}

/// A gateway with a route for batches, and one to each of these services below its name.
fn gateway(services: &[(&str, String)], batch: &str) -> Gateway {
    let targets: String = services.iter().map(|(name, address)| format!("  {name}: {{ targets: [\"http://{address}\"] }}\n")).collect();
    let routes: String = services
        .iter()
        .map(|(name, _)| format!("  - {{ name: {name}, match: {{ path: \"/{name}/{{rest...}}\" }}, to: {name} }}\n"))
        .collect();
    Gateway::start(&format!(
        "services:\n{targets}  echo: {{ mock: {{ echo: true }} }}\nroutes:\n{routes}  - {{ name: echo, match: {{ path: \"/echo/{{rest...}}\" }}, to: echo }}\n  - {{ name: batch, match: {{ path: /batch }}, batch: {batch} }}\n"
    ))
}

/// `demo-key` as `api_keys` have it.
const KEY: &str = "sha256:c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c";

fn whole(origin: &Origin) -> Gateway {
    Gateway::start(&format!(
        "consumers: [{{ name: demo, api_keys: [\"{KEY}\"] }}]\nservices:\n  users: {{ targets: [\"http://{}\"] }}\n  down: {{ targets: [\"http://127.0.0.1:{}\"] }}\n  slow: {{ mock: {{ delay: 60s, json: 1 }} }}\n  orders: {{ mock: {{ json: [1e3] }} }}\npolicies: [request_id]\nroutes:\n  - {{ name: users, match: {{ path: \"/users/{{id}}\" }}, to: users }}\n  - {{ name: private, match: {{ path: /private }}, policies: [api_key], to: users }}\n  - {{ name: limited, match: {{ path: /limited }}, policies: [rate_limit: {{ requests: 2, per: 1h, by: client_ip }}], to: orders }}\n  - {{ name: down, match: {{ path: /down }}, to: down }}\n  - {{ name: slow, match: {{ path: /slow }}, timeout: 200ms, to: slow }}\n  - {{ name: whole, match: {{ path: /whole }}, compose: {{ parts: {{ user: {{ get: \"users:/7\" }}, orders: {{ get: \"orders:/\" }} }} }} }}\n  - {{ name: away, match: {{ path: /away }}, redirect: {{ to: /users/1 }} }}\n  - {{ name: batch, match: {{ path: /batch, methods: [POST] }}, batch: {{}} }}\n",
        origin.address,
        port()
    ))
}

/// An origin that says who asked for what, as JSON.
fn telling() -> Origin {
    Origin::answering(|seen| {
        let body = json!({ "method": seen.method.as_str(), "target": seen.target }).to_string();
        http::Response::builder().header("content-type", "application/json").body(body).unwrap()
    })
}

#[test]
fn each_request_goes_the_whole_way_and_none_spoils_another() {
    let origin = telling();
    let gateway = whole(&origin);
    let mut client = gateway.client();
    let requests = json!([
        get("a", "/users/1?x=y"),
        get("b", "/private"),
        { "id": "c", "method": "get", "url": "/private", "headers": { "X-API-Key": "demo-key" } },
        { "id": "d", "method": "GET", "url": "/private", "headers": { "X-API-Key": "wrong" } },
        get("e", "/limited"),
        get("f", "/limited"),
        get("g", "/nowhere"),
        get("h", "/down"),
        get("i", "/slow"),
        get("j", "/whole"),
        get("k", "/away"),
        { "id": "l", "method": "DELETE", "url": "/users/9" },
    ]);
    let outer = post(&mut client, "Authorization: Bearer x\r\n", &requests);
    let answers = outer.json()["responses"].as_array().unwrap().clone();
    let ids: String = answers.iter().map(|answer| answer["id"].as_str().unwrap()).collect();
    assert_eq!(ids, "abcdefghijkl");
    assert_eq!(statuses(&answers), [200, 401, 200, 401, 200, 200, 404, 502, 504, 200, 308, 200], "{answers:#?}");
    assert_eq!(answers[0]["body"], json!({ "method": "GET", "target": "/users/1?x=y" }));
    assert_eq!(answers[1]["headers"]["content-type"], "application/problem+json");
    assert_eq!(answers[1]["body"]["detail"], "an API key is required");
    assert_eq!(answers[1]["headers"]["www-authenticate"], "ApiKey");
    assert_eq!((&answers[8]["body"]["status"], &answers[8]["body"]["step"]), (&504.into(), &"waiting".into()));
    assert_eq!(answers[9]["body"]["user"]["target"], "/7");
    assert_eq!(answers[10]["headers"]["location"], "/users/1");
    // Each has an id of its own, which its problem has too, and all are told together in the log.
    assert_eq!(answers[1]["headers"]["x-request-id"], answers[1]["body"]["request_id"]);
    assert_ne!(answers[1]["headers"]["x-request-id"], answers[0]["headers"]["x-request-id"]);
    let id = outer.header("x-request-id").unwrap();
    for (route, status, count) in [("users", 200, 2), ("private", 401, 2), ("limited", 200, 2), ("-", 404, 1), ("whole", 200, 1)] {
        let lines = || gateway.log().into_iter().filter(|line| line["route"] == route && line["status"] == status).collect::<Vec<_>>();
        let lines = crate::support::eventually("the log tells of all", || Some(lines()).filter(|lines| lines.len() == count));
        assert!(
            lines.iter().all(|line| line["batch"] == id && line["client"] == "127.0.0.1" && line["host"] == "gateway.test"),
            "{lines:?}"
        );
    }
    let line = gateway.await_log("the batch", |line| line["route"] == "batch");
    assert_eq!((&line["batch"], &line["request_id"]), (&Value::Null, &id.into()), "{line}");
    assert_eq!(gateway.metric("tidegate_requests_total{route=\"users\",status=\"200\"}"), 2.0);
    assert_eq!(gateway.metric("tidegate_batch_requests_total{result=\"answered\",route=\"batch\"}"), 12.0);
    assert_eq!(gateway.metric("tidegate_batch_requests_running{route=\"batch\"}"), 0.0);
    let seen = origin.seen();
    let first = seen.iter().find(|seen| seen.target == "/users/1?x=y").unwrap();
    assert_eq!((first.header("x-forwarded-host"), first.header("x-forwarded-for")), (Some("gateway.test"), Some("127.0.0.1")));
    assert_eq!((first.header("via"), first.header("authorization")), (Some("1.1 tidegate"), Some("Bearer x")));
    assert_eq!((first.header("content-length"), first.header("content-type")), (None, None));
    // What others on the same connection ask for is limited with them.
    assert_eq!(client.get("/limited").status, 429);
    let again = self::answers(&mut client, "", &json!([get("1", "/limited"), get("2", "/users/3")]));
    assert_eq!(statuses(&again), [429, 200]);
    assert!(again[0]["headers"]["retry-after"].is_string(), "{again:?}");
}

#[test]
fn a_limit_can_be_reached_in_the_middle_of_a_batch() {
    let gateway = whole(&Origin::start());
    let requests: Vec<_> = (0..5).map(|id| get(&id.to_string(), "/limited")).collect();
    let answers = answers(&mut gateway.client(), "", &json!(requests));
    let mut all = statuses(&answers);
    all.sort_unstable();
    assert_eq!(all, [200, 200, 429, 429, 429]);
}

#[tokio::test]
async fn a_batch_over_http2_is_answered_as_any() {
    let origin = telling();
    let gateway = whole(&origin);
    let client = H2::connect(gateway.address).await;
    let body = r#"{"requests":[{"id":"1","method":"GET","url":"/users/1"},{"id":"2","method":"GET","url":"/nowhere"},{"id":"3","method":"GET","url":"/whole"}]}"#;
    let (head, body) = client.request("POST", "/batch", &[("content-type", "application/json")], &[body]).await;
    let answers: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((head.status.as_u16(), statuses(answers["responses"].as_array().unwrap())), (200, vec![200, 404, 200]), "{answers}");
    let first = origin.seen().into_iter().find(|seen| seen.target == "/users/1").unwrap();
    assert_eq!((first.header("via"), first.header("x-forwarded-for")), (Some("2 tidegate"), Some("127.0.0.1")));
}

#[test]
fn bodies_go_out_and_come_back_as_their_types_say() {
    let origin = RawOrigin::start(|mut talk| {
        while let Some(request) = talk.request() {
            let text = String::from_utf8_lossy(&request).into_owned();
            let (kind, body): (_, &[u8]) = match text.split(' ').nth(1).unwrap() {
                "/up/number" => ("application/json", b" 123456789012345678901234567890.10\n"),
                "/up/text" => ("text/plain; charset=utf-8", "ä\"".as_bytes()),
                "/up/image" => ("image/png", b"\xff\xfe\xfd"),
                "/up/broken" => ("application/json", b"{"),
                _ => ("application/json", b"1"),
            };
            talk.say(format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len()));
            talk.say(body);
        }
    });
    let gateway = gateway(&[("up", origin.address.to_string())], "{ parallel: 1 }");
    let large = "x".repeat(300_000);
    let body = format!(
        r#"{{"requests":[
          {{"id":"1","method":"POST","url":"/up/number","body": {{"n":1e400, "a":1,"a":2}} }},
          {{"id":"2","method":"PUT","url":"/up/text","headers":{{"content-type":"text/plain"}},"body":"\u0061\n"}},
          {{"id":"3","method":"PATCH","url":"/up/image","headers":{{"content-type":"image/png"}},"body":"_w"}},
          {{"id":"4","method":"POST","url":"/up/broken","body":null}},
          {{"id":"5","method":"POST","url":"/up/large","body":"{large}"}},
          {{"id":"6","method":"HEAD","url":"/up/number"}}]}}"#
    );
    let mut client = gateway.client();
    send(&mut client, "", &body);
    let text = client.read().text();
    for shown in [
        r#""body":123456789012345678901234567890.10}"#,
        r#""body":"ä\""}"#,
        r#""body":"__79","encoding":"base64url"}"#,
        r#""body":"ew","encoding":"base64url"}"#,
        r#"{"id":"6","status":200,"headers":{"content-type":"application/json","content-length":"35","via":"1.1 tidegate"}}"#,
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let received = origin.received().concat();
    let received = String::from_utf8_lossy(&received);
    for sent in ["\r\n\r\n{\"n\":1e400, \"a\":1,\"a\":2}", "\r\n\r\na\n", "Content-Length: 0\r\n", &format!("\r\n\r\n\"{large}\"")] {
        let is_there = received.contains(sent) || received.to_lowercase().contains(&sent.to_lowercase());
        assert!(is_there, "{}: {}", &sent[..sent.len().min(50)], &received[..received.len().min(3000)]);
    }
    assert!(origin.received().concat().windows(5).any(|bytes| bytes == b"\r\n\r\n\xff"));
}

#[test]
fn bodies_of_any_length_reach_services_over_http2_and_go_out_again_with_another_attempt() {
    let (modern, copy) = (Origin::http2(|seen| Answer::new(seen.body.len().to_string())), Origin::start());
    let count = AtomicUsize::new(0);
    let fickle = RawOrigin::start(move |mut talk| {
        let length = talk.request().map_or(0, |request| request.len());
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            return talk.reset();
        }
        let body = (length > 150_000).to_string();
        talk.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        talk.until_closed();
    });
    let gateway = Gateway::start(&format!(
        "services:\n  modern: {{ targets: [\"http://{}\"], protocol: http2 }}\n  copy: {{ targets: [\"http://{}\"] }}\n  fickle: {{ targets: [\"http://{}\"], retry: {{ on: [reset], methods: any }} }}\nroutes:\n  - {{ name: modern, match: {{ path: /modern }}, to: modern, mirror: {{ to: copy, methods: any }} }}\n  - {{ name: fickle, match: {{ path: /fickle }}, to: fickle }}\n  - {{ name: batch, match: {{ path: /batch }}, batch: {{}} }}\n",
        modern.address, copy.address, fickle.address
    ));
    let large = "x".repeat(150_000);
    let requests = json!([
        { "id": "1", "method": "POST", "url": "/modern", "body": large },
        { "id": "2", "method": "POST", "url": "/modern", "body": [1, 2] },
        get("3", "/modern"),
        { "id": "4", "method": "PUT", "url": "/fickle", "body": large },
    ]);
    let answers = answers(&mut gateway.client(), "", &requests);
    let bodies: Vec<_> = answers.iter().map(|answer| answer["body"].clone()).collect();
    assert_eq!(bodies, [json!(150_002), json!(5), json!(0), json!(true)], "{answers:#?}");
    let copied = || copy.seen().iter().any(|seen| seen.body == "[1,2]").then_some(());
    crate::support::eventually("a copy comes with its body", copied);
}
