//! What a client sees of services that misbehave, and how often they were asked: with and without another attempt.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, PATIENCE, RawOrigin, Response, eventually};

/// A gateway before these targets, with a service's settings behind them.
fn gateway(targets: &[String], settings: &str) -> Gateway {
    let targets = targets.iter().map(|target| format!("\"http://{target}\"")).collect::<Vec<_>>().join(", ");
    let services = format!("services: {{ up: {{ targets: [{targets}]{settings} }} }}");
    Gateway::start(&format!("server:\n  workers: 1\n{services}\nroutes: [{{ name: up, to: up }}]\n"))
}

fn post(gateway: &Gateway, lines: &str, body: &str) -> Response {
    let mut client = gateway.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: gateway.test\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()));
    client.read()
}

/// A port that was free a moment ago refuses.
fn refusing() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn resetting() -> RawOrigin {
    RawOrigin::start(|mut talk| {
        talk.request();
        talk.reset();
    })
}

fn stalling() -> RawOrigin {
    RawOrigin::start(|mut talk| talk.until_closed())
}

/// One byte of a header that never ends, again and again.
fn dripping() -> RawOrigin {
    RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nX: ");
        let (_held, never) = mpsc::channel::<()>();
        while talk.try_say("x") {
            let _ = never.recv_timeout(Duration::from_millis(50));
        }
    })
}

/// Each answers badly in its own way, and is known by the status that tells of it.
fn misbehaving() -> Vec<(&'static str, RawOrigin, u16)> {
    let broken = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Le");
    });
    let garbage = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("\x01\x02 this is no HTTP\r\n\r\n");
    });
    vec![
        ("stalls", stalling(), 504),
        ("resets at once", RawOrigin::start(|talk| talk.reset()), 502),
        ("resets after the request", resetting(), 502),
        ("closes in the header", broken, 502),
        ("answers garbage", garbage, 502),
        ("drips", dripping(), 504),
    ]
}

const TIMES: &str = ", timeouts: { connect: 2s, response: 300ms, total: 20s }";

#[test]
fn without_retry_a_failure_is_told_as_it_is_and_asked_for_once() {
    for (what, bad, status) in misbehaving() {
        // What drips is late only in all.
        let times = if what == "drips" { ", timeouts: { total: 600ms }" } else { TIMES };
        let gateway = gateway(&[bad.address.to_string()], times);
        let mut client = gateway.client();
        for count in 1..=2 {
            let started = Instant::now();
            assert_eq!(client.get("/").status, status, "{what}");
            assert!(started.elapsed() < PATIENCE / 2, "{what}");
            assert_eq!(bad.received().len(), count, "{what}");
        }
    }
}

#[test]
fn with_retry_another_target_answers_in_the_stead_of_one_that_fails() {
    for (what, bad, _) in misbehaving() {
        if what == "drips" {
            continue;
        }
        let sound = Origin::start();
        let on = ", retry: { on: [connect, reset, malformed, timeout], budget: 100% }";
        let gateway = gateway(&[bad.address.to_string(), sound.address.to_string()], &format!("{TIMES}{on}"));
        let mut client = gateway.client();
        for _ in 0..4 {
            let answer = client.get("/");
            assert_eq!((answer.status, answer.text().as_str()), (200, "here"), "{what}");
        }
        let failed = bad.received().len();
        assert_eq!(sound.seen().len(), 4, "{what}");
        assert!((1..=4).contains(&failed), "{what}: {failed}");
        let reasons: &[&str] = match what {
            "stalls" => &["timeout"],
            "answers garbage" => &["malformed"],
            // The reset may be there before the connection is.
            "resets at once" => &["connect", "reset"],
            _ => &["reset"],
        };
        let retries = |reason| gateway.metric(&format!("tidegate_retries_total{{reason=\"{reason}\",service=\"up\"}}"));
        eventually(&format!("the retries for {what} are counted"), || {
            (reasons.iter().map(retries).sum::<f64>() == failed as f64).then_some(())
        });
        gateway.await_log("an attempt more", |line| line["attempts"] == 2 && line["status"] == 200);
    }
}

#[test]
fn a_target_that_refuses_is_passed_by_without_a_word_for_every_method() {
    let sound = Origin::start();
    let gateway = gateway(&[refusing(), sound.address.to_string()], "");
    for _ in 0..4 {
        assert_eq!(gateway.client().get("/").status, 200);
        assert_eq!(post(&gateway, "", "hello").status, 200);
    }
    assert_eq!(sound.seen().iter().filter(|seen| seen.body == "hello").count(), 4);
}

#[test]
fn a_post_is_sent_again_only_if_it_may_be() {
    for (settings, lines, again) in [
        ("", "", false),
        ("", "Idempotency-Key: \"a\"\r\n", true),
        (", methods: idempotent", "", false),
        (", methods: any", "", true),
        (", methods: [POST]", "", true),
    ] {
        let (bad, sound) = (resetting(), Origin::start());
        let targets = [bad.address.to_string(), sound.address.to_string()];
        let gateway = gateway(&targets, &format!(", retry: {{ on: [reset]{settings} }}"));
        let answer = post(&gateway, lines, "hello");
        assert_eq!(answer.status, if again { 200 } else { 502 }, "{settings} {lines}");
        assert_eq!((bad.received().len(), sound.seen().len()), (1, usize::from(again)), "{settings} {lines}");
        assert!(sound.seen().iter().all(|seen| seen.body == "hello"));
    }
}

#[test]
fn a_body_is_sent_again_whole_or_not_at_all() {
    for (size, again) in [(40_000, true), (200_000, false)] {
        let (bad, sound) = (resetting(), Origin::start());
        let targets = [bad.address.to_string(), sound.address.to_string()];
        let gateway = gateway(&targets, ", retry: { on: [reset], methods: any }");
        let body = "0123456789".repeat(size / 10);
        let answer = post(&gateway, "", &body);
        assert_eq!(answer.status, if again { 200 } else { 502 }, "{size}");
        assert_eq!((bad.received().len(), sound.seen().len()), (1, usize::from(again)), "{size}");
        assert!(sound.seen().iter().all(|seen| seen.body == body));
    }
}

#[test]
fn a_kept_connection_that_was_closed_in_the_meantime_costs_no_request() {
    let fickle = || {
        RawOrigin::start(|mut talk| {
            talk.request();
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
            // The next is on its way when this end closes.
            talk.request();
        })
    };
    let origin = fickle();
    let own = gateway(&[origin.address.to_string()], "");
    let mut client = own.client();
    for count in 1..=4 {
        assert_eq!(client.get("/").text(), "here");
        assert_eq!(origin.received().len(), count);
    }
    // Whether a POST was worked on cannot be known.
    assert_eq!(post(&own, "", "hello").status, 502);
    assert_eq!(origin.received().len(), 4);
    let (origin, off) = (fickle(), ", retry: { attempts: 1 }");
    let own = gateway(&[origin.address.to_string()], off);
    let mut client = own.client();
    assert_eq!([client.get("/").status, client.get("/").status], [200, 502]);
}

#[test]
fn an_answer_that_has_begun_is_not_begun_again() {
    let half = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
    });
    let sound = Origin::start();
    let targets = [half.address.to_string(), sound.address.to_string()];
    let gateway = gateway(&targets, ", retry: { on: [connect, reset, malformed, timeout, 5xx] }");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.rest().1, b"first");
    assert_eq!((half.received().len(), sound.seen().len()), (1, 0));
}

fn failing(status: u16, retry_after: Option<&'static str>) -> Origin {
    Origin::answering(move |_| {
        let mut answer = Answer::new("failing".to_owned());
        *answer.status_mut() = http::StatusCode::from_u16(status).unwrap();
        if let Some(value) = retry_after {
            answer.headers_mut().insert("retry-after", value.parse().unwrap());
        }
        answer
    })
}

#[test]
fn a_status_is_worth_another_attempt_where_it_is_named_and_the_last_one_is_told() {
    let (bad, sound) = (failing(503, None), Origin::start());
    let both = [bad.address.to_string(), sound.address.to_string()];
    assert!((0..2).any(|_| gateway(&both, "").client().get("/").status == 503));
    let own = gateway(&both, ", retry: { on: [503] }");
    let mut client = own.client();
    assert!((0..4).all(|_| client.get("/").status == 200));
    let (bad, own) = (failing(500, None), gateway(&[refusing()], ""));
    assert_eq!(own.client().get("/").status, 502);
    let own = gateway(&[bad.address.to_string()], ", retry: { attempts: 3, on: [5xx] }");
    let answer = own.client().get("/");
    assert_eq!((answer.status, answer.text().as_str(), bad.seen().len()), (500, "failing", 3));
}

#[test]
fn a_target_that_names_a_time_is_left_alone_so_long_or_for_good() {
    let (soon, sound) = (failing(503, Some("1")), Origin::start());
    let own = gateway(&[soon.address.to_string(), sound.address.to_string()], ", timeouts: { total: 30s }, retry: { on: [503] }");
    let started = Instant::now();
    assert_eq!(own.client().get("/").status, 200);
    assert!(started.elapsed() >= Duration::from_secs(1));
    let never = failing(503, Some("60"));
    let own = gateway(&[never.address.to_string(), sound.address.to_string()], ", timeouts: { total: 30s }, retry: { on: [503] }");
    assert_eq!(own.client().get("/").status, 503);
    assert_eq!(sound.seen().len(), 1);
}

#[test]
fn a_client_that_leaves_is_not_waited_for() {
    let bad = failing(503, Some("10"));
    let own = gateway(&[bad.address.to_string()], ", timeouts: { total: 30s }, retry: { on: [503] }");
    let mut client = own.client();
    client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    own.await_metric("tidegate_retries_total{reason=\"status\",service=\"up\"}", 1.0);
    drop(client);
    let line = own.await_log("the request that was left", |line| line["status"] == 0);
    assert!(line["duration_ms"].as_f64().unwrap() < 9_000.0 && bad.seen().len() == 1, "{line}");
}

#[test]
fn all_attempts_share_one_time() {
    let (one, two) = (stalling(), stalling());
    let targets = [one.address.to_string(), two.address.to_string()];
    let own = gateway(&targets, ", timeouts: { response: 400ms, total: 1s }, retry: { attempts: 10, on: [timeout], budget: 100% }");
    let started = Instant::now();
    own.client().get("/").problem(504, "gateway-timeout");
    assert!(started.elapsed() < PATIENCE / 2);
    let attempts = one.received().len() + two.received().len();
    assert!((2..=3).contains(&attempts), "{attempts}");
}

#[test]
fn a_route_has_less_time_than_its_service_where_it_says_so() {
    let (stalls, quick) = (stalling(), Origin::start());
    let services = format!(
        "services:
  slow: {{ targets: [\"http://{}\"], timeouts: {{ total: 15s, response: 15s }} }}
  told: {{ targets: [\"http://{}\"], deadline_header: X-Left }}
  mock: {{ mock: {{ text: late, delay: 15s }} }}",
        stalls.address, quick.address
    );
    let route = |name| format!("  - {{ name: {name}, match: {{ path: /{name} }}, to: {name}, timeout: 300ms }}\n");
    let own = Gateway::start(&format!("{services}\nroutes:\n{}{}{}", route("slow"), route("told"), route("mock")));
    let mut client = own.client();
    for path in ["/slow", "/mock"] {
        let started = Instant::now();
        let body = client.get(path).problem(504, "gateway-timeout");
        assert_eq!(body["step"], "waiting", "{path}: {body}");
        assert!(started.elapsed() < PATIENCE / 2, "{path}");
    }
    assert_eq!(client.get("/told").status, 200);
    let left: u64 = quick.only().header("x-left").unwrap().parse().unwrap();
    assert!(left <= 300, "{left}");
    for (keys, place, fix) in [
        ("to: a, timeout: 0s", "timeout: ", "longer"),
        ("to: a, timeout: soon", "timeout: ", "like"),
        ("to: a, time: 1s", "time: unknown key", "timeout"),
        ("reply: {}, timeout: 1s", "timeout: what the gateway answers itself takes no time", "remove it"),
    ] {
        let (content, said) = check(&format!("services: {{ a: {{ mock: {{}} }} }}\nroutes: [{{ name: a, {keys} }}]\n"));
        assert!(!content && said.contains(&format!("routes[0].{place}")) && said.contains(fix), "{keys}:\n{said}");
    }
}

#[test]
fn a_target_that_got_what_others_had_left_is_not_ejected_for_it() {
    let stalls = stalling();
    let patient = RawOrigin::start(|mut talk| {
        talk.request();
        let (_held, never) = mpsc::channel::<()>();
        let _ = never.recv_timeout(Duration::from_millis(500));
        talk.try_say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
    });
    let targets = [stalls.address.to_string(), patient.address.to_string()];
    let times = "timeouts: { total: 1200ms, response: 1s }, retry: { on: [timeout], budget: 100%, backoff: { base: 1ms } }";
    let own = gateway(&targets, &format!(", {times}, ejection: {{ failures: 1, for: 1m, max_ejected: 100% }}"));
    let series = |target| own.metric(&format!("tidegate_target_ejected{{service=\"up\",target=\"{target}\"}}"));
    let mut client = own.client();
    // Whoever meets the first has too little left for the second.
    let answers: Vec<_> = (0..2).map(|_| client.get("/").status).collect();
    assert!(answers.contains(&504), "{answers:?}");
    assert_eq!((series(&targets[0]), series(&targets[1])), (1.0, 0.0));
    assert_eq!(client.get("/").text(), "here");
}

#[test]
fn each_attempt_is_told_how_long_it_has() {
    let (bad, sound) = (failing(503, Some("1")), Origin::start());
    let targets = [bad.address.to_string(), sound.address.to_string()];
    let own = gateway(&targets, ", timeouts: { total: 30s }, deadline_header: X-Left, retry: { on: [503] }");
    assert_eq!(own.client().get_with("/", "X-Left: 99999999\r\n").status, 200);
    let left = |origin: &Origin| origin.only().header("x-left").unwrap().parse::<u64>().unwrap();
    let (first, second) = (left(&bad), left(&sound));
    assert!(first <= 30_000 && second <= 29_000 && second > 0, "{first} {second}");
}

/// A socket that connections to wait at, since its queue is full.
fn full() -> (Socket, Vec<TcpStream>) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let held = std::iter::from_fn(fill).take(100).collect();
    (socket, held)
}

#[test]
fn a_late_answer_says_what_used_up_the_time() {
    let (deaf, _held) = full();
    let deaf = deaf.local_addr().unwrap().as_socket().unwrap();
    let stalling = stalling();
    for (target, times, step, words) in [
        (deaf, "connect: 300ms", "connecting", "could not be reached in time"),
        (deaf, "connect: 10s, total: 300ms", "connecting", "while connecting"),
        (stalling.address, "response: 300ms", "waiting", "did not answer in time"),
        (stalling.address, "total: 300ms", "waiting", "while waiting for the service's answer"),
    ] {
        let own = gateway(&[target.to_string()], &format!(", timeouts: {{ {times} }}"));
        let mut client = own.client();
        for _ in 0..2 {
            let body = client.get("/").problem(504, "gateway-timeout");
            assert_eq!(body["step"], step, "{times}: {body}");
            assert!(body["detail"].as_str().unwrap().contains(words), "{times}: {body}");
        }
    }
    let own = gateway(&[stalling.address.to_string()], ", timeouts: { total: 300ms }");
    let mut client = own.client();
    client.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhel");
    assert_eq!(client.read().problem(504, "gateway-timeout")["step"], "sending");
}

#[test]
fn an_answer_that_is_late_once_it_has_begun_is_cut_off_and_the_log_says_why() {
    let slow = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        talk.until_closed();
    });
    let own = gateway(&[slow.address.to_string()], ", timeouts: { total: 400ms }");
    let mut client = own.client();
    client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.rest().1, b"first");
    let line = own.await_log("the answer that was cut off", |line| line["status"] == 200);
    assert!(line["cause"].as_str().unwrap().contains("while reading the service's answer"), "{line}");
}

#[test]
fn a_service_that_fails_gets_a_fifth_more_requests_at_most() {
    let bad = resetting();
    let own = gateway(&[bad.address.to_string()], ", retry: { attempts: 10, backoff: { base: 1ms, max: 1ms } }");
    let mut client = own.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").status, 502);
    }
    let attempts = bad.received().len();
    assert!(attempts > 200 && attempts <= 240, "{attempts}");
}

#[test]
fn settings_that_cannot_be_are_told_with_their_place_and_their_fix() {
    for (settings, place, fix) in [
        ("retry: { attempts: 0 }", "retry.attempts: 0 is no number of attempts", "1 to 10"),
        ("retry: { attempts: many }", "retry.attempts: ", "number"),
        ("retry: { attempt: 2 }", "retry.attempt: unknown key", "did you mean `attempts`?"),
        (
            "retry: { on: [refused] }",
            "retry.on[0]: ",
            "`connect`, `reset`, `malformed`, `timeout`, `5xx`, a status from 400 to 599, or one of gRPC",
        ),
        ("retry: { on: [200] }", "retry.on[0]: ", "400 to 599"),
        ("retry: { methods: all }", "retry.methods: ", "`safe`, `idempotent`, `any`"),
        ("retry: { methods: [get] }", "retry.methods[0]: ", "write one like `GET`"),
        ("retry: { backoff: { base: 1s } }", "retry.backoff.max: ", "no less than `base`"),
        ("retry: { backoff: { first: 1s } }", "retry.backoff.first: unknown key", "base"),
        ("deadline_header: X-Left", "deadline_header: there is no time to tell of", "timeouts: { total"),
        ("timeouts: { total: 1s }, deadline_header: Host", "deadline_header: `Host` is not a header", "X-Request-Timeout-Ms"),
        ("timeouts: { total: 1s }, deadline_header: Cookie", "deadline_header: `Cookie` is not a header", "X-Request-Timeout-Ms"),
        (
            "timeouts: { total: 1s }, deadline_header: Authorization",
            "deadline_header: `Authorization` is not a header",
            "X-Request-Timeout-Ms",
        ),
        ("timeouts: { total: 1s }, deadline_header: X-Forwarded-For", "deadline_header: `X-Forwarded-For` is", "X-Request-Timeout-Ms"),
        ("timeouts: { total: 1s }, deadline_header: via", "deadline_header: `via` is not a header", "X-Request-Timeout-Ms"),
        ("retry: { attempts: 1, on: [503] }", "retry.on: nothing is sent again", "2 attempts"),
        ("retry: { attempts: 1, methods: any }", "retry.methods: nothing is sent again", "2 attempts"),
        ("retry: { attempts: 1, backoff: { base: 1ms } }", "retry.backoff: nothing is sent again", "2 attempts"),
        ("retry: { attempts: 1, budget: 30% }", "retry.budget: nothing is sent again", "2 attempts"),
        ("timeouts: { total: 1s }, deadline_header: [a]", "deadline_header: ", "string"),
        ("timeouts: { total: 1s }, deadline_headers: X-Left", "deadline_headers: unknown key", "did you mean `deadline_header`?"),
        ("retry: { budget: 20 }", "retry.budget: ", "`0%` to `100%`"),
    ] {
        let (content, said) = check(&format!("services: {{ up: {{ targets: [\"http://127.0.0.1:9\"], {settings} }} }}\n"));
        assert!(!content && said.contains(&format!("services.up.{place}")) && said.contains(fix), "{settings}:\n{said}");
    }
    let (content, said) = check("services: { up: { mock: { text: a }, retry: {} } }\n");
    assert!(!content && said.contains("services.up.retry: a mock has no targets"), "{said}");
}
