//! A real Envoy as a child process: started, awaited, restarted, stopped.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

use super::admin::{Admin, AdminError};
use super::options::Options;
use super::process::{LAST_LINES, Process};

/// Interval between two looks of a wait. The admin port answers `/ready` in well under a millisecond.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A running Envoy. Killed when dropped.
#[derive(Debug)]
pub struct Envoy {
    binary: PathBuf,
    options: Options,
    process: Process,
    starts: u32,
    // Last, so that it outlives the process that writes into it.
    folder: TempDir,
}

/// Failure of an Envoy.
#[derive(Debug, thiserror::Error)]
pub enum EnvoyError {
    /// Its configuration cannot be written, or its log not read.
    #[error("envoy's folder of files cannot be used")]
    Files(#[source] io::Error),
    /// The binary cannot be run.
    #[error("{binary:?} cannot be run")]
    Run {
        /// The binary.
        binary: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("envoy ended by itself ({status}); its last lines:\n{log}")]
    Died {
        /// Its exit status.
        status: ExitStatus,
        /// The log's end.
        log: String,
    },
    /// Something that was waited for did not come.
    #[error("envoy: waited {within:?} for {what}; its last lines:\n{log}")]
    Late {
        /// The thing that was waited for.
        what: String,
        /// The time that was waited.
        within: Duration,
        /// The log's end.
        log: String,
    },
    /// It refused a configuration when it was asked to check it.
    #[error("envoy refuses the configuration:\n{log}")]
    Refused {
        /// The log's end.
        log: String,
    },
    /// Its admin port gave no usable answer.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The process could not be waited for or killed.
    #[error("envoy cannot be ended")]
    End(#[source] io::Error),
}

impl Envoy {
    /// Starts `binary` with `bootstrap` (YAML or JSON text) and waits until its admin port is
    /// open. Give that one port 0: Envoy says which one it got.
    ///
    /// # Errors
    ///
    /// [`EnvoyError::Died`] with the log's end when it does not like the bootstrap.
    ///
    /// # Cancel safety
    ///
    /// When dropped, the process is killed.
    pub async fn start(
        binary: &Path,
        bootstrap: &str,
        options: Options,
    ) -> Result<Self, EnvoyError> {
        let folder = tempfile::Builder::new()
            .prefix("envoy-")
            .tempdir()
            .map_err(EnvoyError::Files)?;
        fs::write(folder.path().join("bootstrap.yaml"), bootstrap).map_err(EnvoyError::Files)?;
        let process = Process::start(binary, &options, folder.path(), 1).await?;
        Ok(Self {
            binary: binary.to_owned(),
            options,
            process,
            starts: 1,
            folder,
        })
    }

    /// Asks `binary` whether it would take `bootstrap` (`--mode validate`).
    ///
    /// # Errors
    ///
    /// [`EnvoyError::Refused`] with what it says when it would not.
    pub async fn validate(
        binary: &Path,
        bootstrap: &str,
        options: &Options,
    ) -> Result<(), EnvoyError> {
        let folder = TempDir::new().map_err(EnvoyError::Files)?;
        let file = folder.path().join("bootstrap.yaml");
        fs::write(&file, bootstrap).map_err(EnvoyError::Files)?;
        let output = Command::new(binary)
            .args(["--mode", "validate", "--config-path"])
            .arg(&file)
            .args(["--service-node", &options.node_id])
            .args(["--service-cluster", &options.node_cluster])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|source| EnvoyError::Run {
                binary: binary.to_owned(),
                source,
            })?;
        if !output.status.success() {
            let log = String::from_utf8_lossy(&output.stderr);
            return Err(EnvoyError::Refused {
                log: last_lines(&log, LAST_LINES),
            });
        }
        Ok(())
    }

    /// Its admin port. After a restart it is another one.
    pub fn admin(&self) -> Admin {
        self.process.admin
    }

    /// Its process id; `None` once it has ended and was noticed.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// All that it logged since it was last started.
    ///
    /// # Errors
    ///
    /// When the log's file is gone.
    pub fn log(&self) -> Result<String, EnvoyError> {
        self.process.log()
    }

    /// Waits until it serves: until its first clusters and listeners are there, too.
    ///
    /// # Errors
    ///
    /// When it dies, or is not ready `within` that time.
    pub async fn ready(&mut self, within: Duration) -> Result<(), EnvoyError> {
        let admin = self.admin();
        self.wait_for("readiness", within, async || {
            Ok(admin.is_ready().await?.then_some(()))
        })
        .await
    }

    /// Waits until the listener `name` is bound; where it is bound.
    ///
    /// # Errors
    ///
    /// When Envoy dies, or has no such listener `within` that time.
    pub async fn listener(
        &mut self,
        name: &str,
        within: Duration,
    ) -> Result<SocketAddr, EnvoyError> {
        let admin = self.admin();
        let what = format!("the listener {name}");
        self.wait_for(&what, within, async || {
            Ok(admin.listeners().await?.get(name).copied())
        })
        .await
    }

    /// Waits until the counter or gauge `name` satisfies `enough`; its value.
    ///
    /// # Errors
    ///
    /// When Envoy dies, or the value is not there `within` that time.
    pub async fn stat_where(
        &mut self,
        name: &str,
        within: Duration,
        enough: impl Fn(u64) -> bool,
    ) -> Result<u64, EnvoyError> {
        let admin = self.admin();
        let what = format!("the right value of {name}");
        self.wait_for(&what, within, async || {
            Ok(admin.stat(name).await?.filter(|value| enough(*value)))
        })
        .await
    }

    /// Waits until `look` sees something; what it saw. `what` names it for the error.
    ///
    /// # Errors
    ///
    /// When Envoy dies, `look` fails, or it sees nothing `within` that time.
    pub async fn wait_for<T>(
        &mut self,
        what: &str,
        within: Duration,
        look: impl AsyncFn() -> Result<Option<T>, AdminError>,
    ) -> Result<T, EnvoyError> {
        let started = Instant::now();
        loop {
            self.alive()?;
            match look().await {
                Ok(Some(seen)) => return Ok(seen),
                Ok(None) => {}
                Err(error) => {
                    // A dead Envoy says more in its log than its admin port does.
                    self.alive()?;
                    return Err(error.into());
                }
            }
            if started.elapsed() >= within {
                return Err(EnvoyError::Late {
                    what: what.to_owned(),
                    within,
                    log: self.process.last_log(),
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// True if it still runs.
    ///
    /// # Errors
    ///
    /// [`EnvoyError::Died`] with the log's end when it does not.
    pub fn alive(&mut self) -> Result<(), EnvoyError> {
        self.process.alive()
    }

    /// Stops it and starts it anew with the same bootstrap and options, on new ports wherever the
    /// bootstrap says 0. The log begins anew.
    ///
    /// # Errors
    ///
    /// As [`Envoy::start`] and [`Envoy::stop`].
    pub async fn restart(&mut self) -> Result<(), EnvoyError> {
        self.process.end().await?;
        self.start_again().await
    }

    /// Kills it at once, as a crash would, and starts it anew like [`Envoy::restart`].
    ///
    /// # Errors
    ///
    /// As [`Envoy::start`].
    pub async fn crash_and_restart(&mut self) -> Result<(), EnvoyError> {
        self.process.kill().await?;
        self.start_again().await
    }

    async fn start_again(&mut self) -> Result<(), EnvoyError> {
        self.starts += 1;
        let folder = self.folder.path();
        self.process = Process::start(&self.binary, &self.options, folder, self.starts).await?;
        Ok(())
    }

    /// Asks it to end and waits until it has; after 10 s it is killed.
    ///
    /// # Errors
    ///
    /// When it cannot be waited for.
    pub async fn stop(mut self) -> Result<ExitStatus, EnvoyError> {
        self.process.end().await
    }
}

/// The last `count` lines of `text`.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines
        .into_iter()
        .skip(skipped)
        .collect::<Vec<_>>()
        .join("\n")
}
