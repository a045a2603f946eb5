//! What the requests of a batch say of themselves, and what they cannot.

use serde_json::{Value, json};

use super::{answers, gateway, get, statuses};
use crate::support::certificates::Authority;
use crate::support::gateway::Folder;
use crate::support::{Client, Gateway, Origin};

#[test]
fn who_asks_is_the_same_for_all_and_how_is_each_ones_own() {
    let origin = Origin::start();
    let gateway = gateway(&[("up", origin.address.to_string())], "{ parallel: 1 }");
    let lines = "Authorization: Bearer x\r\nCookie: a=b\r\nAccept-Language: en\r\nAccept-Encoding: gzip\r\nIf-None-Match: \"x\"\r\nRange: bytes=0-1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nIdempotency-Key: 7\r\nX-Forwarded-For: 192.0.2.9\r\n";
    let requests = json!([
        get("1", "/up/1"),
        { "id": "2", "method": "GET", "url": "/up/2", "headers": { "authorization": "Basic eA==", "Accept-Language": "de", "If-None-Match": "\"y\"" } },
    ]);
    assert_eq!(statuses(&answers(&mut gateway.client(), lines, &requests)), [200, 200]);
    let seen = origin.seen();
    let header = |place: usize, name: &str| seen[place].header(name).map(str::to_owned);
    let said = |place| ["authorization", "cookie", "accept-language", "if-none-match"].map(|name| header(place, name).unwrap_or_default());
    assert_eq!(said(0), ["Bearer x", "a=b", "en", ""]);
    assert_eq!(said(1), ["Basic eA==", "a=b", "de", "\"y\""]);
    for name in ["accept-encoding", "range", "x-hop", "idempotency-key", "content-type", "content-length", "transfer-encoding"] {
        assert_eq!(header(0, name), None, "{name}");
    }
    assert_eq!(header(0, "x-forwarded-for").unwrap(), "127.0.0.1", "who is not trusted says nothing of others");
}

#[test]
fn what_a_trusted_proxy_says_of_its_client_is_true_of_all_and_none_says_otherwise() {
    let origin = Origin::start();
    let gateway = Gateway::start(&format!(
        "server:\n  trusted_proxies: [127.0.0.1/32]\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes:\n  - {{ name: up, match: {{ path: /up }}, to: up }}\n  - {{ name: batch, match: {{ path: /batch }}, batch: {{ parallel: 1 }} }}\n",
        origin.address
    ));
    let requests = json!([get("1", "/up"), { "id": "2", "method": "GET", "url": "/up", "headers": { "X-Forwarded-For": "198.51.100.1" } }]);
    let all = answers(&mut gateway.client(), "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\n", &requests);
    assert_eq!(statuses(&all), [200, 400], "{all:#?}");
    let seen = origin.only();
    assert_eq!((seen.header("x-forwarded-for"), seen.header("x-forwarded-proto")), (Some("192.0.2.9, 127.0.0.1"), Some("https")));
    gateway.await_log("the first", |line| line["route"] == "up" && line["client"] == "192.0.2.9");
}

#[test]
fn what_tls_says_of_a_client_is_true_of_all() {
    let (origin, server, clients) = (Origin::start(), Authority::new(), Authority::new());
    let (folder, identity) = (Folder::new(), server.issue("a.test"));
    for (name, text) in [("a.pem", &identity.cert), ("a.key", &identity.key), ("clients.pem", &clients.pem())] {
        folder.file(name, text);
    }
    let gateway = Gateway::start_in(
        folder,
        &format!(
            "server:\n  listeners: [{{ address: \"127.0.0.1:0\", tls: {{ certificates: [{{ cert: a.pem, key: a.key }}], client_ca: clients.pem }} }}]\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes:\n  - {{ name: up, match: {{ path: /up }}, policies: [request: {{ headers: {{ set: {{ X-Subject: \"{{client_cert.subject}}\" }} }} }}], to: up }}\n  - {{ name: batch, match: {{ path: /batch }}, batch: {{}} }}\n",
            origin.address
        ),
    );
    let config = server.client(Some(&clients.issue("app.test")), &["http/1.1"]);
    let mut client = Client::secure(gateway.address, &config, "a.test");
    assert_eq!(statuses(&answers(&mut client, "", &json!([get("1", "/up")]))), [200]);
    let seen = origin.only();
    assert_eq!((seen.header("x-forwarded-proto"), seen.header("x-subject")), (Some("https"), Some("CN=app.test")));
}

#[test]
fn what_is_no_request_is_refused_in_its_place() {
    let origin = Origin::start();
    let gateway = gateway(&[("up", origin.address.to_string())], "{}");
    let with = |name: &str, value: &str| json!({ "id": "1", "method": "GET", "url": "/up/", "headers": { name: value } });
    let of = |method: &str, url: &str| json!({ "id": "1", "method": method, "url": url });
    let many: serde_json::Map<String, Value> = (0..200).map(|count| (format!("x-{count}"), "y".into())).collect();
    let grpc = json!({ "id": "1", "method": "POST", "url": "/up/", "headers": { "Content-Type": "application/grpc" }, "body": "AAAAAAA" });
    let mut batch = of("POST", "/batch");
    batch["body"] = json!({ "requests": [get("1", "/up/")] });
    for (request, status, told) in [
        (with("X", "a\r\nHost: other"), 400, "the header `X` is malformed"),
        (with("X\r\nHost", "other"), 400, "is no name of a header"),
        (with("X", "a\u{0}"), 400, "the header `X` is malformed"),
        (with("Host", "other.test"), 400, "belongs to the connection"),
        (with("Connection", "close"), 400, "belongs to the connection"),
        (with("Upgrade", "websocket"), 400, "belongs to the connection"),
        (with("Transfer-Encoding", "chunked"), 400, "belongs to the connection"),
        (with("Content-Length", "7"), 400, "belongs to the connection"),
        (with("Expect", "100-continue"), 400, "belongs to the connection"),
        (with("TE", "trailers"), 400, "belongs to the connection"),
        (with("Via", "1.1 other"), 400, "belongs to the connection"),
        (with("Forwarded", "for=192.0.2.1"), 400, "belongs to the connection"),
        (with("x-forwarded-proto", "https"), 400, "belongs to the connection"),
        (json!({ "id": "1", "method": "GET", "url": "/up/", "headers": many }), 431, "header fields"),
        (of("GET", &format!("/up/{}", "x".repeat(20_000))), 414, "the request target is longer"),
        (of("GET", "http://gateway.test/up/"), 400, "the url is no path"),
        (of("GET", "up/"), 400, "the url is no path"),
        (of("GET", "/up/a b"), 400, "the url has a ' '"),
        (of("GET", "/up/ HTTP/1.1\r\nX: y"), 400, "the url has a"),
        (of("GET", "/up/%zz"), 400, "the path has a `%` that is not followed by two hex digits"),
        (of("G T", "/up/"), 400, "the method is malformed"),
        (of("CONNECT", "/up/"), 501, "CONNECT is not supported"),
        (of("TRACE", "/up/"), 501, "a TRACE cannot be part of a batch"),
        (grpc, 501, "a call of gRPC cannot be part of a batch"),
        (batch, 400, "a batch cannot be part of a batch"),
    ] {
        let shown: String = request.to_string().chars().take(120).collect();
        let all = answers(&mut gateway.client(), "", &json!([request, get("2", "/echo/")]));
        assert_eq!(statuses(&all), [status, 200], "{shown}: {all:#?}");
        assert_eq!(all[0]["headers"]["content-type"], "application/problem+json", "{shown}");
        assert!(all[0]["body"]["detail"].as_str().unwrap().contains(told), "{shown}: {}", all[0]["body"]);
    }
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
    gateway.await_log("one that never was", |line| line["route"] == "-" && line["status"] == 400 && line["batch"].is_string());
}

#[test]
fn one_with_more_headers_than_any_map_takes_spoils_no_other() {
    let gateway = gateway(&[], "{ size: 8MiB }");
    for count in [101, 24_577, 40_000] {
        let many: serde_json::Map<String, Value> = (0..count).map(|count| (format!("x{count}"), "".into())).collect();
        let all = answers(
            &mut gateway.client(),
            "",
            &json!([{ "id": "1", "method": "GET", "url": "/echo/", "headers": many }, get("2", "/echo/")]),
        );
        assert_eq!(statuses(&all), [431, 200], "{count}: {all:#?}");
        assert_eq!(all[0]["body"]["detail"], "the request has more than 100 header fields");
    }
}

#[test]
fn the_same_path_means_the_same_within_a_batch_and_without() {
    let origin = Origin::start();
    let gateway = gateway(&[("up", origin.address.to_string())], "{}");
    let targets = |from: usize| origin.seen()[from..].iter().map(|seen| seen.target.clone()).collect::<Vec<_>>();
    let mut reached = 0;
    for path in ["/up/a/../b", "/up/../../x", "/up//a", "/up/%41", "/up/a;b", "/up/%2e%2e/up/x", "/up/ä?ö=\"", "/up/a?", "/nowhere"] {
        let before = origin.seen().len();
        let plain = gateway.client().get(path).status;
        let plainly = targets(before);
        let all = answers(&mut gateway.client(), "", &json!([get("1", path)]));
        assert_eq!(statuses(&all), [u64::from(plain)], "{path}");
        assert_eq!(targets(before + plainly.len()), plainly, "{path}");
        reached += plainly.len();
    }
    assert_eq!(reached, 7, "as many as name something that is there");
}

#[test]
fn where_headers_are_listed_no_other_can_be_said() {
    let origin = Origin::start();
    let gateway = gateway(&[("up", origin.address.to_string())], "{ headers: [Accept-Language, Content-Type] }");
    let with = |name: &str| json!({ "id": name, "method": "GET", "url": "/up/", "headers": { name: "x" } });
    let all = answers(&mut gateway.client(), "X-User: ann\r\n", &json!([with("accept-language"), with("X-User"), with("x-user-id")]));
    assert_eq!(statuses(&all), [200, 400, 400]);
    assert_eq!(origin.only().header("x-user"), Some("ann"));
}
