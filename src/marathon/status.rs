//! The parts of this source whose success and failure its status shows.

use crate::net::source_status::{SourcePart, StatusCell};

/// The stream of events: without it nothing new is learned.
pub(super) const STREAM: SourcePart = SourcePart::vital("the event stream");

/// Lists of everything. The first is awaited; later ones find only what events did not say.
pub(super) const LISTS: SourcePart = SourcePart::minor("the list of all apps");

/// Lists of pods, which come with those of apps.
pub(super) const PODS: SourcePart = SourcePart::minor("the list of all pods");

/// Questions about single apps, pods and groups.
pub(super) const SINGLE_APPS: SourcePart = SourcePart::minor("a question about single apps");

/// The file with the login.
pub(super) const LOGIN_FILE: SourcePart = SourcePart::minor("the file with the login");

/// The status of a Marathon that was not asked yet.
pub fn new_status() -> StatusCell {
    StatusCell::new("marathon", &[STREAM, LISTS])
}
