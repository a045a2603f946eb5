//! Who may call by the network that they come from.

use crate::support::client::H2;
use crate::support::gateway::{Folder, check};
use crate::support::{Client, Gateway, block_on, eventually};

const CONFIG: &str = r#"
server:
  listeners: [{ address: "[::]:0" }]
  trusted_proxies: [127.0.0.1/32, "::1/128"]
policies: [request_id]
routes:
  - name: few
    match: { path: /few }
    policies: [{ ip_filter: { allow: [127.0.0.3, 10.0.0.0/8, "2001:db8::/32"], deny: [10.9.0.0/16] } }]
    reply: { text: few }
  - name: most
    match: { path: /most }
    policies: [{ ip_filter: { deny_files: [blocked.txt] } }]
    reply: { text: most }
"#;

fn gateway() -> Gateway {
    let folder = Folder::new();
    folder.file("blocked.txt", "198.51.100.0/24 # of the week\n");
    Gateway::start_in(folder, CONFIG)
}

#[test]
fn the_address_of_the_connection_counts_though_it_comes_to_an_ipv6_socket() {
    let gateway = gateway();
    let address = ([127, 0, 0, 1], gateway.address.port()).into();
    for (own, status) in [([127, 0, 0, 3], 200), ([127, 0, 0, 2], 403)] {
        let mut client = Client::connect_from(own, address);
        // Who is no trusted proxy is not believed.
        let answer = client.get_with("/few", "X-Forwarded-For: 10.1.1.1\r\n");
        assert_eq!(answer.status, status);
        assert_eq!(client.get_with("/few", "X-Forwarded-For: 127.0.0.3\r\n").status, status, "on a connection that goes on");
    }
}

#[test]
fn what_a_trusted_proxy_tells_counts_over_both_versions() {
    let gateway = gateway();
    let address = ([127, 0, 0, 1], gateway.address.port()).into();
    let mut client = Client::connect(address);
    let cases = [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("2001:db8:1::7", 200),
        ("10.9.0.1", 403),
        ("192.0.2.1", 403),
        ("10.1.2.3, 192.0.2.1", 403),
        ("192.0.2.1, 10.1.2.3", 200),
    ];
    for (told, status) in cases {
        let answer = client.get_with("/few", &format!("X-Forwarded-For: {told}\r\n"));
        assert_eq!(answer.status, status, "{told}");
        if status == 403 {
            answer.problem(403, "forbidden");
            assert!(answer.header("x-request-id").is_some(), "it went up through the policies above");
        }
    }
    block_on(async {
        let client = H2::connect(address).await;
        for (told, status) in cases {
            let (head, _) = client.request("GET", "/few", &[("x-forwarded-for", told)], &[]).await;
            assert_eq!(head.status.as_u16(), status, "{told}");
        }
    });
    gateway.await_metric("tidegate_problems_total{kind=\"forbidden\",policy=\"ip_filter\"}", 6.0);
    let line = gateway.await_log("the refusal", |line| line["client"] == "10.9.0.1");
    assert_eq!(line["cause"], "the address is denied", "{line}");
}

#[test]
fn a_list_that_changes_is_read_again() {
    let gateway = gateway();
    let mut client = Client::connect(([127, 0, 0, 1], gateway.address.port()).into());
    let mut status = |told: &str| client.get_with("/most", &format!("X-Forwarded-For: {told}\r\n")).status;
    assert_eq!((status("198.51.100.1"), status("192.0.2.1")), (403, 200));
    let new = gateway.folder.file("new", "192.0.2.1\n");
    std::fs::rename(new, gateway.folder.path().join("blocked.txt")).unwrap();
    eventually("the new list counts", || (status("192.0.2.1") == 403).then_some(()));
    assert_eq!(status("198.51.100.1"), 200);
    // One that is wrong is not taken.
    let result = gateway.reloaded(|| drop(gateway.folder.file("blocked.txt", "192.0.2.1\nwho?\n")));
    assert_eq!((result, status("192.0.2.1")), ("refused", 403));
}

#[test]
fn every_network_that_is_none_is_told_at_once() {
    let (right, said) = check(
        r#"
routes:
  - name: a
    policies: [{ ip_filter: { allow: [10.0.0.0/8, 10.0.0.0/33], deny: [host], deny_files: [none.txt] } }]
    reply: { text: a }
"#,
    );
    assert!(!right);
    for wanted in ["4:51", "`10.0.0.0/33` is no network", "`host` is no network", "cannot read none.txt", "write an address and the length"]
    {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
