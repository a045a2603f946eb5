mod access;
mod known;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, Visitor};

pub use self::known::Known;

use self::access::{Entries, Items, Variant};
use super::fault::{Error, Fault, choice, expectation};
use super::scalar::{Kind, Scalar};
use super::tree::{Entry, Node, Value};

/// Reads one node.
#[derive(Clone, Copy)]
pub struct De<'t, 'k> {
    node: &'t Node,
    known: &'k Known,
    /// A key is text, also where it looks like a number, unless a number is asked for.
    key: bool,
}

impl<'t, 'k> De<'t, 'k> {
    /// Reads a value.
    pub fn new(node: &'t Node, known: &'k Known) -> Self {
        Self { node, known, key: false }
    }

    fn key(node: &'t Node, known: &'k Known) -> Self {
        Self { node, known, key: true }
    }

    /// Reads on behalf of a list or mapping. A `Deserialize` impl may refuse a value after it was read: also that belongs to this node.
    fn read<T: DeserializeSeed<'t>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self).map_err(|error| self.locate(error))
    }

    fn invalid<T>(&self, visitor: &dyn de::Expected) -> Result<T, Error> {
        if matches!(self.node.value, Value::Broken) {
            return Err(self.locate(Error::raw(Fault::Consequence)));
        }
        Err(self.locate(Error::raw(Fault::Invalid { found: None, expected: visitor.to_string() })))
    }

    fn locate(&self, error: Error) -> Error {
        error.locate(self.node, self.key)
    }

    /// The text of a scalar, as it was written; not of nothing.
    fn text(&self) -> Option<&'t str> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.kind != Kind::Null || self.key => Some(&scalar.text),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        matches!(&self.node.value, Value::Scalar(Scalar { kind: Kind::Null, .. }))
    }

    fn visit_text<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => visitor.visit_borrowed_str(text).map_err(|error| self.locate(error)),
            None => self.invalid(&visitor),
        }
    }

    fn visit_number<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar(scalar) if scalar.kind.is_number() => self.visit_kind(scalar, visitor),
            _ => self.invalid(&visitor),
        }
    }

    fn visit_kind<V: Visitor<'t>>(self, scalar: &'t Scalar, visitor: V) -> Result<V::Value, Error> {
        let result = match scalar.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Bool(bool) => visitor.visit_bool(bool),
            Kind::Int(int) => match u64::try_from(int) {
                Ok(plus) => visitor.visit_u64(plus),
                Err(_) => visitor.visit_i64(int),
            },
            Kind::Big(big) => visitor.visit_u64(big),
            Kind::Float(float) => visitor.visit_f64(float),
            Kind::Text => visitor.visit_borrowed_str(&scalar.text),
        };
        result.map_err(|error| self.locate(error))
    }

    /// A list; nothing counts as an empty one, since its entries may all be commented out. `gaps` stand for what is taken out where the
    /// place in the list means something.
    fn visit_list<V: Visitor<'t>>(self, gaps: bool, visitor: V) -> Result<V::Value, Error> {
        let items: &'t [Node] = match &self.node.value {
            Value::List(items) => items,
            _ if self.is_null() => &[],
            _ => return self.invalid(&visitor),
        };
        visitor.visit_seq(Items { de: self, rest: items.iter(), gaps }).map_err(|error| self.locate(error))
    }

    /// A mapping; nothing counts as an empty one.
    fn visit_entries<V: Visitor<'t>>(self, fields: Option<&'static [&'static str]>, visitor: V) -> Result<V::Value, Error> {
        let entries: &'t [Entry] = match &self.node.value {
            Value::Map(entries) => entries,
            _ if self.is_null() => &[],
            _ => return self.invalid(&visitor),
        };
        let filled = self.known.names_filled(self.node).into_iter();
        let access = Entries { de: self, rest: entries.iter(), fields, filled, value: None };
        visitor.visit_map(access).map_err(|error| self.blame(entries, error))
    }

    /// A hand-written visitor that refuses a key has read it already: the error belongs to that key, not to the whole mapping.
    fn blame(&self, entries: &[Entry], error: Error) -> Error {
        let entry = error.unknown_name().and_then(|name| entries.iter().find(|entry| entry.name() == name));
        match entry {
            Some(entry) => error.locate(&entry.key, true),
            None => self.locate(error),
        }
    }
}

macro_rules! numbers {
    ($($name:ident)*) => {$(
        fn $name<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
            self.visit_number(visitor)
        }
    )*};
}

impl<'t> Deserializer<'t> for De<'t, '_> {
    type Error = Error;

    numbers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8 deserialize_u16 deserialize_u32
        deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64
    }

    fn deserialize_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar(_) if self.key => self.visit_text(visitor),
            // Whoever takes any value would take another number, or none, for it: JSON knows neither.
            Value::Scalar(scalar) if scalar.is_beyond() => {
                let message =
                    "this number cannot be held as it is written; write a finite one of at most 64 bits, or quote it if it is text";
                Err(self.locate(Error::raw(Fault::Custom(message.to_owned()))))
            }
            Value::Scalar(scalar) => self.visit_kind(scalar, visitor),
            Value::List(_) => self.visit_list(false, visitor),
            Value::Map(_) => self.visit_entries(None, visitor),
            Value::Broken => self.invalid(&visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar(scalar) if matches!(scalar.kind, Kind::Bool(_)) => self.visit_kind(scalar, visitor),
            _ => self.invalid(&visitor),
        }
    }

    fn deserialize_char<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_str<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_string<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => visitor.visit_borrowed_bytes(text.as_bytes()).map_err(|error| self.locate(error)),
            None => self.visit_list(false, visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) };
        result.map_err(|error| self.locate(error))
    }

    fn deserialize_unit<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_unit().map_err(|error| self.locate(error)) } else { self.invalid(&visitor) }
    }

    fn deserialize_unit_struct<V: Visitor<'t>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'t>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self).map_err(|error| self.locate(error))
    }

    fn deserialize_seq<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_list(false, visitor)
    }

    fn deserialize_tuple<V: Visitor<'t>>(self, size: usize, visitor: V) -> Result<V::Value, Error> {
        // serde's own visitors stop reading when they have enough.
        if let Value::List(items) = &self.node.value
            && items.len() != size
        {
            return Err(self.locate(Error::raw(Fault::Length(items.len(), format!("a list of {size} values")))));
        }
        self.visit_list(true, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'t>>(self, _: &'static str, size: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_tuple(size, visitor)
    }

    fn deserialize_map<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_entries(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'t>>(self, _: &'static str, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.visit_entries(Some(fields), visitor)
    }

    fn deserialize_enum<V: Visitor<'t>>(self, _: &'static str, names: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        let (name, content) = match &self.node.value {
            Value::Map(entries) => match entries.as_slice() {
                [entry] if self.known.is_gone(entry) => return Err(self.locate(Error::raw(Fault::Consequence))),
                [entry] => (De::key(&entry.key, self.known), Some(&entry.value)),
                _ => {
                    let keys = expectation("enum");
                    let message =
                        format!("expected {keys}, found {} keys; keep one key here: {}", entries.len(), choice("", names.iter().copied()));
                    return Err(self.locate(Error::raw(Fault::Custom(message))));
                }
            },
            Value::Scalar(_) if self.text().is_some() => (self, None),
            _ => return self.invalid(&visitor),
        };
        visitor.visit_enum(Variant { de: self, name, content }).map_err(|error| self.locate(error))
    }

    fn deserialize_ignored_any<V: Visitor<'t>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Debug;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;
    use serde_json::json;

    use super::super::load_str;
    use crate::types::{Duration, ReplyConfig, Secret, Size};

    fn read<T: DeserializeOwned>(text: &str) -> T {
        load_str("t.yaml", text, &|_| None).unwrap_or_else(|errors| panic!("{errors}")).value
    }

    fn refuse<T: DeserializeOwned + Debug>(text: &str) -> String {
        load_str::<T>("t.yaml", text, &|_| None).unwrap_err().to_string()
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Shape {
        Off,
        Named(String),
        Pair(u8, u8),
        Full { size: Size },
    }

    #[test]
    fn a_plain_number_or_bool_is_its_own_text_where_text_is_wanted() {
        let map: BTreeMap<String, String> = read("a: 1.0\nb: true\nc: 0x10\n404: x\n");
        let want = [("a", "1.0"), ("b", "true"), ("c", "0x10"), ("404", "x")];
        assert_eq!(map, want.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
    }

    #[test]
    fn a_number_that_json_would_change_is_refused() {
        for wrong in [".inf", "-.inf", ".nan", "1e400", "12345678901234567890123", "-9223372036854775809"] {
            let said = refuse::<ReplyConfig>(&format!("json: {{ a: [{wrong}] }}\n"));
            assert!(said.contains("1:13: json.a[0]: this number cannot be held as it is written"), "{said}");
        }
        let config: ReplyConfig = read("json: { a: 1e30, b: 18446744073709551615, c: '12345678901234567890123' }\n");
        assert_eq!(config.json.unwrap(), json!({"a": 1e30, "b": u64::MAX, "c": "12345678901234567890123"}));
    }

    #[test]
    fn a_quoted_number_is_refused_where_a_number_is_wanted() {
        assert_eq!(
            refuse::<BTreeMap<String, u16>>("a: \"8\"\n"),
            "t.yaml:1:4: a: expected a whole number from 0 to 65535, found a string `8`\n    fix: remove the quotes: `8`\n1 error"
        );
    }

    #[test]
    fn numbers_are_checked_for_their_range() {
        let text = refuse::<BTreeMap<String, u8>>("a: 256\nb: -1\nc: 1.5\nd: 255\n");
        assert!(text.contains("1:4: a: expected a whole number from 0 to 255, found the number `256`"), "{text}");
        assert!(text.contains("2:4: b: ") && text.contains("3:4: c: ") && text.ends_with("3 errors"), "{text}");
        assert_eq!(read::<Vec<f64>>("[1, 1.5, .inf]"), [1.0, 1.5, f64::INFINITY]);
        assert_eq!(read::<Vec<u64>>("[18446744073709551615]"), [u64::MAX]);
        assert_eq!(read::<Vec<i64>>("[-3]"), [-3]);
        assert_eq!(read::<BTreeMap<u16, bool>>("404: true"), BTreeMap::from([(404, true)]));
    }

    #[test]
    fn wrong_shapes_say_what_is_wanted_and_what_is_there() {
        let of = |text: &str| refuse::<BTreeMap<String, Vec<String>>>(text);
        assert!(of("a: abc").contains("a: expected a list, found a string `abc`\n    fix: write a list: `[abc]`"), "{}", of("a: abc"));
        assert!(of("a: {b: c}").contains("expected a list, found a mapping\n    fix: begin each entry with `- `"));
        assert!(of("a: [[b]]").contains("1:5: a[0]: expected a string, found a list"));
        assert!(of("a: [~]").contains("a[0]: expected a string, found nothing"));
        assert!(
            refuse::<BTreeMap<String, bool>>("a: on").contains("expected `true` or `false`, found a string `on`\n    fix: write `true`")
        );
        assert!(refuse::<ReplyConfig>("[]").contains("t.yaml:1:1: expected a mapping, found a list"));
    }

    #[test]
    fn nothing_is_an_empty_list_or_mapping_or_no_value() {
        assert_eq!(read::<BTreeMap<String, Option<u8>>>("a:\nb: 1\n"), BTreeMap::from([("a".into(), None), ("b".into(), Some(1))]));
        assert_eq!(read::<BTreeMap<String, Vec<u8>>>("a:\n  # - 1\n")["a"], [0_u8; 0]);
        assert_eq!(read::<BTreeMap<String, ReplyConfig>>("a:\n")["a"], ReplyConfig::default());
        assert_eq!(read::<Vec<()>>("[~]"), [()]);
    }

    #[test]
    fn forms_are_words_or_mappings_with_one_key() {
        let shapes: Vec<Shape> = read("- off\n- named: x\n- pair: [1, 2]\n- full: {size: 1KiB}\n- off:\n");
        let full = Shape::Full { size: Size(1024) };
        assert_eq!(shapes, [Shape::Off, Shape::Named("x".into()), Shape::Pair(1, 2), full, Shape::Off]);
        let text = refuse::<Vec<Shape>>(
            "- of\n- ful: {size: 1}\n- full: {}\n- {off: ~, named: x}\n- pair: [1]\n- pair: [1, 2, 3]\n- off: 1\n- full\n",
        );
        for part in [
            "1:3: [0]: unknown value `of`\n    fix: did you mean `off`? known here are `off`, `named`, `pair` and `full`",
            "2:3: [1].ful: unknown key `ful`\n    fix: did you mean `full`?",
            "3:3: [2].full: `size` is missing\n    fix: add `size:`",
            "4:3: [3]: expected a word or a mapping with one key, found 2 keys",
            "5:3: [4].pair: expected a list of 2 values, found 1 value\n",
            "6:3: [5].pair: expected a list of 2 values, found 3 values",
            "7:8: [6].off: expected nothing, found the number `1`",
            "8:3: [7]: `size` is missing",
            "\n8 errors",
        ] {
            assert!(text.contains(part), "{part}\nis not in\n{text}");
        }
    }

    #[test]
    fn the_types_of_the_house_are_read() {
        let reply: ReplyConfig = read("status: 200\nheaders: {X-Version: 1.0}\njson: {n: 1.0, list: [on, ~, true, -1]}\n");
        assert_eq!(reply.headers["X-Version"], "1.0");
        assert_eq!(reply.json.unwrap(), json!({"n": 1.0, "list": ["on", null, true, -1]}));
        assert_eq!(read::<Vec<Size>>("[512, 64KiB]"), [Size(512), Size(65536)]);
        assert_eq!(read::<Vec<Duration>>("[800ms]"), [Duration::millis(800)]);
        assert_eq!(read::<Vec<Secret>>("[12345]")[0].reveal(), "12345");
        let text = refuse::<Vec<Duration>>("[5]");
        assert!(text.contains("[0]: `5` is not a duration\n    fix: write a number and a unit, like `800ms`"), "{text}");
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(untagged)]
    enum Either {
        Word(String),
        Many(Vec<u8>),
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, u8>,
    }

    #[test]
    fn untagged_and_flat_types_are_read() {
        assert_eq!(read::<Vec<Either>>("[x, [1, 2]]"), [Either::Word("x".into()), Either::Many(vec![1, 2])]);
        assert!(refuse::<Vec<Either>>("[x, {}]").contains("1:5: [1]: fits none of the forms that are allowed here"));
        assert_eq!(read::<Flat>("a: 1\nb: 2\n"), Flat { a: 1, rest: BTreeMap::from([("b".into(), 2)]) });
        assert!(refuse::<Flat>("a: 1\nb: x\n").contains("t.yaml:1:1: "));
    }
}
