use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::{RequestHeader, ResponseHeader};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::editable;
use crate::building::BuildError;
use crate::ctx::Ctx;
use crate::expr::{Template, Variables};

/// Changes to headers, made in this order: `remove`, `rename`, `set`, `add`. Values are templates, like `{consumer.name}` or `v-{header.X-Tenant}`;
/// they see the headers as they stood before the first change. A value with characters that no header may hold counts as missing, and so does one with white
/// space around it, which whoever reads the header would not see. The items of a claim that is a list are joined by spaces.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEdits {
    /// Headers to take out.
    pub remove: Vec<String>,
    /// Old names with their new ones. The header takes the place of any that already has the new name.
    pub rename: BTreeMap<String, String>,
    /// Names with values, in the place of those that were there. Where a value is missing the header is removed, so that nobody else can set what the
    /// gateway vouches for.
    pub set: BTreeMap<String, String>,
    /// Names with values, beside those that were there. Where a value is missing nothing is added.
    pub add: BTreeMap<String, String>,
}

/// [`HeaderEdits`], ready to run.
#[derive(Debug)]
pub(super) struct Edits {
    remove: Box<[HeaderName]>,
    rename: Box<[(HeaderName, Name)]>,
    set: Box<[(Name, Value)]>,
    add: Box<[(Name, Value)]>,
}

/// A name as a key, and as it was written: HTTP/1.1 carries it so.
#[derive(Debug)]
pub(super) struct Name {
    name: HeaderName,
    written: Box<[u8]>,
}

#[derive(Debug)]
enum Value {
    Fixed(HeaderValue),
    Template(Template),
}

/// The values of one request for `set` and then `add`; none where one is missing.
pub(super) type Values = SmallVec<[Option<HeaderValue>; 4]>;

/// A header that can be edited: a request's or an answer's.
pub(super) trait Fields {
    fn map(&self) -> &HeaderMap;
    fn insert(&mut self, name: &Name, value: HeaderValue);
    fn append(&mut self, name: &Name, value: HeaderValue);
    fn remove(&mut self, name: &HeaderName);
}

impl Edits {
    /// Parses names and templates.
    ///
    /// # Errors
    /// A header that belongs to the connection, a name or value that no header may have, a name that stands twice; relative to the edits.
    pub(super) fn build(config: &HeaderEdits, params: &[Box<str>]) -> Result<Self, BuildError> {
        let remove = config.remove.iter().enumerate().map(|(place, name)| editable(name).map_err(|error| error.at(place).at("remove")));
        let mut seen = HashSet::new();
        let rename = config.rename.iter().map(|(old, new)| {
            let names = once(old, &mut seen).and_then(|old| Ok((old.name, once(new, &mut seen)?)));
            names.map_err(|error| error.at(old.as_str()).at("rename"))
        });
        Ok(Self {
            remove: remove.collect::<Result<_, _>>()?,
            rename: rename.collect::<Result<_, _>>()?,
            set: values(&config.set, params).map_err(|error| error.at("set"))?,
            add: values(&config.add, params).map_err(|error| error.at("add"))?,
        })
    }

    /// The values for this request. Taken before the edits, so that their order does not change what a template sees.
    pub(super) fn values(&self, req: &RequestHeader, cx: &Ctx) -> Values {
        self.set.iter().chain(&self.add).map(|(_, value)| value.render(req, cx)).collect()
    }

    /// Makes the changes.
    pub(super) fn apply(&self, fields: &mut impl Fields, values: Values) {
        for name in &self.remove {
            fields.remove(name);
        }
        for (old, new) in &self.rename {
            let found: Values = fields.map().get_all(old).iter().cloned().map(Some).collect();
            if !found.is_empty() {
                fields.remove(old);
                fields.remove(&new.name);
                found.into_iter().flatten().for_each(|value| fields.append(new, value));
            }
        }
        let mut values = values.into_iter();
        for ((name, _), value) in self.set.iter().zip(values.by_ref()) {
            match value {
                Some(value) => fields.insert(name, value),
                None => fields.remove(&name.name),
            }
        }
        for ((name, _), value) in self.add.iter().zip(values) {
            if let Some(value) = value {
                fields.append(name, value);
            }
        }
    }
}

fn values(config: &BTreeMap<String, String>, params: &[Box<str>]) -> Result<Box<[(Name, Value)]>, BuildError> {
    let mut seen = HashSet::new();
    let entry = |(name, text): (&String, &String)| {
        let parsed = once(name, &mut seen).and_then(|name| Ok((name, Value::parse(text, params)?)));
        parsed.map_err(|error| error.at(name.as_str()))
    };
    config.iter().map(entry).collect()
}

impl Name {
    fn written(&self) -> Bytes {
        Bytes::copy_from_slice(&self.written)
    }
}

impl Value {
    fn parse(text: &str, params: &[Box<str>]) -> Result<Self, BuildError> {
        let template = Template::parse(text, Variables { params, only_params: false })?;
        let Some(text) = template.constant() else { return Ok(Value::Template(template)) };
        HeaderValue::from_bytes(text.as_bytes())
            .map(Value::Fixed)
            .map_err(|_| BuildError::new(format!("{text:?} cannot stand in a header"), "leave out line breaks and control characters"))
    }

    fn render(&self, req: &RequestHeader, cx: &Ctx) -> Option<HeaderValue> {
        match self {
            Value::Fixed(value) => Some(value.clone()),
            Value::Template(template) => {
                let text = template.render(req, cx)?;
                // RFC 9110 §5.5: white space around a value is no part of it, so this one would be read as another.
                if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
                    return None;
                }
                HeaderValue::try_from(text.into_owned()).ok()
            }
        }
    }
}

/// Refuses a second header of the same name: which of the two comes first would be chance.
fn once(written: &str, seen: &mut HashSet<HeaderName>) -> Result<Name, BuildError> {
    let name = editable(written)?;
    if !seen.insert(name.clone()) {
        return Err(BuildError::new(format!("`{written}` stands twice"), "name each header once; upper and lower case are the same"));
    }
    Ok(Name { name, written: written.as_bytes().into() })
}

macro_rules! fields {
    ($header:ident) => {
        // Only a header map that is full refuses a header, and the bounds on what clients and services may send are far below that.
        impl Fields for $header {
            fn map(&self) -> &HeaderMap {
                &self.headers
            }

            fn insert(&mut self, name: &Name, value: HeaderValue) {
                let _ = self.insert_header(name.written(), value);
            }

            fn append(&mut self, name: &Name, value: HeaderValue) {
                let _ = self.append_header(name.written(), value);
            }

            fn remove(&mut self, name: &HeaderName) {
                self.remove_header(name);
            }
        }
    };
}

fields!(RequestHeader);
fields!(ResponseHeader);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ctx::testing;

    fn build(config: &str) -> Result<Edits, BuildError> {
        Edits::build(&crate::policy::kit::yaml(config).unwrap(), &["id".into()])
    }

    /// What becomes of these headers, in HTTP/1.1's words.
    fn edited(config: &str, sent: &[(&'static str, &str)]) -> Vec<String> {
        let edits = build(config).unwrap();
        let mut req = RequestHeader::build("GET", b"/users/42?q=a%0d%0ab", None).unwrap();
        for (name, value) in sent {
            req.append_header(*name, *value).unwrap();
        }
        let values = edits.values(&req, &testing::ctx("/users/42", &[("id", 7..9)]));
        edits.apply(&mut req, values);
        let mut wire = Vec::new();
        req.header_to_h1_wire(&mut wire);
        let mut lines: Vec<_> = String::from_utf8(wire).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    #[test]
    fn edits_are_made_in_their_order_and_keep_the_case_of_the_config() {
        let config = r#"
            remove: [X-Debug, X-New]
            rename: { X-Old: X-New }
            set: { X-User: "{id}", X-Was: "{header.X-Debug}" }
            add: { Via-Gateway: "1", X-User: more }
        "#;
        let sent = [("x-debug", "yes"), ("x-new", "forged"), ("x-old", "1"), ("x-old", "2"), ("x-user", "forged")];
        assert_eq!(edited(config, &sent), ["Via-Gateway: 1", "X-New: 1", "X-New: 2", "X-User: 42", "X-User: more", "X-Was: yes"]);
    }

    #[test]
    fn a_header_whose_value_is_missing_or_unfit_is_removed_and_never_the_clients() {
        let sent = [("x-consumer", "forged"), ("x-query", "forged")];
        assert!(edited(r#"{ set: { X-Consumer: "{consumer.name}", X-Query: "{query.q}" } }"#, &sent).is_empty());
        assert!(edited(r#"{ set: { X-Sub: "{header.X-Alice}" } }"#, &[("x-sub", "forged"), ("x-alice", " alice ")]).len() == 1);
        assert_eq!(edited(r#"{ add: { X-Tag: "{consumer.name}" } }"#, &[("x-tag", "a")]), ["x-tag: a"]);
    }

    #[test]
    fn a_name_that_nobody_sent_renames_nothing() {
        assert_eq!(edited("{ rename: { X-Old: X-New } }", &[("x-new", "a")]), ["x-new: a"]);
    }

    #[test]
    fn headers_of_the_connection_and_names_that_stand_twice_are_refused() {
        for (config, place) in [
            ("{ remove: [X-A, Connection] }", "remove[1]"),
            ("{ set: { content-length: '1' } }", "set.content-length"),
            ("{ set: { Host: a.example } }", "set.Host"),
            ("{ add: { Proxy-Authorization: a } }", "add.Proxy-Authorization"),
            ("{ rename: { X-A: TE } }", "rename.X-A"),
            ("{ rename: { X-A: X-B, X-B: X-C } }", "rename.X-B"),
            ("{ set: { X-A: a, x-a: b } }", "set.x-a"),
            ("{ set: { X-A: \"a\\nb\" } }", "set.X-A"),
            ("{ set: { X-A: '{idd}' } }", "set.X-A"),
        ] {
            assert_eq!(build(config).unwrap_err().path.to_string(), place, "{config}");
        }
    }
}
