//! Reload of a running daemon, and its sources in words.

use std::sync::Arc;

use crate::net::reload::Trigger;

/// Handle that requests a reload. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reload {
    /// Reloads the certificates and keys in files, and Marathon's list.
    pub(super) files_and_marathon: Trigger,
    pub(super) vault: Trigger,
    sources: Arc<str>,
}

impl Reload {
    /// Requests that every source is read again. Does not wait for it.
    pub fn now(&self) {
        self.files_and_marathon.fire();
        self.vault.fire();
    }

    /// The reloaded sources in words, for the log.
    pub fn sources(&self) -> &str {
        &self.sources
    }

    /// A handle without a request yet, for `sources` in words.
    pub(super) fn new(sources: &[&str]) -> Self {
        Self {
            files_and_marathon: Trigger::new(),
            vault: Trigger::new(),
            sources: sources.join(", ").into(),
        }
    }
}
