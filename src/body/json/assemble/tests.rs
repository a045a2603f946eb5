use serde_json::{Value as Json, json};

use super::super::{Bounds, Document, ShapeConfig};
use super::*;

const PARTS: [&str; 3] = ["user", "orders", "prefs"];

fn build(config: Json, shapes: &Json) -> Result<Assembly<String>, BuildError> {
    let shape = |name: &str| {
        let config: ShapeConfig = shapes.get(name).map(|shape| serde_json::from_value(shape.clone()).unwrap()).unwrap_or_default();
        Shape::build(&config).unwrap()
    };
    let parts = PARTS.iter().map(|name| (*name, shape(name))).collect();
    let mut other = |name: &str| match name {
        "id" | "none" => Ok(name.to_owned()),
        _ => Err(BuildError::new("unknown", "leave it out")),
    };
    Assembly::build(&serde_json::from_value(config).unwrap(), parts, &mut other)
}

fn write_shaped(config: Json, shapes: &Json, bodies: [&str; 3]) -> String {
    let assembly = build(config, shapes).unwrap();
    let documents = bodies.map(|body| (!body.is_empty()).then(|| Document::parse(body.to_owned(), Bounds::default()).unwrap()));
    let bodies: Vec<_> = documents.iter().map(|document| document.as_ref().map(Document::root)).collect();
    let mut out = Out::new(usize::MAX, 0);
    assembly.write(&bodies, &|name| (name == "id").then(|| "4\"2".into()), &mut out);
    let text = String::from_utf8(out.finish().unwrap()).unwrap();
    assert!(super::super::check(text.as_bytes(), Bounds::default()).is_ok(), "{text}");
    text
}

fn write(config: Json, bodies: [&str; 3]) -> String {
    write_shaped(config, &json!({}), bodies)
}

#[test]
fn parts_stand_under_their_names_and_a_missing_one_is_null_or_absent() {
    let bodies = [" {\"n\": 1e400} ", "", "[ ]"];
    assert_eq!(write(json!({}), bodies), r#"{"user":{"n": 1e400},"orders":null,"prefs":[ ]}"#);
    assert_eq!(write(json!({"missing": "absent"}), bodies), r#"{"user":{"n": 1e400},"prefs":[ ]}"#);
    assert_eq!(write(json!({"missing": "absent"}), ["", "", ""]), "{}");
}

#[test]
fn a_part_whose_shape_leaves_nothing_is_missing() {
    let shapes = json!({"user": {"take": "data"}, "orders": {"wrap": "list"}});
    assert_eq!(write_shaped(json!({}), &shapes, ["{}", "[1]", "0"]), r#"{"user":null,"orders":{"list":[1]},"prefs":0}"#);
}

#[test]
fn of_two_merged_members_the_later_parts_stays_whole() {
    let bodies = [r#"{"id":1,"a":{"x":1},"d":1,"d":2}"#, r#"{"\u0069d":2}"#, r#"{"a":{"y":2}}"#];
    assert_eq!(write(json!({"merge": "root"}), bodies), r#"{"d":1,"d":2,"\u0069d":2,"a":{"y":2}}"#);
    assert_eq!(write(json!({"merge": "root"}), ["", "[1]", ""]), "{}");
    let shapes = json!({"user": {"rename": {"id": "user_id"}}, "orders": {"wrap": "orders"}, "prefs": {"drop": ["a"]}});
    let merged = write_shaped(json!({"merge": "root"}), &shapes, [r#"{"id":1}"#, "[1]", r#"{"a":1,"b":2}"#]);
    assert_eq!(merged, r#"{"user_id":1,"orders":[1],"b":2}"#);
}

#[test]
fn arrays_of_several_parts_become_one() {
    let template = json!({"template": {"all": ["{parts.user.body.a...}", 0, "{parts.orders.body...}", "{parts.prefs.body...}"]}});
    let all = |bodies: [&str; 3]| write(template.clone(), bodies);
    assert_eq!(all([r#"{"a":[1, [2]]}"#, "[ 3 ]", "[{}]"]), r#"{"all":[1, [2],0, 3 ,{}]}"#);
    assert_eq!(all([r#"{"a":[ ]}"#, "", "{\"x\":[1]}"]), r#"{"all":[0]}"#);
    let only = json!({"template": ["{parts.orders.body...}"], "missing": "null"});
    assert_eq!(write(only.clone(), ["", "", ""]), "[]");
    let shapes = json!({"orders": {"take": "data", "pick": ["id"]}});
    assert_eq!(write_shaped(only, &shapes, ["", r#"{"data":[{"id":1,"x":2},{"x":3}]}"#, ""]), r#"[{"id":1},{}]"#);
    let error = build(json!({"template": {"all": "{parts.orders.body...}"}}), &json!({})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "template.all: the items of an array stand only in an array (write `[\"{parts.orders.body...}\"]`, or leave the dots out for the array itself)"
    );
}

#[test]
fn a_part_that_has_no_place_is_told() {
    let assembly = build(json!({"merge": "root"}), &json!({"user": {"take": "a"}, "prefs": {"wrap": "p"}})).unwrap();
    let list = Document::parse("[]", Bounds::default()).unwrap();
    assert_eq!(assembly.fits(0, list.root()), Err(Unfit { part: 0, why: Why::Nothing }));
    assert_eq!(assembly.fits(1, list.root()), Err(Unfit { part: 1, why: Why::NotAnObject }));
    assert_eq!(assembly.fits(2, list.root()), Ok(()));
}

#[test]
fn a_template_places_values_as_they_came_and_texts_within_texts() {
    let template = json!({
        "fixed": [1, null, "{{x}}"], "name": "{parts.user.body.name}", "first": "{parts.orders.body.0}", "all": "{parts.orders.body}",
        "text": "Hi \"{parts.user.body.name}\", {parts.user.body.n} for {id}", "gone": "{parts.prefs.body.x}", "list": ["{none}", "{id}"],
        "no": "{parts.orders.body}!", "{{k}}": {"deep": "{parts.user.body.n}"}
    });
    let bodies = [r#"{"name":"A\u00e9\"","n":1.50}"#, r#"[{"x": 1}]"#, ""];
    let expected = concat!(
        r#"{"fixed":[1,null,"{x}"],"name":"A\u00e9\"","first":{"x": 1},"all":[{"x": 1}],"text":"Hi \"Aé\"\", 1.50 for 4\"2","#,
        r#""gone":null,"list":[null,"4\"2"],"no":null,"{k}":{"deep":1.50}}"#
    );
    assert_eq!(write(json!({ "template": template }), bodies), expected);
    let absent = write(json!({"template": template, "missing": "absent"}), bodies);
    assert_eq!(absent, expected.replace(r#""gone":null,"#, "").replace("null,\"4", "\"4").replace(r#""no":null,"#, ""));
    assert_eq!(write(json!({"template": "{none}", "missing": "absent"}), bodies), "null");
}

#[test]
fn a_whole_body_in_a_template_has_its_shape() {
    let config = json!({"template": ["{parts.user.body}", "{parts.user.body.secret}"]});
    assert_eq!(write_shaped(config, &json!({"user": {"drop": ["secret"]}}), [r#"{"secret":1}"#, "", ""]), "[{},1]");
}

#[test]
fn an_answer_that_is_too_long_is_told() {
    let assembly = build(json!({"template": ["{parts.user.body}", "{parts.user.body}"]}), &json!({})).unwrap();
    let body = Document::string("0123456789");
    for (limit, fits) in [(27, true), (26, false)] {
        let mut out = Out::new(limit, 0);
        assembly.write(&[Some(body.root())], &|_| None, &mut out);
        assert_eq!(out.finish().is_ok(), fits);
    }
}

#[test]
fn what_cannot_be_assembled_is_refused_at_its_place() {
    let wraps = json!({"user": {"wrap": "data.a"}, "prefs": {"wrap": "data.b"}});
    let deep = (0..40).fold(json!(1), |inner, _| json!([inner]));
    for (config, shapes, place) in [
        (json!({"merge": "root", "template": {}}), json!({}), "merge"),
        (json!({"merge": "root"}), wraps, "merge"),
        (json!({"template": {"a": ["x", "{parts.usr.body}"]}}), json!({}), "template.a[1]"),
        (json!({"template": {"a": "{parts.user.body..x}"}}), json!({}), "template.a"),
        (json!({"template": {"a": "{x"}}), json!({}), "template.a"),
        (json!({"template": {"a": "{x}"}}), json!({}), "template.a"),
        (json!({"template": {"{id}": 1}}), json!({}), "template.{id}"),
    ] {
        assert_eq!(build(config.clone(), &shapes).unwrap_err().path.to_string(), place, "{config}");
    }
    assert!(build(json!({ "template": deep }), &json!({})).unwrap_err().reason.contains("deeper than 32"));
    let error = build(json!({"template": "{parts.usr.body}"}), &json!({})).unwrap_err();
    assert_eq!(error.fix, "did you mean `user`?");
}
