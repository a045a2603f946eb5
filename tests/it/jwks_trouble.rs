//! Issuers that are down, slow or lying: what was configured happens, nothing hangs, and the metrics and the log say why.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::jwks::{config, discovering, refreshes, status};
use crate::support::idp::bearer;
use crate::support::{Answer, Gateway, Idp, RawOrigin, Response, eventually};

fn unavailable(answer: &Response) {
    let problem = answer.problem(503, "unavailable");
    assert_eq!(problem["detail"], "the token cannot be verified at the moment");
    assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() <= 16, "{answer:?}");
    assert!(answer.header("www-authenticate").is_none(), "the token may be good");
}

#[test]
fn an_issuer_that_is_down_at_the_start_refuses_no_config_and_its_tokens_get_503_until_it_is_up() {
    let idp = Idp::down();
    idp.publish("k1");
    let gateway = Gateway::start(&discovering(&idp, ""));
    let answer = gateway.client().get_with("/", &bearer(&idp.token("k1")));
    unavailable(&answer);
    let line = gateway.await_log("the reason", |line| line["status"] == 503);
    let cause = line["cause"].as_str().unwrap();
    assert!(cause.starts_with(&format!("the keys of {} could not be fetched yet: no connection came about: ", idp.issuer)), "{cause}");
    gateway.await_said("tokens get 503");
    assert!(refreshes(&gateway, &idp.issuer, "unreachable") >= 1.0);
    assert_eq!(gateway.metric(&format!("tidegate_jwks_keys{{source=\"{}\"}}", idp.issuer)), 0.0);
    // Without a token nothing has to be verified.
    gateway.client().get("/").problem(401, "unauthorized");
    idp.revive();
    eventually("its tokens are good", || (status(&gateway, &idp.token("k1")) == 200).then_some(()));
}

#[test]
fn keys_are_used_for_a_while_though_nobody_answers_any_more_and_then_tokens_get_503() {
    let idp = Idp::start();
    let gateway = Gateway::start(&discovering(&idp, "min_ttl: 200ms, max_ttl: 200ms, stale: 2s"));
    let token = idp.token("k1");
    assert_eq!(status(&gateway, &token), 200);
    let keys = format!("tidegate_jwks_keys{{source=\"{}\"}}", idp.issuer);
    idp.kill();
    gateway.await_said("could not be fetched, the last ones stay for a while");
    assert!(refreshes(&gateway, &idp.issuer, "unreachable") >= 1.0);
    assert_eq!((status(&gateway, &token), gateway.metric(&keys)), (200, 1.0));
    eventually("they are too old, for a token that was seen too", || (status(&gateway, &token) == 503).then_some(()));
    let age = idp.asked_at("/keys").last().unwrap().elapsed();
    assert!(age >= Duration::from_millis(2200), "{age:?}");
    unavailable(&gateway.client().get_with("/", &bearer(&token)));
    gateway.await_said("are too old to be used any more: tokens get 503");
    gateway.await_metric(&keys, 0.0);
    gateway
        .await_log("the reason", |line| line["cause"].as_str().is_some_and(|cause| cause.contains("are too old, and cannot be fetched")));
    idp.revive();
    eventually("they are fetched again", || (status(&gateway, &token) == 200).then_some(()));
    gateway.await_said("are fetched again");
    gateway.await_metric(&keys, 1.0);
}

#[test]
fn an_issuer_is_killed_and_revived_under_load_and_no_good_token_is_refused() {
    let idp = Idp::start();
    let gateway = Gateway::start(&discovering(&idp, "min_ttl: 100ms, max_ttl: 100ms, stale: 1h, cooldown: 100ms"));
    let failed = || refreshes(&gateway, &idp.issuer, "unreachable");
    let end = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..3)
            .map(|worker| {
                let (gateway, idp, end) = (&gateway, &idp, &end);
                scope.spawn(move || {
                    let (mut client, mut count) = (gateway.client(), 0);
                    while !end.load(std::sync::atomic::Ordering::Relaxed) {
                        let mut claims = idp.claims();
                        // Each other one was seen before.
                        claims["jti"] = json!(if count % 2 == 0 { Value::from(worker) } else { Value::from(1000 + count) });
                        let answer = client.get_with("/", &bearer(&idp.token_of("k1", &claims)));
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for round in 1..=2 {
            idp.kill();
            let before = failed();
            eventually("it is missed", || (failed() > before).then_some(()));
            idp.revive();
            eventually("it is back", || (gateway.said().matches("are fetched again").count() >= round).then_some(()));
        }
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        let count: i32 = asking.into_iter().map(|asked| asked.join().unwrap()).sum();
        assert!(count > 100, "{count}");
    });
}

#[test]
fn an_unknown_key_of_an_issuer_that_is_down_is_no_proof_against_the_token() {
    let idp = Idp::start();
    let gateway = Gateway::start(&discovering(&idp, "cooldown: 15s"));
    assert_eq!(status(&gateway, &idp.token("k1")), 200);
    idp.kill();
    idp.publish("k2");
    for _ in 0..2 {
        unavailable(&gateway.client().get_with("/", &bearer(&idp.token("k2"))));
    }
    let line = gateway.await_log("the reason", |line| line["status"] == 503);
    assert!(line["cause"].as_str().unwrap().starts_with("the token's key is unknown, and the keys of http://"), "{line}");
    assert_eq!(status(&gateway, &idp.token("k1")), 200);
}

/// What the gateway makes of an issuer whose answers are not what they should be.
fn lies(lie: impl Fn(&Idp), word: &str, words: &str) {
    let idp = Idp::start();
    lie(&idp);
    let gateway = Gateway::start(&discovering(&idp, ""));
    let token = idp.token("k1");
    unavailable(&gateway.client().get_with("/", &bearer(&token)));
    gateway.await_said(words);
    assert!(refreshes(&gateway, &idp.issuer, word) >= 1.0, "{word}");
    let line = gateway.await_log("the reason", |line| line["status"] == 503);
    assert!(line["cause"].as_str().unwrap().contains(words), "{line}");
    idp.repent();
    eventually("the truth is believed", || (status(&gateway, &token) == 200).then_some(()));
    // The same lie, once keys are there: they stay.
    lie(&idp);
    let asked = refreshes(&gateway, &idp.issuer, word);
    idp.make("other");
    assert_eq!(status(&gateway, &idp.token("other")), 503, "who lies says nothing of a key");
    assert!(refreshes(&gateway, &idp.issuer, word) > asked);
    assert_eq!(status(&gateway, &token), 200);
}

const DISCOVERY: &str = "/.well-known/openid-configuration";

#[test]
fn an_issuer_that_calls_itself_otherwise_is_not_believed() {
    lies(
        |idp| {
            let told = json!({"issuer": format!("{}/", idp.issuer), "jwks_uri": format!("{}/keys", idp.issuer)});
            idp.lie(DISCOVERY, Answer::new(told.to_string()));
        },
        "wrong_issuer",
        "it calls itself",
    );
}

#[test]
fn what_is_no_set_of_keys_is_not_believed() {
    lies(|idp| idp.lie("/keys", Answer::new("<html>come in</html>".into())), "malformed", "what came is not a JWK Set");
    lies(|idp| idp.lie(DISCOVERY, Answer::new("{}".into())), "malformed", "what it tells of itself is no JSON object with");
    lies(
        |idp| {
            let told = json!({"issuer": idp.issuer, "jwks_uri": "javascript:alert(1)"});
            idp.lie(DISCOVERY, Answer::new(told.to_string()));
        },
        "malformed",
        "`javascript:alert(1)` is not a URL",
    );
}

#[test]
fn secrets_and_private_keys_are_not_taken_from_an_issuer() {
    let oct = json!({"keys": [{"kty": "oct", "alg": "HS256", "kid": "k1", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"}]});
    lies(move |idp| idp.lie("/keys", Answer::new(oct.to_string())), "no_keys", "key 0 is a secret, which nobody may publish");
}

#[test]
fn an_answer_that_is_too_large_or_no_success_is_not_taken() {
    lies(
        |idp| idp.lie("/keys", Answer::new(format!("{{\"keys\":[]}}{}", " ".repeat(600 * 1024)))),
        "too_large",
        "it is larger than it may be",
    );
    let moved = || http::Response::builder().status(302).header("location", "/elsewhere").body(String::new()).unwrap();
    lies(move |idp| idp.lie("/keys", moved()), "status", "it answered 302, and redirects are not followed");
    let broken = || http::Response::builder().status(500).body(String::new()).unwrap();
    lies(move |idp| idp.lie(DISCOVERY, broken()), "status", "it answered 500");
}

#[test]
fn a_slow_issuer_holds_up_neither_the_start_nor_anybody_for_long() {
    // One that says nothing, one that speaks a byte at a time, and one that never ends.
    let silent = RawOrigin::start(|mut talk| talk.until_closed());
    let dripping = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        while talk.try_say(" ") {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    });
    let (endless, _told) = RawOrigin::endless();
    for (origin, word, words) in [
        (&silent, "timeout", "no answer began in time"),
        (&dripping, "timeout", "the answer did not end in time"),
        (&endless, "too_large", "it is larger than it may be"),
    ] {
        let url = format!("http://{}/keys", origin.address);
        let settings = format!("issuer: any, audience: api, jwks: \"{url}\", fetch: {{ allow_http: true, timeout: 300ms, wait: 200ms }}");
        let began = Instant::now();
        let gateway = Gateway::start(&config(&settings));
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        let idp = Idp::down();
        idp.make("k1");
        let began = Instant::now();
        unavailable(&gateway.client().get_with("/", &bearer(&idp.token("k1"))));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        gateway.await_said(words);
        assert!(refreshes(&gateway, &url, word) >= 1.0);
    }
}

#[test]
fn few_wait_for_a_slow_issuer_and_the_others_are_told_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let settings =
        format!("issuer: any, audience: api, jwks: \"{url}\", fetch: {{ allow_http: true, timeout: 60s, wait: 60s, waiting: 2 }}");
    let gateway = Gateway::start(&config(&settings));
    let idp = Idp::down();
    idp.make("k1");
    let ask = || {
        let mut client = gateway.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: gateway.test\r\n{}\r\n", bearer(&idp.token("k1"))));
        client
    };
    let mut waiting: Vec<_> = (0..6).map(|_| ask()).collect();
    // Whoever gets an answer gets it at once; two wait.
    let told = eventually("four are told", || {
        let told: Vec<_> = (0..waiting.len()).filter(|at| !waiting[*at].is_silent_for(Duration::from_millis(20))).collect();
        (told.len() == 4).then_some(told)
    });
    told.iter().for_each(|at| unavailable(&waiting[*at].read()));
    // The keys come at last.
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 4096];
    let read = stream.read(&mut request).unwrap();
    assert!(request[..read].starts_with(b"GET /keys HTTP/1.1\r\n"));
    idp.publish("k1");
    let token = ask();
    drop(token);
    let body = {
        idp.revive();
        crate::support::Client::connect(idp.issuer.trim_start_matches("http://").parse().unwrap()).get("/keys").text()
    };
    std::io::Write::write_all(&mut stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
    for at in (0..waiting.len()).filter(|at| !told.contains(at)) {
        // Their tokens were signed with a key before, which is not published.
        assert_eq!(waiting[at].read().status, 401);
    }
    assert_eq!(status(&gateway, &idp.token("k1")), 200);
}

#[test]
fn keys_without_tls_are_not_asked_for_unless_it_is_allowed() {
    let idp = Idp::start();
    let (content, said) = crate::support::gateway::check(&config(&format!("issuer: \"{}\", audience: api", idp.issuer)));
    assert!(!content && said.contains("would come without TLS"), "{said}");
    assert_eq!(idp.asked(DISCOVERY), 0);
}

#[test]
fn keys_that_are_required_hold_up_a_config_and_an_upgrade_until_they_are_there() {
    let idp = Idp::down();
    idp.publish("k1");
    let before = "server:\n  upgrade: { socket: upgrade.sock, timeout: 15s }\nroutes: [{ name: none, reply: { text: here } }]\n";
    let after = format!(
        "server:\n  upgrade: {{ socket: upgrade.sock, timeout: 15s }}\n{}",
        discovering(&idp, "required: true, min_ttl: 100ms, max_ttl: 100ms, timeout: 2s")
    );
    let mut gateway = Gateway::start(before);
    assert_eq!(gateway.rewrite(&after), "refused");
    gateway.await_said(&format!("the keys of {} are required, and are not there: no connection", idp.issuer));
    assert_eq!(gateway.client().get("/").text(), "here");
    idp.revive();
    assert_eq!(gateway.reload(), "done");
    assert_eq!(status(&gateway, &idp.token("k1")), 200);
    idp.kill();
    gateway.await_said("the last ones stay for a while");
    let (code, said) = gateway.upgrade(&[]);
    assert!(code == 1 && said.contains("are required, and are not there"), "{code}: {said}");
    assert_eq!(status(&gateway, &idp.token("k1")), 200, "the present process serves on");
    idp.revive();
    let (code, said) = gateway.upgrade(&[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(status(&gateway, &idp.token("k1")), 200);
}
