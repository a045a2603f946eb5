//! Composed answers before clients and services that cannot be trusted: what services are told, what clients can do to them, and who may keep an answer.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use crate::support::frames::Frames;
use crate::support::gateway::check;
use crate::support::speaker::{END_HEADERS, END_STREAM, HEADERS, Speaker, block};
use crate::support::{Answer, Gateway, Origin, PATIENCE, RawOrigin};

/// A gateway with one composition of this one service.
fn gateway(address: std::net::SocketAddr, service: &str, policies: &str, compose: &str) -> Gateway {
    Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{address}\"]{service} }} }}\nroutes: [{{ name: whole, match: {{ path: /whole }}, policies: [{policies}], compose: {{ {compose} }} }}]\n"
    ))
}

#[test]
fn services_are_told_what_the_gateway_vouches_for_and_nothing_of_the_client() {
    let up = Origin::answering(|_| Answer::new("{}".to_owned()));
    let policies =
        "request: { headers: { set: { X-Tenant: acme, Accept: text/json, X-Copy: \"{header.X-Mine}\" }, add: { X-Added: gw } } }";
    let gateway = gateway(up.address, "", policies, "parts: { a: { get: \"up:/a\" } }");
    let mut client = gateway.client();
    let sent = "X-Tenant: acme\r\nX-Added: secret\r\nX-Mine: mine\r\nCookie: a=b\r\nAuthorization: Basic eDp5\r\nAccept-Encoding: gzip\r\n";
    assert_eq!(client.get_with("/whole", sent).status, 200);
    let seen = up.only();
    for (name, value) in [
        ("x-tenant", Some("acme")),
        ("x-added", Some("gw")),
        ("x-copy", Some("mine")),
        ("accept", Some("text/json")),
        ("x-mine", None),
        ("cookie", None),
        ("authorization", None),
        ("accept-encoding", None),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
}

#[test]
fn a_client_in_haste_or_a_slow_one_has_no_service_left_alone() {
    let up = Origin::http2(|_| {
        std::thread::park_timeout(Duration::from_millis(300));
        Answer::new("{}".to_owned())
    });
    let settings = ", protocol: http2, breaker: { failures: 1 }";
    let gateway = gateway(up.address, settings, "", "timeout: 1s, parts: { a: { get: \"up:/a\", required: true } }");
    let mut speaker = Speaker::connect(gateway.address);
    let call = block("POST", "/whole", &[("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "20m")]);
    assert!(speaker.say(HEADERS, END_HEADERS | END_STREAM, 1, &call));
    // Of a busy machine, 20 ms may be over before there is a connection.
    gateway.await_log("the call", |line| line["parts"][0]["result"].as_str().is_some_and(|result| result.ends_with("_timeout")));
    let mut slow = gateway.client();
    slow.send("GET /whole HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1");
    assert!(slow.is_silent_for(Duration::from_millis(850)));
    slow.send("2");
    assert_eq!(slow.read().status, 504);
    assert_eq!(gateway.client().get("/whole").status, 200, "the service is as well as before");
}

#[test]
fn a_part_that_has_its_time_and_is_late_counts_against_its_service() {
    let (first, late) = (Origin::answering(|_| Answer::new("{\"x\":1}".to_owned())), RawOrigin::start(|mut talk| talk.until_closed()));
    let gateway = Gateway::start(&format!(
        "services: {{ first: {{ targets: [\"http://{}\"] }}, late: {{ targets: [\"http://{}\"], breaker: {{ failures: 1 }} }} }}\nroutes: [{{ name: whole, match: {{ path: /whole }}, compose: {{ timeout: 1500ms, parts: {{ a: {{ get: \"first:/\" }}, b: {{ get: \"late:/{{parts.a.body.x}}\" }} }} }} }}]\n",
        first.address, late.address
    ));
    assert_eq!(gateway.client().get("/whole").text(), "{\"a\":{\"x\":1},\"b\":null}");
    let answer = gateway.client().get("/whole");
    assert!(answer.header("tidegate-parts").unwrap().ends_with("b;error=destination_unavailable"), "{answer:?}");
}

#[test]
fn what_is_made_of_who_the_client_is_is_for_the_client_alone() {
    let up = Origin::answering(|_| http::Response::builder().header("cache-control", "public, max-age=60").body("{}".to_owned()).unwrap());
    for (path, control) in [("/all", "max-age=60"), ("/of/{client.ip}", "private, max-age=60")] {
        let gateway = gateway(up.address, "", "", &format!("parts: {{ a: {{ get: \"up:{path}\" }} }}"));
        assert_eq!(gateway.client().get("/whole").header("cache-control"), Some(control), "{path}");
    }
}

#[test]
fn a_call_over_http2_that_is_given_up_leaves_its_connection_to_its_idle_time() {
    let (told, gone) = channel();
    let told = Mutex::new(told);
    let up = RawOrigin::start(move |talk| {
        let Some(mut frames) = Frames::open(talk) else { return };
        while frames.request().is_some() {}
        let _ = told.lock().unwrap().send(());
    });
    let settings = ", protocol: http2, timeouts: { idle: 300ms }";
    let gateway = gateway(up.address, settings, "", "timeout: 200ms, parts: { a: { get: \"up:/a\", required: true } }");
    gateway.client().get("/whole").problem(504, "gateway-timeout");
    gone.recv_timeout(PATIENCE).expect("the connection is closed once nobody uses it");
}

#[test]
fn an_idle_connection_is_closed_when_its_time_is_over() {
    let (told, gone) = channel();
    let told = Mutex::new(told);
    let up = RawOrigin::start(move |mut talk| {
        if talk.request().is_some() {
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            talk.until_closed();
            let _ = told.lock().unwrap().send(());
        }
    });
    let gateway = gateway(up.address, ", timeouts: { idle: 300ms }", "", "parts: { a: { get: \"up:/a\", required: true } }");
    assert_eq!(gateway.client().get("/whole").text(), "{\"a\":{}}");
    gone.recv_timeout(PATIENCE).expect("the connection is closed once nobody uses it");
}

#[test]
fn a_service_that_keeps_no_connection_keeps_none_for_parts() {
    for (settings, connections) in [("", 1), (", connections: { idle: 0 }", 2)] {
        let up = Origin::answering(|_| Answer::new("{}".to_owned()));
        let gateway = gateway(up.address, settings, "", "parts: { a: { get: \"up:/a\", required: true } }");
        let mut client = gateway.client();
        for _ in 0..2 {
            assert_eq!(client.get("/whole").text(), "{\"a\":{}}");
        }
        assert_eq!(up.connections(), connections, "{settings}");
    }
}

#[test]
fn a_connection_over_which_something_comes_unasked_is_not_used_again() {
    let ((go, waits), (told, gone)) = (channel::<()>(), channel());
    let (waits, told) = (Mutex::new(waits), Mutex::new(told));
    let up = RawOrigin::start(move |mut talk| {
        if talk.request().is_some() {
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
            if waits.lock().unwrap().recv().is_ok() {
                talk.say("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n\"bad\"");
            }
            talk.until_closed();
            let _ = told.lock().unwrap().send(());
        }
    });
    let gateway = gateway(up.address, "", "", "parts: { a: { get: \"up:/a\", required: true } }");
    assert_eq!(gateway.client().get("/whole").text(), "{\"a\":{}}");
    go.send(()).unwrap();
    gone.recv_timeout(PATIENCE).expect("the connection is closed");
    gateway.await_said("has sent what nobody asked for");
    drop(go);
    assert_eq!(gateway.client().get("/whole").text(), "{\"a\":{}}");
}

#[test]
fn a_silent_service_is_given_up_within_its_own_time_and_not_only_that_of_the_part() {
    let up = RawOrigin::start(|mut talk| talk.until_closed());
    let alone = "timeout: 15s, parts: { a: { get: \"up:/a\" } }";
    // One that was begun in less time than the service has, and is joined by another with more.
    let joined = "timeout: 15s, parts: { a: { get: \"up:/a\", timeout: 500ms }, b: { get: \"up:/a\" } }";
    for (compose, part) in [(alone, 0), (joined, 1)] {
        let gateway = gateway(up.address, ", timeouts: { response: 1s }, retry: { attempts: 1 }", "", compose);
        assert_eq!(gateway.client().get("/whole").status, 200);
        let line = gateway.await_log("the request", |line| line["route"] == "whole");
        let took = line["parts"][part]["duration_ms"].as_f64().unwrap();
        assert!((900.0..14_000.0).contains(&took), "{line}");
    }
}

#[test]
fn the_parts_together_are_bounded() {
    let up = Origin::answering(|_| Answer::new(format!("{{\"n\":1,\"x\":\"{}\"}}", "x".repeat(900))));
    let parts: Vec<_> = (0..6).map(|number| format!("p{number}: {{ get: \"up:/\", shape: {{ take: n }} }}")).collect();
    let gateway = gateway(up.address, "", "", &format!("size: 1KiB, template: {{ a: 1 }}, parts: {{ {} }}", parts.join(", ")));
    let answer = gateway.client().get("/whole");
    assert_eq!(answer.text(), "{\"a\":1}");
    let missing = gateway.await_log("the request", |line| line["route"] == "whole");
    let over = missing["parts"].as_array().unwrap().iter().filter(|part| part["result"] == "http_response_body_size").count();
    assert_eq!(over, 2, "{missing}");
}

#[test]
fn what_is_still_coming_counts_and_what_is_thrown_away_does_not() {
    let ((told, gone), (go, waits)) = (channel(), channel::<()>());
    let (told, waits) = (Mutex::new(told), Mutex::new(waits));
    let up = RawOrigin::start(move |mut talk| {
        let Some(request) = talk.request() else { return };
        let is_first = request.starts_with(b"GET /first ");
        let text = "x".repeat(3000);
        if is_first {
            talk.say(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3001\r\n\r\n{text}"));
            told.lock().unwrap().send("half").unwrap();
            waits.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            talk.say("x");
        } else {
            talk.say(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9000\r\n\r\n{text}"));
            talk.until_closed();
            told.lock().unwrap().send("given up").unwrap();
        }
    });
    let list = Origin::answering(|_| Answer::new("[\"second\"]".to_owned()));
    let gateway = Gateway::start(&format!(
        "services: {{ up: {{ targets: [\"http://{}\"] }}, list: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: whole, match: {{ path: /whole }}, compose: {{ size: 1KiB, timeout: 19s, template: {{ a: 1 }}, parts: {{ first: {{ get: \"up:/first\" }}, list: {{ get: \"list:/\" }}, second: {{ get: \"up:/{{parts.list.body.0}}\" }} }} }} }}]\n",
        up.address, list.address
    ));
    let mut client = gateway.client();
    client.send("GET /whole HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut events = [gone.recv_timeout(PATIENCE).unwrap(), gone.recv_timeout(PATIENCE).unwrap()];
    events.sort_unstable();
    assert_eq!(events, ["given up", "half"], "one of them is given up while the other is still coming");
    go.send(()).unwrap();
    assert_eq!(client.read().text(), "{\"a\":1}");
    let line = gateway.await_log("the request", |line| line["route"] == "whole");
    assert_eq!((&line["parts"][0]["result"], &line["parts"][2]["result"]), (&"ok".into(), &"http_response_body_size".into()), "{line}");

    let up = Origin::answering(|seen| match &*seen.target {
        "/list" => Answer::new("[1,2,3,4,5,6]".to_owned()),
        "/5" | "/6" => Answer::new("{}".to_owned()),
        _ => http::Response::builder().status(500).body("x".repeat(3000)).unwrap(),
    });
    let parts = "list: { get: \"up:/list\" }, each: { each: \"{parts.list.body}\", get: \"up:/{item}\", parallel: 1 }";
    let gateway = self::gateway(up.address, "", "", &format!("size: 1KiB, parts: {{ {parts} }}"));
    let answer = gateway.client().get("/whole");
    assert_eq!(answer.text(), "{\"list\":[1,2,3,4,5,6],\"each\":[null,null,null,null,{},{}]}");
}

#[test]
fn what_is_wrong_with_an_error_is_not_its_length() {
    let up = Origin::answering(|_| http::Response::builder().status(404).body("x".repeat(100)).unwrap());
    for pass in ["[]", "[404]"] {
        let compose = format!("parts: {{ a: {{ get: \"up:/a\", size: 10B, required: true, pass: {pass} }} }}");
        let gateway = gateway(up.address, "", "", &compose);
        let problem = gateway.client().get("/whole").problem(502, "bad-gateway");
        let said = (&problem["part"], &problem["step"], &problem["part_status"]);
        assert_eq!(said, (&"a".into(), &"answering".into(), &404.into()), "{problem}");
    }
}

#[test]
fn a_service_that_gives_up_when_it_was_told_to_is_not_to_blame() {
    let first = Origin::answering(|_| {
        std::thread::park_timeout(Duration::from_millis(400));
        Answer::new("{\"x\":1}".to_owned())
    });
    for (told, then) in [(", deadline_header: X-Left", "received-status=504"), ("", "error=destination_unavailable")] {
        let late = Origin::answering(|_| http::Response::builder().status(504).body(String::new()).unwrap());
        let gateway = Gateway::start(&format!(
            "services: {{ first: {{ targets: [\"http://{}\"] }}, late: {{ targets: [\"http://{}\"], breaker: {{ failures: 1 }}{told} }} }}\nroutes: [{{ name: whole, match: {{ path: /whole }}, compose: {{ timeout: 1s, parts: {{ a: {{ get: \"first:/\" }}, b: {{ get: \"late:/{{parts.a.body.x}}\" }} }} }} }}]\n",
            first.address, late.address
        ));
        gateway.client().get("/whole");
        let answer = gateway.client().get("/whole");
        assert!(answer.header("tidegate-parts").unwrap().ends_with(&format!("b;{then}")), "{told}: {answer:?}");
    }
}

#[test]
fn settings_that_would_do_nothing_are_refused() {
    for (compose, words) in [
        ("size: 0B, parts: { a: { get: \"up:/\" } }", "compose.size: no answer is as short as that"),
        ("parts: { a: { get: \"up:/\", size: 0B } }", "parts.a.size: no answer is as short as that"),
        ("merge: root, missing: absent, parts: { a: { get: \"up:/\" } }", "compose.missing: a part that is missing has no place"),
        ("parts: { a: { get: \"up:/\", headers: { X-A: a, x-a: b } } }", "headers.x-a: `x-a` stands here twice"),
    ] {
        let (content, said) = check(&format!(
            "services: {{ up: {{ mock: {{ text: a }} }} }}\nroutes: [{{ name: whole, match: {{ path: /whole }}, compose: {{ {compose} }} }}]\n"
        ));
        assert!(!content && said.contains(words), "{compose}:\n{said}");
    }
}

#[test]
fn as_many_idle_connections_are_kept_for_parts_as_the_server_says() {
    let all = Arc::new(Barrier::new(3));
    let meet = || {
        let all = all.clone();
        Origin::answering(move |_| {
            all.wait();
            Answer::new("{}".to_owned())
        })
    };
    let origins = [meet(), meet(), meet()];
    let [a, b, c] = origins.each_ref().map(|origin| origin.address);
    let gateway = Gateway::start(&format!(
        "server:\n  workers: 1\n  upstream_connections: 1\nservices: {{ a: {{ targets: [\"http://{a}\"] }}, b: {{ targets: [\"http://{b}\"] }}, c: {{ targets: [\"http://{c}\"] }} }}\nroutes: [{{ name: whole, compose: {{ parts: {{ a: {{ get: \"a:/\" }}, b: {{ get: \"b:/\" }}, c: {{ get: \"c:/\" }} }} }} }}]\n"
    ));
    let mut client = gateway.client();
    for expected in [3, 5] {
        assert_eq!(client.get("/").status, 200);
        assert_eq!(origins.iter().map(Origin::connections).sum::<usize>(), expected);
    }
}
