//! Parts of the room, for the daemon to connect.

use std::sync::Arc;

use super::checker::Checker;
use super::logins::{LoginObserver, LoginTable};
use super::service::AuthorizationService;
use crate::intent::observer::Observer;
use crate::metrics::Metrics;
use crate::server::PathService;

/// AuthzConnections of the room to others.
pub struct AuthzConnections {
    /// Observer of the publications, which knows the logins.
    pub observer: Box<dyn Observer>,
    /// Service for the listener of proxies.
    pub service: Arc<dyn PathService>,
}

/// Creates the service and its observer. Until the first publication every request is denied.
pub fn connect(metrics: Arc<Metrics>) -> AuthzConnections {
    let logins = Arc::new(LoginTable::default());
    let checker = Checker::new(metrics.clone());
    AuthzConnections {
        observer: Box::new(LoginObserver::new(logins.clone())),
        service: Arc::new(AuthorizationService::new(logins, checker, metrics)),
    }
}
