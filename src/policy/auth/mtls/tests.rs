use serde_json::{Value, json};

use super::*;
use crate::policy::kit::{Kit, build};
use crate::state::Shared;

const CONSUMERS: &str = r#"[{"name":"app"},{"name":"shop"},{"name":"a.test"}]"#;
const PRINT: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn certificate() -> Certificate {
    Certificate {
        subject: "CN=app,O=Example".into(),
        common_name: Some("app".into()),
        hosts: ["a.test".into(), "b.test".into()].into(),
        uris: ["spiffe://test/app".into()].into(),
        emails: ["app@a.test".into()].into(),
        fingerprint: PRINT.into(),
        ..Certificate::default()
    }
}

async fn outcome(config: Value, certificate: Option<Certificate>) -> Result<Option<String>, Problem> {
    let mut kit = Kit::<Mtls>::with_consumers(&config.to_string(), CONSUMERS);
    kit.cx.client_cert = certificate.map(Arc::new);
    kit.request().await.map(|_| kit.cx.consumer.map(|consumer| consumer.name.clone()))
}

#[tokio::test]
async fn a_certificate_is_known_by_each_of_its_parts() {
    let colons =
        PRINT.to_uppercase().as_bytes().chunks(2).map(|pair| str::from_utf8(pair).unwrap().to_owned()).collect::<Vec<_>>().join(":");
    for (part, right, wrong) in [
        ("subject", "CN=app,O=Example", "CN=app"),
        ("common_name", "app", "App"),
        ("dns", "B.test", "*.test"),
        ("uri", "spiffe://test/app", "spiffe://test/"),
        ("email", "app@a.test", "a.test"),
        ("fingerprint", PRINT, &PRINT.replace('9', "8")),
        ("fingerprint", &colons, &colons.replace('9', "8")),
    ] {
        let config = |value: &str| json!({"certificates": [{"consumer": "shop", part: value}]});
        assert_eq!(outcome(config(right), Some(certificate())).await.unwrap().as_deref(), Some("shop"), "{part}");
        let problem = outcome(config(wrong), Some(certificate())).await.unwrap_err();
        assert_eq!((problem.kind, &*problem.detail), (Kind::Forbidden, "the client certificate names no known consumer"), "{part}");
        assert!(problem.cause.unwrap().starts_with("subject CN=app,O=Example, SHA-256 9f86"));
    }
}

#[tokio::test]
async fn what_it_says_is_the_name_of_the_consumer_where_none_is_listed_for_it() {
    for (part, who) in [("common_name", Some("app")), ("dns", Some("a.test")), ("uri", None), ("subject", None)] {
        let name = outcome(json!({"consumer": part, "unknown_consumer": "allow"}), Some(certificate())).await.unwrap();
        assert_eq!(name.as_deref(), who, "{part}");
    }
    let listed = json!({"consumer": "common_name", "certificates": [{"consumer": "shop", "email": "app@a.test"}]});
    assert_eq!(outcome(listed, Some(certificate())).await.unwrap().as_deref(), Some("shop"));
}

#[tokio::test]
async fn who_was_found_before_leaves_no_credential_behind() {
    let mut kit = Kit::<Mtls>::with_consumers(r#"{"consumer":"common_name"}"#, CONSUMERS);
    kit.cx.client_cert = Some(Arc::new(certificate()));
    kit.cx.identify(None, Some("ann".into()));
    kit.request().await.unwrap();
    assert_eq!((kit.cx.consumer.unwrap().name.as_str(), kit.cx.credential), ("app", None));
}

#[tokio::test]
async fn without_a_certificate_nobody_gets_through_unless_it_may_be_missing() {
    let problem = outcome(json!({"consumer": "dns"}), None).await.unwrap_err();
    assert_eq!((problem.kind, &*problem.detail), (Kind::Unauthorized, "a client certificate is required"));
    assert_eq!(problem.headers[0].0, header::WWW_AUTHENTICATE);
    assert_eq!(outcome(json!({"consumer": "dns", "required": false}), None).await.unwrap(), None);
    let stranger = outcome(json!({"consumer": "uri", "required": false}), Some(certificate())).await.unwrap_err();
    assert_eq!(stranger.kind, Kind::Forbidden, "one that is there must be good");
}

#[tokio::test]
async fn a_certificate_of_a_stranger_leaves_nobody_elses_name_behind() {
    let mut kit = Kit::<Mtls>::with_consumers(r#"{"consumer":"uri","unknown_consumer":"allow"}"#, CONSUMERS);
    (kit.cx.consumer, kit.cx.client_cert) = (kit.policy.caller.filed("app").cloned(), Some(Arc::new(certificate())));
    kit.request().await.unwrap();
    assert!(kit.cx.consumer.is_none());
}

#[test]
fn each_mistake_in_the_settings_is_told_at_its_place() {
    let one = |certificate: Value| json!({"certificates": [certificate]});
    for (config, wanted) in [
        (json!({}), ": no certificate could name a consumer"),
        (one(json!({"consumer": "x", "dns": "a"})), "certificates[0].consumer: there is no consumer `x`"),
        (one(json!({"consumer": "app"})), "certificates[0]: a certificate is known by one thing"),
        (one(json!({"consumer": "app", "dns": "a", "uri": "b"})), "certificates[0]: a certificate is known by one thing"),
        (one(json!({"consumer": "app", "email": ""})), "certificates[0].email: `email` is empty"),
        (one(json!({"consumer": "app", "fingerprint": "ab:cd"})), "certificates[0].fingerprint: this is not a SHA-256"),
        (one(json!({"consumer": "app", "fingerprint": "é".repeat(32)})), "certificates[0].fingerprint: this is not a SHA-256"),
        (
            json!({"certificates": [{"consumer": "app", "dns": "a.test"}, {"consumer": "shop", "dns": "A.test"}]}),
            "certificates[1].dns: a certificate is somebody's once",
        ),
    ] {
        let told = build::<Mtls>(&config.to_string(), CONSUMERS, &Shared::default()).unwrap_err().to_string();
        assert!(told.starts_with(wanted), "{told}");
    }
    let told = serde_json::from_str::<Config>(r#"{"consumer":"cn"}"#).unwrap_err().to_string();
    assert!(told.contains("unknown variant `cn`"), "{told}");
}
