//! A TCP port that one simulated server owns for its whole life, and the loop that serves it while the
//! server is up.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

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

    /// Serves connections while `wanted` is true, and ends them all while it is not. `listening` is
    /// told each time that the port opens or closes; `serve` makes the task of one connection.
    pub(crate) async fn serve<F: Future<Output = ()> + Send + 'static>(
        &self,
        mut wanted: watch::Receiver<bool>,
        listening: impl Fn(bool),
        serve: impl Fn(TcpStream, SocketAddr) -> F,
    ) {
        while wanted.wait_for(|wanted| *wanted).await.is_ok() {
            let listener = match self.listen() {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!(%error, address = %self.address, "a simulated server cannot listen");
                    return;
                }
            };
            listening(true);
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    biased;
                    _ = wanted.wait_for(|wanted| !*wanted) => break,
                    Some(_) = connections.join_next() => {}
                    accepted = listener.accept() => {
                        if let Ok((socket, peer)) = accepted {
                            // Every flush is meant to be its own segment.
                            let _ = socket.set_nodelay(true);
                            connections.spawn(serve(socket, peer));
                        }
                    }
                }
            }
            connections.shutdown().await;
            drop(listener);
            listening(false);
        }
    }
}

/// A byte stream: TCP, or TLS over it.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Certificates that a client showed, its own first.
pub(crate) type ClientChain = Vec<CertificateDer<'static>>;

/// Puts a server's end of TLS on a connection, if there is to be some; returns the chain of a client
/// that showed one.
///
/// # Errors
///
/// What the handshake reports.
pub(crate) async fn secured(
    socket: TcpStream,
    tls: Option<&TlsAcceptor>,
) -> io::Result<(Box<dyn Wire>, Option<ClientChain>)> {
    let Some(tls) = tls else {
        return Ok((Box::new(socket), None));
    };
    let stream = tls.accept(socket).await?;
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().map(|chain| {
        let owned = chain.iter().cloned().map(CertificateDer::into_owned);
        owned.collect()
    });
    Ok((Box::new(stream), chain))
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
