use super::*;
use crate::policy::kit::{Kit, mistakes};

/// What an answer says after the way up, in the order of the names.
fn said(config: &str, service: &[(&'static str, &str)]) -> Vec<String> {
    let mut kit = Kit::<SecurityHeaders>::of(config);
    let mut res = ResponseHeader::build(200, None).unwrap();
    for (name, value) in service {
        res.append_header(*name, *value).unwrap();
    }
    kit.policy.response(&mut res, &kit.req, &mut kit.cx);
    let mut lines: Vec<_> = res.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

/// Everything off but this.
fn only(setting: &str) -> String {
    let off = r#""content_type_options":"off","referrer_policy":"off","permissions_policy":"off","cross_origin_opener_policy":"off","cross_origin_resource_policy":"off""#;
    format!("{{{off},{setting}}}")
}

#[test]
fn one_word_is_enough_for_what_harms_hardly_anyone() {
    assert_eq!(
        said("{}", &[("Server", "nginx/1.2"), ("X-Powered-By", "PHP"), ("X-Other", "stays")]),
        [
            "content-security-policy: frame-ancestors 'none'",
            "cross-origin-opener-policy: same-origin",
            "cross-origin-resource-policy: same-origin",
            "permissions-policy: accelerometer=(), camera=(), geolocation=(), gyroscope=(), magnetometer=(), microphone=(), payment=(), usb=()",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "x-other: stays",
        ]
    );
}

#[test]
fn each_header_can_be_left_out_or_said_otherwise() {
    assert_eq!(said(&only(r#""frames":"off","remove":[]"#), &[("Server", "a")]), ["server: a"]);
    let config = r#"{"content_type_options":"off","frames":"off","referrer_policy":"strict-origin","permissions_policy":"camera=(self), usb=*",
        "cross_origin_opener_policy":"same-origin-allow-popups","cross_origin_resource_policy":"cross-origin",
        "cross_origin_embedder_policy":"require-corp","content_security_policy":"default-src 'self'","remove":["X-Runtime"]}"#;
    assert_eq!(
        said(config, &[("Server", "a"), ("X-Runtime", "3")]),
        [
            "content-security-policy: default-src 'self'",
            "cross-origin-embedder-policy: require-corp",
            "cross-origin-opener-policy: same-origin-allow-popups",
            "cross-origin-resource-policy: cross-origin",
            "permissions-policy: camera=(self), usb=*",
            "referrer-policy: strict-origin",
            "server: a",
        ]
    );
}

#[test]
fn frames_are_said_in_both_headers_that_can() {
    for (setting, lines) in [
        (r#""frames":"same_origin""#, &["content-security-policy: frame-ancestors 'self'", "x-frame-options: SAMEORIGIN"][..]),
        (r#""frames":["'self'","https://*.example.com"]"#, &["content-security-policy: frame-ancestors 'self' https://*.example.com"]),
        (
            r#""content_security_policy":"default-src 'self'; ""#,
            &["content-security-policy: default-src 'self'; frame-ancestors 'none'", "x-frame-options: DENY"],
        ),
        (
            r#""content_security_policy":"frame-ancestors https://a.example""#,
            &["content-security-policy: frame-ancestors https://a.example"],
        ),
    ] {
        assert_eq!(said(&only(setting), &[]), lines, "{setting}");
    }
}

#[test]
fn the_word_of_the_service_stands() {
    let lines = said("{}", &[("Referrer-Policy", "unsafe-url"), ("Permissions-Policy", "usb=*")]);
    assert!(
        lines.contains(&"referrer-policy: unsafe-url".to_owned()) && lines.contains(&"permissions-policy: usb=*".to_owned()),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 7);
    let frames = |service: &[(&'static str, &str)]| said(&only(r#""content_security_policy":"img-src *""#), service);
    // Neither header may undo the other.
    assert_eq!(frames(&[("X-Frame-Options", "SAMEORIGIN")]), ["content-security-policy: img-src *", "x-frame-options: SAMEORIGIN"]);
    let own = "default-src 'self'; frame-ancestors https://partner.example";
    assert_eq!(frames(&[("Content-Security-Policy", own)]), [format!("content-security-policy: {own}")]);
    let own = "default-src 'self'";
    assert_eq!(
        frames(&[("Content-Security-Policy", own)]),
        [format!("content-security-policy: {own}"), "x-frame-options: DENY".to_owned()]
    );
}

#[test]
fn it_is_replaced_where_that_is_asked_for() {
    let service =
        [("X-Frame-Options", "SAMEORIGIN"), ("Content-Security-Policy", "frame-ancestors *"), ("Content-Security-Policy", "img-src *")];
    assert_eq!(said(&only(r#""overwrite":true"#), &service), ["content-security-policy: frame-ancestors 'none'", "x-frame-options: DENY"]);
    assert_eq!(
        said(&only(r#""overwrite":true,"frames":["https://a.example"]"#), &service),
        ["content-security-policy: frame-ancestors https://a.example"]
    );
    let untouched = said(&only(r#""overwrite":true,"frames":"off""#), &service[..1]);
    assert_eq!(untouched, ["x-frame-options: SAMEORIGIN"], "of which nothing is said");
}

#[test]
fn every_setting_that_no_browser_would_heed_is_told() {
    let config = r#"{"permissions_policy":"geolocation 'none'","content_security_policy":"defaults-src 'self'","frames":["https://a.example","b.example"],
        "remove":["Content-Length","X Y"]}"#;
    let told = mistakes::<SecurityHeaders>(config);
    let wanted = [
        "permissions_policy: `geolocation 'none'` is no permission",
        "content_security_policy: no browser knows the directive `defaults-src`",
        "frames[1]: `b.example` is no origin",
        "remove[0]: `Content-Length` belongs to the connection",
        "remove[1]: `X Y` is not a header name",
    ];
    assert!(told.len() == wanted.len() && told.iter().zip(wanted).all(|(told, wanted)| told.starts_with(wanted)), "{told:?}");
    for (config, wanted) in [
        (r#"{"frames":[]}"#, "frames: no origin is listed"),
        (r#"{"permissions_policy":""}"#, "permissions_policy: `` is no permission"),
        (r#"{"permissions_policy":"camera=none"}"#, "permissions_policy: `camera=none` is no permission"),
        (r#"{"content_security_policy":""}"#, "content_security_policy: this says nothing"),
    ] {
        let told = mistakes::<SecurityHeaders>(config);
        assert!(told.len() == 1 && told[0].starts_with(wanted), "{config}: {told:?}");
    }
}

#[test]
fn the_settings_read_from_yaml() {
    let read = crate::policy::kit::yaml::<Vec<crate::policy::Entry>>;
    assert!(
        read("[security_headers, security_headers: { frames: off, referrer_policy: off, frames: off }]").is_err(),
        "a key stands twice"
    );
    assert!(
        read("[security_headers, security_headers: { frames: [https://a.example], referrer_policy: off, permissions_policy: off }]")
            .is_ok()
    );
    let wrong = read("- security_headers: { frames: nobody }").unwrap_err();
    assert!(wrong.contains("`deny`, `same_origin`, `off`, or a list of origins"), "{wrong}");
    let wrong = read("- security_headers: { referrer_policy: no-referer }").unwrap_err();
    assert!(wrong.contains("did you mean `no-referrer`?"), "{wrong}");
}
