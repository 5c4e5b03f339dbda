//! The measured daemon: the built binary as a process, on free loopback ports.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use sim::load::{Probe, Target};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::error::Error;

/// Between two looks at a starting daemon: the resolution of its start.
const BETWEEN: Duration = Duration::from_millis(1);

/// Time to become ready; the list of 100,000 tasks takes a build without optimisation seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// Number of last lines of a log in an error.
const LAST_LINES: usize = 15;

/// A running daemon. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    process: u32,
    xds: SocketAddr,
    ready_after: Duration,
    folder: TempDir,
}

impl Daemon {
    /// Starts a daemon in front of a Marathon, and waits until it is ready. Its Envoys listen at
    /// `http`.
    pub(crate) async fn start(
        binary: &Path,
        marathon: SocketAddr,
        http: SocketAddr,
    ) -> Result<Self, Error> {
        let folder = TempDir::new().map_err(Error::io("make a folder"))?;
        let log = File::create(folder.path().join("log")).map_err(Error::io("write a log"))?;
        let started = Instant::now();
        let mut child = Command::new(binary)
            .arg("serve")
            .arg(format!("--marathon=http://{marathon}"))
            .args(["--xds-listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"])
            .arg(format!("--http-listen-addr={}", http.ip()))
            .arg(format!("--http-listen-port={}", http.port()))
            .arg("--log-format=json")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(Error::io(format!("run {}", binary.display())))?;
        let process = child.id().unwrap_or_default();
        let mut admin = None;
        loop {
            if started.elapsed() > LIMIT {
                return Err(Error::InVain {
                    what: "the daemon is ready".to_owned(),
                    within: LIMIT,
                    seen: last_lines(folder.path()),
                });
            }
            if child
                .try_wait()
                .map_err(Error::io("look at the daemon"))?
                .is_some()
            {
                return Err(Error::Ended {
                    what: binary.display().to_string(),
                    log: last_lines(folder.path()),
                });
            }
            if admin.is_none() {
                admin = listening(folder.path(), "admin");
            }
            if let Some(admin) = admin
                && is_ready(admin).await
            {
                break;
            }
            sleep(BETWEEN).await;
        }
        let ready_after = started.elapsed();
        let xds = listening(folder.path(), "xds").ok_or_else(|| Error::Ended {
            what: "the line about its ports".to_owned(),
            log: last_lines(folder.path()),
        })?;
        Ok(Self {
            child,
            process,
            xds,
            ready_after,
            folder,
        })
    }

    /// The address for proxies.
    pub(crate) fn xds(&self) -> SocketAddr {
        self.xds
    }

    /// Its process.
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// Time from the start of the process to the first answer that says that it is ready.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Ends it, and waits until it is gone; an error if it had ended by itself.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        if self
            .child
            .try_wait()
            .map_err(Error::io("look at the daemon"))?
            .is_some()
        {
            return Err(Error::Ended {
                what: "the daemon".to_owned(),
                log: last_lines(self.folder.path()),
            });
        }
        self.child.kill().await.map_err(Error::io("end the daemon"))
    }
}

async fn is_ready(admin: SocketAddr) -> bool {
    let target = Target {
        keep_alive: false,
        ..Target::http(admin, "localhost", "/readyz")
    };
    let answer = Probe::new(target).ask().await;
    answer.is_ok_and(|answer| answer.status == http::StatusCode::OK)
}

fn log(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}

/// The address in the line that names the open ports.
fn listening(folder: &Path, field: &str) -> Option<SocketAddr> {
    let log = log(folder);
    let line = log.lines().find(|line| line.contains("\"listening\""))?;
    let line: Value = serde_json::from_str(line).ok()?;
    line.get("fields")?.get(field)?.as_str()?.parse().ok()
}

fn last_lines(folder: &Path) -> String {
    let log = log(folder);
    let lines: Vec<&str> = log.lines().collect();
    let first = lines.len().saturating_sub(LAST_LINES);
    lines.get(first..).unwrap_or_default().join("\n")
}

/// The daemon's binary, if it is a file.
pub(crate) fn checked(binary: &Path) -> Result<PathBuf, Error> {
    if binary.is_file() {
        return Ok(binary.to_owned());
    }
    Err(Error::Arguments(format!(
        "--binary {}: no such file; build it, or leave the option out",
        binary.display()
    )))
}
