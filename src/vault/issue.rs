//! The certificate of the xDS port as Vault issues it: what is asked for, what has to be in it,
//! when it is renewed. Pure.

use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;
use vaultrs::api::pki::requests::GenerateCertificateRequest;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer as _;

use super::config::{Secret, ServerCertificate};
use super::name::CertificateName;
use crate::net::identity::{BadIdentity, Identity, UnfitUsage};
use crate::state::certificate::Certificate;

/// A certificate with its chain and key. Prints nothing of them.
#[derive(Debug)]
pub(super) struct Issued {
    /// All of it as PEM.
    pub(super) bundle: Secret,
    issuer: Option<String>,
}

/// Reason for which a certificate is not used. Holds nothing of its key.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadIssue {
    /// It does not hold what it should.
    #[error("vault's answer holds no certificate and key")]
    Incomplete,
    /// The role gives it no usage, or other usages, than a server needs.
    #[error("the certificate cannot be used: {0}")]
    Usage(#[from] UnfitUsage),
    /// By this machine's clock it begins later.
    #[error("it is not valid yet: by this machine's clock it begins in {seconds} s")]
    Early {
        /// The time until then.
        seconds: i64,
    },
    /// It cannot be served.
    #[error(transparent)]
    Identity(#[from] BadIdentity),
    /// A proxy that verifies such a name would refuse it.
    #[error("it was asked for {missing}, and is not valid for that")]
    Names {
        /// The names and addresses that are not in it.
        missing: String,
    },
    /// A chain of it would lead nowhere.
    #[error("it was issued by another authority than came with it")]
    Issuer,
}

/// The fields of `issue`'s answer that matter here.
#[derive(Deserialize)]
struct IssuedData {
    certificate: Option<String>,
    private_key: Option<String>,
    issuing_ca: Option<String>,
    ca_chain: Option<Vec<String>>,
}

/// The least wait until a renewal, however short a life is granted.
const MIN_WAIT: Duration = Duration::from_secs(5);

/// The request for a certificate with this lifetime; none: the role's.
///
/// The format is the plain one: of a bundle in PKCS#8 only `private_key` would be that.
pub(super) fn request(
    server_certificate: &ServerCertificate,
    ttl: Option<Duration>,
) -> GenerateCertificateRequest {
    let joined = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(","));
    GenerateCertificateRequest {
        mount: server_certificate.mount.clone(),
        role: server_certificate.role.clone(),
        common_name: Some(server_certificate.common_name.clone()),
        alt_names: joined(server_certificate.alt_names.clone()),
        ip_sans: joined(
            server_certificate
                .ip_sans
                .iter()
                .map(ToString::to_string)
                .collect(),
        ),
        // In seconds: not every release knows every unit.
        ttl: ttl.map(|ttl| format!("{}s", ttl.as_secs())),
        format: Some("pem".to_owned()),
        ..GenerateCertificateRequest::default()
    }
}

impl Issued {
    /// Reads the `data` of an answer: certificate, chain and key, or a bundle of them.
    ///
    /// # Errors
    ///
    /// When it holds no certificate and key.
    pub(super) fn read(data: Value) -> Result<Self, BadIssue> {
        // What the parser says may quote the key.
        let answer: IssuedData = serde_json::from_value(data).map_err(|_| BadIssue::Incomplete)?;
        let certificate = answer.certificate.ok_or(BadIssue::Incomplete)?;
        let mut bundle = match &answer.private_key {
            // A bundle holds the key too, in another form.
            Some(key) => format!("{}{key}\n", certificates(&certificate)),
            None => format!("{certificate}\n"),
        };
        // Roots had no chain before 1.11.
        let chain = answer.ca_chain.unwrap_or_default();
        for text in chain.iter().chain(&answer.issuing_ca) {
            bundle.push_str(&certificates(text));
        }
        Ok(Self {
            bundle: bundle.into(),
            issuer: answer.issuing_ca,
        })
    }

    /// The identity to serve: chain and key, and the authorities of clients.
    ///
    /// # Errors
    ///
    /// When it cannot be served at `now_seconds` (since 1970, UTC), or lacks a name that was asked
    /// for.
    pub(super) fn identity(
        &self,
        server_certificate: &ServerCertificate,
        client_authorities: Option<&[u8]>,
        now_seconds: i64,
    ) -> Result<Identity, BadIssue> {
        let bundle = self.bundle.expose().as_bytes();
        self.check_leaf(now_seconds)?;
        let certificate = Certificate::parse("of the xds port", bundle, now_seconds).served();
        let certificate = certificate.map_err(BadIdentity::Certificate)?;
        let identity = Identity::new(
            certificate.server_names,
            &certificate.chain_pem,
            certificate.key_pem.expose(),
            client_authorities,
        )?;
        let leaf = identity.chain().first().map(AsRef::<[u8]>::as_ref);
        let leaf = leaf.and_then(|der| X509Certificate::from_der(der).ok());
        let Some((_, leaf)) = leaf else {
            return Err(BadIssue::Incomplete);
        };
        let missing = missing(server_certificate, &identity, &leaf);
        if !missing.is_empty() {
            return Err(BadIssue::Names {
                missing: missing.join(", "),
            });
        }
        if let Some(issuer) = &self.issuer
            && !is_subject_of(leaf.issuer().as_raw(), issuer)
        {
            return Err(BadIssue::Issuer);
        }
        Ok(identity)
    }
}

impl Issued {
    /// Checks what is to be said in Vault's terms, of the first certificate: Vault puts the one that
    /// it has issued there.
    fn check_leaf(&self, now_seconds: i64) -> Result<(), BadIssue> {
        let bundle = self.bundle.expose().as_bytes();
        let leaf = CertificateDer::from_pem_slice(bundle).map_err(|_| BadIssue::Incomplete)?;
        let leaf = X509Certificate::from_der(&leaf).map_err(|_| BadIssue::Incomplete)?;
        let (_, leaf) = leaf;
        let begins_seconds = leaf.validity().not_before.timestamp();
        let seconds = begins_seconds.saturating_sub(now_seconds);
        if seconds > 0 {
            return Err(BadIssue::Early { seconds });
        }
        UnfitUsage::of(&leaf).map_or(Ok(()), |unfit| Err(unfit.into()))
    }
}

impl BadIssue {
    /// Its class, which does not change from one try to the next.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Early { .. } => "early".to_owned(),
            Self::Incomplete
            | Self::Usage(_)
            | Self::Identity(_)
            | Self::Names { .. }
            | Self::Issuer => self.to_string(),
        }
    }
}

/// The wait until the renewal of a certificate that came at `now_seconds` since 1970: this share of
/// the rest of its life. Vault lets it begin 30 s before, which would be much of a short one.
pub(super) fn renewal_wait(identity: &Identity, share: f64, now_seconds: i64) -> Duration {
    let left = identity.not_after_seconds().saturating_sub(now_seconds);
    let left = Duration::from_secs(left.max(0).unsigned_abs());
    left.mul_f64(share.clamp(0.0, 1.0)).max(MIN_WAIT)
}

/// `notAfter` of the first certificate in a PEM text, in seconds since 1970.
pub(super) fn end_seconds(pem: &[u8]) -> Option<i64> {
    let (_, pem) = parse_x509_pem(pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    Some(certificate.validity().not_after.timestamp())
}

/// The names and addresses that were asked for and are not there.
fn missing(
    server_certificate: &ServerCertificate,
    identity: &Identity,
    leaf: &X509Certificate<'_>,
) -> Vec<String> {
    let names = server_certificate
        .alt_names
        .iter()
        .chain([&server_certificate.common_name]);
    // A common name that is no server name stays one.
    let names = names.filter_map(|name| CertificateName::parse(name).ok());
    let missing = names.map(|name| name.server_name());
    let missing = missing.filter(|name| !identity.names().contains(name));
    let held = addresses(leaf);
    let others = server_certificate
        .ip_sans
        .iter()
        .filter(|ip| !held.contains(ip));
    missing.chain(others.map(ToString::to_string)).collect()
}

fn addresses(leaf: &X509Certificate<'_>) -> Vec<IpAddr> {
    let Ok(Some(names)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let names = names.value.general_names.iter();
    let address = |name: &GeneralName<'_>| {
        let GeneralName::IPAddress(bytes) = name else {
            return None;
        };
        let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
        four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from))
            .ok()
    };
    names.filter_map(address).collect()
}

fn is_subject_of(subject: &[u8], pem: &str) -> bool {
    parse_x509_pem(pem.as_bytes()).is_ok_and(|(_, pem)| {
        pem.parse_x509()
            .is_ok_and(|certificate| certificate.subject().as_raw() == subject)
    })
}

/// The certificates of a PEM text, and nothing else that is in it.
fn certificates(pem: &str) -> String {
    let mut kept = String::new();
    let mut inside = false;
    for line in pem.lines() {
        inside |= line.starts_with("-----BEGIN CERTIFICATE-----");
        if inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= !line.starts_with("-----END CERTIFICATE-----");
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::config::ClientAuthorities;
    use super::super::testing::{Authority, DAY, Made, NOW};
    use super::*;

    fn server_certificate(alt_names: &[&str], ip_sans: &[&str]) -> ServerCertificate {
        ServerCertificate {
            mount: "pki".into(),
            role: "edge".into(),
            common_name: "xds.example".into(),
            alt_names: alt_names.iter().map(ToString::to_string).collect(),
            ip_sans: ip_sans.iter().map(|ip| ip.parse().unwrap()).collect(),
            ttl: None,
            renew_at: 0.5,
            clients: ClientAuthorities::Nobody,
        }
    }

    fn issued(names: &[&str]) -> (Made, Authority) {
        let authority = Authority::new("the ca");
        (authority.issue(names, NOW - 30, NOW + DAY), authority)
    }

    fn identity(data: Value, server_certificate: &ServerCertificate) -> Result<Identity, BadIssue> {
        Issued::read(data)?.identity(server_certificate, None, NOW)
    }

    #[test]
    fn what_is_asked_for_is_in_seconds_and_commas() {
        let server_certificate = server_certificate(&["a", "b"], &["10.0.0.1", "::1"]);
        let request = request(&server_certificate, Some(Duration::from_secs(3600)));
        assert_eq!(request.alt_names.as_deref(), Some("a,b"));
        assert_eq!(request.ip_sans.as_deref(), Some("10.0.0.1,::1"));
        assert_eq!(request.ttl.as_deref(), Some("3600s"));
        let bare = super::request(&tests::server_certificate(&[], &[]), None);
        assert_eq!((bare.alt_names, bare.ip_sans, bare.ttl), (None, None, None));
    }

    #[test]
    fn certificate_chain_and_key_make_an_identity_without_the_root() {
        let (made, ca) = issued(&["xds.example"]);
        let data = json!({
            "certificate": made.certificate,
            "private_key": made.key,
            "issuing_ca": ca.certificate,
            "ca_chain": [ca.certificate],
        });
        let identity = identity(data, &server_certificate(&[], &[])).unwrap();
        assert_eq!(identity.names(), ["xds.example"]);
        assert_eq!(identity.chain().len(), 1);
    }

    #[test]
    fn a_bundle_is_read_whatever_the_form_of_its_key() {
        let (made, ca) = issued(&["xds.example"]);
        let bundle = format!("{}\n{}\n{}", made.sec1(), made.certificate, ca.certificate);
        let both = json!({ "certificate": bundle, "private_key": made.key });
        assert!(identity(both, &server_certificate(&[], &[])).is_ok());
        let alone = json!({ "certificate": bundle });
        assert!(identity(alone, &server_certificate(&[], &[])).is_ok());
    }

    #[test]
    fn what_is_not_what_was_asked_for_is_refused() {
        let (made, ca) = issued(&["xds.example", "b", "10.0.0.1", "::1"]);
        let data = |issuer: &Authority| {
            json!({
                "certificate": made.certificate,
                "private_key": made.key,
                "issuing_ca": issuer.certificate,
            })
        };
        assert!(identity(data(&ca), &server_certificate(&["B"], &["10.0.0.1", "::1"])).is_ok());
        let refused = |data, server_certificate: &ServerCertificate| {
            identity(data, server_certificate).unwrap_err().to_string()
        };
        assert_eq!(
            refused(data(&ca), &server_certificate(&["b", "c"], &["10.0.0.2"])),
            "it was asked for c, 10.0.0.2, and is not valid for that"
        );
        let other = Authority::new("another ca");
        let text = refused(data(&other), &server_certificate(&[], &[]));
        assert!(text.contains("by another authority"), "{text}");
        let (foreign, _) = issued(&["xds.example"]);
        let swapped = json!({ "certificate": made.certificate, "private_key": foreign.key });
        let text = refused(swapped, &server_certificate(&[], &[]));
        assert!(
            text.contains("belongs to none of the certificates"),
            "{text}"
        );
    }

    #[test]
    fn an_answer_without_a_key_is_refused_and_shows_nothing() {
        for data in [
            Value::Null,
            json!({ "certificate": "canary" }),
            json!({ "private_key": "canary" }),
            json!({ "certificate": ["canary"], "private_key": "canary" }),
        ] {
            let refused = identity(data, &server_certificate(&[], &[])).unwrap_err();
            assert!(!format!("{refused:?}{refused}").contains("canary"));
        }
        let (made, _) = issued(&["xds.example"]);
        let data = json!({ "certificate": made.certificate, "private_key": made.key });
        let shown = format!("{:?}", Issued::read(data).unwrap());
        assert!(!shown.contains(made.key.lines().nth(1).unwrap()), "{shown}");
    }

    #[test]
    fn it_is_renewed_after_a_share_of_what_is_left() {
        let (made, _) = issued(&["xds.example"]);
        let data = json!({ "certificate": made.certificate, "private_key": made.key });
        let identity = identity(data, &server_certificate(&[], &[])).unwrap();
        let half_a_day = Duration::from_secs(DAY.unsigned_abs() / 2);
        assert_eq!(renewal_wait(&identity, 0.5, NOW), half_a_day);
        let end = NOW + DAY;
        assert_eq!(renewal_wait(&identity, 0.5, end - 2), MIN_WAIT);
        assert_eq!(renewal_wait(&identity, 0.5, end + 2), MIN_WAIT);
        assert_eq!(end_seconds(made.certificate.as_bytes()), Some(end));
        assert_eq!(end_seconds(b"no pem"), None);
    }
}
