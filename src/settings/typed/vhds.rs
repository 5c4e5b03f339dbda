//! Delivery of virtual hosts, as typed.

use clap::ValueEnum;

/// Delivery of virtual hosts one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VhdsMode {
    /// To Envoys from 1.37 on; others get whole route tables.
    Auto,
    /// To none: all get whole route tables.
    Off,
}
