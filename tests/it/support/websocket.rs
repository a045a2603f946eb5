//! WebSockets frame by frame (RFC 6455 §5), right ones and wrong ones: a client, and what a server needs.

use std::net::SocketAddr;

use super::Client;
use super::origin::{RawOrigin, Talk};

/// First bytes of frames: final, and the opcode.
pub const TEXT: u8 = 0x81;
pub const BINARY: u8 = 0x82;
pub const CLOSE: u8 = 0x88;
pub const PING: u8 = 0x89;
pub const PONG: u8 = 0x8a;

/// The mask that the client uses: one that changes every byte.
pub const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// The key of the standard's example, and what answers it (RFC 6455 §1.3).
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The lines that ask for a WebSocket.
pub fn asking() -> String {
    format!("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n")
}

/// One frame.
pub fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        length @ ..126 => bytes.push(bit | u8::try_from(length).unwrap()),
        length @ ..65_536 => {
            bytes.push(bit | 126);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            bytes.push(bit | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    match mask {
        Some(mask) => {
            bytes.extend(mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
        None => bytes.extend(payload),
    }
    bytes
}

/// The payload of a Close.
pub fn closing(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// The client's side, once the gateway has agreed.
pub struct Socket {
    pub client: Client,
}

/// What a side has got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    /// A frame: its first byte, and its payload.
    Frame(u8, Vec<u8>),
    /// The end of the connection.
    End,
}

impl Got {
    /// The code of a Close; none where it says none.
    pub fn code(&self) -> Option<u16> {
        match self {
            Got::Frame(CLOSE, payload) => payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
            other => panic!("this is no Close: {other:?}"),
        }
    }
}

impl Socket {
    pub fn open(address: SocketAddr, path: &str) -> Self {
        Self::over(Client::connect(address), path)
    }

    pub fn over(mut client: Client, path: &str) -> Self {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: gateway.test\r\n{}\r\n", asking()));
        let answer = client.head();
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some(ACCEPT));
        Self { client }
    }

    /// Sends one frame as a client must.
    pub fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.client.send(frame(first, payload.as_ref(), Some(MASK)));
    }

    /// Sends these bytes.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.client.send(bytes);
    }

    pub fn close(&mut self, code: u16) {
        self.send(CLOSE, closing(code, ""));
    }

    /// What comes next.
    pub fn read(&mut self) -> Got {
        read(|count| self.client.try_bytes(count).ok(), false)
    }

    /// The next frame must be this.
    pub fn expect(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        let got = self.read();
        assert!(got == Got::Frame(first, payload.as_ref().to_vec()), "{first:x} was expected, and this came: {}", brief(&got));
    }
}

fn brief(got: &Got) -> String {
    let mut text = format!("{got:?}");
    text.truncate(200);
    text
}

fn read(mut take: impl FnMut(usize) -> Option<Vec<u8>>, masked: bool) -> Got {
    let mut frame = || {
        let start = take(2)?;
        assert_eq!(start[1] & 0x80 != 0, masked, "the mask is none of this side's");
        let length = match start[1] & 0x7f {
            126 => take(2)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            127 => take(8)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)),
            length => usize::from(length),
        };
        let mask = if masked { take(4)? } else { vec![0; 4] };
        let payload = take(length)?;
        Some(Got::Frame(start[0], payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()))
    };
    frame().unwrap_or(Got::End)
}

impl Talk {
    /// Reads a handshake and agrees to it, with more lines and more bytes behind them in one piece.
    pub fn agree(&mut self, lines: &str, more: &[u8]) -> Option<String> {
        let request = String::from_utf8(self.header()?).unwrap();
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {ACCEPT}\r\n{lines}\r\n"
        );
        self.say([answer.as_bytes(), more].concat());
        Some(request)
    }

    /// The next frame of the gateway.
    pub fn frame(&mut self) -> Got {
        read(|count| self.take(count), true)
    }

    /// Sends one as a server must.
    pub fn send(&mut self, first: u8, payload: impl AsRef<[u8]>) {
        self.say(frame(first, payload.as_ref(), None));
    }

    /// Sends whole messages back, answers pings and says farewell as it should.
    pub fn echo(&mut self) {
        let (mut kind, mut message) = (0, Vec::new());
        loop {
            match self.frame() {
                Got::Frame(PING, payload) => self.send(PONG, payload),
                Got::Frame(PONG, _) => {}
                Got::Frame(CLOSE, payload) => return self.send(CLOSE, payload),
                Got::Frame(first, payload) => {
                    if first & 0x0f != 0 {
                        kind = first & 0x0f;
                    }
                    message.extend(payload);
                    if first & 0x80 != 0 {
                        self.send(0x80 | kind, std::mem::take(&mut message));
                    }
                }
                Got::End => return,
            }
        }
    }
}

/// A server that echoes.
pub fn echoing() -> RawOrigin {
    RawOrigin::start(|mut talk| {
        if talk.agree("", b"").is_some() {
            talk.echo();
        }
    })
}
