use serde_json::{Value, json};

use super::*;

const TEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const PENCIL: &str = "$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$TNXVaepwoQBOVs70Xg+kbVgzd21gRaq+ul2VEICRv7g";

fn build(consumers: Value) -> Result<Consumers, Errors> {
    Consumers::build(&serde_json::from_value::<Vec<ConsumerConfig>>(consumers).unwrap())
}

/// The path and the reason of each mistake.
fn mistakes(consumers: Value) -> Vec<String> {
    build(consumers).unwrap_err().0.iter().map(|error| format!("{}: {}", error.path, error.reason)).collect()
}

#[test]
fn a_key_finds_its_consumer_and_another_does_not() {
    let consumers = build(json!([{"name": "app", "api_keys": [TEST]}])).unwrap();
    assert_eq!(consumers.by_key(&KeyHash::of(b"test")).unwrap().consumer.name, "app");
    assert!(consumers.by_key(&KeyHash::of(b"other")).is_none());
}

#[test]
fn a_consumer_may_have_several_keys_each_with_its_own_end() {
    let long = json!({"hash": format!("sha256:{}", KeyHash::of(b"new").hex()), "id": "tg_new", "expires": "2030-01-01"});
    let consumers = build(json!([{"name": "app", "api_keys": [TEST, long]}])).unwrap();
    let key = consumers.by_key(&KeyHash::of(b"new")).unwrap();
    assert_eq!((key.id.as_deref(), key.expires.is_some(), &*key.consumer.name), (Some("tg_new"), true, "app"));
    assert!(consumers.by_key(&KeyHash::of(b"test")).unwrap().expires.is_none());
}

#[test]
fn what_is_no_hash_of_a_key_is_refused() {
    let read = |hex: &str| {
        let config = json!([{"name": "app", "api_keys": [format!("sha256:{hex}")]}]);
        let configs = serde_json::from_value::<Vec<ConsumerConfig>>(config).map_err(|error| error.to_string())?;
        Consumers::build(&configs).map_err(|errors| errors.0[0].reason.clone())
    };
    let rest = "f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    assert!(read(&format!("9{rest}")).is_ok() && read(&format!("9{rest}").to_uppercase()).is_ok());
    for wrong in [format!("+{rest}"), format!("é{}", &rest[1..]), rest.to_owned(), format!("99{rest}")] {
        assert!(read(&wrong).unwrap_err().contains("64 hex digits"), "{wrong}");
    }
    let nothing = read("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_eq!(nothing.unwrap_err(), "this is the hash of nothing, which is no key");
}

#[test]
fn a_key_is_not_called_by_itself() {
    let of = |id: &str| json!([{"name": "app", "api_keys": [{"hash": format!("sha256:{}", KeyHash::of(b"tg_1_secret").hex()), "id": id}]}]);
    assert!(build(of("tg_1")).is_ok());
    assert!(mistakes(of("tg_1_secret"))[0].starts_with("consumers[0].api_keys[0].id: this is the key itself"));
}

#[test]
fn what_a_header_would_change_is_refused() {
    for name in [" app", "app ", "a\u{7}b"] {
        assert!(mistakes(json!([{ "name": name }]))[0].starts_with("consumers[0].name: the name has white space"), "{name:?}");
    }
    assert_eq!(mistakes(json!([{"name": ""}])), ["consumers[0].name: a consumer needs a name"]);
    for group in ["", "a b", "a,b"] {
        let told = mistakes(json!([{"name": "app", "groups": ["gold", group]}]));
        assert_eq!(told, ["consumers[0].groups[1]: this is not one word"], "{group:?}");
    }
}

#[test]
fn what_stands_twice_is_refused() {
    assert_eq!(mistakes(json!([{"name": "app"}, {"name": "app"}])), ["consumers[1].name: there are two consumers named `app`"]);
    assert_eq!(
        mistakes(json!([{"name": "a", "api_keys": [TEST]}, {"name": "b", "api_keys": [{"hash": TEST}]}])),
        ["consumers[1].api_keys[0]: consumer `a` has the same key"]
    );
    let passwords = json!([{"hash": PENCIL}]);
    assert_eq!(
        mistakes(json!([{"name": "ann", "passwords": passwords}, {"name": "b", "passwords": [{"user": "ann", "hash": PENCIL}]}])),
        ["consumers[1].passwords[0].user: consumer `ann` has a password for the same user name, `ann`"]
    );
}

#[test]
fn a_user_is_found_by_name_and_is_the_consumer_where_none_is_said() {
    let consumers = build(json!([{"name": "ann", "passwords": [{"hash": PENCIL}, {"user": "ann-2", "hash": PENCIL}]}])).unwrap();
    for user in ["ann", "ann-2"] {
        assert_eq!(consumers.by_user(user).unwrap().consumer.name, "ann");
    }
    assert!(consumers.by_user("bob").is_none());
    assert_eq!(consumers.costs().len(), 1);
    for user in ["", "a:b", "a\nb"] {
        let told = mistakes(json!([{"name": "ann", "passwords": [{"user": user, "hash": PENCIL}]}]));
        assert!(told[0].contains("cannot be a user name"), "{told:?}");
    }
}

#[test]
fn a_limit_that_cannot_be_counted_by_is_refused_at_its_place() {
    let told = mistakes(json!([{"name": "app", "limits": {"default": {"requests": 0, "per": "1m"}}}]));
    assert_eq!(told, ["consumers[0].limits.default.requests: a limit of no requests lets nothing through"]);
}

#[test]
fn nothing_of_a_credential_is_shown() {
    let config = json!([{"name": "app", "api_keys": [{"hash": TEST, "id": "tg"}], "passwords": [{"hash": PENCIL}]}]);
    let configs = serde_json::from_value::<Vec<ConsumerConfig>>(config).unwrap();
    for shown in [format!("{configs:?}"), serde_json::to_string(&configs).unwrap(), format!("{:?}", Consumers::build(&configs).unwrap())] {
        assert!(!shown.contains("9f86d08") && !shown.contains("MDEyMzQ1"), "{shown}");
    }
}
