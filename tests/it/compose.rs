//! Composed answers: what they are made of, and what becomes of them when a service is slow, down, or says what nobody can use.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use crate::support::client::H2;
use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, PATIENCE, RawOrigin, port};

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

/// What one bad part does to the whole, where it is optional and where it is required.
struct Bad {
    name: &'static str,
    address: String,
    /// What stands in `Tidegate-Parts`.
    said: &'static str,
    status: u16,
    step: &'static str,
}

#[test]
fn whatever_a_part_does_the_whole_is_answered_honestly_and_in_time() {
    let slow = RawOrigin::start(|mut talk| talk.until_closed());
    let stalling = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[1,");
        talk.until_closed();
    });
    let garbage = json("{\"a\":");
    let malformed = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("\x16\x03\x01 what is this\r\n\r\n");
        talk.until_closed();
    });
    let elsewhere = Origin::answering(|_| http::Response::builder().status(302).header("location", "/login").body(String::new()).unwrap());
    let large = Origin::answering(|_| answer("application/json", &format!("\"{}\"", "x".repeat(10 * 1024 * 1024))));
    let half = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[1,");
    });
    let absent = Origin::answering(|_| http::Response::builder().status(404).body("no such thing".to_owned()).unwrap());
    let failing = Origin::answering(|_| http::Response::builder().status(503).header("retry-after", "7").body(String::new()).unwrap());
    let binary = Origin::answering(|_| answer("image/png", "x"));
    let bad = |name, address: String, said, status, step| Bad { name, address, said, status, step };
    let table = [
        bad("slow", slow.address.to_string(), "error=http_response_timeout", 504, "waiting"),
        bad("stalling", stalling.address.to_string(), "error=http_response_timeout", 504, "reading"),
        bad("down", format!("127.0.0.1:{}", port()), "error=destination_unavailable", 502, "connecting"),
        bad("garbage", garbage.address.to_string(), "received-status=200;error=body_unusable", 502, "reading"),
        bad("malformed", malformed.address.to_string(), "error=http_protocol_error", 502, "waiting"),
        bad("elsewhere", elsewhere.address.to_string(), "received-status=302", 502, "answering"),
        bad("large", large.address.to_string(), "error=http_response_body_size", 502, "reading"),
        bad("half", half.address.to_string(), "error=http_response_incomplete", 502, "reading"),
        bad("absent", absent.address.to_string(), "received-status=404", 502, "answering"),
        bad("failing", failing.address.to_string(), "received-status=503", 503, "answering"),
        bad("binary", binary.address.to_string(), "received-status=200;error=body_unusable", 502, "reading"),
    ];
    let good = json("{\"id\":1}");
    for Bad { name, address, said, status, step } in &table {
        let services = [("good", good.address.to_string()), ("bad", address.clone())];
        let compose = |need: &str| {
            format!(
                "timeout: 5s\nparts:\n  good: {{ get: \"good:/\", required: true }}\n  bad: {{ get: \"bad:/\", timeout: 300ms, {need} }}"
            )
        };
        let optional = gateway(&services, &compose("required: false"));
        // What a worker makes for its first call is there then.
        let mut client = optional.client();
        assert_eq!(client.get("/whole/0").status, 200);
        let started = Instant::now();
        let whole = client.get("/whole/1");
        let took = started.elapsed();
        assert_eq!((whole.status, whole.text().as_str()), (200, "{\"good\":{\"id\":1},\"bad\":null}"), "{name}");
        assert_eq!(whole.header("tidegate-parts"), Some(format!("good;received-status=200, bad;{said}").as_str()), "{name}");
        assert_eq!(whole.header("cache-control"), Some("no-store"), "{name}");
        let line = optional.await_log("the whole", |line| line["path"] == "/whole/1");
        let own = line["parts"][1]["duration_ms"].as_f64().unwrap();
        eprintln!("{name}: optional after {took:?}, the part itself {own:.1} ms of 300");
        assert!(own < 500.0 && took < Duration::from_millis(1500), "{name}: {line}");

        let required = gateway(&services, &compose("required: true, pass: []"));
        let mut client = required.client();
        client.get("/whole/0");
        let whole = client.get("/whole/1");
        let kind = match status {
            503 => "unavailable",
            504 => "gateway-timeout",
            _ => "bad-gateway",
        };
        let problem = whole.problem(*status, kind);
        assert_eq!((&problem["part"], &problem["step"]), (&"bad".into(), &(*step).into()), "{name}: {problem}");
        assert!(problem["detail"].as_str().unwrap().starts_with("the part `bad` "), "{problem}");
        assert!(whole.header("tidegate-parts").unwrap().contains(said), "{name}: {whole:?}");
        assert_eq!(whole.header("retry-after"), (*name == "failing").then_some("7"));
    }
}

#[test]
fn a_required_part_that_is_missing_does_not_wait_for_the_others() {
    let (told, closed) = channel();
    let told = Mutex::new(told);
    let slow = RawOrigin::start(move |mut talk| {
        talk.until_closed();
        told.lock().unwrap().send(()).unwrap();
    });
    let absent = Origin::answering(|_| {
        http::Response::builder()
            .status(404)
            .header("content-type", "text/x")
            .header("set-cookie", "a=b")
            .body("no user".to_owned())
            .unwrap()
    });
    let gateway = gateway(
        &[("slow", slow.address.to_string()), ("absent", absent.address.to_string())],
        "timeout: 19s\nparts: { slow: { get: \"slow:/\" }, user: { get: \"absent:/{id}\", required: true } }",
    );
    let whole = gateway.client().get("/whole/1");
    assert_eq!(
        (whole.status, whole.text().as_str(), whole.header("content-type")),
        (404, "no user", Some("text/x")),
        "it passes by itself"
    );
    assert_eq!((whole.header("set-cookie"), whole.header("cache-control")), (None, Some("no-store")));
    assert_eq!(whole.header("tidegate-parts"), Some("slow;error=cancelled, user;received-status=404"));
    closed.recv_timeout(PATIENCE).unwrap();
    gateway.await_metric("tidegate_parts_running{route=\"whole\"}", 0.0);
}

/// A service that never answers, and tells of who has asked and who has left.
fn silent() -> (RawOrigin, Receiver<&'static str>) {
    let (told, events) = channel();
    let told = Mutex::new(told);
    let origin = RawOrigin::start(move |mut talk| {
        talk.request();
        told.lock().unwrap().send("asked").unwrap();
        talk.until_closed();
        told.lock().unwrap().send("left").unwrap();
    });
    (origin, events)
}

#[test]
fn a_client_that_leaves_leaves_no_part_behind() {
    let (slow, events) = silent();
    let gateway = gateway(
        &[("slow", slow.address.to_string())],
        "timeout: 60s\nparts: { a: { get: \"slow:/a\" }, b: { get: \"slow:/b\" }, c: { get: \"slow:/{parts.a.body.x}\" } }",
    );
    let mut client = gateway.client();
    client.send("GET /whole/1 HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    let next = || events.recv_timeout(PATIENCE).unwrap();
    assert_eq!([next(), next()], ["asked", "asked"]);
    assert_eq!(gateway.metric("tidegate_parts_running{route=\"whole\"}"), 2.0);
    drop(client);
    assert_eq!([next(), next()], ["left", "left"]);
    gateway.await_metric("tidegate_parts_running{route=\"whole\"}", 0.0);
    gateway.await_metric("tidegate_parts_total{part=\"a\",result=\"cancelled\",route=\"whole\"}", 1.0);
    gateway.await_metric("tidegate_parts_total{part=\"c\",result=\"not_asked\",route=\"whole\"}", 1.0);
    let line = gateway.await_log("the request", |line| line["route"] == "whole");
    assert_eq!((&line["status"], &line["parts"][0]["result"]), (&0.into(), &"cancelled".into()), "{line}");
}

#[tokio::test]
async fn a_stream_of_http2_that_is_reset_leaves_no_part_behind() {
    let (slow, events) = silent();
    let gateway = gateway(
        &[("slow", slow.address.to_string())],
        "timeout: 60s\nparts: { slow: { get: \"slow:/{id}\" }, fixed: { get: \"fixed:/\" } }",
    );
    let client = Arc::new(H2::connect(gateway.address).await);
    let other = client.clone();
    let asking = tokio::spawn(async move { other.get("/whole/1").await });
    let events = tokio::task::spawn_blocking(move || {
        assert_eq!(events.recv_timeout(PATIENCE).unwrap(), "asked");
        events
    });
    let events = events.await.unwrap();
    asking.abort();
    let left = tokio::task::spawn_blocking(move || events.recv_timeout(PATIENCE).unwrap());
    assert_eq!(left.await.unwrap(), "left");
    gateway.await_metric("tidegate_parts_running{route=\"whole\"}", 0.0);
    assert!(!client.closed(), "the connection goes on");
}

#[test]
fn a_part_may_use_what_others_have_said() {
    let users = Origin::answering(|seen| {
        let team = if seen.target == "/users/evil" {
            "\"..\""
        } else if seen.target == "/users/none" {
            "null"
        } else {
            "\"a/b c\""
        };
        answer("application/json", &format!("{{\"team\":{{\"id\":{team}}},\"n\":12345678901234567890}}"))
    });
    let teams = Origin::answering(|seen| answer("application/json", &format!("{{\"at\":\"{}\"}}", seen.target)));
    let gateway = gateway(
        &[("users", users.address.to_string()), ("teams", teams.address.to_string())],
        r#"parts:
  last: { get: "teams:/last?x={parts.team.body.at}" }
  team: { get: "teams:/teams/{parts.user.body.team.id}?n={parts.user.body.n}", headers: { X-N: "n{parts.user.body.n}", X-Lang: "{header.Accept-Language}" } }
  made: { post: "teams:/made", body: { n: "{parts.user.body.n}", id: "{id}", whole: "{parts.user.body.team}" } }
  user: { get: "users:/users/{id}", required: true }
missing: absent"#,
    );
    let mut client = gateway.client();
    let whole = client.get_with("/whole/7", "Accept-Language: de\r\n");
    let at = "/teams/a%2Fb%20c?n=12345678901234567890";
    let last = format!("/last?x={}", at.replace('%', "%25").replace('/', "%2F").replace('?', "%3F").replace('=', "%3D"));
    let user = "{\"team\":{\"id\":\"a/b c\"},\"n\":12345678901234567890}";
    assert_eq!(
        whole.text(),
        format!("{{\"last\":{{\"at\":\"{last}\"}},\"team\":{{\"at\":\"{at}\"}},\"made\":{{\"at\":\"/made\"}},\"user\":{user}}}")
    );
    let seen = teams.seen();
    let find = |start: &str| seen.iter().find(|seen| seen.target.starts_with(start)).unwrap();
    assert_eq!((find("/teams").header("x-n"), find("/teams").header("x-lang")), (Some("n12345678901234567890"), Some("de")));
    let made = find("/made");
    assert_eq!((&made.method, made.header("content-type")), (&http::Method::POST, Some("application/json")));
    assert_eq!(made.body, "{\"n\":12345678901234567890,\"id\":\"7\",\"whole\":{\"id\":\"a/b c\"}}");

    let count = teams.seen().len();
    for id in ["evil", "none"] {
        let whole = client.get(&format!("/whole/{id}"));
        assert_eq!(whole.status, 200);
        assert!(whole.json().get("team").is_none() && whole.json().get("made").is_some(), "{}", whole.text());
        let said = "last;error=part_missing, team;error=value_missing, made;received-status=200, user;received-status=200";
        assert_eq!(whole.header("tidegate-parts"), Some(said));
    }
    assert!(teams.seen()[count..].iter().all(|seen| seen.target == "/made"), "nobody is asked for another path");
}

#[test]
fn parts_have_shapes_and_the_whole_is_merged_or_made_by_a_template() {
    let user = json("{\"id\":1,\"name\":\"Ann\",\"secret\":true}");
    let orders = json("{\"data\":[{\"n\":1.50,\"x\":0}],\"id\":2}");
    let services = [("user", user.address.to_string()), ("orders", orders.address.to_string())];
    let merged = gateway(
        &services,
        "merge: root\nparts:\n  user: { get: \"user:/\", shape: { drop: [secret], rename: { id: user_id } } }\n  orders: { get: \"orders:/\", shape: { take: data, pick: [n], wrap: orders } }",
    );
    assert_eq!(merged.client().get("/whole/1").text(), "{\"user_id\":1,\"name\":\"Ann\",\"orders\":[{\"n\":1.50}]}");
    let made = gateway(
        &services,
        "template: { hello: \"Hello {parts.user.body.name}\", asked: \"{id}\", first: \"{parts.orders.body.data.0}\", none: \"{parts.user.body.x}\" }\nparts: { user: { get: \"user:/\" }, orders: { get: \"orders:/\" } }",
    );
    assert_eq!(
        made.client().get("/whole/7").text(),
        "{\"hello\":\"Hello Ann\",\"asked\":\"7\",\"first\":{\"n\":1.50,\"x\":0},\"none\":null}"
    );
    let unfit = gateway(
        &services,
        "merge: root\nparts: { user: { get: \"user:/\" }, orders: { get: \"orders:/\", required: true, shape: { take: data } } }",
    );
    let problem = unfit.client().get("/whole/1").problem(502, "bad-gateway");
    assert_eq!((&problem["part"], &problem["step"]), (&"orders".into(), &"shaping".into()));
    let long = gateway(&services, "size: 20\nparts: { user: { get: \"user:/\" } }");
    long.client().get("/whole/1").problem(502, "bad-gateway");
}

#[test]
fn text_becomes_a_string_and_the_whole_is_as_fresh_as_its_parts() {
    let xml = Origin::answering(|_| {
        http::Response::builder()
            .header("content-type", "application/atom+xml; charset=\"UTF-8\"")
            .header("cache-control", "max-age=60")
            .body("<a b=\"\u{e9}\"/>\n".to_owned())
            .unwrap()
    });
    let none = Origin::answering(|_| {
        http::Response::builder().status(204).header("cache-control", "public, max-age=30").body(String::new()).unwrap()
    });
    let gateway = gateway(
        &[("xml", xml.address.to_string()), ("none", none.address.to_string())],
        "server_timing: true\nparts: { xml: { get: \"xml:/\", headers: { X-Tenant: \"{header.X-Tenant}\" } }, none: { delete: \"none:/\" } }",
    );
    let mut client = gateway.client();
    let whole = client.get("/whole/1");
    assert_eq!(whole.text(), "{\"xml\":\"<a b=\\\"\u{e9}\\\"/>\\n\",\"none\":null}");
    assert_eq!((whole.header("cache-control"), whole.header("vary")), (Some("max-age=30"), Some("x-tenant")));
    let timing = whole.header("server-timing").unwrap();
    assert!(timing.starts_with("xml;dur=") && timing.contains(", none;dur="), "{timing}");
    client.send("HEAD /whole/1 HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    let head = client.read_head();
    assert_eq!(head.header("content-length"), Some(whole.body.len().to_string().as_str()));
    client.send("POST /whole/1 HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.read().text(), whole.text());
    assert_eq!(client.get("/whole/1").status, 200, "the connection goes on");
}

#[test]
fn the_time_of_the_whole_holds_for_its_parts() {
    let slow = RawOrigin::start(|mut talk| talk.until_closed());
    let gateway = gateway(
        &[("slow", slow.address.to_string())],
        "timeout: 300ms\nparts: { slow: { get: \"slow:/\" }, after: { get: \"fixed:/{parts.slow.body}\" }, fixed: { get: \"fixed:/\" } }",
    );
    let started = Instant::now();
    let whole = gateway.client().get("/whole/1");
    let over = started.elapsed().saturating_sub(Duration::from_millis(300));
    eprintln!("answered {over:?} after its deadline");
    assert!(started.elapsed() < Duration::from_millis(1500));
    assert_eq!(whole.text(), "{\"slow\":null,\"after\":null,\"fixed\":{\"theme\":\"dark\"}}");
}

#[test]
fn a_service_is_not_to_blame_for_the_time_that_others_took() {
    let slow = RawOrigin::start(|mut talk| talk.until_closed());
    let compose = |get: &str, parts: &str| {
        let service = format!("{{ targets: [\"http://{}\"], breaker: {{ failures: 1 }} }}", slow.address);
        Gateway::start(&format!(
            "services:\n  first: {{ mock: {{ delay: 200ms, json: 1 }} }}\n  slow: {service}\nroutes:\n  - {{ name: whole, match: {{ path: /whole }}, compose: {{ timeout: 300ms, parts: {{ {parts} slow: {{ get: \"{get}\" }} }} }} }}\n"
        ))
    };
    let after = compose("slow:/{parts.first.body}", "first: { get: \"first:/\" },");
    for _ in 0..2 {
        let whole = after.client().get("/whole");
        assert_eq!(whole.header("tidegate-parts"), Some("first;received-status=200, slow;error=http_response_timeout"));
    }
    let alone = compose("slow:/", "");
    assert_eq!(alone.client().get("/whole").header("tidegate-parts"), Some("slow;error=http_response_timeout"));
    let left_alone = alone.client().get("/whole");
    assert_eq!(left_alone.header("tidegate-parts"), Some("slow;error=destination_unavailable"), "it had all the time there is");
}

#[test]
fn a_composition_that_cannot_work_is_refused_with_its_place() {
    for (compose, told) in [
        ("parts: {}", "there are 0 parts"),
        ("parts: { a: { get: \"user:/\" } }", "did you mean `users`?"),
        ("parts: { a: { get: \"http://h/\" } }", "`http://h/` is a URL"),
        ("parts: { a: { get: \"/x\" } }", "names no service and path"),
        ("parts: { a: { get: \"users:x\" } }", "names no service and path"),
        ("parts: { a: {} }", "the part asks nobody"),
        ("parts: { a: { get: \"users:/\", post: \"users:/\" } }", "a part asks once, and this one has `get` and `post`"),
        ("parts: { a: { get: \"users:/{ix}\" } }", "did you mean `{id}`?"),
        ("parts: { a: { get: \"users:/{id\" } }", "a brace without its partner"),
        ("parts: { a: { get: \"users:/a/../b\" } }", "segments that would be resolved"),
        ("parts: { a: { get: \"users:/a b\" } }", "' ' cannot stand in a path or query"),
        ("parts: { a: { get: \"users:/{parts.b.body.x}\" } }", "there is no part `b`"),
        ("parts: { a: { get: \"users:/{parts.a.body.x}\" } }", "a needs a"),
        (
            "parts: { c: { get: \"users:/{parts.a.body}\" }, a: { get: \"users:/?{parts.b.body.x}\" }, b: { get: \"users:/\", headers: { X: \"{parts.a.body}\" } } }",
            "no part of these could be asked first: a needs b needs a",
        ),
        ("parts: { a.b: { get: \"users:/\" } }", "`a.b` is no name of a part"),
        ("parts: { a: { get: \"users:/\", body: {} } }", "a GET has no body"),
        ("parts: { a: { get: \"users:/\", timeout: 3s } }", "the part has more time than the whole"),
        ("parts: { a: { get: \"users:/\", timeout: 0s } }", "this leaves no time at all"),
        ("parts: { a: { get: \"users:/\", pass: [404] } }", "the answer is given without this part"),
        ("parts: { a: { get: \"users:/\", required: true, pass: [500] } }", "500 is no status that tells a client of its mistake"),
        ("parts: { a: { get: \"users:/\", headers: { Host: x } } }", "`Host` is written by the gateway itself"),
        ("parts: { a: { get: \"users:/\", headers: { \"a b\": x } } }", "`a b` is not a header name"),
        ("parts: { a: { get: \"users:/\", shape: { rename: { a: \"\" } } } }", "rename"),
        ("{ merge: root, template: {}, parts: { a: { get: \"users:/\" } } }", "parts are merged, or placed by a template"),
        ("{ template: \"{parts.a.bod}\", parts: { a: { get: \"users:/\" } } }", "`{parts.a.bod}` is not a known variable"),
        ("{ timeout: 0s, parts: { a: { get: \"users:/\" } } }", "this leaves no time at all"),
        ("{ when: x, parts: { a: { get: \"users:/\" } } }", "when"),
    ] {
        let compose = if compose.starts_with('{') { compose.to_owned() } else { format!("{{ {compose} }}") };
        let text = format!(
            "services: {{ users: {{ mock: {{}} }} }}\nroutes:\n  - name: a\n    match: {{ path: \"/{{id}}\" }}\n    compose: {compose}\n"
        );
        let (right, said) = check(&text);
        assert!(!right && said.contains(told) && said.contains("routes[0].compose"), "{compose}: {said}");
    }
    let (right, said) = check(
        "services: { u: { mock: {} } }\nroutes: [{ name: a, match: { path: /a }, timeout: 1s, compose: { parts: { a: { get: \"u:/\" } } } }]\n",
    );
    assert!(!right && said.contains("a composed answer has a time of its own"), "{said}");
    let (right, said) = check(
        "services: { u: { mock: {} } }\nroutes: [{ name: a, match: { path: /a }, to: u, compose: { parts: { a: { get: \"u:/\" } } } }]\n",
    );
    assert!(!right && said.contains("a route goes to one place"), "{said}");
}
