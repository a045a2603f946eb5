use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::policy::kit::{Kit, challenged, mistakes_among};

const CONSUMERS: &str = r#"[
    {"name":"app","groups":["gold","eu"],"labels":{"region":"eu","tier":"1"}},
    {"name":"guest","groups":["guests"]}
]"#;

/// Someone for whom policies above have found this out.
fn caller(config: &Value, consumer: &str, claims: &Value) -> Kit<Acl> {
    let mut kit = Kit::<Acl>::with_consumers(&config.to_string(), CONSUMERS);
    kit.cx.consumer = crate::policy::kit::consumers(CONSUMERS).named(consumer).cloned();
    kit.cx.claims = Some(claims).filter(|claims| !claims.is_null()).cloned().map(Arc::new);
    kit
}

/// The reason why a caller is refused, as the log tells it; none where it passes.
async fn why(config: Value, consumer: &str, claims: Value) -> Option<String> {
    match caller(&config, consumer, &claims).request().await {
        Ok(_) => None,
        Err(problem) => {
            assert_eq!(problem.kind, Kind::Forbidden, "{problem:?}");
            Some(problem.cause.unwrap())
        }
    }
}

async fn passes(config: Value, consumer: &str, claims: Value) -> bool {
    why(config, consumer, claims).await.is_none()
}

#[tokio::test]
async fn any_all_and_none_of_groups_must_be_kept() {
    for (groups, reason) in [
        (json!(["gold", "guests"]), None),
        (json!({"any": ["guests"]}), Some("groups: none of `any`")),
        (json!({"all": ["gold", "eu"]}), None),
        (json!({"all": ["gold", "guests"]}), Some("groups: not each of `all`")),
        (json!({"none": ["guests"]}), None),
        (json!({"any": ["gold"], "none": ["eu"]}), Some("groups: one of `none`")),
        (json!({"any": ["gold"], "all": ["eu"], "none": ["guests"]}), None),
    ] {
        assert_eq!(why(json!({"groups": groups}), "app", Value::Null).await.as_deref(), reason, "{groups}");
    }
}

#[tokio::test]
async fn consumers_go_by_their_names() {
    assert!(passes(json!({"consumers": ["app"]}), "app", Value::Null).await);
    assert!(!passes(json!({"consumers": ["app"]}), "guest", Value::Null).await);
    assert!(!passes(json!({"consumers": {"none": ["guest"]}}), "guest", Value::Null).await);
}

#[tokio::test]
async fn claims_and_roles_are_compared_item_by_item_and_as_they_are_written() {
    let claims = json!({
        "tenant": "acme", "roles": ["editor", "viewer"], "level": 3, "verified": true, "realm": {"roles": ["admin"]}, "a.b": "whole",
        "nothing": null, "map": {"x": 1}
    });
    for (config, expected) in [
        (json!({"claims": {"tenant": ["acme", "other"]}}), true),
        (json!({"claims": {"tenant": ["acm"]}}), false),
        (json!({"claims": {"level": ["3"], "verified": ["true"]}}), true),
        (json!({"claims": {"level": ["3"], "verified": ["false"]}}), false),
        (json!({"claims": {"a.b": ["whole"], "map.x": ["1"]}}), true),
        (json!({"claims": {"nothing": ["null"]}}), false),
        (json!({"claims": {"missing": {"none": ["x"]}}}), true),
        (json!({"claims": {"map": ["{\"x\":1}"]}}), false),
        (json!({"roles": {"all": ["editor", "viewer"]}}), true),
        (json!({"roles": {"none": ["viewer"]}}), false),
        (json!({"roles": ["admin"]}), false),
        (json!({"roles": ["admin"], "roles_claim": "realm.roles"}), true),
    ] {
        assert_eq!(passes(config.clone(), "", claims.clone()).await, expected, "{config}");
    }
}

#[tokio::test]
async fn what_is_asked_of_a_token_needs_one_and_so_it_is_with_a_consumer() {
    let none = json!({"scopes": {"none": ["admin"]}});
    assert_eq!(why(none.clone(), "app", Value::Null).await.unwrap(), "scopes: this caller has no token");
    assert!(passes(none, "", json!({"scope": "read"})).await);
    let none = json!({"groups": {"none": ["guests"]}});
    assert_eq!(why(none, "", json!({"sub": "x"})).await.unwrap(), "groups: this caller has no consumer");
}

#[tokio::test]
async fn who_is_not_known_is_asked_who_it_is_by_all_policies_above() {
    let challenges = &["ApiKey", "Bearer realm=\"shop\""];
    for config in [json!({"groups": {"none": ["guests"]}}), json!({"condition": "consumer.name == 'app'"})] {
        let mut kit = Kit { policy: challenged::<Acl>(&config.to_string(), CONSUMERS, challenges), ..caller(&config, "", &Value::Null) };
        let problem = kit.request().await.unwrap_err();
        assert_eq!(problem.kind, Kind::Unauthorized);
        let told: Vec<_> = problem.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(told, challenges.map(|challenge| ("www-authenticate", challenge)));
        // Where nobody asks, nobody could answer.
        let problem = caller(&config, "", &Value::Null).request().await.unwrap_err();
        assert_eq!((problem.kind, problem.headers.len()), (Kind::Forbidden, 0));
    }
    // Who it is would change nothing.
    let config = json!({"condition": "client.ip == '10.0.0.1'"});
    let mut kit = Kit { policy: challenged::<Acl>(&config.to_string(), CONSUMERS, challenges), ..caller(&config, "", &Value::Null) };
    assert_eq!(kit.request().await.unwrap_err().kind, Kind::Forbidden);
}

#[tokio::test]
async fn a_token_that_lacks_scopes_is_told_which() {
    let config = json!({"scopes": {"all": ["orders.read", "orders.write"], "any": ["eu", "us", "orders.read"], "none": ["guest"]}});
    for (granted, challenge) in
        [("orders.read orders.write eu", None), ("orders.read eu", Some(true)), ("orders.read orders.write guest eu", Some(false))]
    {
        let kit = caller(&config, "", &json!({"scope": granted}));
        let mut kit = Kit { policy: challenged::<Acl>(&config.to_string(), CONSUMERS, &["ApiKey", "Bearer realm=\"a\""]), ..kit };
        let told = kit.request().await.map_err(|problem| (problem.kind, problem.headers));
        match challenge {
            None => assert!(told.is_ok()),
            Some(false) => assert_eq!(told.unwrap_err(), (Kind::Forbidden, vec![])),
            Some(true) => {
                let wanted = "Bearer realm=\"a\", error=\"insufficient_scope\", error_description=\"the token lacks a scope that is needed here\", \
                              scope=\"orders.read orders.write eu us\"";
                assert_eq!(told.unwrap_err(), (Kind::Forbidden, vec![(header::WWW_AUTHENTICATE, HeaderValue::from_static(wanted))]));
            }
        }
    }
}

#[tokio::test]
async fn a_condition_sees_the_request_and_the_caller() {
    for (condition, expected) in [
        ("consumer.labels.region == 'eu' && 'gold' in consumer.groups && 'read' in scopes && claims.sub == 'ann'", true),
        ("request.method == 'GET' && id == '42' && client.ip == '192.0.2.1'", true),
        ("consumer.labels.plan == 'pro'", false),
        ("header['x-region'] == consumer.labels.region", false),
    ] {
        let claims = json!({"sub": "ann", "scope": "read"});
        assert_eq!(passes(json!({"condition": condition}), "app", claims).await, expected, "{condition}");
    }
    let config = json!({"condition": "header['x-region'] == consumer.labels.region"});
    caller(&config, "app", &Value::Null).header("X-Region", "eu").request().await.unwrap();
}

#[tokio::test]
async fn it_applies_when_that_holds_and_where_that_cannot_be_worked_out() {
    let config = json!({"when": "request.method != 'GET' && header['x-mode'] != 'test'", "groups": ["guests"]});
    assert!(passes(config.clone(), "app", Value::Null).await, "a GET is not asked");
    let post = || caller(&config, "app", &Value::Null).method("POST");
    assert!(post().header("X-Mode", "test").request().await.is_ok());
    assert!(post().header("X-Mode", "real").request().await.is_err());
    assert!(post().request().await.is_err(), "leaving a header out must not lead around it");
}

#[test]
fn each_mistake_in_the_settings_is_told_at_its_place_and_all_at_once() {
    for (config, wanted) in [
        (json!({}), &[": this acl lets everyone through"][..]),
        (json!({"when": "true"}), &[": this acl lets everyone through"]),
        (json!({"groups": {}}), &["groups: nothing is asked for"]),
        (json!({"groups": [], "roles": {"any": []}}), &["groups: this list is empty", "roles.any: this list is empty"]),
        (json!({"groups": ["gold", "glod"]}), &["groups[1]: there is no group of consumers `glod` (did you mean `gold`?)"]),
        (json!({"consumers": {"none": ["gest"]}}), &["consumers.none[0]: there is no consumer `gest` (did you mean `guest`?)"]),
        (json!({"scopes": {"all": ["a b", ""]}}), &["scopes.all[0]: this is not one scope", "scopes.all[1]: this is empty"]),
        (json!({"roles": {"all": ["a", "b"], "none": ["b"]}}), &["roles.all[1]: `b` is asked for, and must not be there"]),
        (json!({"claims": {"": ["a"]}, "roles_claim": ""}), &["roles_claim: a claim needs a name", "claims: a claim needs a name"]),
        (
            json!({"when": "methd == 'GET'", "condition": "'gold' in consumer.group"}),
            &["when: `methd` stands for nothing here", "condition: `consumer.group` is nothing that a consumer has"],
        ),
        (json!({"condition": "parts.a.status == 200"}), &["condition: there is no part `a`"]),
    ] {
        let told = mistakes_among::<Acl>(&config.to_string(), CONSUMERS);
        let right = told.len() == wanted.len() && told.iter().zip(wanted).all(|(told, wanted)| told.starts_with(wanted));
        assert!(right, "{config}: {told:?}");
    }
}

#[test]
fn the_settings_read_from_yaml_with_the_place_of_a_mistake() {
    let read = crate::policy::kit::yaml::<Vec<crate::policy::Entry>>;
    assert!(read("- acl: { groups: [gold], scopes: { all: [a], none: [b] }, claims: { level: [3], verified: [true] } }").is_ok());
    let wrong = read("- acl:\n    groups:\n      al: [gold]\n").unwrap_err();
    assert!(wrong.contains("test.yaml:3:7") && wrong.contains("did you mean `all`?"), "{wrong}");
    let wrong = read("- acl: { groups: gold }").unwrap_err();
    assert!(wrong.contains("a list, or a map with `any`, `all` and `none`"), "{wrong}");
}
