use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net;

use super::wire::Wire;
use crate::config::{ListenerConfig, RedirectHttps};
use crate::proxy::Connection;
use crate::types::Address;

/// Connections that may wait to be accepted. The system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;

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
pub fn bind(address: &Address) -> io::Result<Bound> {
    match address {
        Address::Tcp(address) => tcp(*address).map(Bound::Tcp),
        Address::Unix(path) => {
            let listener = unix(path)?;
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
pub struct Door {
    /// Its number in the config.
    pub index: usize,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// Whether each connection begins with a PROXY header.
    pub proxied: bool,
    /// The port over TLS that requests are sent to.
    redirect: Option<u16>,
}

impl Door {
    /// That of a listener.
    pub fn new(index: usize, config: &ListenerConfig) -> Self {
        let redirect = config.redirect_https.and_then(RedirectHttps::port);
        Self { index, secure: config.tls.is_some(), proxied: config.proxy_protocol, redirect }
    }
}

/// A connection that was accepted, bound to no runtime: the worker that gets it watches it.
#[derive(Debug)]
pub struct Accepted {
    socket: Stream,
    /// Who connected where.
    pub facts: Connection,
    /// Through which door.
    pub door: Arc<Door>,
}

#[derive(Debug)]
enum Stream {
    Tcp(std::net::TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    /// Has the present runtime watch it.
    ///
    /// # Errors
    /// The system's.
    pub fn take_over(self) -> io::Result<(Wire, Connection, Arc<Door>)> {
        let wire = match self.socket {
            Stream::Tcp(stream) => Wire::Tcp(net::TcpStream::from_std(stream)?),
            Stream::Unix(stream) => Wire::Unix(net::UnixStream::from_std(stream)?),
        };
        Ok((wire, self.facts, self.door))
    }
}

/// One listening socket, on the runtime that accepts from it.
#[derive(Debug)]
pub struct Listener {
    socket: Listening,
    door: Arc<Door>,
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
    pub fn new(socket: Bound, door: Door) -> io::Result<Self> {
        let socket = match socket {
            Bound::Tcp(listener) => Listening::Tcp(net::TcpListener::from_std(listener)?),
            Bound::Unix(listener, path) => Listening::Unix(net::UnixListener::from_std(listener)?, path),
        };
        Ok(Self { socket, door: Arc::new(door) })
    }

    /// The next connection.
    ///
    /// # Errors
    /// The system's: most often that the process may not open more files.
    pub async fn accept(&self) -> io::Result<Accepted> {
        let door = self.door.clone();
        let (socket, mut facts) = match &self.socket {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let facts = Connection::new(peer, stream.local_addr()?);
                (Stream::Tcp(stream.into_std()?), facts)
            }
            Listening::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                // Who is on the same machine has no address; this is the nearest to one, and a proxy there can be trusted by it.
                let port = if door.secure { 443 } else { 80 };
                let facts = Connection::new((Ipv4Addr::LOCALHOST, 0).into(), (Ipv4Addr::LOCALHOST, port).into());
                (Stream::Unix(stream.into_std()?), facts)
            }
        };
        facts.redirect_https = door.redirect;
        Ok(Accepted { socket, facts, door })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listening::Unix(_, path) = &self.socket {
            let _ = fs::remove_file(path);
        }
    }
}
