//! Paths that are made of others: at the service, and in the place that a redirect leads to.

use crate::support::gateway::check;
use crate::support::{Gateway, Origin};

#[test]
fn parameters_lead_to_no_other_path_at_the_service() {
    let origin = Origin::start();
    let gateway = Gateway::start(&format!(
        r#"
services:
  s: {{ targets: ["http://{}"] }}
  mock: {{ mock: {{ echo: true }} }}
routes:
  - {{ name: home, match: {{ path: "/~{{user}}" }}, to: s, path: "/home/{{user}}/public" }}
  - {{ name: regex, match: {{ path: '~/rx/x(?<name>.*)' }}, to: s, path: "/data/{{name}}" }}
  - {{ name: mock, match: {{ path: "/m/v{{user}}" }}, to: mock, path: "/home/{{user}}/x" }}
"#,
        origin.address
    ));
    let mut client = gateway.client();
    for target in ["/~..", "/~.", "/~..;a", "/rx/x../etc/passwd", "/rx/x..", "/rx/x/a/..;/b", "/m/v.."] {
        client.get(target).problem(400, "bad-request");
    }
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
    for (target, made) in
        [("/~ann", "/home/ann/public"), ("/~...?a=..", "/home/.../public?a=.."), ("/rx/x", "/data/"), ("/rx/x/a/b", "/data/a/b")]
    {
        assert_eq!(client.get(target).status, 200, "{target}");
        assert_eq!(origin.last().target, made);
    }
}

#[test]
fn a_path_that_no_service_should_get_is_refused_when_it_is_read() {
    for (path, place) in [("/a/../b/%zz/{id}", "path"), ("/a/../b/{id}", "path"), ("/./a", "path")] {
        let (right, said) = check(&format!(
            "services: {{ s: {{ mock: {{ echo: true }} }} }}\nroutes:\n  - {{ name: a, match: {{ path: \"/{{id}}\" }}, to: s, path: \"{path}\" }}\n"
        ));
        assert!(!right && said.contains(place), "{path}: {said}");
    }
}

#[test]
fn semicolons_are_kept_or_refused() {
    let config = |semicolons: &str| {
        format!("paths: {{ {semicolons} }}\nservices: {{ s: {{ mock: {{ echo: true }} }} }}\nroutes: [{{ name: a, match: {{}}, to: s }}]\n")
    };
    let gateway = Gateway::start(&config(""));
    assert_eq!(gateway.client().get("/map;lat=50").json()["path"], "/map;lat=50");
    let gateway = Gateway::start(&config("semicolons: refuse"));
    for target in ["/key;a/x", "/key%3Ba/x", "/key%3ba/x"] {
        gateway.client().get(target).problem(400, "bad-request");
    }
    assert_eq!(gateway.client().get("/key/x?a;b").status, 200);
}

#[test]
fn a_value_of_the_request_redirects_to_no_other_host() {
    let gateway = Gateway::start(
        r#"
routes:
  - { name: go, match: { path: /go }, redirect: { to: "/{query.next}", query: false } }
"#,
    );
    let mut client = gateway.client();
    for (next, location) in [("%5Cevil.example", "/%5Cevil.example"), ("%09//evil.example", "/%09%2F%2Fevil.example"), ("a", "/a")] {
        assert_eq!(client.get(&format!("/go?next={next}")).header("location"), Some(location));
    }
}
