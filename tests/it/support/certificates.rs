//! An authority, the certificates that it signs, and the folder where the daemon finds them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use marathon_envoy::server::Security;
use marathon_envoy::settings::{CertificateSource, Settings};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sim::load::{Probe, Target, Tls};
use tempfile::TempDir;

use super::{Environment, Plan};

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, for clients to trust.
    pub(crate) pem: String,
}

/// A certificate with its key.
pub(crate) struct Bundle {
    pub(crate) certificate_pem: String,
    pub(crate) key_pem: String,
    /// As a client sees it.
    pub(crate) der: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "an authority of a journey");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for these names.
    pub(crate) fn bundle(&self, names: &[&str]) -> Bundle {
        self.bundle_with(names, |_| {})
    }

    /// A certificate for these names that ended in 2020.
    pub(crate) fn expired(&self, names: &[&str]) -> Bundle {
        self.bundle_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        })
    }

    pub(crate) fn bundle_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Bundle {
        let names: Vec<String> = names.iter().copied().map(str::to_owned).collect();
        let mut params = CertificateParams::new(names).unwrap();
        // Authorities here have one name: the key's identifier tells them apart, as everywhere.
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Bundle {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            der: certificate.der().to_vec(),
        }
    }

    /// How a client asks for `name` that trusts this authority.
    pub(crate) fn tls(&self, name: &str) -> Tls {
        Tls::new(name, &self.pem).unwrap()
    }

    /// Requests for `host` over TLS to the edge on connections that are kept.
    pub(crate) fn target(&self, environment: &Environment, host: &str) -> Target {
        Target::https(environment.https(), host, "/", self.tls(host))
    }

    /// The same, each on a connection of its own.
    pub(crate) fn fresh(&self, environment: &Environment, host: &str) -> Target {
        Target {
            keep_alive: false,
            ..self.target(environment, host)
        }
    }
}

impl Bundle {
    /// As it lies in a file.
    pub(crate) fn pem(&self) -> String {
        format!("{}{}", self.certificate_pem, self.key_pem)
    }

    /// No line of the key is in what `place` shows.
    pub(crate) fn assert_hidden(&self, place: &str, text: &str) {
        let lines = self.key_pem.lines().filter(|line| !line.contains("-----"));
        let mut count = 0;
        for line in lines {
            count += 1;
            assert!(!text.contains(line), "{place} shows a key");
        }
        assert!(count > 1, "{}", self.key_pem);
    }
}

/// The folder where the daemon finds certificates.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// Puts a file where there was none or another, as `mv` does: at once.
    pub(crate) fn put(&self, name: &str, content: &str) {
        let new = self.0.path().join(format!("{name}.new"));
        fs::write(&new, content).unwrap();
        fs::rename(new, self.0.path().join(format!("{name}.pem"))).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.0.path().join(format!("{name}.pem"))).unwrap();
    }

    /// Leaves an empty folder in its place, as a volume does that is not mounted any more. Returns
    /// what mounts it again.
    pub(crate) fn unmount(&self) -> impl FnOnce() {
        let away = TempDir::new().unwrap();
        let (here, volume) = (self.0.path().to_owned(), away.path().join("volume"));
        fs::rename(&here, &volume).unwrap();
        fs::create_dir(&here).unwrap();
        move || {
            fs::remove_dir(&here).unwrap();
            fs::rename(away.path().join("volume"), here).unwrap();
        }
    }

    /// Moves it away, so that there is no folder any more.
    pub(crate) fn withdraw(&self, to: &Path) {
        fs::rename(self.0.path(), to).unwrap();
    }

    /// The flag with which a daemon watches it.
    pub(crate) fn flag(&self) -> String {
        format!("--certificates-dir={}", self.0.path().display())
    }

    /// Lets the daemon of a plan watch it, and look often.
    pub(crate) fn watched(&self, plan: &mut Plan) {
        plan.control_plane.flags.push(self.flag());
        plan.control_plane.tune = look_often;
    }
}

/// Lets the daemon notice a change at once: it looks every 5 s by default.
pub(crate) fn look_often(settings: &mut Settings) {
    if let Some(certificates) = &mut settings.certificates {
        certificates.interval = Duration::from_millis(50);
        certificates.settle = Duration::from_millis(20);
    }
    settings.state.second_look_after = Duration::from_millis(500);
    match &mut settings.security {
        Security::Tls(CertificateSource::Files(files))
        | Security::MutualTls(CertificateSource::Files(files), _) => {
            files.interval = Duration::from_millis(50);
            files.settle = Duration::from_millis(20);
        }
        Security::Tls(CertificateSource::Vault(_))
        | Security::MutualTls(CertificateSource::Vault(_), _)
        | Security::Plaintext { .. } => {}
    }
}

/// Waits until a new connection to `target` shows `bundle` and gets an answer.
pub(crate) async fn shown(target: &Target, bundle: &Bundle) {
    let mut probe = Probe::new(Target {
        keep_alive: false,
        ..target.clone()
    });
    let sighting = probe
        .first_answer_where(super::LIMIT, |answer| {
            answer.status == 200 && answer.peer_certificate.as_deref() == Some(&bundle.der)
        })
        .await;
    sighting.unwrap();
}
