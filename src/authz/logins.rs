//! The logins of all services, as of the last publication.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use imbl::OrdMap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answer;
use super::checker::RUNNING_OF_ONE;
use super::under_way::ChecksUnderWay;
use super::verdicts::Verdicts;
use crate::intent::observer::{Observer, Publication};
use crate::intent::{AppIntent, Login};
use crate::state::app::AppId;
use crate::state::problem::Problem;

/// Time for which the login of a service that no longer needs one is kept: proxies ask until they
/// have the routes without it.
const DEPARTED_KEPT: Duration = Duration::from_mins(10);

/// The logins by the name of their service, swapped as a whole.
#[derive(Default)]
pub(super) struct LoginTable(ArcSwap<OrdMap<Arc<str>, Arc<ServiceLogin>>>);

/// The login of one service, and what was learned of it. A change of the login makes a new one.
pub(super) struct ServiceLogin {
    pub(super) login: Login,
    /// The answer to a request without the login, encoded.
    pub(super) challenge: Bytes,
    verdicts: Mutex<Verdicts>,
    /// Permits for the checks that run at once.
    pub(super) running: Semaphore,
    /// Those that run or wait.
    pub(super) under_way: Arc<ChecksUnderWay>,
}

impl LoginTable {
    /// The login of a service; none if it is not known, or not yet.
    pub(super) fn of(&self, service: &str) -> Option<Arc<ServiceLogin>> {
        self.0.load().get(service).cloned()
    }
}

impl ServiceLogin {
    fn new(login: Login) -> Self {
        Self {
            challenge: answer::challenge(&login.realm),
            login,
            verdicts: Mutex::default(),
            running: Semaphore::new(*RUNNING_OF_ONE),
            under_way: Arc::default(),
        }
    }

    /// The verdicts on credentials that were checked before.
    pub(super) fn verdicts(&self) -> MutexGuard<'_, Verdicts> {
        // Nothing panics while it is held.
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Observer that keeps a [`LoginTable`] up to date.
pub(super) struct LoginObserver {
    table: Arc<LoginTable>,
    /// The services with a login, of the apps that have any.
    services: BTreeMap<AppId, Vec<Arc<str>>>,
    /// The services that no longer need one, with the time since.
    departed: BTreeMap<Arc<str>, Instant>,
}

impl LoginObserver {
    /// Observer for a table.
    pub(super) fn new(table: Arc<LoginTable>) -> Self {
        Self {
            table,
            services: BTreeMap::new(),
            departed: BTreeMap::new(),
        }
    }

    /// Takes in the logins of one app.
    fn follow(
        &mut self,
        app: &AppId,
        intent: Option<&AppIntent>,
        logins: &mut OrdMap<Arc<str>, Arc<ServiceLogin>>,
    ) {
        let before = self.services.remove(app).unwrap_or_default();
        let mut after = Vec::new();
        for service in intent.map_or(&[][..], |intent| &intent.services) {
            let Some(wanted) = &service.route.login else {
                continue;
            };
            let name = service.backend.name.clone();
            let known = logins.get(&name);
            if known.is_none_or(|known| known.login != wanted.value) {
                let login = Arc::new(ServiceLogin::new(wanted.value.clone()));
                logins.insert(name.clone(), login);
            }
            self.departed.remove(&name);
            after.push(name);
        }
        let left = before.into_iter().filter(|name| !after.contains(name));
        self.departed
            .extend(left.map(|name| (name, Instant::now())));
        if !after.is_empty() {
            self.services.insert(app.clone(), after);
        }
    }

    /// Drops the logins of services that have not needed one for long.
    fn drop_departed(&mut self, logins: &mut OrdMap<Arc<str>, Arc<ServiceLogin>>) {
        self.departed.retain(|name, since| {
            let stays = since.elapsed() < DEPARTED_KEPT;
            if !stays {
                logins.remove(name);
            }
            stays
        });
    }
}

impl Observer for LoginObserver {
    fn published(&mut self, publication: &Publication<'_>) {
        let known = self.table.0.load_full();
        // Shares everything that does not change.
        let mut logins = OrdMap::clone(&known);
        self.drop_departed(&mut logins);
        for app in publication.changed_apps {
            self.follow(app, publication.intents.get(app), &mut logins);
        }
        if !logins.ptr_eq(&known) {
            self.table.0.store(Arc::new(logins));
        }
    }

    fn problems(&self) -> &[Problem] {
        &[]
    }
}
