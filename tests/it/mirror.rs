//! Copies of requests for another service: what they are, and that the originals do not feel them.

use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Instant;

use crate::support::client::H2;
use crate::support::gateway::{Folder, check};
use crate::support::{Answer, Gateway, Origin, PATIENCE, RawOrigin, eventually, port};

const DONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ncopy";

/// A route to `real` whose requests are copied to `copy`, a service with these settings.
fn gateway(real: &Origin, copy: &str, mirror: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
services:
  real: {{ targets: ["http://{}"], timeouts: {{ total: 15s }}, deadline_header: X-Left }}
  next: {{ {copy} }}
routes:
  - name: shop
    match: {{ path: "/{{rest...}}" }}
    policies: [{{ request: {{ headers: {{ set: {{ X-Added: yes }}, remove: [X-Removed] }} }} }}]
    to: real
    path: "/base/{{rest}}"
    mirror: {{ to: next, {mirror} }}
"#,
        real.address
    ))
}

fn target(address: impl std::fmt::Display) -> String {
    format!("targets: [\"http://{address}\"]")
}

/// Waits until so many copies have come to this end.
fn count(gateway: &Gateway, result: &str, count: u32) {
    gateway.await_metric(&series(result), f64::from(count));
}

fn series(result: &str) -> String {
    format!("tidegate_mirror_total{{result=\"{result}\",service=\"next\"}}")
}

#[test]
fn a_copy_is_what_the_service_got_and_says_what_it_is() {
    let (real, copy) = (Origin::start(), Origin::answering(|_| Answer::new("nobody reads this".to_owned())));
    let gateway = gateway(&real, &target(copy.address), "methods: any");
    let mut client = gateway.client();
    let mut copies = 0;
    for request in [
        "GET /a?b=c HTTP/1.1\r\nHost: gateway.test\r\nX-Removed: x\r\nX-Left: 7\r\n\r\n",
        "POST /a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /%61 HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 0\r\n\r\n",
    ] {
        client.send(request);
        assert_eq!(client.read().text(), "here", "{request}");
        copies += 1;
        count(&gateway, "answered", copies);
        let (real, copy) = (real.last(), copy.last());
        assert_eq!((&copy.method, &copy.target, &copy.body), (&real.method, &real.target, &real.body), "{request}");
        assert_eq!(copy.header("tidegate-mirror"), Some("shop"));
        assert_eq!((real.header("tidegate-mirror"), real.header("x-left").is_some(), copy.header("x-left")), (None, true, None));
        let others = |seen: &crate::support::origin::Seen| {
            let mut names: Vec<_> = seen.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
            names.retain(|name| {
                !["host", "x-left", "tidegate-mirror", "transfer", "content-length"].iter().any(|own| name.starts_with(own))
            });
            names.sort();
            names
        };
        assert_eq!(others(&copy), others(&real), "{request}");
        assert!(others(&copy).contains(&"x-added: \"yes\"".to_owned()) && copy.header("x-removed").is_none());
    }
    assert_eq!(copy.connections(), 1, "it is kept");
    assert_eq!(copy.seen().len(), 0);
}

#[test]
fn only_safe_requests_are_copied_unless_the_config_says_otherwise_and_no_copy_is_copied() {
    let (real, copy) = (Origin::start(), Origin::start());
    let gateway = gateway(&real, &target(copy.address), "");
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(client.read().text(), "here");
    assert_eq!(client.get_with("/copied", "Tidegate-Mirror: elsewhere\r\n").text(), "here");
    assert_eq!(client.get("/").text(), "here");
    count(&gateway, "answered", 1);
    assert_eq!(copy.only().target, "/base/");
}

#[test]
fn a_mirror_that_stalls_holds_up_nobody_and_no_more_copies_wait_for_it_than_may() {
    let real = Origin::start();
    let stalled = RawOrigin::start(|mut talk| talk.until_closed());
    let gateway = gateway(&real, &format!("{}, timeouts: {{ response: 2s }}", target(stalled.address)), "in_flight: 2");
    let mut client = gateway.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "here");
    }
    // What is dropped is counted before the original is on its way; those under way end by their timeout.
    assert_eq!(gateway.metric(&series("dropped")), 18.0);
    count(&gateway, "failed", 2);
    assert_eq!(client.get("/").text(), "here");
    count(&gateway, "failed", 3);
    assert_eq!(stalled.received().len(), 3);
}

#[test]
fn a_mirror_that_refuses_or_dies_is_counted_and_nothing_else() {
    let real = Origin::start();
    let dying = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        talk.reset();
    });
    for copy in [target(format_args!("127.0.0.1:{}", port())), target(dying.address)] {
        let gateway = gateway(&real, &copy, "");
        let mut client = gateway.client();
        for _ in 0..5 {
            assert_eq!(client.get("/").text(), "here");
        }
        count(&gateway, "failed", 5);
    }
}

#[test]
fn a_kept_connection_that_was_closed_in_the_meantime_is_replaced() {
    let real = Origin::start();
    let first = Mutex::new(true);
    let copy = RawOrigin::start(move |mut talk| {
        let first = std::mem::take(&mut *first.lock().unwrap());
        while talk.request().is_some() {
            talk.say(DONE);
            if first {
                // The next request comes to a connection that ends under it.
                talk.header();
                return;
            }
        }
    });
    let gateway = gateway(&real, &target(copy.address), "");
    let mut client = gateway.client();
    for copies in 1..=3 {
        assert_eq!(client.get("/").text(), "here");
        count(&gateway, "answered", copies);
    }
    assert_eq!(copy.received().len(), 2);
}

#[test]
fn a_copy_is_sent_again_where_its_service_says_so() {
    let (real, sound) = (Origin::start(), Origin::start());
    let ill = Origin::answering(|_| {
        let mut answer = Answer::new("ill".to_owned());
        *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        answer
    });
    let targets = format!("targets: [\"http://{}\", \"http://{}\"]", ill.address, sound.address);
    let again = "tidegate_retries_total{reason=\"status\",service=\"next\"}";
    let own = gateway(&real, &format!("{targets}, retry: {{ on: [503], budget: 100% }}"), "share: 100%");
    let mut client = own.client();
    assert!((0..6).all(|_| client.get("/a").status == 200));
    count(&own, "answered", 6);
    assert_eq!((sound.seen().len(), ill.seen().len() as f64), (6, own.metric(again)));
    assert!(!ill.seen().is_empty());
    let once = gateway(&real, &format!("{targets}, retry: {{ attempts: 1 }}"), "share: 100%");
    let mut client = once.client();
    assert!((0..6).all(|_| client.get("/a").status == 200));
    count(&once, "answered", 6);
    assert_eq!((sound.seen().len(), once.metric(again)), (9, 0.0));
}

#[test]
fn the_breaker_of_the_mirrors_service_keeps_copies_away_from_it() {
    let real = Origin::start();
    let copy = Origin::answering(|_| http::Response::builder().status(503).body(String::new()).unwrap());
    let gateway = gateway(&real, &format!("{}, breaker: {{ failures: 3, open: 1m }}", target(copy.address)), "");
    let mut client = gateway.client();
    for copies in 1..=3 {
        assert_eq!(client.get("/").text(), "here");
        count(&gateway, "answered", copies);
    }
    assert_eq!(client.get("/").text(), "here");
    count(&gateway, "left_alone", 1);
    assert_eq!(copy.seen().len(), 3);
}

#[test]
fn a_request_with_a_body_over_the_bound_is_not_copied_and_comes_through_whole() {
    let (real, copy) = (Origin::start(), Origin::start());
    let gateway = gateway(&real, &target(copy.address), "methods: any, body: 1KiB");
    let mut client = gateway.client();
    let body = "x".repeat(1025);
    client.send(format!("POST /known HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1025\r\n\r\n{body}"));
    assert_eq!(client.read().text(), "here");
    client.send(format!("POST /chunked HTTP/1.1\r\nHost: gateway.test\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n{body}\r\n0\r\n\r\n"));
    assert_eq!(client.read().text(), "here");
    count(&gateway, "too_large", 2);
    assert!(real.seen().iter().all(|seen| seen.body.len() == 1025));
    client.send(format!("POST /fits HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 1024\r\n\r\n{}", &body[1..]));
    assert_eq!(client.read().text(), "here");
    count(&gateway, "answered", 1);
    assert_eq!(copy.only().body.len(), 1024);
}

#[test]
fn a_share_of_the_requests_is_copied() {
    let (real, copy) = (Origin::start(), Origin::start());
    let gateway = gateway(&real, &target(copy.address), "share: 50%, in_flight: 1000");
    let mut client = gateway.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").text(), "here");
    }
    let copies = eventually("the copies are there", || Some(copy.seen().len()).filter(|copies| *copies >= 60));
    assert!(copies <= 140, "{copies}");
}

#[tokio::test]
async fn a_request_by_http2_is_copied_with_its_whole_body() {
    let (real, copy) = (Origin::start(), Origin::start());
    let gateway = gateway(&real, &target(copy.address), "methods: any");
    let client = H2::connect(gateway.address).await;
    let (parts, _) = client.request("POST", "/a", &[], &["hel", "lo"]).await;
    assert_eq!(parts.status, 200);
    count(&gateway, "answered", 1);
    let copy = copy.only();
    assert_eq!((&copy.body[..], copy.header("content-length"), copy.header("transfer-encoding")), (&b"hello"[..], Some("5"), None));
}

#[test]
fn copies_go_out_by_http2_where_the_service_speaks_it() {
    let answer = || Origin::http2(|_| Answer::new("here".to_owned()));
    let (real, copy, plain) = (answer(), answer(), Origin::start());
    let gateway = Gateway::start(&format!(
        r#"
services:
  real: {{ targets: ["http://{}"], protocol: http2 }}
  next: {{ targets: ["http://{}"], protocol: http2, host: next.test }}
  plain: {{ targets: ["http://{}"] }}
routes:
  - {{ name: two, match: {{ path: /two }}, to: real, mirror: {{ to: next, methods: any }} }}
  - {{ name: one, match: {{ path: /one }}, to: real, mirror: {{ to: plain, methods: any }} }}
"#,
        real.address, copy.address, plain.address
    ));
    let mut client = gateway.client();
    for (copies, body) in [(1, "hello"), (2, "")] {
        client.send(format!("POST /two?a HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(client.read().text(), "here");
        count(&gateway, "answered", copies);
        let seen = copy.last();
        assert_eq!((seen.target.as_str(), &seen.body[..]), ("http://next.test/two?a", body.as_bytes()));
    }
    assert_eq!(copy.connections(), 1);
    assert_eq!(client.get("/one").text(), "here");
    gateway.await_metric("tidegate_mirror_total{result=\"answered\",service=\"plain\"}", 1.0);
    assert_eq!((plain.only().target.as_str(), plain.only().header("host")), ("/one", Some(plain.address.to_string().as_str())));
}

#[test]
fn explain_tells_who_gets_copies() {
    let folder = Folder::new();
    let config = folder.file(
        "tidegate.yaml",
        "services: { real: { targets: [\"http://127.0.0.1:9\"] } }\nroutes: [{ name: a, to: real, mirror: { to: real, share: 0.5% } }]\n",
    );
    for (request, told) in [("GET /", true), ("POST /", false)] {
        let output = Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["explain", request, "-c"]).arg(&config).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.lines().any(|line| line == "mirror     service real gets copies of 0.5%"), told, "{said}");
    }
}

#[test]
fn the_end_of_the_gateway_does_not_wait_for_copies() {
    let real = Origin::start();
    let (arrived, arrivals) = channel();
    let arrived = Mutex::new(arrived);
    let stalled = RawOrigin::start(move |mut talk| {
        talk.request();
        arrived.lock().unwrap().send(()).unwrap();
        talk.until_closed();
    });
    let mut gateway = gateway(&real, &format!("{}, timeouts: {{ response: 10m }}", target(stalled.address)), "");
    assert_eq!(gateway.client().get("/").text(), "here");
    arrivals.recv_timeout(PATIENCE).unwrap();
    let started = Instant::now();
    gateway.terminate();
    assert!(gateway.ended().success());
    assert!(started.elapsed() < PATIENCE / 2, "{:?}", started.elapsed());
}

#[test]
fn mistakes_are_told_with_their_place_and_the_way_out() {
    for (route, words) in [
        ("to: real, mirror: { to: nxt }", "mirror.to: there is no service `nxt`\n    fix: did you mean `next`?"),
        ("to: real, mirror: next", "mirror: expected a mapping, found a string `next`"),
        ("to: real, mirror: {}", "mirror: `to` is missing"),
        ("to: real, mirror: { to: next, share: 101% }", "mirror.share: `101%` is not a share\n    fix: write one from `0%` to `100%`"),
        ("to: real, mirror: { to: next, body: big }", "mirror.body: expected a size in bytes, like `512`, `64KiB` or `10MB`"),
        ("to: real, mirror: { to: next, in_flight: 0 }", "mirror.in_flight: no copy could be under way\n    fix: write at least 1"),
        ("to: real, mirror: { to: next, methods: unsafe }", "mirror.methods: expected `safe`, `idempotent`, `any`"),
        ("to: real, mirror: { to: next, shar: 1% }", "mirror.shar: unknown key `shar`\n    fix: did you mean `share`?"),
        ("to: mock, mirror: { to: next }", "mirror: `mock` is a mock: nothing goes out that could be copied"),
        ("reply: {}, mirror: { to: next }", "mirror: `mirror` copies what goes to a service, and there is none"),
    ] {
        let (content, said) = check(&format!(
            "services: {{ real: {{ {} }}, next: {{ {} }}, mock: {{ mock: {{}} }} }}\nroutes: [{{ name: a, {route} }}]\n",
            target("127.0.0.1:9"),
            target("127.0.0.1:9")
        ));
        assert!(!content && said.contains(&format!("routes[0].{words}")), "{route}: {said}");
    }
}
