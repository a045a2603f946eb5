use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net;

use super::conn::Speaks;
use super::wire::Wire;
use crate::config::{ListenerConfig, Mode, RedirectHttps};
use crate::proxy::Connection;
use crate::types::{Address, Protocol as Http};

/// Connections that may wait to be accepted. The system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;

/// Bytes that the system takes of an answer before the client has room for them. It would take some megabytes, and a client that takes those slowly looks
/// for a long time as if it took nothing.
const UNSENT: u32 = 16 * 1024;

/// An address that is listened on. Nothing is accepted yet.
#[derive(Debug)]
pub enum Bound {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket, and where it is.
    Unix(UnixListener, PathBuf),
}

/// Opens one address.
///
/// # Errors
/// The system's: most often that the address is in use, or not of this machine.
pub fn bind(address: &Address, mode: Option<Mode>) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => tcp(*address).map(Bound::Tcp),
        Address::Unix(path) => {
            let listener = unix(path)?;
            allow(path, mode)?;
            listener.set_nonblocking(true)?;
            Ok(Bound::Unix(listener, path.clone()))
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Lets those connect who may.
fn allow(path: &Path, mode: Option<Mode>) -> io::Result<()> {
    mode.map_or(Ok(()), |Mode(mode)| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
}

fn unix(path: &Path) -> io::Result<UnixListener> {
    let error = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => error,
        other => return other,
    };
    // A process that died leaves its socket behind. One that lives answers; and a file of another kind is somebody's.
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refused = UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if !(is_socket && refused) {
        return Err(error);
    }
    fs::remove_file(path)?;
    UnixListener::bind(path)
}

impl Bound {
    /// Takes one that was opened for this address before.
    ///
    /// # Errors
    /// The system's.
    pub fn inherit(address: &Address, mode: Option<Mode>, socket: OwnedFd) -> io::Result<Self> {
        match address {
            Address::Tcp(_) => {
                let listener = std::net::TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                Ok(Bound::Tcp(listener))
            }
            Address::Unix(path) => {
                allow(path, mode)?;
                let listener = UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                Ok(Bound::Unix(listener, path.clone()))
            }
        }
    }

    /// The same once more, for another process.
    ///
    /// # Errors
    /// The system's.
    pub fn copy(&self) -> io::Result<OwnedFd> {
        match self {
            Bound::Tcp(listener) => listener.try_clone().map(Into::into),
            Bound::Unix(listener, _) => listener.try_clone().map(Into::into),
        }
    }

    /// What it is bound to: the port too, where the system has chosen it.
    ///
    /// # Errors
    /// The system's.
    pub fn address(&self) -> io::Result<Address> {
        match self {
            Bound::Tcp(listener) => listener.local_addr().map(Address::Tcp),
            Bound::Unix(_, path) => Ok(Address::Unix(path.clone())),
        }
    }
}

/// What the config says of a listener beside its address.
#[derive(Debug, Default)]
pub struct Gate {
    /// Its number in the config.
    pub index: usize,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Whether each connection begins with a PROXY header.
    pub proxied: bool,
    /// What clients may speak.
    pub speaks: Speaks,
    /// The port over TLS that requests are sent to.
    redirect: Option<u16>,
}

impl Gate {
    /// That of a listener.
    pub fn new(index: usize, config: &ListenerConfig) -> Self {
        let redirect = config.redirect_https.and_then(RedirectHttps::port);
        let speaks = match [Http::Http1, Http::Http2].map(|http| config.protocols.contains(&http)) {
            [true, false] => Speaks::Http1,
            [false, true] => Speaks::Http2,
            _ => Speaks::Either,
        };
        Self { index, secure: config.tls.is_some(), proxied: config.proxy_protocol, speaks, redirect }
    }
}

impl Gate {
    /// A connection that came in here.
    fn tcp(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) -> io::Result<Accepted> {
        stream.set_nodelay(true)?;
        let facts = Connection::new(peer, stream.local_addr()?);
        Ok(self.accepted(Stream::Tcp(stream), facts))
    }

    /// The same over a Unix socket. Who is on the same machine has no address; this is the nearest to one, and a proxy there can be trusted by it.
    fn unix(self: &Arc<Self>, stream: UnixStream) -> Accepted {
        let port = if self.secure { 443 } else { 80 };
        let facts = Connection::new((Ipv4Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, port).into());
        self.accepted(Stream::Unix(stream), facts)
    }

    fn accepted(self: &Arc<Self>, socket: Stream, mut facts: Connection) -> Accepted {
        facts.redirect_https = self.redirect;
        Accepted { socket, facts, gate: self.clone() }
    }
}

/// A connection that was accepted, bound to no runtime: the worker that gets it watches it.
#[derive(Debug)]
pub struct Accepted {
    socket: Stream,
    /// Who connected where.
    pub facts: Connection,
    /// Through which gate.
    pub gate: Arc<Gate>,
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    /// Its number among the open files.
    pub fn file(&self) -> RawFd {
        match &self.socket {
            Stream::Tcp(stream) => stream.as_raw_fd(),
            Stream::Unix(stream) => stream.as_raw_fd(),
        }
    }

    /// Whose it is, where that is known already: not where a PROXY header will tell, nor on the same machine.
    pub fn client(&self) -> Option<IpAddr> {
        match &self.socket {
            Stream::Tcp(_) if !self.gate.proxied => Some(self.facts.peer.ip()),
            Stream::Tcp(_) | Stream::Unix(_) => None,
        }
    }

    /// Closes it with a reset: nothing of it is left behind, not even for the system to wait for.
    pub fn turn_away(self) {
        if let Stream::Tcp(stream) = &self.socket {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// Has the present runtime watch it.
    ///
    /// # Errors
    /// The system's.
    pub fn take_over(self) -> io::Result<(Wire, Connection, Arc<Gate>)> {
        let wire = match self.socket {
            Stream::Tcp(stream) => Wire::Tcp(net::TcpStream::from_std(stream)?),
            Stream::Unix(stream) => Wire::Unix(net::UnixStream::from_std(stream)?),
        };
        Ok((wire, self.facts, self.gate))
    }
}

/// One listening socket, on the runtime that accepts from it.
#[derive(Debug)]
pub struct Listener {
    socket: Listening,
    gate: Arc<Gate>,
}

#[derive(Debug)]
enum Listening {
    Tcp(net::TcpListener),
    Unix(net::UnixListener, PathBuf),
}

impl Listener {
    /// Registers the socket with the present runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn new(socket: Bound, gate: Gate) -> io::Result<Self> {
        let socket = match socket {
            Bound::Tcp(listener) => {
                // Connections inherit it.
                SockRef::from(&listener).set_tcp_notsent_lowat(UNSENT)?;
                Listening::Tcp(net::TcpListener::from_std(listener)?)
            }
            Bound::Unix(listener, path) => Listening::Unix(net::UnixListener::from_std(listener)?, path),
        };
        Ok(Self { socket, gate: Arc::new(gate) })
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's: most often that the process may not open more files.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                self.gate.tcp(stream.into_std()?, peer)
            }
            Listening::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(self.gate.unix(stream.into_std()?))
            }
        }
    }

    /// Takes the next connection only to close it. False where that fails too.
    pub fn turn_away(&self) -> bool {
        let accepted = match &self.socket {
            Listening::Tcp(listener) => SockRef::from(listener).accept(),
            Listening::Unix(listener, _) => SockRef::from(listener).accept(),
        };
        accepted.is_ok()
    }

    /// What waits to be accepted, and no longer than it does; with that the socket is closed. The path of a Unix socket is left to the process that it was
    /// `handed_over` to.
    ///
    /// # Errors
    /// The system's.
    pub fn waiting(self, handed_over: bool) -> io::Result<impl Iterator<Item = Accepted>> {
        // The runtime may not have heard yet that something has come: the system is asked itself.
        let (socket, path) = match self.socket {
            Listening::Tcp(listener) => (Bound::Tcp(listener.into_std()?), None),
            Listening::Unix(listener, path) => (Bound::Unix(listener.into_std()?, path.clone()), Some(path)),
        };
        if let Some(path) = path.filter(|_| !handed_over) {
            let _ = fs::remove_file(path);
        }
        let gate = self.gate;
        let next = move || match &socket {
            Bound::Tcp(listener) => {
                let (stream, peer) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                gate.tcp(stream, peer).ok()
            }
            Bound::Unix(listener, _) => {
                let (stream, _) = listener.accept().ok()?;
                stream.set_nonblocking(true).ok()?;
                Some(gate.unix(stream))
            }
        };
        // Bounded, should they come faster than they are taken.
        Ok(std::iter::from_fn(next).take(usize::try_from(BACKLOG).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_to_be_accepted_is_not_lost_when_an_address_is_closed() {
        let socket = bind(&Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), None).unwrap();
        let Address::Tcp(address) = socket.address().unwrap() else { panic!() };
        let listener = Listener::new(socket, Gate::default()).unwrap();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap().local_addr().unwrap()).collect();
        let peers: Vec<_> = listener.waiting(false).unwrap().map(|accepted| accepted.facts.peer).collect();
        assert_eq!(peers, clients);
        TcpStream::connect(address).expect_err("the address is closed");
    }
}
