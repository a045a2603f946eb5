//! Targets are asked whether they are well, over real servers.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use http::StatusCode;

use crate::support::gateway::check;
use crate::support::grpc::Grpc;
use crate::support::{Answer, Gateway, Nginx, Origin, eventually, port};

/// A server that answers `/healthz` with this status and `state: fine`, and all else with its name.
fn patient(name: &'static str, status: u16) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(status));
    let told = status.clone();
    let origin = Origin::answering(move |seen| {
        if seen.target != "/healthz" {
            return Answer::new(name.to_owned());
        }
        let mut answer = Answer::new("state: fine".to_owned());
        *answer.status_mut() = StatusCode::from_u16(told.load(Ordering::Relaxed)).unwrap();
        answer
    });
    (origin, status)
}

fn config(settings: &str, targets: &[String]) -> String {
    let targets = targets.join(", ");
    format!("services: {{ up: {{ targets: [{targets}], {settings} }} }}\nroutes: [{{ name: up, to: up }}]\n")
}

fn url(address: impl std::fmt::Display) -> String {
    format!("\"http://{address}\"")
}

fn healthy(address: impl std::fmt::Display) -> String {
    format!("tidegate_target_healthy{{service=\"up\",target=\"{address}\"}}")
}

#[test]
fn a_target_that_is_not_well_gets_no_request_from_the_first_on_and_all_its_own_once_it_is() {
    let ((ill, status), (well, _)) = (patient("ill", 503), patient("well", 200));
    let health = "health: { path: /healthz, interval: 100ms, healthy: 2, unhealthy: 2 }";
    let gateway = Gateway::start(&config(health, &[url(ill.address), url(well.address)]));
    assert!((0..10).all(|_| gateway.client().get("/").text() == "well"));
    assert_eq!(gateway.metric(&healthy(ill.address)), 0.0);
    assert_eq!(gateway.metric(&healthy(well.address)), 1.0);
    gateway.await_said(&format!("service up: target {}: a check failed, and it is unhealthy: it answered 503", ill.address));
    let asked = ill.seen();
    assert!(asked.iter().all(|seen| seen.target == "/healthz" && seen.header("host") == Some(&ill.address.to_string())), "{asked:?}");
    assert!(asked[0].header("user-agent").unwrap().starts_with("tidegate/"), "{asked:?}");
    status.store(204, Ordering::Relaxed);
    gateway.await_said(&format!("service up: target {}: it is healthy again", ill.address));
    gateway.await_metric(&healthy(ill.address), 1.0);
    assert!((0..10).any(|_| gateway.client().get("/").text() == "ill"));
    status.store(404, Ordering::Relaxed);
    gateway.await_said("2 checks in a row failed, and it is unhealthy: it answered 404");
    assert!((0..10).all(|_| gateway.client().get("/").text() == "well"));
    let checks = ["failed", "passed"].map(|result| {
        gateway.metric(&format!("tidegate_target_checks_total{{result=\"{result}\",service=\"up\",target=\"{}\"}}", ill.address))
    });
    assert!(checks[0] >= 3.0 && checks[1] >= 2.0, "{checks:?}");
}

#[test]
fn what_is_known_of_a_target_outlives_a_reload_and_is_forgotten_with_it() {
    let ((ill, _), (well, _)) = (patient("ill", 503), patient("well", 200));
    let both = [url(ill.address), url(well.address)];
    let gateway = Gateway::start(&config("health: { path: /healthz, interval: 1h }", &both));
    assert_eq!(gateway.rewrite(&config("health: { path: /healthz, interval: 2h }", &both)), "done");
    assert!((0..10).all(|_| gateway.client().get("/").text() == "well"));
    assert_eq!(gateway.rewrite(&config("health: { path: /healthz, interval: 2h }", &both[1..])), "done");
    // One at each worker: a worker leaves what it had with its next request.
    let mut clients = [gateway.client(), gateway.client()];
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
    let gone = |target: &Origin| !gateway.ask("/metrics").1.contains(&format!("service=\"up\",target=\"{}\"", target.address));
    eventually("its metrics are gone", || gone(&ill).then_some(()));
    assert!(!gone(&well));
}

#[test]
fn what_a_reload_takes_away_leaves_the_metrics() {
    let (origin, _) = patient("up", 200);
    let gateway = Gateway::start(&config("health: { path: /healthz }, breaker: {}", &[url(origin.address)]));
    let breaker = "tidegate_breaker_open{service=\"up\"}";
    assert_eq!((gateway.metric(&healthy(origin.address)), gateway.metric(breaker)), (1.0, 0.0), "from the beginning");
    assert_eq!(gateway.rewrite(&config("slow_start: 1s", &[url(origin.address)])), "done");
    let mut clients = [gateway.client(), gateway.client()];
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
    let gone = || {
        let text = gateway.ask("/metrics").1;
        !text.contains(&healthy(origin.address)) && !text.contains("tidegate_target_checks_total{") && !text.contains(breaker)
    };
    eventually("its metrics are gone", || gone().then_some(()));
}

#[test]
fn the_next_priority_takes_over_from_targets_that_are_not_well() {
    let ((first, status), (second, _)) = (patient("first", 200), patient("second", 200));
    let spare = format!("{{ url: {}, priority: 1 }}", url(second.address));
    let health = "health: { path: /healthz, interval: 100ms, healthy: 1, unhealthy: 1 }";
    let gateway = Gateway::start(&config(health, &[url(first.address), spare]));
    assert!((0..10).all(|_| gateway.client().get("/").text() == "first"));
    status.store(500, Ordering::Relaxed);
    gateway.await_metric(&healthy(first.address), 0.0);
    assert!((0..10).all(|_| gateway.client().get("/").text() == "second"));
    status.store(200, Ordering::Relaxed);
    gateway.await_metric(&healthy(first.address), 1.0);
    assert!((0..10).all(|_| gateway.client().get("/").text() == "first"));
}

#[test]
fn where_too_few_are_well_all_are_asked() {
    let ((one, _), (other, _)) = (patient("one", 503), patient("other", 503));
    let gateway = Gateway::start(&config("health: { path: /healthz }", &[url(one.address), url(other.address)]));
    let mut client = gateway.client();
    let answers: Vec<_> = (0..10).map(|_| client.get("/").text()).collect();
    assert!(answers.iter().any(|answer| answer == "one") && answers.iter().any(|answer| answer == "other"), "{answers:?}");
}

#[test]
fn the_answer_may_have_to_say_something() {
    let ((fine, _), silent) = (patient("fine", 302), Origin::start());
    let health = "health: { path: /healthz, status: [200, 3xx], body: \"state: fine\", interval: 100ms }";
    let gateway = Gateway::start(&config(health, &[url(fine.address), url(silent.address)]));
    gateway.await_said(&format!("{}: a check failed, and it is unhealthy: its answer does not contain `state: fine`", silent.address));
    assert!((0..10).all(|_| gateway.client().get("/").text() == "fine"));
}

#[test]
fn a_target_that_does_not_answer_in_time_is_not_well() {
    // Its connections come about, as those of a process that hangs.
    let (hanging, (well, _)) = (TcpListener::bind("127.0.0.1:0").unwrap(), patient("well", 200));
    let hangs = hanging.local_addr().unwrap();
    let gateway = Gateway::start(&config("health: { path: /healthz, timeout: 200ms }", &[url(hangs), url(well.address)]));
    gateway.await_said(&format!("target {hangs}: a check failed, and it is unhealthy: no answer in 200ms"));
    assert!((0..10).all(|_| gateway.client().get("/").text() == "well"));
}

#[test]
fn a_target_that_hangs_delays_the_checks_of_no_other() {
    let (hanging, (other, status)) = (TcpListener::bind("127.0.0.1:0").unwrap(), patient("other", 200));
    let hangs = hanging.local_addr().unwrap();
    let health = "health: { path: /healthz, interval: 100ms, timeout: 1h, unhealthy: 2 }";
    let gateway = Gateway::start(&config(health, &[url(hangs), url(other.address)]));
    gateway.await_metric(&healthy(other.address), 1.0);
    status.store(503, Ordering::Relaxed);
    gateway.await_metric(&healthy(other.address), 0.0);
    status.store(200, Ordering::Relaxed);
    gateway.await_metric(&healthy(other.address), 1.0);
}

#[test]
fn a_connection_may_be_enough() {
    let (closed, (well, _)) = (format!("127.0.0.1:{}", port()), patient("well", 200));
    let gateway = Gateway::start(&config("health: { tcp: true, interval: 100ms }", &[url(&closed), url(well.address)]));
    gateway.await_said(&format!("target {closed}: a check failed, and it is unhealthy: no connection: Connection refused"));
    assert!((0..10).all(|_| gateway.client().get("/").text() == "well"));
    let _open = TcpListener::bind(&closed).unwrap();
    gateway.await_metric(&healthy(&closed), 1.0);
}

#[test]
fn a_target_that_speaks_http2_is_asked_in_it() {
    let servers = [404, 200].map(|status| Nginx::speaking("http2", &format!("location / {{ return {status} \"{status}\"; }}")));
    let [ill, well] = servers.each_ref().map(|server| server.address);
    let gateway = Gateway::start(&config("protocol: http2, health: { path: /healthz, body: \"200\" }", &[url(ill), url(well)]));
    gateway.await_said(&format!("target {ill}: a check failed, and it is unhealthy: it answered 404"));
    assert_eq!(gateway.metric(&healthy(well)), 1.0);
    assert!((0..10).all(|_| gateway.client().get("/").text() == "200"));
}

#[test]
fn a_grpc_server_tells_of_itself_and_of_each_service() {
    let server = Grpc::start();
    let gateway = Gateway::start(
        &config("health: { grpc: shop.v1.Carts, interval: 100ms, healthy: 1, unhealthy: 1 }", &[url(server.address)])
            .replace("services: {", &format!("services: {{ whole: {{ targets: [{}], health: {{ grpc: \"\" }} }},", url(server.address))),
    );
    let whole = format!("tidegate_target_healthy{{service=\"whole\",target=\"{}\"}}", server.address);
    assert_eq!(gateway.metric(&whole), 1.0);
    gateway.await_said("it is unhealthy: it knows no such service");
    server.say("shop.v1.Carts", true);
    gateway.await_metric(&healthy(server.address), 1.0);
    server.say("shop.v1.Carts", false);
    gateway.await_said("it is unhealthy: it says NOT_SERVING");
    gateway.await_metric(&healthy(server.address), 0.0);
}

#[test]
fn what_is_no_grpc_server_is_told_so() {
    let (origin, _) = patient("here", 200);
    let gateway = Gateway::start(&config("health: { grpc: \"\" }", &[url(origin.address)]));
    gateway.await_said("a check failed, and it is unhealthy: it broke off");
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (value, words) in [
        ("/healthz", "health: expected a mapping, found a string `/healthz`"),
        (
            "{}",
            "health: a target is asked in one way, no more and no less\n    fix: write one of `path: /healthz`, `tcp: true` and `grpc: \"\"`",
        ),
        ("{ path: /a, tcp: true }", "health: a target is asked in one way, no more and no less"),
        ("{ tcp: false }", "health: a target is asked in one way, no more and no less"),
        ("{ path: healthz }", "health.path: `healthz` is not a path\n    fix: write one like `/healthz`"),
        ("{ path: \"/a b\" }", "health.path: `/a b` is not a path"),
        ("{ path: \"/a#b\" }", "health.path: `/a#b` is not a path"),
        ("{ tcp: yes please }", "health.tcp: expected `true` or `false`"),
        ("{ grpc: [a] }", "health.grpc: expected a string, found a list"),
        ("{ grpc: a, status: [200] }", "health.status: only an answer to a `path` has one"),
        ("{ tcp: true, body: ok }", "health.body: only an answer to a `path` has one"),
        ("{ path: /a, status: [] }", "health.status: no answer at all would do"),
        ("{ path: /a, status: 200 }", "health.status: expected a list"),
        ("{ path: /a, status: [700] }", "health.status[0]: expected a status from 100 to 599, like 200, `2xx` or `200-399`"),
        ("{ path: /a, status: [ok] }", "health.status[0]: expected a status from 100 to 599, like 200, `2xx` or `200-399`"),
        ("{ path: /a, body: \"\" }", "health.body: every answer contains nothing"),
        ("{ path: /a, interval: 10ms }", "health.interval: this would be all that a target does\n    fix: write at least `100ms`"),
        ("{ path: /a, timeout: 0s }", "health.timeout: this leaves no time at all"),
        ("{ path: /a, healthy: 0 }", "health.healthy: no check at all decides nothing"),
        ("{ path: /a, unhealthy: few }", "health.unhealthy: expected a whole number"),
        ("{ path: /a, intervall: 5s }", "health.intervall: unknown key `intervall`\n    fix: did you mean `interval`?"),
    ] {
        let (content, said) = check(&config(&format!("health: {value}"), &[url("127.0.0.1:9")]));
        assert!(!content && said.contains(&format!("services.up.{words}")), "{value}: {said}");
    }
    let (content, said) = check("services: { up: { mock: { text: a }, health: { tcp: true } } }\n");
    assert!(!content && said.contains("services.up.health: a mock has no targets"), "{said}");
}
