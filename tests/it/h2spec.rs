//! HTTP/2 as h2spec tries it, case by case, in its strict mode, with a real service behind.

use std::net::SocketAddr;
use std::process::Command;

use crate::support::certificates::Authority;
use crate::support::gateway::Folder;
use crate::support::{Gateway, Nginx, tools};

const CASES: usize = 146;

/// Runs all cases, and gives how many there were and what failed.
fn h2spec(address: SocketAddr, more: &[&str]) -> (usize, Vec<String>) {
    let folder = Folder::new();
    let report = folder.path().join("report.xml");
    let mut run = Command::new(tools::program("h2spec"));
    run.args(["--strict", "--timeout", "10", "--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    let output = run.arg("--junit-report").arg(&report).args(more).output().unwrap();
    let report = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let mut failed = Vec::new();
    let mut cases = 0;
    for case in report.split("<testcase ").skip(1) {
        cases += 1;
        let attribute = |name: &str| case.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap().to_owned();
        if ["<failure", "<error", "<skipped"].iter().any(|wrong| case.contains(wrong)) {
            failed.push(format!("{} {}", attribute("package"), attribute("classname")));
        }
    }
    assert_eq!(output.status.success(), failed.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    (cases, failed)
}

fn gateway(listener: &str, nginx: &Nginx) -> Gateway {
    let (folder, identity) = (Folder::new(), Authority::new().issue("a.test"));
    folder.file("a.pem", &identity.cert);
    folder.file("a.key", &identity.key);
    let up = format!("services: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n", nginx.address);
    Gateway::start_in(folder, &format!("server:\n  listeners: [{{ address: \"127.0.0.1:0\", {listener} }}]\n{up}"))
}

/// Takes any method, with an answer of some length.
fn nginx() -> Nginx {
    let nginx = Nginx::start("error_page 405 =200 /here; location / { try_files /here =404; }");
    std::fs::write(nginx.file("here"), "here ".repeat(2000)).unwrap();
    nginx
}

#[test]
fn every_case_passes_without_tls() {
    let nginx = nginx();
    let gateway = gateway("protocols: [http2]", &nginx);
    assert_eq!(h2spec(gateway.address, &[]), (CASES, Vec::new()));
}

#[test]
fn every_case_passes_over_tls() {
    let nginx = nginx();
    let gateway = gateway("tls: { certificates: [{ cert: a.pem, key: a.key }] }", &nginx);
    assert_eq!(h2spec(gateway.address, &["--tls", "--insecure"]), (CASES, Vec::new()));
}

#[test]
fn beside_http_1_every_case_passes_but_for_a_start_that_is_neither() {
    let nginx = nginx();
    let gateway = gateway("protocols: [http1, http2]", &nginx);
    // What is no preface of HTTP/2 is answered as a malformed request of HTTP/1.1 is: with 400.
    let (cases, failed) = h2spec(gateway.address, &[]);
    assert_eq!((cases, failed.len()), (CASES, 1), "{failed:?}");
    assert!(failed[0].contains("Sends invalid connection preface"), "{failed:?}");
}
