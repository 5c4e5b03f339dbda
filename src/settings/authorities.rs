//! The authorities of tasks' certificates, from a folder.

use std::collections::BTreeMap;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::bad_setting::BadSetting;
use super::files;
use super::typed::TaskFlags;
use crate::intent::Authority;
use crate::labels;

const VARIABLE: &str = "BACKEND_CA_DIR";

/// The largest bundle: it is sent with each cluster that is verified by it.
const LARGEST_BYTES: usize = 64 << 10;

impl TaskFlags {
    /// The settings by which labels about connections to tasks are read.
    ///
    /// # Errors
    ///
    /// When an authority cannot be read or used.
    pub(super) fn check(&self) -> Result<labels::TaskConnections, BadSetting> {
        let folder = files::given(&self.backend_ca_dir);
        Ok(labels::TaskConnections {
            active_checks: self.active_health_checks,
            protocols_by_port_name: self.port_name_protocols,
            networks: Some(&self.task_networks)
                .filter(|networks| !networks.is_empty())
                .map(|networks| networks.as_slice().into()),
            authorities: folder.map(authorities).transpose()?.unwrap_or_default(),
        })
    }
}

/// The authorities of a folder, by the names of their files without the ending.
fn authorities(folder: &Path) -> Result<BTreeMap<Box<str>, Authority>, BadSetting> {
    let unreadable = |error: std::io::Error| {
        bad(
            folder,
            format!("it cannot be read ({error})"),
            "name a folder that this user may read",
        )
    };
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let is_pem = path.extension().is_some_and(|ending| ending == "pem");
        let name = path.file_stem().and_then(|name| name.to_str());
        let Some(name) = name.filter(|_| is_pem) else {
            continue;
        };
        found.insert(name.into(), authority(&path)?);
    }
    Ok(found)
}

fn authority(path: &Path) -> Result<Authority, BadSetting> {
    let remedy = "write the certificates of one authority into each file NAME.pem, as PEM";
    let text = files::read(path).map_err(|why| bad(path, why, remedy))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.unwrap_or_default();
    let mut roots = RootCertStore::empty();
    // A cluster with one that is none would be refused by every Envoy.
    let are_usable = certificates
        .iter()
        .all(|certificate| roots.add(certificate.clone()).is_ok());
    if roots.is_empty() || !are_usable {
        return Err(bad(
            path,
            "it holds no certificates of an authority".into(),
            remedy,
        ));
    }
    if text.len() > LARGEST_BYTES {
        let why = format!("it has more than {LARGEST_BYTES} bytes, and each cluster carries it");
        return Err(bad(
            path,
            why,
            "keep only the certificates that tasks' certificates need",
        ));
    }
    Ok(Authority {
        pem: text.as_str().into(),
    })
}

fn bad(path: &Path, why: String, remedy: &'static str) -> BadSetting {
    BadSetting {
        variable: VARIABLE,
        value: path.display().to_string(),
        why,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pem() -> String {
        let pair = rcgen::generate_simple_self_signed(["ca.test".to_owned()]).unwrap();
        pair.cert.pem()
    }

    #[test]
    fn each_file_is_an_authority_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let one = pem();
        fs::write(folder.path().join("internal.pem"), &one).unwrap();
        fs::write(folder.path().join("README"), "none").unwrap();
        let found = authorities(folder.path()).unwrap();
        let expected = Authority {
            pem: one.as_str().into(),
        };
        assert_eq!(found, BTreeMap::from([("internal".into(), expected)]));
    }

    #[test]
    fn what_is_no_authority_is_refused_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.pem");
        let broken = pem().replace("MII", "AAA");
        let large = pem().repeat(200);
        for (text, why) in [
            ("", "no certificates"),
            ("none", "no certificates"),
            (&broken, "no certificates"),
            (&large, "more than 65536 bytes"),
        ] {
            fs::write(&file, text).unwrap();
            let error = authorities(folder.path()).unwrap_err().to_string();
            assert!(error.contains("x.pem") && error.contains(why), "{error}");
        }
        let error = authorities(&folder.path().join("absent")).unwrap_err();
        assert!(error.to_string().contains("BACKEND_CA_DIR"), "{error}");
    }
}
