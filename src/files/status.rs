//! The parts of this source whose success and failure its status shows.

use crate::net::source_status::{SourcePart, StatusCell};

/// The folder of certificates.
pub(super) const FOLDER: SourcePart = SourcePart::vital("the certificates folder");

/// The files of the xDS port's identity.
pub(super) const PORT: SourcePart = SourcePart::vital("the certificate of the xds port");

/// The status of files that were not read yet: of a folder with certificates, of the xDS port's
/// own, or of both.
pub fn new_status(has_folder: bool, has_identity: bool) -> StatusCell {
    let folder = has_folder.then_some(FOLDER);
    let identity = has_identity.then_some(PORT);
    let awaited: Vec<_> = [folder, identity].into_iter().flatten().collect();
    StatusCell::new("files", &awaited)
}
