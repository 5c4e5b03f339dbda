//! The steps of the state, as they are told behind their publication: what they cost delays no proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::{Pipeline, Projected, StepCauses};
use crate::intent::{AppIntent, Service};
use crate::state::State;
use crate::state::app::{AppId, Few};

/// A step from one projected state to the next, once something is published.
#[derive(Clone, Copy, Debug)]
pub struct AppliedStep<'a> {
    /// The state before.
    pub before: &'a State,
    /// The state that is served now.
    pub after: &'a State,
    /// The apps that may differ, or are gone, each with its services before.
    pub apps: &'a BTreeMap<AppId, Few<Arc<Service>>>,
    /// The intents of all apps, as of now.
    pub intents: &'a BTreeMap<AppId, AppIntent>,
    /// The events that it was made by.
    pub causes: &'a StepCauses,
    /// When the first of them was heard.
    pub heard_at: Instant,
    /// When it was published; none if no resource differs.
    pub published_at: Option<Instant>,
    /// True for the first publication, and everything that led to it.
    pub is_first: bool,
}

/// A room that follows the steps of the state.
pub trait StepObserver: Send {
    /// Takes in a step. Called from the one loop that takes events: nothing waits in it.
    fn stepped(&mut self, step: &AppliedStep<'_>);
}

/// Result of a projection that was looked at.
pub(super) struct Published {
    pub(super) changed: Projected,
    /// None if there was nothing to publish, or not enough is known yet.
    pub(super) at: Option<Instant>,
    /// True for the first publication.
    pub(super) is_first: bool,
}

impl Pipeline {
    /// Tells this observer of each step from the first publication on, behind its publication.
    #[must_use]
    pub fn followed_by(mut self, observer: Box<dyn StepObserver>) -> Self {
        self.step_observer = Some(observer);
        self
    }

    /// Tells of the step from `before`, of which something was heard first at that time.
    pub(super) fn tell_step(&mut self, before: &State, published: &Published, heard_at: Instant) {
        // What led to the first publication is told with it.
        if !self.published {
            return;
        }
        if let Some(observer) = &mut self.step_observer
            && (published.is_first || !published.changed.apps.is_empty())
        {
            self.causes.sort();
            observer.stepped(&AppliedStep {
                before,
                after: &self.projected,
                apps: &published.changed.apps,
                intents: self.projector.intents(),
                causes: &self.causes,
                heard_at,
                published_at: published.at,
                is_first: published.is_first,
            });
        }
        self.causes.clear();
    }
}
