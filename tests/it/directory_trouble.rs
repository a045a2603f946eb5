//! Consumers and keys in a real Redis that is gone, slow, or hangs.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::directory::{ask, await_status, entry, gateway, gateway_with, token};
use crate::support::eventually;
use crate::support::redis::{Redis, Slow};

#[test]
fn without_redis_nobody_is_let_in_that_is_not_known_and_nobody_waits() {
    let mut redis = Redis::start();
    let gateway = gateway(&format!("url: \"redis://{}\", timeout: 5s, consumers: {{ cache: 300ms, unknown: 100ms }}", redis.address));
    let mut client = gateway.client();
    redis.cli(&["HSET", &entry("key-1"), "consumer", "filed"]);
    assert_eq!(ask(&mut client, "key-1").status, 200);
    redis.kill();
    gateway.await_metric(&format!("tidegate_redis_up{{address=\"{}\"}}", redis.address), 0.0);
    await_status(&mut client, "key-1", 503);
    let started = Instant::now();
    for key in ["key-1", "key-2", "key-3"] {
        let answer = ask(&mut client, key);
        assert_eq!(answer.problem(503, "unavailable")["detail"], "who calls cannot be looked up now; try again soon");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    // The keys of the config and the other routes have nothing to do with it.
    assert_eq!((ask(&mut client, "test").status, client.get("/open").status), (200, 200));
    let line = gateway.await_log("a refusal", |line| line["status"] == 503);
    assert!(line["policy"] == "api_key" && line["cause"].as_str().unwrap().starts_with("Redis cannot be reached: "), "{line}");
    gateway.await_said(&format!("no connection to Redis at {}: ", redis.address));
    let told = gateway.said().matches("no connection to Redis").count();
    assert!(told <= 3, "{}", gateway.said());
    assert!(gateway.metric("tidegate_redis_lookups_total{result=\"down\",what=\"key\"}") > 0.0);
    assert!(gateway.metric("tidegate_problems_total{kind=\"unavailable\",policy=\"api_key\"}") >= 3.0);
    redis.revive();
    await_status(&mut client, "key-1", 200);
    gateway.await_metric(&format!("tidegate_redis_up{{address=\"{}\"}}", redis.address), 1.0);
    let connected = || gateway.said().matches("connected to Redis").count();
    eventually("it says so", || (connected() == 2).then_some(()));
}

#[test]
fn what_is_known_lasts_without_redis_for_as_long_as_is_said() {
    let mut redis = Redis::start();
    let gateway = gateway(&format!("url: \"redis://{}\", consumers: {{ cache: 100ms, unknown: 100ms, stale: 1h }}", redis.address));
    let mut client = gateway.client();
    redis.cli(&["HSET", &entry("key-1"), "consumer", "app"]);
    redis.cli(&["HSET", "tidegate:consumer:app", "groups", "gold"]);
    assert_eq!(ask(&mut client, "key-1").status, 200);
    redis.kill();
    await_status(&mut client, "key-2", 503);
    let down = "tidegate_redis_lookups_total{result=\"down\",what=\"consumer\"}";
    eventually("what is known is over", || {
        assert_eq!(ask(&mut client, "key-1").status, 200);
        (gateway.metric(down) > 0.0).then_some(())
    });
    assert_eq!(ask(&mut client, "key-1").json()["headers"]["x-groups"], "gold");
}

#[test]
fn where_it_is_said_so_everybody_with_a_key_is_let_in_as_nobody() {
    let mut redis = Redis::start();
    let gateway = gateway(&format!("url: \"redis://{}\", consumers: {{ cache: 0s, unknown: 0s, on_error: allow }}", redis.address));
    let mut client = gateway.client();
    assert_eq!(ask(&mut client, "key-1").status, 401);
    redis.kill();
    await_status(&mut client, "key-1", 200);
    let headers = ask(&mut client, "key-1").json()["headers"].clone();
    assert!(headers.get("x-who").is_none() && headers.get("x-api-key").is_none(), "{headers}");
    client.get("/keyed").problem(401, "unauthorized");
}

#[test]
fn where_it_is_said_so_a_token_of_which_nobody_can_tell_the_consumer_goes_on_without_one() {
    let mut redis = Redis::start();
    redis.cli(&["HSET", "tidegate:consumer:ada", "groups", "gold"]);
    let policies =
        "[jwt: { issuer: any, audience: any, consumer: sub, keys: [{ algorithm: HS256, secret: a-secret-of-at-least-thirty-two-bytes }] }]";
    let gateway = gateway_with(
        &format!("url: \"redis://{}\", consumers: {{ cache: 0s, unknown: 0s, on_error: allow }}", redis.address),
        &format!("  - {{ name: token, match: {{ path: /token }}, policies: {policies}, to: echo }}\n"),
    );
    let mut client = gateway.client();
    let mut ask = |sub: &str| client.get_with("/token", &format!("Authorization: Bearer {}\r\n", token(sub)));
    assert_eq!((ask("ada").json()["headers"]["x-who"].as_str(), ask("bob").status), (Some("ada"), 403));
    redis.kill();
    gateway.await_metric(&format!("tidegate_redis_up{{address=\"{}\"}}", redis.address), 0.0);
    for sub in ["ada", "bob"] {
        let headers = ask(sub).json()["headers"].clone();
        assert!(headers.get("x-who").is_none(), "{headers}");
    }
    assert_eq!(ask("filed").json()["headers"]["x-who"], "filed");
    // Who is nobody there is still known to be nobody.
    ask("").problem(403, "forbidden");
}

#[test]
fn a_slow_redis_holds_up_nobody_for_longer_than_may_be() {
    let redis = Redis::start();
    let way = Slow::to(redis.address);
    let gateway = gateway(&format!("url: \"redis://{}\", timeout: 1s, consumers: {{ cache: 100ms, unknown: 100ms }}", way.address));
    let mut client = gateway.client();
    redis.cli(&["HSET", &entry("key-1"), "consumer", "filed"]);
    assert_eq!(ask(&mut client, "key-1").status, 200);
    // Slow is not gone.
    way.delay(Duration::from_millis(100));
    await_status(&mut client, "key-2", 401);
    way.delay(Duration::from_secs(4));
    let mut longest = Duration::ZERO;
    let mut refused = 0;
    let mut others = gateway.client();
    for number in 0..20 {
        let started = Instant::now();
        refused += u32::from(ask(&mut client, &format!("other-{number}")).status == 503);
        longest = longest.max(started.elapsed());
        let started = Instant::now();
        assert_eq!((others.get("/open").status, ask(&mut others, "test").status), (200, 200));
        assert!(started.elapsed() < Duration::from_millis(800), "{:?}", started.elapsed());
    }
    assert_eq!(refused, 20);
    assert!(longest < Duration::from_secs(1) + Duration::from_secs(1), "{longest:?}");
    way.delay(Duration::ZERO);
    await_status(&mut client, "key-1", 200);
    // One that hangs altogether, with its connections open.
    redis.signal(Signal::SIGSTOP);
    await_status(&mut client, "key-3", 503);
    redis.signal(Signal::SIGCONT);
    await_status(&mut client, "key-1", 200);
}

#[test]
fn the_gateway_starts_without_redis_and_finds_it_later() {
    let mut redis = Redis::start();
    redis.cli(&["HSET", &entry("key-1"), "consumer", "filed"]);
    redis.kill();
    let gateway = gateway(&format!("url: \"redis://{}\", consumers: {{}}", redis.address));
    let mut client = gateway.client();
    ask(&mut client, "key-1").problem(503, "unavailable");
    assert_eq!(ask(&mut client, "test").status, 200);
    redis.revive();
    await_status(&mut client, "key-1", 200);
}

#[test]
fn a_request_that_asks_twice_waits_no_longer_than_one_that_asks_once() {
    let redis = Redis::start();
    let way = Slow::to(redis.address);
    let gateway = gateway(&format!("url: \"redis://{}\", timeout: 500ms, consumers: {{ cache: 1h }}", way.address));
    let mut client = gateway.client();
    for number in 0..5 {
        redis.cli(&["HSET", &entry(&format!("key-{number}")), "consumer", &format!("app-{number}")]);
        redis.cli(&["HSET", &format!("tidegate:consumer:app-{number}"), "groups", "gold"]);
    }
    // Each of the two answers would come in time, both together do not.
    way.delay(Duration::from_millis(300));
    for number in 0..5 {
        ask(&mut client, &format!("key-{number}")).problem(503, "unavailable");
    }
    way.delay(Duration::ZERO);
    for number in 0..5 {
        await_status(&mut client, &format!("key-{number}"), 200);
    }
}

#[test]
fn a_user_that_may_not_look_up_is_told_of_though_it_may_ping() {
    let redis = Redis::start();
    redis.cli(&["ACL", "SETUSER", "gateway", "on", ">hunter2", "~other:*", "+hgetall", "+ping"]);
    redis.cli(&["HSET", &entry("key-1"), "consumer", "filed"]);
    let user = "username: gateway, password: hunter2";
    let gateway =
        gateway(&format!("url: \"redis://{}\", {user}, consumers: {{ cache: 100ms, unknown: 100ms, on_error: allow }}", redis.address));
    // Before anybody calls.
    gateway.await_said(&format!("Redis at {} does not answer what it is asked: ", redis.address));
    let up = format!("tidegate_redis_up{{address=\"{}\"}}", redis.address);
    gateway.await_metric(&up, 0.0);
    let mut client = gateway.client();
    for key in ["key-1", "key-2", "key-3"] {
        let headers = ask(&mut client, key).json()["headers"].clone();
        assert!(headers.get("x-who").is_none(), "{headers}");
    }
    gateway.await_metric("tidegate_redis_lookups_total{result=\"error\",what=\"key\"}", 3.0);
    let said = gateway.await_said("this user has no permissions");
    assert_eq!(said.matches("does not answer what it is asked").count(), 1, "{said}");
    redis.cli(&["ACL", "SETUSER", "gateway", "~tidegate:*"]);
    gateway.await_metric(&up, 1.0);
    await_status(&mut client, "key-2", 401);
    assert_eq!(ask(&mut client, "key-1").json()["headers"]["x-who"], "filed");
}
