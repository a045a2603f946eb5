use serde_json::json;

use super::super::{Bounds, Document, Out};
use super::{Shape, ShapeConfig};

fn build(config: serde_json::Value) -> Result<Shape, crate::building::Errors> {
    Shape::build(&serde_json::from_value::<ShapeConfig>(config).unwrap())
}

/// The body in its shape; `-` where nothing is left.
fn shaped(config: serde_json::Value, body: &str) -> String {
    let shape = build(config).unwrap();
    let document = Document::parse(body.to_owned(), Bounds::default()).unwrap();
    let Some(shaped) = shape.of(document.root()) else { return "-".to_owned() };
    let mut out = Out::new(usize::MAX, 0);
    shaped.write(&mut out);
    String::from_utf8(out.finish().unwrap()).unwrap()
}

#[track_caller]
fn check(config: serde_json::Value, cases: &[(&str, &str)]) {
    for (body, expected) in cases {
        assert_eq!(shaped(config.clone(), body), *expected, "{body}");
    }
}

#[test]
fn without_settings_every_byte_stays() {
    let body = r#"{ "a":1e400 , "\u0061" : [ 12345678901234567890123 ],"a":{ } }"#;
    check(json!({}), &[(body, body), (" 5 ", "5")]);
}

#[test]
fn what_is_taken_is_the_body_and_without_it_nothing_is_left() {
    check(
        json!({"take": "data.0.user"}),
        &[(r#"{"data":[{"user": {"a": 1}}]}"#, r#"{"a": 1}"#), (r#"{"data":[]}"#, "-"), (r#"{"data":[{"user":null}]}"#, "null")],
    );
    check(json!({"take": "items", "pick": ["id"]}), &[(r#"{"items":[{"id":1,"x":2}]}"#, r#"[{"id":1}]"#), (r#"{"items":7}"#, "-")]);
}

#[test]
fn what_is_picked_stays_with_the_way_to_it() {
    check(
        json!({"pick": ["id", "user.name", "tags"]}),
        &[
            (r#"{"x":0,"id": 1 , "user":{"name":"a","password":"b"},"tags":[1, 2]}"#, r#"{"id": 1,"user":{"name":"a"},"tags":[1, 2]}"#),
            (r#"{"user":{"password":"b"}}"#, r#"{"user":{}}"#),
            (r#"{"user":"secret"}"#, "{}"),
            (r#"{"user":[{"name":1,"b":2},"secret",[{"b":3}]]}"#, r#"{"user":[{"name":1},[{}]]}"#),
            (r#"{"\u0069d":1,"id":2,"ID":3}"#, r#"{"\u0069d":1,"id":2}"#),
            ("[]", "[]"),
            ("\"secret\"", "-"),
        ],
    );
}

#[test]
fn what_is_dropped_is_gone_wherever_it_stands() {
    check(
        json!({"drop": ["user.password", "x"]}),
        &[
            (r#"{"a": 1, "x": 2, "b" : 3}"#, r#"{"a": 1,"b" : 3}"#),
            (r#"{"user":[{"password":1,"n":2},{"pass\u0077ord":3,"password":4}]}"#, r#"{"user":[{"n":2},{}]}"#),
            (r#"{"user":5}"#, r#"{"user":5}"#),
        ],
    );
    check(json!({"pick": ["user"], "drop": ["user.password"]}), &[(r#"{"a":1,"user":{"password":1,"n":2}}"#, r#"{"user":{"n":2}}"#)]);
}

#[test]
fn a_new_name_stands_where_the_old_one_stood_and_wins() {
    check(
        json!({"rename": {"user_id": "id", "list.a": "b\\.c"}}),
        &[
            (r#"{"user_id": 1,"x":2}"#, r#"{"id":1,"x":2}"#),
            (r#"{"id":0,"user_id":1}"#, r#"{"id":1}"#),
            (r#"{"id":0}"#, r#"{"id":0}"#),
            (r#"{"list":[{"a":1,"b.c":0},{"b.c":2}]}"#, r#"{"list":[{"b.c":1},{"b.c":2}]}"#),
        ],
    );
    check(json!({"rename": {"a": "b", "b": "a"}}), &[(r#"{"a":1,"b":2}"#, r#"{"b":1,"a":2}"#)]);
}

#[test]
fn a_value_is_moved_through_objects_that_are_made_where_they_are_not() {
    check(
        json!({"move": {"meta.total": "total", "name": "user.profile.name"}}),
        &[
            (r#"{"meta":{"total":3,"x":1},"a":0}"#, r#"{"meta":{"x":1},"a":0,"total":3}"#),
            (r#"{"name":"n"}"#, r#"{"user":{"profile":{"name":"n"}}}"#),
            (r#"{"name":"n","user":{"id":1,"profile":{"name":0}}}"#, r#"{"user":{"id":1,"profile":{"name":"n"}}}"#),
            (r#"{"name":"n","user":[]}"#, r#"{"name":"n","user":[]}"#),
            (r#"{"meta":[{"total":3}],"total":4}"#, r#"{"meta":[{"total":3}],"total":4}"#),
        ],
    );
    check(json!({"move": {"a.b": "a"}}), &[(r#"{"a":{"b":1,"c":2}}"#, r#"{"a":1}"#), (r#"{"a":{"c":2}}"#, r#"{"a":{"c":2}}"#)]);
}

#[test]
fn a_move_whose_paths_begin_alike_works_in_each_item() {
    check(
        json!({"take": "r", "move": {"items.product.name": "items.name"}}),
        &[(
            r#"{"r":{"items":[{"product":{"name":1}},{"product":{}},[{"product":{"name":2,"x":3}}]]}}"#,
            r#"{"items":[{"product":{},"name":1},{"product":{}},[{"product":{"x":3},"name":2}]]}"#,
        )],
    );
}

#[test]
fn what_was_moved_in_one_item_does_not_come_again_in_another() {
    check(json!({"move": {"i.c.x": "i.c.y"}}), &[(r#"{"i":[{"c":{"x":1}},{},{"c":{}}]}"#, r#"{"i":[{"c":{"y":1}},{},{"c":{}}]}"#)]);
}

#[test]
fn lifted_members_give_way_to_those_that_are_there() {
    check(
        json!({"flatten": ["a", "b", "b.c"]}),
        &[
            (r#"{"id":0,"a":{"id":1,"x":1},"b":{"x":2,"c":{"y":3}}}"#, r#"{"id":0,"x":2,"y":3}"#),
            (r#"{"a":[{"id":1}],"b":null}"#, r#"{"a":[{"id":1}],"b":null}"#),
            (r#"{"a":{"old":1},"a":{"new":1}}"#, r#"{"new":1}"#),
        ],
    );
}

#[test]
fn everything_at_once_names_the_body_as_it_came() {
    let config = json!({
        "take": "data", "pick": ["id", "person", "meta.etag"], "drop": ["person.ssn"], "rename": {"id": "key", "person.first": "given"},
        "move": {"meta.etag": "person.tag"}, "flatten": ["person"], "wrap": "out.user",
    });
    let body = r#"{"data":{"id":1,"person":{"ssn":"x","first":"A","last":"B"},"meta":{"etag":"e","y":1},"z":1}}"#;
    check(config, &[(body, r#"{"out":{"user":{"key":1,"given":"A","last":"B","tag":"e","meta":{}}}}"#)]);
}

#[test]
fn what_makes_no_sense_is_refused_at_its_place() {
    for (config, place) in [
        (json!({"take": ""}), "take"),
        (json!({"wrap": "a..b"}), "wrap"),
        (json!({"pick": ["a", "b.*.c"]}), "pick[1]"),
        (json!({"pick": ["a", "a.b"]}), "pick[1]"),
        (json!({"drop": ["a.b", "a"]}), "drop[0]"),
        (json!({"pick": ["a"], "drop": ["a"]}), "drop[0]"),
        (json!({"pick": ["a.b"], "drop": ["a"]}), "drop[0]"),
        (json!({"pick": ["a"], "drop": ["b"]}), "drop[0]"),
        (json!({"pick": ["a"], "rename": {"b": "c"}}), "rename.b"),
        (json!({"drop": ["a"], "flatten": ["a.b"]}), "flatten[0]"),
        (json!({"rename": {"a": "b.c"}}), "rename.a"),
        (json!({"rename": {"x.a": "a"}}), "rename.x.a"),
        (json!({"rename": {"a": "c", "b": "c"}}), "rename.b"),
        (json!({"rename": {"a": "b"}, "move": {"a": "c"}}), "move.a"),
        (json!({"move": {"a": "a.b"}}), "move.a"),
        (json!({"move": {"a": "b.c", "b": "x"}}), "move.a"),
        (json!({"move": {"a": "x", "b": "x.y"}}), "move.b"),
        (json!({"rename": {"a": "x"}, "move": {"b": "x.y"}}), "move.b"),
        (json!({"flatten": ["a", "a"]}), "flatten[1]"),
    ] {
        let errors = build(config.clone()).unwrap_err().0;
        assert_eq!(errors[0].path.to_string(), place, "{config}: {errors:?}");
        assert_eq!(errors.len(), 1, "{config}: {errors:?}");
    }
}

#[test]
fn every_mistake_is_told_at_once() {
    let told = |config| build(config).unwrap_err().0.iter().map(|error| error.path.to_string()).collect::<Vec<_>>();
    let no_paths = json!({"take": "", "wrap": "a..b", "pick": ["a", "*"], "rename": {"": "x."}, "drop": ["z"]});
    assert_eq!(told(no_paths), ["take", "wrap", "pick[1]", "rename.", "rename."]);
    let at_odds = json!({
        "pick": ["a", "a.b", "c"], "drop": ["c", "x"], "rename": {"y": "z", "a.q": "q"}, "move": {"a.m": "a.n", "a.o": "a.n"}, "flatten": ["c.d"],
    });
    assert_eq!(told(at_odds), ["pick[1]", "drop[0]", "drop[1]", "rename.y", "flatten[0]", "rename.a.q", "move.a.o"]);
}
