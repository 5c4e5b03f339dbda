//! An app's intent: its services, and what was left out of them.

use std::sync::Arc;

use super::service::Service;
use crate::state::app::Few;
use crate::state::problem::Problem;

/// Everything that one app asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppIntent {
    /// Part of the app that is served.
    pub standing: Standing,
    /// Its served ports, by index.
    pub services: Few<Arc<Service>>,
    /// Parts that were left out, each with the reason.
    pub problems: Box<[Problem]>,
    /// Number of the parts that were left out without a problem of their own: too many are only
    /// counted.
    pub unlisted: u32,
}

/// Part of an app that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// At least one of its ports.
    Served,
    /// None: the app is in no group that is served here, nor does it answer ACME challenges.
    Ignored,
    /// None: the app is in a served group, and none of its ports can be served or wants to be.
    Skipped,
}

/// Number of apps of each standing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppCounts {
    /// Apps with at least one served port.
    pub served: usize,
    /// Apps in no group that is served here.
    pub ignored: usize,
    /// Apps in a served group without a port that can be served or wants to be.
    pub skipped: usize,
}

impl AppIntent {
    /// The intent of an app that asks for nothing.
    pub fn empty() -> Self {
        Self {
            standing: Standing::Skipped,
            services: Few::default(),
            problems: Box::default(),
            unlisted: 0,
        }
    }

    /// The service of the port at `index`.
    pub fn service(&self, index: usize) -> Option<&Arc<Service>> {
        self.services.iter().find(|service| service.index == index)
    }
}

impl AppCounts {
    /// The number of apps of one standing.
    pub fn of(&mut self, standing: Standing) -> &mut usize {
        match standing {
            Standing::Served => &mut self.served,
            Standing::Ignored => &mut self.ignored,
            Standing::Skipped => &mut self.skipped,
        }
    }
}
