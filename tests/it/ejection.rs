//! A target that fails gets no requests for a while, over real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, eventually, port};

fn config(ejection: &str, targets: &[String]) -> String {
    let targets = targets.iter().map(|target| format!("\"http://{target}\"")).collect::<Vec<_>>().join(", ");
    format!("services: {{ up: {{ targets: [{targets}], ejection: {ejection} }} }}\nroutes: [{{ name: up, to: up }}]\n")
}

#[test]
fn a_failing_target_is_left_alone_over_a_reload_until_its_time_is_over() {
    let ill = Arc::new(AtomicBool::new(true));
    let state = ill.clone();
    let failing = Origin::answering(move |_| {
        let mut answer = Answer::new("failing".to_owned());
        if state.load(Ordering::Relaxed) {
            *answer.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        }
        answer
    });
    let sound = Origin::start();
    let targets = [failing.address.to_string(), sound.address.to_string()];
    let gateway = Gateway::start(&config("{ failures: 3, for: 5s }", &targets));
    let series = format!("tidegate_target_ejected{{service=\"up\",target=\"{}\"}}", failing.address);
    let mut client = gateway.client();
    let refused = (0..8).filter(|_| client.get("/").status == 503).count();
    assert_eq!(refused, 3, "no more than it takes");
    assert_eq!(gateway.metric(&series), 1.0);
    gateway.await_said(&format!("service up: target {}: 3 attempts in a row failed, and it is ejected for", failing.address));
    assert_eq!(gateway.rewrite(&config("{ failures: 4, for: 5s }", &targets)), "done");
    assert!((0..10).all(|_| gateway.client().get("/").text() == "here"));
    ill.store(false, Ordering::Relaxed);
    eventually("it gets a request again", || (gateway.client().get("/").text() == "failing").then_some(()));
    gateway.await_said("it is well again, and no longer ejected");
    gateway.await_metric(&series, 0.0);
    assert!((0..10).filter(|_| gateway.client().get("/").text() == "failing").count() > 2, "its share");
}

#[test]
fn a_target_that_cannot_be_reached_or_breaks_off_is_ejected_and_what_clients_do_is_not_held_against_it() {
    let sound = Origin::start();
    let breaking = crate::support::RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
    });
    for broken in [format!("127.0.0.1:{}", port()), breaking.address.to_string()] {
        let gateway = Gateway::start(&config("{ failures: 2, for: 1m }", &[broken.clone(), sound.address.to_string()]));
        let series = format!("tidegate_target_ejected{{service=\"up\",target=\"{broken}\"}}");
        eventually("it is ejected", || {
            let mut client = gateway.client();
            client.send("GET / HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
            let _ = client.try_read();
            (gateway.metric(&series) == 1.0).then_some(())
        });
        assert!((0..10).all(|_| gateway.client().get("/").text() == "here"));
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (value, words) in [
        ("5", "ejection: expected a mapping, found the number `5`"),
        ("{ failures: many }", "ejection.failures: expected a whole number"),
        ("{ failures: 0 }", "ejection.failures: zero can never be met"),
        ("{ error_rate: 0% }", "ejection.error_rate: no failure at all would do"),
        ("{ window: 1h }", "ejection.window: this cannot be counted over"),
        ("{ min_requests: 0 }", "ejection.min_requests: zero can never be met"),
        (
            "{ on: [200] }",
            "ejection.on[0]: expected `connect`, `reset`, `malformed`, `timeout`, `5xx`, a status from 400 to 599, or one of gRPC",
        ),
        ("{ on: 503 }", "ejection.on: expected a list, found the number `503`"),
        ("{ for: 10 }", "ejection.for: "),
        ("{ for: 1h }", "ejection.max_for: the longest ejection is shorter than the first"),
        ("{ max_for: 1s }", "ejection.max_for: the longest ejection is shorter than the first"),
        ("{ max_ejected: 150% }", "ejection.max_ejected: `150%` is not a share\n    fix: write one from `0%` to `100%`"),
        ("{}, min_available: 0.5", "up.min_available: "),
        ("{ failure: 5 }", "ejection.failure: unknown key `failure`\n    fix: did you mean `failures`?"),
    ] {
        let (content, said) = check(&format!(
            "services:\n  up: {{ targets: [\"http://127.0.0.1:9\"], ejection: {value} }}\nroutes: [{{ name: up, to: up }}]\n"
        ));
        assert!(!content && said.contains(words), "{value}: {said}");
    }
    let (content, said) =
        check("services:\n  up: { targets: [\"http://127.0.0.1:9\"], min_available: 20% }\nroutes: [{ name: up, to: up }]\n");
    assert!(!content && said.contains("up.min_available: nothing makes a target unavailable"), "{said}");
    let (content, said) = check("services:\n  up: { mock: {}, balance: random, ejection: {} }\nroutes: [{ name: up, to: up }]\n");
    assert!(
        !content && said.contains("up.balance: a mock has no targets") && said.contains("up.ejection: a mock has no targets"),
        "{said}"
    );
}
