//! An authority: its certificate, the chain above it, and what it signs.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::super::call::Call;
use super::super::cert::hex;
use super::super::clock::stamp;
use super::super::config::Profile;
use super::super::message::Refusal;
use super::super::token::uuid;
use super::failed;
use super::key::{Key, pem};

/// Time before now at which a certificate begins, so that a client whose clock is late takes it.
pub(super) const BACKDATED: Duration = Duration::from_secs(30);

/// An authority, which signs.
pub(in crate::vault) struct Authority {
    pub(in crate::vault) der: CertificateDer<'static>,
    /// The chain above it, up to the root; empty if it is the root.
    chain: Vec<CertificateDer<'static>>,
    issuer: Issuer<'static, Signer>,
    ends: OffsetDateTime,
    serial: Vec<u8>,
}

/// A certificate that was just signed.
pub(in crate::vault) struct Signed {
    pub(in crate::vault) der: CertificateDer<'static>,
    serial: Vec<u8>,
}

impl Signed {
    /// As Vault writes it: `a1:b2`.
    pub(super) fn serial_number(&self) -> String {
        hex(&self.serial)
    }
}

/// The subject of a certificate.
#[derive(Default)]
pub(in crate::vault) struct Subject {
    pub(in crate::vault) common_name: String,
}

impl Subject {
    /// As a request for an authority names it.
    pub(super) fn of(call: &Call<'_>) -> Result<Self, Refusal> {
        let common_name = call.request.text("common_name");
        let missing = || Refusal::bad("the common_name field is required");
        Ok(Self {
            common_name: common_name.ok_or_else(missing)?,
        })
    }

    /// Writes the name into what is to be signed.
    pub(in crate::vault) fn name(&self, params: &mut CertificateParams) {
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, self.common_name.as_str());
    }

    /// A signing request of an intermediate, as PEM.
    pub(super) fn request(&self, key: &Key) -> Result<String, Refusal> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        self.name(&mut params);
        let made = params
            .serialize_request(key)
            .map_err(|error| failed(&error))?;
        Ok(pem("CERTIFICATE REQUEST", made.der()))
    }
}

/// A key that an issuer holds while others hold it too.
#[derive(Clone)]
struct Signer(Arc<Key>);

impl PublicKeyData for Signer {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&*self.0)
    }
}

impl SigningKey for Signer {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

impl Authority {
    /// Makes a root.
    pub(super) fn root(
        subject: &Subject,
        key: Arc<Key>,
        now: OffsetDateTime,
        ttl: Duration,
    ) -> Result<Self, Refusal> {
        Self::new(subject, key, now, ttl).map_err(|error| failed(&error))
    }

    /// Makes a root, for whoever needs one outside of a mount.
    ///
    /// # Errors
    /// What [`rcgen`] reports.
    pub(in crate::vault) fn new(
        subject: &Subject,
        key: Arc<Key>,
        now: OffsetDateTime,
        ttl: Duration,
    ) -> Result<Self, rcgen::Error> {
        let ends = whole(now + ttl);
        let serial = serial();
        let mut params = blank(now, ends, &serial);
        subject.name(&mut params);
        make_authority(&mut params);
        let signer = Signer(key);
        let certificate = params.self_signed(&signer)?;
        Ok(Self {
            der: certificate.der().clone(),
            chain: Vec::new(),
            issuer: Issuer::new(params, signer),
            ends,
            serial,
        })
    }

    /// Takes the signed certificate of an intermediate, with what is above it.
    pub(super) fn adopt(
        der: CertificateDer<'static>,
        chain: Vec<CertificateDer<'static>>,
        key: Arc<Key>,
    ) -> Result<Self, Refusal> {
        let unreadable = || Refusal::bad("verification of parsed bundle failed: unreadable");
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|_| unreadable())?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.der_bytes() {
            let text = "verification of parsed bundle failed: public key of certificate does not \
                        match private key";
            return Err(Refusal::bad(text));
        }
        let ends = parsed.validity().not_after.to_datetime();
        let serial = parsed.raw_serial().to_vec();
        let issuer = Issuer::from_ca_cert_der(&der, Signer(key));
        Ok(Self {
            issuer: issuer.map_err(|error| failed(&error))?,
            ends,
            serial,
            chain,
            der,
        })
    }

    /// Itself and all above it.
    pub(super) fn full_chain(&self) -> Vec<CertificateDer<'static>> {
        let own = std::iter::once(&self.der);
        own.chain(&self.chain).cloned().collect()
    }

    /// The chain that a release tells of: an old one says nothing of a root.
    pub(super) fn told_chain(&self, profile: Profile) -> Vec<CertificateDer<'static>> {
        match profile {
            Profile::V1_8 if self.chain.is_empty() => Vec::new(),
            Profile::V1_8 | Profile::Modern => self.full_chain(),
        }
    }

    /// The answer to the request that made it.
    pub(super) fn data(&self, profile: Profile) -> Value {
        let certificate = pem("CERTIFICATE", &self.der);
        let mut data = json!({
            "certificate": certificate,
            "expiration": self.ends.unix_timestamp(),
            "issuing_ca": certificate,
            "serial_number": hex(&self.serial),
        });
        match (profile, data.as_object_mut()) {
            (Profile::Modern, Some(data)) => {
                data.insert("issuer_id".into(), json!(uuid()));
                data.insert("issuer_name".into(), json!(""));
                data.insert("key_id".into(), json!(uuid()));
                data.insert("key_name".into(), json!(""));
            }
            (Profile::Modern, None) | (Profile::V1_8, _) => {}
        }
        data
    }

    /// The end of a certificate that is signed now for so long.
    ///
    /// # Errors
    /// 400 if the authority itself ends before that.
    pub(super) fn end_of(
        &self,
        now: OffsetDateTime,
        ttl: Duration,
    ) -> Result<OffsetDateTime, Refusal> {
        let ends = now + ttl;
        if ends > self.ends {
            return Err(Refusal::bad(format!(
                "cannot satisfy request, as TTL would result in notAfter {} that is beyond the \
                 expiration of the CA certificate at {}",
                stamp(ends),
                stamp(self.ends)
            )));
        }
        Ok(whole(ends))
    }

    /// Signs an intermediate's request.
    pub(super) fn sign_request(
        &self,
        csr: &str,
        subject: &Subject,
        now: OffsetDateTime,
        ends: OffsetDateTime,
    ) -> Result<Signed, Refusal> {
        let bad = |error| Refusal::bad(format!("certificate request could not be parsed: {error}"));
        let request = CertificateSigningRequestParams::from_pem(csr).map_err(bad)?;
        let serial = serial();
        let mut params = blank(now, ends, &serial);
        subject.name(&mut params);
        make_authority(&mut params);
        self.sign(&params, &request.public_key, serial)
            .map_err(|error| failed(&error))
    }

    /// Signs what `fill` writes into a certificate with these dates.
    ///
    /// # Errors
    /// What [`rcgen`] reports.
    pub(in crate::vault) fn issue(
        &self,
        key: &Key,
        now: OffsetDateTime,
        ends: OffsetDateTime,
        fill: impl FnOnce(&mut CertificateParams),
    ) -> Result<Signed, rcgen::Error> {
        let serial = serial();
        let mut params = blank(now, ends, &serial);
        // This writes the subject's key id as well, as Vault does.
        params.is_ca = IsCa::ExplicitNoCa;
        fill(&mut params);
        self.sign(&params, key, serial)
    }

    fn sign(
        &self,
        params: &CertificateParams,
        key: &impl PublicKeyData,
        serial: Vec<u8>,
    ) -> Result<Signed, rcgen::Error> {
        let certificate = params.signed_by(key, &self.issuer)?;
        Ok(Signed {
            der: certificate.der().clone(),
            serial,
        })
    }
}

fn blank(now: OffsetDateTime, ends: OffsetDateTime, serial: &[u8]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = whole(now - BACKDATED);
    params.not_after = ends;
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.use_authority_key_identifier_extension = true;
    params
}

fn make_authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
}

/// Twenty random bytes whose first bit is clear, so that the number is positive, and whose first
/// byte is not zero, so that DER writes all twenty.
fn serial() -> Vec<u8> {
    let mut serial: [u8; 20] = rand::random();
    let [first, ..] = &mut serial;
    *first = *first & 0x7f | 0x40;
    serial.to_vec()
}

/// X.509 knows no fractions of a second.
fn whole(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}
