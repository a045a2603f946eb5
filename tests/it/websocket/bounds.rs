//! What a side must not do, and what nobody may take: both are told why it ends.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::gateway;
use crate::support::client::End;
use crate::support::origin::{RawOrigin, Talk};
use crate::support::websocket::{BINARY, CLOSE, Got, MASK, PING, Socket, TEXT, closing, echoing, frame};
use crate::support::{Gateway, PATIENCE};

/// A service that agrees, does this, and tells what it gets from then on.
fn service(act: impl Fn(&mut Talk) + Send + Sync + 'static) -> (RawOrigin, mpsc::Receiver<Got>) {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = RawOrigin::start(move |mut talk| {
        talk.agree("", b"");
        act(&mut talk);
        loop {
            let got = talk.frame();
            let end = got == Got::End;
            tell.lock().unwrap().send(got).unwrap();
            if end {
                return;
            }
        }
    });
    (origin, told)
}

fn next(told: &mpsc::Receiver<Got>) -> Got {
    told.recv_timeout(PATIENCE).unwrap()
}

/// The end as the access log has it: by, how, code.
fn end(gateway: &Gateway) -> (String, String, Option<u64>) {
    let line = gateway.await_log("the WebSocket", |line| line["status"] == 101);
    let text = |key: &str| line["websocket"][key].as_str().unwrap().to_owned();
    (text("by"), text("how"), line["websocket"]["code"].as_u64())
}

fn ended(by: &str, how: &str, code: u64) -> (String, String, Option<u64>) {
    (by.to_owned(), how.to_owned(), Some(code).filter(|code| *code > 0))
}

#[test]
fn a_client_that_breaks_the_rules_is_told_and_the_service_is_left_in_peace() {
    for (wrong, code, how) in [
        (frame(TEXT, b"no mask", None), 1002, "violation"),
        (frame(0xc1, b"", Some(MASK)), 1002, "violation"),
        (frame(0x83, b"", Some(MASK)), 1002, "violation"),
        (frame(0x80, b"of nothing", Some(MASK)), 1002, "violation"),
        (frame(CLOSE, &closing(1005, ""), Some(MASK)), 1002, "violation"),
        (frame(TEXT, b"\xff", Some(MASK)), 1007, "violation"),
        (frame(BINARY, &[0; 2000], Some(MASK))[..8].to_vec(), 1009, "too_large"),
    ] {
        let (origin, told) = service(|_| {});
        let gateway = gateway(origin.address, ", websocket: { message: 1000 }");
        let mut socket = Socket::open(gateway.address, "/");
        socket.raw([frame(TEXT, b"good", Some(MASK)), wrong.clone()].concat());
        assert_eq!(next(&told), Got::Frame(TEXT, b"good".to_vec()));
        assert_eq!(next(&told).code(), Some(1001), "{wrong:x?}");
        assert_eq!(next(&told), Got::End);
        assert_eq!(socket.read().code(), Some(code), "{wrong:x?}");
        assert_eq!(socket.read(), Got::End);
        drop(socket);
        assert_eq!(end(&gateway), ended("client", how, u64::from(code)), "{wrong:x?}");
        let series = format!("tidegate_websocket_closes_total{{by=\"client\",how=\"{how}\",service=\"a\"}}");
        gateway.await_metric(&series, 1.0);
        let line = gateway.await_log("the end", |line| line["status"] == 101);
        assert!(line["cause"].as_str().is_some_and(|cause| !cause.is_empty()), "{line}");
    }
}

#[test]
fn a_service_that_breaks_the_rules_is_cut_off_and_the_client_told_that_it_is_not_to_blame() {
    for (wrong, code) in [
        (frame(TEXT, b"mask", Some(MASK)), 1002),
        (frame(0x91, b"", None), 1002),
        (frame(TEXT, b"\xf0\x28", None), 1007),
        (frame(BINARY, &[0; 2000], None), 1009),
    ] {
        let sent = [frame(TEXT, b"good", None), wrong.clone()].concat();
        let (origin, told) = service(move |talk| talk.say(&sent));
        let gateway = gateway(origin.address, ", websocket: { message: 1000 }");
        let mut socket = Socket::open(gateway.address, "/");
        socket.expect(TEXT, "good");
        assert_eq!(socket.read().code(), Some(1011), "{wrong:x?}");
        assert_eq!(next(&told).code(), Some(code), "{wrong:x?}");
        assert_eq!(next(&told), Got::End);
        socket.close(1011);
        assert_eq!(socket.read(), Got::End);
        drop(socket);
        let how = if code == 1009 { "too_large" } else { "violation" };
        assert_eq!(end(&gateway), ended("service", how, code.into()), "{wrong:x?}");
    }
}

#[test]
fn a_frame_that_is_found_wrong_after_it_began_is_cut_off_for_the_other_side() {
    let (origin, told) = service(|_| {});
    let gateway = gateway(origin.address, "");
    let mut socket = Socket::open(gateway.address, "/");
    let whole = frame(TEXT, &[&[b'a'; 300][..], b"\xff", &[b'b'; 300]].concat(), Some(MASK));
    socket.raw(&whole[..200]);
    crate::support::eventually("the first part arrives", || {
        let received = origin.received()[0].clone();
        let head = received.windows(4).position(|window| window == b"\r\n\r\n")?;
        (received.len() > head + 100).then_some(())
    });
    socket.raw(&whole[200..]);
    assert_eq!(socket.read().code(), Some(1007));
    assert_eq!(socket.read(), Got::End);
    // A Close in the midst of a frame would be a part of it.
    assert_eq!(next(&told), Got::End);
}

#[test]
fn where_nothing_comes_for_too_long_both_are_told() {
    let (origin, told) = service(|_| {});
    let gateway = gateway(origin.address, ", websocket: { idle: 600ms }");
    let mut socket = Socket::open(gateway.address, "/");
    for _ in 0..4 {
        // Any frame is a sign of life.
        std::thread::park_timeout(Duration::from_millis(200));
        socket.send(PING, "");
        assert_eq!(next(&told), Got::Frame(PING, Vec::new()));
    }
    let before = std::time::Instant::now();
    assert_eq!(socket.read().code(), Some(1001));
    assert!(before.elapsed() > Duration::from_millis(400));
    assert_eq!(next(&told).code(), Some(1001));
    socket.close(1001);
    drop(socket);
    assert_eq!(next(&told), Got::End);
    assert_eq!(end(&gateway), ended("gateway", "idle", 1001));
}

#[test]
fn a_service_that_does_not_say_farewell_is_waited_for_no_longer_than_the_bound_and_the_client_answered() {
    let (origin, told) = service(|_| {});
    let gateway = gateway(origin.address, ", websocket: { close: 300ms }");
    let mut socket = Socket::open(gateway.address, "/");
    socket.send(CLOSE, closing(3000, "bye"));
    assert_eq!(next(&told), Got::Frame(CLOSE, closing(3000, "bye")));
    socket.expect(CLOSE, closing(3000, ""));
    assert_eq!(socket.read(), Got::End);
    assert_eq!(next(&told), Got::End);
    assert_eq!(end(&gateway), ended("client", "closed", 3000));
}

#[test]
fn a_client_that_does_not_say_farewell_is_waited_for_no_longer_than_the_bound_and_the_service_answered() {
    let (origin, told) = service(|talk| talk.send(CLOSE, ""));
    let gateway = gateway(origin.address, ", websocket: { close: 300ms }");
    let mut socket = Socket::open(gateway.address, "/");
    socket.expect(CLOSE, "");
    assert_eq!(next(&told), Got::Frame(CLOSE, closing(1000, "")));
    assert_eq!(next(&told), Got::End);
    assert_eq!(socket.read(), Got::End);
    assert_eq!(end(&gateway), ended("service", "closed", 0));
}

#[test]
fn who_has_got_a_part_of_a_frame_gets_no_answer_within_it() {
    let half = || frame(BINARY, &[7; 2000], None)[..1000].to_vec();
    let (origin, told) = service(move |talk| talk.say(half()));
    let gateway = gateway(origin.address, ", websocket: { close: 300ms }");
    let mut socket = Socket::open(gateway.address, "/");
    assert_eq!(socket.client.bytes(1000), half());
    socket.close(1000);
    assert_eq!(next(&told).code(), Some(1000));
    assert_eq!(socket.client.ends(), End::Closed);
    assert_eq!(next(&told), Got::End);
}

#[test]
fn a_side_that_vanishes_is_told_to_the_other() {
    let (origin, told) = service(|_| {});
    let gateway = gateway(origin.address, "");
    drop(Socket::open(gateway.address, "/"));
    assert_eq!(next(&told).code(), Some(1001));
    let origin = RawOrigin::start(|mut talk| {
        talk.agree("", b"\x81\x02hi");
    });
    let other = super::gateway(origin.address, "");
    let mut socket = Socket::open(other.address, "/");
    socket.expect(TEXT, "hi");
    assert_eq!(socket.read().code(), Some(1011));
    socket.close(1011);
    assert_eq!(socket.read(), Got::End);
    assert_eq!(end(&other), ended("service", "cut", 0));
}

#[test]
fn a_client_that_has_said_farewell_and_closed_its_side_still_gets_the_answer() {
    let origin = echoing();
    let gateway = gateway(origin.address, "");
    let mut socket = Socket::open(gateway.address, "/");
    socket.send(TEXT, "last words");
    socket.close(1000);
    socket.client.finish();
    socket.expect(TEXT, "last words");
    socket.expect(CLOSE, closing(1000, ""));
    assert_eq!(socket.read(), Got::End);
}

#[test]
fn who_takes_nothing_holds_the_other_back_and_is_given_up_at_last() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let origin = RawOrigin::start(move |mut talk| {
        talk.agree("", b"");
        let piece = frame(BINARY, &[0; 60_000], None);
        let mut count = 0_u64;
        while talk.try_say(&piece) {
            count += 60_000;
        }
        tell.lock().unwrap().send(count).unwrap();
    });
    let gateway = Gateway::start(&format!(
        "server:\n  workers: 1\n  timeouts: {{ write: 1s }}\nservices: {{ a: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: a, match: {{ path: \"/{{rest...}}\" }}, to: a }}]\n",
        origin.address
    ));
    let warm = Socket::open(gateway.address, "/warm");
    drop(warm);
    told.recv_timeout(PATIENCE).unwrap();
    let before = gateway.peak_memory();
    let mut socket = Socket::open(gateway.address, "/");
    let count = told.recv_timeout(PATIENCE).unwrap();
    // What the sockets of the system hold, and next to nothing of ours.
    assert!(count < 64 << 20, "{count}");
    assert!(gateway.peak_memory() < before + 4096, "{} KiB more", gateway.peak_memory() - before);
    gateway.await_log("who stalls", |line| line["websocket"]["how"] == "stalled");
    let _ = socket.read();
}
