//! The steps of the scenario: the change that each makes, and the effect that it waits for.

mod apps;
mod certificates;
mod failures;
