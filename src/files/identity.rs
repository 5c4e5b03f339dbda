//! The identity of the xDS port from files: read, and read again whenever one of them differs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::LOOKS;
use crate::metrics::Metrics;
use crate::net::blocking_files::{BlockingFiles, HungLook};
use crate::net::clock::{WallClock, wall_clock};
use crate::net::identity::{self, BadIdentity, Identity};
use crate::net::reload::Watcher;
use crate::net::watched_file::{UnreadFile, WatchedFile};
use crate::state::certificate::Certificate;

/// The files that hold the identity, and the intervals at which they are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityConfig {
    /// The certificate and its chain (`XDS_CERT_FILE`).
    pub certificate: PathBuf,
    /// The key (`XDS_KEY_FILE`); the same file is fine.
    pub key: PathBuf,
    /// The authorities of client certificates (`XDS_CLIENT_CA_FILE`); none: clients are not asked
    /// for one.
    pub client_authorities: Option<PathBuf>,
    /// The time between looks.
    pub interval: Duration,
    /// The time until files that make no identity are looked at again: certificate and key are
    /// written one after the other, and in between they do not match.
    pub settle: Duration,
}

impl IdentityConfig {
    /// These files, looked at every 5 s, twice more within 500 ms when something is wrong.
    pub fn new(certificate: PathBuf, key: PathBuf, client_authorities: Option<PathBuf>) -> Self {
        Self {
            certificate,
            key,
            client_authorities,
            interval: Duration::from_secs(5),
            settle: Duration::from_millis(250),
        }
    }
}

/// Reason for which the files hold no identity. Holds nothing of the key.
#[derive(Debug, thiserror::Error)]
enum IdentityFault {
    #[error("{}: its file {why}", path.display())]
    Unread { path: PathBuf, why: UnreadFile },
    #[error("{}: {hung}", path.display())]
    Hung { path: PathBuf, hung: HungLook },
    #[error(transparent)]
    Bad(#[from] BadIdentity),
}

/// Result of a look at the files.
enum IdentityLook {
    /// No file differs, and what was read from them has not ended.
    Same,
    /// This is in them.
    Read(Arc<Identity>),
    /// Nothing that can be served is in them.
    IdentityFault(IdentityFault),
}

/// The files, and the end of the identity that was last read from them.
struct Files {
    certificate: WatchedFile,
    key: WatchedFile,
    client_authorities: Option<WatchedFile>,
    wall_clock: WallClock,
    not_after_seconds: i64,
}

/// Puts what the files hold into `identity`, then every change of it that can be served; what
/// cannot be is told once and changes nothing. A requested `reload` reads every file at once,
/// whether it looks changed or not. Returns on `shutdown`.
///
/// Cancel safe in that nothing is left behind but a look that is on its way.
pub async fn watch_identity(
    config: IdentityConfig,
    identity: identity::Sender,
    metrics: Arc<Metrics>,
    reload: Watcher,
    shutdown: CancellationToken,
) {
    let watching = watch(config, wall_clock, identity, metrics, reload);
    shutdown.run_until_cancelled(watching).await;
}

async fn watch(
    config: IdentityConfig,
    wall_clock: WallClock,
    identity: identity::Sender,
    metrics: Arc<Metrics>,
    mut reload: Watcher,
) {
    let (interval, settle) = (config.interval, config.settle);
    let path = config.certificate.clone();
    let files = Files {
        certificate: WatchedFile::new(config.certificate),
        key: WatchedFile::secret(config.key),
        client_authorities: config.client_authorities.map(WatchedFile::new),
        wall_clock,
        not_after_seconds: i64::MIN,
    };
    let mut files = BlockingFiles::new(path.display().to_string(), files, Files::forget);
    let mut reads_everything = false;
    // What was last told to be wrong: told again only when it differs.
    let mut told: Option<String> = None;
    let mut looks = 0;
    loop {
        let look = files.look(move |files| {
            if reads_everything {
                files.forget();
            }
            files.look()
        });
        let look = look.await.unwrap_or_else(|hung| {
            let path = path.clone();
            IdentityLook::IdentityFault(IdentityFault::Hung { path, hung })
        });
        reads_everything = false;
        looks += 1;
        match look {
            IdentityLook::Same => {}
            IdentityLook::Read(read) => {
                let is_new = identity
                    .borrow()
                    .as_ref()
                    .is_none_or(|old| !is_same(old, &read));
                if is_new || told.is_some() {
                    report(&read, &metrics);
                }
                if is_new {
                    identity.send_replace(Some(read));
                }
                told = None;
            }
            // Whoever writes the files is given time to finish, unless it is known already that
            // something is wrong with them.
            IdentityLook::IdentityFault(_) if told.is_none() && looks < LOOKS => {
                sleep(settle).await;
                continue;
            }
            IdentityLook::IdentityFault(fault) => {
                let text = fault.to_string();
                if told.as_ref() != Some(&text) {
                    let serves = identity.borrow().is_some();
                    error!(
                        error = text,
                        last_good_is_kept = serves,
                        "certificate of the xds port cannot be used"
                    );
                    let reads = &metrics.xds_certificate_reads;
                    reads.with_label_values(&["failed"]).inc();
                    metrics.xds_certificate_failing.set(1);
                    told = Some(text);
                }
            }
        }
        looks = 0;
        tokio::select! {
            () = sleep(interval) => {}
            () = reload.requested() => reads_everything = true,
        }
    }
}

impl Files {
    /// Reads the files if one of them differs, or if what was read has ended since. Blocks.
    fn look(&mut self) -> IdentityLook {
        let now_seconds = (self.wall_clock)();
        let timely = now_seconds <= self.not_after_seconds;
        if timely && !self.all().any(WatchedFile::differs) {
            return IdentityLook::Same;
        }
        match self.read(now_seconds) {
            Ok(identity) => {
                self.not_after_seconds = identity.not_after_seconds();
                IdentityLook::Read(Arc::new(identity))
            }
            Err(fault) => {
                self.forget();
                IdentityLook::IdentityFault(fault)
            }
        }
    }

    fn read(&mut self, now_seconds: i64) -> Result<Identity, IdentityFault> {
        let mut bundle = read(&mut self.certificate)?;
        let key = read(&mut self.key)?;
        // One file may hold both, and then it holds the key once.
        if !self.key.is_same_file(&self.certificate) {
            bundle.push(b'\n');
            bundle.extend(key);
        }
        let authorities = self.client_authorities.as_mut().map(read).transpose()?;
        let certificate = Certificate::parse("of the xds port", &bundle, now_seconds).served();
        let certificate = certificate.map_err(BadIdentity::Certificate)?;
        Ok(Identity::new(
            certificate.server_names,
            &certificate.chain_pem,
            certificate.key_pem.expose(),
            authorities.as_deref(),
        )?)
    }

    /// Has the next look read every file, also those that look as they did.
    fn forget(&mut self) {
        self.all().for_each(WatchedFile::forget);
    }

    fn all(&mut self) -> impl Iterator<Item = &mut WatchedFile> {
        let authorities = self.client_authorities.as_mut();
        [&mut self.certificate, &mut self.key]
            .into_iter()
            .chain(authorities)
    }
}

fn read(file: &mut WatchedFile) -> Result<Vec<u8>, IdentityFault> {
    let read = file.read();
    read.map_err(|why| IdentityFault::Unread {
        path: file.path().to_owned(),
        why,
    })
}

fn report(read: &Identity, metrics: &Metrics) {
    info!(
        names = ?read.names(),
        not_after_seconds = read.not_after_seconds(),
        client_authorities = read.client_authorities().len(),
        "certificate of the xds port read"
    );
    let reads = &metrics.xds_certificate_reads;
    reads.with_label_values(&["ok"]).inc();
    metrics.xds_certificate_failing.set(0);
    metrics.xds_certificate_expiry.set(read.not_after_seconds());
}

/// True if two identities are shown alike and believe the same: a file that was only touched is no
/// reason for anything.
fn is_same(one: &Identity, other: &Identity) -> bool {
    let key = |identity: &Identity| PrivateKeyDer::secret_der(identity.key()).to_owned();
    one.chain() == other.chain()
        && one.client_authorities() == other.client_authorities()
        && key(one) == key(other)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicI64, Ordering};

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tempfile::TempDir;
    use tokio::task::JoinSet;
    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::files::tests::NOW;
    use crate::net::reload::Trigger;

    /// A certificate of 2030 and its key.
    struct Pair {
        certificate: String,
        key: String,
    }

    fn pair(name: &str) -> Pair {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(2030, 1, 1);
        params.not_after = date_time_ymd(2030, 12, 31);
        let key = KeyPair::generate().unwrap();
        Pair {
            certificate: params.self_signed(&key).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// Puts a file where there was none or another, as `mv` does.
    fn put(path: &Path, content: &str) {
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Watched files. The clock is paused: it moves on when everybody waits.
    struct Watched {
        folder: TempDir,
        identity: identity::Receiver,
        metrics: Arc<Metrics>,
        reload: Trigger,
        _tasks: JoinSet<()>,
    }

    impl Watched {
        fn start(pair: &Pair, wall_clock: WallClock) -> Self {
            let folder = TempDir::new().unwrap();
            put(&folder.path().join("cert.pem"), &pair.certificate);
            put(&folder.path().join("key.pem"), &pair.key);
            put(&folder.path().join("ca.pem"), &pair.certificate);
            let at = |name| folder.path().join(name);
            let config = IdentityConfig::new(at("cert.pem"), at("key.pem"), Some(at("ca.pem")));
            Self::with(folder, config, wall_clock)
        }

        fn with(folder: TempDir, config: IdentityConfig, wall_clock: WallClock) -> Self {
            let (sender, identity) = identity::channel();
            let metrics = Metrics::new().unwrap();
            let mut tasks = JoinSet::new();
            let reload = Trigger::new();
            let watcher = reload.watcher();
            tasks.spawn(watch(config, wall_clock, sender, metrics.clone(), watcher));
            Self {
                folder,
                identity,
                metrics,
                reload,
                _tasks: tasks,
            }
        }

        fn put(&self, name: &str, content: &str) {
            put(&self.folder.path().join(name), content);
        }

        /// The names of the next identity.
        async fn next(&mut self) -> Vec<String> {
            self.identity.changed().await.unwrap();
            let identity = self.identity.borrow_and_update().clone().unwrap();
            identity.names().to_owned()
        }

        /// Whether no identity comes for a minute.
        async fn is_silent(&mut self) -> bool {
            let minute = Duration::from_secs(60);
            timeout(minute, self.identity.changed()).await.is_err()
        }

        fn reads(&self, outcome: &str) -> u64 {
            let reads = &self.metrics.xds_certificate_reads;
            reads.with_label_values(&[outcome]).get()
        }

        fn is_failing(&self) -> bool {
            self.metrics.xds_certificate_failing.get() == 1
        }
    }

    #[test]
    fn the_default_times_are_what_the_documentation_says() {
        let config = IdentityConfig::new("cert".into(), "key".into(), None);
        assert_eq!(config.interval, Duration::from_secs(5));
        assert_eq!(config.settle, Duration::from_millis(250));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_renewed_is_put_and_what_stays_is_no_news() {
        let mut watched = Watched::start(&pair("a.example"), || NOW);
        assert_eq!(watched.next().await, ["a.example"]);
        assert!(watched.is_silent().await);
        assert_eq!(watched.metrics.xds_certificate_expiry.get(), 1_924_905_600);

        let renewed = pair("b.example");
        watched.put("cert.pem", &renewed.certificate);
        watched.put("key.pem", &renewed.key);
        assert_eq!(watched.next().await, ["b.example"]);
        // Touched, not changed.
        watched.put("key.pem", &renewed.key);
        assert!(watched.is_silent().await);
        assert_eq!((watched.reads("ok"), watched.reads("failed")), (2, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_requested_reload_reads_the_files_without_waiting_for_the_interval() {
        let mut watched = Watched::start(&pair("a.example"), || NOW);
        assert_eq!(watched.next().await, ["a.example"]);
        assert!(watched.is_silent().await);
        let renewed = pair("b.example");
        watched.put("cert.pem", &renewed.certificate);
        watched.put("key.pem", &renewed.key);
        let requested = Instant::now();
        watched.reload.fire();
        assert_eq!(watched.next().await, ["b.example"]);
        assert!(requested.elapsed() < Duration::from_secs(1));
        watched.put("ca.pem", &pair("ca.example").certificate);
        watched.reload.fire();
        assert_eq!(watched.next().await, ["b.example"], "another client CA");
        assert!(requested.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pair_that_is_half_written_is_looked_at_again_before_it_is_judged() {
        let mut watched = Watched::start(&pair("a.example"), || NOW);
        assert_eq!(watched.next().await, ["a.example"]);
        let renewed = pair("b.example");
        watched.put("cert.pem", &renewed.certificate);
        // The next look comes at 5 s and the one that judges half a second later.
        assert!(
            timeout(Duration::from_millis(5_300), watched.identity.changed())
                .await
                .is_err()
        );
        watched.put("key.pem", &renewed.key);
        assert_eq!(watched.next().await, ["b.example"]);
        assert_eq!(watched.reads("failed"), 0);
        assert!(!watched.is_failing());
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_stay_bad_keep_the_last_good_identity_and_are_told_once() {
        let good = pair("a.example");
        let mut watched = Watched::start(&good, || NOW);
        assert_eq!(watched.next().await, ["a.example"]);
        watched.put("key.pem", &pair("b.example").key);
        assert!(watched.is_silent().await);
        assert!(watched.is_failing());
        assert_eq!(watched.reads("failed"), 1);
        fs::remove_file(watched.folder.path().join("key.pem")).unwrap();
        assert!(watched.is_silent().await);
        assert_eq!(watched.reads("failed"), 2, "another fault is told too");
        assert!(watched.identity.borrow().is_some());

        watched.put("key.pem", &good.key);
        assert!(watched.is_silent().await, "what is served is there again");
        assert!(!watched.is_failing());
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_are_bad_at_first_are_read_once_they_are_good() {
        let good = pair("a.example");
        let bad = Pair {
            certificate: good.certificate.clone(),
            key: pair("a.example").key,
        };
        let mut watched = Watched::start(&bad, || NOW);
        assert!(watched.is_silent().await);
        assert!(watched.is_failing());
        watched.put("key.pem", &good.key);
        assert_eq!(watched.next().await, ["a.example"]);
        assert!(!watched.is_failing());
    }

    #[tokio::test(start_paused = true)]
    async fn other_client_authorities_are_another_identity() {
        let mut watched = Watched::start(&pair("a.example"), || NOW);
        assert_eq!(watched.next().await, ["a.example"]);
        let before = watched.identity.borrow().clone().unwrap();
        watched.put("ca.pem", &pair("ca.example").certificate);
        assert_eq!(watched.next().await, ["a.example"]);
        let after = watched.identity.borrow().clone().unwrap();
        assert_ne!(before.client_authorities(), after.client_authorities());
        watched.put("ca.pem", "nothing");
        assert!(watched.is_silent().await);
        assert!(watched.is_failing());
    }

    #[tokio::test(start_paused = true)]
    async fn one_file_may_hold_everything() {
        let pair = pair("a.example");
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("all.pem");
        put(&path, &(pair.key + &pair.certificate));
        let config = IdentityConfig::new(path.clone(), path, None);
        let mut watched = Watched::with(folder, config, || NOW);
        assert_eq!(watched.next().await, ["a.example"]);
        let identity = watched.identity.borrow().clone().unwrap();
        assert_eq!(identity.client_authorities(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn time_alone_makes_an_identity_fail_and_it_is_kept() {
        static CLOCK: AtomicI64 = AtomicI64::new(NOW);
        let mut watched = Watched::start(&pair("a.example"), || CLOCK.load(Ordering::Relaxed));
        assert_eq!(watched.next().await, ["a.example"]);
        CLOCK.store(1_924_905_601, Ordering::Relaxed);
        assert!(watched.is_silent().await);
        assert!(watched.is_failing());
        assert!(watched.identity.borrow().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_hang_keep_the_last_good_identity_and_are_told() {
        static MOUNT: Mutex<()> = Mutex::new(());
        let wall_clock = || {
            let _answers = MOUNT.lock();
            NOW
        };
        let mut watched = Watched::start(&pair("a.example"), wall_clock);
        assert_eq!(watched.next().await, ["a.example"]);
        let hung = MOUNT.lock().unwrap();
        watched.put("cert.pem", &pair("b.example").certificate);
        // The paused clock stands still while somebody blocks: time has to be moved.
        while !watched.is_failing() {
            tokio::time::advance(Duration::from_secs(1)).await;
            tokio::task::yield_now().await;
        }
        assert_eq!(watched.reads("failed"), 1);
        assert!(watched.identity.borrow().is_some());
        let renewed = pair("c.example");
        watched.put("cert.pem", &renewed.certificate);
        watched.put("key.pem", &renewed.key);
        drop(hung);
        assert_eq!(watched.next().await, ["c.example"]);
        assert!(!watched.is_failing());
    }

    #[tokio::test(start_paused = true)]
    async fn watching_ends_on_shutdown() {
        let (sender, _identity) = identity::channel();
        let shutdown = CancellationToken::new();
        let config = IdentityConfig::new("nowhere".into(), "nowhere".into(), None);
        let metrics = Metrics::new().unwrap();
        let mut tasks = JoinSet::new();
        let reload = Trigger::new().watcher();
        tasks.spawn(watch_identity(
            config,
            sender,
            metrics,
            reload,
            shutdown.clone(),
        ));
        shutdown.cancel();
        tasks.join_next().await.unwrap().unwrap();
    }
}
