//! Publications as rooms beside `resources` observe them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::app::AppIntent;
use crate::state::app::AppId;
use crate::state::certificate::Certificate;
use crate::state::problem::Problem;

/// Intents and certificates as of one publication, and what of them changed.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// The intents of all apps.
    pub intents: &'a BTreeMap<AppId, AppIntent>,
    /// The apps whose intents may differ from those of the publication before, or are gone; at
    /// first, every app. Sorted, each once.
    pub changed_apps: &'a [AppId],
    /// The certificates, sorted by name, if they differ from those of the publication before; at
    /// first, always.
    pub certificates: Option<&'a [Arc<Certificate>]>,
}

/// A room that makes something of its own of each publication.
pub trait Observer: Send {
    /// Takes in a publication. Called from the one loop that takes events: nothing waits in it.
    fn published(&mut self, publication: &Publication<'_>);

    /// The parts that could not be made as they were asked for, as of the last publication, sorted.
    fn problems(&self) -> &[Problem];
}
