//! Faults of certificates, as problems.

use crate::state::problem::{Problem, Reason, Subject};

/// A fault of a certificate, and its remedy. Holds nothing of the key.
pub(super) struct CertificateFault {
    message: String,
    remedy: &'static str,
}

impl CertificateFault {
    pub(super) fn new(message: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            message: message.into(),
            remedy,
        }
    }

    /// The fault as the problem of the certificate of this name.
    pub(super) fn of(self, name: &str) -> Problem {
        Problem {
            subject: Subject::Certificate(name.to_owned()),
            label: None,
            reason: Reason::InvalidCertificate,
            message: self.message,
            remedy: self.remedy.to_owned(),
        }
    }
}
