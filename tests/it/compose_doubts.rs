//! What `tidegate check` says of compositions: every mistake at once, and what works and is hardly meant.

use crate::support::gateway::check;

/// What is said of a route with this `compose`, and with these policies: whether it can be built, then each warning or error without its fix.
fn told(policies: &str, compose: &str) -> (bool, Vec<String>) {
    let compose = compose.replace('\n', "\n      ");
    let (content, said) = check(&format!(
        "services:\n  up: {{ targets: [\"http://127.0.0.1:9\"], timeouts: {{ total: 1s }} }}\nroutes:\n  - name: whole\n    match: {{ path: \"/whole/{{id}}/{{version}}\" }}\n    policies: [{policies}]\n    compose:\n      {compose}\n"
    ));
    let lines = said.lines().map(|line| line.strip_prefix("warning: ").unwrap_or(line));
    (content, lines.filter(|line| line.starts_with("tidegate.yaml:") && !line.ends_with("nothing is wrong")).map(str::to_owned).collect())
}

#[test]
fn what_works_and_is_hardly_meant_is_warned_of() {
    let (content, said) = told(
        "",
        r#"template: { user: "{parts.user.body}", who: ["{consumer.name}"], cert: "{client_cert.subject}", id: "{version}" }
parts:
  user: { get: "up:/users/{id}?sub={claims.sub}", required: true, headers: { X-Team: "{parts.team.body.name}" } }
  team: { get: "up:/teams/{claims.team}", timeout: 1500ms }
  spare: { get: "up:/spare" }
  told: { post: "up:/told", body: { at: [{ who: "{claims.sub}" }] } }
  guard: { get: "up:/guard", required: true }"#,
    );
    assert!(content, "{said:?}");
    let expected = [
        "tidegate.yaml:10:22: routes[0].compose.parts.user.get: `{claims.sub}` never has a value here",
        "tidegate.yaml:11:22: routes[0].compose.parts.team.get: `{claims.team}` never has a value here",
        "tidegate.yaml:11:58: routes[0].compose.parts.team.timeout: the service `up` has given up before: its `timeouts.total` is 1s",
        "tidegate.yaml:13:55: routes[0].compose.parts.told.body.at[0].who: `{claims.sub}` never has a value here",
        "tidegate.yaml:8:52: routes[0].compose.template.who[0]: `{consumer.name}` never has a value here",
        "tidegate.yaml:8:78: routes[0].compose.template.cert: `{client_cert.subject}` never has a value here",
        "tidegate.yaml:11:9: routes[0].compose.parts.team: without this part there is no answer: `user` needs it, and is required",
        "tidegate.yaml:12:9: routes[0].compose.parts.spare: this part is asked, and nobody uses what it says",
    ];
    assert_eq!(said, expected, "{said:#?}");
}

#[test]
fn what_may_be_meant_is_not_warned_of() {
    let jwt = "jwt: { issuer: any, audience: any, consumer: sub, keys: [{ algorithm: HS256, secret: 0123456789abcdef0123456789abcdef }] }";
    let (content, said) = told(
        jwt,
        r#"template: { all: ["{parts.list.body...}"], who: "{consumer.name}" }
parts:
  user: { get: "up:/users/{version}", headers: { X-Sub: "{claims.sub}" }, timeout: 1s }
  list: { get: "up:/of/{parts.user.body.id}" }
  done: { post: "up:/done" }"#,
    );
    assert_eq!((content, said), (true, Vec::new()));
}

#[test]
fn every_mistake_of_a_shape_is_told_with_its_place() {
    let (content, said) = told(
        "",
        r#"parts:
  a: { get: "up:/a/%2{id}", shape: { pick: [x, x.y], drop: [z], rename: { x: "p.q" }, move: { n: m } } }
  b: { get: "up:/b/[1]", shape: { take: "", flatten: ["*"] } }"#,
    );
    assert!(!content);
    let expected = [
        "tidegate.yaml:9:19: routes[0].compose.parts.a.get: `/a/%2` has a `%` that two hex digits do not follow",
        "tidegate.yaml:9:54: routes[0].compose.parts.a.shape.pick[1]: `x.y` is part of `x`, which stands here too; the other is at tidegate.yaml:9",
        "tidegate.yaml:9:67: routes[0].compose.parts.a.shape.drop[0]: `z` is not picked, so it is not there to be dropped",
        "tidegate.yaml:9:84: routes[0].compose.parts.a.shape.rename.x: `p.q` is a path, and not one name",
        "tidegate.yaml:9:104: routes[0].compose.parts.a.shape.move.n: `n` is not picked, so it is never there",
        "tidegate.yaml:10:19: routes[0].compose.parts.b.get: '[' cannot stand in a path or query",
        "tidegate.yaml:10:47: routes[0].compose.parts.b.shape.take: the path is empty",
        "tidegate.yaml:10:61: routes[0].compose.parts.b.shape.flatten[0]: `*` in `*` is no wildcard",
    ];
    assert_eq!(said, expected, "{said:#?}");
}
