//! Scenarios: a whole edge on loopback, the steps that are played on it, and what they measure.
//!
//! ```text
//! Environment: Marathon ─┐                              ┌─► EdgeProbe ─┐
//!              Vault ────┼─► control plane ─► Envoy ────┤              ├─► Report ─► Display
//!                        │  (a trait: ControlPlane)     └─► Traffic ───┘
//! Scenario: steps ───────┘
//! ```
//!
//! The control plane is known by its addresses alone: [`ControlPlane`] starts and ends it, and
//! the probe reads its admin port as any operator can.

mod control_plane;
mod environment;
mod measure;
mod probe;
mod report;
mod runner;
mod sequence;
mod step;
mod steps;
mod traffic;
mod vault;

pub use control_plane::{
    ControlPlane, Endpoints, Failure, Neighbours, VaultAccess, VaultCredentials, VaultNeeds,
};
pub use environment::{Environment, EnvironmentError, Plan};
pub use probe::ProbeError;
pub use runner::{Display, End, RunError, RunReport, Runner, View};
pub use sequence::{HELLO, HELLO_HOST, HOST, ScenarioError};
pub use step::{Counts, Live, Step, Summary, median};
pub use vault::{Login, SetUpError, VaultPlan, VaultSetup};
