//! Which bundles make a certificate, what is said of the others, and that no key is in it.

use rcgen::ExtendedKeyUsagePurpose as Purpose;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use super::*;
use crate::state::problem::quoted;

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
    let rsa = include_str!("../../../tests/certificates/rsa-2048.pem");
    assert!(rsa.contains("BEGIN RSA PRIVATE KEY"));
    let rsa = good(rsa);
    assert_eq!(rsa.server_names, ["rsa-2048.example"]);
    assert!(
        rsa.key_pem
            .expose()
            .starts_with("-----BEGIN RSA PRIVATE KEY-----\n")
    );

    let sec1 = include_str!("../../../tests/certificates/ecdsa-sec1-no-san.pem");
    let sec1 = good(sec1);
    assert!(
        sec1.key_pem
            .expose()
            .starts_with("-----BEGIN EC PRIVATE KEY-----\n")
    );
}

#[test]
fn the_common_name_counts_only_without_a_name_beside_it() {
    let sec1 = include_str!("../../../tests/certificates/ecdsa-sec1-no-san.pem");
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
    let weak = include_str!("../../../tests/certificates/rsa-1024.pem");
    check_refused(weak, &["1024 bits", "ECDSA"]);
}

/// With the TLS feature extension of this content.
fn with_features(content: &[u8]) -> CertificateParams {
    let oid = [1, 3, 6, 1, 5, 5, 7, 1, 24];
    let extension = CustomExtension::from_oid_content(&oid, content.to_vec());
    let mut params = params("web", &["a.example"]);
    params.custom_extensions.push(extension);
    params
}

#[test]
fn a_certificate_that_demands_a_stapled_response_is_refused() {
    let said = ["certificate web: it demands a stapled", "without \"must"];
    for content in ["30 03 02 01 05", "30 06 02 01 11 02 01 05"] {
        let content = content.split(' ').map(|byte| u8::from_str_radix(byte, 16));
        let content: Vec<u8> = content.map(Result::unwrap).collect();
        check_refused(&bundle(&with_features(&content)), &said);
    }
    // Other features, none, and what is no list: Envoy takes them.
    for content in [&[0x30, 3, 2, 1, 17][..], &[0x30, 0], &[4, 0], &[]] {
        good(&bundle(&with_features(content)));
    }
}

#[test]
fn an_ecdsa_certificate_that_may_not_sign_is_refused() {
    let with = |usages: &[KeyUsagePurpose]| {
        let mut params = params("web", &["a.example"]);
        params.key_usages = usages.to_vec();
        bundle(&params)
    };
    let said = [
        "certificate web: its key usage",
        "digitalSignature",
        "ECDSA",
    ];
    check_refused(&with(&[KeyUsagePurpose::KeyEncipherment]), &said);
    check_refused(&with(&[KeyUsagePurpose::KeyAgreement]), &said);
    let both = [
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    good(&with(&both));
    good(&with(&both[..1]));

    let mut unreadable = params("web", &["a.example"]);
    let extension = CustomExtension::from_oid_content(&[2, 5, 29, 15], vec![4, 1, 0]);
    unreadable.custom_extensions.push(extension);
    check_refused(&bundle(&unreadable), &["its key usage cannot be read"]);
}

#[test]
fn an_rsa_certificate_that_may_not_sign_is_served_and_said() {
    let key = include_str!("../../../tests/certificates/service-account.pem");
    let mut params = params("web", &["a.example"]);
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    let certificate = params.self_signed(&KeyPair::from_pem(key).unwrap());
    let parsed = parse(&(certificate.unwrap().pem() + key));
    assert!(parsed.certificate.is_some());
    let problems: Vec<_> = parsed.problems.iter().map(Problem::to_string).collect();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("it is served"), "{problems:?}");
    assert!(problems[0].contains("digitalSignature"), "{problems:?}");
}

#[test]
fn a_certificate_that_may_not_be_a_server_s_is_refused() {
    let with = |purposes: &[Purpose]| {
        let mut params = params("web", &["a.example"]);
        params.extended_key_usages = purposes.to_vec();
        bundle(&params)
    };
    let said = ["certificate web: its extended key usage", "serverAuth"];
    check_refused(&with(&[Purpose::ClientAuth]), &said);
    check_refused(&with(&[Purpose::CodeSigning, Purpose::ClientAuth]), &said);
    good(&with(&[Purpose::ClientAuth, Purpose::ServerAuth]));
    good(&with(&[Purpose::Any]));
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
    let text = parsed.served().unwrap_err();
    assert!(text.starts_with("expired: "), "{text}");
    assert!(text.contains("; it is valid for no DNS name"), "{text}");
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
fn a_key_of_a_kind_that_is_not_supported_is_named_by_its_kind() {
    let p521 = include_str!("../../../tests/certificates/ecdsa-p521.pem");
    check_refused(p521, &["its key is ECDSA on P-521", "P-256"]);
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
