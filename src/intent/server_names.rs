//! Names of certificates -> the certificate that is presented for each server name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::host;
use crate::state::certificate::Certificate;
use crate::state::problem::{Problem, Reason, Subject, quoted};

/// A certificate and the server names for which it is presented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PresentedCertificate {
    /// Sorted; not empty; no name is in two of these.
    pub server_names: Vec<String>,
    /// The certificate's name.
    pub certificate: String,
}

/// The certificates that are presented over https.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PresentedCertificates {
    /// Sorted by their server names.
    pub named: Vec<PresentedCertificate>,
    /// The certificate for clients that ask for no name, or for one that none is presented for.
    pub default: Option<String>,
}

impl PresentedCertificates {
    /// True if there is none, and so no https.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty() && self.default.is_none()
    }

    /// The names that certificates are presented for; none if there is no https.
    pub fn server_names(&self) -> Option<BTreeSet<String>> {
        let names = self.named.iter().flat_map(|one| &one.server_names);
        (!self.is_empty()).then(|| names.cloned().collect())
    }
}

/// The certificates that are presented, with `default` as the name of the default one. A server name
/// that several certificates are valid for goes to the one that stays valid longest, then to the
/// one whose own name is first.
pub fn settle_names<'a>(
    certificates: impl Iterator<Item = &'a Arc<Certificate>>,
    default: Option<&str>,
) -> (PresentedCertificates, Vec<Problem>) {
    let mut sorted: Vec<&Certificate> = certificates.map(Arc::as_ref).collect();
    sorted.sort_by(|one, other| {
        let later = other.not_after_seconds.cmp(&one.not_after_seconds);
        later.then_with(|| one.name.cmp(&other.name))
    });
    let is_there = |name: &&str| sorted.iter().any(|certificate| certificate.name == **name);
    let found = default.filter(is_there).map(str::to_owned);
    let mut owners: BTreeMap<String, &Certificate> = BTreeMap::new();
    let mut named = Vec::with_capacity(sorted.len());
    let mut problems = Vec::new();
    for certificate in sorted {
        let mut server_names = Vec::with_capacity(certificate.server_names.len());
        for text in &certificate.server_names {
            let name = match server_name(text) {
                Ok(name) => name,
                Err(why) => {
                    problems.push(unusable_name(certificate, text, &why));
                    continue;
                }
            };
            match owners.get(&name) {
                Some(owner) if owner.name == certificate.name => {}
                Some(owner) => problems.push(lost_name(certificate, &name, owner)),
                None => {
                    owners.insert(name.clone(), certificate);
                    server_names.push(name);
                }
            }
        }
        server_names.sort_unstable();
        if !server_names.is_empty() {
            named.push(PresentedCertificate {
                server_names,
                certificate: certificate.name.clone(),
            });
        }
    }
    problems.extend(default.filter(|_| found.is_none()).map(no_default));
    named.sort_unstable();
    problems.sort_unstable();
    let presented = PresentedCertificates {
        named,
        default: found,
    };
    (presented, problems)
}

fn no_default(name: &str) -> Problem {
    Problem {
        subject: Subject::Certificate(name.to_owned()),
        label: None,
        reason: Reason::MissingCertificate,
        message: "it is to be the default certificate, and there is none of that name: clients \
                  that ask for a name without a certificate, or for none, are cut off"
            .into(),
        remedy: "correct DEFAULT_CERTIFICATE (a bundle NAME.pem is named without .pem), or give \
                 this daemon the certificate"
            .into(),
    }
}

/// A name as a client can ask for it: no wildcard but `*.` in front.
fn server_name(text: &str) -> Result<String, host::InvalidHost> {
    match host::normalised(text)?.as_str() {
        "*" => Err(host::InvalidHost::Wildcard),
        name => Ok(name.to_owned()),
    }
}

fn unusable_name(certificate: &Certificate, text: &str, why: &host::InvalidHost) -> Problem {
    Problem {
        subject: Subject::Certificate(certificate.name.clone()),
        label: None,
        reason: Reason::InvalidCertificate,
        message: format!("it is not presented for its name {}: {why}", quoted(text)),
        remedy: "issue it for names that clients can ask for".into(),
    }
}

fn lost_name(certificate: &Certificate, name: &str, owner: &Certificate) -> Problem {
    Problem {
        subject: Subject::Certificate(certificate.name.clone()),
        label: None,
        reason: Reason::Conflict,
        message: format!(
            "it is not presented for {name}: certificate {} is, which is valid longer or named first",
            owner.name
        ),
        remedy: "remove the one that is not wanted".into(),
    }
}
