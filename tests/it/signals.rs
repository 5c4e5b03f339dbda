//! Journeys of the program under Unix signals: those that reload it, stop it, or do nothing.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sim::acme::Acme;
use sim::marathon::{self, Cluster};
use sim::vault::{self, Vault};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout};

use crate::support::certificates::{Authority, Bundle};
use crate::support::polls::{page_at, sum, until};
use crate::support::program::{Program, asked_to_end, ended, send};
use crate::support::{LIMIT, app};

/// How often the daemon looks at files by itself. The other sources it asks after minutes.
const FILE_INTERVAL: Duration = Duration::from_secs(5);

/// Signals that end a process by default and do nothing here: by name those of all systems, then
/// by number those of Linux and the first and the last real-time signal.
const IGNORED: [&str; 12] = [
    "USR2", "PIPE", "ALRM", "VTALRM", "PROF", "IO", "XCPU", "XFSZ", "PWR", "16", "34", "64",
];

/// A daemon beside a Marathon with one app.
struct Bench {
    marathon: Cluster,
    program: Program,
    child: Child,
    admin: SocketAddr,
    folder: TempDir,
}

impl Bench {
    /// A daemon with these flags besides those that lead it to Marathon; what it reads lies in
    /// `folder`.
    async fn start(folder: TempDir, flags: Vec<String>) -> Self {
        let marathon = Cluster::start(marathon::Config::default()).await.unwrap();
        marathon
            .create_app(app("/web", "web.test", 1))
            .await
            .unwrap();
        let mut program = Program::following(&marathon, flags);
        let (child, admin) = program.start().await;
        let bench = Self {
            marathon,
            program,
            child,
            admin,
            folder,
        };
        until("a snapshot", async || {
            let published = bench.metric("publishes_total", &[]).await;
            (published > 0).then_some(()).ok_or(bench.program.logs())
        })
        .await;
        bench
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn metric(&self, name: &str, labels: &[&str]) -> u64 {
        let text = page_at(self.admin, "/metrics").await.unwrap_or_default();
        sum(&text, name, labels)
    }

    fn lists(&self) -> u64 {
        self.marathon.request_count("GET", "/v2/apps")
    }

    async fn stop(self) {
        let status = asked_to_end(self.child).await;
        assert_eq!(status.code(), Some(0), "{}", self.program.last_log());
        self.marathon.shutdown().await;
    }
}

/// Puts a file where there was none or another, as `mv` does: at once.
fn put(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

fn put_pair(folder: &Path, bundle: &Bundle) {
    put(&folder.join("xds.pem"), &bundle.certificate_pem);
    put(&folder.join("xds.key"), &bundle.key_pem);
}

/// Each signal is sent as soon as the one before has shown its effect: a daemon that waited for
/// its own next look at the files would need one interval for each.
#[tokio::test]
async fn hup_and_usr1_have_files_vault_and_marathon_read_again() {
    const ROUNDS: usize = 6;
    let authority = Authority::new();
    let vault = Vault::start(vault::Config::default()).await.unwrap();
    let acme = Acme::new(&vault, "secret").unwrap();
    // The list of certificates says nothing new of it: only a full read asks for it again.
    acme.issue("one.test").await.unwrap();
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("certificates")).unwrap();
    put(&at("ca.pem"), &authority.pem);
    put_pair(folder.path(), &authority.bundle(&["control.plane"]));
    let flags = vec![
        format!("--certificates-dir={}", at("certificates").display()),
        format!("--xds-cert-file={}", at("xds.pem").display()),
        format!("--xds-key-file={}", at("xds.key").display()),
        format!("--xds-client-ca-file={}", at("ca.pem").display()),
        "--xds-client-names=edge".to_owned(),
        format!("--vault-addr={}", vault.url()),
        format!("--vault-token={}", vault.root_token()),
        "--marathon-acme-kv-path=".to_owned(),
        "--vault-poll-interval=3600".to_owned(),
    ];
    let mut bench = Bench::start(folder, flags).await;
    until("the certificate of the xds port", async || {
        match bench.identities_read().await {
            1 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;

    let started = Instant::now();
    for round in 0..ROUNDS {
        let signal = if round % 2 == 0 { "HUP" } else { "USR1" };
        let name = format!("round-{round}");
        let pem = authority.bundle(&["web.test"]).pem();
        put(&bench.at("certificates").join(format!("{name}.pem")), &pem);
        put_pair(
            bench.folder.path(),
            &authority.bundle(&["control.plane", &name]),
        );
        let (lists, identities) = (bench.lists(), bench.identities_read().await);
        vault.forget_requests();
        send(&bench.child, signal).await;
        until(&format!("what SIG{signal} causes"), async || {
            let label = format!("name=\"{name}\"");
            let expiry = "certificate_expiry_timestamp_seconds";
            let asked = vault.requests().into_iter();
            let asked: BTreeSet<_> = asked
                .map(|seen| seen.path.trim_end_matches('?').to_owned())
                .collect();
            let seen = [
                bench.metric(expiry, &[&label]).await > 0,
                bench.identities_read().await == identities + 1,
                bench.lists() > lists,
                asked.contains("secret/data/live"),
                asked.contains("secret/data/certificates/one.test"),
            ];
            match seen {
                [true, true, true, true, true] => Ok(()),
                missing => Err(format!("{missing:?}, {asked:?}")),
            }
        })
        .await;
        assert_eq!(bench.child.try_wait().unwrap(), None);
    }
    let took = started.elapsed();
    let by_itself = FILE_INTERVAL * u32::try_from(ROUNDS - 1).unwrap();
    assert!(
        took < by_itself,
        "{ROUNDS} signals took {took:?}: the files were read when their time came"
    );

    let log = bench.program.last_log();
    for signal in ["SIGHUP", "SIGUSR1"] {
        let field = format!("\"signal\":\"{signal}\"");
        let lines = log.lines().filter(|line| line.contains(&field));
        let lines: Vec<_> = lines.collect();
        assert_eq!(lines.len(), ROUNDS / 2, "{lines:?}");
        let said = "reading again: the certificates folder, the certificate and client CA of the \
                    xds port, every certificate in vault, all of marathon's apps";
        assert!(lines[0].contains(said), "{}", lines[0]);
        assert!(lines[0].contains("INFO"), "{}", lines[0]);
    }
    bench.stop().await;
}

impl Bench {
    async fn identities_read(&self) -> u64 {
        self.metric("xds_certificate_reads_total", &["outcome=\"ok\""])
            .await
    }
}

#[tokio::test]
async fn other_signals_do_nothing() {
    let mut bench = Bench::start(TempDir::new().unwrap(), vec![]).await;
    for signal in IGNORED {
        send(&bench.child, signal).await;
        assert_eq!(page_at(bench.admin, "/healthz").await.unwrap(), "ok");
        assert_eq!(bench.child.try_wait().unwrap(), None, "{signal}");
    }
    let log = bench.program.last_log();
    assert!(!log.contains("\"signal\""), "{log}");
    bench.stop().await;
}

#[tokio::test]
async fn int_and_quit_stop_as_term_does() {
    for signal in ["INT", "QUIT"] {
        let bench = Bench::start(TempDir::new().unwrap(), vec![]).await;
        send(&bench.child, signal).await;
        let status = ended(bench.child).await;
        let log = bench.program.last_log();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("\"message\":\"stopped\""), "{log}");
        bench.marathon.shutdown().await;
    }
}

#[tokio::test]
async fn a_second_signal_to_stop_does_not_wait_for_the_drain() {
    let bench = Bench::start(TempDir::new().unwrap(), vec![]).await;
    let xds = bench.program.listening("xds").await;
    let mut stuck = TcpStream::connect(xds).await.unwrap();
    let head = "POST /v3/discovery:clusters HTTP/1.1\r\nhost: xds\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    stuck.write_all(head.as_bytes()).await.unwrap();
    // Said once the body is waited for, and a body that does not come is waited for by a drain.
    let mut said = [0; 12];
    stuck.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"HTTP/1.1 100");
    send(&bench.child, "TERM").await;
    until("the stop to begin", async || {
        let log = bench.program.last_log();
        log.contains("told to stop").then_some(()).ok_or(log)
    })
    .await;
    send(&bench.child, "TERM").await;
    let status = ended(bench.child).await;
    let log = bench.program.last_log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("told to stop twice"), "{log}");
    bench.marathon.shutdown().await;
}

/// Takes a lease on a file, which blocks everybody who opens it, and says so when somebody does
/// (<https://man7.org/linux/man-pages/man2/F_GETLEASE.2const.html>).
const HOLD: &str = "
import fcntl, signal, sys
signal.signal(signal.SIGIO, lambda *_: print('opened', flush=True))
file = open(sys.argv[1], 'r+')
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
sys.stdin.read()
";

/// A file that does not open, as on a network mount whose server is away.
struct HeldFile {
    _holder: Child,
    said: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl HeldFile {
    async fn new(path: &Path) -> Self {
        let mut holder = Command::new("python3")
            .args(["-c", HOLD])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert_eq!(said.next_line().await.unwrap().as_deref(), Some("held"));
        Self {
            _holder: holder,
            said,
        }
    }

    /// Waits until somebody opens it.
    async fn is_opened(&mut self) {
        let opened = timeout(LIMIT, self.said.next_line()).await;
        let opened = opened.expect("nobody reads the file").unwrap();
        assert_eq!(opened.as_deref(), Some("opened"));
    }
}

fn credentials_in(folder: &TempDir) -> (PathBuf, String) {
    let path = folder.path().join("credentials");
    fs::write(&path, "user:password\n").unwrap();
    let flag = format!("--marathon-credentials-file={}", path.display());
    (path, flag)
}

/// What cannot be ended is left behind.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_file_that_cannot_be_read() {
    let folder = TempDir::new().unwrap();
    let (credentials, flag) = credentials_in(&folder);
    let bench = Bench::start(folder, vec![flag]).await;
    let mut held = HeldFile::new(&credentials).await;
    // The list that it causes reads the credentials.
    send(&bench.child, "HUP").await;
    held.is_opened().await;
    bench.stop().await;
}

#[tokio::test]
async fn a_file_of_a_setting_that_does_not_open_leaves_the_process_stoppable() {
    let folder = TempDir::new().unwrap();
    let (credentials, flag) = credentials_in(&folder);
    let mut held = HeldFile::new(&credentials).await;
    let mut program = Program::new(TempDir::new().unwrap(), vec![flag]);
    let child = program.spawn();
    held.is_opened().await;
    let status = asked_to_end(child).await;
    let log = program.last_log();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("SIGTERM while the settings"), "{log}");
}

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_an_error_and_not_waited_for() {
    let folder = TempDir::new().unwrap();
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().await.unwrap();
    assert!(made.success());
    for setting in ["marathon-cacert", "marathon-token-file"] {
        let flag = format!("--{setting}={}", pipe.display());
        let mut program = Program::new(TempDir::new().unwrap(), vec![flag]);
        let child = program.spawn();
        let status = ended(child).await;
        let log = program.last_log();
        assert_eq!(status.code(), Some(2), "{log}");
        assert!(log.contains("it is no regular file"), "{log}");
    }
}
