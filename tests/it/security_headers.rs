//! What browsers are told to be careful with.

use crate::support::client::H2;
use crate::support::gateway::check;
use crate::support::{Answer, Gateway, Origin, block_on};

#[test]
fn every_answer_says_so_and_the_word_of_the_service_stands() {
    let origin = Origin::answering(|seen| {
        let mut answer = Answer::new("here".to_owned());
        answer.headers_mut().insert("server", "tea/1.0".parse().unwrap());
        if seen.target == "/own" {
            answer.headers_mut().insert("content-security-policy", "frame-ancestors https://partner.example".parse().unwrap());
            answer.headers_mut().insert("referrer-policy", "origin".parse().unwrap());
        }
        answer
    });
    let gateway = Gateway::start(&format!(
        r#"
services: {{ up: {{ targets: ["http://{}"] }} }}
policies: [security_headers]
routes:
  - {{ name: closed, match: {{ path: /closed }}, policies: [api_key], to: up }}
  - {{ name: off, match: {{ path: /off }}, policies: [{{ security_headers: off }}], to: up }}
  - {{ name: replaced, match: {{ path: /own, headers: {{ x-replace: any }} }}, policies: [{{ security_headers: {{ overwrite: true }} }}], to: up }}
  - {{ name: up, match: {{ path: "/{{rest...}}" }}, to: up }}
"#,
        origin.address
    ));
    let none = "frame-ancestors 'none'";
    let cases = [
        ("/a", "", 200, Some(none), Some("no-referrer"), Some("DENY")),
        ("/own", "", 200, Some("frame-ancestors https://partner.example"), Some("origin"), None),
        ("/own", "any", 200, Some(none), Some("no-referrer"), Some("DENY")),
        ("/closed", "", 401, Some(none), Some("no-referrer"), Some("DENY")),
        ("/off", "", 200, None, None, None),
    ];
    let mut client = gateway.client();
    for (path, replace, status, policy, referrer, options) in cases {
        let answer = client.get_with(path, &if replace.is_empty() { String::new() } else { format!("X-Replace: {replace}\r\n") });
        let said = ["content-security-policy", "referrer-policy", "x-frame-options"].map(|name| answer.header(name));
        assert_eq!((answer.status, said), (status, [policy, referrer, options]), "{path}");
        assert_eq!(answer.header("server"), (path == "/off").then_some("tea/1.0"));
    }
    block_on(async {
        let client = H2::connect(gateway.address).await;
        for (path, replace, status, policy, referrer, options) in cases {
            let headers: Vec<_> = Some(("x-replace", replace)).filter(|_| !replace.is_empty()).into_iter().collect();
            let (head, _) = client.request("GET", path, &headers, &[]).await;
            let said = ["content-security-policy", "referrer-policy", "x-frame-options"];
            let said = said.map(|name| head.headers.get(name).map(|value| value.to_str().unwrap()));
            assert_eq!((head.status.as_u16(), said), (status, [policy, referrer, options]), "{path}");
        }
    });
}

#[test]
fn what_no_browser_would_heed_is_told_all_at_once() {
    let (right, said) = check(
        r#"
routes:
  - name: a
    policies:
      - security_headers:
          permissions_policy: geolocation 'none'
          content_security_policy: "default-src self"
          frames: [b.example]
    reply: { text: a }
"#,
    );
    assert!(!right);
    for wanted in [":6:31", "is no permission", ":7:36", "write `'self'`", ":8:20", "`b.example` is no origin"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
