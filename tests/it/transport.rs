//! Targets in Unix sockets, and the settings of protocols and connections.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};

use crate::support::gateway::{Folder, check};
use crate::support::{Gateway, PATIENCE, RawOrigin, eventually};

/// A server in a Unix socket, and what each of its connections received.
fn served(folder: &Folder) -> Arc<Mutex<Vec<String>>> {
    let listener = UnixListener::bind(folder.path().join("app.sock")).unwrap();
    let received = Arc::<Mutex<Vec<String>>>::default();
    let kept = received.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let index = kept.lock().unwrap().len();
            kept.lock().unwrap().push(String::new());
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                let text = String::from_utf8_lossy(&piece[..length]).into_owned();
                let ends = text.ends_with("\r\n\r\n");
                kept.lock().unwrap()[index].push_str(&text);
                if ends {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere").unwrap();
                }
            }
        }
    });
    received
}

fn config(settings: &str) -> String {
    format!(
        "server:\n  workers: 1\nservices: {{ up: {{ targets: [\"unix://{{dir}}/app.sock\"]{settings} }} }}\nroutes: [{{ name: up, to: up }}]\n"
    )
}

#[test]
fn a_target_in_a_unix_socket_is_asked_for_localhost_over_a_kept_connection() {
    let folder = Folder::new();
    let received = served(&folder);
    let gateway = Gateway::start_in(folder, &config(""));
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.get("/a").text(), "here");
    }
    let received = received.lock().unwrap().clone();
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0].matches("GET /a HTTP/1.1\r\n").count(), 3);
    assert!(received[0].to_lowercase().contains("\r\nhost: localhost\r\n"), "{received:?}");
    let target = format!("unix://{}/app.sock", gateway.folder.path().display());
    gateway.await_log("the socket", |line| line["target"] == target);
}

#[test]
fn a_socket_that_is_not_there_is_told_of_as_a_target_that_is_not() {
    let gateway = Gateway::start_in(Folder::new(), &config(""));
    let mut client = gateway.client();
    let problem = client.get("/").problem(502, "bad-gateway");
    assert_eq!(problem["detail"], "the service could not be reached");
    let received = served(&gateway.folder);
    assert_eq!(client.get("/").status, 200);
    assert_eq!(received.lock().unwrap().len(), 1);
}

#[test]
fn so_many_connections_are_kept_as_the_config_says() {
    const CLIENTS: usize = 5;
    for (settings, kept) in [(", connections: { idle: 2 }", 2), (", connections: { idle: 0 }", 0), ("", CLIENTS)] {
        let (begun, started) = mpsc::channel();
        let (all, ended) = (Arc::new(Barrier::new(CLIENTS)), Arc::<AtomicUsize>::default());
        let (begun, closed) = (Mutex::new(begun), ended.clone());
        let origin = RawOrigin::start(move |mut talk| {
            while let Some(request) = talk.request() {
                begun.lock().unwrap().send(()).unwrap();
                if request.starts_with(b"GET /together") {
                    all.wait();
                }
                talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
            }
            closed.fetch_add(1, Ordering::Relaxed);
        });
        let services = format!("services: {{ up: {{ targets: [\"http://{}\"]{settings} }} }}", origin.address);
        let gateway = Gateway::start(&format!("server:\n  workers: 1\n{services}\nroutes: [{{ name: up, to: up }}]\n"));
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| gateway.client()).collect();
        for client in &mut clients {
            client.send("GET /together HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        }
        for client in &mut clients {
            started.recv_timeout(PATIENCE).unwrap();
            assert_eq!(client.read().status, 200);
        }
        assert_eq!(origin.received().len(), CLIENTS, "{settings}");
        eventually(&format!("{kept} are kept with `{settings}`"), || (CLIENTS - ended.load(Ordering::Relaxed) == kept).then_some(()));
        if kept > 0 {
            assert_eq!(clients[0].get("/alone").status, 200);
            assert_eq!(origin.received().len(), CLIENTS, "a kept one is used");
            assert_eq!(CLIENTS - ended.load(Ordering::Relaxed), kept, "and kept again");
        }
    }
}

#[test]
fn settings_of_connections_that_cannot_be_are_told_with_their_place_and_their_fix() {
    for (settings, place, fix) in [
        ("protocol: http3", "protocol: ", "`http1`"),
        ("protocol: 2", "protocol: ", "http2"),
        ("protocols: http2", "protocols: unknown key", "did you mean `protocol`?"),
        ("protocol: http2, connections: { streams: 0 }", "connections.streams: 0 is no number", "1 to 1000"),
        ("protocol: http2, connections: { streams: 1001 }", "connections.streams: 1001 is no number", "1 to 1000"),
        ("protocol: http2, connections: { streams: many }", "connections.streams: ", "number"),
        ("protocol: http2, connections: { stream: 1 }", "connections.stream: unknown key", "did you mean `streams`?"),
        ("connections: { idle: -1 }", "connections.idle: ", "0"),
        ("connections: { idle: few }", "connections.idle: ", "number"),
        ("connections: { idles: 1 }", "connections.idles: unknown key", "did you mean `idle`?"),
        ("connections: 8", "connections: ", "mapping"),
        ("connections: { streams: 10 }", "connections.streams: requests share no connection over HTTP/1.1", "protocol: http2"),
    ] {
        let (content, said) = check(&format!("services: {{ up: {{ targets: [\"http://127.0.0.1:9\"], {settings} }} }}\n"));
        assert!(!content && said.contains(&format!("services.up.{place}")) && said.contains(fix), "{settings}:\n{said}");
    }
}
