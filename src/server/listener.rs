//! Listeners: a TCP port, or a Unix socket that only its owner may open.

use std::fs::Permissions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream};

use super::error::Error;

/// Backlog of connections that wait to be accepted, capped by the system (`net.core.somaxconn`): a
/// fleet of 1,000 Envoys connects at once after a restart, and so does one Envoy with 1,000
/// clusters that speaks HTTP/1.1.
const BACKLOG: u32 = 4_096;

/// File mode of a Unix socket: its owner's alone.
const SOCKET_MODE: u32 = 0o600;

/// A listener for clients.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(SocketFile),
}

/// A listening Unix socket. Dropping it removes the file.
#[derive(Debug)]
pub struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file, so that only our own is removed.
    identity: (u64, u64),
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Accepted {
    /// The address of the peer; none over a Unix socket.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl Listener {
    /// Listens on a TCP address; port 0 is any free port.
    ///
    /// # Errors
    ///
    /// When the address is in use or not one of this machine's.
    pub async fn tcp(address: SocketAddr) -> Result<Self, Error> {
        let bind = || -> io::Result<TcpListener> {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4(),
                SocketAddr::V6(_) => TcpSocket::new_v6(),
            }?;
            // So that a restart can bind while connections of the last run linger.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            socket.listen(BACKLOG)
        };
        bind().map(Self::Tcp).map_err(|source| Error::Bind {
            place: address.to_string(),
            source,
        })
    }

    /// Listens on a Unix socket with mode 0600. A stale socket, left by a killed process, is
    /// replaced.
    ///
    /// # Errors
    ///
    /// When another process listens there, when something else is there, or when the folder cannot
    /// be written.
    pub async fn unix(path: &Path) -> Result<Self, Error> {
        remove_stale(path).await?;
        let bind = || -> io::Result<SocketFile> {
            let socket = UnixSocket::new_stream()?;
            socket.bind(path)?;
            // No client can connect before `listen`, so none slips in under the mode of the umask.
            std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
            Ok(SocketFile {
                listener: socket.listen(BACKLOG)?,
                path: path.to_owned(),
                identity: identity(path)?,
            })
        };
        bind().map(Self::Unix).map_err(|source| Error::Bind {
            place: path.display().to_string(),
            source,
        })
    }

    /// The TCP address; none for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Accepts the next connection. Cancel safe.
    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are small and must not wait for more. This fails only on a connection
                // that is already reset, as its first read will show.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp(stream, peer.ip().to_canonical()))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.listener.accept().await?;
                Ok(Accepted::Unix(stream))
            }
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket file cannot be removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

async fn remove_stale(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::Bind {
        place: path.display().to_string(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(Error::NotASocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(Error::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// More than the backlog of a listener that does not ask for one, and fewer than the file
    /// descriptors of a process.
    const WAITING: usize = 300;

    /// Ends a hang: a connection for which there is no room is tried again after a second.
    const LIMIT: Duration = Duration::from_millis(900);

    #[test]
    fn a_thousand_proxies_may_connect_at_once() {
        assert_eq!(BACKLOG, 4_096);
    }

    #[tokio::test]
    async fn many_connections_wait_to_be_accepted() {
        let tcp = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into())
            .await
            .unwrap();
        let address = tcp.address().unwrap();
        let folder = std::env::temp_dir().join(format!("backlog-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("xds.sock");
        let unix = Listener::unix(&path).await.unwrap();
        let (mut over_tcp, mut over_unix) = (Vec::new(), Vec::new());
        for _ in 0..WAITING {
            let connected = timeout(LIMIT, TcpStream::connect(address)).await;
            over_tcp.push(connected.expect("room for a connection").unwrap());
            over_unix.push(UnixStream::connect(&path).await.unwrap());
        }
        drop((tcp, unix));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
