//! The request to read every source again, and the sources in words.

use std::sync::Arc;

use crate::net::reload::Trigger;
use crate::settings::Settings;
use crate::vault;

/// Has a daemon read its sources again. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reload {
    /// Certificates and keys in files, and Marathon's list.
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

    /// The sources in words, for the log.
    pub fn sources(&self) -> &str {
        &self.sources
    }

    pub(super) fn new(settings: &Settings) -> Self {
        let vault = settings.vault.as_ref();
        let sources = [
            (settings.certificates.is_some(), "the certificates folder"),
            (
                settings.identity_files.is_some(),
                "the certificate and client CA of the xds port",
            ),
            (
                vault.is_some_and(|vault| vault.store.is_some()),
                "every certificate in vault",
            ),
            (
                vault
                    .and_then(|vault| vault.server_certificate.as_ref())
                    .is_some_and(|serving| serving.clients != vault::ClientAuthorities::Nobody),
                "the client CA of the xds port",
            ),
            (true, "all of marathon's apps"),
        ];
        let sources = sources.into_iter().filter(|(is_read, _)| *is_read);
        let sources: Vec<_> = sources.map(|(_, words)| words).collect();
        Self {
            files_and_marathon: Trigger::new(),
            vault: Trigger::new(),
            sources: sources.join(", ").into(),
        }
    }
}
