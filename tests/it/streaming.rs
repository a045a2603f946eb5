//! Bodies pass as they come: piece by piece, in flat memory, and an answer need not wait for the end of its request.

use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};

use crate::support::{End, Gateway, PATIENCE, RawOrigin};

fn gateway(up: SocketAddr) -> Gateway {
    Gateway::start(&format!("services: {{ up: {{ targets: [\"http://{up}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n"))
}

#[test]
fn events_reach_the_client_one_by_one() {
    for framing in ["Transfer-Encoding: chunked\r\n", ""] {
        let (next, wait) = mpsc::channel::<&str>();
        let wait = Mutex::new(wait);
        let chunked = !framing.is_empty();
        let up = RawOrigin::start(move |mut talk| {
            talk.request();
            talk.say(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n"));
            while let Ok(event) = wait.lock().unwrap().recv() {
                talk.say(if chunked { format!("{:x}\r\n{event}\r\n", event.len()) } else { event.to_owned() });
            }
            if chunked {
                talk.say("0\r\n\r\n");
            }
        });
        let gateway = gateway(up.address);
        let mut client = gateway.client();
        client.send("GET /events HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        let head = client.head();
        assert_eq!((head.status, head.header("transfer-encoding")), (200, Some("chunked")));
        for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            next.send(event).unwrap();
            let chunk = format!("{:X}\r\n{event}\r\n", event.len());
            assert_eq!(String::from_utf8(client.bytes(chunk.len())).unwrap().to_uppercase(), chunk.to_uppercase());
        }
        drop(next);
        assert_eq!(client.bytes(5), b"0\r\n\r\n");
    }
}

#[test]
fn a_request_body_reaches_the_service_piece_by_piece() {
    let (tell, told) = mpsc::channel();
    let tell = Mutex::new(tell);
    let up = RawOrigin::start(move |mut talk| {
        talk.header();
        for _ in 0..3 {
            let piece = talk.take(5).unwrap();
            tell.lock().unwrap().send(piece).unwrap();
        }
        talk.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere");
        talk.until_closed();
    });
    let gateway = gateway(up.address);
    let mut client = gateway.client();
    client.send("POST /pieces HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 15\r\n\r\n");
    for piece in ["first", "again", "third"] {
        client.send(piece);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), piece.as_bytes());
    }
    assert_eq!(client.read().text(), "here");
}

#[test]
fn an_answer_that_does_not_wait_for_the_request_reaches_the_client() {
    const LARGE: usize = 1024 * 1024;
    for closes in [true, false] {
        let up = RawOrigin::start(move |mut talk| {
            talk.header();
            let connection = if closes { "Connection: close\r\n" } else { "" };
            talk.say(format!("HTTP/1.1 413 Content Too Large\r\n{connection}Content-Length: 3\r\n\r\nno!"));
            if closes {
                // As servers do that know their trade: the client shall see the answer before a reset.
                talk.until_closed();
            } else {
                talk.take(LARGE);
            }
        });
        let gateway = gateway(up.address);
        let mut client = gateway.client();
        client.send(format!("POST /large HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {LARGE}\r\n\r\n"));
        client.send(vec![b'x'; LARGE]);
        let answer = client.read();
        assert_eq!((answer.status, answer.text().as_str()), (413, "no!"), "closes: {closes}");
        match answer.header("connection") {
            Some("close") => assert_eq!(client.ends(), End::Closed),
            _ => assert_eq!(client.get("/next").status, 413),
        }
    }
}

#[test]
fn large_bodies_pass_both_ways_in_flat_memory() {
    const PIECE: usize = 1024 * 1024;
    const PIECES: usize = 128;
    let up = RawOrigin::start(|mut talk| {
        talk.header();
        for n in 0..PIECES {
            let piece = talk.take(PIECE).unwrap();
            assert!(piece.iter().all(|byte| usize::from(*byte) == n), "piece {n} was changed");
        }
        talk.say(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PIECE * PIECES));
        for n in 0..PIECES {
            talk.say(vec![u8::try_from(n).unwrap(); PIECE]);
        }
    });
    let gateway = Gateway::start(&format!(
        "server:\n  limits: {{ body: 1GiB }}\nservices: {{ up: {{ targets: [\"http://{}\"] }} }}\nroutes: [{{ name: up, to: up }}]\n",
        up.address
    ));
    let before = gateway.peak_memory();
    let mut client = gateway.client();
    client.send(format!("POST /large HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n", PIECE * PIECES));
    for n in 0..PIECES {
        client.send(vec![u8::try_from(n).unwrap(); PIECE]);
    }
    assert_eq!(client.head().status, 200);
    for n in 0..PIECES {
        assert!(client.bytes(PIECE).iter().all(|byte| usize::from(*byte) == n), "piece {n} was changed");
    }
    let grown = gateway.peak_memory() - before;
    assert!(grown < 16 * 1024, "{grown} KiB for 128 MiB both ways");
}
