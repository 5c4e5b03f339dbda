//! The log of a demo.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::commands::say;

/// The log of the daemon in a file: on the terminal it would spoil the table.
pub(super) struct LogFile {
    /// Path of the file.
    pub(super) path: PathBuf,
}

impl LogFile {
    /// Opens it and takes the log of this process from now on.
    pub(super) fn open() -> io::Result<Self> {
        let (file, path): (File, PathBuf) = tempfile::Builder::new()
            .prefix("marathon-envoy-demo-")
            .suffix(".log")
            .tempfile()?
            .keep()
            .map_err(|error| error.error)?;
        let own = env!("CARGO_CRATE_NAME");
        let everything = Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target(own, LevelFilter::INFO)
            .with_target("sim", LevelFilter::INFO);
        // That Envoy is fetched takes a while and is said where a person looks.
        let fetching = Targets::new().with_target("sim::envoy::find", LevelFilter::INFO);
        let set = tracing_subscriber::registry()
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_writer(Mutex::new(file))
                    .with_filter(everything),
            )
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .without_time()
                    .with_target(false)
                    .with_level(false)
                    .with_writer(io::stderr)
                    .with_filter(fetching),
            )
            .try_init();
        if set.is_err() {
            say("a log was set up already");
        }
        Ok(Self { path })
    }

    /// Removes it after a run that went well.
    pub(super) fn remove(self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            say(&format!("cannot remove {}: {error}", self.path.display()));
        }
    }
}
