//! Marathon: follow its event stream, list its apps, and hand both on as facts.

mod authenticated_client;
mod backlog;
mod client;
mod config;
mod error;
mod event_type;
mod failover;
mod fetch;
mod fetch_queue;
mod https;
mod ids;
mod in_flight;
mod json_body;
mod last_heard;
mod list_once;
mod list_queue;
mod login_file;
mod part_queue;
mod ping;
mod plans;
mod pods_patience;
mod ports;
mod resolve;
mod service_account;
mod status;
mod stream;
mod subscriber;
#[cfg(test)]
mod tests;
mod token_cache;
pub mod translate;
mod transport;
mod triggers;
mod wire;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::config::{BaseUrl, ClientCertificate, Config, MarathonLogin, TokenScheme};
pub use self::error::Error;
pub use self::last_heard::LastHeard;
pub use self::list_once::list;
pub use self::service_account::ServiceAccount;
pub use self::status::new_status;

use self::authenticated_client::AuthenticatedClient;
use self::client::MarathonClient;
use self::ping::Ping;
use self::subscriber::Subscriber;
use crate::metrics::Metrics;
use crate::net::blocking::run_blocking;
use crate::net::source_status::StatusCell;
use crate::received::Received;
use crate::state::event::{Event, RefreshNeeded};

/// Follows Marathon and sends what becomes known, until `shutdown` or until nobody receives it.
///
/// Opens the event stream, waits until it is confirmed, lists everything, and then sends facts as
/// they come. What becomes stale, by an event or by a message on `stale`, is asked for in two
/// lanes, so that a list that fails or hangs holds up nothing else. A message that holds an answer holds all facts heard since the question left
/// behind it, so messages applied in order never roll a fact back. Marathon's absence is never a
/// fact: nothing is sent, and the stream is opened again with back-off, after which everything is
/// listed again.
///
/// Never waits for `facts` to have room while the stream is read: facts that find none are merged
/// by task and sent when there is. More of them than can be kept are dropped and counted, and
/// everything is listed again.
///
/// Every sign of life is noted in `last_heard`: a byte of the stream, heartbeats included, or of an
/// answer. A Marathon that is followed and silent for long is asked for one.
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
    facts: mpsc::Sender<Received<Vec<Event>>>,
    stale: mpsc::Receiver<RefreshNeeded>,
    last_heard: LastHeard,
    status: StatusCell,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    if config.marathons.is_empty() {
        return Err(Error::NoMarathon);
    }
    let config = Arc::new(config);
    // Until the first event.
    last_heard.set_followed(false);
    let started = start(&config, &metrics, &last_heard, &status);
    let Some(started) = shutdown.run_until_cancelled(started).await else {
        return Ok(());
    };
    let authenticated_client = started?;
    let of_stream = LastHeard::default();
    metrics.at_scrape({
        let of_stream = of_stream.clone();
        move |metrics| {
            let silence = of_stream.age().as_secs_f64();
            metrics.stream_silence_seconds.set(silence);
        }
    });
    let connected = metrics.stream_connected.clone();
    let (follows, followed) = watch::channel(None);
    let ping = Ping {
        client: MarathonClient::new(authenticated_client.clone()),
        followed,
        last_heard,
        metrics: Arc::clone(&metrics),
        after: config.ping_after,
        limit: config.ping_limit,
    };
    let subscriber = Subscriber::new(
        config,
        authenticated_client,
        (facts, stale),
        follows,
        metrics,
        (of_stream, status),
    );
    let running = async {
        tokio::select! {
            () = subscriber.run() => {}
            never = ping.run() => match never {},
        }
    };
    shutdown.run_until_cancelled(running).await;
    connected.set(0);
    Ok(())
}

/// The client, once the files that it needs were read. Not being able to read them now is worth
/// stopping for; later it may be a rotation under way. Files may be on a mount that hangs, so none is
/// read on a thread of the runtime.
async fn start(
    config: &Arc<Config>,
    metrics: &Arc<Metrics>,
    last_heard: &LastHeard,
    status: &StatusCell,
) -> Result<AuthenticatedClient, Error> {
    let (config, metrics) = (Arc::clone(config), Arc::clone(metrics));
    let (last_heard, status) = (last_heard.clone(), status.clone());
    let client = move || AuthenticatedClient::new(config, metrics, last_heard, status);
    let client = run_blocking(client).await?;
    client.check().await?;
    Ok(client)
}
