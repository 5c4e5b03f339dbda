//! A TCP port that one simulated server owns for its whole life, whether it listens or not.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Pending connections of a listener; more than any test opens at once.
const BACKLOG: u32 = 1024;

/// A port that is bound all the time: no other socket is given its number between two lives of a
/// server, and connections are refused while nothing listens.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    /// Bound, never listening.
    _guard: TcpSocket,
}

impl Port {
    /// Binds an address; port 0 stands for any free one.
    ///
    /// # Errors
    ///
    /// What the system reports.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let guard = socket(address)?;
        Ok(Self {
            address: guard.local_addr()?,
            _guard: guard,
        })
    }

    /// Its address, with the number that was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens, until the listener is dropped.
    ///
    /// # Errors
    ///
    /// What the system reports; `AddrInUse` while an earlier listener is there.
    pub fn listen(&self) -> io::Result<TcpListener> {
        socket(self.address)?.listen(BACKLOG)
    }
}

/// A bound socket. Two that may reuse the address can be bound to it at once as long as neither
/// listens (`SO_REUSEADDR` in socket(7)), also while connections of the last life are in TIME_WAIT.
fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_port_refuses_between_two_lives_of_its_server() {
        let port = Port::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        for _ in 0..2 {
            let refused = TcpStream::connect(port.address()).await.unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
            let listener = port.listen().unwrap();
            assert!(Port::bind(port.address()).is_err());
            let connected = TcpStream::connect(port.address());
            let (connected, accepted) = tokio::join!(connected, listener.accept());
            assert!(connected.is_ok() && accepted.is_ok());
        }
    }
}
