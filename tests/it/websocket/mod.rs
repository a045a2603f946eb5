//! WebSockets through the gateway.

mod bounds;
mod ends;
mod handshake;
mod peers;
mod race;
mod suite;

use crate::support::Gateway;
use crate::support::gateway::check;
use crate::support::websocket::{BINARY, CLOSE, Got, PING, PONG, Socket, TEXT, closing, echoing};

pub fn gateway(address: std::net::SocketAddr, more: &str) -> Gateway {
    Gateway::start(&format!(
        "services:\n  a: {{ targets: [\"http://{address}\"]{more} }}\nroutes:\n  - {{ name: a, match: {{ path: \"/{{rest...}}\" }}, to: a }}\n"
    ))
}

#[test]
fn messages_go_both_ways_until_both_sides_have_said_farewell() {
    let origin = echoing();
    let gateway = gateway(origin.address, "");
    let mut socket = Socket::open(gateway.address, "/chat?room=1");
    socket.send(TEXT, "hello é");
    socket.expect(TEXT, "hello é");
    socket.send(BINARY, vec![7; 70_000]);
    socket.expect(BINARY, vec![7; 70_000]);
    socket.send(PING, "are you there");
    socket.expect(PONG, "are you there");
    socket.send(0x01, "in two ");
    socket.send(PING, "");
    socket.send(0x80, "pieces");
    socket.expect(PONG, "");
    socket.expect(TEXT, "in two pieces");
    gateway.await_metric("tidegate_websockets{service=\"a\"}", 1.0);
    socket.send(CLOSE, closing(1000, "done"));
    socket.expect(CLOSE, closing(1000, "done"));
    assert_eq!(socket.read(), Got::End);
    let line = gateway.await_log("the WebSocket", |line| line["status"] == 101);
    assert_eq!(line["websocket"], serde_json::json!({"by": "client", "how": "closed", "code": 1000}), "{line}");
    assert_eq!((&line["method"], &line["path"], &line["service"]), (&"GET".into(), &"/chat".into(), &"a".into()));
    let sent = line["sent"].as_u64().unwrap();
    assert!(sent > 70_000 && line["received"].as_u64().unwrap() > sent, "{line}");
    gateway.await_metric("tidegate_websockets{service=\"a\"}", 0.0);
    assert_eq!(gateway.metric("tidegate_websocket_closes_total{by=\"client\",how=\"closed\",service=\"a\"}"), 1.0);
    assert_eq!(gateway.metric("tidegate_websocket_messages_total{from=\"client\",service=\"a\"}"), 3.0);
    assert_eq!(gateway.metric("tidegate_websocket_messages_total{from=\"service\",service=\"a\"}"), 3.0);
}

#[test]
fn bounds_that_leave_room_for_nothing_are_refused() {
    for (settings, place, fix) in [
        ("on", "websocket: expected `off`", "write `off`"),
        ("{ idle: 0s }", "websocket.idle: this leaves no time at all", "longer"),
        ("{ close: 0s }", "websocket.close: this leaves no time at all", "longer"),
        ("{ message: 0 }", "websocket.message: no message is as small as that", "1MiB"),
        ("{ connections: 0 }", "websocket.connections: none is ever relayed", "websocket: off"),
        ("{ ideal: 5m }", "websocket.ideal: unknown key `ideal`", "did you mean `idle`?"),
    ] {
        let (taken, said) = check(&format!("services: {{ a: {{ targets: [\"http://127.0.0.1:1\"], websocket: {settings} }} }}\n"));
        assert!(!taken && said.contains(&format!("services.a.{place}")) && said.contains(fix), "{settings}: {said}");
    }
    let (taken, said) = check("services: { a: { mock: {}, websocket: { idle: 1m } } }\n");
    assert!(!taken && said.contains("services.a.websocket: a mock has no targets to choose from"), "{said}");
}
