//! What `/status` on the admin address tells operators.

use http::StatusCode;
use serde_json::Value;

use crate::support::{Answer, Client, Gateway, Origin, eventually};

fn status(gateway: &Gateway) -> Value {
    let answer = Client::connect(gateway.admin).get("/status");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&answer.text()).unwrap()
}

/// Answers 503 to everything.
fn ill() -> Origin {
    Origin::answering(|_| {
        let mut answer = Answer::new("ill".to_owned());
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        answer
    })
}

#[test]
fn each_service_and_target_is_told_with_its_state_and_the_reason() {
    let (well, failing, broken) = (Origin::start(), ill(), ill());
    let config = |generation: u32| {
        format!(
            "services:
  checked:
    targets: [\"http://{}\", {{ url: \"http://{}\", weight: 3, priority: 1 }}]
    health: {{ path: /healthz }}
  asked:
    targets: [\"http://{}\", \"http://{}\"]
    ejection: {{ failures: 1, for: {generation}h, max_for: 9h }}
    breaker: {{ failures: 1, open: 1h }}
  fixed: {{ mock: {{ text: a }} }}
routes:
  - {{ name: asked, match: {{ path: /asked }}, to: asked }}
",
            well.address, failing.address, well.address, broken.address
        )
    };
    let gateway = Gateway::start(&config(1));
    let first = status(&gateway);
    assert_eq!(first["generation"], 1);
    assert_eq!(first["services"]["fixed"]["mock"], true);
    let checked = &first["services"]["checked"];
    assert_eq!(checked["available"], "1 of 2");
    let [up, down] = [0, 1].map(|place| &checked["targets"][place]);
    assert_eq!((up["state"].as_str(), up["last_check"]["result"].as_str()), (Some("healthy"), Some("passed")));
    assert_eq!((down["state"].as_str(), down["last_check"]["result"].as_str()), (Some("unhealthy"), Some("it answered 503")));
    assert_eq!((down["weight"].as_u64(), down["priority"].as_u64(), down["in_flight"].as_u64()), (Some(3), Some(1), Some(0)));
    assert_eq!(
        (down["target"].as_str(), down["address"].as_str()),
        (Some(&*failing.address.to_string()), Some(&*failing.address.to_string()))
    );
    assert!(down["since"].as_str().unwrap().ends_with('Z') && up["ejected_until"].is_null(), "{checked:#}");
    assert_eq!(first["services"]["asked"]["breaker"]["state"], "closed");
    eventually("the target is ejected and the breaker opens", || (gateway.client().get("/asked").status == 503).then_some(()));
    assert_eq!(gateway.rewrite(&config(2)), "done");
    let second = status(&gateway);
    let asked = &second["services"]["asked"];
    assert_eq!((second["generation"].as_u64(), asked["available"].as_str()), (Some(2), Some("1 of 2")));
    assert_eq!(asked["targets"][1]["state"], "ejected", "{asked:#}");
    assert!(asked["targets"][1]["ejected_until"].as_str() > asked["targets"][1]["since"].as_str(), "{asked:#}");
    assert_eq!(asked["breaker"]["state"], "open");
}
