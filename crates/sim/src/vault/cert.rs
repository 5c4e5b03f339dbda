//! The login with a TLS client certificate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::call::{Call, Outcome};
use super::grant::{Grant, Terms};
use super::message::{Operation, Peer, Refusal, Reply};

const NO_CERTIFICATE: &str = "client certificate must be supplied";
const NO_CHAIN: &str = "invalid certificate or no client certificate supplied";
const NO_MATCH: &str =
    "no chain matching all constraints could be found for this login certificate";

/// One mount.
#[derive(Clone, Default)]
pub(super) struct CertAuth {
    roles: BTreeMap<String, Role>,
}

#[derive(Clone, Default)]
struct Role {
    /// Authorities, or a client's certificate itself.
    trusted: Vec<CertificateDer<'static>>,
    allowed_common_names: Vec<String>,
    display_name: String,
    terms: Terms,
}

/// The part of a certificate that a login looks at.
struct Identity {
    common_name: String,
    serial: String,
    subject_key: String,
    authority_key: String,
}

impl CertAuth {
    /// Answers a request below the mount.
    pub(super) fn answer(&mut self, call: &Call<'_>) -> Result<Outcome, Refusal> {
        let operation = call.request.operation;
        match (call.path.strip_prefix("certs/"), operation) {
            (None, Operation::Write) if call.path == "login" => self.login(call),
            (Some(name), Operation::Write) => {
                let mut role = self.roles.get(name).cloned().unwrap_or_default();
                role.take(name, call)?;
                self.roles.insert(name.to_owned(), role);
                Ok(Reply::Done.into())
            }
            _ => Err(Refusal::unsupported_path()),
        }
    }

    fn login(&self, call: &Call<'_>) -> Result<Outcome, Refusal> {
        let peer = call.request.peer.as_ref();
        let peer = peer.filter(|peer| !peer.chain.is_empty());
        let peer = peer.ok_or_else(|| Refusal::bad(NO_CERTIFICATE))?;
        let identity = Identity::of(peer).ok_or_else(|| Refusal::bad(NO_CHAIN))?;
        let only = call.request.text("name");
        let asked = |name: &str| only.as_deref().is_none_or(|only| only == name);
        let roles = self.roles.iter().filter(|(name, _)| asked(name));
        let trusting: Vec<_> = roles
            .filter(|(_, role)| role.trusts(peer, call.now))
            .collect();
        if trusting.is_empty() {
            return Err(Refusal::bad(NO_CHAIN));
        }
        let mut fitting = trusting.into_iter();
        let found = fitting.find(|(_, role)| role.takes(&identity));
        let (name, role) = found.ok_or_else(|| Refusal::bad(NO_MATCH))?;
        let meta = json!({
            "authority_key_id": identity.authority_key,
            "cert_name": name,
            "common_name": identity.common_name,
            "serial_number": identity.serial,
            "subject_key_id": identity.subject_key,
        });
        Ok(Outcome::Login(Box::new(Grant {
            role: name.clone(),
            display_name: format!("cert-{}", role.display_name),
            meta: meta.as_object().cloned().unwrap_or_default(),
            terms: role.terms.clone(),
        })))
    }

    /// The terms of a renewal, which needs the certificate of the login.
    pub(super) fn renewal(
        &self,
        role: &str,
        meta: Option<&Map<String, Value>>,
        peer: Option<&Peer>,
        now: OffsetDateTime,
    ) -> Result<Terms, Refusal> {
        let peer = peer.ok_or_else(|| Refusal::bad(NO_CERTIFICATE))?;
        let identity = Identity::of(peer).ok_or_else(|| Refusal::bad(NO_CHAIN))?;
        let role = self.roles.get(role).filter(|role| role.trusts(peer, now));
        let role = role.ok_or_else(|| Refusal::bad(NO_CHAIN))?;
        let noted = |name: &str| meta.and_then(|meta| meta.get(name)?.as_str());
        let is_same = noted("subject_key_id") == Some(&identity.subject_key)
            && noted("authority_key_id") == Some(&identity.authority_key);
        if !is_same {
            let text =
                "client identity during renewal not matching client identity used during login";
            return Err(Refusal::bad(text));
        }
        Ok(role.terms.clone())
    }
}

impl Role {
    fn take(&mut self, name: &str, call: &Call<'_>) -> Result<(), Refusal> {
        self.terms.take(call)?;
        if let Some(certificate) = call.request.text("certificate") {
            let parsed: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(certificate.as_bytes()).collect();
            let parsed = parsed.unwrap_or_default();
            if parsed.is_empty() {
                return Err(Refusal::bad("failed to parse certificate"));
            }
            self.trusted = parsed;
        }
        if self.trusted.is_empty() {
            return Err(Refusal::bad("failed to parse certificate"));
        }
        if let Some(names) = call.texts("allowed_common_names") {
            self.allowed_common_names = names;
        }
        self.display_name = call
            .request
            .text("display_name")
            .unwrap_or_else(|| name.to_owned());
        Ok(())
    }

    /// True if a chain leads to one of the role's authorities, or is one of its certificates.
    fn trusts(&self, peer: &Peer, now: OffsetDateTime) -> bool {
        let Some((own, intermediates)) = peer.chain.split_first() else {
            return false;
        };
        if self.trusted.contains(own) {
            return true;
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.trusted.iter().cloned());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let since_1970 = u64::try_from(now.unix_timestamp()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(since_1970));
        verifier
            .build()
            .is_ok_and(|verifier| verifier.verify_client_cert(own, intermediates, now).is_ok())
    }

    /// True if the name in a certificate is one of the role's.
    fn takes(&self, identity: &Identity) -> bool {
        let allowed = &self.allowed_common_names;
        allowed.is_empty() || allowed.contains(&identity.common_name)
    }
}

impl Identity {
    fn of(peer: &Peer) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(peer.chain.first()?).ok()?;
        let common_name = parsed.subject().iter_common_name().next();
        let mut identity = Self {
            common_name: common_name
                .and_then(|name| name.as_str().ok())
                .unwrap_or_default()
                .to_owned(),
            serial: parsed.serial.to_string(),
            subject_key: String::new(),
            authority_key: String::new(),
        };
        for extension in parsed.extensions() {
            if let ParsedExtension::SubjectKeyIdentifier(key) = extension.parsed_extension() {
                identity.subject_key = hex(key.0);
            }
            if let ParsedExtension::AuthorityKeyIdentifier(key) = extension.parsed_extension() {
                identity.authority_key = key
                    .key_identifier
                    .as_ref()
                    .map_or(String::new(), |key| hex(key.0));
            }
        }
        Some(identity)
    }
}

/// Bytes as Vault writes ids: `a1:b2`.
pub(super) fn hex(bytes: &[u8]) -> String {
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    parts.join(":")
}
