//! What holds for every policy, found from the registry alone.

use std::path::Path;

use super::{Phases, REGISTERED, schemas};

#[test]
fn a_hook_is_declared_if_and_only_if_it_is_implemented() {
    for (name, file, phases) in REGISTERED {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy").join(file);
        let source = std::fs::read_to_string(base.with_extension("rs")).or_else(|_| std::fs::read_to_string(base.join("mod.rs"))).unwrap();
        let body = source.split_once("impl Policy for ").unwrap_or_else(|| panic!("{name}: no `impl Policy for`")).1;
        let body = body.split_once("\n}\n").unwrap().0;
        for (hook, phase) in [
            ("request", Phases::REQUEST),
            ("request_body", Phases::REQUEST_BODY),
            ("upstream_request", Phases::UPSTREAM_REQUEST),
            ("response", Phases::RESPONSE),
        ] {
            let implemented = ["", "_with"].iter().any(|more| body.contains(&format!("fn {hook}{more}(")));
            assert_eq!(implemented, phases.has(phase), "policy `{name}`: hook `{hook}` and PHASES disagree");
        }
    }
}

#[test]
fn a_policy_is_named_as_its_file() {
    for (name, file, _) in REGISTERED {
        assert_eq!(file.rsplit('/').next(), Some(*name));
    }
}

#[test]
fn every_setting_is_documented_and_unknown_ones_are_refused() {
    for (name, schema) in schemas(&mut schemars::SchemaGenerator::default(), &|_| true) {
        let schema = schema.to_value();
        if schema["type"] == "array" {
            assert_eq!(schema["items"]["anyOf"][1]["additionalProperties"], false, "policy `{name}` must refuse unknown entries");
            continue;
        }
        assert_eq!(schema["additionalProperties"], false, "policy `{name}` must refuse unknown settings");
        for (setting, schema) in schema["properties"].as_object().into_iter().flatten() {
            assert!(schema.get("description").is_some(), "policy `{name}`: `{setting}` has no doc comment");
        }
    }
}
