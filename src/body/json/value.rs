use std::borrow::Cow;

use super::document::{Document, Entry};
use super::path::Path;
use super::text::Text;

/// A value within a document. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Value<'d> {
    pub(super) document: &'d Document,
    pub(super) at: u32,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool,
    /// Of any size.
    Number,
    /// In quotes.
    String,
    /// In brackets.
    Array,
    /// In braces.
    Object,
}

impl Document {
    /// The value that it is.
    pub fn root(&self) -> Value<'_> {
        Value { document: self, at: 0 }
    }
}

impl<'d> Value<'d> {
    fn entry(self) -> Entry {
        // The walks below lead to entries that are there; were one not, it would be an empty one.
        self.document.tape.get(self.at as usize).copied().unwrap_or(Entry { start: 0, end: 0, next: 0 })
    }

    /// Where it stands in the document's text.
    pub(super) fn span(self) -> std::ops::Range<usize> {
        let entry = self.entry();
        entry.start as usize..entry.end as usize
    }

    /// The bytes that it is, without white space around it: numbers, escapes, the order of members and members of the same name are as they came.
    pub fn raw(self) -> &'d [u8] {
        self.document.text.get(self.span()).unwrap_or_default()
    }

    /// What it is.
    pub fn kind(self) -> Kind {
        match self.document.text.get(self.entry().start as usize) {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The entry behind this value and all that is in it.
    fn behind(self) -> u32 {
        match self.kind() {
            Kind::Array | Kind::Object => self.entry().next,
            _ => self.at + 1,
        }
    }

    /// The members of an object, in their order; several of the same name are all told. Of anything else: none.
    pub fn members(self) -> Members<'d> {
        Members(self.inside(Kind::Object))
    }

    /// The items of an array. Of anything else: none.
    pub fn items(self) -> Items<'d> {
        Items(self.inside(Kind::Array))
    }

    fn inside(self, kind: Kind) -> Inside<'d> {
        let end = if self.kind() == kind { self.entry().next } else { self.at + 1 };
        Inside { document: self.document, at: self.at + 1, end }
    }

    /// The member of that name, however it is written: `"\u0061"` is `a`. Of several the last counts, as for most parsers (RFC 8259 §4 leaves it open).
    pub fn get(self, name: &str) -> Option<Value<'d>> {
        self.members().filter(|(text, _)| text.is(name)).last().map(|(_, value)| value)
    }

    /// The value at the end of a path. A step of digits takes an item of an array, counted from 0; any step takes a member of an object.
    pub fn find(self, path: &Path) -> Option<Value<'d>> {
        path.steps.iter().try_fold(self, |value, step| match value.kind() {
            Kind::Object => value.get(&step.name),
            Kind::Array => value.items().nth(step.index?),
            _ => None,
        })
    }

    /// Its text, if it is a string.
    pub fn string(self) -> Option<Text<'d>> {
        (self.kind() == Kind::String).then(|| Text { raw: self.raw(), escaped: self.entry().next != 0, start: self.span().start })
    }

    /// Text for a template: a string decoded, a number exactly as written, `true` or `false`. None of null, of arrays and objects, and of a string that
    /// says nothing (see [`Text::decoded`]).
    pub fn text(self) -> Option<Cow<'d, str>> {
        match self.kind() {
            Kind::String => self.string()?.decoded(),
            Kind::Number | Kind::Bool => std::str::from_utf8(self.raw()).ok().map(Cow::Borrowed),
            Kind::Null | Kind::Array | Kind::Object => None,
        }
    }
}

#[derive(Clone, Debug)]
struct Inside<'d> {
    document: &'d Document,
    at: u32,
    end: u32,
}

impl<'d> Inside<'d> {
    fn next(&mut self) -> Option<Value<'d>> {
        let value = Value { document: self.document, at: self.at };
        (self.at < self.end).then(|| {
            self.at = value.behind();
            value
        })
    }
}

/// The members of an object: [`Value::members`].
#[derive(Clone, Debug)]
pub struct Members<'d>(Inside<'d>);

impl<'d> Iterator for Members<'d> {
    type Item = (Text<'d>, Value<'d>);

    fn next(&mut self) -> Option<Self::Item> {
        let name = self.0.next()?.string()?;
        Some((name, self.0.next()?))
    }
}

/// The items of an array: [`Value::items`].
#[derive(Clone, Debug)]
pub struct Items<'d>(Inside<'d>);

impl<'d> Iterator for Items<'d> {
    type Item = Value<'d>;

    fn next(&mut self) -> Option<Value<'d>> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bounds;
    use super::*;

    fn read(text: &'static str) -> Document {
        Document::parse(text, Bounds::default()).unwrap()
    }

    fn raw<'d>(value: Option<Value<'d>>) -> &'d str {
        std::str::from_utf8(value.unwrap().raw()).unwrap()
    }

    #[test]
    fn a_value_is_found_by_what_its_name_says_and_the_last_counts() {
        let document = read(r#" {"a": 1, "\u0061": [true, {"b.c": 1e400}], "A": 0} "#);
        let root = document.root();
        assert_eq!(raw(root.get("a")), r#"[true, {"b.c": 1e400}]"#);
        assert_eq!(raw(root.find(&Path::parse(r"a.1.b\.c").unwrap())), "1e400");
        for path in ["a.2", "a.b", "a.01", "A.0", "b"] {
            assert!(root.find(&Path::parse(path).unwrap()).is_none(), "{path}");
        }
        assert_eq!(root.members().map(|(name, _)| name.decoded().unwrap()).collect::<Vec<_>>(), ["a", "a", "A"]);
    }

    #[test]
    fn a_scalar_has_text_and_nothing_else_has() {
        let document = read(r#"["\u00e9\n", -0.10e+2, 123456789012345678901234567890, true, null, [], {}, "\ud800"]"#);
        let texts: Vec<_> = document.root().items().map(Value::text).collect();
        let expected = [Some("é\n"), Some("-0.10e+2"), Some("123456789012345678901234567890"), Some("true"), None, None, None, None];
        assert_eq!(texts.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_string_of_its_own_is_a_document() {
        for content in ["", "plain", "<a b=\"c\">\n"] {
            let document = Document::string(content);
            assert_eq!(document.root().text().unwrap(), content);
            assert_eq!(serde_json::from_slice::<String>(document.text()).unwrap(), content);
        }
    }
}
