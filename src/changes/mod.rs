//! Changes of apps in the last minutes: what differs, and by which event of Marathon.
//!
//! [`pipeline`](crate::pipeline) tells each step of the state behind its publication. The apps that it
//! touches are compared with what they were, in short phrases, and the latest changes are kept in a
//! ring. A step that touches many apps, as the first list does, is one change.

mod compare;
mod line_pace;
mod log_lines;
mod observer;
mod phrase;
mod recent;
mod ring;

use std::sync::Arc;

use crate::pipeline::StepObserver;
use observer::ChangeObserver;

pub use log_lines::ChangeLog;
pub use recent::RecentChanges;

/// Parts of the room, for the daemon to connect.
pub struct ChangesConnections {
    /// The observer that notes changes.
    pub observer: Box<dyn StepObserver>,
    /// What it has noted.
    pub recent: Arc<RecentChanges>,
    /// Its log, which is to [run](ChangeLog::run).
    pub log: Arc<ChangeLog>,
}

/// Creates an observer, and what it notes.
pub fn connect() -> ChangesConnections {
    let recent = Arc::new(RecentChanges::default());
    let log = Arc::new(ChangeLog::new());
    ChangesConnections {
        observer: Box::new(ChangeObserver {
            recent: recent.clone(),
            log: log.clone(),
        }),
        recent,
        log,
    }
}
