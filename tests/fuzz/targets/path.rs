//! The target of a part, and what a client and another part say, with line feeds between: whatever it is, what is asked for is one path and query, and
//! the path that the template says.
#![no_main]

use std::sync::Arc;

use http::HeaderValue;
use http::uri::PathAndQuery;
use libfuzzer_sys::fuzz_target;
use percent_encoding::percent_decode_str;
use pingora_http::RequestHeader;
use serde_json::json;
use tidegate_fuzz::body::json::{Bounds, Document};
use tidegate_fuzz::compose::{Outcome, Target};
use tidegate_fuzz::ctx::{Ctx, Params};
use tidegate_fuzz::host;
use tidegate_fuzz::paths::{Backslashes, EncodedSlashes, PathOptions, Semicolons, normalise};
use tidegate_fuzz::types::{Piece, pieces};

/// Values that a template may have in one segment, and that cannot be empty.
const WITHIN: [&str; 4] = ["id", "query.q", "header.X", "claims.c"];

fuzz_target!(|input: &[u8]| {
    let Ok(input) = std::str::from_utf8(input) else { return };
    let mut lines = input.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (template, asked, query, host, value, body) = (next(), next(), next(), next(), next(), next());
    let template = format!("s:{template}");
    let Ok(target) = Target::build(&template) else { return };
    // The path of a request, `/<id>/<rest>`, as the gateway knows it.
    let options = PathOptions {
        merge_slashes: value.len() % 2 == 0,
        encoded_slashes: EncodedSlashes::Keep,
        backslashes: Backslashes::Keep,
        semicolons: Semicolons::Keep,
    };
    let Ok(path) = normalise(asked, &options) else { return };
    let Some(host) = host::normalise(host) else { return };
    let end = path[1..].find('/').map_or(path.len(), |end| end + 1);
    if end == 1 {
        return;
    }
    let at = |place: usize| u32::try_from(place).unwrap();
    let mut cx = Ctx::new(HeaderValue::from_static("x"));
    cx.params = Params {
        names: ["id".into(), "rest".into()].into(),
        ranges: [at(1)..at(end), at((end + 1).min(path.len()))..at(path.len())].into_iter().collect(),
    };
    (cx.path, cx.host) = ((&*path).into(), (&*host).into());
    cx.claims = Some(Arc::new(json!({ "c": value })));
    let query: String = query.chars().filter(|char| char.is_ascii_graphic() && *char != '#').collect();
    let Ok(mut req) = RequestHeader::build("GET", format!("/?{query}").as_bytes(), None) else { return };
    if let Ok(value) = HeaderValue::try_from(value) {
        req.insert_header("X", value).unwrap();
    }
    let part = |text: &str| Outcome(Document::parse(text.to_owned(), Bounds::default()).ok());
    let quoted = serde_json::to_string(value).unwrap();
    let Some(asked) = target.render(&req, &cx, &[part(body), part(&quoted)]) else { return };

    let written = template.strip_prefix("s:").unwrap();
    let pieces = pieces(written).unwrap();
    let skeleton: String = pieces.iter().map(|piece| if let Piece::Text(text) = piece { text.as_str() } else { "x" }).collect();
    let (fixed_path, fixed_query) = skeleton.split_once('?').map_or((&*skeleton, None), |(path, query)| (path, Some(query)));
    let (path, query) = asked.split_once('?').map_or((&*asked, None), |(path, query)| (path, Some(query)));

    // One path and query, for everybody who reads it.
    assert!(asked.starts_with('/') && !asked.starts_with("//"), "{asked}");
    assert!(asked.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte)), "{asked}");
    assert!(!path.contains(['[', ']']), "{asked}");
    if let Ok(parsed) = PathAndQuery::try_from(asked.as_str()) {
        assert_eq!((parsed.path(), parsed.query()), (path, query));
    } else {
        assert!(asked.len() > usize::from(u16::MAX) - 2);
    }
    // Browsers' rules fold more than others.
    let url = url::Url::parse(&format!("http://h{asked}")).unwrap();
    assert_eq!(url.path(), path);
    // Not even who decodes it, or cuts parameters off, comes to another path.
    let decoded = String::from_utf8_lossy(&percent_decode_str(path).collect::<Vec<_>>()).into_owned();
    assert!(!decoded.chars().any(|char| char.is_ascii_control()), "{asked}");
    assert!(!decoded.split(['/', '\\']).any(|segment| matches!(segment.split(';').next(), Some("." | ".."))), "{asked}");
    let within = pieces.iter().all(|piece| match piece {
        Piece::Variable(name) => WITHIN.contains(name) || name.starts_with("parts."),
        Piece::Text(_) => true,
    });
    if within {
        assert_eq!(path.matches('/').count(), fixed_path.matches('/').count(), "{written} {asked}");
    }
    // The query has the pairs that were written, or fewer, and each under its name.
    let pairs = |query: Option<&str>| query.map(|query| query.split('&').map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default();
    let (fixed, pairs) = (pairs(fixed_query), pairs(query));
    assert!(pairs.len() <= fixed.len(), "{written} {asked}");
    assert!(url.query_pairs().count() <= fixed.len(), "{written} {asked}");
    let (whole, partial) = (written.split_once('?').map_or("", |(_, query)| query), |pair: &String| pair.contains('{'));
    let names: Vec<_> = whole.split('&').map(str::to_owned).collect();
    if !names.iter().any(|pair| partial(&pair.split('=').next().unwrap_or_default().to_owned())) {
        for pair in &pairs {
            let name = pair.split('=').next();
            assert!(fixed.iter().any(|fixed| fixed.split('=').next() == name), "{written} {asked}");
        }
    }
});
