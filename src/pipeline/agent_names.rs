//! The wait of the first publication for the addresses of agents.

use tokio::time::Instant;
use tracing::warn;

use super::Pipeline;
use super::gauges::count_of;
use super::waits::NamesWait;
use crate::received::Received;
use crate::state::app::AgentHost;
use crate::state::event::Event;

/// The most names that a log line lists.
const NAMES_IN_A_LINE: usize = 5;

impl Pipeline {
    /// Begins the wait for the addresses of agents with the first list, and shows what is waited
    /// for.
    pub(super) fn wait_for_names(&mut self) {
        if self.names_wait == NamesWait::Ahead && self.state.synced() {
            self.names_wait = NamesWait::Until(Instant::now() + self.config.agent_names_wait);
        }
        let awaited = match self.names_wait {
            NamesWait::Ahead | NamesWait::Over => 0,
            NamesWait::Until(_) => self.state.unanswered_hosts().len(),
        };
        self.metrics.agent_names_awaited.set(count_of(awaited));
    }

    /// Goes on without the addresses of agents that DNS has said nothing of so far.
    pub(super) fn stop_waiting_for_names(&mut self) {
        self.names_wait = NamesWait::Over;
        let hosts = self.state.unanswered_hosts();
        if hosts.is_empty() {
            return;
        }
        let some: Vec<&str> = hosts
            .iter()
            .take(NAMES_IN_A_LINE)
            .map(AgentHost::as_str)
            .collect();
        warn!(
            agents = hosts.len(),
            first = some.join(","),
            waited_seconds = self.config.agent_names_wait.as_secs_f64(),
            "dns does not answer for the names of agents; their tasks are left out until it does"
        );
        let unresolved = hosts.into_iter().map(|host| Event::HostResolved {
            host,
            addresses: Vec::new(),
        });
        self.take(&mut vec![Received::now(unresolved.collect())]);
        self.project();
    }
}
