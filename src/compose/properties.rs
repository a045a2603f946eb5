//! What holds for every target, whatever a client and another part say, tried on many made by chance.

use std::sync::Arc;

use http::uri::PathAndQuery;
use percent_encoding::percent_decode_str;
use pingora_http::{RequestHeader, ResponseHeader};
use serde_json::json;

use super::outcome::{Outcome, judge};
use super::target::Target;
use super::text::{Facts, Items, Scope};
use crate::body::json::Dice;
use crate::ctx::testing;
use crate::routing::{PathOptions, path};
use crate::state::Shared;
use crate::types::{Piece, pieces};
use crate::upstream::{Answer, Base, DnsConfig, Names, Service, ServiceConfig};

/// What values and texts are made of: whatever means something in a URL to somebody.
const BITS: [&str; 24] = [
    "a", "Z9", ".", "..", "/", "//", "\\", "%2e", "%2F", "%5c", "%25", "%", ";", "?", "#", "&", "=", "+", " ", "\r\n", "\0", "é", "[::1]",
    ":",
];

const VARIABLES: [&str; 9] = [
    "{id}",
    "{rest...}",
    "{query.q}",
    "{header.X}",
    "{claims.c}",
    "{request.path}",
    "{request.host}",
    "{parts.a.body}",
    "{parts.b.body.x}",
];

fn some(dice: &mut Dice, most: usize, bits: &[&str]) -> String {
    (0..dice.roll(most)).map(|_| dice.pick(bits)).collect()
}

fn service() -> Arc<Service> {
    let config: ServiceConfig<()> = serde_json::from_value(json!({"mock": {}})).unwrap();
    let names = Arc::new(Names::new(&DnsConfig::default()));
    let base = Base { shared: &Shared::default(), folder: std::path::Path::new(""), names: &names };
    Arc::new(Service::build("s", &config, &base).unwrap())
}

fn part(body: String) -> Outcome {
    let answer = Answer { head: Box::new(ResponseHeader::build(200, None).unwrap()), body: body.into(), charge: None };
    Outcome::Got(Box::new(judge(answer, None, &[], 1 << 20, &super::cookies::Cookies::None).map_err(|missing| missing.detail).unwrap()))
}

/// The text of a template with a letter for each variable.
fn skeleton(template: &str) -> String {
    pieces(template).unwrap().iter().map(|piece| if let Piece::Text(text) = piece { text.as_str() } else { "x" }).collect()
}

#[test]
fn whatever_values_say_a_target_is_one_path_and_query_and_the_one_that_is_written() {
    let (mut rendered, mut refused) = (0, 0);
    let service = service();
    for seed in 0..30_000 {
        let dice = &mut Dice(seed);
        let texts = ["a", "b", "/", "/", "/v.", ".", "%2", "%2F", "[", "?", "?q=", "&", "&x=", "=", ";"];
        let mut template = "/".to_owned();
        for _ in 0..1 + dice.roll(7) {
            template.push_str(if dice.roll(2) == 0 { dice.pick(&texts) } else { dice.pick(&VARIABLES) });
        }
        let scope = Scope { parts: &["a", "b"], params: &["id".into(), "rest".into()], items: Items::None };
        let Ok(target) = Target::build(service.clone(), &template, scope) else { continue };
        let options = PathOptions { merge_slashes: dice.roll(2) == 0, ..PathOptions::default() };
        let Ok(came) = path::normalise(&format!("/i{}", some(dice, 8, &BITS)), &options).map(|path| path.into_owned()) else { continue };
        let place = |at: usize| u32::try_from(at).unwrap();
        let end = came.get(1..).and_then(|rest| rest.find('/')).map_or(came.len(), |end| end + 1);
        let whole = place((end + 1).min(came.len()))..place(came.len());
        let mut cx = testing::ctx(&came, &[("id", 1..place(end)), ("rest", whole)]);
        cx.claims = Some(Arc::new(json!({ "c": some(dice, 5, &BITS) })));
        cx.host = dice.pick(&["api.example.com", "[::1]", "a;b"]).into();
        let mut req = RequestHeader::build("GET", b"/?q=..%2F%0a&r", None).unwrap();
        let _ = req.insert_header("X", some(dice, 4, &BITS));
        let outcomes = [part(json!(some(dice, 5, &BITS)).to_string()), part(json!({ "x": some(dice, 5, &BITS) }).to_string())];
        let Some(asked) = target.render(Facts { req: &req, cx: &cx, outcomes: &outcomes, item: None }) else {
            refused += 1;
            continue;
        };
        rendered += 1;

        let (asked_path, asked_query) = asked.split_once('?').map_or((&*asked, None), |(path, query)| (path, Some(query)));
        let parsed: PathAndQuery = asked.parse().unwrap();
        assert_eq!((parsed.path(), parsed.query()), (asked_path, asked_query), "{template}: {asked}");
        assert!(asked.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#".contains(&byte)), "{template}: {asked}");
        assert!(!asked.starts_with("//") && !asked_path.contains(['[', ']']), "{template}: {asked}");
        let decoded = String::from_utf8_lossy(&percent_decode_str(asked_path).collect::<Vec<_>>()).into_owned();
        let resolved = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
        assert!(!decoded.contains(|char: char| char.is_ascii_control()), "{template}: {asked}");
        assert!(!decoded.split(['/', '\\']).any(resolved), "{template}: {asked}");
        let written = skeleton(&template);
        let (written_path, written_query) = written.split_once('?').map_or((&*written, None), |(path, query)| (path, Some(query)));
        if !["{rest...}", "{request.path}"].iter().any(|several| template.contains(several)) {
            assert_eq!(asked_path.matches('/').count(), written_path.matches('/').count(), "{template}: {asked}");
        }
        let pairs = |query: Option<&str>| query.map_or(0, |query| query.split('&').count());
        assert!(pairs(asked_query) <= pairs(written_query), "{template}: {asked}");
    }
    assert!(rendered > 2_000 && refused > 500, "{rendered} {refused}");
}
