//! Rate limits under real parallel load: never more than the limit allows, and none of it lost.

use std::sync::Barrier;

use crate::support::{Gateway, Response, eventually};

const KEYS: [(&str, &str); 2] = [
    ("demo-key", "c48a01f49fd0f2cc404bc3cbbc80e91457a3d41bb429a695243de4c61794155c"),
    ("test", "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"),
];

fn config(reply: &str) -> String {
    format!(
        r#"
consumers:
  - {{ name: one, api_keys: ["sha256:{}"] }}
  - {{ name: two, api_keys: ["sha256:{}"] }}
routes:
  - name: shared
    match: {{ path: /shared }}
    policies: [rate_limit: {{ requests: 50, per: 1h, by: client_ip }}]
    reply: {{ text: "{reply}" }}
  - name: each
    match: {{ path: /each }}
    policies: [api_key, rate_limit: {{ requests: 20, per: 1h, by: consumer }}]
    reply: {{ text: "{reply}" }}
  - name: second
    match: {{ path: /second }}
    policies: [rate_limit: {{ requests: 1, per: 1s, by: client_ip }}]
    reply: {{ text: "{reply}" }}
"#,
        KEYS[0].1, KEYS[1].1
    )
}

/// What is left, from `RateLimit: "default";r=49;t=72`.
fn left(answer: &Response) -> u64 {
    let field = answer.header("ratelimit").unwrap();
    let (_, rest) = field.split_once(";r=").unwrap();
    rest.split(';').next().unwrap().parse().unwrap()
}

/// The answers to requests that many clients send at once, each on its own connection.
fn storm(gateway: &Gateway, clients: usize, each: usize, request: impl Fn(usize) -> (&'static str, String) + Sync) -> Vec<Vec<Response>> {
    let start = Barrier::new(clients);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..clients)
            .map(|index| {
                let (start, request) = (&start, &request);
                scope.spawn(move || {
                    let mut client = gateway.client();
                    let (path, lines) = request(index);
                    start.wait();
                    (0..each).map(|_| client.get_with(path, &lines)).collect()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn sixteen_clients_at_once_get_just_what_the_limit_allows() {
    let gateway = Gateway::start(&config("here"));
    let answers: Vec<_> = storm(&gateway, 16, 10, |_| ("/shared", String::new())).into_iter().flatten().collect();
    let (allowed, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(allowed.len(), 50, "one token more comes only after 72 s");
    // No two requests were given the same token.
    let mut tokens: Vec<_> = allowed.iter().map(|answer| left(answer)).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..50).collect::<Vec<_>>());
    for answer in refused {
        answer.problem(429, "quota-exceeded");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"default\";q=50;w=3600"));
        assert_eq!(left(answer), 0);
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        let next: u64 = answer.header("ratelimit").unwrap().rsplit_once(";t=").unwrap().1.parse().unwrap();
        assert!((1..=72).contains(&after) && after >= next, "{after} {next}");
    }
    gateway.await_metric("tidegate_problems_total{kind=\"quota-exceeded\",policy=\"rate_limit\"}", 110.0);
}

#[test]
fn consumers_do_not_eat_from_each_others_limit() {
    let gateway = Gateway::start(&config("here"));
    let answers = storm(&gateway, 16, 5, |index| ("/each", format!("X-API-Key: {}\r\n", KEYS[index % 2].0)));
    for consumer in 0..2 {
        let own = answers.iter().skip(consumer).step_by(2).flatten();
        assert_eq!(own.filter(|answer| answer.status == 200).count(), 20, "consumer {consumer}");
    }
}

#[test]
fn a_limit_goes_on_where_it_was_after_a_reload() {
    let gateway = Gateway::start(&config("before"));
    let mut client = gateway.client();
    for expected in [49, 48, 47] {
        assert_eq!(left(&client.get("/shared")), expected);
    }
    assert_eq!(gateway.rewrite(&config("after")), "done");
    let answer = client.get("/shared");
    assert_eq!((answer.text().as_str(), left(&answer)), ("after", 46));
    assert_eq!(gateway.reload(), "unchanged");
    assert_eq!(left(&client.get("/shared")), 45);
}

#[test]
fn a_refused_request_takes_nothing() {
    let gateway = Gateway::start(&config("here"));
    let mut client = gateway.client();
    assert_eq!(client.get("/second").status, 200);
    // Asked without pause: were refusals counted, the bucket would never fill again.
    eventually("the bucket has a token again", || (client.get("/second").status == 200).then_some(()));
}
