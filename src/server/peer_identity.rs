//! The peer's identity from its client certificate, and the allow-list check.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;
use x509_parser::time::ASN1Time;

use super::allow_list::AllowList;
use super::rejected_peers::{RejectedPeers, RejectionReason};
use crate::net::clock::WallClock;

/// Most characters of a certificate's names in a message.
const QUOTED: usize = 256;

/// Longest sleep until the wall clock is read again, since it may be set.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Identity of the peer of one connection.
pub(super) struct PeerIdentity {
    peer: Option<IpAddr>,
    certificate: Option<PeerCertificate>,
}

/// The client certificate that a peer has shown.
struct PeerCertificate {
    /// The name by which the peer is known: the first on the allow list, else the first of all.
    name: Option<Arc<str>>,
    /// All its names, if the allow list needs one and has none of them.
    unlisted: Option<String>,
    not_after: ASN1Time,
    wall_clock: WallClock,
    /// Cancelled when it expires.
    ended: CancellationToken,
    rejected: Arc<RejectedPeers>,
}

/// Reason for which a peer is not admitted, in words for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerRejection {
    /// The certificate has expired, perhaps since the handshake.
    #[error("the client certificate ended on {0}: renew it and connect again")]
    Expired(ASN1Time),
    /// None of its names is on the allow list.
    #[error("no name in the client certificate ({0}) is in XDS_CLIENT_NAMES of this control plane")]
    Name(String),
}

/// Error: a verified certificate that cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("the client certificate cannot be read")]
pub(super) struct UnreadableCertificate;

impl PeerIdentity {
    /// A peer that was not asked for a certificate.
    pub(super) fn anonymous(peer: Option<IpAddr>) -> Self {
        Self {
            peer,
            certificate: None,
        }
    }

    /// A peer that has shown this certificate, already verified.
    pub(super) fn new(
        der: &CertificateDer<'_>,
        allow_list: &AllowList,
        peer: Option<IpAddr>,
        wall_clock: WallClock,
        rejected: Arc<RejectedPeers>,
    ) -> Result<Self, UnreadableCertificate> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| UnreadableCertificate)?;
        let names = names(&certificate)?;
        let (listed, unlisted) = match allow_list {
            AllowList::OfAuthority => (None, None),
            AllowList::Named(list) => match names.iter().find(|name| list.contains(name)) {
                Some(name) => (Some(name), None),
                None => (None, Some(quoted(&names))),
            },
        };
        Ok(Self {
            peer,
            certificate: Some(PeerCertificate {
                name: listed.or(names.first()).map(|name| name.as_str().into()),
                unlisted,
                not_after: certificate.validity().not_after,
                wall_clock,
                ended: CancellationToken::new(),
                rejected,
            }),
        })
    }

    /// Returns true if it has shown a certificate, which may expire.
    pub(super) fn is_certified(&self) -> bool {
        self.certificate.is_some()
    }

    /// The name by which it is known; none without a certificate.
    pub(super) fn name(&self) -> Option<&Arc<str>> {
        self.certificate.as_ref()?.name.as_ref()
    }

    /// Admits a request now, or counts and returns the rejection.
    pub(super) fn admit(&self) -> Result<(), PeerRejection> {
        let Some(certificate) = &self.certificate else {
            return Ok(());
        };
        if certificate.has_ended() {
            return Err(self.refuse_ended(certificate));
        }
        let Some(names) = &certificate.unlisted else {
            return Ok(());
        };
        let refused = PeerRejection::Name(names.clone());
        certificate.rejected.add(
            RejectionReason::Name,
            names,
            self.peer,
            &refused.to_string(),
            Some("add one of its names to XDS_CLIENT_NAMES if it is one of yours"),
        );
        Err(refused)
    }

    /// Waits until its certificate expires, which is noticed while [`watch`](Self::watch) is
    /// polled. Cancel safe.
    pub(super) async fn end(&self) {
        match &self.certificate {
            Some(certificate) => certificate.ended.cancelled().await,
            None => pending().await,
        }
    }

    /// Waits like [`end`](Self::end), then counts and returns the rejection. Cancel safe.
    pub(super) async fn ended(&self) -> PeerRejection {
        self.end().await;
        match &self.certificate {
            Some(certificate) => self.refuse_ended(certificate),
            None => pending().await,
        }
    }

    /// Watches the clock until the certificate expires. Never resolves.
    pub(super) async fn watch(&self) -> Infallible {
        if let Some(certificate) = &self.certificate {
            while !certificate.has_ended() {
                let left = certificate.not_after.timestamp() - (certificate.wall_clock)();
                // Valid through its last second.
                let left = Duration::from_secs(left.max(0).cast_unsigned() + 1);
                sleep(left.min(LOOK_INTERVAL)).await;
            }
            certificate.ended.cancel();
        }
        pending().await
    }

    fn refuse_ended(&self, certificate: &PeerCertificate) -> PeerRejection {
        let refused = PeerRejection::Expired(certificate.not_after);
        let peer = self.peer.map(|peer| peer.to_string());
        certificate.rejected.add(
            RejectionReason::Expired,
            &peer.unwrap_or_default(),
            self.peer,
            &refused.to_string(),
            Some("check the renewal of the proxy's certificate"),
        );
        refused
    }
}

impl PeerCertificate {
    fn has_ended(&self) -> bool {
        (self.wall_clock)() > self.not_after.timestamp()
    }
}

/// The subject alternative names of a certificate: DNS, URI, IP. The common name is not one (RFC
/// 6125, 6.4.4).
fn names(certificate: &X509Certificate<'_>) -> Result<Vec<String>, UnreadableCertificate> {
    let alternatives = certificate.subject_alternative_name();
    let Some(alternatives) = alternatives.map_err(|_| UnreadableCertificate)? else {
        return Ok(Vec::new());
    };
    let names = alternatives.value.general_names.iter();
    Ok(names.filter_map(name).collect())
}

/// A name, if its form fits its type: the allow list does not tell types apart, so a name of one
/// type must not pass for another.
fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => {
            let is_host = !name.contains([':', '/']) && name.parse::<IpAddr>().is_err();
            is_host.then(|| (*name).to_owned())
        }
        GeneralName::URI(uri) => uri.contains(':').then(|| (*uri).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}

/// The names, escaped and shortened for a message.
fn quoted(names: &[String]) -> String {
    if names.is_empty() {
        return "it has none of DNS, URI or IP".to_owned();
    }
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{}", name.escape_default());
        if text.len() > QUOTED {
            // Escaped, so ASCII.
            text.truncate(QUOTED);
            text.push_str("...");
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};

    use super::*;
    use crate::metrics::Metrics;

    /// 2030-03-17.
    const NOW: i64 = 1_900_000_000;

    /// The last second of a certificate of 2030.
    const END: i64 = 1_924_905_600;

    fn der(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.not_before = date_time_ymd(2030, 1, 1);
        params.not_after = date_time_ymd(2030, 12, 31);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().into()
    }

    fn dns(name: &str) -> SanType {
        SanType::DnsName(name.try_into().unwrap())
    }

    fn client(der: &CertificateDer<'_>, list: &[&str], clock: WallClock) -> PeerIdentity {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        let clients = AllowList::named(&list).unwrap();
        let rejected = Arc::new(RejectedPeers::new(Metrics::new().unwrap()));
        PeerIdentity::new(der, &clients, None, clock, rejected).unwrap()
    }

    #[test]
    fn one_name_on_the_list_is_enough_whatever_its_sort() {
        let der = der(vec![
            dns("other.example"),
            dns("Edge-1.example"),
            SanType::URI("spiffe://mesos/edge".try_into().unwrap()),
            SanType::IpAddress("10.0.0.7".parse().unwrap()),
            SanType::IpAddress("2001:db8::7".parse().unwrap()),
        ]);
        for listed in [
            "edge-1.example",
            "*.example",
            "spiffe://mesos/edge",
            "10.0.0.7",
            "2001:DB8:0::7",
        ] {
            assert_eq!(client(&der, &[listed], || NOW).admit(), Ok(()), "{listed}");
        }
        let known = client(&der, &["10.0.0.7"], || NOW);
        assert_eq!(known.name().map(|name| &**name), Some("10.0.0.7"));
        let refused = client(&der, &["edge-2.example"], || NOW).admit();
        let offered =
            "other.example, Edge-1.example, spiffe://mesos/edge, 10.0.0.7, 2001:db8::7".to_owned();
        assert_eq!(refused, Err(PeerRejection::Name(offered)));
    }

    #[test]
    fn no_name_passes_for_one_of_another_sort() {
        let der = der(vec![
            dns("10.0.0.7"),
            dns("spiffe://mesos/edge"),
            SanType::URI("edge-1.example".try_into().unwrap()),
            SanType::URI("evil://x.edge.example".try_into().unwrap()),
        ]);
        for listed in [
            "10.0.0.7",
            "spiffe://mesos/edge",
            "edge-1.example",
            "*.edge.example",
        ] {
            let refused = client(&der, &[listed], || NOW).admit();
            assert!(matches!(refused, Err(PeerRejection::Name(_))), "{listed}");
        }
    }

    #[test]
    fn offered_names_are_escaped_and_cut() {
        let long = vec!["a\n\u{1b}[31m".to_owned(), "b".repeat(10_000)];
        let text = quoted(&long);
        assert!(text.starts_with(r"a\n\u{1b}[31m, bbb"), "{text}");
        assert_eq!(text.len(), QUOTED + 3);
        assert_eq!(quoted(&[]), "it has none of DNS, URI or IP");
    }

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_good_to_its_last_second_and_its_end_is_noticed() {
        static CLOCK: AtomicI64 = AtomicI64::new(END - 1);
        let der = der(vec![dns("edge")]);
        let client = client(&der, &["edge"], || CLOCK.load(Ordering::Relaxed));
        assert_eq!(client.admit(), Ok(()));
        CLOCK.store(END, Ordering::Relaxed);
        assert_eq!(client.admit(), Ok(()));
        let day = Duration::from_secs(86_400);
        tokio::select! {
            refused = client.ended() => panic!("{refused}"),
            never = client.watch() => match never {},
            () = sleep(day) => {}
        }
        CLOCK.store(END + 1, Ordering::Relaxed);
        let refused = client.admit().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the client certificate ended on Dec 31 00:00:00 2030 +00:00: renew it and connect again"
        );
        tokio::select! {
            ended = client.ended() => assert_eq!(ended, refused),
            never = client.watch() => match never {},
        }
    }
}
