//! Connections in total and per client, requests on one connection, and what becomes of all when no file is left to open.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};

use crate::support::certificates::Authority;
use crate::support::client::H2;
use crate::support::gateway::Folder;
use crate::support::{Client, End, Gateway, RawOrigin, eventually};

const ROUTES: &str = "services: { echo: { mock: { echo: true } } }\nroutes: [{ name: echo, to: echo }]\n";

fn gateway(server: &str) -> Gateway {
    Gateway::start(&format!("server:\n  {server}\n{ROUTES}"))
}

fn turned_away(gateway: &Gateway, bound: &str) -> f64 {
    gateway.metric(&format!("tidegate_connections_turned_away_total{{bound=\"{bound}\"}}"))
}

/// Connections that are held, each with a request answered.
fn held(count: usize, connect: impl Fn() -> Client) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    clients
}

/// Whether a new connection is served. One that is not ends without a word.
fn is_served(mut client: Client) -> bool {
    client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").is_ok() && client.try_read().is_ok_and(|answer| answer.status == 200)
}

#[test]
fn a_client_gets_as_many_connections_as_it_may_have_and_another_gets_its_own() {
    let gateway = gateway("limits: { connections_per_client: 3 }");
    let from = |last| Client::connect_from([127, 0, 0, last], gateway.address);
    let mut first = held(3, || from(2));
    assert_eq!(from(2).ends(), End::Reset);
    assert!(!is_served(from(2)));
    let _others = held(3, || from(3));
    assert_eq!(turned_away(&gateway, "connections_per_client"), 2.0);
    let said = gateway.await_said("was turned away");
    assert_eq!(said.matches("was turned away").count(), 1, "{said}");
    assert!(said.contains("a connection of 127.0.0.2 was turned away"), "{said}");
    assert!(first.iter_mut().all(|client| client.get("/").status == 200), "those that it has go on");
    first.pop();
    eventually("there is room again", || is_served(from(2)).then_some(()));
}

#[test]
fn all_clients_together_get_as_many_connections_as_there_may_be() {
    let gateway = gateway("limits: { connections: 4, connections_per_client: 3 }");
    let from = |last| Client::connect_from([127, 0, 0, last], gateway.address);
    let mut all = held(2, || from(2));
    all.extend(held(2, || from(3)));
    assert_eq!(from(4).ends(), End::Reset);
    assert_eq!((turned_away(&gateway, "connections"), turned_away(&gateway, "connections_per_client")), (1.0, 0.0));
    all.clear();
    eventually("there is room again", || is_served(from(4)).then_some(()));
    assert_eq!(gateway.ask("/healthz").0, 200);
}

#[test]
fn who_is_turned_away_costs_no_handshake() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let identity = authority.issue("a.test");
    folder.file("a.pem", &identity.cert);
    folder.file("a.key", &identity.key);
    let listeners = "[{ address: \"127.0.0.1:0\", tls: { certificates: [{ cert: a.pem, key: a.key }] } }]";
    let yaml = format!("server:\n  limits: {{ connections: 1, connections_per_client: 1 }}\n  listeners: {listeners}\n{ROUTES}");
    let gateway = Gateway::start_in(folder, &yaml);
    let config = authority.client(None, &["http/1.1"]);
    let mut first = Client::secure(gateway.address, &config, "a.test");
    assert_eq!(first.get("/").status, 200);
    assert!(Client::try_secure(gateway.address, &config, "a.test").is_err());
    assert_eq!(gateway.metric("tidegate_handshakes_total{result=\"full\"}"), 1.0);
    assert_eq!(gateway.metric("tidegate_handshakes_total{result=\"failed\"}"), 0.0);
}

#[test]
fn behind_a_proxy_connections_are_counted_for_the_client_that_it_names() {
    let listeners = "[{ address: \"127.0.0.1:0\", proxy_protocol: true }]";
    let trusted = "[127.0.0.0/8]";
    let gateway = gateway(&format!("limits: {{ connections_per_client: 2 }}\n  listeners: {listeners}\n  trusted_proxies: {trusted}"));
    let of = |client: &str| {
        let mut connection = gateway.client();
        connection.send(format!("PROXY TCP6 {client} ::1 4711 80\r\n"));
        connection
    };
    let _held = [held(2, || of("2001:db8::1")), held(2, || of("2001:db8:0:1::1"))];
    assert!(!is_served(of("2001:db8::2")), "it is of the same network");
    assert_eq!(turned_away(&gateway, "connections_per_client"), 1.0);
    // Its own health checks name nobody.
    let itself = || {
        let mut connection = gateway.client();
        connection.send("PROXY UNKNOWN\r\n");
        connection
    };
    assert_eq!(held(5, itself).len(), 5);
}

#[test]
fn a_trusted_proxy_is_not_one_client() {
    let gateway = gateway("limits: { connections_per_client: 1 }\n  trusted_proxies: [127.0.0.2/32]");
    let from = |last| Client::connect_from([127, 0, 0, last], gateway.address);
    let _proxy = held(5, || from(2));
    let _client = held(1, || from(3));
    assert!(!is_served(from(3)));
}

#[test]
fn the_last_request_of_a_connection_is_answered_as_the_last() {
    let up = RawOrigin::usual();
    let gateway = Gateway::start(&format!(
        "server:\n  limits: {{ requests: 3 }}\nservices: {{ up: {{ targets: [\"http://{}\"] }}, echo: {{ mock: {{ echo: true }} }} }}
routes: [{{ name: up, match: {{ path: /up }}, to: up }}, {{ name: echo, match: {{ path: /echo }}, to: echo }}]\n",
        up.address
    ));
    for (path, status) in [("/up", 200), ("/echo", 200), ("/nowhere", 404)] {
        let mut client = gateway.client();
        for connection in ["keep-alive", "keep-alive", "close"] {
            let answer = client.get(path);
            assert_eq!((answer.status, answer.header("connection")), (status, Some(connection)), "{path}");
        }
        assert_eq!(client.ends(), End::Closed, "{path}");

        // What was sent ahead is not answered, and takes no answer along.
        let mut client = gateway.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(500));
        let answers: Vec<_> = (0..3).map(|_| client.read()).collect();
        assert!(answers.iter().all(|answer| answer.status == status), "{path}");
        client.finish();
        assert_eq!(client.ends(), End::Closed, "{path}");
    }
    gateway.await_metric("tidegate_connections_ended_total{bound=\"requests\"}", 6.0);
}

/// A gateway that may open 64 files, before a service that answers, one that never does, and one that answers by itself.
fn narrow(up: SocketAddr, hangs: SocketAddr) -> Gateway {
    Gateway::start_with_files(
        64,
        Folder::new(),
        &format!(
            "server:\n  limits: {{ connections_per_client: 1000 }}
services:
  up: {{ targets: [\"http://{up}\"], connections: {{ idle: 0 }} }}
  hangs: {{ targets: [\"http://{hangs}\"] }}
  echo: {{ mock: {{ echo: true }} }}
routes:
  - {{ name: up, match: {{ path: /up }}, to: up }}
  - {{ name: hangs, match: {{ path: /hangs }}, to: hangs }}
  - {{ name: echo, to: echo }}
"
        ),
    )
}

#[test]
fn at_the_limit_of_files_new_connections_are_turned_away_and_those_that_are_there_go_on() {
    let (up, hangs) = (RawOrigin::usual(), RawOrigin::start(|mut talk| talk.until_closed()));
    let gateway = narrow(up.address, hangs.address);
    let mut kept = held(4, || gateway.client());
    let mut crowd = Vec::new();
    for round in 0..200 {
        crowd.extend(Client::try_connect(gateway.address));
        let client = &mut kept[round % 4];
        assert_eq!(client.get("/").status, 200);
        assert_eq!(client.get("/up").status, 200, "the service gets its connection, though it is a new one each time");
    }
    assert!(turned_away(&gateway, "files") > 100.0);
    assert!(kept.iter_mut().all(|client| client.get("/up").status == 200));
    let said = gateway.await_said("was turned away");
    assert!((1..5).contains(&said.matches("was turned away").count()) && !said.contains("could not be accepted"), "{said}");
    drop(crowd);
    eventually("there is room again", || is_served(gateway.client()).then_some(()));
}

#[test]
fn services_that_use_up_the_last_files_take_no_client_its_connection() {
    let (hold, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let (up, hangs) = (
        RawOrigin::usual(),
        RawOrigin::start(move |mut talk| {
            talk.request();
            let _ = wait.lock().unwrap().recv();
        }),
    );
    let gateway = narrow(up.address, hangs.address);
    let mut kept = held(2, || gateway.client());
    // One connection of HTTP/2 brings as many of the service's as it has streams.
    let address = gateway.address;
    let asking = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let client = Arc::new(asking.block_on(H2::connect(address)));
    eventually("no file is left", || {
        for _ in 0..20 {
            let client = client.clone();
            asking.spawn(async move { client.get("/hangs").await });
        }
        assert!(kept.iter_mut().all(|client| client.get("/").status == 200));
        (kept[0].get("/up").status == 502).then_some(())
    });
    // Who comes now waits for nothing.
    assert!(!is_served(gateway.client()));
    assert!(kept.iter_mut().all(|client| client.get("/").status == 200));
    drop(hold);
    asking.shutdown_background();
    eventually("the service is reached again", || (kept[0].get("/up").status == 200).then_some(()));
    eventually("there is room again", || is_served(gateway.client()).then_some(()));
    assert_eq!(gateway.ask("/healthz").0, 200);
}
