//! What a service sees of a request and a client of its answer: who asked, by which way, for which path, and nothing meant for another hop.

use crate::support::client::H2;
use crate::support::{Client, Gateway, Origin, RawOrigin};

/// The peer at 127.0.0.2 is a trusted proxy, the one at 127.0.0.1 is not.
fn gateway(up: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
server:
  trusted_proxies: [127.0.0.2/32, 10.0.0.0/8]
services:
  up: {{ targets: ["http://{up}"] }}
  keep: {{ targets: ["http://{up}"], host: keep }}
  name: {{ targets: ["http://{up}"], host: "api.internal:8443" }}
policies: [request_id]
routes:
  - {{ name: keep, match: {{ path: /keep }}, to: keep }}
  - {{ name: name, match: {{ path: /name }}, to: name }}
  - {{ name: user, match: {{ path: "/users/{{id}}/of/{{org}}" }}, to: up, path: "/{{org}}/v2/{{id}}.json" }}
  - {{ name: files, match: {{ path: "/files/{{rest...}}" }}, to: up, path: "/store/{{rest}}" }}
  - {{ name: all, match: {{ path: "/{{rest...}}" }}, to: up }}
"#
    ))
}

fn with(up: &Origin) -> Gateway {
    gateway(&up.address.to_string())
}

const CLAIMS: &str = "X-Forwarded-For: 203.0.113.9, 198.51.100.7\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.test\r\n\
                      X-Forwarded-Port: 8443\r\nForwarded: for=198.51.100.7;proto=https\r\n";

#[test]
fn what_an_untrusted_peer_says_of_itself_is_replaced() {
    let up = Origin::start();
    let gateway = with(&up);
    assert_eq!(gateway.client().get_with("/a", CLAIMS).status, 200);
    let seen = up.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("gateway.test"));
    assert_eq!(seen.header("x-forwarded-port"), Some(gateway.address.port().to_string().as_str()));
    assert_eq!(seen.header("forwarded"), Some("for=127.0.0.1;host=\"gateway.test\";proto=http"));
    assert_eq!(gateway.await_log("the request", |line| line["path"] == "/a")["client"], "127.0.0.1");
}

#[test]
fn what_a_trusted_proxy_says_is_believed_and_added_to() {
    let up = Origin::start();
    let gateway = with(&up);
    assert_eq!(Client::connect_from([127, 0, 0, 2], gateway.address).get_with("/a", CLAIMS).status, 200);
    let seen = up.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.9, 198.51.100.7, 127.0.0.2"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.test"));
    assert_eq!(seen.header("x-forwarded-port"), Some("8443"));
    let forwarded = seen.header("forwarded").unwrap();
    assert!(forwarded.starts_with("for=198.51.100.7;proto=https, for=127.0.0.2;"), "{forwarded}");
    assert!(forwarded.ends_with("proto=https"), "{forwarded}");
    // The leftmost is what the client itself has sent: only the rightmost that is no trusted proxy counts.
    assert_eq!(gateway.await_log("the request", |line| line["path"] == "/a")["client"], "198.51.100.7");
}

#[test]
fn trusted_hops_are_passed_over_in_the_search_for_the_client() {
    let up = Origin::start();
    let gateway = with(&up);
    let mut proxy = Client::connect_from([127, 0, 0, 2], gateway.address);
    for (path, hops, client) in [
        ("/1", "X-Forwarded-For: 203.0.113.9, 198.51.100.7, 10.1.1.1\r\n", "198.51.100.7"),
        ("/2", "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 198.51.100.8, 10.1.1.1\r\n", "198.51.100.8"),
        ("/3", "X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1"),
        ("/4", "X-Forwarded-For: 203.0.113.9, unknown, 10.1.1.1\r\n", "10.1.1.1"),
        ("/5", "", "127.0.0.2"),
    ] {
        assert_eq!(proxy.get_with(path, hops).status, 200);
        assert_eq!(gateway.await_log(path, |line| line["path"] == path)["client"], client);
    }
}

#[test]
fn via_names_the_gateway_both_ways_with_the_version_of_what_came() {
    let up = Origin::start();
    let gateway = with(&up);
    let answer = gateway.client().get_with("/a", "Via: 1.1 edge\r\n");
    assert_eq!(answer.header("via"), Some("1.1 tidegate"));
    let via = |up: &Origin| {
        let seen = up.last();
        seen.headers.get_all("via").iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(via(&up), "1.1 edge, 1.1 tidegate");
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.0\r\nHost: gateway.test\r\n\r\n");
    assert_eq!(client.read().status, 200);
    assert_eq!(via(&up), "1.0 tidegate");
}

#[test]
fn what_is_meant_for_this_hop_does_not_reach_the_service() {
    let up = Origin::start();
    let gateway = with(&up);
    let lines = "Connection: keep-alive, X-Hop\r\nConnection: x-other-hop\r\nX-Hop: 1\r\nX-Other-Hop: 1\r\nX-End: 1\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: keep-alive\r\nTE: trailers\r\nTrailer: X-Sum\r\nProxy-Authorization: Basic Zm9v\r\n";
    assert_eq!(gateway.client().get_with("/a", lines).status, 200);
    let seen = up.last();
    for name in ["x-hop", "x-other-hop", "keep-alive", "proxy-connection", "te", "proxy-authorization", "upgrade"] {
        assert!(!seen.headers.contains_key(name), "{name}: {:?}", seen.headers);
    }
    assert!(!seen.headers.get("connection").is_some_and(|value| value.to_str().unwrap().to_lowercase().contains("hop")));
    assert_eq!(seen.header("x-end"), Some("1"));
}

#[test]
fn nor_does_any_of_it_where_nothing_else_in_the_request_is() {
    let up = Origin::start();
    let gateway = with(&up);
    for (name, value) in [
        ("Connection", "close"),
        ("Upgrade", "h2c"),
        ("TE", "trailers"),
        ("Trailer", "X-Sum"),
        ("Proxy-Authenticate", "Basic"),
        ("Proxy-Authorization", "Basic Zm9v"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "keep-alive"),
        ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ] {
        assert_eq!(gateway.client().get_with("/a", &format!("{name}: {value}\r\n")).status, 200, "{name}");
        assert_eq!(up.last().header(name), None, "{name}");
    }
}

#[test]
fn a_client_cannot_have_removed_what_the_gateway_vouches_for() {
    let up = Origin::start();
    let gateway = with(&up);
    let own = |name: &str, value: &str| assert_eq!(up.seen().last().unwrap().header(name), Some(value), "{name}");
    for name in ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded", "Host", "Via", "X-Request-Id"]
    {
        let before = up.seen().len();
        let answer = gateway.client().get_with("/a", &format!("Connection: {name}\r\n"));
        // Pingora refuses some of these outright, which serves as well.
        if answer.status == 400 {
            answer.problem(400, "bad-request");
            assert_eq!(up.seen().len(), before, "{name}");
            continue;
        }
        assert_eq!(answer.status, 200, "{name}");
        own("x-forwarded-for", "127.0.0.1");
        own("x-forwarded-proto", "http");
        own("x-forwarded-host", "gateway.test");
        own("x-forwarded-port", &gateway.address.port().to_string());
        own("forwarded", "for=127.0.0.1;host=\"gateway.test\";proto=http");
        own("host", &up.address.to_string());
        own("via", "1.1 tidegate");
        own("x-request-id", answer.header("x-request-id").unwrap());
    }
}

#[test]
fn what_the_service_means_for_its_hop_does_not_reach_the_client() {
    let up = RawOrigin::start(|mut talk| {
        while talk.request().is_some() {
            talk.say(
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nX-End: 1\r\nKeep-Alive: timeout=5\r\n\
                 Proxy-Connection: keep-alive\r\nProxy-Authenticate: Basic\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\n\r\nhere",
            );
        }
    });
    let gateway = gateway(&up.address.to_string());
    let answer = gateway.client().get("/a");
    assert_eq!((answer.status, answer.text().as_str(), answer.header("x-end")), (200, "here", Some("1")));
    for name in ["x-hop", "keep-alive", "proxy-connection", "proxy-authenticate", "trailer", "upgrade"] {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
    assert!(answer.header("connection").is_none_or(|value| !value.to_lowercase().contains("hop")), "{answer:?}");
}

#[test]
fn an_answer_of_http_1_0_reaches_the_client_as_one_of_the_gateways_own_version() {
    let up = RawOrigin::start(|mut talk| {
        let request = talk.request().unwrap();
        let length = if request.starts_with(b"GET /length") { "Content-Length: 4\r\n" } else { "" };
        talk.say(format!("HTTP/1.0 200 OK\r\n{length}\r\nhere"));
    });
    let gateway = gateway(&up.address.to_string());
    let mut client = gateway.client();
    for path in ["/length", "/until-closed"] {
        let answer = client.get(path);
        assert_eq!((answer.line.as_str(), answer.text().as_str()), ("HTTP/1.1 200 OK", "here"), "{path}");
    }
}

#[test]
fn the_host_is_the_targets_or_the_clients_or_a_given_name() {
    let up = Origin::start();
    let gateway = with(&up);
    let own = up.address.to_string();
    for (path, host) in [("/a", own.as_str()), ("/keep", "gateway.test"), ("/name", "api.internal:8443")] {
        assert_eq!(gateway.client().get(path).status, 200);
        let seen = up.last();
        assert_eq!(seen.header("host"), Some(host), "{path}");
        assert_eq!(seen.header("x-forwarded-host"), Some("gateway.test"), "{path}");
    }
}

#[test]
fn a_target_in_absolute_form_reaches_the_service_as_a_path() {
    let up = Origin::start();
    let gateway = with(&up);
    let mut client = gateway.client();
    for (path, seen) in [("/keep", "/keep"), ("/a/../b?c=d", "/b?c=d"), ("", "/")] {
        client.send(format!("GET http://Gateway.test{path} HTTP/1.1\r\nHost: Gateway.test\r\n\r\n"));
        assert_eq!(client.read().status, 200);
        assert_eq!(up.last().target, seen);
    }
}

#[test]
fn a_path_is_made_of_the_routes_parameters() {
    let up = Origin::start();
    let gateway = with(&up);
    let mut client = gateway.client();
    for (path, seen) in [
        ("/users/42/of/acme", "/acme/v2/42.json"),
        ("/users/a%2Fb/of/x%20y?z=1", "/x%20y/v2/a%2Fb.json?z=1"),
        ("/users/%41/of/%7Ea", "/~a/v2/A.json"),
        ("/files/a/b/c.txt", "/store/a/b/c.txt"),
        ("/files/a/../b", "/store/b"),
        ("/files/", "/store/"),
    ] {
        assert_eq!(client.get(path).status, 200, "{path}");
        assert_eq!(up.last().target, seen, "{path}");
    }
}

#[test]
fn a_query_is_kept_byte_for_byte() {
    let up = Origin::start();
    let gateway = with(&up);
    let mut client = gateway.client();
    for query in ["", "a=%2f%2F+b&&c=[1]{2}|^;d&a=../..//&%zz", "?", "=&=", "a=%00%0d%0a"] {
        for path in ["/plain", "/not//plain/../here", "/users/1/of/2"] {
            assert_eq!(client.get(&format!("{path}?{query}")).status, 200, "{query}");
            let seen = up.last().target;
            assert_eq!(seen.split_once('?').map(|(_, query)| query), Some(query), "{path}: {seen}");
        }
    }
}

#[test]
fn what_was_matched_is_what_is_forwarded() {
    let up = Origin::start();
    let gateway = with(&up);
    let mut client = gateway.client();
    for (sent, seen) in [
        ("/a/./b/../c", "/a/c"),
        ("/a/%2e%2E/b", "/b"),
        ("//a///b", "/a/b"),
        ("/a%2fb", "/a%2Fb"),
        ("/%61%2D%7e", "/a-~"),
        ("/a/b/", "/a/b/"),
        ("/a/..", "/"),
        ("/../../a", "/a"),
        ("/{a}|b", "/%7Ba%7D%7Cb"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("/a;b=c/d:e@f!$&'()*+,=", "/a;b=c/d:e@f!$&'()*+,="),
    ] {
        assert_eq!(client.get(sent).status, 200, "{sent}");
        assert_eq!(up.last().target, seen, "{sent}");
        assert_eq!(gateway.await_log(sent, |line| line["path"] == seen)["status"], 200);
    }
}

#[test]
fn a_path_that_servers_read_in_different_ways_is_refused() {
    let up = Origin::start();
    let gateway = with(&up);
    let mut client = gateway.client();
    for sent in ["/a/..%2fb", "/a/..;/b", "/a\\b", "/a%5cb", "/a%00b", "/a%0d%0ab", "/a%zz", "/a%"] {
        client.get(sent).problem(400, "bad-request");
    }
    assert_eq!(client.get("/a").status, 200, "the connection goes on");
    assert_eq!(up.only().target, "/a");
}

#[test]
fn a_hop_is_counted_where_a_request_asks_for_it() {
    let up = Origin::start();
    let gateway = Gateway::start(&format!(
        "services: {{ s: {{ targets: [\"http://{}\"] }} }}\nroutes:\n  - {{ name: a, match: {{ path: /a, methods: [GET, OPTIONS, TRACE] }}, to: s }}\n  - {{ name: b, match: {{ path: /b }}, to: s }}\n",
        up.address
    ));
    let mut client = gateway.client();
    let mut ask = |method: &str, path: &str, left: &str| {
        client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\nMax-Forwards: {left}\r\nCookie: secret\r\n\r\n"));
        client.read()
    };
    assert_eq!(ask("OPTIONS", "/a", "0").status, 204);
    ask("TRACE", "/a", "0").problem(501, "not-implemented");
    ask("TRACE", "/b", "5").problem(501, "not-implemented");
    assert!(up.seen().is_empty());
    for (method, path, sent, seen) in
        [("OPTIONS", "/a", "5", "4"), ("TRACE", "/a", "1", "0"), ("GET", "/a", "0", "0"), ("OPTIONS", "/b", "x", "x")]
    {
        assert_eq!(ask(method, path, sent).status, 200, "{method} {path}");
        assert_eq!(up.last().header("max-forwards"), Some(seen), "{method} {path}");
    }
}

#[test]
fn the_gateway_as_a_whole_can_be_asked_and_nothing_else_of_it() {
    let gateway = Gateway::start("policies: [request_id]\nroutes: [{ name: a, match: {}, reply: { text: here } }]\n");
    let mut client = gateway.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.read();
    assert_eq!((answer.status, answer.header("x-request-id").is_some()), (204, true));
    client.send("GET * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.read().problem(400, "bad-request")["detail"], "the target `*` is for OPTIONS alone");
}

#[tokio::test]
async fn equal_lines_of_an_answer_stay_as_many_as_they_were() {
    const LINES: [(&str, &str); 6] = [
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", "b=2"),
        ("set-cookie", "a=1; Path=/"),
        ("set-cookie", "a=1; Path=/"),
        ("link", "</a>; rel=next"),
        ("link", "</a>; rel=next"),
    ];
    let say = |talk: &mut crate::support::origin::Talk| {
        let lines: String = LINES.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let body = "one line like the other\n".repeat(100);
        talk.say(format!("HTTP/1.1 200 OK\r\n{lines}Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    };
    let up = RawOrigin::start(move |mut talk| {
        while talk.request().is_some() {
            say(&mut talk)
        }
    });
    let gateway = Gateway::start(&format!(
        r#"
services: {{ up: {{ targets: ["http://{0}"] }} }}
policies:
  - request_id
  - hsts
  - cors: {{ origins: ["https://a.test"], credentials: true }}
  - response: {{ headers: {{ rename: {{ Link: X-Link }}, add: {{ Set-Cookie: "a=1; Path=/", Link: "</a>; rel=next" }} }} }}
  - compress
routes: [{{ name: up, to: up }}]
"#,
        up.address
    ));
    let mut cookies: Vec<_> = LINES.iter().filter(|(name, _)| *name == "set-cookie").map(|(_, value)| *value).collect();
    cookies.push("a=1; Path=/");
    let asked = [("accept-encoding", "gzip"), ("origin", "https://a.test")];
    let lines: String = asked.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let answer = gateway.client().get_with("/", &lines);
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(
        (answer.all("set-cookie"), answer.all("x-link"), answer.all("link")),
        (cookies.clone(), vec!["</a>; rel=next"; 2], vec!["</a>; rel=next"],)
    );
    let (head, _) = H2::connect(gateway.address).await.request("GET", "/", &asked, &[]).await;
    assert_eq!(head.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), cookies);
    assert_eq!(head.headers.get_all("x-link").iter().count(), 2);
}
