//! Marathon: follow its event stream, list its apps, and hand both on as facts.

mod access;
mod backlog;
mod client;
mod config;
mod connection;
mod endpoints;
mod error;
mod flight;
mod identity;
mod ids;
mod kind;
mod layout;
mod resolve;
mod service_account;
mod session;
mod stream;
mod subscriber;
#[cfg(test)]
mod tests;
mod tls;
pub mod translate;
mod transport;
mod wanted;
mod wire;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub use self::config::{BaseUrl, ClientIdentity, Config, Login, TokenScheme};
pub use self::error::Error;
pub use self::service_account::ServiceAccount;

use self::access::Access;
use self::subscriber::Subscriber;
use self::transport::LastHeard;
use crate::metrics::{Heard, Metrics};
use crate::state::event::{Event, Stale};

/// Follows Marathon and sends what becomes known, until `shutdown` or until nobody receives it.
///
/// Opens the event stream, waits until it is confirmed, lists everything, and then sends facts as
/// they come. What becomes stale, by an event or by a message on `stale`, is asked for, one
/// question at a time. A message that holds an answer holds all facts heard since the question left
/// behind it, so messages applied in order never roll a fact back. Marathon's absence is never a
/// fact: nothing is sent, and the stream is opened again with back-off, after which everything is
/// listed again.
///
/// Never waits for `facts` to have room while the stream is read: facts that find none are merged by
/// task and sent when there is. More of them than can be kept are dropped and counted, and everything
/// is listed again.
///
/// # Errors
///
/// Only at the start, when the configuration cannot be used.
///
/// # Cancel safety
///
/// Dropping it ends everything that it started.
pub async fn run(
    config: Config,
    facts: mpsc::Sender<Heard<Vec<Event>>>,
    stale: mpsc::Receiver<Stale>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    if config.marathons.is_empty() {
        return Err(Error::NoMarathon);
    }
    let config = Arc::new(config);
    let access = Access::new(Arc::clone(&config), Arc::clone(&metrics))?;
    // Not being able to read it now is worth stopping for; later it may be a rotation under way.
    match shutdown.run_until_cancelled(access.check()).await {
        Some(checked) => checked?,
        None => return Ok(()),
    }
    let last_heard = LastHeard::new();
    metrics.at_scrape({
        let last_heard = last_heard.clone();
        move |metrics| {
            let silence = last_heard.age().as_secs_f64();
            metrics.stream_silence_seconds.set(silence);
        }
    });
    let connected = metrics.stream_connected.clone();
    let subscriber = Subscriber::new(config, access, facts, stale, metrics, last_heard);
    shutdown.run_until_cancelled(subscriber.run()).await;
    connected.set(0);
    Ok(())
}
