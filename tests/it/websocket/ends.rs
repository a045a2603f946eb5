//! Reload, upgrade and the end of the process, with WebSockets open.

use std::sync::{Mutex, mpsc};

use nix::sys::signal::Signal;

use super::gateway;
use crate::support::gateway::Folder;
use crate::support::origin::RawOrigin;
use crate::support::websocket::{BINARY, CLOSE, Got, Socket, TEXT, closing, echoing, frame};
use crate::support::{Gateway, PATIENCE};

#[test]
fn at_the_end_both_sides_are_told_to_come_again_behind_the_frame_under_way() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = RawOrigin::start(move |mut talk| {
        let half = frame(BINARY, &[7; 40_000], None);
        talk.agree("", &half[..20_000]);
        // The service is told at once: nothing is under way to it.
        let got = talk.frame();
        tell.lock().unwrap().send(got.clone()).unwrap();
        talk.say(&half[20_000..]);
        talk.send(TEXT, "too late");
        let Got::Frame(CLOSE, payload) = got else { return };
        talk.send(CLOSE, payload);
        tell.lock().unwrap().send(talk.frame()).unwrap();
    });
    let mut gateway = gateway(origin.address, "");
    let mut socket = Socket::open(gateway.address, "/");
    let mut begun = socket.client.bytes(20_000);
    gateway.terminate();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap().code(), Some(1012));
    begun.extend(socket.client.bytes(20_004));
    assert_eq!(begun, frame(BINARY, &[7; 40_000], None));
    assert_eq!(socket.read().code(), Some(1012));
    socket.close(1012);
    assert_eq!(socket.read(), Got::End);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Got::End);
    assert!(gateway.ended().success());
    let line = gateway.log().pop().unwrap();
    assert_eq!(line["websocket"], serde_json::json!({"by": "gateway", "how": "draining", "code": 1012}), "{line}");
}

#[test]
fn who_is_told_and_does_nothing_does_not_keep_the_process() {
    let origin = RawOrigin::start(|mut talk| {
        talk.agree("", b"");
        talk.until_closed();
    });
    let mut gateway = gateway(origin.address, ", websocket: { close: 300ms }");
    let mut socket = Socket::open(gateway.address, "/");
    gateway.terminate();
    assert_eq!(socket.read().code(), Some(1012));
    assert!(gateway.ended().success());
    assert!(!gateway.said().contains("cut off"), "{}", gateway.said());
}

#[test]
fn an_end_at_once_is_written_down_too() {
    let origin = echoing();
    let mut gateway = gateway(origin.address, ", websocket: { close: 10m }");
    let socket = Socket::open(gateway.address, "/");
    gateway.await_metric("tidegate_websockets{service=\"a\"}", 1.0);
    gateway.signal(Signal::SIGINT);
    assert!(gateway.ended().success());
    let lines = gateway.log();
    assert_eq!((lines.len(), &lines[0]["websocket"]["by"]), (1, &"gateway".into()), "{lines:?}");
    drop(socket);
}

#[test]
fn a_reload_ends_none() {
    let origin = echoing();
    let config = |reply: &str| {
        format!(
            "services: {{ a: {{ targets: [\"http://{}\"], websocket: {{ connections: 1 }} }} }}\nroutes:\n  - {{ name: a, match: {{ path: / }}, to: a }}\n  - {{ name: b, match: {{ path: /b }}, reply: {{ text: {reply} }} }}\n",
            origin.address
        )
    };
    let gateway = Gateway::start(&config("one"));
    let mut socket = Socket::open(gateway.address, "/");
    socket.send(TEXT, "before");
    socket.expect(TEXT, "before");
    assert_eq!(gateway.rewrite(&config("two")), "done");
    assert_eq!(gateway.client().get("/b").text(), "two");
    socket.send(TEXT, "after");
    socket.expect(TEXT, "after");
    // It still counts.
    gateway.client().get_with("/", &crate::support::websocket::asking()).problem(503, "unavailable");
    assert_eq!(gateway.rewrite("routes: [{ name: b, match: { path: /b }, reply: { text: three } }]\n"), "done");
    socket.send(TEXT, "its service is gone from the config");
    socket.expect(TEXT, "its service is gone from the config");
    socket.close(1000);
    socket.expect(CLOSE, closing(1000, ""));
    assert_eq!(gateway.await_log("it", |line| line["status"] == 101)["route"], "a");
}

#[test]
fn an_upgrade_tells_each_to_come_again_and_the_new_process_takes_them() {
    let origin = echoing();
    let config = format!(
        "server:\n  upgrade: {{ socket: upgrade.sock, timeout: 10s }}\nservices: {{ a: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: a, match: {{ path: / }}, to: a }}]\n",
        origin.address
    );
    let mut gateway = Gateway::start_in(Folder::new(), &config);
    let mut socket = Socket::open(gateway.address, "/");
    socket.send(TEXT, "before");
    socket.expect(TEXT, "before");
    let (code, said) = gateway.upgrade(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(socket.read().code(), Some(1012));
    socket.close(1012);
    assert_eq!(socket.read(), Got::End);
    let mut again = Socket::open(gateway.address, "/");
    again.send(TEXT, "after");
    again.expect(TEXT, "after");
    gateway.alone();
    again.send(TEXT, "still");
    again.expect(TEXT, "still");
}
