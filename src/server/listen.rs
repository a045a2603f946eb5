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

    /// What waits to be accepted, and no longer than it does; with that the socket is closed.
    ///
    /// # Errors
    /// The system's.
    pub fn waiting(self) -> io::Result<impl Iterator<Item = (TcpStream, Connection)>> {
        // The runtime may not have heard yet that something has come: the system is asked itself.
        let socket = self.0.into_std()?;
        let next = move || {
            let (stream, peer) = socket.accept().ok()?;
            stream.set_nonblocking(true).ok()?;
            stream.set_nodelay(true).ok()?;
            let local = stream.local_addr().ok()?;
            Some((stream, Connection::new(peer, local)))
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
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener::new(socket).unwrap();
        let clients: Vec<_> = (0..5).map(|_| TcpStream::connect(address).unwrap().local_addr().unwrap()).collect();
        let peers: Vec<_> = listener.waiting().unwrap().map(|(stream, _)| stream.peer_addr().unwrap()).collect();
        assert_eq!(peers, clients);
        TcpStream::connect(address).expect_err("the address is closed");
    }
}
