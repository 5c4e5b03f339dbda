//! The view of a running cluster: its state, waits for it, its events and requests so far.

use super::Error;
use super::cluster::Cluster;
use super::view::View;
use super::world::{Recorded, Requested};

impl Cluster {
    /// The cluster at this moment.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.peek(View::of)
    }

    /// Waits until `so` is true of the cluster; `what` completes "waited in vain until".
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::InVain`] after [`Config::patience`](super::Config::patience).
    pub async fn wait_until(&self, what: &str, so: impl Fn(&View) -> bool) -> Result<View, Error> {
        // The caller's own look may ask this cluster again: it runs without the lock.
        let found = self
            .shared
            .until_in(|_| Some(self.view()).filter(|view| so(view)));
        match tokio::time::timeout(self.shared.config.patience, found).await {
            Ok(view) => Ok(view),
            Err(_) => Err(self.in_vain(what)),
        }
    }

    /// Waits until an app has exactly this many tasks, all running, and is not being deployed.
    /// Cancel safe.
    ///
    /// # Errors
    /// [`Error::InVain`] after [`Config::patience`](super::Config::patience).
    pub async fn settled(&self, app: &str, count: usize) -> Result<View, Error> {
        let what = format!("{app} has {count} running tasks");
        self.wait_until(&what, |view| view.settled(app, count))
            .await
    }

    /// Waits until this many clients follow the event stream. Cancel safe.
    ///
    /// # Errors
    /// [`Error::InVain`] after [`Config::patience`](super::Config::patience).
    pub async fn streams(&self, count: usize) -> Result<View, Error> {
        let what = format!("{count} streams are attached");
        self.wait_until(&what, |view| view.streams == count).await
    }

    fn in_vain(&self, what: &str) -> Error {
        let seen = self.view();
        let tasks: Vec<_> = seen
            .tasks
            .iter()
            .map(|task| (task.id.as_str(), task.condition, task.healthy))
            .collect();
        let seen = format!(
            "{} apps, {} deployments, {} streams, leader {:?}, tasks {tasks:?}",
            seen.apps.len(),
            seen.deployments.len(),
            seen.streams,
            seen.leader
        );
        Error::InVain {
            what: what.to_owned(),
            seen,
        }
    }

    /// Published events from this sequence number on; of very old ones only the newest are kept.
    #[must_use]
    pub fn events_from(&self, sequence: u64) -> Vec<Recorded> {
        self.shared.peek(|world| {
            world
                .log
                .iter()
                .filter(|record| record.sequence >= sequence)
                .cloned()
                .collect()
        })
    }

    /// The sequence number that the next event will have.
    #[must_use]
    pub fn next_event(&self) -> u64 {
        self.shared.peek(|world| world.next_event)
    }

    /// Waits for the first event from `sequence` on that `is` accepts and whose bytes were written
    /// to a client. Cancel safe.
    ///
    /// # Errors
    /// [`Error::InVain`] after [`Config::patience`](super::Config::patience).
    pub async fn event_written(
        &self,
        sequence: u64,
        is: impl Fn(&Recorded) -> bool,
    ) -> Result<Recorded, Error> {
        let found = self.shared.until_in(|_| {
            let events = self.events_from(sequence);
            events
                .into_iter()
                .find(|one| one.written.is_some() && is(one))
        });
        match tokio::time::timeout(self.shared.config.patience, found).await {
            Ok(record) => Ok(record),
            Err(_) => Err(self.in_vain("an event was written to a client")),
        }
    }

    /// The number of requests for a path, without its query, to any instance.
    #[must_use]
    pub fn request_count(&self, method: &str, path: &str) -> u64 {
        let key = (method.to_owned(), path.to_owned());
        self.shared
            .peek(|world| world.request_counts.get(&key).copied().unwrap_or(0))
    }

    /// The newest requests, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Requested> {
        self.shared
            .peek(|world| world.requests.iter().cloned().collect())
    }
}
