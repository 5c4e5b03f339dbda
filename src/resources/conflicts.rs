//! Who gets what several ask for: a host's path, a certificate's name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::intent::{PathPrefix, host};
use crate::snapshot::Name;
use crate::state::app::AppId;
use crate::state::certificate::Certificate;
use crate::state::problem::{Problem, Reason, Subject};

/// One port's claim to the requests of one host whose path begins with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) weight: i64,
    pub(super) app: AppId,
    pub(super) index: usize,
    /// Its place in the port's own list of paths.
    pub(super) position: usize,
    pub(super) path: PathPrefix,
    pub(super) cluster: Name,
    pub(super) redirect_to_https: bool,
}

impl Claim {
    /// Better rights and earlier routes first: weight, then app id, then port index, then the
    /// label's own order. marathon-lb's order, in which the longer prefix does *not* go first.
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        let by_weight = other.weight.cmp(&self.weight);
        by_weight.then_with(|| self.identity().cmp(&other.identity()))
    }

    /// No two claims to one host have the same.
    fn identity(&self) -> (&AppId, usize, usize) {
        (&self.app, self.index, self.position)
    }
}

/// The claims to one host in the order of their routes, each path claimed once; and a problem for
/// every claim that lost.
pub(super) fn settle_host(
    host: &str,
    claims: &[Claim],
    label_prefix: &str,
) -> (Vec<Claim>, Vec<Problem>) {
    let mut sorted: Vec<&Claim> = claims.iter().collect();
    sorted.sort_by(|one, other| one.order(other));
    let mut winners: Vec<Claim> = Vec::with_capacity(sorted.len());
    let mut owners: BTreeMap<&PathPrefix, &Claim> = BTreeMap::new();
    let mut problems = Vec::new();
    for claim in sorted {
        match owners.get(&claim.path) {
            Some(owner) => problems.push(lost_path(host, claim, owner, label_prefix)),
            None => {
                owners.insert(&claim.path, claim);
                winners.push(claim.clone());
            }
        }
    }
    (winners, problems)
}

fn lost_path(host: &str, loser: &Claim, winner: &Claim, label_prefix: &str) -> Problem {
    let flag = if loser.path.ignore_case {
        " (in either case)"
    } else {
        ""
    };
    Problem {
        subject: Subject::App(loser.app.clone()),
        label: Some(format!("{label_prefix}_{}_VHOST", loser.index)),
        reason: Reason::Conflict,
        message: format!(
            "port {} asks for host {host}, path {}{flag}, which port {} of app {} has",
            loser.index, loser.path.prefix, winner.index, winner.app
        ),
        remedy: "give one of them another host or path".into(),
    }
}

/// A certificate and the names for which it is presented.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Chain {
    /// Sorted; not empty; no name is in two chains.
    pub(super) server_names: Vec<String>,
    pub(super) certificate: String,
}

/// The chains of the https listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chains {
    /// Sorted by their names.
    pub(super) named: Vec<Chain>,
    /// The certificate of the chain for clients that ask for no name, or for one in no chain.
    pub(super) default: Option<String>,
}

impl Chains {
    /// Whether there is none, and so no https listener.
    pub(super) fn is_empty(&self) -> bool {
        self.named.is_empty() && self.default.is_none()
    }

    /// The names that there are certificates for; none if there is no listener.
    pub(super) fn server_names(&self) -> Option<BTreeSet<String>> {
        let names = self.named.iter().flat_map(|chain| &chain.server_names);
        (!self.is_empty()).then(|| names.cloned().collect())
    }
}

/// The chains of the https listener, with `default` as the name of the default certificate. A name that several certificates are
/// valid for goes to the one that stays valid longest, then to the one whose own name is first.
pub(super) fn settle_names<'a>(
    certificates: impl Iterator<Item = &'a Arc<Certificate>>,
    default: Option<&str>,
) -> (Chains, Vec<Problem>) {
    let mut sorted: Vec<&Certificate> = certificates.map(Arc::as_ref).collect();
    sorted.sort_by(|one, other| {
        let later = other.not_after_seconds.cmp(&one.not_after_seconds);
        later.then_with(|| one.name.cmp(&other.name))
    });
    let is_there = |name: &&str| sorted.iter().any(|certificate| certificate.name == **name);
    let found = default.filter(is_there).map(str::to_owned);
    let mut owners: BTreeMap<String, &Certificate> = BTreeMap::new();
    let mut chains = Vec::with_capacity(sorted.len());
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
            chains.push(Chain {
                server_names,
                certificate: certificate.name.clone(),
            });
        }
    }
    problems.extend(default.filter(|_| found.is_none()).map(no_default));
    chains.sort_unstable();
    problems.sort_unstable();
    let chains = Chains {
        named: chains,
        default: found,
    };
    (chains, problems)
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

/// A name as a filter chain takes it: no wildcard but `*.` in front.
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
        message: format!("it is not presented for its name {text:?}: {why}"),
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

/// The redirect of a port that leads nowhere, since no certificate is there to serve https with.
pub(super) fn redirect_without_https(app: &AppId, index: usize, label_prefix: &str) -> Problem {
    Problem {
        subject: Subject::App(app.clone()),
        label: Some(format!("{label_prefix}_{index}_REDIRECT_TO_HTTPS")),
        reason: Reason::RedirectWithoutHttps,
        message: format!(
            "port {index} is served over plain http without the redirect: there is no https listener"
        ),
        remedy: "give this daemon a certificate, or remove the label".into(),
    }
}

/// The redirect of a host that no certificate is valid for: clients arrive, and are cut off.
pub(super) fn redirect_uncovered(
    app: &AppId,
    index: usize,
    host: &str,
    label_prefix: &str,
) -> Problem {
    Problem {
        subject: Subject::App(app.clone()),
        label: Some(format!("{label_prefix}_{index}_REDIRECT_TO_HTTPS")),
        reason: Reason::RedirectWithoutHttps,
        message: format!(
            "port {index} redirects {host} to https, and no certificate is valid for that host"
        ),
        remedy: "give this daemon a certificate for it, or remove the label".into(),
    }
}
