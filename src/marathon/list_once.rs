//! One list of all apps, for commands that do not follow Marathon.

use std::sync::Arc;
use std::time::Duration;

use super::client::{FetchAnswer, MarathonClient};
use super::config::Config;
use super::error::Error;
use super::fetch::Fetch;
use super::last_heard::LastHeard;
use super::status::new_status;
use crate::metrics::Metrics;
use crate::state::event::{Event, List, Purpose};

/// Asks each instance of Marathon in turn for all apps with their tasks, and returns the first
/// answer.
///
/// # Errors
///
/// When the configuration cannot be used, and when no instance answers with a list: the error of the
/// last one.
///
/// # Cancel safety
///
/// Dropping it ends everything that it started.
pub async fn list(config: Config, metrics: &Arc<Metrics>) -> Result<List, Error> {
    let config = Arc::new(config);
    let (last_heard, status) = (LastHeard::default(), new_status());
    let authenticated_client = super::start(&config, metrics, &last_heard, &status).await?;
    let client = MarathonClient::new(authenticated_client);
    let everything = Fetch::Everything(Purpose::Routine);
    let limits = everything.limits(&config, Duration::ZERO);
    let mut error = Error::NoMarathon;
    for base in &config.marathons {
        match client.ask(base, &everything, limits).await {
            Ok(FetchAnswer::Fact(Event::Synced(list))) => return Ok(list),
            // No other answer belongs to this question.
            Ok(FetchAnswer::Fact(_) | FetchAnswer::Elsewhere) => {}
            Err(failed) => error = failed,
        }
    }
    Err(error)
}
