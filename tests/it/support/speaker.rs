//! A client that speaks HTTP/2 frame by frame (RFC 9113 §4.1), and so can say what no library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RESET: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// The codes of errors (RFC 9113 §7) that are looked for.
pub const PROTOCOL_ERROR: u32 = 1;
pub const CALM: u32 = 11;

/// One connection.
pub struct Speaker(TcpStream);

/// One frame of the gateway's.
#[derive(Debug)]
pub struct Heard {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Heard {
    /// The code of a GOAWAY or a RST_STREAM.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The block of a request's header: method, scheme, authority and path by the static table (RFC 7541 appendix A), then these fields.
pub fn block(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0x86, 0x01];
    text(&mut block, "a.test");
    for (index, value) in [(0x02, method), (0x04, path)] {
        block.push(index);
        text(&mut block, value);
    }
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name);
        text(&mut block, value);
    }
    block
}

/// A string without Huffman coding (RFC 7541 §5.2).
fn text(block: &mut Vec<u8>, text: &str) {
    match text.len().checked_sub(127) {
        None => block.push(u8::try_from(text.len()).unwrap()),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            block.push(u8::try_from(rest).unwrap());
        }
    }
    block.extend_from_slice(text.as_bytes());
}

impl Speaker {
    /// Connects and says nothing.
    pub fn silent(address: SocketAddr) -> Self {
        Self::ready(TcpStream::connect(address).unwrap())
    }

    fn ready(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// Connects, and greets with the preface and these SETTINGS.
    pub fn greeting(address: SocketAddr, settings: &[u8]) -> Self {
        let mut speaker = Self::silent(address);
        assert!(speaker.say_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, settings)[..]].concat()));
        speaker
    }

    /// Connects, and greets as most do.
    pub fn connect(address: SocketAddr) -> Self {
        Self::greeting(address, &[])
    }

    /// The same, with room for a few kilobytes alone that it has not read, though it says that there is plenty.
    pub fn narrow(address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut speaker = Self::ready(socket.into());
        let plenty = 1_000_000_u32.to_be_bytes();
        let settings = frame(SETTINGS, 0, 0, &[&[0, 4][..], &plenty].concat());
        assert!(speaker.say_all(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &settings[..], &frame(WINDOW, 0, 0, &plenty)].concat()));
        speaker
    }

    /// Another handle for the same connection.
    pub fn other(&self) -> Self {
        Self(self.0.try_clone().unwrap())
    }

    /// Whether the gateway still takes it.
    pub fn say_all(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// One frame.
    pub fn say(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.say_all(&frame(kind, flags, stream, payload))
    }

    /// A request without a body.
    pub fn get(&mut self, stream: u32, path: &str) -> bool {
        self.say(HEADERS, END_STREAM | END_HEADERS, stream, &block("GET", path, &[]))
    }

    /// A request whose body is to come.
    pub fn post(&mut self, stream: u32, path: &str) -> bool {
        self.say(HEADERS, END_HEADERS, stream, &block("POST", path, &[]))
    }

    /// The next frame; none where the gateway has closed.
    pub fn hear(&mut self) -> Option<Heard> {
        let head = self.take(9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Heard { kind: head[3], flags: head[4], stream, payload: self.take(length)? })
    }

    /// The next frame of this kind that is no acknowledgement, on this stream; none where the gateway has closed.
    pub fn hear_of(&mut self, kind: u8, stream: u32) -> Option<Heard> {
        loop {
            let heard = self.hear()?;
            if heard.kind == kind && heard.stream == stream && (heard.flags & 1 == 0 || !matches!(kind, PING | SETTINGS)) {
                return Some(heard);
            }
        }
    }

    /// All frames until the gateway closes.
    pub fn until_closed(&mut self) -> Vec<Heard> {
        std::iter::from_fn(|| self.hear()).collect()
    }

    /// Nothing where the gateway has closed, or reset.
    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; count];
        match self.0.read_exact(&mut bytes) {
            Ok(()) => Some(bytes),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset) => None,
            Err(error) => panic!("the gateway says nothing and does not close: {error}"),
        }
    }
}
