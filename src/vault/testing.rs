//! Certificates for the tests of this room, secrets that hold them, and a Vault in this process.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};

use super::asker::{Asker, Token};
use super::client::{Client, Current, Error, Held};
use super::clock::Clock;
use super::config::{Address, Config, Login};
use super::door::{Carried, Door};
use crate::metrics::Metrics;
use crate::sim::vault::{self as sim, Profile, Vault};

/// 2030-03-17.
pub(super) const NOW: i64 = 1_900_000_000;

/// A day, in seconds.
pub(super) const DAY: i64 = 86_400;

/// A certificate and its key, as PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// A certificate for these names, valid from a day before `NOW` to 90 days after.
pub(super) fn made(names: &[&str]) -> Made {
    made_until(names, NOW + 90 * DAY)
}

/// The same, until another day.
pub(super) fn made_until(names: &[&str], not_after_seconds: i64) -> Made {
    let key = KeyPair::generate().unwrap();
    let params = params(names, NOW - DAY, not_after_seconds);
    Made {
        certificate: params.self_signed(&key).unwrap().pem(),
        key: key.serialize_pem(),
    }
}

/// An authority.
pub(super) struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pub(super) certificate: String,
}

impl Authority {
    pub(super) fn new(common_name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[], NOW - DAY, NOW + 3650 * DAY);
        let names = &mut params.distinguished_name;
        names.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        Self {
            params,
            key,
            certificate,
        }
    }

    /// A certificate for these names.
    pub(super) fn issue(&self, names: &[&str], from_seconds: i64, to_seconds: i64) -> Made {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let params = params(names, from_seconds, to_seconds);
        Made {
            certificate: params.signed_by(&key, &issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn params(names: &[&str], from_seconds: i64, to_seconds: i64) -> CertificateParams {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = OffsetDateTime::from_unix_timestamp(from_seconds).unwrap();
    params.not_after = OffsetDateTime::from_unix_timestamp(to_seconds).unwrap();
    params
}

impl Made {
    /// The fields that marathon-acme writes.
    pub(super) fn acme(&self) -> Value {
        json!({ "cert": self.certificate, "chain": "", "privkey": self.key })
    }

    /// The digest of the certificate, in hexadecimal digits.
    pub(super) fn sha256(&self) -> String {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        HEXLOWER.encode(&Sha256::digest(&der))
    }

    /// What marathon-acme lists of it, written as this version.
    pub(super) fn listed(&self, version: u64) -> Value {
        let listed = json!({
            "version": version,
            "fingerprint": self.sha256(),
            "dns_names": [],
        });
        listed.to_string().into()
    }

    /// The key as SEC1, which is what PKCS#8 wraps (RFC 5915; RFC 5208, 5).
    pub(super) fn sec1(&self) -> String {
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let pkcs8 = key.secret_der();
        // The inner key is the one sequence that begins with the version 1.
        let at = pkcs8
            .windows(5)
            .skip(1)
            .position(|bytes| matches!(bytes, [0x30, _, 0x02, 0x01, 0x01]));
        let at = at.unwrap() + 1;
        let length = usize::from(pkcs8[at + 1]) + 2;
        let text = BASE64.encode(&pkcs8[at..at + length]);
        format!("-----BEGIN EC PRIVATE KEY-----\n{text}\n-----END EC PRIVATE KEY-----\n")
    }
}

/// A secret of an engine with versions, written in this second of some hour.
pub(super) fn versioned(fields: &Value, version: u64, second: u64) -> Value {
    let created = format!("2030-03-01T12:{:02}:{:02}.5Z", second / 60, second % 60);
    json!({ "data": fields, "metadata": { "version": version, "created_time": created } })
}

/// Carries requests to a Vault in this process.
struct InProcess(Vault);

impl Door for InProcess {
    fn carry(&self, request: Request<Bytes>) -> Carried<'_> {
        Box::pin(async move {
            match self.0.answer(request, None).await {
                Ok(response) => Ok(response.map(|body| {
                    let body = Full::new(body).map_err(|never| match never {});
                    body.boxed_unsync()
                })),
                Err(broken) => Err(Error::Connect {
                    host: "the simulated vault".into(),
                    why: broken.to_string(),
                }),
            }
        })
    }
}

/// A Vault in this process, and who asks it as root.
pub(super) struct Simulated {
    pub(super) vault: Vault,
    pub(super) client: Client,
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    /// Keeps the token there.
    pub(super) current: Current,
}

impl Simulated {
    pub(super) fn new() -> Self {
        Self::speaking(Profile::Modern)
    }

    /// One that speaks like this release.
    pub(super) fn speaking(profile: Profile) -> Self {
        let vault = Vault::offline(sim::Config {
            profile,
            ..sim::Config::default()
        });
        let address = Address::parse("http://vault.example:8200").unwrap();
        let config = Arc::new(Config::new(address, Login::None));
        let metrics = Metrics::new().unwrap();
        let door = Arc::new(InProcess(vault.clone()));
        let asker = Asker::new(config.clone(), door, metrics.clone());
        let (client, current) = Client::new(asker);
        let clock = Clock::with_wall({
            let vault = vault.clone();
            move || vault.now().into()
        });
        let simulated = Self {
            vault,
            client,
            config,
            clock,
            metrics,
            current,
        };
        let root = simulated.vault.root_token().to_owned();
        simulated.log_in(&root);
        simulated
    }

    /// Asks with this token from now on.
    pub(super) fn log_in(&self, token: &str) {
        let token = Token::parse(token).unwrap();
        self.current.token.send_modify(|held| {
            let generation = held.as_ref().map_or(1, |held| held.generation + 1);
            *held = Some(Arc::new(Held {
                token,
                generation,
                works: std::sync::atomic::AtomicBool::new(true),
            }));
        });
    }

    /// Asks with a token that may do this and no more.
    pub(super) async fn log_in_with(&self, policy: &str) {
        let body = json!({ "policy": policy });
        self.vault.write("sys/policies/acl/p", body).await.unwrap();
        let body = json!({ "policies": ["p"] });
        let made = self.vault.write("auth/token/create", body).await.unwrap();
        self.log_in(made["auth"]["client_token"].as_str().unwrap());
    }

    /// The paths that were asked for since the last time, without those of the test itself.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.vault.requests();
        self.vault.forget_requests();
        let paths = asked.into_iter().map(|seen| seen.path);
        paths
            .map(|path| path.trim_end_matches('?').to_owned())
            .collect()
    }
}

/// What is logged in this thread, at every level.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

/// Ends the listening when it is dropped.
pub(super) struct Listening {
    _own: DefaultGuard,
    _other: Dispatch,
}

impl Log {
    /// Listens until what it gives is dropped.
    pub(super) fn listen(&self) -> Listening {
        // Beside one subscriber alone, a line that another thread reaches first is off for all.
        let other = Dispatch::new(NoSubscriber::new());
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        Listening {
            _own: tracing::subscriber::set_default(subscriber),
            _other: other,
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
