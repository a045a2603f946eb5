//! Tokens that are taken back before their time, by a file that is read again when it changes.

use serde_json::json;

use crate::introspection::{Knower, config};
use crate::support::gateway::Folder;
use crate::support::idp::{bearer, now};
use crate::support::{Gateway, Idp};

/// Puts another file in its place, as a deployment does.
fn revoke(gateway: &Gateway, text: &str) -> &'static str {
    gateway.reloaded(|| {
        let file = gateway.folder.file("new.txt", text);
        std::fs::rename(file, gateway.folder.path().join("revoked.txt")).unwrap();
    })
}

#[test]
fn a_token_is_refused_from_when_on_it_is_on_the_list() {
    let (idp, knower) = (Idp::start(), Knower::start());
    let folder = Folder::new();
    folder.file("revoked.txt", "# nobody yet\n");
    let jwt = format!("issuer: \"{}\", audience: api, revoked: revoked.txt, fetch: {{ allow_http: true }}", idp.issuer);
    let by_jwt = Gateway::start_in(folder, &crate::jwks::config(&jwt));
    let folder = Folder::new();
    folder.file("revoked.txt", "");
    let asked = format!("url: \"{}\", audience: api, revoked: revoked.txt", knower.url());
    let by_introspection = Gateway::start_in(folder, &config(&asked));
    let claims = |id: &str, sub: &str, issued: u64| json!({"iss": idp.issuer, "aud": "api", "exp": now() + 3600, "iat": issued, "jti": id, "sub": sub});
    // The first two were issued before the year 2020.
    let tokens = [("1", "ada", 1_500_000_000), ("2", "bob", 1_500_000_000), ("3", "ada", 1_700_000_000), ("4", "bob", 1_700_000_000)];
    let signed: Vec<_> = tokens.iter().map(|(id, sub, issued)| idp.token_of("k1", &claims(id, sub, *issued))).collect();
    for (id, sub, issued) in &tokens {
        knower.issue_with(id, claims(id, sub, *issued));
    }
    let statuses = || {
        let of = |gateway: &Gateway, token: &str| gateway.client().get_with("/", &bearer(token)).status;
        let one: Vec<_> = signed.iter().map(|token| of(&by_jwt, token)).collect();
        let other: Vec<_> = tokens.iter().map(|(id, ..)| of(&by_introspection, id)).collect();
        assert_eq!(one, other);
        one
    };
    assert_eq!(statuses(), [200; 4]);
    for (list, wanted) in [
        ("jti 4\n", [200, 200, 200, 401]),
        ("sub ada before 2020-01-01T00:00:00Z\n", [401, 200, 200, 200]),
        ("sub bob\njti 1\n", [401, 401, 200, 401]),
        ("", [200; 4]),
    ] {
        assert_eq!([revoke(&by_jwt, list), revoke(&by_introspection, list)], ["unchanged"; 2]);
        assert_eq!(statuses(), wanted, "{list}");
    }
    revoke(&by_jwt, "jti 1\n");
    let answer = by_jwt.client().get_with("/", &bearer(&signed[0]));
    answer.problem(401, "unauthorized");
    assert!(answer.header("www-authenticate").unwrap().ends_with("error=\"invalid_token\", error_description=\"the token was revoked\""));
    // What is wrong with a new list is told, and the old one stays.
    assert_eq!(revoke(&by_jwt, "jti\n"), "refused");
    by_jwt.await_said("revoked.txt, line 1: this is none of its lines");
    assert_eq!(by_jwt.client().get_with("/", &bearer(&signed[0])).status, 401);
    assert_eq!(knower.asked("1"), 1, "it was told of each token once");
}
