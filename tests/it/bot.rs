//! Who may call by what they say they are.

use crate::support::client::H2;
use crate::support::gateway::check;
use crate::support::{Gateway, block_on};

const CONFIG: &str = r#"
policies: [request_id]
routes:
  - name: most
    match: { path: /most }
    policies: [{ bot: { deny: ["bot|crawler", "^sqlmap/"], allow: ["Googlebot/"], empty: deny } }]
    reply: { text: most }
  - { name: few, match: { path: /few }, policies: [{ bot: { allow: ["^shop-app/[0-9]"] } }], reply: { text: few } }
"#;

#[test]
fn crawlers_are_kept_out_and_others_are_not() {
    let cases = [
        ("/most", "Mozilla/5.0 (X11)", 200),
        ("/most", "AnyBot/1.0", 403),
        ("/most", "Googlebot/2.1", 200),
        ("/most", "SQLMap/1.8", 403),
        ("/most", "", 403),
        ("/few", "shop-app/3", 200),
        ("/few", "Mozilla/5.0", 403),
        ("/few", "", 200),
    ];
    let gateway = Gateway::start(CONFIG);
    let mut client = gateway.client();
    for (path, agent, status) in cases {
        let answer = client.get_with(path, &format!("User-Agent: {agent}\r\n"));
        assert_eq!(answer.status, status, "{path} {agent}");
        if status == 403 {
            answer.problem(403, "forbidden");
            assert!(answer.header("x-request-id").is_some());
        }
    }
    assert_eq!(client.get("/most").status, 403, "without the header");
    block_on(async {
        let client = H2::connect(gateway.address).await;
        for (path, agent, status) in cases {
            assert_eq!(client.request("GET", path, &[("user-agent", agent)], &[]).await.0.status.as_u16(), status, "{path} {agent}");
        }
    });
    gateway.await_metric("tidegate_problems_total{kind=\"forbidden\",policy=\"bot\"}", 9.0);
    gateway.await_log("the cause", |line| line["cause"] == "its user agent is denied");
    gateway.await_log("the cause", |line| line["cause"] == "it says no user agent");
}

#[test]
fn patterns_that_are_none_are_told_with_their_places() {
    let (right, said) =
        check("routes:\n  - name: a\n    policies: [{ bot: { deny: [bot, \"(\"], allow: [\"[\"] } }]\n    reply: { text: a }\n");
    assert!(!right);
    for wanted in [":3:37", "`(` is no regex", ":3:51", "`[` is no regex"] {
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}
