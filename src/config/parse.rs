use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::located::Located;
use super::scalar::{Kind, Scalar};
use super::syntax;
use super::tree::{Entry, Node, Place, Tree, Value};
use crate::building::{ConfigPath, Step};

/// How deep lists and mappings may stand in each other: what reads a tree is recursive.
pub const MAX_DEPTH: usize = 64;

/// How many keys and values a document may have, those behind aliases counted each time: a short file can name a tree of any size.
pub const MAX_NODES: usize = 1_000_000;

/// Reads one YAML document. `${…}` stays as it is written.
///
/// What can be read in spite of an error is in the tree, with [`Value::Broken`] in the place of what cannot; the errors come beside it.
///
/// # Errors
/// Text that is not YAML, a second document, and a document that is too deep or too large: nothing after it can be trusted.
pub fn parse(name: &str, text: &str) -> Result<(Tree, Vec<Located>), Located> {
    let file: Arc<str> = name.into();
    let tree = Tree { root: Node { value: Value::Map(Vec::new()), place: Place { file: 0, line: 1, column: 1 } }, files: vec![file] };
    let mut builder = Builder { tree, stack: Vec::new(), anchors: HashMap::new(), total: 0, documents: 0, errors: Vec::new() };
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match event {
            Ok((event, span)) => builder.take(event, syntax::place(&span.start))?,
            Err(error) => return Err(syntax::error(&builder.tree, &error)),
        }
    }
    Ok((builder.tree, builder.errors))
}

/// A node on its way into its parent, with what its clones cost.
#[derive(Clone)]
struct Grown {
    node: Node,
    nodes: usize,
    height: usize,
}

struct Frame {
    place: Place,
    anchor: usize,
    broken: bool,
    nodes: usize,
    height: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<Node> },
}

struct Builder {
    tree: Tree,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Grown>,
    total: usize,
    documents: usize,
    errors: Vec<Located>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Located> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(self.fatal(place, "a second document begins here", "keep one document: remove the line `---`"));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = matches!(style, ScalarStyle::Plain);
                let value = self.scalar(&text, plain, tag.as_deref(), place);
                self.count(1, place)?;
                let place = if plain && text.is_empty() { self.place_of_key().unwrap_or(place) } else { place };
                self.add(Grown { node: Node { value, place }, nodes: 1, height: 0 }, anchor)?;
            }
            Event::SequenceStart(anchor, tag) => self.open(place, anchor, tag.as_deref(), Inside::List(Vec::new()))?,
            Event::MappingStart(anchor, tag) => {
                self.open(place, anchor, tag.as_deref(), Inside::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => {
                let Some(nodes) = self.anchors.get(&anchor).map(|grown| grown.nodes) else {
                    return Err(self.fatal(place, "this alias is inside of what it names", "write the value itself"));
                };
                // Counted before it is copied: the copy is what the bound is for.
                self.count(nodes, place)?;
                if let Some(grown) = self.anchors.get(&anchor).cloned() {
                    self.add(grown, 0)?;
                }
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Located> {
        self.total += nodes;
        if self.total <= MAX_NODES {
            return Ok(());
        }
        let reason = format!("the document has more than {MAX_NODES} keys and values, with those behind aliases");
        Err(self.fatal(place, &reason, "use fewer aliases (`*name`)"))
    }

    fn scalar(&mut self, text: &str, plain: bool, tag: Option<&Tag>, place: Place) -> Value {
        let Some(tag) = tag else {
            return Value::Scalar(if plain { Scalar::plain(text) } else { Scalar::text(text) });
        };
        if !tag.is_yaml_core_schema() && tag.suffix == "!" {
            return Value::Scalar(Scalar::text(text));
        }
        if !tag.is_yaml_core_schema() || !matches!(tag.suffix.as_str(), "str" | "int" | "float" | "bool" | "null") {
            return self.unknown_tag(tag, place);
        }
        Scalar::tagged(text, &tag.suffix).map(Value::Scalar).unwrap_or_else(|| {
            self.error(place, format!("`{text}` does not fit its tag `!!{}`", tag.suffix), "remove the tag or correct the value");
            Value::Broken
        })
    }

    fn unknown_tag(&mut self, tag: &Tag, place: Place) -> Value {
        self.error(place, format!("the tag `{tag}` is not known here"), "remove the tag");
        Value::Broken
    }

    fn open(&mut self, place: Place, anchor: usize, tag: Option<&Tag>, inside: Inside) -> Result<(), Located> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.too_deep(place));
        }
        self.count(1, place)?;
        let wanted = if matches!(inside, Inside::List(_)) { "seq" } else { "map" };
        let mut broken = false;
        if let Some(tag) = tag.filter(|tag| !(tag.is_yaml_core_schema() && tag.suffix == wanted)) {
            self.unknown_tag(tag, place);
            broken = true;
        }
        self.stack.push(Frame { place, anchor, broken, nodes: 1, height: 1, inside });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Located> {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let value = match frame.inside {
            _ if frame.broken => Value::Broken,
            // Most have one item, and would keep the room of four.
            Inside::List(items) => Value::List(items.into_boxed_slice().into_vec()),
            Inside::Map { entries, .. } => Value::Map(self.merged(entries)),
        };
        let node = Node { value, place: frame.place };
        self.add(Grown { node, nodes: frame.nodes, height: frame.height }, frame.anchor)
    }

    /// Puts a finished node where it belongs: into the list or mapping that is open, or at the root.
    fn add(&mut self, grown: Grown, anchor: usize) -> Result<(), Located> {
        let place = grown.node.place;
        if self.stack.len() + grown.height > MAX_DEPTH {
            return Err(self.too_deep(place));
        }
        if anchor > 0 {
            self.count(grown.nodes, place)?;
            self.anchors.insert(anchor, grown.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            // An empty file is an empty mapping: every part of the config may be left out.
            if !matches!(&grown.node.value, Value::Scalar(Scalar { kind: Kind::Null, .. })) {
                self.tree.root = grown.node;
            }
            return Ok(());
        };
        frame.nodes += grown.nodes;
        frame.height = frame.height.max(grown.height + 1);
        match &mut frame.inside {
            Inside::List(items) => items.push(grown.node),
            Inside::Map { entries, key } => match key.take() {
                None => {
                    let is_word = matches!(grown.node.value, Value::Scalar(_));
                    *key = Some(grown.node);
                    if !is_word {
                        self.error(
                            place,
                            "a key is a single word or text, not a list or mapping",
                            "put a text that begins with `[` or `{` in quotes",
                        );
                    }
                }
                // What stands behind a key that is no text was reported with the key.
                Some(name) if !matches!(name.value, Value::Scalar(_)) => {}
                Some(name) => entries.push(Entry { key: name, value: grown.node }),
            },
        }
        Ok(())
    }

    /// The entries without doubles, and with those that `<<` brings in; the mapping's own win.
    fn merged(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let mut own = Vec::with_capacity(entries.len());
        // Few are compared with each other: most are few, and may be a hundred thousand times there.
        let is_plain = |(number, entry): (usize, &Entry)| {
            let name = entry.name();
            name != "<<" && entries.iter().skip(number + 1).all(|other| other.name() != name)
        };
        if entries.len() <= 8 && entries.iter().enumerate().all(is_plain) {
            own.extend(entries);
            return own;
        }
        let mut places: HashMap<String, Place> = HashMap::with_capacity(entries.len());
        let mut merges = Vec::new();
        for entry in entries {
            let name = entry.name().to_owned();
            if let Some(first) = places.get(&name) {
                let reason = format!("`{name}` is here a second time; the first is at line {}, column {}", first.line, first.column);
                self.error_at(entry.key.place, Some(name), reason, "keep one of the two");
                continue;
            }
            places.insert(name, entry.key.place);
            let is_merge = matches!(&entry.key.value, Value::Scalar(key) if key.text == "<<" && !key.quoted);
            if is_merge { merges.push(entry) } else { own.push(entry) }
        }
        for merge in merges {
            let sources = match merge.value.value {
                Value::List(items) => items,
                _ => vec![merge.value],
            };
            for source in sources {
                let Value::Map(added) = source.value else {
                    let fix = "write `<<: *name` with an anchor (`&name`) at a mapping";
                    self.error_at(merge.key.place, Some("<<".into()), "`<<` merges mappings only".into(), fix);
                    continue;
                };
                for entry in added {
                    if !places.contains_key(entry.name()) {
                        places.insert(entry.name().to_owned(), entry.key.place);
                        own.push(entry);
                    }
                }
            }
        }
        own
    }

    fn place_of_key(&self) -> Option<Place> {
        match &self.stack.last()?.inside {
            Inside::Map { key, .. } => key.as_ref().map(|key| key.place),
            Inside::List(_) => None,
        }
    }

    /// The path to what is read now.
    fn path(&self) -> ConfigPath {
        let step = |frame: &Frame| match &frame.inside {
            Inside::List(items) => Some(Step::Index(items.len())),
            Inside::Map { key: Some(Node { value: Value::Scalar(key), .. }), .. } => Some(Step::Key(key.text.clone())),
            Inside::Map { .. } => None,
        };
        ConfigPath(self.stack.iter().filter_map(step).collect())
    }

    fn error(&mut self, place: Place, reason: impl Into<String>, fix: &str) {
        self.error_at(place, None, reason.into(), fix);
    }

    fn error_at(&mut self, place: Place, key: Option<String>, reason: String, fix: &str) {
        let mut path = self.path();
        path.0.extend(key.map(Step::Key));
        self.errors.push(self.tree.error(place, path, reason, fix));
    }

    fn fatal(&self, place: Place, reason: &str, fix: &str) -> Located {
        self.tree.error(place, self.path(), reason, fix)
    }

    fn too_deep(&self, place: Place) -> Located {
        let reason = format!("lists and mappings stand in each other more than {MAX_DEPTH} deep");
        self.fatal(place, &reason, "write it flatter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Tree {
        let (tree, errors) = parse("t.yaml", text).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        tree
    }

    fn fatal(text: &str) -> String {
        parse("t.yaml", text).unwrap_err().to_string()
    }

    fn errors(text: &str) -> Vec<String> {
        parse("t.yaml", text).unwrap().1.iter().map(ToString::to_string).collect()
    }

    fn place(tree: &Tree, path: &[Step]) -> (u32, u32) {
        let (_, place) = tree.find(&ConfigPath(path.to_vec()));
        (place.line, place.column)
    }

    #[test]
    fn each_part_keeps_its_place() {
        let tree = tree("a: 1\nb:\n  - x: &one !!str y\n    z: |\n      text\n  - {k: [p, 'q']}\nc:\nd: 2\n");
        assert_eq!(place(&tree, &["a".into()]), (1, 4));
        assert_eq!(place(&tree, &["b".into()]), (2, 1));
        assert_eq!(place(&tree, &["b".into(), 0.into()]), (3, 5));
        assert_eq!(place(&tree, &["b".into(), 0.into(), "x".into()]).0, 3);
        assert_eq!(place(&tree, &["b".into(), 0.into(), "z".into()]), (5, 7));
        assert_eq!(place(&tree, &["b".into(), 1.into()]), (6, 5));
        assert_eq!(place(&tree, &["b".into(), 1.into(), "k".into()]), (6, 6));
        assert_eq!(place(&tree, &["b".into(), 1.into(), "k".into(), 1.into()]), (6, 13));
        assert_eq!(place(&tree, &["c".into()]), (7, 1));
    }

    #[test]
    fn an_empty_file_is_an_empty_mapping() {
        for text in ["", "# nothing\n", "---\n", "\u{feff}"] {
            assert_eq!(tree(text).root.value, Value::Map(Vec::new()), "{text:?}");
        }
    }

    #[test]
    fn quoted_and_block_text_is_text() {
        let Value::List(items) = tree("['1', \"true\", 1, !!str 1, ! 1, !!int '1']").root.value else { panic!() };
        let kinds: Vec<Kind> =
            items.iter().map(|item| if let Value::Scalar(scalar) = &item.value { scalar.kind } else { panic!() }).collect();
        assert_eq!(kinds, [Kind::Text, Kind::Text, Kind::Int(1), Kind::Text, Kind::Text, Kind::Int(1)]);
    }

    #[test]
    fn a_key_given_twice_names_both_places() {
        let errors = errors("s:\n  a: 1\n  b: 2\n  a: 3\n  b: 4\n");
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[0], "t.yaml:4:3: s.a: `a` is here a second time; the first is at line 2, column 3\n    fix: keep one of the two");
    }

    #[test]
    fn syntax_errors_have_a_place_and_a_fix() {
        assert!(fatal("a: 1\nb: [1, 2\nc: 3\n").starts_with("t.yaml:3:"), "{}", fatal("a: 1\nb: [1, 2\nc: 3\n"));
        for (text, part) in [
            ("a: b: c\n", "t.yaml:1:5: this is not valid YAML"),
            ("a:\n\tb: 1\n", "fix: indent with spaces"),
            ("a: 'x\n", "fix: close the quotes"),
            ("a: *x\n", "fix: define the anchor"),
            ("a: 1\n---\nb: 2\n", "t.yaml:2:1: a second document begins here"),
        ] {
            assert!(fatal(text).contains(part), "{}", fatal(text));
        }
    }

    #[test]
    fn unknown_tags_and_keys_that_are_no_text_are_refused_and_the_rest_is_read() {
        let errors = errors("a: !secret x\nb: !!int x\n[c]: 1\nd: !!seq {}\n");
        assert_eq!(errors.len(), 4, "{errors:#?}");
        assert!(errors[0].starts_with("t.yaml:1:") && errors[0].contains("the tag `!secret` is not known here"), "{}", errors[0]);
        assert!(errors[1].contains("`x` does not fit its tag `!!int`"), "{}", errors[1]);
        assert!(errors[2].starts_with("t.yaml:3:1: a key is a single word"), "{}", errors[2]);
    }

    #[test]
    fn aliases_and_merges_bring_in_what_they_name() {
        let tree = tree("a: &a {x: 1, y: 2}\nb: *a\nc:\n  <<: [*a, {z: 3, x: 4}]\n  y: 5\n");
        assert_eq!(place(&tree, &["b".into(), "y".into()]), (1, 17));
        let Value::Map(entries) = &tree.find(&ConfigPath(vec!["c".into()])).0.value else { panic!() };
        let text = |entry: &Entry| format!("{}={:?}", entry.name(), entry.value.value);
        let all: Vec<String> = entries.iter().map(text).collect();
        assert_eq!(all, ["y=Scalar(\"5\" (Int(5)))", "x=Scalar(\"1\" (Int(1)))", "z=Scalar(\"3\" (Int(3)))"]);
        assert!(errors("a:\n  <<: 3\n")[0].contains("`<<` merges mappings only"));
    }

    #[test]
    fn aliases_cannot_blow_up_the_document() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let many = vec![format!("*a{}", level - 1); 10].join(", ");
            text += &format!("a{level}: &a{level} [{many}]\n");
        }
        assert!(fatal(&text).contains("the document has more than 1000000"), "{}", fatal(&text));
        assert!(fatal("a: &a [*a]\n").contains("inside of what it names"), "{}", fatal("a: &a [*a]\n"));
    }

    #[test]
    fn depth_is_bounded_through_aliases_too() {
        let deep = |levels: usize, core: &str| format!("{}{core}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse("t.yaml", &deep(MAX_DEPTH, "x")).is_ok());
        assert!(fatal(&deep(MAX_DEPTH + 1, "x")).contains("more than 64 deep"));
        assert!(fatal(&format!("[&a {}, {}]", deep(40, "x"), deep(40, "*a"))).contains("more than 64 deep"));
        assert!(parse("t.yaml", &format!("- &a {}\n- {}\n", deep(40, "x"), deep(20, "*a"))).is_ok());
    }
}
