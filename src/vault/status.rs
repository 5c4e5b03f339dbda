//! The parts of this source whose success and failure its status shows.

use super::config::Config;
use crate::net::source_status::{SourcePart, StatusCell};

/// The token: without one nothing is read.
pub(super) const TOKEN: SourcePart = SourcePart::vital("the token");

/// Its renewal.
pub(super) const RENEWAL: SourcePart = SourcePart::minor("the renewal of the token");

/// The file that it lies in.
pub(super) const TOKEN_FILE: SourcePart = SourcePart::minor("the file of the token");

/// The list of the certificates of domains.
pub(super) const LIST: SourcePart = SourcePart::vital("the list of certificates");

/// The certificates on it.
pub(super) const CERTIFICATES: SourcePart = SourcePart::minor("a certificate on the list");

/// The certificate of the xDS port.
pub(super) const PORT: SourcePart = SourcePart::vital("the certificate of the xds port");

/// The authorities of client certificates.
pub(super) const CLIENT_AUTHORITIES: SourcePart = SourcePart::minor("the client CA");

/// The status of a Vault that was not asked yet.
pub fn new_status(config: &Config) -> StatusCell {
    let list = config.store.as_ref().map(|_| LIST);
    let port = config.server_certificate.as_ref().map(|_| PORT);
    let awaited: Vec<_> = [list, port].into_iter().flatten().collect();
    let status = StatusCell::new("vault", &awaited);
    status.tries(&config.address);
    status
}
