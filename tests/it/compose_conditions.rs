//! Parts that are asked only when a condition holds.

use std::net::SocketAddr;

use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin};

fn json(body: &'static str) -> Origin {
    Origin::answering(move |_| Answer::new(body.to_owned()))
}

/// A gateway with these services by name and address, and one route with this `compose`.
fn gateway(services: &[(&str, SocketAddr)], compose: &str) -> Gateway {
    let services: String = services.iter().map(|(name, address)| format!("  {name}: {{ targets: [\"http://{address}\"] }}\n")).collect();
    let compose = compose.replace('\n', "\n      ");
    Gateway::start(&format!(
        "services:\n{services}  fixed: {{ mock: {{ headers: {{ Cache-Control: max-age=60 }}, json: {{ plan: pro, none: null, n: 7, items: [1, 2] }} }} }}\n  lost: {{ mock: {{ status: 500 }} }}\nroutes:\n  - name: whole\n    match: {{ path: \"/whole/{{id}}\" }}\n    compose:\n      {compose}\n"
    ))
}

#[test]
fn a_part_is_asked_when_its_condition_holds_and_skipped_when_it_does_not() {
    let offers = json("[1]");
    let gateway = gateway(
        &[("offers", offers.address)],
        r#"parts:
  offers: { get: "offers:/", required: true, when: "parts.user.body.plan == 'pro' && parts.user.status == 200 && query.offers != 'no'" }
  user: { get: "fixed:/" }"#,
    );
    let mut client = gateway.client();
    let user = "{\"plan\":\"pro\",\"none\":null,\"n\":7,\"items\":[1,2]}";
    assert_eq!(client.get("/whole/1?offers=yes").text(), format!("{{\"offers\":[1],\"user\":{user}}}"));
    assert_eq!(offers.seen().len(), 1);
    for query in ["?offers=no", ""] {
        let answer = client.get(&format!("/whole/2{query}"));
        assert_eq!((answer.status, answer.text()), (200, format!("{{\"offers\":null,\"user\":{user}}}")));
        assert_eq!((answer.header("cache-control"), answer.header("tidegate-parts")), (Some("max-age=60"), None), "nothing lacks");
    }
    assert_eq!(offers.seen().len(), 1, "nobody else was asked");
    let line = gateway.await_log("the request", |line| line["path"] == "/whole/2");
    assert_eq!((&line["parts"][0]["result"], &line["parts"][0]["status"]), (&"skipped".into(), &serde_json::Value::Null), "{line}");
    gateway.await_metric("tidegate_parts_total{part=\"offers\",result=\"skipped\",route=\"whole\"}", 2.0);
    gateway.await_metric("tidegate_parts_total{part=\"offers\",result=\"ok\",route=\"whole\"}", 1.0);
}

#[test]
fn what_needs_a_skipped_part_is_skipped_and_told_so_only_beside_what_lacks() {
    let gateway = gateway(
        &[],
        r#"missing: absent
server_timing: true
parts:
  a: { get: "fixed:/", when: "has(query.a)" }
  needs: { get: "fixed:/{parts.a.body.n}", required: true }
  each: { get: "fixed:/{item}", each: "{parts.a.body.items}", shape: { take: n } }
  value: { value: { a: "{parts.a.body.n}", b: 1 } }
  asks: { value: 1, when: "!has(parts.a.body.n)" }
  lost: { get: "lost:/", when: "id == '2'" }"#,
    );
    let mut client = gateway.client();
    let answer = client.get("/whole/1");
    assert_eq!(answer.text(), "{\"value\":{\"b\":1},\"asks\":1}");
    assert_eq!(answer.header("tidegate-parts"), None);
    let timing = answer.header("server-timing").unwrap();
    assert!(timing.starts_with("value;dur=") && !timing.contains("needs"), "{timing}");
    let answer = client.get("/whole/2");
    assert_eq!(answer.header("tidegate-parts"), Some("a;skipped, needs;skipped, each;skipped, value, asks, lost;received-status=500"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = client.get("/whole/1?a");
    let a = "{\"plan\":\"pro\",\"none\":null,\"n\":7,\"items\":[1,2]}";
    assert_eq!(answer.text(), format!("{{\"a\":{a},\"needs\":{a},\"each\":[7,7],\"value\":{{\"a\":7,\"b\":1}}}}"));
}

#[test]
fn a_condition_on_a_part_that_is_missing_does_not_hold_and_says_what_it_is_about() {
    let gateway = gateway(
        &[],
        r#"parts:
  lost: { get: "lost:/" }
  after: { get: "fixed:/", required: true, when: "parts.lost.body.x == 1", shape: { take: n } }
  instead: { get: "fixed:/", when: "parts.lost.status == 500 && !has(parts.lost.body)", shape: { take: n } }"#,
    );
    let answer = gateway.client().get("/whole/1");
    assert_eq!(answer.text(), "{\"lost\":null,\"after\":null,\"instead\":7}");
    assert_eq!(answer.header("tidegate-parts"), Some("lost;received-status=500, after;skipped, instead;received-status=200"));
}

#[test]
fn whoever_keeps_the_answer_is_told_what_a_condition_depends_on() {
    for (condition, control, vary) in [
        ("header['X-Tenant'] == 'a'", Some("max-age=60"), Some("x-tenant")),
        ("'x-flag' in header || query.x == '1'", Some("max-age=60"), Some("x-flag")),
        ("query.x == '1'", Some("max-age=60"), None),
        ("client.ip == '192.0.2.1'", Some("private, max-age=60"), None),
        ("has(consumer.name) || claims.sub == 'a'", Some("private, max-age=60"), None),
    ] {
        let gateway = gateway(&[], &format!("parts:\n  a: {{ get: \"fixed:/\" }}\n  b: {{ get: \"fixed:/\", when: \"{condition}\" }}"));
        let answer = gateway.client().get("/whole/1");
        assert_eq!((answer.header("cache-control"), answer.header("vary")), (control, vary), "{condition}");
        assert_eq!(answer.json()["b"], serde_json::Value::Null, "{condition}");
    }
}

#[test]
fn parts_wait_for_what_they_need_in_every_order() {
    let mut seed = 7_u64;
    let mut roll = |sides: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((seed >> 33) % sides).unwrap()
    };
    // Each part needs some before it in a line that is not the order in which they are written.
    let graphs: Vec<(Vec<usize>, Vec<Vec<usize>>)> = (0..60)
        .map(|_| {
            let count = 2 + roll(7);
            let mut line: Vec<usize> = (0..count).collect();
            (1..count).rev().for_each(|place| line.swap(place, roll(place as u64 + 1)));
            let mut needs = vec![Vec::new(); count];
            for place in 1..count {
                needs[line[place]] = (0..roll(3)).map(|_| line[roll(place as u64)]).collect();
            }
            (line, needs)
        })
        .collect();
    let mut routes = String::new();
    for (number, (_, needs)) in graphs.iter().enumerate() {
        routes += &format!("  - name: r{number}\n    match: {{ path: /r{number} }}\n    compose:\n      parts:\n");
        for (part, needs) in needs.iter().enumerate() {
            let values: String = needs.iter().map(|need| format!(", \"{{parts.p{need}.body}}\"")).collect();
            let when: String = needs.iter().map(|need| format!(" && parts.p{need}.body[0] == {need}")).collect();
            routes += &format!("        p{part}: {{ value: [{part}{values}], when: \"true{when}\" }}\n");
        }
    }
    let gateway = Gateway::start(&format!("services: {{ u: {{ mock: {{}} }} }}\nroutes:\n{routes}"));
    let mut client = gateway.client();
    for (number, (line, needs)) in graphs.iter().enumerate() {
        let mut values = vec![serde_json::Value::Null; needs.len()];
        for part in line {
            let of_needs = needs[*part].iter().map(|need| values[*need].clone());
            values[*part] = std::iter::once((*part).into()).chain(of_needs).collect();
        }
        let answer = client.get(&format!("/r{number}")).json();
        let said: Vec<_> = (0..needs.len()).map(|part| answer[format!("p{part}")].clone()).collect();
        assert_eq!(said, values, "{needs:?}");
    }
}

#[test]
fn conditions_that_cannot_work_are_refused_with_their_place() {
    for (parts, place, told) in [
        ("a: { get: \"u:/\", when: \"query.x ==\" }", "a.when", "this is no condition"),
        ("a: { value: 1, when: \"x == 1\" }", "a.when", "`x` stands for nothing here"),
        ("a: { get: \"u:/\", when: \"parts.b.body == 1\" }", "a.when", "there is no part `b`"),
        ("a: { get: \"u:/\", when: \"parts.a.body == 1\" }", "parts.a", "a needs a"),
        ("a: { get: \"u:/\", when: \"parts.b.body == 1\" }, b: { value: \"{parts.a.body}\" }", "parts.a", "a needs b needs a"),
        ("a: { get: \"u:/\", when: \"parts.b.status == 200\" }, b: { value: 1 }", "a.when", "`b` is not one answer, and has no status"),
        ("a: { get: \"u:/\", when: \"item == 1\" }", "a.when", "`item` stands for nothing here"),
        ("a: { get: \"u:/\", when: [] }", "a.when", "string"),
    ] {
        let text = format!(
            "services: {{ u: {{ mock: {{}} }} }}\nroutes: [{{ name: a, match: {{ path: /a }}, compose: {{ parts: {{ {parts} }} }} }}]\n"
        );
        let (right, said) = check(&text);
        assert!(!right && said.contains(told) && said.contains(&format!("{place}: ")), "{parts}: {said}");
    }
}
