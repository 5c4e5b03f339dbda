//! The authorities that a server's certificate is verified by.

use std::io;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::watched_file::WatchedFile;

/// The authorities by which the certificate of a server is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The system's authorities.
    System,
    /// The system's authorities, and those in this PEM file.
    SystemAnd(PathBuf),
    /// The authorities in this PEM file and no others.
    File(PathBuf),
    /// The authorities in the PEM files of this folder and no others.
    Folder(PathBuf),
    /// The authorities in this PEM text and no others.
    Pem(String),
    /// Anybody's: nothing is verified.
    Anybody,
}

/// Reason for which there are no roots.
#[derive(Debug, thiserror::Error)]
pub enum BadRoots {
    /// A file or folder cannot be used.
    #[error("{}: {why}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// The cause; nothing of the content.
        why: String,
    },
    /// The text is no list of certificates.
    #[error("the text with the roots is no list of certificates")]
    Text,
}

/// The roots, and the files that they were read from; none if anybody is trusted. Blocks.
pub(super) fn read(trust: &Trust) -> Result<(Option<RootCertStore>, Vec<WatchedFile>), BadRoots> {
    let mut roots = RootCertStore::empty();
    let mut files: Vec<WatchedFile> = paths(trust)?.into_iter().map(WatchedFile::new).collect();
    match trust {
        Trust::System => add_system(&mut roots),
        Trust::SystemAnd(_) | Trust::File(_) => {
            if matches!(trust, Trust::SystemAnd(_)) {
                add_system(&mut roots);
            }
            for file in &mut files {
                let found = certificates(file)?;
                add(&mut roots, file.path(), found)?;
            }
        }
        Trust::Folder(folder) => {
            for file in &mut files {
                // Such folders also hold revocation lists, and links that lead nowhere.
                if let Ok(found) = certificates(file) {
                    add(&mut roots, file.path(), found)?;
                }
            }
            if roots.is_empty() {
                return Err(bad(folder, "no file in it holds a certificate"));
            }
        }
        Trust::Pem(text) => {
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                let certificate = certificate.map_err(|_| BadRoots::Text)?;
                roots.add(certificate).map_err(|_| BadRoots::Text)?;
            }
            if roots.is_empty() {
                return Err(BadRoots::Text);
            }
        }
        Trust::Anybody => return Ok((None, files)),
    }
    Ok((Some(roots), files))
}

/// The files that the roots are read from, sorted. Blocks.
pub(super) fn paths(trust: &Trust) -> Result<Vec<PathBuf>, BadRoots> {
    match trust {
        Trust::System | Trust::Pem(_) | Trust::Anybody => Ok(Vec::new()),
        Trust::SystemAnd(path) | Trust::File(path) => Ok(vec![path.clone()]),
        Trust::Folder(folder) => files_in(folder).map_err(|error| bad(folder, error)),
    }
}

fn bad(path: &Path, why: impl ToString) -> BadRoots {
    BadRoots::File {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

fn add_system(roots: &mut RootCertStore) {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "some of the system's roots cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
}

fn add(
    roots: &mut RootCertStore,
    path: &Path,
    found: Vec<CertificateDer<'static>>,
) -> Result<(), BadRoots> {
    for certificate in found {
        roots.add(certificate).map_err(|error| bad(path, error))?;
    }
    Ok(())
}

fn certificates(file: &mut WatchedFile) -> Result<Vec<CertificateDer<'static>>, BadRoots> {
    let pem = file
        .read()
        .map_err(|unread| bad(file.path(), unread.cause()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(bad(
            file.path(),
            "there is no certificate in it that can be read",
        )),
    }
}

/// The files of a folder, sorted.
fn files_in(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
