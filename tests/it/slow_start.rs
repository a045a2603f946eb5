//! A target that is new or comes back gets to its full share bit by bit, over real servers.

use crate::support::gateway::check;
use crate::support::{Gateway, Origin};

fn config(settings: &str, origins: &[&Origin]) -> String {
    let targets = origins.iter().map(|origin| format!("\"http://{}\"", origin.address)).collect::<Vec<_>>().join(", ");
    format!("services: {{ up: {{ targets: [{targets}], {settings} }} }}\nroutes: [{{ name: up, to: up }}]\n")
}

#[test]
fn a_target_that_is_new_beside_others_begins_with_little() {
    let (old, new) = (Origin::start(), Origin::start());
    let gateway = Gateway::start(&config("slow_start: 1h", &[&old]));
    let mut client = gateway.client();
    client.get("/");
    assert_eq!(gateway.rewrite(&config("slow_start: 1h", &[&old, &new])), "done");
    (0..300).for_each(|_| assert_eq!(client.get("/").status, 200));
    // A tenth of a turn beside a whole one: 27 of 300, give or take six standard deviations.
    let few = new.seen().len();
    assert!((3..60).contains(&few), "{few}");
    assert_eq!(gateway.rewrite(&config("slow_start: 1ms", &[&old, &new])), "done");
    (0..300).for_each(|_| assert_eq!(client.get("/").status, 200));
    assert!(new.seen().len() - few >= 149, "then it has its share: {few} and {}", new.seen().len());
}

#[test]
fn mistakes_are_told_with_their_place() {
    for (value, words) in [
        ("30", "up.slow_start: `30` is not a duration"),
        ("soon", "up.slow_start: `soon` is not a duration"),
        ("0s", "up.slow_start: this leaves no time at all"),
        ("5s, slow_stat: 5s", "up.slow_stat: unknown key `slow_stat`"),
    ] {
        let (content, said) = check(&format!(
            "services:\n  up: {{ targets: [\"http://127.0.0.1:9\"], slow_start: {value} }}\nroutes: [{{ name: up, to: up }}]\n"
        ));
        assert!(!content && said.contains(words), "{value}: {said}");
    }
    let (content, said) = check("services: { up: { mock: { text: a }, slow_start: 30s } }\n");
    assert!(!content && said.contains("services.up.slow_start: a mock has no targets"), "{said}");
}
