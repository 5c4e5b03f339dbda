//! Certificates: what is in them, the chain they come with, the authority's end.

use std::net::Ipv4Addr;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::time::advance;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{Answer, Client, Profile};

const NO_TEXTS: [String; 0] = [];

/// A Vault with a root at `pki` that lives for this long, and a role `cp` for `example.com`.
async fn root_with(profile: Profile, ttl: &str) -> Client {
    let root = Client::root(profile);
    let mount = json!({ "type": "pki", "config": { "max_lease_ttl": "87600h" } });
    root.set("sys/mounts/pki", mount).await;
    let subject = json!({ "common_name": "Root", "ttl": ttl });
    root.set("pki/root/generate/internal", subject).await;
    root.set("pki/roles/cp", role()).await;
    root
}

fn role() -> Value {
    json!({
        "allow_any_name": true, "ttl": "30m",
        "max_ttl": "1h",
    })
}

/// An intermediate at `int`, signed by the root at `pki`, with the same role.
async fn intermediate(root: &Client) {
    root.set("sys/mounts/int", json!({ "type": "pki" })).await;
    let made = root
        .set(
            "int/intermediate/generate/internal",
            json!({ "common_name": "Int" }),
        )
        .await;
    let request = json!({
        "csr": made.text("/data/csr"), "common_name": "Int", "ttl": "24h",
    });
    let signed = root.set("pki/root/sign-intermediate", request).await;
    let chain = [
        signed.text("/data/certificate"),
        signed.text("/data/issuing_ca"),
    ];
    let bundle = json!({ "certificate": chain.join("\n") });
    root.set("int/intermediate/set-signed", bundle).await;
    root.set("int/roles/cp", role()).await;
}

async fn issue(client: &Client, mount: &str, more: Value) -> Answer {
    let mut body = json!({ "common_name": "cp.example.com" });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    client.post(&format!("{mount}/issue/cp"), body).await
}

/// The common names of PEM certificates, and the labels of keys among them.
fn blocks(text: &str) -> Vec<String> {
    let label = |line: &str| {
        line.strip_prefix("-----BEGIN ")?
            .strip_suffix("-----")
            .map(str::to_owned)
    };
    let mut certificates = CertificateDer::pem_slice_iter(text.as_bytes());
    text.lines()
        .filter_map(label)
        .map(|label| match label.as_str() {
            "CERTIFICATE" => {
                let der = certificates.next().unwrap().unwrap();
                let (_, parsed) = X509Certificate::from_der(&der).unwrap();
                let name = parsed.subject().iter_common_name().next().unwrap();
                name.as_str().unwrap().to_owned()
            }
            _ => label,
        })
        .collect()
}

fn chain(answer: &Answer) -> Vec<String> {
    let chain = answer.at("/data/ca_chain").as_array().unwrap();
    chain
        .iter()
        .flat_map(|pem| blocks(pem.as_str().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_certificate_holds_the_names_and_dates_that_were_asked_for() {
    let root = root_with(Profile::Modern, "87600h").await;
    let more = json!({
        "alt_names": "a.example.com,localhost", "ip_sans": "127.0.0.1", "ttl": "60s",
    });
    let answer = issue(&root, "pki", more).await;
    let der = CertificateDer::from_pem_slice(answer.text("/data/certificate").as_bytes()).unwrap();
    let (_, parsed) = X509Certificate::from_der(&der).unwrap();
    let mut names: Vec<String> = parsed
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names
        .iter()
        .map(|name| {
            if let GeneralName::DNSName(name) = name {
                (*name).to_owned()
            } else if let GeneralName::IPAddress(bytes) = name {
                Ipv4Addr::from(<[u8; 4]>::try_from(*bytes).unwrap()).to_string()
            } else {
                panic!("{name:?}")
            }
        })
        .collect();
    names.sort();
    assert_eq!(
        names,
        ["127.0.0.1", "a.example.com", "cp.example.com", "localhost"]
    );
    let usage = parsed.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    let now = root.vault.now().unix_timestamp();
    let validity = parsed.validity();
    assert_eq!(validity.not_before.timestamp(), now - 30);
    assert_eq!(validity.not_after.timestamp(), now + 60);
    assert_eq!(answer.number("/data/expiration"), now + 60);
    // The dates are real ones, or no client would take them.
    let wall = time::OffsetDateTime::now_utc().unix_timestamp();
    assert!((wall - now).abs() < 3600, "{wall} {now}");
    let serial: Vec<String> = parsed
        .raw_serial()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(answer.text("/data/serial_number"), serial.join(":"));
    let key = PrivateKeyDer::from_pem_slice(answer.text("/data/private_key").as_bytes()).unwrap();
    let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let public = key.public_key().unwrap();
    assert_eq!(public.as_ref(), parsed.public_key().raw);
}

#[tokio::test(start_paused = true)]
async fn an_old_release_tells_a_chain_only_of_an_intermediate() {
    for (profile, of_root) in [
        (Profile::V1_8, &NO_TEXTS[..]),
        (Profile::Modern, &["Root".to_owned()][..]),
    ] {
        let root = root_with(profile, "87600h").await;
        intermediate(&root).await;
        let answer = issue(&root, "pki", json!({})).await;
        match of_root {
            [] => assert_eq!(answer.body.pointer("/data/ca_chain"), None),
            of_root => assert_eq!(chain(&answer), of_root),
        }
        let answer = issue(&root, "int", json!({})).await;
        assert_eq!(chain(&answer), ["Int", "Root"]);
        assert_eq!(blocks(&answer.text("/data/issuing_ca")), ["Int"]);
        let nobody = root.without_token();
        let found = nobody.get("int/ca/pem").await;
        assert_eq!(blocks(found.body.as_str().unwrap()), ["Int"]);
        let found = nobody.get("int/ca_chain").await;
        assert_eq!(blocks(found.body.as_str().unwrap()), ["Int", "Root"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_is_cut_to_the_roles_and_a_current_release_says_so() {
    for (profile, warnings) in [
        (Profile::V1_8, Value::Null),
        (
            Profile::Modern,
            json!([
                "TTL \"999h0m0s\" is longer than permitted maxTTL \"1h0m0s\", so maxTTL is being used"
            ]),
        ),
    ] {
        let root = root_with(profile, "87600h").await;
        let answer = issue(&root, "pki", json!({ "ttl": "999h" })).await;
        let now = root.vault.now().unix_timestamp();
        assert_eq!(answer.number("/data/expiration"), now + 3600);
        assert_eq!(*answer.at("/warnings"), warnings);
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_is_no_duration_in_an_old_release_whatever_else_is_wrong() {
    for (profile, body, status) in [
        (Profile::V1_8, json!({ "ttl": "1d" }), 500),
        (Profile::Modern, json!({ "ttl": "1d" }), 400),
        (
            Profile::Modern,
            json!({ "ttl": "1d", "common_name": "a.example.com" }),
            200,
        ),
    ] {
        let root = root_with(profile, "87600h").await;
        let answer = root.post("pki/issue/cp", body.clone()).await;
        assert_eq!(answer.status, status, "{body} {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_issued_beyond_the_end_of_the_authority() {
    let root = root_with(Profile::V1_8, "2h").await;
    assert_eq!(
        issue(&root, "pki", json!({ "ttl": "1h" })).await.status,
        200
    );
    advance(Duration::from_secs(5000)).await;
    for (more, status) in [
        (json!({ "ttl": "1h" }), 400),
        (json!({}), 200),
        (json!({ "ttl": "10m" }), 200),
    ] {
        assert_eq!(
            issue(&root, "pki", more.clone()).await.status,
            status,
            "{more}"
        );
    }
    advance(Duration::from_secs(1000)).await;
    // By now even the default of the role is too long.
    let answer = issue(&root, "pki", json!({})).await;
    let text = "cannot satisfy request, as TTL would result in notAfter ";
    assert!(answer.error().starts_with(text), "{answer:?}");
    assert!(
        answer
            .error()
            .contains(" that is beyond the expiration of the CA certificate at ")
    );
    assert_eq!(answer.status, 400);
}
