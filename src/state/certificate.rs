//! Certificates with their keys: parsed and checked, the key never printed.

mod names;
mod pem;

use std::collections::BTreeSet;
use std::fmt;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use super::problem::{Problem, Reason, Subject};

/// The smallest RSA key that Envoy takes, in bits: it refuses the whole secret otherwise.
const RSA_MIN_BITS: usize = 2048;

/// A certificate chain with its private key, checked to belong together.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The name it is stored under, and its SDS secret.
    pub name: String,
    /// The names it is valid for, lower case, sorted, wildcards as `*.example.com`.
    pub server_names: Vec<String>,
    /// When it begins to be valid, in seconds since 1970 (UTC).
    pub not_before_seconds: i64,
    /// When it ends, in seconds since 1970 (UTC).
    pub not_after_seconds: i64,
    /// The leaf and the chain as PEM, line ends normalised.
    pub chain_pem: String,
    /// The private key as PEM.
    pub key_pem: PrivateKey,
}

/// A private key as PEM. Prints as dots.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(String);

/// What a PEM bundle holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The certificate; none when it cannot be used.
    pub certificate: Option<Certificate>,
    /// Why there is none, or what was left out of it.
    pub problems: Vec<Problem>,
}

/// What is wrong, and what to do about it. Holds nothing of the key.
struct Fault {
    message: String,
    remedy: &'static str,
}

impl Certificate {
    /// Reads a bundle of PEM blocks in any order: the certificate, the chain up to its authority,
    /// and exactly one private key (PKCS#8, PKCS#1 or SEC1, not encrypted).
    ///
    /// The leaf is the certificate that the key belongs to, whichever block it is; if there are
    /// several, the one that is valid at `now_seconds` (since 1970, UTC) and ends last. A leaf that
    /// is expired, not yet valid, weak or without names is refused. The dates of the rest of the
    /// chain are the clients' business: public chains have been served with an expired
    /// cross-signed root on purpose.
    pub fn parse(name: &str, bundle: &[u8], now_seconds: i64) -> Parsed {
        let (certificate, faults) = match read(name, bundle, now_seconds) {
            Ok((certificate, left_out)) => (Some(certificate), left_out),
            Err(faults) => (None, faults),
        };
        let problems = faults.into_iter().map(|fault| fault.of(name)).collect();
        Parsed {
            certificate,
            problems,
        }
    }

    /// What is wrong with it at another time than it was parsed at.
    pub fn problem_at(&self, now_seconds: i64) -> Option<Problem> {
        let fault = untimely(self.not_before_seconds, self.not_after_seconds, now_seconds)?;
        Some(fault.of(&self.name))
    }
}

impl PrivateKey {
    /// The key itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for PrivateKey {
    fn from(pem: String) -> Self {
        Self(pem)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("name", &self.name)
            .field("server_names", &self.server_names)
            .field("not_after_seconds", &self.not_after_seconds)
            .finish_non_exhaustive()
    }
}

impl Fault {
    fn new(message: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            message: message.into(),
            remedy,
        }
    }

    fn of(self, name: &str) -> Problem {
        Problem {
            subject: Subject::Certificate(name.to_owned()),
            label: None,
            reason: Reason::InvalidCertificate,
            message: self.message,
            remedy: self.remedy.to_owned(),
        }
    }
}

fn read(
    name: &str,
    bundle: &[u8],
    now_seconds: i64,
) -> Result<(Certificate, Vec<Fault>), Vec<Fault>> {
    let (blocks, key) = pem::blocks(bundle).map_err(|fault| vec![fault])?;
    let mut certificates = Vec::with_capacity(blocks.len());
    let mut faults = Vec::new();
    for (index, der) in blocks.iter().enumerate() {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => certificates.push(certificate),
            Ok(_) | Err(_) => faults.push(Fault::new(
                format!("certificate block {} is damaged", index + 1),
                "write the file again from the authority's answer",
            )),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }

    let (leaf, rest) = leaf(certificates, &key, now_seconds).map_err(|fault| vec![fault])?;
    let not_before_seconds = leaf.validity().not_before.timestamp();
    let not_after_seconds = leaf.validity().not_after.timestamp();
    faults.extend(untimely(not_before_seconds, not_after_seconds, now_seconds));
    faults.extend(weak(&leaf));
    let mut left_out = Vec::new();
    let server_names = match names::server_names(&leaf, &mut left_out) {
        Ok(names) => names,
        Err(fault) => {
            faults.push(fault);
            BTreeSet::new()
        }
    };
    if !faults.is_empty() {
        faults.append(&mut left_out);
        return Err(faults);
    }

    let chain = chain(leaf, rest, &mut left_out);
    let certificate = Certificate {
        name: name.to_owned(),
        server_names: server_names.into_iter().collect(),
        not_before_seconds,
        not_after_seconds,
        chain_pem: chain
            .iter()
            .map(|certificate| pem::block("CERTIFICATE", certificate.as_raw()))
            .collect(),
        key_pem: PrivateKey(pem::block(pem::key_label(&key), key.secret_der())),
    };
    Ok((certificate, left_out))
}

/// The certificate that the key belongs to, and the others.
fn leaf<'a>(
    mut certificates: Vec<X509Certificate<'a>>,
    key: &PrivateKeyDer<'static>,
    now_seconds: i64,
) -> Result<(X509Certificate<'a>, Vec<X509Certificate<'a>>), Fault> {
    let signer = any_supported_type(key).ok();
    let Some(public_key) = signer.as_ref().and_then(|signer| signer.public_key()) else {
        // A short key is refused like any other that is not understood; its certificate tells why.
        return Err(certificates.iter().find_map(weak).unwrap_or_else(|| {
            Fault::new(
                "the private key is damaged or of a kind that is not supported",
                "use RSA of 2048 to 4096 bits, or ECDSA on P-256 or P-384",
            )
        }));
    };
    let found = certificates
        .iter()
        .enumerate()
        .filter(|(_, certificate)| certificate.public_key().raw == public_key.as_ref())
        .max_by_key(|(_, certificate)| {
            let from = certificate.validity().not_before.timestamp();
            let to = certificate.validity().not_after.timestamp();
            (untimely(from, to, now_seconds).is_none(), to)
        })
        .map(|(index, _)| index);
    match found {
        Some(index) => Ok((certificates.swap_remove(index), certificates)),
        None => Err(Fault::new(
            format!(
                "the private key belongs to none of the certificates in it ({})",
                listed(&certificates)
            ),
            "put the key that the certificate was issued for into the same file",
        )),
    }
}

/// What is wrong with a certificate that is valid from one time to another, in seconds since 1970.
fn untimely(not_before_seconds: i64, not_after_seconds: i64, now_seconds: i64) -> Option<Fault> {
    let span = format!(
        "it is valid from {} to {}, and now it is {}",
        date(not_before_seconds),
        date(not_after_seconds),
        date(now_seconds)
    );
    if now_seconds > not_after_seconds {
        Some(Fault::new(
            format!("expired: {span}"),
            "renew it; find out why that did not happen by itself",
        ))
    } else if now_seconds < not_before_seconds {
        Some(Fault::new(
            format!("not yet valid: {span}"),
            "check this machine's clock, or wait: it is looked at again by itself",
        ))
    } else {
        None
    }
}

fn weak(certificate: &X509Certificate<'_>) -> Option<Fault> {
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
        return None;
    };
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let unused = key
        .modulus
        .get(zeros)
        .map_or(0, |byte| byte.leading_zeros());
    let bits = (key.modulus.len() - zeros) * 8 - unused as usize;
    (bits < RSA_MIN_BITS).then(|| {
        Fault::new(
            format!("its RSA key has {bits} bits, and Envoy refuses less than {RSA_MIN_BITS}"),
            "have it issued for a new key: ECDSA on P-256, or RSA of 2048 bits or more",
        )
    })
}

/// The leaf and those that vouch for it, each before its issuer; what does not belong is noted.
fn chain<'a>(
    leaf: X509Certificate<'a>,
    mut rest: Vec<X509Certificate<'a>>,
    left_out: &mut Vec<Fault>,
) -> Vec<X509Certificate<'a>> {
    let mut chain = vec![leaf];
    while let Some(index) = chain.last().and_then(|last| issuer(last, &rest)) {
        chain.push(rest.remove(index));
    }
    if !rest.is_empty() {
        left_out.push(Fault::new(
            format!(
                "certificates in it that its chain does not lead to were left out ({})",
                listed(&rest)
            ),
            "delete them from the file, or add what is missing in between",
        ));
    }
    chain
}

/// Where the issuer of a certificate is; one that vouches for itself needs none. Of several with
/// its name, as after an authority changed its key, the one whose key the certificate names.
fn issuer(certificate: &X509Certificate<'_>, among: &[X509Certificate<'_>]) -> Option<usize> {
    let issuer = certificate.issuer().as_raw();
    if certificate.subject().as_raw() == issuer {
        return None;
    }
    let named_key = certificate.iter_extensions().find_map(|extension| {
        if let ParsedExtension::AuthorityKeyIdentifier(named) = extension.parsed_extension() {
            named.key_identifier.as_ref().map(|key| key.0)
        } else {
            None
        }
    });
    let has_named_key = |other: &X509Certificate<'_>| {
        other.iter_extensions().any(|extension| {
            if let ParsedExtension::SubjectKeyIdentifier(key) = extension.parsed_extension() {
                Some(key.0) == named_key
            } else {
                false
            }
        })
    };
    let named = among
        .iter()
        .enumerate()
        .filter(|(_, other)| other.subject().as_raw() == issuer);
    let found = named.min_by_key(|(_, other)| !has_named_key(other));
    found.map(|(index, _)| index)
}

fn date(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(date) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            date.year(),
            u8::from(date.month()),
            date.day(),
            date.hour(),
            date.minute(),
            date.second()
        ),
        Err(_) => format!("{seconds} s since 1970"),
    }
}

fn listed(certificates: &[X509Certificate<'_>]) -> String {
    let subjects: Vec<_> = certificates
        .iter()
        .map(|certificate| quoted(&certificate.subject().to_string()))
        .collect();
    subjects.join(", ")
}

/// Foreign text in quotes, short and on one line.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(100).collect();
    format!("{short:?}")
}

#[cfg(test)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
        SanType, date_time_ymd,
    };

    use super::*;

    /// 2030-03-17.
    const NOW: i64 = 1_900_000_000;

    fn params(common_name: &str, names: &[&str]) -> CertificateParams {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.not_before = date_time_ymd(2030, 1, 1);
        params.not_after = date_time_ymd(2030, 12, 31);
        params
    }

    fn authority(common_name: &str) -> CertificateParams {
        let mut params = params(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    /// A self-signed bundle.
    fn bundle(params: &CertificateParams) -> String {
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem() + &key.serialize_pem()
    }

    fn parse(bundle: &str) -> Parsed {
        Certificate::parse("web", bundle.as_bytes(), NOW)
    }

    fn good(bundle: &str) -> Certificate {
        let parsed = parse(bundle);
        assert_eq!(parsed.problems, []);
        parsed.certificate.unwrap()
    }

    /// The one problem of a bundle that cannot be used.
    fn refused(bundle: &str) -> String {
        let parsed = parse(bundle);
        assert_eq!(parsed.certificate, None);
        let [problem] = &parsed.problems[..] else {
            panic!("{:?}", parsed.problems);
        };
        problem.to_string()
    }

    fn check_refused(bundle: &str, parts: &[&str]) {
        let problem = refused(bundle);
        for part in parts {
            assert!(problem.contains(part), "{part:?} is not in {problem:?}");
        }
    }

    #[test]
    fn a_bundle_has_sorted_lower_case_names_each_once() {
        let names = ["b.example", "*.A.example", "a.example", "B.EXAMPLE"];
        let certificate = good(&bundle(&params("ignored.example", &names)));
        assert_eq!(certificate.name, "web");
        assert_eq!(
            certificate.server_names,
            ["*.a.example", "a.example", "b.example"]
        );
        assert_eq!(certificate.not_before_seconds, 1_893_456_000);
        assert_eq!(certificate.not_after_seconds, 1_924_905_600);
    }

    #[test]
    fn the_order_of_blocks_and_line_ends_make_no_difference() {
        let root_key = KeyPair::generate().unwrap();
        let root = authority("root").self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(authority("root"), root_key);
        let middle_key = KeyPair::generate().unwrap();
        let middle = authority("middle")
            .signed_by(&middle_key, &root_issuer)
            .unwrap();
        let middle_issuer = Issuer::new(authority("middle"), middle_key);
        let key = KeyPair::generate().unwrap();
        let leaf = params("leaf", &["a.example"])
            .signed_by(&key, &middle_issuer)
            .unwrap();

        let (leaf, middle, root) = (leaf.pem(), middle.pem(), root.pem());
        let key = key.serialize_pem();
        let usual = good(&[&*leaf, &middle, &root, &key].concat());
        assert_eq!(
            usual.chain_pem,
            [&*leaf, &middle, &root].concat().replace('\r', "")
        );
        assert_eq!(usual.key_pem.expose(), key.replace('\r', ""));

        let shuffled = [
            "\u{feff}",
            &root,
            "notes between blocks\n",
            &key,
            &middle,
            &leaf,
            &middle,
        ];
        let shuffled = shuffled.concat().replace('\r', "").replace('\n', "\r\n");
        assert_eq!(good(&shuffled), usual);
    }

    #[test]
    fn every_form_of_key_is_read() {
        let rsa = include_str!("../../tests/certificates/rsa-2048.pem");
        assert!(rsa.contains("BEGIN RSA PRIVATE KEY"));
        let rsa = good(rsa);
        assert_eq!(rsa.server_names, ["rsa-2048.example"]);
        assert!(
            rsa.key_pem
                .expose()
                .starts_with("-----BEGIN RSA PRIVATE KEY-----\n")
        );

        let sec1 = include_str!("../../tests/certificates/ecdsa-sec1-no-san.pem");
        let sec1 = good(sec1);
        assert!(
            sec1.key_pem
                .expose()
                .starts_with("-----BEGIN EC PRIVATE KEY-----\n")
        );
    }

    #[test]
    fn the_common_name_counts_only_without_a_name_beside_it() {
        let sec1 = include_str!("../../tests/certificates/ecdsa-sec1-no-san.pem");
        assert_eq!(good(sec1).server_names, ["common.example"]);

        let address = SanType::IpAddress([192, 0, 2, 1].into());
        let mail = SanType::Rfc822Name("a@b.example".try_into().unwrap());
        let mut addressed = params("*.Common.example", &[]);
        addressed.subject_alt_names = vec![address.clone(), mail];
        assert_eq!(good(&bundle(&addressed)).server_names, ["*.common.example"]);

        let mut named = params("common.example", &["a.example"]);
        named.subject_alt_names.push(address);
        assert_eq!(good(&bundle(&named)).server_names, ["a.example"]);

        // A name that is no use is one all the same.
        let mut useless = params("common.example", &[]);
        useless.subject_alt_names = vec![SanType::DnsName("*".try_into().unwrap())];
        assert_eq!(parse(&bundle(&useless)).certificate, None);
    }

    #[test]
    fn a_common_name_that_is_no_host_s_is_no_name() {
        for common_name in ["The Web Team", "192.0.2.1", ""] {
            let parsed = parse(&bundle(&params(common_name, &[])));
            assert_eq!(parsed.certificate, None, "{common_name}");
            let messages: Vec<_> = parsed.problems.iter().map(|p| &*p.message).collect();
            assert_eq!(messages.len(), 2, "{messages:?}");
            assert!(messages[0].starts_with("it is valid for no DNS name"));
            assert!(messages[1].contains(&quoted(common_name)), "{messages:?}");
        }
        let mut nameless = params("", &[]);
        nameless.distinguished_name = DistinguishedName::new();
        check_refused(&bundle(&nameless), &["valid for no DNS name"]);
    }

    #[test]
    fn a_name_that_nobody_can_ask_for_is_left_out_and_said() {
        let names = ["good.example", "*", "a.*.example", "-a.example", "a..b"];
        let names = [&names[..], &["192.0.2.1x", "a_b.example", "10.0.0.1."]].concat();
        let mut odd = params("odd", &[]);
        odd.subject_alt_names = names
            .iter()
            .map(|name| SanType::DnsName((*name).try_into().unwrap()))
            .collect();
        let parsed = parse(&bundle(&odd));
        assert_eq!(
            parsed.certificate.unwrap().server_names,
            ["192.0.2.1x", "a_b.example", "good.example"]
        );
        let problems: Vec<_> = parsed.problems.iter().map(Problem::to_string).collect();
        assert_eq!(problems.len(), 5);
        assert!(
            problems[0].starts_with("certificate web: its name \"*\" was left out"),
            "{}",
            problems[0]
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let certificate = bundle(&params("web", &["a.example"]));
        let other = bundle(&params("other", &["a.example"]));
        let crossed = certificate
            .split("-----BEGIN PRIVATE")
            .next()
            .unwrap()
            .to_owned()
            + &other[other.find("-----BEGIN PRIVATE").unwrap()..];
        check_refused(
            &crossed,
            &[
                "certificate web: the private key belongs to none",
                "\"CN=web\"",
            ],
        );
    }

    #[test]
    fn of_two_certificates_for_one_key_the_current_one_is_taken() {
        let key = KeyPair::generate().unwrap();
        let current = params("web", &["a.example"]);
        let mut next = current.clone();
        next.not_before = date_time_ymd(2030, 12, 1);
        next.not_after = date_time_ymd(2031, 12, 31);
        let current = current.self_signed(&key).unwrap().pem();
        let next = next.self_signed(&key).unwrap().pem();
        let both = [next, current.clone(), key.serialize_pem()].concat();

        let parsed = parse(&both);
        let certificate = parsed.certificate.unwrap();
        assert_eq!(certificate.not_after_seconds, 1_924_905_600);
        assert_eq!(certificate.chain_pem, current.replace('\r', ""));
        assert_eq!(parsed.problems.len(), 1, "the other is left out and said");
        let later = Certificate::parse("web", both.as_bytes(), 1_924_000_000);
        assert_eq!(
            later.certificate.unwrap().not_after_seconds,
            1_956_441_600,
            "both are valid: the one that ends last"
        );
    }

    #[test]
    fn of_two_authorities_with_one_name_the_one_with_the_right_key_is_taken() {
        let authority = authority("authority");
        let [old_key, new_key] = [(); 2].map(|()| KeyPair::generate().unwrap());
        let old = authority.self_signed(&old_key).unwrap().pem();
        let new = authority.self_signed(&new_key).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let mut leaf = params("leaf", &["a.example"]);
        leaf.use_authority_key_identifier_extension = true;
        let leaf = leaf.signed_by(&key, &Issuer::new(authority, new_key));
        let leaf = leaf.unwrap().pem();
        for pair in [[&old, &new], [&new, &old]] {
            let bundle = [&leaf, pair[0], pair[1], &key.serialize_pem()];
            let certificate = parse(&bundle.map(String::as_str).concat()).certificate;
            let expected = [&*leaf, &new].concat().replace('\r', "");
            assert_eq!(certificate.unwrap().chain_pem, expected);
        }
    }

    #[test]
    fn a_stranger_in_the_bundle_is_left_out_and_said() {
        let stranger = authority("stranger")
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap();
        let own = bundle(&params("web", &["a.example"]));
        let parsed = parse(&(stranger.pem() + &own));
        let certificate = parsed.certificate.unwrap();
        assert_eq!(certificate.chain_pem.matches("BEGIN").count(), 1);
        assert_eq!(parsed.problems.len(), 1);
        assert!(parsed.problems[0].message.contains("\"CN=stranger\""));
    }

    #[test]
    fn dates_are_named_when_they_are_the_problem() {
        let bundle = bundle(&params("web", &["a.example"]));
        let check = |now, expected: &str| {
            let parsed = Certificate::parse("web", bundle.as_bytes(), now);
            assert_eq!(parsed.certificate, None);
            assert!(
                parsed.problems[0].message.starts_with(expected),
                "{}",
                parsed.problems[0].message
            );
        };
        check(
            1_924_905_601,
            "expired: it is valid from 2030-01-01 00:00:00 UTC to 2030-12-31 00:00:00 UTC, and now it is 2030-12-31 00:00:01 UTC",
        );
        check(1_893_455_999, "not yet valid: it is valid from 2030-01-01");
        let certificate = good(&bundle);
        assert_eq!(certificate.problem_at(1_924_905_600), None);
        assert!(certificate.problem_at(1_924_905_601).is_some());
    }

    #[test]
    fn a_short_rsa_key_is_refused_with_its_length() {
        let weak = include_str!("../../tests/certificates/rsa-1024.pem");
        check_refused(weak, &["1024 bits", "ECDSA"]);
    }

    #[test]
    fn every_problem_of_a_certificate_is_named_at_once() {
        let mut bad = params("web", &[]);
        bad.subject_alt_names = vec![SanType::DnsName("*".try_into().unwrap())];
        bad.not_after = date_time_ymd(2030, 2, 1);
        let parsed = parse(&bundle(&bad));
        let messages: Vec<_> = parsed.problems.iter().map(|p| &*p.message).collect();
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(messages[0].starts_with("expired"));
        assert!(messages[1].starts_with("it is valid for no DNS name"));
        assert!(messages[2].starts_with("its name \"*\""));
    }

    #[test]
    fn a_bundle_that_is_not_whole_is_refused() {
        let whole = bundle(&params("web", &["a.example"]));
        let key_at = whole.find("-----BEGIN PRIVATE").unwrap();
        let (certificate, key) = whole.split_at(key_at);
        check_refused("", &["no certificate in it"]);
        check_refused("\u{0}\u{1}\n", &["no certificate in it"]);
        check_refused(key, &["no certificate in it"]);
        check_refused(certificate, &["no private key in it", "append"]);
        check_refused(&[certificate, key, key].concat(), &["2 private keys"]);
        check_refused(
            &whole[..whole.len() - 40],
            &["damaged: the one after 1 certificates and 0 keys"],
        );
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned();
        check_refused(&(damaged + &whole), &["certificate block 1 is damaged"]);
        let encrypted = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        check_refused(&(certificate.to_owned() + &encrypted), &["encrypted"]);
        check_refused(
            &certificate.replace("CERTIFICATE", "PRIVATE KEY"),
            &["no certificate in it"],
        );
        let junk_key = certificate.replace("CERTIFICATE", "PRIVATE KEY");
        check_refused(
            &(certificate.to_owned() + &junk_key),
            &["damaged or of a kind that is not supported"],
        );
    }

    #[test]
    fn no_cut_of_a_bundle_panics_or_is_taken_for_whole() {
        let whole = bundle(&params("web", &["a.example"]));
        let end = whole.trim_end().len();
        for cut in 0..end {
            assert_eq!(parse(&whole[..cut]).certificate, None, "{cut}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_never_panics_and_never_parts_key_and_certificate() {
        let whole = bundle(&params("web", &["a.example"]));
        let key = good(&whole).key_pem;
        for position in 0..whole.len() {
            let mut damaged = whole.clone().into_bytes();
            damaged[position] ^= 1;
            let parsed = Certificate::parse("web", &damaged, NOW);
            match parsed.certificate {
                Some(certificate) => assert_eq!(certificate.key_pem, key),
                None => assert!(!parsed.problems.is_empty()),
            }
        }
    }

    #[test]
    fn the_key_is_in_no_debug_output_and_no_problem() {
        let whole = bundle(&params("web", &["a.example"]));
        let canary = whole[whole.find("-----BEGIN PRIVATE").unwrap()..]
            .lines()
            .nth(1)
            .unwrap()
            .trim()
            .to_owned();
        let check = |text: String| assert!(!text.contains(&canary[..20]), "{text}");

        let parsed = parse(&whole);
        check(format!("{parsed:?} {parsed:#?}"));
        let certificate = parsed.certificate.unwrap();
        assert!(certificate.key_pem.expose().contains(&canary));
        assert_eq!(format!("{:?}", certificate.key_pem), "...");

        let broken = [
            whole.replace(&canary, &format!("{canary}!")),
            whole.replace(
                "-----BEGIN PRIVATE KEY-----",
                &format!("-----BEGIN {canary}"),
            ),
            whole.replace("-----END PRIVATE KEY-----", ""),
            whole.replace("BEGIN CERTIFICATE", &canary),
        ];
        for bundle in broken {
            let parsed = parse(&bundle);
            assert_eq!(parsed.certificate, None);
            check(format!("{parsed:?} {:?}", parsed.problems[0].to_string()));
        }
    }
}
