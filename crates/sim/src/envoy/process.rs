//! One run of the binary: its start, its log, its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::admin::Admin;
use super::child::{EnvoyError, POLL_INTERVAL, last_lines};
use super::options::Options;

/// Time for an Envoy to open its admin port (it takes about 50 ms), and to end when it is asked to,
/// before it is killed.
const LIMIT: Duration = Duration::from_secs(10);

/// Number of the log's last lines in an error.
pub(super) const LAST_LINES: usize = 15;

/// A running Envoy. Killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) admin: Admin,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs `binary` with `bootstrap.yaml` of `folder`, and its log and admin address in there
    /// under names that end with `run`.
    pub(super) async fn start(
        binary: &Path,
        options: &Options,
        folder: &Path,
        run: u32,
    ) -> Result<Self, EnvoyError> {
        let admin_path = folder.join(format!("admin-{run}"));
        let log = folder.join(format!("log-{run}"));
        let log_file = File::create(&log).map_err(EnvoyError::Files)?;
        let mut command = Command::new(binary);
        command
            // Several Envoys on one machine share nothing then.
            .arg("--disable-hot-restart")
            .arg("--config-path")
            .arg(folder.join("bootstrap.yaml"))
            .arg("--admin-address-path")
            .arg(&admin_path)
            .args(["--service-node", &options.node_id])
            .args(["--service-cluster", &options.node_cluster])
            // With one worker thread every request sees the same configuration.
            .args(["--concurrency", "1"])
            .args(["--log-level", options.log_level.as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log_file)
            .kill_on_drop(true);
        if options.own_process_group {
            command.process_group(0);
        }
        let mut child = command.spawn().map_err(|source| EnvoyError::Run {
            binary: binary.to_owned(),
            source,
        })?;
        let started = Instant::now();
        loop {
            alive(&mut child, &log)?;
            // Half an address may be read while Envoy writes it, and may even look whole: so it
            // counts once somebody answers there.
            let address = fs::read_to_string(&admin_path).ok();
            if let Some(address) = address.and_then(|text| text.trim().parse().ok()) {
                let admin = Admin::new(address);
                if admin.is_ready().await.is_ok() {
                    return Ok(Self { admin, child, log });
                }
            }
            if started.elapsed() >= LIMIT {
                return Err(EnvoyError::Late {
                    what: "its admin port".to_owned(),
                    within: LIMIT,
                    log: last_log(&log),
                });
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// True if it still runs.
    pub(super) fn alive(&mut self) -> Result<(), EnvoyError> {
        alive(&mut self.child, &self.log)
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    pub(super) fn log(&self) -> Result<String, EnvoyError> {
        let bytes = fs::read(&self.log).map_err(EnvoyError::Files)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(super) fn last_log(&self) -> String {
        last_log(&self.log)
    }

    /// Asks it to end and waits until it has; kills it when it takes too long.
    pub(super) async fn end(&mut self) -> Result<ExitStatus, EnvoyError> {
        if let Some(status) = self.child.try_wait().map_err(EnvoyError::End)? {
            return Ok(status);
        }
        let graceful = async {
            // It may end before it has answered: what counts is that it ends.
            if let Err(error) = self.admin.quit().await {
                tracing::debug!(%error, "envoy did not confirm that it ends");
            }
            self.child.wait().await
        };
        match tokio::time::timeout(LIMIT, graceful).await {
            Ok(status) => status.map_err(EnvoyError::End),
            Err(_) => self.kill().await,
        }
    }

    /// Ends it at once.
    pub(super) async fn kill(&mut self) -> Result<ExitStatus, EnvoyError> {
        self.child.kill().await.map_err(EnvoyError::End)?;
        self.child.wait().await.map_err(EnvoyError::End)
    }
}

fn alive(child: &mut Child, log: &Path) -> Result<(), EnvoyError> {
    match child.try_wait().map_err(EnvoyError::End)? {
        None => Ok(()),
        Some(status) => Err(EnvoyError::Died {
            status,
            log: last_log(log),
        }),
    }
}

fn last_log(log: &Path) -> String {
    match fs::read(log) {
        Ok(log) => last_lines(&String::from_utf8_lossy(&log), LAST_LINES),
        Err(error) => format!("(no log: {error})"),
    }
}
