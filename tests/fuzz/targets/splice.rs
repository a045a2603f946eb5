//! Whatever comes: what we take, another parser takes, and it comes out as it came.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::body::json::{Bounds, Document, Shape, Value, check};
use tidegate_fuzz::shaped;

fn walk(value: Value<'_>, seen: &mut usize) {
    *seen += 1;
    let _ = value.text();
    for (name, member) in value.members() {
        *seen += 1;
        if let Some(name) = name.decoded() {
            assert!(value.get(&name).is_some());
        }
        walk(member, seen);
    }
    value.items().for_each(|item| walk(item, seen));
}

fuzz_target!(|text: &[u8]| {
    let bounds = Bounds { bytes: 4096, depth: 100, values: 1000 };
    let read = Document::parse(text.to_vec(), bounds);
    assert_eq!(read.as_ref().map(|_| ()).map_err(|fault| *fault), check(text, bounds));
    let other = std::str::from_utf8(text).is_ok() && serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok();
    let document = match read {
        Ok(document) => document,
        Err(fault) => return assert!(!other || fault.is_bound(), "{fault}"),
    };
    assert!(other);
    let out = shaped(&Shape::default(), &document).unwrap();
    assert_eq!(out, text.trim_ascii());
    let mut seen = 0;
    walk(document.root(), &mut seen);
    assert_eq!(seen, document.values());
});
