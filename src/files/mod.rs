//! Watches what lies in files: a folder of certificates becomes facts whenever it differs.
//!
//! Folders are looked at every few seconds. Notifications of the kernel would be faster, but they
//! do not see changes on network mounts nor, on the watched path, the exchange of a symbolic link
//! by which Kubernetes and its like replace a whole folder.

mod folder;
mod identity;
mod status;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::metrics::Metrics;
use crate::net::blocking_files::{BlockingFiles, HungLook};
use crate::net::clock::{WallClock, wall_clock};
use crate::net::reload::Watcher;
use crate::net::source_status::StatusCell;
use crate::received::Received;
use crate::state::certificate::Certificate;
use crate::state::event::{Event, Source};
use crate::state::problem::Problem;
use folder::{Folder, Patience};
use status::FOLDER;

pub use identity::{IdentityConfig, watch_identity};
pub use status::new_status;

/// Number of looks at a folder until a fault of a file is reported: three, each
/// [`settle`](Config::settle) after the one before, outlast whoever is just writing it.
const LOOKS: usize = 3;

/// Configuration of the watched folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The folder (`CERTIFICATES_DIR`). Each `NAME.pem` in it is a certificate, its chain and its
    /// key, and makes the certificate `NAME`; other files and hidden ones are ignored.
    pub folder: PathBuf,
    /// The time between looks.
    pub interval: Duration,
    /// The time until a file that is missing, damaged or just being written is looked at again.
    pub settle: Duration,
}

/// The certificates and problems of the folder, as they are announced.
#[derive(Clone, Debug, Default, PartialEq)]
struct FolderReading {
    certificates: Vec<Arc<Certificate>>,
    problems: Vec<Problem>,
    /// `notAfter` of the certificates that are served, in seconds since 1970, by name: also of
    /// those of which the file has become unusable.
    expiries: BTreeMap<String, i64>,
    /// The problem of the folder while it hangs.
    hung: Option<Problem>,
}

impl Config {
    /// A folder, looked at every 5 s, twice more within 500 ms when something is wrong: a
    /// certificate that was exchanged is in use before its administrator has typed the test.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            interval: Duration::from_secs(5),
            settle: Duration::from_millis(250),
        }
    }
}

/// Announces what is in the folder, then every change of it: files that come, differ and go, and
/// certificates that end. A requested `reload` reads every file at once, whether it looks changed
/// or not, and is [confirmed](Event::CertificatesConfirmed) unless the folder cannot be read. Returns
/// on `shutdown`, or when nobody listens any more.
///
/// The first reading is announced even if the folder is empty, but not while it cannot be read: to
/// announce that there are no certificates would take down what proxies serve with those of the
/// last run. Later an unreadable folder is a [`Problem`], and so is a file that cannot be used;
/// what was read from it before stays.
///
/// Cancel safe in that nothing is left behind but a look that is on its way.
pub async fn watch_certificates(
    config: Config,
    facts: mpsc::Sender<Received<Vec<Event>>>,
    status: StatusCell,
    metrics: Arc<Metrics>,
    reload: Watcher,
    shutdown: CancellationToken,
) {
    let folder = folder_of(&config);
    let watching = watch(config, folder, wall_clock, facts, status, metrics, reload);
    shutdown.run_until_cancelled(watching).await;
}

/// Reads the folder once, and returns the certificates and problems in it. Blocks.
///
/// # Errors
///
/// When the folder cannot be listed.
pub fn read_folder(folder: PathBuf) -> io::Result<Event> {
    let now = wall_clock();
    let mut folder = Folder::new(folder);
    folder.look(now, Patience::Judge)?;
    let reading = folder.reading(now, None);
    Ok(Event::CertificatesRead {
        source: Source::Files,
        certificates: reading.certificates,
        problems: reading.problems,
    })
}

/// The folder, not read yet.
fn folder_of(config: &Config) -> BlockingFiles<Folder> {
    let name = config.folder.display().to_string();
    let folder = Folder::new(config.folder.clone());
    BlockingFiles::new(name, folder, Folder::forget_reads)
}

async fn watch(
    config: Config,
    mut folder: BlockingFiles<Folder>,
    wall_clock: WallClock,
    facts: mpsc::Sender<Received<Vec<Event>>>,
    status: StatusCell,
    metrics: Arc<Metrics>,
    mut reload: Watcher,
) {
    let mut announced: Option<FolderReading> = None;
    let mut was_readable = true;
    let mut reads_everything = false;
    loop {
        let settled = settled(&mut folder, &config, wall_clock, reads_everything).await;
        let is_confirmed = reads_everything && matches!(settled, Ok((_, Ok(()))));
        reads_everything = false;
        let reading = match settled {
            Ok((reading, Ok(()))) => {
                was_readable = true;
                status.works(FOLDER);
                Some(reading)
            }
            Ok((reading, Err(error))) => {
                let fault = format!("{}: {error}", config.folder.display());
                status.fails(FOLDER, fault, "make it readable for this daemon");
                if was_readable {
                    error!(
                        folder = %config.folder.display(),
                        %error,
                        "certificates folder cannot be read"
                    );
                }
                was_readable = false;
                announced.is_some().then_some(reading)
            }
            Err(hung) => {
                let fault = format!("{}: {hung}", config.folder.display());
                status.fails(FOLDER, fault, "see if the mount that it is on answers");
                let mut reading = announced.clone();
                if let Some(reading) = &mut reading {
                    let hung_seconds = i64::try_from(hung.since.elapsed().as_secs());
                    let since = wall_clock() - hung_seconds.unwrap_or(i64::MAX);
                    reading.note_hung(folder::hung(&config.folder, since));
                }
                reading
            }
        };
        let mut events = Vec::new();
        if let Some(reading) = reading
            && announced.as_ref() != Some(&reading)
        {
            report(&reading, announced.as_ref(), &metrics);
            events.push(Event::CertificatesRead {
                source: Source::Files,
                certificates: reading.certificates.clone(),
                problems: reading.problems.clone(),
            });
            announced = Some(reading);
            status.hears();
        }
        if is_confirmed {
            events.push(Event::CertificatesConfirmed(Source::Files));
        }
        if !events.is_empty() && facts.send(Received::now(events)).await.is_err() {
            return;
        }
        tokio::select! {
            () = sleep(config.interval) => {}
            () = reload.requested() => reads_everything = true,
        }
    }
}

impl FolderReading {
    /// The same while the folder hangs. The first problem of that kind counts: it has the time.
    fn note_hung(&mut self, hung: Problem) {
        if self.hung.is_none() {
            self.problems.push(hung.clone());
            self.hung = Some(hung);
        }
    }
}

/// Looks at the folder until nothing in it is about to change, or often enough: what was read, and
/// the error by which the folder could not be listed.
async fn settled(
    folder: &mut BlockingFiles<Folder>,
    config: &Config,
    wall_clock: WallClock,
    reads_everything: bool,
) -> Result<(FolderReading, io::Result<()>), HungLook> {
    let mut look = 1;
    loop {
        let is_last = look == LOOKS;
        let patience = if is_last {
            Patience::Judge
        } else {
            Patience::Wait
        };
        let looked = folder.look(move |folder| {
            if reads_everything && look == 1 {
                folder.forget_reads();
            }
            let looked = folder.look(wall_clock(), patience);
            (folder.reading(wall_clock(), looked.as_ref().err()), looked)
        });
        let (reading, looked) = looked.await?;
        match looked {
            Ok(true) => return Ok((reading, Ok(()))),
            looked if is_last => return Ok((reading, looked.map(drop))),
            Ok(false) | Err(_) => sleep(config.settle).await,
        }
        look += 1;
    }
}

fn report(reading: &FolderReading, before: Option<&FolderReading>, metrics: &Metrics) {
    info!(
        certificates = reading.certificates.len(),
        problems = reading.problems.len(),
        "certificates read"
    );
    let before = before.map(|before| &before.expiries);
    metrics.show_expiries("files", &reading.expiries, before);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Mutex;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;
    use crate::net::reload::Trigger;

    /// 2030-03-17.
    pub(super) const NOW: i64 = 1_900_000_000;

    /// A self-signed bundle, valid in 2030.
    pub(super) fn bundle(name: &str) -> String {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2030, 1, 1);
        params.not_after = date_time_ymd(2030, 12, 31);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
    }

    /// A watched folder. The clock is paused: it moves on when everybody waits.
    struct Watched {
        facts: mpsc::Receiver<Received<Vec<Event>>>,
        metrics: Arc<Metrics>,
        reload: Trigger,
        tasks: JoinSet<()>,
        /// Hangs while it is locked.
        files: Arc<Mutex<Folder>>,
    }

    fn watched(folder: &Path) -> Watched {
        let (sender, facts) = mpsc::channel(1);
        let metrics = Metrics::new().unwrap();
        let mut tasks = JoinSet::new();
        let config = Config::new(folder.to_owned());
        let reload = Trigger::new();
        let folder = folder_of(&config);
        let files = folder.files();
        tasks.spawn(watch(
            config,
            folder,
            || NOW,
            sender,
            new_status(true, false),
            metrics.clone(),
            reload.watcher(),
        ));
        Watched {
            facts,
            metrics,
            reload,
            tasks,
            files,
        }
    }

    impl Watched {
        /// The names and problems that are announced next.
        async fn next(&mut self) -> (Vec<String>, Vec<String>) {
            let mut events = self.facts.recv().await.unwrap().value;
            let Some(Event::CertificatesRead {
                source: Source::Files,
                certificates,
                problems,
            }) = events.pop()
            else {
                panic!("no certificates")
            };
            assert_eq!(events, []);
            (
                certificates.iter().map(|c| c.name.clone()).collect(),
                problems.iter().map(Problem::to_string).collect(),
            )
        }

        /// The names that are announced until a reading is confirmed.
        async fn confirmed(&mut self) -> Vec<String> {
            let mut names = Vec::new();
            loop {
                for event in self.facts.recv().await.unwrap().value {
                    if let Event::CertificatesRead { certificates, .. } = event {
                        names = certificates.iter().map(|c| c.name.clone()).collect();
                    } else {
                        assert_eq!(event, Event::CertificatesConfirmed(Source::Files));
                        return names;
                    }
                }
            }
        }

        /// Whether nothing is announced for a minute.
        async fn is_silent(&mut self) -> bool {
            let minute = Duration::from_secs(60);
            tokio::time::timeout(minute, self.facts.recv())
                .await
                .is_err()
        }

        fn shows_expiry_of(&self, name: &str) -> bool {
            let text = String::from_utf8(self.metrics.encode().unwrap()).unwrap();
            text.contains(&format!(
                "certificate_expiry_timestamp_seconds{{name=\"{name}\",source=\"files\"}} 1924905600"
            ))
        }
    }

    #[test]
    fn the_default_times_are_what_the_documentation_says() {
        let config = Config::new("certs".into());
        assert_eq!(config.interval, Duration::from_secs(5));
        assert_eq!(config.settle, Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_folder_is_announced_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut watched = watched(dir.path());
        assert_eq!(watched.next().await, (vec![], vec![]));
        assert!(watched.is_silent().await);
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_come_and_go_are_announced_and_measured() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.pem"), bundle("a.example")).unwrap();
        let mut watched = watched(dir.path());
        assert_eq!(watched.next().await.0, ["a"]);
        assert!(watched.is_silent().await, "what stays equal is no news");

        fs::write(dir.path().join("b.pem"), bundle("b.example")).unwrap();
        assert_eq!(watched.next().await.0, ["a", "b"]);
        assert!(watched.shows_expiry_of("a") && watched.shows_expiry_of("b"));

        fs::remove_file(dir.path().join("a.pem")).unwrap();
        assert_eq!(watched.next().await, (vec!["b".to_owned()], vec![]));
        assert!(!watched.shows_expiry_of("a") && watched.shows_expiry_of("b"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_file_is_announced_as_a_problem_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.pem"), bundle("a.example")).unwrap();
        let mut watched = watched(dir.path());
        assert_eq!(watched.next().await.0, ["a"]);
        fs::write(dir.path().join("a.pem"), "").unwrap();
        let (names, problems) = watched.next().await;
        assert_eq!(names, [""; 0]);
        assert!(problems[0].starts_with("certificate a: there is no certificate"));
        assert!(
            watched.shows_expiry_of("a"),
            "the last good one stays in use"
        );
        assert!(watched.is_silent().await, "a problem is announced once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_was_never_readable_is_not_announced_as_empty() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("later");
        let mut watched = watched(&folder);
        assert!(watched.is_silent().await);
        fs::create_dir(&folder).unwrap();
        assert_eq!(watched.next().await, (vec![], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_becomes_unreadable_keeps_its_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("certs");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("a.pem"), bundle("a.example")).unwrap();
        let mut watched = watched(&folder);
        assert_eq!(watched.next().await.0, ["a"]);
        fs::rename(&folder, dir.path().join("away")).unwrap();
        let (names, problems) = watched.next().await;
        assert_eq!(names, ["a"]);
        assert!(problems[0].contains("the folder cannot be read"));
        fs::rename(dir.path().join("away"), &folder).unwrap();
        assert_eq!(watched.next().await, (vec!["a".to_owned()], vec![]));
    }

    #[tokio::test(start_paused = true)]
    #[expect(clippy::await_holding_lock, reason = "the files hang while it is held")]
    async fn a_folder_that_hangs_keeps_its_certificates_and_is_a_problem_with_its_time() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.pem"), bundle("a.example")).unwrap();
        let mut watched = watched(dir.path());
        assert_eq!(watched.next().await.0, ["a"]);
        let files = watched.files.clone();
        let hung = files.lock().unwrap();
        fs::write(dir.path().join("b.pem"), bundle("b.example")).unwrap();
        let (names, problems) = {
            let mut next = std::pin::pin!(watched.next());
            loop {
                // The paused clock stands still while somebody blocks: time has to be moved.
                tokio::select! {
                    biased;
                    next = &mut next => break next,
                    () = tokio::task::yield_now() => {}
                }
                tokio::time::advance(Duration::from_secs(1)).await;
            }
        };
        assert_eq!(names, ["a"]);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].contains("reading the folder hangs since 2030-03-17 17:"),
            "{problems:?}"
        );
        drop(hung);
        assert_eq!(watched.next().await, (vec!["a".into(), "b".into()], vec![]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_requested_reload_reads_what_came_without_waiting_for_the_interval() {
        let dir = tempfile::tempdir().unwrap();
        let mut watched = watched(dir.path());
        assert_eq!(watched.next().await, (vec![], vec![]));
        assert!(watched.is_silent().await);
        fs::write(dir.path().join("a.pem"), bundle("a.example")).unwrap();
        let requested = Instant::now();
        watched.reload.fire();
        assert_eq!(watched.confirmed().await, ["a"]);
        assert!(requested.elapsed() < Duration::from_secs(1));
        watched.reload.fire();
        assert_eq!(watched.confirmed().await, [""; 0]);
        assert!(watched.is_silent().await, "what stays equal is no news");
        // What cannot be read is not confirmed.
        let away = dir.path().with_extension("away");
        fs::rename(dir.path(), &away).unwrap();
        let (names, problems) = watched.next().await;
        assert_eq!((names.len(), problems.len()), (1, 1));
        watched.reload.fire();
        assert!(watched.is_silent().await);
        fs::rename(away, dir.path()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn watching_ends_when_nobody_listens_and_on_shutdown() {
        let dir = tempfile::tempdir().unwrap();
        let mut watched = watched(dir.path());
        watched.facts.close();
        watched.tasks.join_next().await.unwrap().unwrap();

        let (sender, _facts) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let config = Config::new(dir.path().to_owned());
        let metrics = Metrics::new().unwrap();
        let reload = Trigger::new().watcher();
        let status = new_status(true, false);
        let watching =
            watch_certificates(config, sender, status, metrics, reload, shutdown.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(watching);
        shutdown.cancel();
        tasks.join_next().await.unwrap().unwrap();
    }
}
