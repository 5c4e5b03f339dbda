//! Settings of the log, as typed.

use clap::{Args, ValueEnum};

/// The log's filter and format, as typed.
#[derive(Args, Clone, Debug)]
pub struct Logging {
    /// Format of the log lines.
    #[arg(
        long,
        env = "LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        ignore_case = true
    )]
    pub log_format: LogFormat,

    /// Filter of the log: a level, or `target=level` as a comma list. Other crates stay at warn.
    #[arg(
        long = "log",
        env = "RUST_LOG",
        value_name = "FILTER",
        default_value = "info"
    )]
    pub log: String,
}

/// Format of the log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text, for people.
    Text,
    /// JSON, for machines.
    Json,
}
