use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use crate::proxy::Connection;

/// Connections that may wait to be accepted. The system caps it (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;

/// Opens one address. Nothing is accepted until [`Listener::accept`] is called.
///
/// # Errors
/// The system's: most often that the address is in use, or not of this machine.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
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

/// One listening socket, on the runtime that accepts from it.
#[derive(Debug)]
pub struct Listener(tokio::net::TcpListener);

impl Listener {
    /// Registers the socket with the present runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn new(socket: TcpListener) -> io::Result<Self> {
        tokio::net::TcpListener::from_std(socket).map(Self)
    }

    /// The next connection, bound to no runtime: the worker that gets it watches it.
    ///
    /// # Errors
    /// The system's: most often that the process may not open more files.
    pub async fn accept(&self) -> io::Result<(TcpStream, Connection)> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        let local = stream.local_addr()?;
        Ok((stream.into_std()?, Connection::new(peer, local)))
    }
}
