//! The program itself, as an operator runs it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use marathon_envoy::commands::demo::control_plane;
use sim::marathon::Cluster;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::polls::until;
use super::{Environment, LIMIT};

/// `marathon-envoy serve` as a process, again and again with the same flags. Its log goes on.
pub(crate) struct Program {
    flags: Vec<String>,
    folder: TempDir,
    runs: usize,
}

impl Program {
    /// One that is not run yet. It logs as JSON, or this does not hear that it listens. What it
    /// prints lies in `folder`.
    pub(crate) fn new(folder: TempDir, flags: Vec<String>) -> Self {
        Self {
            flags,
            folder,
            runs: 0,
        }
    }

    /// One that follows a Marathon, on free ports, with these flags besides.
    pub(crate) fn following(marathon: &Cluster, flags: Vec<String>) -> Self {
        let mut all = vec![
            format!("--marathon={}", marathon.urls().join(",")),
            "--xds-listen=127.0.0.1:0".to_owned(),
            "--admin-listen=127.0.0.1:0".to_owned(),
            "--log-format=json".to_owned(),
        ];
        all.extend(flags);
        Self::new(TempDir::new().unwrap(), all)
    }

    fn printed(&self, what: &str, run: usize) -> PathBuf {
        self.folder.path().join(format!("{what}-{run}"))
    }

    fn log(&self, run: usize) -> String {
        fs::read_to_string(self.printed("log", run)).unwrap()
    }

    /// What the last run logged.
    pub(crate) fn last_log(&self) -> String {
        self.log(self.runs)
    }

    /// What all runs logged.
    pub(crate) fn logs(&self) -> String {
        (1..=self.runs).map(|run| self.log(run)).collect()
    }

    /// What the last run printed on its standard output.
    pub(crate) fn last_output(&self) -> String {
        fs::read_to_string(self.printed("output", self.runs)).unwrap()
    }

    /// Runs it until its ports are open; the process and its admin port.
    pub(crate) async fn start(&mut self) -> (Child, SocketAddr) {
        let child = self.spawn();
        let admin = self.listening("admin").await.parse().unwrap();
        (child, admin)
    }

    /// Runs it, and does not wait.
    pub(crate) fn spawn(&mut self) -> Child {
        self.runs += 1;
        Command::new(env!("CARGO_BIN_EXE_marathon-envoy"))
            .arg("serve")
            .args(&self.flags)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(File::create(self.printed("output", self.runs)).unwrap())
            .stderr(File::create(self.printed("log", self.runs)).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Waits until it says where it listens; that.
    pub(crate) async fn listening(&self, field: &str) -> String {
        until("the program to listen", async || {
            let log = self.last_log();
            let line = log.lines().find(|line| line.contains("\"listening\""));
            let line: Option<serde_json::Value> =
                line.and_then(|line| serde_json::from_str(line).ok());
            let place = line.and_then(|line| Some(line["fields"][field].as_str()?.to_owned()));
            place.ok_or(log)
        })
        .await
    }
}

/// The daemon of an environment as a process of its own, on the ports of the one inside the test.
pub(crate) struct Process {
    program: Program,
    child: Option<Child>,
}

impl Process {
    /// Takes the place of the daemon inside the test; it has these flags besides.
    pub(crate) async fn of(environment: &mut Environment, flags: &[String]) -> Self {
        environment.stop_control_plane().await.unwrap();
        let mut all = control_plane::flags(
            environment.neighbours(),
            &environment.neighbours().xds.to_string(),
        );
        all.extend(["--xds-plaintext-secrets=true", "--log-format=json"].map(str::to_owned));
        all.extend(flags.iter().cloned());
        let mut process = Self {
            program: Program::new(TempDir::new().unwrap(), all),
            child: None,
        };
        process.start().await;
        process
    }

    /// Starts it, with nothing of what it knew.
    pub(crate) async fn start(&mut self) {
        let (child, _) = self.program.start().await;
        self.child = Some(child);
    }

    /// What it logged since it was last started.
    pub(crate) fn log(&self) -> String {
        self.program.last_log()
    }

    /// Kills it, so that it can do nothing more.
    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(&mut self) {
        let status = asked_to_end(self.child.take().unwrap()).await;
        assert!(status.success(), "{}", self.program.last_log());
    }

    /// Has it read everything again at once.
    pub(crate) async fn reload(&self) {
        send(self.child.as_ref().unwrap(), "HUP").await;
    }
}

/// Sends a signal, by its name without SIG or by its number, as `kill` does.
pub(crate) async fn send(child: &Child, signal: &str) {
    let id = child.id().unwrap();
    let command = format!("kill -{signal} {id}");
    let sent = Command::new("sh").args(["-c", &command]).status();
    assert!(sent.await.unwrap().success(), "{command}");
}

/// Waits for the end of a process, at most [`LIMIT`].
pub(crate) async fn ended(mut child: Child) -> ExitStatus {
    let ended = tokio::time::timeout(LIMIT, child.wait()).await;
    ended.expect("the process ends").unwrap()
}

/// Asks a process to end as `kill` does, and waits for it.
pub(crate) async fn asked_to_end(child: Child) -> ExitStatus {
    send(&child, "TERM").await;
    ended(child).await
}
