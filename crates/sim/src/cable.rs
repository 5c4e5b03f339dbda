//! A network cable that can be cut: TCP connections through it stay open, and nothing comes through.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Bytes that are passed on at once.
const CHUNK_BYTES: usize = 16 << 10;

/// A way to one neighbour. While it is cut, connections are taken and stay open, as through a
/// firewall that drops packets; what was sent meanwhile arrives when it is mended. Dropping it ends
/// every connection.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    is_cut: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Cable {
    /// A whole one on a free port of loopback, to `target`.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (is_cut, cut) = watch::channel(false);
        let mut task = JoinSet::new();
        task.spawn(serve(listener, target, cut));
        Ok(Self {
            address,
            is_cut,
            _task: task,
        })
    }

    /// The end that is spoken to instead of the neighbour.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets nothing through from now on.
    pub fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    /// Lets everything through again.
    pub fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, cut: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // A connection that is gone before it is taken is nobody's.
        let Ok((near, _)) = listener.accept().await else {
            continue;
        };
        let mut cut = cut.clone();
        connections.spawn(async move {
            whole(&mut cut).await;
            let Ok(far) = TcpStream::connect(target).await else {
                return;
            };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let there = pass(near_in, far_out, cut.clone());
            let back = pass(far_in, near_out, cut);
            // Either side may end first, and break: both ends see it.
            let _ = tokio::join!(there, back);
        });
    }
}

/// Passes on what comes, to its end.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut cut: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut bytes = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut bytes).await?;
        whole(&mut cut).await;
        match bytes.get(..count) {
            Some(read) if count > 0 => to.write_all(read).await?,
            Some(_) | None => return to.shutdown().await,
        }
    }
}

/// Waits until the cable is whole.
async fn whole(cut: &mut watch::Receiver<bool>) {
    // Without its handle it is gone, and this with it.
    let _ = cut.wait_for(|cut| !cut).await;
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_sent_while_it_is_cut_arrives_when_it_is_mended() {
        let far = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let cable = Cable::to(far.local_addr().unwrap()).await.unwrap();
        let mut near = TcpStream::connect(cable.address()).await.unwrap();
        let (mut far, _) = far.accept().await.unwrap();
        let mut bytes = [0; 3];
        near.write_all(b"one").await.unwrap();
        far.read_exact(&mut bytes).await.unwrap();
        cable.cut();
        near.write_all(b"two").await.unwrap();
        let wait = Duration::from_millis(50);
        assert!(timeout(wait, far.read_exact(&mut bytes)).await.is_err());
        cable.mend();
        far.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"two");
        drop(near);
        assert_eq!(far.read(&mut bytes).await.unwrap(), 0);
    }
}
