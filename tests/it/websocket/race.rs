//! What a service sends along with its 101 is the first thing that the client gets (Pingora's issue 946 could lose it).

use super::gateway;
use crate::support::origin::RawOrigin;
use crate::support::websocket::{Got, PING, Socket, TEXT, closing, frame};

#[test]
fn the_first_frames_are_never_lost() {
    let first = [frame(TEXT, b"first", None), frame(PING, b"", None), frame(TEXT, &[b'x'; 3000], None)].concat();
    let origin = RawOrigin::start(move |mut talk| {
        talk.agree("", &first);
        talk.echo();
    });
    let gateway = gateway(origin.address, "");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..125 {
                    let mut socket = Socket::open(gateway.address, "/");
                    socket.expect(TEXT, "first");
                    socket.expect(PING, "");
                    socket.expect(TEXT, [b'x'; 3000]);
                    socket.close(1000);
                    assert_eq!(socket.read(), Got::Frame(0x88, closing(1000, "")));
                }
            });
        }
    });
}

#[test]
fn what_a_client_sends_before_it_is_answered_waits_and_arrives() {
    let origin = crate::support::websocket::echoing();
    let gateway = gateway(origin.address, "");
    let mut client = gateway.client();
    let early = frame(TEXT, b"early", Some(crate::support::websocket::MASK));
    let asking = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", crate::support::websocket::asking());
    client.send([asking.as_bytes(), &early].concat());
    assert_eq!(client.head().status, 101);
    let mut socket = Socket { client };
    socket.expect(TEXT, "early");
}
