//! A floor from the outside: its process, its address, and its pushes.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::Instant;

use crate::clock;
use crate::error::Error;

/// A running floor. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    orders: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
    address: SocketAddr,
}

impl Floor {
    /// Runs this binary as a floor; `arguments` begin with the hidden command.
    pub(crate) async fn start(arguments: &[&str]) -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::io("find this program"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io("run a floor"))?;
        let (Some(orders), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Error::Worthless("a floor without pipes".to_owned()));
        };
        let mut replies = BufReader::new(output).lines();
        let address = reply(&mut replies).await?;
        let address = address
            .parse()
            .map_err(|_| Error::Worthless(format!("a floor names no address but {address:?}")))?;
        Ok(Self {
            child,
            orders,
            replies,
            address,
        })
    }

    /// The address that it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Pushes the messages of a file to every client; the moment just before the first write.
    pub(crate) async fn push(&mut self, file: &Path) -> Result<Instant, Error> {
        let order = format!("{}\n", file.display());
        let written = self.orders.write_all(order.as_bytes()).await;
        written.map_err(Error::io("give a floor an order"))?;
        let pushed = reply(&mut self.replies).await?;
        let pushed = pushed.parse().map_err(|_| {
            Error::Worthless(format!("a floor did not push {}: {pushed}", file.display()))
        })?;
        Ok(clock::moment(pushed))
    }
}

async fn reply(replies: &mut Lines<BufReader<ChildStdout>>) -> Result<String, Error> {
    let line = replies
        .next_line()
        .await
        .map_err(Error::io("hear a floor"))?;
    line.ok_or_else(|| Error::Ended {
        what: "a floor".to_owned(),
        log: "(it prints to standard error)".to_owned(),
    })
}
