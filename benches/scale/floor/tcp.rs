//! The floor below HTTP: some bytes to each TCP connection, and some back.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::child::Floor;
use super::http2::listen;
use super::orders::{orders, reply};
use crate::clock;
use crate::error::Error;

/// Sizes of one exchange.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct TcpArguments {
    /// Bytes to each client.
    #[arg(long)]
    pub(crate) message: usize,
    /// Bytes back from each client.
    #[arg(long)]
    pub(crate) reply: usize,
}

/// Serves until standard input ends; each line there is one round to all clients.
pub(crate) async fn serve_tcp(arguments: TcpArguments) -> Result<(), Error> {
    let listener = listen()?;
    let address = listener.local_addr().map_err(Error::io("name the port"))?;
    reply(&address.to_string())?;
    let rounds = watch::Sender::new(0_u64);
    let mut accepting = JoinSet::new();
    accepting.spawn(accept(listener, rounds.clone(), arguments));
    let mut orders = orders();
    while orders.recv().await.is_some() {
        let now = clock::nanoseconds();
        rounds.send_modify(|round| *round += 1);
        reply(&now.to_string())?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, rounds: watch::Sender<u64>, sizes: TcpArguments) {
    let mut connections = JoinSet::new();
    while let Ok((mut socket, _)) = listener.accept().await {
        let mut rounds = rounds.subscribe();
        connections.spawn(async move {
            let _ = socket.set_nodelay(true);
            let (message, mut reply) = (vec![7; sizes.message], vec![0; sizes.reply]);
            // From here on no round is missed.
            if socket.write_u8(1).await.is_err() {
                return;
            }
            while rounds.changed().await.is_ok() {
                let exchanged = async {
                    socket.write_all(&message).await?;
                    socket.read_exact(&mut reply).await
                };
                if exchanged.await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Clients of the floor, and the floor.
pub(crate) struct TcpFleet {
    floor: Floor,
    clients: usize,
    received: mpsc::Receiver<Instant>,
    _running: JoinSet<()>,
}

impl TcpFleet {
    /// Starts a floor, and connects clients to it.
    pub(crate) async fn start(sizes: TcpArguments, clients: usize) -> Result<Self, Error> {
        let (message, reply) = (sizes.message.to_string(), sizes.reply.to_string());
        let arguments = ["floor-tcp", "--message", &message, "--reply", &reply];
        let floor = Floor::start(&arguments).await?;
        let (sender, received) = mpsc::channel(clients.max(1));
        let mut running = JoinSet::new();
        for _ in 0..clients {
            let socket = connect(floor.address()).await?;
            running.spawn(exchange(socket, sizes, sender.clone()));
        }
        Ok(Self {
            floor,
            clients,
            received,
            _running: running,
        })
    }

    /// The floor's process.
    pub(crate) fn process(&self) -> Option<u32> {
        self.floor.process()
    }

    /// One message to every client; its start, and the time when the last had it.
    pub(crate) async fn round(&mut self) -> Result<(Instant, Instant), Error> {
        let started = self.floor.push(Path::new("round")).await?;
        let mut last = started;
        for _ in 0..self.clients {
            let ended =
                || Error::Worthless("a client of the TCP floor lost its connection".to_owned());
            last = last.max(self.received.recv().await.ok_or_else(ended)?);
        }
        Ok((started, last))
    }
}

async fn connect(server: SocketAddr) -> Result<TcpStream, Error> {
    let socket = TcpStream::connect(server).await;
    let mut socket = socket.map_err(Error::io("connect to the TCP floor"))?;
    socket
        .set_nodelay(true)
        .map_err(Error::io("set a socket"))?;
    let greeted = socket.read_u8().await;
    greeted.map_err(Error::io("hear the TCP floor"))?;
    Ok(socket)
}

async fn exchange(mut socket: TcpStream, sizes: TcpArguments, received: mpsc::Sender<Instant>) {
    let (mut message, reply) = (vec![0; sizes.message], vec![7; sizes.reply]);
    while socket.read_exact(&mut message).await.is_ok() {
        let at = Instant::now();
        if socket.write_all(&reply).await.is_err() || received.send(at).await.is_err() {
            return;
        }
    }
}
