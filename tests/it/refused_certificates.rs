//! Journeys of thirty good certificates and one that no Envoy takes: it alone is out, and named.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use marathon_envoy::commands::bootstrap::Transport;
use marathon_envoy::snapshot::Kind;
use marathon_envoy::state::certificate::{Certificate, PrivateKey};
use rcgen::{CustomExtension, KeyUsagePurpose};
use sim::load::{Probe, Target};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::certificates::{Authority, Bundle, shown};
use crate::support::long::{is_long, measured};
use crate::support::plane::Plane;
use crate::support::polls::{problems, until};
use crate::support::program::Process;
use crate::support::traffic::served_by;
use crate::support::{app, environment};

/// How many certificates are good.
const GOOD: usize = 30;

/// The name of the one that is not.
const BAD: &str = "bad";

/// Within what all good ones are shown, however bad the other one is.
const REACH: Duration = Duration::from_secs(2);

/// How long it is looked whether the bad one stays named.
const NAMED_FOR: Duration = Duration::from_secs(60);

/// What is wrong with the bad one.
#[derive(Clone, Copy, Debug)]
enum Flaw {
    /// It demands a stapled OCSP response, and there is none.
    MustStaple,
    /// Its ECDSA key must not sign.
    KeyUsage,
}

impl Flaw {
    fn bundle(self, authority: &Authority, host: &str) -> Bundle {
        authority.bundle_with(&[host], |params| match self {
            Self::MustStaple => {
                // SEQUENCE { INTEGER 5 }: the feature status_request.
                let features = vec![0x30, 0x03, 0x02, 0x01, 0x05];
                let oid = &[1, 3, 6, 1, 5, 5, 7, 1, 24];
                let extension = CustomExtension::from_oid_content(oid, features);
                params.custom_extensions.push(extension);
            }
            Self::KeyUsage => params.key_usages = vec![KeyUsagePurpose::KeyEncipherment],
        })
    }

    /// A word of Envoy's own reason.
    fn said_by_envoy(self) -> &'static str {
        match self {
            Self::MustStaple => "OCSP",
            Self::KeyUsage => "Failed to load certificate chain",
        }
    }

    /// A word of the daemon's own reason.
    fn said_by_daemon(self) -> &'static str {
        match self {
            Self::MustStaple => "must staple",
            Self::KeyUsage => "digitalSignature",
        }
    }
}

/// The names of all: of a certificate, of its app, and before `.test` of its host.
fn names() -> Vec<String> {
    let good = (0..GOOD).map(|number| format!("site{number:02}"));
    good.chain([BAD.to_owned()]).collect()
}

fn host(name: &str) -> String {
    format!("{name}.test")
}

/// Certificates by their names.
type Bundles = BTreeMap<String, Bundle>;

/// One for each name, the bad one without a flaw or with it.
fn bundles(authority: &Authority, flaw: Option<Flaw>) -> Bundles {
    let bundle = |name: &String| match flaw.filter(|_| name == BAD) {
        Some(flaw) => flaw.bundle(authority, &host(name)),
        None => authority.bundle(&[&host(name)]),
    };
    let names = names().into_iter();
    names.map(|name| (name.clone(), bundle(&name))).collect()
}

/// Waits until each good host shows its certificate and answers, one after the other.
async fn all_good_are_shown(bundles: &Bundles, target: impl Fn(&str) -> Target) {
    let good = bundles.iter().filter(|(name, _)| *name != BAD);
    let mut count = 0;
    for (name, bundle) in good {
        shown(&target(&host(name)), bundle).await;
        count += 1;
    }
    assert_eq!(count, GOOD);
}

/// Sees that every look for a minute says so, in a play at full length; else that one does.
async fn stays(what: &str, look: impl AsyncFn() -> Result<(), String>) {
    let started = Instant::now();
    let mut looks = 0;
    loop {
        if let Err(seen) = look().await {
            panic!("{what}: no more after {:?}: {seen}", started.elapsed());
        }
        looks += 1;
        if !is_long() || started.elapsed() > NAMED_FOR {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let elapsed = started.elapsed().as_secs_f64();
    println!("measured: {what}: in each of {looks} looks over {elapsed:.1} s");
}

/// Published as if nobody had checked it, to a fresh Envoy and, renewed with all others, to one that
/// runs.
async fn a_secret_is_refused_alone(transport: Transport, flaw: Flaw) {
    let authority = Authority::new();
    let names = names();
    let hosts: Vec<String> = names.iter().map(|name| host(name)).collect();
    let ids: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
    let apps = ids.iter().zip(&hosts);
    let apps: Vec<(&str, &str)> = apps.map(|(id, host)| (&**id, &**host)).collect();

    let first = bundles(&authority, Some(flaw));
    let mut plane = Plane::start(transport, &apps, unchecked(&first)).await;
    let https = plane.https;
    let target = |host: &str| Target::https(https, host, "/", authority.tls(host));
    all_good_are_shown(&first, target).await;
    let took = plane.started.elapsed();
    let what = format!("{transport:?}, {flaw:?}, published: {GOOD} hosts of a fresh Envoy");
    measured(&what, took, REACH);
    until("the named secret", async || named(&plane, transport, flaw)).await;
    let says = plane.serving.refused(&plane.snapshot)[0].error.clone();
    println!("measured: {transport:?}, {flaw:?}, published: Envoy says {says:?}");
    is_not_shown(target(&host(BAD))).await;

    let second = bundles(&authority, Some(flaw));
    let renewed = Instant::now();
    plane.publish_certificates(unchecked(&second));
    all_good_are_shown(&second, target).await;
    let what = format!("{transport:?}, {flaw:?}, published: {GOOD} renewed hosts");
    measured(&what, renewed.elapsed(), REACH);
    let version = plane.resource(Kind::Secret, BAD).version().to_string();
    until("the named renewed secret", async || {
        named(&plane, transport, flaw)?;
        let refused = plane.serving.refused(&plane.snapshot);
        match refused[0].version == version {
            true => Ok(()),
            false => Err(format!("{refused:?}")),
        }
    })
    .await;
    let what = format!("{transport:?}, {flaw:?}, published: the secret is named");
    stays(&what, async || named(&plane, transport, flaw)).await;
    all_good_are_shown(&second, target).await;

    let mut third = second;
    third.insert(BAD.to_owned(), authority.bundle(&[&host(BAD)]));
    let repaired = Instant::now();
    plane.publish_certificates(unchecked(&third));
    shown(&target(&host(BAD)), &third[BAD]).await;
    let what = format!("{transport:?}, {flaw:?}, published: the repaired host");
    measured(&what, repaired.elapsed(), REACH);
    until("the end of the refusal", async || {
        let refused = plane.serving.refused(&plane.snapshot);
        refused
            .is_empty()
            .then_some(())
            .ok_or(format!("{refused:?}"))
    })
    .await;
    plane.stop().await;
}

/// What the product knows of certificates, without its checks.
fn unchecked(bundles: &Bundles) -> Vec<Arc<Certificate>> {
    let certificate = |(name, bundle): (&String, &Bundle)| {
        Arc::new(Certificate {
            name: name.clone(),
            server_names: vec![host(name)],
            not_before_seconds: 0,
            not_after_seconds: i64::MAX,
            chain_pem: bundle.certificate_pem.clone(),
            key_pem: PrivateKey::from(bundle.key_pem.clone()),
        })
    };
    bundles.iter().map(certificate).collect()
}

/// Whether the bad secret, and nothing else, is known as refused, with what Envoy says.
fn named(plane: &Plane, transport: Transport, flaw: Flaw) -> Result<(), String> {
    let refused = plane.serving.refused(&plane.snapshot);
    let says = match transport {
        // Over REST Envoy tells its log alone.
        Transport::Rest | Transport::RestV2 => "",
        Transport::Ads | Transport::AdsDelta => flaw.said_by_envoy(),
    };
    let [one] = &*refused else {
        return Err(format!("{refused:?}"));
    };
    let is_it = one.kind == Kind::Secret && &*one.name == BAD;
    let is_said = one.error.contains(says) && one.error.is_empty() == says.is_empty();
    (is_it && is_said).then_some(()).ok_or(format!("{one:?}"))
}

/// Sees that nothing is answered over TLS.
async fn is_not_shown(target: Target) {
    let answer = Probe::new(target).ask().await;
    assert!(answer.is_err(), "{answer:?}");
}

/// Certificates that are exchanged all at once, as Kubernetes does: in a folder that a link leads to.
struct Generations {
    folder: TempDir,
    count: usize,
}

impl Generations {
    fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            count: 0,
        }
    }

    fn flag(&self) -> String {
        let current = self.folder.path().join("current");
        format!("--certificates-dir={}", current.display())
    }

    fn put(&mut self, bundles: &Bundles) {
        self.count += 1;
        let own = self.folder.path().join(self.count.to_string());
        fs::create_dir(&own).unwrap();
        for (name, bundle) in bundles {
            fs::write(own.join(format!("{name}.pem")), bundle.pem()).unwrap();
        }
        let new = self.folder.path().join("new");
        symlink(&own, &new).unwrap();
        fs::rename(new, self.folder.path().join("current")).unwrap();
    }
}

/// In the certificates folder of a daemon, which is the program itself: it knows what Envoy refuses,
/// publishes everything else and says so.
async fn a_certificate_is_left_out_alone(transport: Transport, flaw: Flaw) {
    let authority = Authority::new();
    let mut folder = Generations::new();
    let first = bundles(&authority, Some(flaw));
    folder.put(&first);
    let flags = [folder.flag()];
    let mut environment = environment(|plan| {
        plan.control_plane.transport = transport;
        plan.control_plane.flags.extend(flags.clone());
    })
    .await;
    let mut daemon = Process::of(&mut environment, &flags).await;
    for name in names() {
        let app = app(&format!("/{name}"), &host(&name), 1);
        environment.marathon().create_app(app).await.unwrap();
    }
    for name in names() {
        served_by(&mut environment, &host(&name), "/", &format!("/{name}")).await;
    }
    let https = environment.https();
    let target = |host: &str| Target::https(https, host, "/", authority.tls(host));

    let started = Instant::now();
    environment.envoy().crash_and_restart().await.unwrap();
    all_good_are_shown(&first, target).await;
    let what = format!("{transport:?}, {flaw:?}, in a folder: {GOOD} hosts of a fresh Envoy");
    measured(&what, started.elapsed(), REACH);
    is_not_shown(target(&host(BAD))).await;
    let is_named = async || {
        let problems = problems(&environment).await;
        let is_it = |line: &String| line.contains(BAD) && line.contains(flaw.said_by_daemon());
        match &*problems {
            [one] if is_it(one) => Ok(()),
            _ => Err(format!("{problems:?}")),
        }
    };
    until("the named certificate", is_named).await;

    let good = bundles(&authority, None);
    folder.put(&good);
    daemon.reload().await;
    all_good_are_shown(&good, target).await;
    shown(&target(&host(BAD)), &good[BAD]).await;
    until("the end of the problem", async || {
        let problems = problems(&environment).await;
        problems
            .is_empty()
            .then_some(())
            .ok_or(format!("{problems:?}"))
    })
    .await;

    let second = bundles(&authority, Some(flaw));
    let renewed = Instant::now();
    folder.put(&second);
    daemon.reload().await;
    all_good_are_shown(&second, target).await;
    let what = format!("{transport:?}, {flaw:?}, in a folder: {GOOD} renewed hosts");
    measured(&what, renewed.elapsed(), REACH);
    until("the named certificate", is_named).await;
    let what = format!("{transport:?}, {flaw:?}, in a folder: the certificate is named");
    stays(&what, is_named).await;
    all_good_are_shown(&second, target).await;
    // What was good before serves on.
    shown(&target(&host(BAD)), &good[BAD]).await;
    daemon.stop().await;
    environment.stop().await.unwrap();
}

over_each_transport! {
    a_secret_that_must_be_stapled_is_refused_alone: a_secret_is_refused_alone(Flaw::MustStaple);
    a_secret_that_must_not_sign_is_refused_alone: a_secret_is_refused_alone(Flaw::KeyUsage);
    a_certificate_that_must_be_stapled_is_left_out_alone: a_certificate_is_left_out_alone(Flaw::MustStaple);
    a_certificate_that_must_not_sign_is_left_out_alone: a_certificate_is_left_out_alone(Flaw::KeyUsage);
}
