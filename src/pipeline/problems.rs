//! The problems of now, where whoever shows them finds them.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::state::problem::Problem;

/// What is left out of the configuration now. Written by the pipeline, read by whoever shows it.
#[derive(Debug, Default)]
pub struct Problems {
    pub(super) current: ArcSwap<Vec<Problem>>,
}

impl Problems {
    /// The problems of now, sorted.
    pub fn current(&self) -> Arc<Vec<Problem>> {
        self.current.load_full()
    }
}
