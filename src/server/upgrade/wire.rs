use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The number of the protocol between processes. It is raised only by a change that an older process would misunderstand; what is merely new goes into
/// fields that an older one skips and a newer one can do without.
pub const PROTOCOL: u32 = 1;

/// What a message may take.
const LONGEST: usize = 1024 * 1024;

/// Sockets in one message. The system takes 253.
pub const TOGETHER: usize = 64;

/// What the command asks the running process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Ask {
    /// Start this binary on this config and hand over to it.
    Upgrade {
        /// The binary, as an absolute path.
        binary: PathBuf,
        /// The config, as an absolute path; without it the present one.
        #[serde(default)]
        config: Option<PathBuf>,
    },
    /// Asked by a newer command.
    #[serde(other)]
    Unknown,
}

/// What the running process answers the command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "news", rename_all = "snake_case")]
pub enum News {
    /// It has begun, and its end will be told within this time.
    Begun {
        /// In milliseconds.
        within: u64,
    },
    /// Not now.
    Refused {
        /// The reason.
        why: String,
    },
    /// The new process did not come to serve; the old one serves on.
    Failed {
        /// The reason.
        why: String,
    },
    /// The new process serves.
    Done {
        /// Its id.
        pid: u32,
        /// Its version.
        version: String,
        /// The process that asked it to.
        from: u32,
        /// That one's version.
        from_version: String,
        /// From the asking to the serving, in milliseconds.
        took: u64,
        /// How long the old process lets requests end, in milliseconds.
        drain: u64,
    },
    /// Told by a newer process.
    #[serde(other)]
    Unknown,
}

/// What the new process tells the old one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// It runs, and wants the sockets.
    Hello {
        /// What it speaks.
        protocol: u32,
        /// Its version.
        version: String,
        /// Its id.
        pid: u32,
    },
    /// All is built, bound and checked: only the word is missing.
    Ready,
    /// It accepts connections.
    Serving,
    /// It gives up.
    Failed {
        /// The reason.
        why: String,
    },
    /// Told by a newer process.
    #[serde(other)]
    Unknown,
}

/// What the old process gives the new one.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "grant", rename_all = "snake_case")]
pub enum Grant {
    /// Sockets, which come with the message in the same order.
    Sockets {
        /// What each is for.
        names: Vec<Name>,
        /// Whether further ones follow.
        #[serde(default)]
        more: bool,
    },
    /// Serve.
    Go,
    /// Given by a newer process.
    #[serde(other)]
    Unknown,
}

/// What a socket is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// Whom it serves.
    pub role: Role,
    /// Its address as the config has it: with port 0 where the system chose one.
    pub address: String,
}

/// Whom a socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Clients.
    Listener,
    /// Operators.
    Admin,
    /// Somebody that only a newer process knows.
    #[serde(other)]
    Unknown,
}

/// Messages over a Unix socket, open descriptors among them, until a deadline.
#[derive(Debug)]
pub struct Wire {
    stream: UnixStream,
    deadline: Instant,
}

impl Wire {
    /// Blocking, and never longer than `bound`.
    pub fn new(stream: UnixStream, bound: Duration) -> Self {
        Self { stream, deadline: Instant::now() + bound }
    }

    /// So long from now on.
    pub fn extend(&mut self, bound: Duration) {
        self.deadline = Instant::now() + bound;
    }

    /// Sends a message, with at most [`TOGETHER`] descriptors.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::TimedOut`] at the deadline.
    pub fn send(&mut self, message: &impl Serialize, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let body = serde_json::to_vec(message)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?.to_be_bytes();
        self.stream.set_write_timeout(Some(self.left()?))?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(TOGETHER))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::other("too many sockets for one message"));
        }
        // The descriptors travel with the first bytes; so few are never split.
        let sent = sendmsg(&self.stream, &[IoSlice::new(&length)], &mut beside, SendFlags::NOSIGNAL)?;
        if sent != length.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.stream.write_all(&body).map_err(late)
    }

    /// The next message with the descriptors that came along; none where the other side has ended.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::TimedOut`] at the deadline; [`io::ErrorKind::InvalidData`] for what is no message.
    pub fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
        let mut length = [0; 4];
        let mut fds = Vec::new();
        let mut filled = 0;
        while let Some(rest) = length.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            self.stream.set_read_timeout(Some(self.left()?))?;
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(TOGETHER))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let came = match recvmsg(&self.stream, &mut [IoSliceMut::new(rest)], &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Ok(came) => came.bytes,
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET) => 0,
                Err(error) => return Err(late(error.into())),
            };
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(passed) = message {
                    fds.extend(passed);
                }
            }
            match came {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                came => filled += came,
            }
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
        }
        let mut body = Vec::new();
        while body.len() < length {
            self.stream.set_read_timeout(Some(self.left()?))?;
            let wanted = u64::try_from(length - body.len()).unwrap_or(u64::MAX);
            match (&self.stream).take(wanted).read_to_end(&mut body) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) => return Err(late(error)),
            }
        }
        Ok(Some((serde_json::from_slice(&body)?, fds)))
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

/// The system tells a time that is up as a call that would block.
fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::fd::AsFd;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn pair() -> (Wire, Wire) {
        let (one, other) = UnixStream::pair().unwrap();
        (Wire::new(one, SOON), Wire::new(other, SOON))
    }

    #[test]
    fn sockets_arrive_with_their_message_and_work() {
        let (mut one, mut other) = pair();
        let sockets: Vec<_> = (0..TOGETHER).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let name = |socket: &TcpListener| Name { role: Role::Listener, address: socket.local_addr().unwrap().to_string() };
        let fds: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        one.send(&Grant::Sockets { names: sockets.iter().map(name).collect(), more: false }, &fds).unwrap();
        one.send(&Grant::Go, &[]).unwrap();
        let (Grant::Sockets { names, .. }, fds) = other.receive().unwrap().unwrap() else { panic!() };
        assert_eq!((names.len(), fds.len()), (TOGETHER, TOGETHER));
        for (name, fd) in names.iter().zip(fds) {
            assert_eq!(TcpListener::from(fd).local_addr().unwrap().to_string(), name.address);
        }
        assert!(matches!(other.receive().unwrap(), Some((Grant::Go, none)) if none.is_empty()));
        drop(one);
        assert!(other.receive::<Grant>().unwrap().is_none());
    }

    #[test]
    fn what_only_a_newer_process_knows_is_no_mistake() {
        let (mut one, mut other) = pair();
        one.send(&serde_json::json!({"grant": "sockets", "names": [{"role": "quic", "address": "x"}], "tickets": "AAAA"}), &[]).unwrap();
        one.send(&serde_json::json!({"grant": "blessing", "of": 7}), &[]).unwrap();
        let Some((Grant::Sockets { names, more: false }, _)) = other.receive().unwrap() else { panic!() };
        assert_eq!(names, [Name { role: Role::Unknown, address: "x".to_owned() }]);
        assert!(matches!(other.receive().unwrap(), Some((Grant::Unknown, _))));
    }

    #[test]
    fn silence_nonsense_and_half_a_message_end_in_an_error() {
        let (one, mut other) = pair();
        other.extend(Duration::from_millis(20));
        assert_eq!(other.receive::<Grant>().unwrap_err().kind(), io::ErrorKind::TimedOut);
        for (bytes, kind) in [
            (&b"\xff\xff\xff\xff"[..], io::ErrorKind::InvalidData),
            (b"\0\0\0\x02{]", io::ErrorKind::InvalidData),
            (b"\0\0\0\x09{", io::ErrorKind::UnexpectedEof),
            (b"\0\0", io::ErrorKind::UnexpectedEof),
        ] {
            let (one, mut other) = pair();
            (&one.stream).write_all(bytes).unwrap();
            drop(one);
            assert_eq!(other.receive::<Grant>().unwrap_err().kind(), kind, "{bytes:?}");
        }
        drop(one);
    }
}
