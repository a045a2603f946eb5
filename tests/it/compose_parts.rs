//! Parts that are more than one call, or none: a call for each element of an array, and values.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, PATIENCE, RawOrigin};

/// An origin that answers with the array in its name, and another with what it is asked for.
const ITEMS: &str =
    "{\"items\":[{\"id\":1,\"n\":\"a\"},{\"id\":\"b/c\",\"n\":\"\"},{\"id\":3}],\"plain\":[7,\"x y\",true],\"none\":[],\"no\":{}}";

fn orders() -> Origin {
    Origin::answering(|_| json(ITEMS.to_owned()))
}

fn json(body: String) -> Answer {
    http::Response::builder().header("content-type", "application/json").header("cache-control", "max-age=60").body(body).unwrap()
}

/// Answers with what it was asked for.
fn echo() -> Origin {
    Origin::answering(|seen| json(format!("{{\"at\":\"{}\",\"x\":1}}", seen.target)))
}

/// A gateway with these services by name and address, and one route with this `compose`.
fn gateway(services: &[(&str, std::net::SocketAddr)], settings: &str, compose: &str) -> Gateway {
    let services: String =
        services.iter().map(|(name, address)| format!("  {name}: {{ targets: [\"http://{address}\"]{settings} }}\n")).collect();
    let compose = compose.replace('\n', "\n      ");
    Gateway::start(&format!(
        "services:\n{services}  fixed: {{ mock: {{ json: {{ id: 7, none: null }} }} }}\nroutes:\n  - name: whole\n    match: {{ path: \"/whole/{{id}}\" }}\n    compose:\n      {compose}\n"
    ))
}

#[test]
fn a_value_is_a_part_that_asks_nobody_and_waits_for_what_stands_in_it() {
    let gateway = gateway(
        &[],
        "",
        r#"parts:
  settings: { value: { theme: "{query.theme}", user: "{parts.user.body.id}", all: ["{parts.user.body}", 1.50], text: "n{parts.user.body.id} of {id}" } }
  user: { get: "fixed:/" }
  fixed: { value: [1, { a: null }], shape: { take: "1" } }"#,
    );
    let mut client = gateway.client();
    let answer = client.get("/whole/4?theme=dark");
    let all = "[{\"id\":7,\"none\":null},1.5]";
    assert_eq!(
        answer.text(),
        format!(
            "{{\"settings\":{{\"theme\":\"dark\",\"user\":7,\"all\":{all},\"text\":\"n7 of 4\"}},\"user\":{{\"id\":7,\"none\":null}},\"fixed\":{{\"a\":null}}}}"
        )
    );
    assert_eq!((answer.header("tidegate-parts"), answer.header("cache-control")), (None, None));
    let line = gateway.await_log("the request", |line| line["path"] == "/whole/4");
    assert_eq!((&line["parts"][0]["name"], &line["parts"][0]["result"]), (&"settings".into(), &"ok".into()), "{line}");
    assert!(client.get("/whole/4").text().starts_with("{\"settings\":{\"theme\":null,\"user\":7,"), "it is not missing");
}

#[test]
fn what_a_value_lacks_is_missing_in_it_and_the_answer_is_as_fresh_as_what_was_asked() {
    let (orders, lost) = (orders(), Origin::answering(|_| http::Response::builder().status(500).body(String::new()).unwrap()));
    let services = [("orders", orders.address), ("lost", lost.address)];
    let parts = "parts: { a: { value: { one: 1, lost: \"{parts.lost.body.x}\", n: \"{parts.orders.body.items.0.id}\" } }, orders: { get: \"orders:/\", shape: { take: items.0.id } }, lost: { get: \"lost:/\" } }";
    let absent = gateway(&services, "", &format!("missing: absent\n{parts}")).client().get("/whole/1");
    assert_eq!(absent.text(), "{\"a\":{\"one\":1,\"n\":1},\"orders\":1}");
    assert_eq!(absent.header("tidegate-parts"), Some("a, orders;received-status=200, lost;received-status=500"));
    let whole = gateway(&services, "", "parts: { a: { value: 1 }, orders: { get: \"orders:/\", shape: { take: plain.0 } } }");
    assert_eq!(whole.client().get("/whole/1").header("cache-control"), Some("max-age=60"), "a value does not age");
}

#[test]
fn a_part_asks_once_for_each_element_and_its_answers_stand_in_their_order() {
    // The first element is answered once the last was asked for.
    let (told, first) = channel();
    let (told, first) = (Mutex::new(told), Mutex::new(first));
    let products = RawOrigin::start(move |mut talk| {
        let Some(request) = talk.request() else { return };
        let request = String::from_utf8(request).unwrap();
        let target = request.split(' ').nth(1).unwrap();
        match target {
            "/p/1?n=a" => first.lock().unwrap().recv_timeout(PATIENCE).unwrap(),
            "/p/3?n=3" => told.lock().unwrap().send(()).unwrap(),
            _ => {}
        }
        let body = format!("{{\"at\": \"{target}\",\"x\":1}}");
        talk.say(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=9\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    });
    let orders = orders();
    let gateway = gateway(
        &[("orders", orders.address), ("products", products.address)],
        "",
        r#"parts:
  orders: { get: "orders:/", shape: { take: plain } }
  made: { value: [{ id: 1, n: a }, { id: b/c, n: "2" }, { id: 3, n: 3 }] }
  items: { get: "products:/p/{item.id}?n={item.n}", each: "{parts.made.body}", shape: { pick: [at] }, required: true }"#,
    );
    let answer = gateway.client().get("/whole/1");
    assert_eq!(
        answer.text(),
        "{\"orders\":[7,\"x y\",true],\"made\":[{\"id\":1,\"n\":\"a\"},{\"id\":\"b/c\",\"n\":\"2\"},{\"id\":3,\"n\":3}],\"items\":[{\"at\": \"/p/1?n=a\"},{\"at\": \"/p/b%2Fc?n=2\"},{\"at\": \"/p/3?n=3\"}]}"
    );
    assert_eq!((answer.header("tidegate-parts"), answer.header("cache-control")), (None, Some("max-age=9")), "the shortest of all");
    let line = gateway.await_log("the request", |line| line["path"] == "/whole/1");
    assert_eq!((&line["parts"][2]["result"], &line["parts"][2]["calls"]), (&"ok".into(), &3.into()), "{line}");
    gateway.await_metric("tidegate_parts_total{part=\"items\",result=\"ok\",route=\"whole\"}", 1.0);
    gateway.await_metric("tidegate_parts_running{route=\"whole\"}", 0.0);
}

#[test]
fn elements_are_plain_values_too_and_go_into_headers_and_bodies() {
    let (orders, echo) = (orders(), echo());
    let gateway = gateway(
        &[("orders", orders.address), ("echo", echo.address)],
        "",
        r#"parts:
  orders: { get: "orders:/", shape: { take: no } }
  plain: { post: "echo:/{id}/{item}", each: "{parts.orders.body.plain}", parallel: 1, headers: { X-Item: "<{item}>" }, body: { item: "{item}", all: "{parts.orders.body.none}" } }
  none: { get: "echo:/{item}", each: "{parts.orders.body.none}" }
  last: { get: "echo:/last?{parts.plain.body.2.at}", shape: { take: at, wrap: a } }"#,
    );
    let answer = gateway.client().get("/whole/5");
    assert_eq!(
        answer.text(),
        "{\"orders\":{},\"plain\":[{\"at\":\"/5/7\",\"x\":1},{\"at\":\"/5/x%20y\",\"x\":1},{\"at\":\"/5/true\",\"x\":1}],\"none\":[],\"last\":{\"a\":\"/last?%2F5%2Ftrue\"}}"
    );
    assert_eq!(answer.header("cache-control"), Some("max-age=60"));
    let seen = echo.seen();
    assert_eq!(seen.iter().map(|seen| seen.target.as_str()).collect::<Vec<_>>(), ["/5/7", "/5/x%20y", "/5/true", "/last?%2F5%2Ftrue"]);
    assert_eq!((seen[1].header("x-item"), &seen[1].body[..]), (Some("<x y>"), &b"{\"item\":\"x y\",\"all\":[]}"[..]));
}

#[test]
fn no_more_calls_are_made_at_once_than_the_part_allows() {
    let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (running, most, three) = (now, peak.clone(), Arc::new(Barrier::new(3)));
    let slow = RawOrigin::start(move |mut talk| {
        while talk.request().is_some() {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            three.wait();
            running.fetch_sub(1, Ordering::SeqCst);
            talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Type: application/json\r\n\r\n1");
        }
    });
    let gateway = gateway(
        &[("slow", slow.address)],
        "",
        "timeout: 20s\nparts: { list: { value: [1, 2, 3, 4, 5, 6, 7, 8, 9] }, items: { get: \"slow:/{item}\", each: \"{parts.list.body}\", parallel: 3 } }",
    );
    let answer = gateway.client().get("/whole/1");
    assert_eq!(answer.json()["items"], serde_json::json!([1, 1, 1, 1, 1, 1, 1, 1, 1]));
    assert_eq!(peak.load(Ordering::SeqCst), 3);
}

#[test]
fn an_element_that_fails_leaves_its_place_empty_or_ends_the_whole() {
    let orders = orders();
    let products = Origin::answering(|seen| match seen.target.as_str() {
        "/7" => http::Response::builder().status(404).body("none".to_owned()).unwrap(),
        "/true" => json("{\"b\":2}".to_owned()),
        _ => json("{\"a\":1}".to_owned()),
    });
    let services = [("orders", orders.address), ("products", products.address)];
    let compose = |settings: &str| {
        format!(
            "parts:\n  orders: {{ get: \"orders:/\", shape: {{ take: no }} }}\n  items: {{ get: \"products:/{{item}}\", each: \"{{parts.orders.body.plain}}\", {settings} }}"
        )
    };
    let optional = gateway(&services, "", &compose("shape: { take: a }"));
    let answer = optional.client().get("/whole/1");
    assert_eq!(answer.text(), "{\"orders\":{},\"items\":[null,1,null]}");
    assert_eq!(answer.header("tidegate-parts"), Some("orders;received-status=200, items;error=items_missing;missing=2;of=3"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let line = optional.await_log("the request", |line| line["path"] == "/whole/1");
    let part = &line["parts"][1];
    assert_eq!((&part["result"], &part["calls"], &part["missing"]), (&"items_missing".into(), &3.into(), &2.into()), "{line}");

    let required = gateway(&services, "", &compose("shape: { take: a }, required: true, parallel: 1"));
    let problem = required.client().get("/whole/1").problem(502, "bad-gateway");
    assert_eq!((&problem["part"], &problem["item"], &problem["part_status"]), (&"items".into(), &0.into(), &404.into()), "{problem}");
    assert_eq!(problem["detail"], "the part `items`, asked for element 0, was answered with an error");
}

#[test]
fn where_there_is_no_array_or_too_much_of_one_nobody_is_asked() {
    let (orders, echo) = (orders(), echo());
    let services = [("orders", orders.address), ("echo", echo.address)];
    for (each, settings, said) in [
        ("orders.body.no", "", "error=value_missing"),
        ("orders.body.nothing", "", "error=value_missing"),
        ("orders.body.items", "most: 2", "error=too_many_items"),
    ] {
        let compose = format!(
            "parts: {{ orders: {{ get: \"orders:/\" }}, items: {{ get: \"echo:/{{item.id}}\", each: \"{{parts.{each}}}\", {settings} }} }}"
        );
        let answer = gateway(&services, "", &compose).client().get("/whole/1");
        assert_eq!(answer.json()["items"], serde_json::Value::Null, "{each}");
        assert_eq!(answer.header("tidegate-parts"), Some(format!("orders;received-status=200, items;{said}").as_str()));
        let required = gateway(&services, "", &compose.replace("each:", "required: true, each:"));
        let problem = required.client().get("/whole/1").problem(502, "bad-gateway");
        assert_eq!((&problem["part"], &problem["step"], &problem["item"]), (&"items".into(), &"asking".into(), &serde_json::Value::Null));
    }
    assert_eq!(echo.seen().len(), 0);
    let lacking = gateway(
        &services,
        "",
        "parts: { orders: { get: \"orders:/\" }, items: { get: \"echo:/{item.n}\", each: \"{parts.orders.body.items}\" } }",
    );
    let answer = lacking.client().get("/whole/1");
    assert_eq!(
        answer.json()["items"],
        serde_json::json!([{"at": "/a", "x": 1}, null, null]),
        "an element without its value is not asked for"
    );
    assert_eq!(echo.seen().len(), 1);
}

#[test]
fn the_bodies_of_all_elements_and_the_time_for_them_are_bounded_together() {
    let large = Origin::answering(|_| json(format!("\"{}\"", "x".repeat(398))));
    let list = "list: { value: [1, 2, 3] }";
    let of_size = |size: &str| {
        gateway(
            &[("large", large.address)],
            "",
            &format!("parts: {{ {list}, items: {{ get: \"large:/{{item}}\", each: \"{{parts.list.body}}\", size: {size} }} }}"),
        )
    };
    let all = of_size("1200B").client().get("/whole/1");
    assert_eq!(all.json()["items"].as_array().unwrap().len(), 3, "{}", all.text());
    let over = of_size("1199B").client().get("/whole/1");
    assert_eq!(over.header("tidegate-parts"), Some("list, items;error=http_response_body_size"));

    let slow = RawOrigin::start(|mut talk| {
        let first = talk.request().unwrap_or_default();
        if first.starts_with(b"GET /2 ") {
            return talk.until_closed();
        }
        talk.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\nContent-Type: application/json\r\n\r\n1");
    });
    let gateway = gateway(
        &[("slow", slow.address)],
        "",
        &format!(
            "timeout: 10s\nparts: {{ {list}, items: {{ get: \"slow:/{{item}}\", each: \"{{parts.list.body}}\", parallel: 1, timeout: 300ms }} }}"
        ),
    );
    let started = Instant::now();
    let answer = gateway.client().get("/whole/1");
    assert_eq!(answer.text(), "{\"list\":[1,2,3],\"items\":[1,null,null]}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(answer.header("tidegate-parts"), Some("list, items;error=items_missing;missing=2;of=3"));
}

#[test]
fn the_breaker_of_a_service_holds_for_each_element() {
    let failing = Origin::answering(|_| http::Response::builder().status(503).body(String::new()).unwrap());
    let gateway = gateway(
        &[("failing", failing.address)],
        ", breaker: { failures: 2 }",
        "parts: { list: { value: [1, 2, 3, 4] }, items: { get: \"failing:/{item}\", each: \"{parts.list.body}\", parallel: 1 } }",
    );
    let answer = gateway.client().get("/whole/1");
    assert_eq!(answer.header("tidegate-parts"), Some("list, items;error=items_missing;missing=4;of=4"));
    assert_eq!(failing.seen().len(), 2, "then it is left alone");
}

#[test]
fn a_client_that_leaves_leaves_no_call_for_an_element_behind() {
    let (told, events) = channel();
    let told = Mutex::new(told);
    let slow = RawOrigin::start(move |mut talk| {
        talk.request();
        told.lock().unwrap().send("asked").unwrap();
        talk.until_closed();
        told.lock().unwrap().send("left").unwrap();
    });
    let gateway = gateway(
        &[("slow", slow.address)],
        "",
        "timeout: 60s\nparts: { list: { value: [1, 2, 3, 4, 5] }, items: { get: \"slow:/{item}\", each: \"{parts.list.body}\", parallel: 4 } }",
    );
    let mut client = gateway.client();
    client.send("GET /whole/1 HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
    let four = || [(); 4].map(|()| events.recv_timeout(PATIENCE).unwrap());
    assert_eq!(four(), ["asked"; 4]);
    assert_eq!(gateway.metric("tidegate_parts_running{route=\"whole\"}"), 4.0);
    drop(client);
    assert_eq!(four(), ["left"; 4]);
    gateway.await_metric("tidegate_parts_running{route=\"whole\"}", 0.0);
    gateway.await_metric("tidegate_parts_total{part=\"items\",result=\"cancelled\",route=\"whole\"}", 1.0);
}

#[test]
fn parts_that_cannot_work_are_refused_with_their_place() {
    let list = "l: { value: [1] }";
    for (parts, place, told) in [
        ("a: { value: 1, get: \"u:/\" }", "a.get", "the part is a value, and asks nobody"),
        ("a: { value: 1, timeout: 1s }", "a.timeout", "the part is a value"),
        ("a: { value: 1, size: 1KiB }", "a.size", "the part is a value"),
        ("a: { value: 1, headers: { X: y } }", "a.headers", "the part is a value"),
        ("a: { value: 1, body: {} }", "a.body", "the part is a value"),
        ("a: { value: 1, required: true }", "a.required", "the part is a value"),
        ("a: { value: 1, pass: [404] }", "a.pass", "the part is a value"),
        ("a: { value: [1], each: \"{parts.l.body}\" }", "a.each", "the part is a value"),
        ("a: { value: { x: \"{query.x\" } }", "a.value.x", "a brace without its partner"),
        ("a: { value: \"{parts.b.body}\" }", "a.value", "there is no part `b`"),
        ("a: { value: \"{parts.a.body}\" }", "parts.a", "a needs a"),
        ("a: { value: \"{item}\" }", "a.value", "`{item}` is an element of an array, and there is none here"),
        ("a: { get: \"u:/{item.x}\" }", "a.get", "`{item.x}` is an element of an array"),
        ("a: { get: \"u:/\", each: \"{parts.b.body}\" }", "a.each", "there is no part `b`"),
        ("a: { get: \"u:/\", each: \"{query.x}\" }", "a.each", "`{query.x}` is no array of another part"),
        ("a: { get: \"u:/\", each: \"x{parts.l.body}\" }", "a.each", "is no array of another part"),
        ("a: { get: \"u:/\", each: \"{parts.l.body.}\" }", "a.each", "the path is empty"),
        ("a: { get: \"u:/{item.}\", each: \"{parts.l.body}\" }", "a.get", "the path is empty"),
        ("a: { get: \"u:/\", each: \"{parts.l.body}\", parallel: 0 }", "a.parallel", "0 is out of bounds"),
        ("a: { get: \"u:/\", each: \"{parts.l.body}\", parallel: 65 }", "a.parallel", "65 is out of bounds"),
        ("a: { get: \"u:/\", each: \"{parts.l.body}\", most: 1001 }", "a.most", "1001 is out of bounds"),
        (
            "a: { get: \"u:/\", each: \"{parts.l.body}\", most: 1000 }, b: { get: \"u:/\" }",
            "parts",
            "all parts together may make 1001 calls",
        ),
        ("a: { get: \"u:/\", parallel: 2 }", "a.parallel", "the part asks once"),
        ("a: { get: \"u:/\", most: 2 }", "a.most", "the part asks once"),
        ("a: { get: \"u:/\", each: \"{parts.l.body}\", required: true, pass: [404] }", "a.pass", "none of them can stand for the whole"),
        ("a: { get: \"u:/\", each: \"{parts.a.body}\" }", "parts.a", "a needs a"),
    ] {
        let text = format!(
            "services: {{ u: {{ mock: {{}} }} }}\nroutes: [{{ name: a, match: {{ path: /a }}, compose: {{ parts: {{ {parts}, {list} }} }} }}]\n"
        );
        let (right, said) = check(&text);
        assert!(!right && said.contains(told) && said.contains(&format!("{place}: ")), "{parts}: {said}");
    }
    for (path, settings, told) in [
        ("/{item}", "", "`{item}` is a parameter of the route's path"),
        ("/a", "merge: root,", "the part is an array, and parts are merged"),
    ] {
        let text = format!(
            "services: {{ u: {{ mock: {{}} }} }}\nroutes: [{{ name: a, match: {{ path: \"{path}\" }}, compose: {{ {settings} parts: {{ {list}, a: {{ get: \"u:/\", each: \"{{parts.l.body}}\" }} }} }} }}]\n"
        );
        let (right, said) = check(&text);
        assert!(!right && said.contains(told) && said.contains("parts.a.each: "), "{said}");
    }
}
