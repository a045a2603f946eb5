//! The composition of KrakenD, and the same here. KrakenD is not run: what it answers stands here as text, as it was observed once of version 2.9.0 of Lura,
//! the engine of its community edition, with the same services behind it. What is proven is what the gateway answers, and that this is, or is not, the same
//! as that text, as the table says. Where it is another answer, or is had by other means, the table says why.

mod shapes;
mod ways;

use serde_json::Value;

use crate::support::{Answer, Gateway, Origin, RawOrigin};

/// One composition in both forms.
pub struct Case {
    name: &'static str,
    /// The endpoint in KrakenD's form, less its path and hosts.
    krakend: &'static str,
    /// What it answers: the status, `X-Krakend-Completed`, the body. Several where that depends on who is faster.
    said: &'static [&'static str],
    /// `compose:` here.
    compose: &'static str,
    /// The status, the body — of a problem its part and step — and `Tidegate-Parts`, with ` | ` between.
    answer: &'static str,
    same: Same,
}

/// Whether both answer the same.
enum Same {
    Yes,
    /// They do here, but the settings do not mean the same: with other bodies they would not, or only with other settings.
    ByOtherMeans(&'static str),
    /// They do not, for this reason.
    No(&'static str),
}

/// What the services say, by path.
const BODIES: &[(&str, u16, &str, &str)] = &[
    ("/user", 200, "application/json", r#"{"id":7,"name":"Ann","team_id":"core","address":{"city":"Rome","zip":"00100"},"password":"x"}"#),
    ("/orders", 200, "application/json", r#"{"id":99,"total":2,"items":[{"sku":"a","secret":1},{"sku":"b","secret":2}]}"#),
    ("/more", 200, "application/json", r#"{"items":[{"sku":"c"}]}"#),
    ("/list", 200, "application/json", r#"[{"id":1,"secret":1},{"id":2,"secret":2}]"#),
    ("/tags", 200, "application/json", r#"["x","y"]"#),
    ("/wrapped", 200, "application/json", r#"{"data":{"user":{"id":7,"name":"Ann"}},"meta":{"page":1}}"#),
    ("/map", 200, "application/json", r#"{"de":{"name":"Berlin","pop":3},"it":{"name":"Rome","pop":2}}"#),
    ("/numbers", 200, "application/json", r#"{"big":12345678901234567890123,"price":1.10,"b":1,"a":2,"b":3}"#),
    ("/evil", 200, "application/json", r#"{"path":"a/b?x=1"}"#),
    ("/number", 200, "application/json", "5"),
    ("/text", 200, "text/plain", "hello"),
    ("/garbage", 200, "application/json", r#"{"a":"#),
    ("/failing", 500, "application/json", r#"{"error":"boom"}"#),
    ("/absent", 404, "application/json", r#"{"error":"no such user"}"#),
];

fn service() -> Origin {
    Origin::answering(|seen| {
        if seen.target.starts_with("/echo/") {
            let auth = serde_json::to_string(&seen.header("authorization")).unwrap();
            return http::Response::builder().body(format!("{{\"url\":\"{}\",\"auth\":{auth}}}", seen.target)).unwrap();
        }
        let (_, status, kind, body) = BODIES.iter().find(|(path, ..)| *path == seen.target).unwrap();
        let answer: http::Result<Answer> = http::Response::builder().status(*status).header("content-type", *kind).body((*body).to_owned());
        answer.unwrap()
    })
}

#[test]
fn what_krakend_composes_is_composed_here() {
    let (up, slow) = (service(), RawOrigin::start(|mut talk| talk.until_closed()));
    let cases: Vec<_> = shapes::CASES.iter().chain(ways::CASES).collect();
    let routes = cases
        .iter()
        .enumerate()
        .map(|(number, case)| format!("  - {{ name: c{number}, match: {{ path: /{number} }}, compose: {{ {} }} }}\n", case.compose));
    let gateway = Gateway::start(&format!(
        "services:\n  s: {{ targets: [\"http://{}\"] }}\n  slow: {{ targets: [\"http://{}\"] }}\nroutes:\n{}",
        up.address,
        slow.address,
        routes.collect::<String>()
    ));
    for (number, case) in cases.iter().enumerate() {
        let name = case.name;
        let endpoint: Value = serde_json::from_str(case.krakend).unwrap();
        assert!(endpoint["backend"].is_array(), "{name}");
        let told = gateway.client().get_with(&format!("/{number}?page=1&other=2"), "Authorization: Bearer t\r\n");
        let body = match told.header("content-type") {
            Some("application/problem+json") => {
                let problem = told.json();
                format!("{} {}", problem["part"].as_str().unwrap(), problem["step"].as_str().unwrap())
            }
            _ => told.text(),
        };
        let parts = told.header("tidegate-parts").unwrap_or("-");
        assert_eq!(format!("{} | {body} | {parts}", told.status), case.answer, "{name}");
        let same = |said: &&str| {
            let (status, rest) = said.split_once(' ').unwrap();
            let (complete, said) = rest.split_once(' ').unwrap();
            let json = |text: &str| serde_json::from_str::<Value>(text).ok();
            status == told.status.to_string() && (complete == "true") == (parts == "-") && json(said) == json(&body)
        };
        let is_same = case.said.iter().all(same);
        let (claimed, why) = match case.same {
            Same::Yes => (true, ""),
            Same::ByOtherMeans(why) => (true, why),
            Same::No(why) => (false, why),
        };
        assert_eq!(is_same, claimed, "{name}: {why}");
    }
}
