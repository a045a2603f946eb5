use serde_json::json;

use super::*;
use crate::body::json::{Bounds, Document};
use crate::consumer::{Consumer, Consumers};
use crate::ctx::testing;

const PARAMS: [&str; 2] = ["id", "user"];

fn parse(text: &str) -> Result<Condition, BuildError> {
    let params = PARAMS.map(Box::from);
    Condition::parse(text, Names { params: &params, parts: &["user", "my-orders", "none"] })
}

fn consumer() -> Option<Arc<Consumer>> {
    let config = json!([{"name": "app", "groups": ["gold", "eu"], "labels": {"tier": "1", "a.b": "c"}}]);
    Consumers::build(&serde_json::from_value::<Vec<_>>(config).unwrap()).unwrap().named("app").cloned()
}

fn holds_for(text: &str, body: &str) -> bool {
    let mut req = RequestHeader::build("GET", b"/users/42?page=2&q=a%20b&empty=", None).unwrap();
    req.insert_header("X-Tenant", "acme").unwrap();
    let mut cx = testing::ctx("/users/42", &[("id", 7..9)]);
    let claims = json!({"sub": "ann", "groups": ["beta", "staff"], "age": 40, "org": {"id": 7, "up": null}, "scope": "orders.read users"});
    cx.claims = Some(Arc::new(claims));
    cx.consumer = consumer();
    let body = Document::parse(body.to_owned(), Bounds::default()).unwrap();
    let parts = |part: usize| match part {
        0 => Said { status: Some(200), body: Some(body.root()) },
        1 => Said { status: Some(404), body: None },
        _ => Said::default(),
    };
    parse(text).unwrap_or_else(|error| panic!("{text}: {error:?}")).holds(&req, &cx, &parts)
}

fn holds(text: &str) -> bool {
    holds_for(
        text,
        r#"{"plan": "pro", "n": 3, "big": 12345678901234567890, "half": 1.5, "far": 1e400, "is": true, "nil": null, "tags": ["a", "b"], "items": [{"n": 1}, {"n": 5}], "a.b": {"*": 1}, "é": "\u00e9"}"#,
    )
}

#[test]
fn what_is_true_holds_and_what_is_not_does_not() {
    for text in [
        "true",
        "id == '42' && request.method == \"GET\" && request.path == '/users/42'",
        "header['X-Tenant'] == 'acme' && header[\"x-tenant\"] != 'b' && 'X-TENANT' in header && !('x-other' in header)",
        "query.page == '2' && query.q == 'a b' && int(query.page) > 1 && has(query.page) && !has(query.other) && query.empty == ''",
        "claims.sub == 'ann' && 'beta' in claims.groups && claims.age >= 18 && claims.org.id == 7 && claims['org']['id'] == 7",
        "claims.groups.exists(g, g.startsWith('st')) && claims.groups[1] == 'staff' && size(claims.groups) == 2 && 'org' in claims",
        "claims.org.up == null && has(claims.org.up) && !has(claims.org.down) && claims.org == {'id': 7, 'up': null}",
        "parts.user.body.plan in ['pro', 'team'] && parts.user.body.n > 2.5 && parts.user.body.half == 1.5 && parts.user.body.is",
        "parts.user.body.big == 12345678901234567890u && parts.user.body.big > 1",
        "parts.user.status == 200 && parts['my-orders'].status == 404 && !has(parts.none.status)",
        "parts.user.body.items.all(i, i.n > 0) && parts.user.body.items.filter(i, i.n > 1).size() == 1",
        "parts.user.body.items[1].n == 5 && size(parts.user.body.items) == 2 && parts.user.body.tags.size() == 2 && size(parts.user.body.plan) == 3",
        "parts.user.body.items.map(i, i.n) == [1, 5] && parts.user.body.items.exists_one(i, i.n == 5)",
        "parts.user.body['a.b']['*'] == 1 && parts.user.body['é'] == 'é' && size(parts.user.body['é']) == 1",
        "has(parts.user.body) && has(parts.user.body.nil) && !has(parts['my-orders'].body) && parts.user.body.nil == null",
        "request.path.matches('^/users/[0-9]+$') && matches(query.q, 'a.b') && !id.matches('^4$')",
        "parts.user.body.missing == 1 || parts.user.body.n == 3",
        "has(parts.user.body.x) ? false : client.ip == '192.0.2.1'",
        "type(parts.user.body.n) == int && type(parts.user.body.tags) == list && string(parts.user.body.n) + id == '342'",
        "parts.user.body.items.exists(id, id.n == 5)",
        "consumer.name == 'app' && 'gold' in consumer.groups && !('silver' in consumer.groups) && consumer.groups[1] == 'eu'",
        "consumer.labels.tier == '1' && consumer.labels['a.b'] == 'c' && has(consumer.labels.tier) && !has(consumer.labels.plan)",
        "'tier' in consumer.labels && !('plan' in consumer.labels) && size(consumer.groups) == 2 && consumer.groups.exists(g, g == 'eu')",
        "'orders.read' in scopes && !('orders' in scopes) && size(scopes) == 2 && scopes.all(s, s != 'admin')",
        "size('ab' + query.q) == 5 && query.q.size() == 3 && 'b' in parts.user.body.tags && parts.user.body.tags[int(query.page) - 1] == 'b'",
    ] {
        assert!(holds(text), "{text}");
        assert!(!holds(&format!("!({text})")), "not {text}");
    }
}

#[test]
fn what_cannot_be_worked_out_does_not_hold_and_neither_does_its_opposite() {
    for text in [
        "query.other == '1'",
        "header['x-other'] == 'a'",
        "consumer.labels.plan == 'pro'",
        "consumer.groups[7] == 'gold'",
        "version == 'v1'",
        "claims.none == 1",
        "parts.user.body.x == 1",
        "parts.user.body.far > 1",
        "parts.user.body.plan > 1",
        "parts.user.body.n.x == 1",
        "parts.user.body.tags[7] == 'a'",
        "parts.none.body.x == 1",
        "parts.none.status == 200",
        "parts.user.body.plan.matches('^p') && parts.user.body.n.matches('^3')",
        "1 / (parts.user.body.n - 3) == 1",
        "parts.user.body.n + 9223372036854775807 > 0",
        "int(parts.user.body.plan) == 1",
        "size(parts.user.body.n) == 1",
        "{'a': 1, 'a': 2}.size() == 1",
    ] {
        assert!(!holds(text) && !holds(&format!("!({text})")), "{text}");
    }
    assert!(!holds("parts.user.body.plan") && !holds("1"), "what is no truth value");
}

#[test]
fn mistakes_are_told_when_the_condition_is_read() {
    let long = format!("id == '{}'", "x".repeat(1000));
    let deep = format!("{}true", "!".repeat(500));
    let sum = format!("{}1 > 0", "1+".repeat(400));
    let nested = format!("{}1{} == [1]", "[".repeat(100), "]".repeat(100));
    for (text, reason, fix) in [
        ("", "this is no condition", "CEL"),
        ("id ==", "this is no condition", "query.page"),
        ("id = '1'", "this is no condition", ""),
        ("'unclosed", "this is no condition", ""),
        ("idd == '1'", "`idd` stands for nothing here", "did you mean `id`?"),
        ("banana", "`banana` stands for nothing here", "known here: id, user, request"),
        (".id == '1'", "`.id` stands for nothing here", ""),
        ("headers['a'] == 'b'", "`headers` stands for nothing here", "did you mean `header`?"),
        ("request.methd == 'GET'", "is not a known variable", "request.method"),
        ("request == 'GET'", "`request` is no value, but many", "name one"),
        ("header == {}", "`header` is no value, but many", "header[\"x-name\"]"),
        ("header['a b'] == ''", "`a b` is not a header name", ""),
        ("query.page.x == ''", "`query.page.x` goes into a text", ""),
        ("id.x == ''", "`id.x` goes into a text", ""),
        ("claims == {}", "`claims` is no value", ""),
        ("consumer == {}", "`consumer` is no value, but many", ""),
        ("consumer.nam == 'a'", "`consumer.nam` is nothing that a consumer has", "consumer.groups"),
        ("consumer.name.x == 'a'", "`consumer.name.x` goes into a text", ""),
        ("consumer.labels.a.b == 'c'", "`consumer.labels.a.b` goes into a text", ""),
        ("scopes.read", "`scopes.read` goes into a text", ""),
        ("scope == 'a'", "`scope` stands for nothing here", "did you mean `scopes`?"),
        ("parts == {}", "`parts` is no value", ""),
        ("parts.usr.body == 1", "there is no part `usr`", "did you mean `user`?"),
        ("parts.user == 1", "`parts.user` is nothing that a part has", "parts.user.body"),
        ("parts.user.bdy.x == 1", "`parts.user.bdy.x` is nothing that a part has", ""),
        ("parts.user.status.x == 1", "is nothing that a part has", ""),
        ("has(parts.usr.body)", "there is no part `usr`", ""),
        ("id.startswith('4')", "there is no function `startswith`", "did you mean `startsWith`?"),
        ("now() > 1", "there is no function `now`", "size, contains"),
        ("timestamp('x') > 1", "there is no function `timestamp`", ""),
        ("id.matches(query.x)", "the regex of `matches` is not written out", ""),
        ("id.matches('(')", "`(` is no regex", ""),
        ("id.matches('(a{1000}){1000}')", "is no regex", ""),
        ("id.matches()", "`matches` takes a text and a regex", ""),
        ("parts.user.body.all(a, parts.user.body.all(b, a == b))", "a loop stands within a loop", ""),
        ("User{name: 'x'} == 1", "there are no messages", ""),
        ("parts.user.body.?x == 1", "this is no condition", ""),
        ("parts.user.body.l.all(x, x+x+x+x+x+x+x+x+x+x+x == '')", "a sum has 11 names", "at most 10"),
        (
            "[1].all(a, a == 1) && [1].map(a, a).map(a, a).map(a, a).map(a, a).map(a, a).map(a, a).map(a, a).all(a, a == 1)",
            "more than 8 loops",
            "",
        ),
        ("id+id+id+(id+id+(id+(has(query.x) ? id+id : id+id+id))) == ''", "a sum has 12 names", "at most 10"),
        (&long, "the condition has 1008 bytes", "at most 1000"),
        (&sum, "nested deeper than 32", ""),
        (&nested, "", ""),
        (&deep, "", ""),
    ] {
        let parsed = parse(text);
        // An even number of `!` may be taken for none.
        let Err(error) = parsed else {
            assert!(text.starts_with("!!"), "{text}");
            continue;
        };
        assert!(error.reason.contains(reason) && error.fix.contains(fix), "{text}: {error:?}");
    }
}

#[test]
fn what_it_depends_on_is_known() {
    let condition = parse("header['X-A'] == 'a' && 'x-b' in header && parts['my-orders'].status == 404 && has(parts.user.body.x)").unwrap();
    assert_eq!(condition.headers().collect::<Vec<_>>(), ["x-a", "x-b"]);
    assert_eq!((condition.parts().collect::<Vec<_>>(), condition.statuses().collect::<Vec<_>>()), (vec![1, 0], vec![1]));
    assert!(!condition.is_personal());
    for text in ["claims.sub == 'a'", "'sub' in claims", "has(consumer.name)", "'a' in consumer.groups", "'a' in scopes"] {
        let condition = parse(text).unwrap();
        assert!(condition.is_personal() && condition.asks_caller(), "{text}");
    }
    for text in ["client.ip == 'a'", "client_cert.subject.matches('a')"] {
        let condition = parse(text).unwrap();
        assert!(condition.is_personal() && !condition.asks_caller(), "{text}");
    }
}

#[test]
fn of_a_caller_that_nobody_has_found_out_nothing_can_be_worked_out() {
    let (req, cx) = (RequestHeader::build("GET", b"/users/42", None).unwrap(), testing::ctx("/users/42", &[("id", 7..9)]));
    for (text, verdict) in [
        ("'gold' in consumer.groups", None),
        ("!('gold' in consumer.groups)", None),
        ("'a' in scopes", None),
        ("size(scopes) == 0", None),
        ("has(consumer.name)", Some(false)),
        ("has(claims.sub) || id == '42'", Some(true)),
    ] {
        assert_eq!(parse(text).unwrap().verdict(&req, &cx, &|_| Said::default()), verdict, "{text}");
    }
}

#[test]
fn what_would_look_at_too_much_does_not_hold() {
    let list = |count: usize| format!("{{\"l\": [{}], \"n\": 1}}", vec!["1"; count].join(","));
    let all = "parts.user.body.l.all(x, x == 1)";
    assert!(holds_for(all, &list(4095)) && !holds_for(all, &list(4096)));
    assert!(holds_for("size(parts.user.body.l) > 5000 && parts.user.body.n == 1", &list(100_000)), "nothing of it is looked at");
    let text = |length: usize| format!("{{\"t\": \"{}\"}}", "x".repeat(length));
    let starts = "parts.user.body.t.startsWith('x')";
    assert!(holds_for(starts, &text(64 * 1024)) && !holds_for(starts, &text(64 * 1024 + 1)));
    let deep = format!("{{\"d\": {}{}}}", "[".repeat(127), "]".repeat(127));
    assert!(holds_for("size(parts.user.body.d) == 1 && parts.user.body.d != []", &deep));
}

#[test]
fn what_loops_would_take_too_much_for_does_not_hold() {
    let list = |count: usize, item: &str| format!("[{}]", vec![item; count].join(","));
    let body = |count: usize, others: usize, text: usize| {
        format!("{{\"a\": {}, \"b\": {}, \"t\": \"{}\"}}", list(count, "\"y\""), list(others, "1"), "x".repeat(text))
    };
    // What lies outside is looked at again for each item: values, and text.
    let within = "parts.user.body.a.all(x, !(x in parts.user.body.b))";
    assert!(holds_for(within, &body(100, 1000, 0)) && !holds_for(within, &body(200, 1000, 0)));
    assert!(!holds_for(&format!("!({within})"), &body(200, 1000, 0)), "neither does its opposite");
    let within = "parts.user.body.a.all(x, !parts.user.body.t.contains(x))";
    assert!(holds_for(within, &body(20, 0, 50_000)) && !holds_for(within, &body(22, 0, 50_000)));
    // So is each item, as often as it is named; and there are steps.
    let items = |names: usize| format!("parts.user.body.a.all(x, {})", vec!["x == x"; names].join(" && "));
    assert!(holds_for(&items(10), &body(1500, 0, 0)) && !holds_for(&items(50), &body(1500, 0, 0)));
    assert!(
        holds_for("parts.user.body.a.exists(x, x == 'z') || size(parts.user.body.b) == 9", &body(3000, 9, 0)),
        "many are gone through once"
    );
    // All loops share what there is, and what one makes is what the next goes through.
    let twice = [within, within].join(" && ");
    assert!(holds_for(&twice, &body(15, 0, 30_000)) && !holds_for(&twice, &body(20, 0, 30_000)));
    let doubled = |times: usize| format!("size(parts.user.body.a{}) > 0", ".map(x, [x, x])".repeat(times));
    assert!(holds_for(&doubled(4), &body(100, 0, 0)) && !holds_for(&doubled(8), &body(100, 0, 0)));
    assert!(holds_for("size(parts.user.body.a.map(x, parts.user.body.b)) == 100", &body(100, 1000, 0)));
    assert!(!holds_for("size(parts.user.body.a.map(x, parts.user.body.b)) == 1000", &body(1000, 1000, 0)));
    // A regex that many of its states look for at once takes long, and costs so.
    let mixed = |bytes: usize| format!("{{\"t\": \"{}\"}}", "xy".repeat(bytes / 2));
    let matches = |regex: &str| format!("!parts.user.body.t.matches('{regex}')");
    assert!(holds_for(&matches("^/users/[0-9]+$"), &mixed(20_000)) && holds_for(&matches("(x|y)*x(x|y){120}z"), &mixed(1000)));
    assert!(!holds_for(&matches("(x|y)*x(x|y){120}z"), &mixed(60_000)));
    assert!(holds_for("{'a': 1}.all(k, k == 'a') && ['a', 'b'].filter(x, x > 'a').size() == 1", "{}"));
}

#[test]
fn the_deepest_expressions_find_room_on_the_stack() {
    let deep = |start: &str, step: &str, end: &str, count: usize| format!("{start}{}{end}", step.repeat(count));
    for (text, is_true) in [
        (deep("", "!", "true", 30), true),
        (deep("1", "+1", "> 1", 29), true),
        (deep("[1]", ".map(x, x + 1)", "[0] == 9", 8), true),
        (deep("", "false ? false : ", "true", 20), true),
        (deep("size(", "[", "1", 20) + &"]".repeat(20) + ") == 1", true),
        (deep("parts.user.body.d.map(x, x)", "[0]", " == 1", 25), false),
    ] {
        assert_eq!(holds_for(&text, "{\"d\": [[1]]}"), is_true, "{text}");
    }
}

/// Expressions that are made to take long, with bodies that are about the most that they take.
fn costly() -> Vec<(String, String)> {
    let list = |count: usize, item: &str| format!("[{}]", vec![item; count].join(","));
    let body = |a: String, b: String, t: &str| format!("{{\"a\": {a}, \"b\": {b}, \"t\": \"{t}\"}}");
    let values = |a: usize, b: usize| body(list(a, "1"), list(b, "2"), "");
    let text = |a: usize, t: usize| body(list(a, "\"y\""), list(0, ""), &"x".repeat(t));
    let thick = |a: usize, t: usize| body(list(a, &format!("\"{}\"", "ab".repeat(t / 2))), list(0, ""), "");
    let nested = |a: usize, b: usize| body(list(a, &list(b, "1")), list(0, ""), "");
    let mut dice = crate::body::json::Dice(7);
    let mut mixed = |a: usize, t: usize| {
        let text: String = (0..t).map(|_| dice.pick(&['x', 'y'])).collect();
        body(list(a, "1"), list(0, ""), &text)
    };
    let looped = |piece: &str, end: &str, body: String| {
        let pieces = piece.repeat((LONGEST - 40) / piece.len());
        (format!("parts.user.body.a.all(x, {pieces}{end})"), body)
    };
    let map = |step: &str, count: usize, body: String| {
        let steps = format!(".map(x, {step})").repeat(count);
        (format!("size(parts.user.body.a{steps}) > 0"), body)
    };
    let plain = |text: &str, body: String| (text.to_owned(), body);
    vec![
        plain("!parts.user.body.a.exists(x, x in parts.user.body.b)", values(60, 2000)),
        plain("!parts.user.body.a.exists(x, parts.user.body.b == x)", values(3000, 30)),
        plain("!parts.user.body.a.exists(x, parts.user.body.t.contains(x))", text(16, 64_000)),
        plain("!parts.user.body.a.exists(x, parts.user.body.t.contains(x))", text(4000, 250)),
        plain("parts.user.body.a.all(x, x == 1 && x > 0 && x < 2 && x != 3)", values(4000, 0)),
        plain("parts.user.body.a.map(x, [x]).filter(x, x[0] == 1).exists_one(x, x == 1) || true", values(4000, 0)),
        plain("!parts.user.body.t.matches('(x|y)*x(x|y){120}z')", mixed(0, 1400)),
        plain("!parts.user.body.t.matches('x(x|y){1000}z')", mixed(0, 120)),
        plain("!parts.user.body.t.matches('x(.|y|x){100}z')", mixed(0, 350)),
        plain("!parts.user.body.t.matches('(x|y)*x(x|y){8}z')", mixed(0, 11_000)),
        plain("parts.user.body.a.all(x, !parts.user.body.t.matches('(x|y)*x(x|y){120}z'))", mixed(15, 80)),
        looped("x==x&&", "true", values(100, 0)),
        looped("x==x&&", "true", thick(3, 1000)),
        looped("x<=x&&", "true", thick(3, 1000)),
        looped("x.contains(x)&&", "true", thick(7, 1000)),
        looped("!x.contains('abc')&&", "true", thick(20, 1000)),
        looped("x.matches('^(ab)*$')&&", "true", thick(1, 1000)),
        looped("x.size()>1&&", "true", thick(12, 1000)),
        looped("x!=x+x&&", "true", thick(2, 1000)),
        looped("x==x&&", "true", nested(2, 150)),
        looped("!(2 in x)&&", "true", nested(10, 100)),
        looped("x!=x+x&&", "true", nested(2, 150)),
        looped("x+1==x||", "true", nested(4, 100)),
        looped("[x]!=[x,x]&&", "true", nested(4, 100)),
        map("parts.user.body.b", 1, values(60, 2000)),
        map("[x,x]", 5, values(600, 0)),
        map("x+x", 5, nested(13, 100)),
        map("x+x", 6, thick(5, 1000)),
        map("x+x+x+x+x+x+x+x+x+x", 2, thick(8, 1000)),
        map("x+1", 8, values(1700, 0)),
        plain(&format!("size({}) > 0", ["parts.user.body.a.map(x,[x])"; 8].join("+")), values(500, 0)),
    ]
}

#[test]
fn the_costliest_expressions_are_quick_enough() {
    for (text, body) in costly() {
        let body = Document::parse(body, Bounds::default()).unwrap();
        let parts = |_: usize| Said { status: Some(200), body: Some(body.root()) };
        let (req, cx) = (RequestHeader::build("GET", b"/users/42", None).unwrap(), testing::ctx("/users/42", &[("id", 7..9)]));
        let condition = parse(&text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let started = std::time::Instant::now();
        let holds = condition.holds(&req, &cx, &parts);
        let took = started.elapsed();
        eprintln!("{took:10.1?} {}", text.get(..100).unwrap_or(&text));
        assert!(holds, "{text}: it is not done at all");
        // Without optimisation, and beside other tests.
        assert!(took < std::time::Duration::from_secs(2), "{text}: {took:?}");
    }
}
