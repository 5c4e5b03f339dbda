//! State that the connections of one listener share.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::budget::Budgets;
use super::config::Config;
use super::connection_slots::ConnectionSlots;
use super::shutdown::Tasks;
use super::tls::Acceptor;
use crate::metrics::Metrics;

/// State that the connections of one listener share.
pub(super) struct ServerState {
    /// Performs TLS handshakes; none on a plaintext listener.
    pub(super) acceptor: Option<Acceptor>,
    /// If true, private keys may be sent.
    pub(super) secrets: bool,
    pub(super) config: Arc<Config>,
    pub(super) metrics: Arc<Metrics>,
    /// Cancelled when the listener stops.
    pub(super) shutdown: CancellationToken,
    pub(super) tasks: Tasks,
    pub(super) budgets: Arc<Budgets>,
    pub(super) slots: Arc<ConnectionSlots>,
}
