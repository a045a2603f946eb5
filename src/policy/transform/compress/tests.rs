use super::*;
use crate::policy::kit::{Kit, build};
use crate::state::Shared;

/// The form that an answer was given.
fn form(cx: &Ctx) -> Option<Coding> {
    if let Some(Recoding::To { coding, .. }) = cx.recoding { Some(coding) } else { None }
}

/// What becomes of an answer with these headers, for a client that says this of itself: its `Content-Encoding`, and whether it varies.
fn outcome(config: &str, request: &[(&str, &str)], status: u16, answer: &[(&'static str, &str)]) -> (Option<String>, bool) {
    let mut kit = Kit::<Compress>::of(config);
    for (name, value) in request {
        kit = kit.header(name, value);
    }
    let mut res = ResponseHeader::build(status, None).unwrap();
    for (name, value) in answer {
        res.append_header(*name, *value).unwrap();
    }
    kit.policy.response(&mut res, &kit.req, &mut kit.cx);
    let coding = res.headers.get("content-encoding").map(|coding| coding.to_str().unwrap().to_owned());
    assert_eq!(form(&kit.cx).map(Coding::name), coding.as_deref().filter(|_| !answer.iter().any(|(name, _)| *name == "Content-Encoding")));
    (coding, res.headers.contains_key("vary"))
}

#[test]
fn the_client_gets_what_it_likes_best_of_what_there_is() {
    for (accepted, coding) in [
        ("gzip", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("GZIP", Some("gzip")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip, deflate, br", Some("br")),
        ("br;q=0.5, gzip;q=0.8", Some("gzip")),
        ("br;q=0.8,gzip ; q=0.8", Some("br")),
        ("zstd;q=0, br;q=0.001", Some("br")),
        ("*", Some("zstd")),
        ("*;q=0.5, gzip", Some("gzip")),
        ("*, zstd;q=0", Some("br")),
        ("gzip;q=0.5, identity", None),
        ("gzip;q=0.5, identity;q=0.5", Some("gzip")),
        ("identity;q=0, gzip", Some("gzip")),
        ("*;q=0", None),
        ("gzip;q=0", None),
        ("deflate", None),
        ("identity", None),
        ("", None),
        ("gzip;q=2", None),
        ("gzip;q=1.001", None),
        ("gzip;q=0.1234", None),
        ("gzip;level=9", None),
        ("gzip;q=1.000", Some("gzip")),
    ] {
        let (found, varies) = outcome("{}", &[("Accept-Encoding", accepted)], 200, &[("Content-Type", "application/json")]);
        assert_eq!((found.as_deref(), varies), (coding, true), "{accepted}");
    }
    let (found, varies) = outcome("{}", &[], 200, &[("Content-Type", "text/html; charset=utf-8")]);
    assert_eq!((found, varies), (None, true));
    let both = [("Accept-Encoding", "br;q=0.5"), ("Accept-Encoding", "gzip")];
    assert_eq!(outcome(r#"{"with":["br","gzip"]}"#, &both, 200, &[("Content-Type", "text/html")]).0.as_deref(), Some("gzip"));
    assert_eq!(
        outcome(r#"{"with":["gzip"]}"#, &[("Accept-Encoding", "zstd, *;q=0.1")], 200, &[("Content-Type", "text/css")]).0.as_deref(),
        Some("gzip")
    );
}

#[test]
fn what_would_not_become_shorter_or_must_not_change_is_left_alone() {
    let json = ("Content-Type", "application/json");
    for (status, answer, coding, varies) in [
        (200, &[json][..], true, true),
        (404, &[json], true, true),
        (500, &[json], true, true),
        (204, &[json], false, false),
        (205, &[json], false, false),
        (206, &[json], false, false),
        (304, &[json], false, true),
        (200, &[json, ("Content-Length", "1024")], true, true),
        (200, &[json, ("Content-Length", "1023")], false, false),
        (200, &[("Content-Type", "image/png")], false, false),
        (200, &[("Content-Type", "image/svg+xml")], true, true),
        (200, &[("Content-Type", "text/event-stream")], false, false),
        (200, &[("Content-Type", "Text/Event-Stream; charset=utf-8")], false, false),
        (200, &[("Content-Type", "application/grpc+json")], false, false),
        (200, &[], false, false),
        (200, &[json, ("Content-Encoding", "br")], false, false),
        (200, &[json, ("Cache-Control", "max-age=5, No-Transform")], false, false),
    ] {
        let found = outcome("{}", &[("Accept-Encoding", "gzip")], status, answer);
        let encoded = found.0.as_deref() == Some("gzip");
        assert_eq!((encoded, found.1), (coding, varies), "{status} {answer:?}");
    }
    let asked = [("Accept-Encoding", "gzip"), ("Cache-Control", "no-transform")];
    assert_eq!(outcome("{}", &asked, 200, &[json]), (None, false));
    let insists = [("Accept-Encoding", "gzip, identity;q=0")];
    for answer in [&[json, ("Content-Length", "7")], &[("Content-Type", "image/png"), ("Content-Length", "7")]] {
        assert_eq!(outcome("{}", &insists, 200, answer), (Some("gzip".to_owned()), true), "{answer:?}");
    }
}

#[test]
fn events_are_encoded_only_where_they_are_named() {
    let events = [("Content-Type", "text/event-stream")];
    for (config, accepted, named) in [
        ("{}", "gzip", false),
        (r#"{"types":["text/*"]}"#, "gzip", false),
        (r#"{"types":["*+json"]}"#, "gzip, identity;q=0", false),
        (r#"{"types":["text/event-stream"]}"#, "gzip", true),
        (r#"{"types":["text/*","text/event-stream"],"from":"1MiB"}"#, "gzip", true),
    ] {
        let (coding, varies) = outcome(config, &[("Accept-Encoding", accepted)], 200, &events);
        assert_eq!((coding.is_some(), varies), (named, named), "{config}");
    }
}

#[test]
fn an_answer_that_announces_trailers_keeps_them() {
    let mut kit = Kit::<Compress>::of("{}").header("Accept-Encoding", "gzip");
    let mut res = ResponseHeader::build(200, None).unwrap();
    res.insert_header("Content-Type", "application/json").unwrap();
    kit.cx.trailers = true;
    kit.policy.response(&mut res, &kit.req, &mut kit.cx);
    assert!(form(&kit.cx).is_none() && !res.headers.contains_key("content-encoding"));
}

#[test]
fn where_all_places_are_taken_an_answer_stays_as_it_is() {
    let mut kit = Kit::<Compress>::of("{}").header("Accept-Encoding", "gzip");
    let whole = [("Content-Type", "text/plain"), ("Content-Length", "5000"), ("ETag", "\"a\""), ("Accept-Ranges", "bytes")];
    let places: Vec<_> = std::iter::from_fn(|| kit.policy.encoders.enter()).collect();
    let up = |kit: &mut Kit<Compress>| {
        let mut res = ResponseHeader::build(200, None).unwrap();
        for (name, value) in whole {
            res.append_header(name, value).unwrap();
        }
        kit.policy.response(&mut res, &kit.req, &mut kit.cx);
        res.headers.clone()
    };
    let mut left = up(&mut kit);
    assert!(matches!(kit.cx.recoding, Some(Recoding::Crowded)));
    assert_eq!(left.remove("vary").unwrap(), "Accept-Encoding", "another time it may be encoded");
    assert_eq!(left.len(), whole.len());
    assert!(whole.iter().all(|(name, value)| left[*name] == *value), "{left:?}");
    drop(places);
    assert_eq!(up(&mut kit)["content-encoding"], "gzip");
    kit.cx.recoding = None;
    let places: Vec<_> = std::iter::from_fn(|| kit.policy.encoders.enter()).collect();
    assert_eq!(places.len(), Encoders::MOST, "the place is free again");
}

#[test]
fn what_is_said_of_the_bytes_goes_and_the_tag_becomes_another() {
    for (tag, made) in [("\"a\"", "W/\"a~encoded\""), ("W/\"a\"", "W/\"a\"")] {
        let mut kit = Kit::<Compress>::of("{}").header("Accept-Encoding", "br");
        let mut res = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("Content-Type", "text/plain"),
            ("ETag", tag),
            ("Accept-Ranges", "bytes"),
            ("Content-Length", "5000"),
            ("Vary", "accept-encoding"),
        ] {
            res.append_header(name, value).unwrap();
        }
        kit.policy.response(&mut res, &kit.req, &mut kit.cx);
        assert_eq!((&res.headers["etag"], res.headers.get_all("vary").iter().count()), (&HeaderValue::from_static(made), 1));
        assert!(!res.headers.contains_key("accept-ranges") && !res.headers.contains_key("content-length"));
    }
}

/// What a service is asked with, and the tag of its 304 for `"a"` as the client gets it.
async fn asked(request: &[(&str, &str)], version: Version) -> (Vec<String>, String) {
    let mut kit = Kit::<Compress>::of("{}");
    for (name, value) in request {
        kit = kit.header(name, value);
    }
    kit.req.set_version(version);
    kit.request().await.unwrap();
    let lines = ["if-none-match", "if-match", "if-range"].into_iter().flat_map(|name| kit.req.headers.get_all(name));
    let lines = lines.map(|line| line.to_str().unwrap().to_owned()).collect();
    let mut res = ResponseHeader::build(304, None).unwrap();
    res.insert_header("ETag", "\"a\"").unwrap();
    kit.policy.response(&mut res, &kit.req, &mut kit.cx);
    assert!(form(&kit.cx).is_none() && !res.headers.contains_key("content-encoding"));
    assert_eq!(res.headers["vary"], "Accept-Encoding");
    (lines, res.headers["etag"].to_str().unwrap().to_owned())
}

#[tokio::test]
async fn a_304_has_the_tag_of_the_answer_that_the_client_has() {
    const OWN: &str = "W/\"a~encoded\"";
    let accepts = ("Accept-Encoding", "gzip");
    for (tags, service, told) in [
        (OWN, "\"a\"", OWN),
        // What it has was not encoded: too short, say.
        ("\"a\"", "\"a\"", "\"a\""),
        ("W/\"b~encoded\", \"a\"", "\"b\", \"a\"", "\"a\""),
        ("\"b\", W/\"a~encoded\"", "\"b\", \"a\"", OWN),
        ("W/\"a\"", "W/\"a\"", "\"a\""),
        ("*", "*", "\"a\""),
    ] {
        let found = asked(&[accepts, ("If-None-Match", tags)], Version::HTTP_11).await;
        assert_eq!(found, (vec![service.to_owned()], told.to_owned()), "{tags}");
    }
    // A client that cannot read that form any more gets the answer in another.
    for (request, version) in [
        (&[("If-None-Match", OWN)][..], Version::HTTP_11),
        (&[accepts, ("If-None-Match", OWN)], Version::HTTP_10),
        (&[("Accept-Encoding", "gzip;q=0"), ("If-None-Match", OWN)], Version::HTTP_2),
    ] {
        assert_eq!(asked(request, version).await, (vec![OWN.to_owned()], "\"a\"".to_owned()), "{request:?}");
    }
}

#[tokio::test]
async fn a_precondition_on_an_encoded_answer_is_one_on_that_of_the_service() {
    let own = "W/\"a~encoded\"";
    assert_eq!(asked(&[("If-Match", own)], Version::HTTP_11).await.0, ["\"a\""]);
    assert_eq!(asked(&[("If-Match", "W/\"a\"")], Version::HTTP_11).await.0, ["W/\"a\""]);
    let range = [("Accept-Encoding", "gzip"), ("If-Range", own)];
    assert_eq!(asked(&range, Version::HTTP_11).await.0, [own], "parts of another form would be put to what it has");
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    for (config, path) in [
        (r#"{"with":[]}"#, "with"),
        (r#"{"with":["gzip","br","gzip"]}"#, "with[2]"),
        (r#"{"types":[]}"#, "types"),
        (r#"{"types":["text/*","*/*"]}"#, "types[1]"),
        (r#"{"types":["json"]}"#, "types[0]"),
        (r#"{"types":["text/html; charset=utf-8"]}"#, "types[0]"),
    ] {
        assert_eq!(build::<Compress>(config, "[]", &Shared::default()).unwrap_err().path.to_string(), path, "{config}");
    }
}
