//! Which of a service's targets a request goes to, over real servers.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use crate::support::gateway::check;
use crate::support::{Answer, Client, Gateway, Origin, RawOrigin, Response, eventually};

/// Servers that say who they are.
fn origins(count: usize) -> Vec<Origin> {
    (0..count).map(|index| Origin::answering(move |_| Answer::new(index.to_string()))).collect()
}

fn config(balance: &str, origins: &[Origin]) -> String {
    let targets: Vec<_> = origins.iter().map(|origin| format!("\"http://{}\"", origin.address)).collect();
    let targets = targets.join(", ");
    format!(
        "services: {{ up: {{ balance: {balance}, targets: [{targets}] }} }}\nroutes: [{{ name: up, match: {{ path: \"/{{id}}\" }}, to: up }}]\n"
    )
}

fn cookie(answer: &Response) -> Option<String> {
    answer.header("set-cookie").map(|value| value.split(';').next().unwrap().to_owned())
}

#[test]
fn the_idle_target_is_preferred_while_the_other_is_stalled() {
    let (arrived, arrivals) = channel();
    let (release, released) = channel::<()>();
    let (arrived, released): (_, Mutex<Receiver<()>>) = (Mutex::new(arrived), Mutex::new(released));
    // Each connection brings one request, which is answered when the test says so.
    let stalled = RawOrigin::start(move |mut talk| {
        if talk.request().is_some() {
            arrived.lock().unwrap().send(()).unwrap();
            let _ = released.lock().unwrap().recv();
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nstalled");
        }
    });
    let quick = Origin::start();
    let gateway = Gateway::start(&format!(
        "services: {{ up: {{ balance: least_requests, targets: [\"http://{}\", \"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
        stalled.address, quick.address
    ));
    let address = gateway.address;
    let ask = move || std::thread::spawn(move || Client::connect(address).get("/").text());
    // While nobody is busy it is drawn by lot: until one request hangs.
    let hanging = loop {
        let request = ask();
        let hangs =
            eventually("the request arrives", || arrivals.try_recv().map(|()| true).ok().or(request.is_finished().then_some(false)));
        if hangs {
            break request;
        }
        assert_eq!(request.join().unwrap(), "here");
    };
    let mut client = gateway.client();
    for _ in 0..50 {
        assert_eq!(client.get("/").text(), "here");
    }
    release.send(()).unwrap();
    assert_eq!(hanging.join().unwrap(), "stalled");
}

#[test]
fn a_cookie_keeps_its_client_at_a_target_over_requests_and_a_reload() {
    let mut origins = origins(3);
    let balance = "{ sticky: { cookie: at, ttl: 1h } }";
    let gateway = Gateway::start(&config(balance, &origins));
    let first = gateway.client().get("/1");
    let (home, pair) = (first.text(), cookie(&first).unwrap());
    assert!(first.header("set-cookie").unwrap().ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"));
    let line = format!("Cookie: theme=dark; {pair}\r\n");
    let stays = || {
        for _ in 0..20 {
            let again = gateway.client().get_with("/1", &line);
            assert_eq!((again.text(), cookie(&again)), (home.clone(), None));
        }
    };
    stays();
    origins.rotate_left(1);
    assert_eq!(gateway.rewrite(&config(balance, &origins)), "done");
    stays();
    // The target is gone: there is another, and a cookie for that.
    origins.retain(|origin| origin.seen().len() < 20);
    assert_eq!(origins.len(), 2);
    assert_eq!(gateway.rewrite(&config(balance, &origins)), "done");
    let moved = gateway.client().get_with("/1", &line);
    assert_ne!(moved.text(), home);
    let pair = cookie(&moved).unwrap();
    let again = gateway.client().get_with("/1", &format!("Cookie: {pair}\r\n"));
    assert_eq!((again.text(), cookie(&again)), (moved.text(), None));
}

#[test]
fn the_same_key_goes_to_the_same_target() {
    let origins = origins(4);
    for (balance, path, line) in [
        ("{ hash: { header: X-Tenant } }", "/1", "X-Tenant: {}\r\n"),
        ("{ hash: { cookie: cart } }", "/1", "Cookie: a=b; cart={}\r\n"),
        ("{ hash: { param: id } }", "/{}", ""),
    ] {
        let gateway = Gateway::start(&config(balance, &origins));
        let ask =
            |key: usize| gateway.client().get_with(&path.replace("{}", &key.to_string()), &line.replace("{}", &key.to_string())).text();
        let homes: Vec<_> = (0..40).map(ask).collect();
        assert_eq!((0..40).map(ask).collect::<Vec<_>>(), homes, "{balance}");
        assert!(homes.iter().any(|home| *home != homes[0]), "{balance}: {homes:?}");
    }
}

#[test]
fn mistakes_are_told_with_their_place() {
    let wrong = |key: &str, value: &str| {
        let (content, said) = check(&format!(
            "services:\n  up:\n    targets: [\"http://127.0.0.1:9\"]\n    {key}: {value}\nroutes: [{{ name: up, match: {{ path: /a }}, to: up }}]\n"
        ));
        assert!(!content, "{value}");
        said
    };
    for (value, words) in [
        ("least_request", "balance: unknown value `least_request`\n    fix: did you mean `least_requests`?"),
        ("3", "balance: unknown value `3`"),
        ("[random]", "balance: expected a word or a mapping with one key, found a list"),
        ("hash", "balance.hash: one key is needed, no more and no less"),
        ("{ random: 1 }", "balance.random: expected nothing, found the number `1`"),
        ("{ hash: { headr: X } }", "balance.hash.headr: unknown key `headr`\n    fix: did you mean `header`?"),
        ("{ hash: { header: [X] } }", "balance.hash.header: expected a string, found a list"),
        ("{ hash: { header: X, bound: 0.5 } }", "balance.hash.bound: `0.5` leaves no room above an even share"),
        ("{ hash: { param: id } }", "balance.hash.param: no route to this service has a path parameter `id`"),
        ("{ hash: { client_ip: 1 } }", "balance.hash.client_ip: expected `true` or `false`, found the number `1`"),
        ("{ sticky: at }", "balance.sticky: expected a mapping, found a string `at`"),
        ("{ sticky: { ttl: 1h } }", "balance.sticky: `cookie` is missing"),
        ("{ sticky: { cookie: at, ttl: soon } }", "balance.sticky.ttl: `soon` is not a duration"),
        ("{ sticky: { cookie: at, same_site: odd } }", "balance.sticky.same_site: unknown value `odd`"),
        ("{ sticky: { cookie: at, domain: x } }", "balance.sticky.domain: unknown key `domain`"),
    ] {
        let said = wrong("balance", value);
        assert!(said.contains(words), "{value}: {said}");
    }
    for (target, words) in [
        (
            "{ url: \"http://127.0.0.1:8\", priority: 256 }",
            "targets[1].priority: expected a whole number from 0 to 255, found the number `256`",
        ),
        (
            "{ url: \"http://127.0.0.1:8\", priority: low }",
            "targets[1].priority: expected a whole number from 0 to 255, found a string `low`",
        ),
        (
            "{ url: \"http://127.0.0.1:8\", prioritty: 1 }",
            "targets[1].prioritty: unknown key `prioritty`\n    fix: did you mean `priority`?",
        ),
        ("\"http://127.0.0.1:9\"", "targets[1]: `http://127.0.0.1:9` is named twice"),
    ] {
        let (content, said) = check(&format!(
            "services:\n  up:\n    targets:\n      - \"http://127.0.0.1:9\"\n      - {target}\nroutes: [{{ name: up, to: up }}]\n"
        ));
        assert!(!content && said.contains(words), "{target}: {said}");
    }
}
