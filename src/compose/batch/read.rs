use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;

use crate::body::json::{Bounds, Document, Kind, Value};
use crate::problem::{self, Problem};

/// One request, as the batch has it.
#[derive(Debug)]
pub(super) struct Asked {
    /// Its id as JSON.
    pub id: Bytes,
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Option<Body>,
}

/// The body of one.
#[derive(Debug)]
pub(super) struct Body {
    /// As JSON, as it stands there.
    pub raw: Bytes,
    /// What it says, where it is a string.
    pub text: Option<String>,
}

/// Reads a batch of so many requests at most.
///
/// # Errors
/// The problem that says where it is none.
pub(super) fn read(body: Bytes, most: usize) -> Result<Vec<Asked>, Problem> {
    let bounds = Bounds { bytes: body.len(), ..Bounds::default() };
    let document = Document::parse(body, bounds).map_err(|fault| wrong("the body", &fault.to_string()))?;
    let root = document.root();
    if root.kind() != Kind::Object {
        return Err(wrong("the body", "it is no object with `requests`"));
    }
    let mut requests = None;
    for (name, value) in root.members() {
        let name = name.decoded().unwrap_or(Cow::Borrowed("?"));
        if name != "requests" {
            return Err(wrong(&name, "there is no such member"));
        }
        if requests.replace(value).is_some() {
            return Err(wrong("requests", "it is there twice"));
        }
    }
    let Some(list) = requests.filter(|list| list.kind() == Kind::Array) else {
        return Err(wrong("requests", "there is no such array"));
    };
    let count = list.items().count();
    if count == 0 || count > most {
        return Err(wrong("requests", &format!("there are {count}, and a batch takes 1 to {most}")));
    }
    let mut all = Vec::with_capacity(count);
    let mut ids: HashSet<Cow<'_, str>> = HashSet::with_capacity(count);
    for (place, item) in list.items().enumerate() {
        let (id, asked) = one(&document, item).map_err(|(below, why)| wrong(&format!("requests[{place}]{below}"), &why))?;
        if !ids.insert(id) {
            return Err(wrong(&format!("requests[{place}].id"), "another one has it"));
        }
        all.push(asked);
    }
    Ok(all)
}

fn wrong(place: &str, why: &str) -> Problem {
    // What a client has named comes back to it, but no more than a line of that.
    let place: String = place.chars().take(100).collect();
    Problem::new(problem::Kind::BadRequest, format!("the batch cannot be read at {place}: {why}")).member("at", place)
}

/// Where below the request something is wrong, and what.
type Wrong = (String, String);

/// What a request may have, in this order.
const MEMBERS: [&str; 5] = ["id", "method", "url", "headers", "body"];

/// One request, and its id.
fn one<'d>(document: &'d Document, item: Value<'d>) -> Result<(Cow<'d, str>, Asked), Wrong> {
    if item.kind() != Kind::Object {
        return Err((String::new(), "it is no object".to_owned()));
    }
    let mut found: [Option<Value<'d>>; MEMBERS.len()] = [None; MEMBERS.len()];
    for (name, value) in item.members() {
        let name = name.decoded().unwrap_or(Cow::Borrowed("?"));
        let at = |why: &str| (format!(".{name}"), why.to_owned());
        let Some(place) = MEMBERS.iter().position(|known| *known == name).and_then(|place| found.get_mut(place)) else {
            return Err(match &*name {
                "dependsOn" | "atomicityGroup" => at("it is not supported: the requests of a batch are independent of each other"),
                _ => at("there is no such member"),
            });
        };
        if place.replace(value).is_some() {
            return Err(at("it is there twice"));
        }
    }
    let [id, method, url, headers, body] = found;
    let text = |name: &str, value: Option<Value<'d>>| {
        let at = |why: &str| (format!(".{name}"), why.to_owned());
        let value = value.ok_or_else(|| at("it is missing"))?;
        value.string().and_then(|text| text.decoded()).filter(|text| !text.is_empty()).ok_or_else(|| at("it is no string"))
    };
    let key = text("id", id)?;
    let id = id.map(Value::raw).unwrap_or_default();
    let mut fields = Vec::new();
    if let Some(headers) = headers.filter(|headers| headers.kind() != Kind::Null) {
        if headers.kind() != Kind::Object {
            return Err((".headers".to_owned(), "it is no object".to_owned()));
        }
        for (name, value) in headers.members() {
            let name = name.decoded().unwrap_or(Cow::Borrowed("?"));
            let Some(value) = value.string().and_then(|text| text.decoded()) else {
                return Err((format!(".headers.{name}"), "it is no string".to_owned()));
            };
            fields.push((name.into_owned(), value.into_owned()));
        }
    }
    let body = match body.filter(|body| body.kind() != Kind::Null) {
        None => None,
        Some(body) => {
            let text = body.string().map(|text| text.decoded().map(Cow::into_owned));
            let half = || (".body".to_owned(), "it has half of a character (RFC 8259 §8.2)".to_owned());
            Some(Body { raw: document.text().slice_ref(body.raw()), text: text.map(|text| text.ok_or_else(half)).transpose()? })
        }
    };
    let asked = Asked {
        id: document.text().slice_ref(id),
        method: text("method", method)?.into_owned(),
        url: text("url", url)?.into_owned(),
        headers: fields,
        body,
    };
    Ok((key, asked))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &'static str) -> String {
        read(Bytes::from_static(text.as_bytes()), 2).unwrap_err().detail.into_owned()
    }

    #[test]
    fn a_batch_is_read_as_it_stands_there() {
        let text = r#"{"requests":[{"id":"\u0061","method":"get","url":"/a"},{"id":"b","method":"PUT","url":"/b","headers":{"X":"y"},"body": 1e400 }]}"#;
        let all = read(Bytes::from_static(text.as_bytes()), 2).unwrap();
        assert_eq!((&all[0].id[..], all[0].method.as_str(), all[0].url.as_str()), (&b"\"\\u0061\""[..], "get", "/a"));
        assert_eq!(all[1].headers, [("X".to_owned(), "y".to_owned())]);
        assert_eq!(all[1].body.as_ref().unwrap().raw, "1e400");
    }

    #[test]
    fn what_is_no_batch_is_told_with_its_place() {
        for (text, place) in [
            ("", "at the body: not JSON"),
            ("{\"requests\":[", "at the body: not JSON"),
            ("[]", "at the body: it is no object"),
            ("{}", "at requests: there is no such array"),
            (r#"{"requests":{}}"#, "at requests: there is no such array"),
            (r#"{"requests":[],"more":1}"#, "at more: there is no such member"),
            (r#"{"requests":[],"requests":[]}"#, "at requests: it is there twice"),
            (r#"{"requests":[]}"#, "at requests: there are 0, and a batch takes 1 to 2"),
            (r#"{"requests":[1,2,3]}"#, "at requests: there are 3"),
            (r#"{"requests":[1]}"#, "at requests[0]: it is no object"),
            (r#"{"requests":[{"id":1}]}"#, "at requests[0].id: it is no string"),
            (r#"{"requests":[{"id":""}]}"#, "at requests[0].id: it is no string"),
            (r#"{"requests":[{"id":"\ud800"}]}"#, "at requests[0].id: it is no string"),
            (r#"{"requests":[{"id":"1"}]}"#, "at requests[0].method: it is missing"),
            (r#"{"requests":[{"id":"1","method":"GET"}]}"#, "at requests[0].url: it is missing"),
            (r#"{"requests":[{"id":"1","method":"GET","url":7}]}"#, "at requests[0].url: it is no string"),
            (r#"{"requests":[{"id":"1","id":"2"}]}"#, "at requests[0].id: it is there twice"),
            (r#"{"requests":[{"id":"1","dependsOn":["2"]}]}"#, "at requests[0].dependsOn: it is not supported"),
            (r#"{"requests":[{"id":"1","atomicityGroup":"g"}]}"#, "at requests[0].atomicityGroup: it is not supported"),
            (r#"{"requests":[{"id":"1","uri":"/"}]}"#, "at requests[0].uri: there is no such member"),
            (r#"{"requests":[{"id":"1","method":"GET","url":"/","headers":[]}]}"#, "at requests[0].headers: it is no object"),
            (r#"{"requests":[{"id":"1","method":"GET","url":"/","headers":{"a":["b"]}}]}"#, "at requests[0].headers.a: it is no string"),
            (r#"{"requests":[{"id":"1","method":"GET","url":"/","body":"\udc00"}]}"#, "at requests[0].body: it has half"),
            (
                r#"{"requests":[{"id":"1","method":"GET","url":"/"},{"id":"\u0031","method":"GET","url":"/"}]}"#,
                "at requests[1].id: another one has it",
            ),
        ] {
            assert!(said(text).contains(place), "{text}: {}", said(text));
        }
    }
}
