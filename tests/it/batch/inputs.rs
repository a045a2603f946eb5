//! What is no batch, and configs that cannot be.

use std::process::Command;

use super::gateway;
use crate::support::gateway::{Folder, check};

#[test]
fn what_is_no_batch_is_told_once_and_with_its_place() {
    let gateway = gateway(&[], "{}");
    let mut client = gateway.client();
    let ask = |client: &mut crate::support::Client, body: &str| {
        super::send(client, "", body);
        client.read()
    };
    for (body, at) in [
        ("", "the body"),
        ("{\"requests\":[", "the body"),
        ("[]", "the body"),
        ("{}", "requests"),
        ("{\"requests\":[]}", "requests"),
        ("{\"requests\":[{}],\"x\":1}", "x"),
        ("{\"requests\":[{}]}", "requests[0].id"),
        ("{\"requests\":[{\"id\":\"1\",\"method\":\"GET\",\"url\":\"/\"},{\"id\":\"2\",\"url\":\"/\"}]}", "requests[1].method"),
        (
            "{\"requests\":[{\"id\":\"1\",\"method\":\"GET\",\"url\":\"/\"},{\"id\":\"1\",\"method\":\"GET\",\"url\":\"/\"}]}",
            "requests[1].id",
        ),
        ("{\"requests\":[{\"id\":\"1\",\"method\":\"GET\",\"url\":\"/\",\"dependsOn\":[\"2\"]}]}", "requests[0].dependsOn"),
        ("{\"requests\":[{\"id\":\"1\",\"method\":\"GET\",\"url\":\"/\",\"headers\":{\"a\":1}}]}", "requests[0].headers.a"),
    ] {
        let problem = ask(&mut client, body).problem(400, "bad-request");
        assert_eq!(problem["at"], at, "{body}: {problem}");
    }
    let mut other = |head: &str| {
        client.send(format!("{head}\r\nHost: gateway.test\r\nContent-Length: 2\r\n\r\n{{}}"));
        client.read()
    };
    other("POST /batch HTTP/1.1\r\nContent-Type: text/plain").problem(415, "unsupported-media-type");
    other("POST /batch HTTP/1.1").problem(415, "unsupported-media-type");
    other("POST /batch HTTP/1.1\r\nContent-Type: application/json\r\nContent-Encoding: gzip").problem(415, "unsupported-media-type");
    let refused = other("PUT /batch HTTP/1.1\r\nContent-Type: application/json");
    refused.problem(405, "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("POST"));
    assert_eq!(gateway.client().get("/batch").status, 405);
}

#[test]
fn a_batch_that_cannot_be_is_told_when_the_config_is_read() {
    for (batch, told) in [
        ("{ requests: 0 }", "batch.requests: 0 is no number of requests"),
        ("{ parallel: 1001 }", "batch.parallel: 1001 is no number of requests"),
        ("{ size: 0B }", "batch.size: nothing is as short as that"),
        ("{ answer: 9MiB }", "batch.answer: one answer may be longer than all together"),
        ("{ timeout: 0s }", "batch.timeout"),
        ("{ headers: [Accept, Host] }", "batch.headers[1]: `Host` belongs to the connection"),
        ("{ headers: [\"a b\"] }", "batch.headers[0]: `a b` is no name of a header"),
        ("{ paralel: 1 }", "paralel"),
        ("{}, timeout: 1s", "a batch has a time of its own"),
        ("{}, reply: { text: a }", "a route goes to one place, and this one has `batch` and `reply`"),
    ] {
        let (content, said) = check(&format!("routes: [{{ name: batch, match: {{ path: /batch }}, batch: {batch} }}]\n"));
        assert!(!content && said.contains(told), "{batch}:\n{said}");
    }
    let (content, said) = check("routes: [{ name: batch, match: { path: /batch, methods: [POST] }, batch: {} }]\n");
    assert!(content, "{said}");
}

#[test]
fn it_is_told_where_a_batch_goes() {
    let folder = Folder::new();
    let config = folder.file("tidegate.yaml", "routes: [{ name: all, match: { path: /batch, methods: [POST] }, batch: {} }]\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(["explain", "POST http://a.com/batch", "-c"]).arg(config).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("all") && said.contains("batch"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
