//! What holds for every document, tried on many made by chance. `TIDEGATE_ROUNDS=1000000` tries more of them.

mod dice;
mod plain;

use serde_json::{Value as Json, json};

use super::{Assembly, AssemblyConfig, Bounds, Document, Kind, Out, Shape, ShapeConfig, Value, check};
use crate::building::BuildError;
pub use dice::Dice;

fn each_round(mut round: impl FnMut(&mut Dice)) {
    let rounds = std::env::var("TIDEGATE_ROUNDS").map_or(4_000, |rounds| rounds.parse().unwrap());
    (0..rounds).for_each(|seed| round(&mut Dice(seed)));
}

fn read(text: &str) -> Document {
    Document::parse(text.to_owned(), Bounds::default()).unwrap()
}

/// Puts a text together again from what is seen of it.
fn rebuild(value: Value<'_>, out: &mut Vec<u8>) {
    match value.kind() {
        Kind::Object => {
            out.push(b'{');
            for (place, (name, member)) in value.members().enumerate() {
                out.extend_from_slice(if place > 0 { b"," } else { b"" });
                out.extend_from_slice(name.raw());
                out.push(b':');
                rebuild(member, out);
            }
            out.push(b'}');
        }
        Kind::Array => {
            out.push(b'[');
            for (place, item) in value.items().enumerate() {
                out.extend_from_slice(if place > 0 { b"," } else { b"" });
                rebuild(item, out);
            }
            out.push(b']');
        }
        _ => out.extend_from_slice(value.raw()),
    }
}

#[test]
fn what_is_not_shaped_comes_out_as_it_came() {
    let shape = Shape::default();
    each_round(|dice| {
        let mut text = String::new();
        dice.text(4, &mut text);
        let document = read(&text);
        let mut out = Out::new(usize::MAX, 0);
        shape.of(document.root()).unwrap().write(&mut out);
        assert_eq!(String::from_utf8(out.finish().unwrap()).unwrap(), text.trim_matches([' ', '\n', '\t', '\r']));
        let mut rebuilt = Vec::new();
        rebuild(document.root(), &mut rebuilt);
        let mut plain = false;
        let tight = text.chars().scan(' ', |before, char| {
            if char == '"' && *before != '\\' {
                plain = !plain;
            }
            *before = if char == '\\' && *before == '\\' { ' ' } else { char };
            Some((char, plain))
        });
        let tight: String = tight.filter(|(char, inside)| *inside || !" \n\t\r".contains(*char)).map(|(char, _)| char).collect();
        assert_eq!(String::from_utf8(rebuilt).unwrap(), tight, "{text}");
    });
}

#[test]
fn a_text_with_a_mistake_is_judged_as_another_parser_does() {
    let mut refused = 0;
    each_round(|dice| {
        let mut text = String::new();
        dice.text(3, &mut text);
        let mut text = text.into_bytes();
        for _ in 0..1 + dice.roll(2) {
            let at = dice.roll(text.len());
            let byte = dice.pick(b"{}[]\",:0123456789.eE+-\\utfnl \n\x00\x1f\x80\xc3\xff/");
            match dice.roll(3) {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
            if text.is_empty() {
                return;
            }
        }
        let other = std::str::from_utf8(&text).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(&text).is_ok();
        let ours = check(&text, Bounds::default());
        assert_eq!(ours.is_ok(), other, "{}: {ours:?}", text.escape_ascii());
        assert_eq!(ours, Document::parse(text, Bounds::default()).map(|_| ()));
        refused += usize::from(!other);
    });
    assert!(refused > 300);
}

#[test]
fn a_shape_does_what_the_same_edits_on_a_tree_do() {
    let (mut built, mut changed) = (0, 0);
    each_round(|dice| {
        let config: ShapeConfig = serde_json::from_value(dice.shape()).unwrap();
        let Ok(shape) = Shape::build(&config) else { return };
        built += 1;
        for _ in 0..4 {
            let body = dice.tree(4);
            let document = read(&body.to_string());
            let ours = shape.of(document.root()).map(|shaped| {
                let mut out = Out::new(usize::MAX, 0);
                shaped.write(&mut out);
                let text = String::from_utf8(out.finish().unwrap()).unwrap();
                let tree = serde_json::from_str::<Json>(&text).unwrap();
                // Nothing came twice, so nothing may come out twice.
                assert_eq!(tree.to_string().len(), text.len(), "{} on {body}: {text}", json!(config));
                tree
            });
            changed += usize::from(ours.as_ref() != Some(&body));
            assert_eq!(ours, plain::edit(&config, &body), "{} on {body}", json!(config));
        }
    });
    assert!(built > 300 && changed > 300, "{built} {changed}");
}

/// A template with places in it, some of which lead to nothing.
fn template(dice: &mut Dice, deeper: usize) -> Json {
    match dice.roll(if deeper == 0 { 3 } else { 6 }) {
        0 => json!(format!("{{parts.p{}.body.{}}}", dice.roll(3), dice.path())),
        1 => json!(format!("{{parts.p{}.body}}", dice.roll(3))),
        2 => json!(format!("\"{{parts.p{}.body.{}}}{{{{\n{{x}}", dice.roll(3), dice.path())),
        3 => {
            let item = |dice: &mut Dice| match dice.roll(3) {
                0 => json!(format!("{{parts.p{}.body...}}", dice.roll(3))),
                _ => template(dice, deeper - 1),
            };
            (0..dice.roll(4)).map(|_| item(dice)).collect()
        }
        _ => Json::Object((0..dice.roll(4)).map(|_| (dice.pick(&dice::NAMES).to_owned(), template(dice, deeper - 1))).collect()),
    }
}

#[test]
fn what_is_assembled_is_always_json() {
    let mut written = 0;
    each_round(|dice| {
        let template = template(dice, 3);
        let missing = dice.pick(&["null", "absent"]);
        let config = match dice.roll(3) {
            0 => json!({ "missing": missing }),
            1 => json!({"merge": "root", "missing": missing}),
            _ => json!({"template": template, "missing": missing}),
        };
        let config: AssemblyConfig = serde_json::from_value(config).unwrap();
        let shape = |dice: &mut Dice| Shape::build(&serde_json::from_value(dice.shape()).unwrap()).unwrap_or_default();
        let parts = ["p0", "p1", "p2"].map(|name| (name, shape(dice))).into();
        let mut other = |name: &str| if name == "x" { Ok(()) } else { Err(BuildError::new("unknown", "")) };
        let Ok(assembly) = Assembly::build(&config, parts, &mut other) else { return };
        let documents: Vec<_> = (0..3)
            .map(|_| {
                let mut text = String::new();
                dice.text(4, &mut text);
                (dice.roll(5) > 0).then(|| read(&text))
            })
            .collect();
        let bodies: Vec<_> = documents.iter().map(|document| document.as_ref().map(Document::root)).collect();
        let x = dice.roll(2) == 0;
        let mut out = Out::new(usize::MAX, 0);
        assembly.write(&bodies, &|()| x.then(|| "\u{1}\"\\".into()), &mut out);
        let text = out.finish().unwrap();
        assert_eq!(check(&text, Bounds::default()), Ok(()), "{}\n{}", json!(config), text.escape_ascii());
        written += 1;
    });
    assert!(written > 300);
}
