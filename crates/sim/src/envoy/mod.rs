//! A real Envoy as a child process: started, awaited, asked, restarted, stopped.

mod admin;
mod find;
mod process;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::Instant;

pub use admin::{Admin, AdminError};
pub use find::{FindError, Found, OLDEST_VERSION, Origin, Search, VERSION};

use process::{LAST_LINES, Process};

/// How often a wait looks again. The admin port answers `/ready` in well under a millisecond, but
/// its lists are read by builds without optimisation.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How an Envoy is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--service-node`: who it is to its control plane.
    pub node_id: String,
    /// `--service-cluster`: which fleet it belongs to.
    pub node_cluster: String,
    /// `--concurrency`: its worker threads. With one, every request sees the same configuration.
    pub concurrency: u32,
    /// `--log-level`.
    pub log_level: LogLevel,
    /// Whether Ctrl-C in a terminal reaches only us and not Envoy too, so that we end first and
    /// lose no request. Then only [`Envoy::stop`] or dropping ends it, so the caller sees to it
    /// that one of them happens whatever signal comes.
    pub own_process_group: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_id: "test".to_owned(),
            node_cluster: "edge".to_owned(),
            concurrency: 1,
            log_level: LogLevel::Info,
            own_process_group: false,
        }
    }
}

/// How much Envoy logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// What it does.
    Debug,
    /// Its life cycle and its updates.
    Info,
    /// What it refused or lost.
    Warning,
    /// What broke.
    Error,
    /// Nothing.
    Off,
}

impl LogLevel {
    fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Off => "off",
        }
    }
}

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

/// What went wrong with an Envoy.
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
        /// Why.
        source: io::Error,
    },
    /// It ended by itself.
    #[error("envoy ended by itself ({status}); its last lines:\n{log}")]
    Died {
        /// How it ended.
        status: ExitStatus,
        /// The log's end.
        log: String,
    },
    /// Something that was waited for did not come.
    #[error("envoy: waited {within:?} for {what}; its last lines:\n{log}")]
    Late {
        /// What was waited for.
        what: String,
        /// How long.
        within: Duration,
        /// The log's end.
        log: String,
    },
    /// It refused a configuration when it was asked to check it.
    #[error("envoy refuses the configuration:\n{log}")]
    Refused {
        /// What it said.
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
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether it still runs.
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
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(count);
    lines
        .into_iter()
        .skip(skipped)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn binary() -> PathBuf {
        #[expect(clippy::disallowed_methods, reason = "a test's stand-in for settings")]
        let search = Search::from(|name| std::env::var_os(name));
        search.find().await.unwrap().binary
    }

    /// Long enough for a machine with all its processors busy; no test waits for its end.
    const SOON: Duration = Duration::from_secs(30);

    fn bootstrap(listeners: &str) -> String {
        format!(
            r#"
admin: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }} }}
static_resources:
  listeners: {listeners}
"#
        )
    }

    fn direct_response() -> String {
        bootstrap(
            r#"
  - name: web
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { path: /broken }
                direct_response: { status: 503, body: { inline_string: "no luck" } }
              - match: { prefix: / }
                direct_response: { status: 200, body: { inline_string: "envoy" } }
"#,
        )
    }

    #[tokio::test]
    async fn a_load_on_a_real_envoy_is_counted_by_both() {
        use std::num::NonZeroU32;

        use crate::load::{Cause, Load, Pace, Probe, Target, named_by_body};

        let mut envoy = Envoy::start(&binary().await, &direct_response(), Options::default())
            .await
            .unwrap();
        envoy.ready(SOON).await.unwrap();
        let address = envoy.listener("web", SOON).await.unwrap();
        assert_eq!(envoy.admin().listeners().await.unwrap()["web"], address);

        let target = Target::http(address, "web.example", "/");
        let mut load = Load::start(
            target.clone(),
            Pace::Open(NonZeroU32::new(4).unwrap()),
            named_by_body,
        );
        envoy
            .stat_where("http.web.downstream_rq_2xx", SOON, |count| count >= 200)
            .await
            .unwrap();
        load.pause().await;
        let paused = load.report();
        assert_eq!(paused.open(), 0);
        let counted = envoy
            .admin()
            .stat("http.web.downstream_rq_2xx")
            .await
            .unwrap();
        assert_eq!(counted, Some(paused.ok));
        load.resume();
        envoy
            .stat_where("http.web.downstream_rq_2xx", SOON, |count| {
                count > paused.ok
            })
            .await
            .unwrap();
        let report = load.stop().await;
        assert_eq!(report.failed(), 0, "{}", report.words());
        assert_eq!(report.answered_by["envoy"], report.ok);
        let connections = envoy
            .stat_where("http.web.downstream_cx_total", SOON, |count| count > 0)
            .await
            .unwrap();
        assert_eq!(connections, 4, "connections are kept");

        let broken = Target {
            path: "/broken".to_owned(),
            ..target.clone()
        };
        let load = Load::start(
            broken,
            Pace::PerSecond(NonZeroU32::new(500).unwrap()),
            named_by_body,
        );
        envoy
            .stat_where("http.web.downstream_rq_5xx", SOON, |count| count >= 20)
            .await
            .unwrap();
        let report = load.stop().await;
        assert_eq!(report.ok, 0);
        assert_eq!(report.failed[&Cause::Status], report.sent);
        assert_eq!(report.failures.len(), 10);
        assert!(
            report.words().contains("503 server=envoy \"no luck\""),
            "{}",
            report.words()
        );

        let seen = Probe::new(target)
            .first_answer_where(SOON, |answer| answer.text() == "envoy")
            .await
            .unwrap();
        assert_eq!(seen.tries, 1);
        assert!(envoy.stop().await.unwrap().success());
    }

    #[tokio::test]
    async fn an_envoy_starts_again_after_a_stop_and_after_a_crash() {
        let mut envoy = Envoy::start(&binary().await, &direct_response(), Options::default())
            .await
            .unwrap();
        envoy.ready(SOON).await.unwrap();
        let first = envoy.id();
        envoy.restart().await.unwrap();
        envoy.ready(SOON).await.unwrap();
        envoy.listener("web", SOON).await.unwrap();
        let second = envoy.id();
        assert_ne!(first, second);
        envoy.crash_and_restart().await.unwrap();
        envoy.ready(SOON).await.unwrap();
        assert_ne!(second, envoy.id());
        assert!(envoy.log().unwrap().contains("starting main dispatch loop"));
        assert!(envoy.admin().config_dump().await.unwrap()["configs"].is_array());
        assert_eq!(envoy.admin().hosts("none").await.unwrap(), []);
        envoy.stop().await.unwrap();
    }

    #[tokio::test]
    async fn an_envoy_that_dies_says_why() {
        let binary = binary().await;
        let nonsense = bootstrap("[{ nonsense: 1 }]");
        let error = Envoy::start(&binary, &nonsense, Options::default())
            .await
            .unwrap_err();
        assert!(matches!(error, EnvoyError::Died { .. }), "{error}");
        assert!(error.to_string().contains("nonsense"), "{error}");
        let error = Envoy::validate(&binary, &nonsense, &Options::default())
            .await
            .unwrap_err();
        assert!(matches!(error, EnvoyError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("nonsense"), "{error}");

        let mut envoy = Envoy::start(&binary, &direct_response(), Options::default())
            .await
            .unwrap();
        envoy.ready(SOON).await.unwrap();
        envoy.admin().quit().await.unwrap();
        let error = envoy
            .wait_for("its end", SOON, async || Ok(None::<()>))
            .await
            .unwrap_err();
        assert!(matches!(error, EnvoyError::Died { .. }), "{error}");
    }

    #[tokio::test]
    async fn what_does_not_come_in_time_is_named() {
        let mut envoy = Envoy::start(&binary().await, &direct_response(), Options::default())
            .await
            .unwrap();
        let error = envoy.listener("other", Duration::ZERO).await.unwrap_err();
        assert!(error.to_string().contains("the listener other"), "{error}");
    }

    #[test]
    fn the_last_lines_are_the_last_ones() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 2), "a");
    }
}
