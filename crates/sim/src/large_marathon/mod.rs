//! A simulated Marathon of any size: lists of tens of thousands of apps, and events at any rate.
//!
//! Its apps are numbers, its tasks have no process, and nothing happens by itself: it serves loads and
//! measurements, for which [`marathon`](crate::marathon), with its scheduler and its real tasks, is
//! too heavy. On the wire it says what that one says of a healthy, quiet cluster: the list of apps
//! with their tasks, single apps, the leader, and the stream of events, which drops a client with
//! 1,024 unread messages.

mod server;
#[cfg(test)]
mod tests;
mod world;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use server::{Shared, accept};
pub use world::Size;
use world::World;

/// A running Marathon. Dropping it closes its connections.
#[derive(Debug)]
pub struct LargeMarathon {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

/// Numbers of requests and messages since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answered lists of all apps.
    pub lists: u64,
    /// Answered requests for one app.
    pub single_apps: u64,
    /// Other answered requests, such as the one for the leader.
    pub others: u64,
    /// Streams that were opened.
    pub streams: u64,
    /// Streams that were dropped because their client did not read.
    pub dropped_streams: u64,
}

/// The order of an event among all of a Marathon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequence(u64);

impl LargeMarathon {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    ///
    /// No port can be bound.
    pub async fn start(size: Size) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(World::new(size), address));
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            address,
            shared,
            _serving: serving,
        })
    }

    /// The port that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The body of `GET /v2/apps?embed=apps.tasks`.
    pub fn list(&self) -> Bytes {
        self.shared.with(World::list)
    }

    /// The number of apps.
    pub fn apps(&self) -> usize {
        self.shared.with(|world| world.apps())
    }

    /// The id of an app: `/team-5/service-00005`.
    pub fn app_id(app: usize) -> String {
        world::app_id(app)
    }

    /// Gives the first task of an app another host port: one `status_update_event`. Without effect
    /// for an app that does not exist.
    pub fn move_task(&self, app: usize, port: u16) -> Sequence {
        self.shared.change(|world| world.move_task(app, port))
    }

    /// Gives an app one host besides its own two, in place of the last one given: one
    /// `api_post_event`. Without effect for an app that does not exist.
    pub fn name_host(&self, app: usize, host: &str) -> Sequence {
        self.shared.change(|world| world.name_host(app, host))
    }

    /// The host port of the first task of an app.
    pub fn port(&self, app: usize) -> Option<u16> {
        self.shared.with(|world| world.port(app))
    }

    /// The hosts of an app.
    pub fn hosts(&self, app: usize) -> Vec<String> {
        self.shared.with(|world| world.hosts(app))
    }

    /// Waits until an event has been handed to the socket of a stream; the time of that. Events that
    /// follow it closely may have been written by then, and the time is theirs.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn written(&self, sequence: Sequence) -> Instant {
        self.shared.written(sequence).await
    }

    /// Waits until so many streams have been opened since the start.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost.
    pub async fn followed(&self, times: u64) {
        self.shared.followed(times).await;
    }

    /// The numbers so far.
    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }
}
