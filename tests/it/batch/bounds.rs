//! What a batch may cost: how many at once, how long, how large, and that nothing is left behind.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{answers, gateway, get, post, send, statuses};
use crate::support::client::H2;
use crate::support::{Gateway, PATIENCE, RawOrigin};

/// An origin that answers when so many are there, and how many were there at once.
fn meeting(count: usize) -> (RawOrigin, Arc<AtomicUsize>) {
    let (there, most, meet) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(count)));
    let seen = most.clone();
    let origin = RawOrigin::start(move |mut talk| {
        while let Some(request) = talk.request() {
            seen.fetch_max(there.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            meet.wait();
            there.fetch_sub(1, Ordering::SeqCst);
            let text = String::from_utf8_lossy(&request).into_owned();
            let target = text.split(' ').nth(1).unwrap().to_owned();
            talk.say(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{target}", target.len()));
        }
    });
    (origin, most)
}

#[test]
fn so_many_are_under_way_at_once_and_no_more() {
    for parallel in [1, 2, 3] {
        let (origin, most) = meeting(parallel);
        let gateway = gateway(&[("up", origin.address.to_string())], &format!("{{ parallel: {parallel} }}"));
        let requests: Vec<_> = (0..6).map(|id| get(&id.to_string(), &format!("/up/{id}"))).collect();
        let answers = answers(&mut gateway.client(), "", &json!(requests));
        let bodies: Vec<_> = answers.iter().map(|answer| answer["body"].as_str().unwrap()).collect();
        assert_eq!(bodies, ["/up/0", "/up/1", "/up/2", "/up/3", "/up/4", "/up/5"]);
        assert_eq!(most.load(Ordering::SeqCst), parallel);
    }
}

#[test]
fn the_answers_keep_the_order_of_the_requests_whoever_is_first() {
    let (told, second) = channel();
    let (told, second) = (Mutex::new(told), Mutex::new(second));
    let origin = RawOrigin::start(move |mut talk| {
        let request = talk.request().unwrap();
        if request.starts_with(b"GET /up/1 ") {
            second.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            talk.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1");
        } else {
            talk.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 1\r\n\r\n2");
            talk.until_closed();
            told.lock().unwrap().send(()).unwrap();
        }
    });
    // The second is done, and its connection closed, before the first has its answer.
    let gateway = gateway(&[("up", origin.address.to_string())], "{}");
    let answers = answers(&mut gateway.client(), "", &json!([get("a", "/up/1"), get("b", "/up/2")]));
    assert_eq!((&answers[0]["body"], &answers[1]["body"]), (&1.into(), &2.into()));
}

/// A service that never answers, and tells of who has asked and who has left.
fn silent() -> (RawOrigin, Receiver<&'static str>) {
    let (told, events) = channel();
    let told = Mutex::new(told);
    let origin = RawOrigin::start(move |mut talk| {
        talk.request();
        told.lock().unwrap().send("asked").unwrap();
        talk.until_closed();
        told.lock().unwrap().send("left").unwrap();
    });
    (origin, events)
}

#[test]
fn what_has_no_answer_in_time_has_a_504_in_its_place_and_is_broken_off() {
    let (slow, events) = silent();
    let streaming = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        talk.until_closed();
    });
    let services = [("slow", slow.address.to_string()), ("stream", streaming.address.to_string())];
    let gateway_of = |batch: &str| gateway(&services, batch);
    let requests = json!([get("1", "/slow/"), get("2", "/echo/"), get("3", "/stream/"), get("4", "/echo/")]);
    let gateway = gateway_of("{ parallel: 3, timeout: 500ms }");
    let mut client = gateway.client();
    assert_eq!(client.get("/echo/").status, 200);
    let started = Instant::now();
    let all = answers(&mut client, "", &requests);
    let took = started.elapsed();
    eprintln!("a batch of 500 ms took {took:?}");
    assert_eq!(statuses(&all), [504, 200, 504, 200], "{all:#?}");
    assert_eq!((&all[0]["body"]["step"], &all[0]["headers"]["content-type"]), (&"waiting".into(), &"application/problem+json".into()));
    assert!(took >= Duration::from_millis(470) && took < Duration::from_millis(1500), "{took:?}");
    let next = || events.recv_timeout(PATIENCE).unwrap();
    assert_eq!([next(), next()], ["asked", "left"]);
    // The connection goes on.
    assert_eq!(client.get("/echo/").status, 200);

    // One after the other: those behind the slow one are never asked.
    let gateway = gateway_of("{ parallel: 1, timeout: 300ms }");
    let all = answers(&mut gateway.client(), "", &json!([get("1", "/slow/"), get("2", "/echo/"), get("3", "/echo/")]));
    assert_eq!(statuses(&all), [504, 504, 504]);
    assert_eq!(all[1]["body"]["detail"], "the time of the batch was up before there was an answer");
    assert_eq!([next(), next()], ["asked", "left"]);
    gateway.await_metric("tidegate_batch_requests_total{result=\"late\",route=\"batch\"}", 2.0);
    gateway.await_log("the second", |line| line["batch"].is_string() && line["status"] == 504 && line["route"] == "-");
}

#[test]
fn a_service_that_others_of_a_batch_left_no_time_is_not_blamed() {
    let (slow, _events) = silent();
    let gateway = Gateway::start(&format!(
        "services:\n  wait: {{ mock: {{ delay: 50ms, json: 1 }} }}\n  slow: {{ targets: [\"http://{0}\"], timeouts: {{ response: 480ms }}, breaker: {{ failures: 1 }} }}\n  slower: {{ targets: [\"http://{0}\"], timeouts: {{ response: 100ms }}, breaker: {{ failures: 1 }} }}\nroutes:\n  - {{ name: wait, match: {{ path: /wait }}, to: wait }}\n  - {{ name: slow, match: {{ path: /slow }}, to: slow }}\n  - {{ name: slower, match: {{ path: /slower }}, to: slower }}\n  - {{ name: batch, match: {{ path: /batch }}, batch: {{ parallel: 1, timeout: 500ms }} }}\n",
        slow.address
    ));
    for _ in 0..2 {
        let all = answers(&mut gateway.client(), "", &json!([get("1", "/wait"), get("2", "/slow")]));
        assert_eq!(statuses(&all), [200, 504], "{all:#?}");
    }
    // One that has had all the time that it is given is.
    assert_eq!(statuses(&answers(&mut gateway.client(), "", &json!([get("1", "/wait"), get("2", "/slower")]))), [200, 504]);
    gateway.await_metric("tidegate_breaker_open{service=\"slower\"}", 1.0);
    assert_eq!(gateway.metric("tidegate_breaker_open{service=\"slow\"}"), 0.0);
}

#[test]
fn no_batch_is_late_by_more_than_a_moment() {
    // One that says something now and then: no silence of it is too long.
    let streaming = RawOrigin::start(|mut talk| {
        talk.request();
        talk.say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n");
        std::thread::park_timeout(Duration::from_millis(150));
        talk.say("data: 2\n\n");
        talk.until_closed();
    });
    let gateway = gateway(&[("stream", streaming.address.to_string())], "{ timeout: 300ms }");
    let mut client = gateway.client();
    let mut least = Duration::MAX;
    // A machine that is busy may hold up one of them, and not all.
    for _ in 0..8 {
        let started = Instant::now();
        let all = answers(&mut client, "", &json!([get("1", "/stream/")]));
        least = least.min(started.elapsed());
        assert_eq!(statuses(&all), [504], "{all:#?}");
    }
    eprintln!("a batch of 300 ms took {least:?}");
    assert!(least <= Duration::from_millis(315), "{least:?}");
}

#[test]
fn the_answers_are_held_within_their_bound_while_they_come() {
    let origin = RawOrigin::start(move |mut talk| {
        let is_long = talk.request().unwrap().starts_with(b"GET /up/long");
        let (length, sent) = if is_long { (700_000, 600_000) } else { (300_000, 300_000) };
        talk.say(format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n"));
        talk.say(vec![b'x'; sent]);
        talk.until_closed();
    });
    let gateway = gateway(&[("up", origin.address.to_string())], "{ parallel: 2, answers: 1MiB, timeout: 2s }");
    let all = answers(&mut gateway.client(), "", &json!([get("1", "/up/long/a"), get("2", "/up/long/b"), get("3", "/up/short")]));
    // Neither of the two would be too long by itself, and both together are before either has come to its end; then there is room again.
    let (refused, late) = if all[0]["status"] == 502 { (&all[0], &all[1]) } else { (&all[1], &all[0]) };
    assert_eq!((&refused["status"], &late["status"], &all[2]["status"]), (&502.into(), &504.into(), &200.into()), "{refused} {late}");
    assert_eq!(refused["body"]["detail"], "the answers of the batch would be longer than 1048576 bytes together");
    let line = gateway.await_log("the refused one", |line| line["cause"].as_str().is_some_and(|cause| cause.contains("left no room")));
    assert_eq!((&line["route"], &line["status"]), (&"up".into(), &200.into()), "{line}");
}

#[test]
fn what_is_too_large_spoils_nothing_else() {
    let (endless, stopped) = RawOrigin::endless();
    let gateway = gateway(&[("endless", endless.address.to_string())], "{ size: 2KiB, answer: 1KiB, answers: 1500B, requests: 3 }");
    let mut client = gateway.client();
    let all = answers(&mut client, "", &json!([get("1", "/endless/"), get("2", "/echo/")]));
    assert_eq!(statuses(&all), [502, 200], "{all:#?}");
    assert_eq!(all[0]["body"]["detail"], "the answer is longer than 1024 bytes, the most that a batch takes of one");
    stopped.recv_timeout(PATIENCE).unwrap();
    let line = gateway.await_log("the endless one", |line| line["route"] == "endless");
    assert!(line["cause"].as_str().unwrap().contains("longer than 1024 bytes"), "{line}");

    let long = format!("/echo/{}", "x".repeat(500));
    let all = answers(&mut client, "", &json!([get("1", &long), get("2", &long), get("3", &long)]));
    let mut sorted = statuses(&all);
    sorted.sort_unstable();
    assert_eq!(sorted, [200, 502, 502], "{all:#?}");
    let refused = all.iter().find(|answer| answer["status"] == 502).unwrap();
    assert_eq!(refused["body"]["detail"], "the answers of the batch would be longer than 1500 bytes together");
    let problem = post(&mut client, "", &json!([get(&"x".repeat(3000), "/")])).problem(413, "content-too-large");
    assert_eq!(problem["detail"], "the batch is larger than 2048 bytes");
    let problem =
        post(&mut gateway.client(), "", &json!([get("1", "/"), get("2", "/"), get("3", "/"), get("4", "/")])).problem(400, "bad-request");
    assert_eq!(problem["at"], "requests");
}

#[test]
fn a_client_that_leaves_leaves_no_request_behind() {
    let (slow, events) = silent();
    let gateway = gateway(&[("slow", slow.address.to_string())], "{ parallel: 2, timeout: 60s }");
    let mut client = gateway.client();
    let requests = json!({ "requests": [get("1", "/slow/a"), get("2", "/slow/b"), get("3", "/slow/c")] });
    send(&mut client, "", &requests.to_string());
    let next = || events.recv_timeout(PATIENCE).unwrap();
    assert_eq!([next(), next()], ["asked", "asked"]);
    assert_eq!(gateway.metric("tidegate_batch_requests_running{route=\"batch\"}"), 2.0);
    drop(client);
    assert_eq!([next(), next()], ["left", "left"]);
    gateway.await_metric("tidegate_batch_requests_running{route=\"batch\"}", 0.0);
    gateway.await_metric("tidegate_batch_requests_total{result=\"cancelled\",route=\"batch\"}", 3.0);
    let line = gateway.await_log("one of them", |line| line["route"] == "slow");
    assert_eq!((&line["status"], &line["cause"]), (&0.into(), &"what it came inside of was over".into()), "{line}");
}

#[tokio::test]
async fn a_stream_of_http2_that_is_reset_leaves_no_request_behind() {
    let (slow, events) = silent();
    let gateway = gateway(&[("slow", slow.address.to_string())], "{ timeout: 60s }");
    let client = Arc::new(H2::connect(gateway.address).await);
    let other = client.clone();
    let asking = tokio::spawn(async move {
        let body = r#"{"requests":[{"id":"1","method":"GET","url":"/slow/"}]}"#;
        other.request("POST", "/batch", &[("content-type", "application/json")], &[body]).await
    });
    let events = tokio::task::spawn_blocking(move || {
        assert_eq!(events.recv_timeout(PATIENCE).unwrap(), "asked");
        events
    });
    let events = events.await.unwrap();
    asking.abort();
    tokio::task::spawn_blocking(move || assert_eq!(events.recv_timeout(PATIENCE).unwrap(), "left")).await.unwrap();
    gateway.await_metric("tidegate_batch_requests_running{route=\"batch\"}", 0.0);
    assert_eq!(client.get("/echo/").await.0.status, 200);
}

#[test]
fn a_config_that_changes_meanwhile_is_that_of_the_requests_to_come() {
    let (asked, heard) = channel();
    let (go, gone) = channel::<()>();
    let (asked, gone) = (Mutex::new(asked), Mutex::new(gone));
    let origin = RawOrigin::start(move |mut talk| {
        talk.request();
        asked.lock().unwrap().send(()).unwrap();
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        talk.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1");
    });
    let config = |up: &str| {
        format!(
            "services: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes:\n  - {{ name: up, match: {{ path: /up }}, {up} }}\n  - {{ name: batch, match: {{ path: /batch }}, batch: {{ parallel: 1 }} }}\n",
            origin.address
        )
    };
    let gateway = Gateway::start(&config("to: up"));
    let mut client = gateway.client();
    send(&mut client, "", &json!({ "requests": [get("1", "/up"), get("2", "/up")] }).to_string());
    heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(gateway.rewrite(&config("reply: { json: 2 }")), "done");
    go.send(()).unwrap();
    let answers = client.read().json();
    assert_eq!((&answers["responses"][0]["body"], &answers["responses"][1]["body"]), (&1.into(), &2.into()), "{answers}");
}

#[test]
fn a_batch_comes_to_its_end_though_the_process_is_told_to_end() {
    let (asked, heard) = channel();
    let (go, gone) = channel::<()>();
    let (asked, gone) = (Mutex::new(asked), Mutex::new(gone));
    let origin = RawOrigin::start(move |mut talk| {
        while talk.request().is_some() {
            asked.lock().unwrap().send(()).unwrap();
            gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            talk.say("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n1");
        }
    });
    let mut gateway = gateway(&[("up", origin.address.to_string())], "{ parallel: 1 }");
    let mut client = gateway.client();
    send(&mut client, "", &json!({ "requests": [get("1", "/up/1"), get("2", "/up/2"), get("3", "/echo/")] }).to_string());
    heard.recv_timeout(PATIENCE).unwrap();
    gateway.terminate();
    gateway.await_said("ending");
    go.send(()).unwrap();
    heard.recv_timeout(PATIENCE).unwrap();
    go.send(()).unwrap();
    let answer = client.read();
    let all = answer.json()["responses"].as_array().unwrap().clone();
    assert_eq!((statuses(&all), answer.header("connection")), (vec![200, 200, 200], Some("close")));
    assert!(gateway.ended().success());
}
