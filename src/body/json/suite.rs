//! What RFC 8259 takes and refuses, case by case, and the bounds.

use super::{Bounds, Document, Wrong, check};

/// Both ways of reading agree.
fn takes(text: &[u8], bounds: Bounds) -> Result<(), String> {
    let read = Document::parse(text.to_vec(), bounds).map(|_| ());
    assert_eq!(read, check(text, bounds), "{}", text.escape_ascii());
    read.map_err(|fault| fault.to_string())
}

#[test]
fn what_the_grammar_has_is_taken() {
    for text in [
        "null",
        "true",
        "false",
        " \t\r\n0\n ",
        "-0",
        "-1",
        "10",
        "1.0",
        "0.5e1",
        "1E+2",
        "1e-0",
        "-0.0E-10",
        "123456789012345678901234567890.5",
        "1e999999",
        r#""""#,
        r#""a""#,
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u0000\uABcd""#,
        r#""\uD83D\uDE00""#,
        r#""\uD800""#,
        r#""\uDE00x""#,
        "\"\u{7f}\"",
        "\"\u{2028}\u{1f600}\u{10ffff}\"",
        "[]",
        "[ ]",
        "[1]",
        "[[],[[]],{}]",
        "[1 , 2]",
        "{}",
        "{ }",
        r#"{"":0}"#,
        r#"{"a":1,"a":2}"#,
        r#" { "a" : [ { } , null ] , "\u0062" : "" } "#,
        r#"{"a":{"b":{"c":[1,[2,[3]]]}}}"#,
    ] {
        assert_eq!(takes(text.as_bytes(), Bounds::default()), Ok(()), "{text}");
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok(), "{text}");
    }
}

#[test]
fn what_the_grammar_lacks_is_refused() {
    let texts: &[&[u8]] = &[
        b"",
        b" ",
        b"nul",
        b"nulll",
        b"True",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"undefined",
        b"'a'",
        b"a",
        b"-",
        b"+1",
        b"01",
        b"-01",
        b"00",
        b"1.",
        b".5",
        b"-.5",
        b"1.e1",
        b"1e",
        b"1e+",
        b"1E-",
        b"1.2.3",
        b"0x1",
        b"1_000",
        b"1 2",
        b"--1",
        b"1e1.5",
        b"\"",
        b"\"a",
        b"\"\\\"",
        b"\"\\x41\"",
        b"\"\\u12\"",
        b"\"\\u12g4\"",
        b"\"\\u\"",
        b"\"\\",
        b"\"\\u00",
        b"\"\\'\"",
        b"\"\n\"",
        b"\"\t\"",
        b"\"\x00\"",
        b"\"12345678\x1f\"",
        b"\"1234567\x00\"",
        b"\"\x80\"",
        b"\"\xc0\x80\"",
        b"\"\xed\xa0\x80\"",
        b"\"\xf4\x90\x80\x80\"",
        b"\"\xc3\"",
        b"\xef\xbb\xbf{}",
        b"\xef\xbb\xbf",
        b"\xff\xfe1\x00",
        b"\xc2\xa01",
        b"\x0b1",
        b"\x0c1",
        b"1\x00",
        b"[",
        b"]",
        b"[1",
        b"[1,",
        b"[1,]",
        b"[,1]",
        b"[1,,2]",
        b"[1 2]",
        b"[1}",
        b"[1]]",
        b"[\"a\":1]",
        b"[1:2]",
        b"{",
        b"}",
        b"{\"a\"",
        b"{\"a\":",
        b"{\"a\":1",
        b"{\"a\":1,",
        b"{\"a\":1,}",
        b"{,}",
        b"{\"a\"}",
        b"{\"a\",1}",
        b"{\"a\" 1}",
        b"{a:1}",
        b"{1:1}",
        b"{'a':1}",
        b"{\"a\":1 \"b\":2}",
        b"{\"a\":1,,\"b\":2}",
        b"{\"a\"::1}",
        b"{\"a\":1]",
        b"{}{}",
        b"{}#",
        b"{}//",
        b"/**/{}",
        b"{null:1}",
        b"{[]:1}",
        b"[\"\\u00A\"]",
        b"[-]",
        b"[1e]",
        b"[tru]",
        b"[\x00]",
    ];
    for text in texts {
        let fault = takes(text, Bounds::default()).unwrap_err();
        assert!(fault.starts_with("not JSON: "), "{}: {fault}", text.escape_ascii());
        assert!(serde_json::from_slice::<serde_json::Value>(text).is_err(), "{}", text.escape_ascii());
    }
}

#[test]
fn every_piece_of_a_text_is_none() {
    let text = br#"{"a":[1.5e+3,true,{"b":"\u00e9\n"}],"cc":[null,[]]}"#;
    for end in 0..text.len() {
        assert!(takes(&text[..end], Bounds::default()).is_err(), "{end}");
    }
    takes(text, Bounds::default()).unwrap();
}

#[test]
fn a_fault_says_where_it_is() {
    for (text, said) in [
        ("[1, 2 3]", "not JSON: `,` or `]` is expected at byte 6"),
        ("{\"a\": \"b\nc\"}", "not JSON: a control character in a string at byte 8"),
        ("\u{feff}{}", "not JSON: a byte order mark, which JSON may not have at byte 0"),
        ("<html>", "not JSON: a value is expected at byte 0"),
        ("", "not JSON: the text ends where a value is expected at byte 0"),
        ("{} x", "not JSON: something stands behind the value at byte 3"),
    ] {
        assert_eq!(takes(text.as_bytes(), Bounds::default()).unwrap_err(), said);
    }
}

#[test]
fn what_is_beyond_the_bounds_is_refused_and_what_reaches_them_is_not() {
    let bounds = Bounds { bytes: 12, depth: 2, values: 4 };
    for (most, more, wrong) in [
        ("\"0123456789\"", "\"0123456789a\"", Wrong::TooLong(12)),
        ("[{}]", "[{\"a\":[]}]", Wrong::TooDeep(2)),
        ("[1,2,3]", "[1,2,3,4]", Wrong::TooMany(4)),
        ("{\"a\":[0]}", "{\"a\":[0,0]}", Wrong::TooMany(4)),
    ] {
        assert_eq!(takes(most.as_bytes(), bounds), Ok(()));
        let fault = check(more.as_bytes(), bounds).unwrap_err();
        assert!(fault.is_bound());
        assert_eq!(fault.wrong, wrong);
        assert!(takes(more.as_bytes(), bounds).is_err());
    }
    let deep = "[".repeat(100_000);
    assert_eq!(check(deep.as_bytes(), Bounds { depth: usize::MAX, ..Bounds::default() }).unwrap_err().wrong, Wrong::TooDeep(512));
}
