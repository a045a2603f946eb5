//! Clients and a server as others have written them, with and without compression.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::gateway;
use crate::support::tools::python;

#[test]
fn others_understand_each_other_through_the_gateway_compressed_or_not() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/websocket/peers.py");
    let mut server = Command::new(python()).args([script, "serve"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let gateway = gateway(([127, 0, 0, 1], port.trim().parse::<u16>().unwrap()).into(), "");
    let talk = Command::new(python()).args([script, "talk", &gateway.address.port().to_string()]).output().unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
    assert_eq!(String::from_utf8_lossy(&talk.stdout), "all well\n", "{}", String::from_utf8_lossy(&talk.stderr));
    gateway.await_metric("tidegate_websocket_closes_total{by=\"client\",how=\"closed\",service=\"a\"}", 9.0);
}
