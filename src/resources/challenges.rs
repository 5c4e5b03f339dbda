//! Requests for certificates over ACME -> the routes of their challenges.

use std::collections::{BTreeMap, BTreeSet};

use crate::intent::{AcmePort, Service, WithOrigin};
use crate::snapshot::Name;
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// Path of HTTP-01 challenges ([RFC 8555](https://www.rfc-editor.org/rfc/rfc8555#section-8.3),
/// section 8.3).
pub(super) const CHALLENGE_PREFIX: &str = "/.well-known/acme-challenge/";

/// The hosts that are to get certificates, the services that ask for them, and the one that answers
/// their challenges.
pub(super) struct Challenges {
    /// The port that answers; none: nobody asks either.
    port: Option<AcmePort>,
    /// Its cluster, while the port is there.
    cluster: Option<Name>,
    /// The hosts that services ask for, by app and port.
    asking: BTreeMap<(AppId, usize), WithOrigin<Vec<Name>>>,
    /// Number of services that ask for each host.
    hosts: BTreeMap<Name, usize>,
}

impl Challenges {
    /// Nobody asks, nobody answers.
    pub(super) fn new(port: Option<AcmePort>) -> Self {
        Self {
            port,
            cluster: None,
            asking: BTreeMap::new(),
            hosts: BTreeMap::new(),
        }
    }

    /// Replaces one service. Returns the hosts of which that may change something.
    pub(super) fn change(
        &mut self,
        before: Option<&Service>,
        after: Option<&Service>,
    ) -> BTreeSet<Name> {
        let mut affected = BTreeSet::new();
        if before.is_none() || after.is_none() {
            let service = before.or(after);
            if service.is_some_and(|service| self.is_solver(service)) {
                self.cluster = after.map(|solver| solver.backend.name.clone());
                affected.extend(self.hosts.keys().cloned());
            }
        }
        let asked = before.and_then(|service| service.route.acme_domains.as_ref());
        let asks = after.and_then(|service| service.route.acme_domains.as_ref());
        if asked == asks {
            return affected;
        }
        if let Some(service) = before {
            self.forget(service);
        }
        if let Some(service) = after {
            self.note(service);
        }
        let hosts = asked.into_iter().chain(asks).flat_map(|asked| &asked.value);
        affected.extend(hosts.cloned());
        affected
    }

    fn is_solver(&self, service: &Service) -> bool {
        let port = self.port.as_ref();
        port.is_some_and(|port| port.is(&service.app, service.index))
    }

    fn forget(&mut self, service: &Service) {
        self.asking.remove(&(service.app.clone(), service.index));
        for host in service.route.acme_domains() {
            if let Some(count) = self.hosts.get_mut(host) {
                *count -= 1;
                if *count == 0 {
                    self.hosts.remove(host);
                }
            }
        }
    }

    fn note(&mut self, service: &Service) {
        let Some(domains) = &service.route.acme_domains else {
            return;
        };
        for host in &domains.value {
            *self.hosts.entry(host.clone()).or_default() += 1;
        }
        let key = (service.app.clone(), service.index);
        self.asking.insert(key, WithOrigin::clone(domains));
    }

    /// The cluster that gets the challenges of a host, if somebody asks and somebody answers. A
    /// route to nobody would take the path from an app that answers its challenges itself.
    pub(super) fn cluster_for(&self, host: &str) -> Option<&Name> {
        let cluster = self.cluster.as_ref();
        cluster.filter(|_| self.hosts.contains_key(host))
    }

    /// The app that answers.
    pub(super) fn app(&self) -> Option<&AppId> {
        self.port.as_ref().map(AcmePort::app)
    }

    /// The hosts that are asked for and that a wildcard (`*.example.com`, `*`) takes.
    pub(super) fn hosts_below(&self, wildcard: &str) -> BTreeSet<Name> {
        let Some(above) = wildcard.strip_prefix('*') else {
            return BTreeSet::new();
        };
        let hosts = self.hosts.keys().filter(|host| host.ends_with(above));
        hosts.cloned().collect()
    }

    /// A problem for every port that asks when nobody answers.
    pub(super) fn problems(&self) -> Vec<Problem> {
        let (Some(port), None) = (&self.port, &self.cluster) else {
            return Vec::new();
        };
        let asking = self.asking.iter();
        asking
            .map(|((app, _), domains)| unanswered(app, domains, port))
            .collect()
    }
}

fn unanswered(app: &AppId, domains: &WithOrigin<Vec<Name>>, port: &AcmePort) -> Problem {
    Problem {
        subject: Subject::App(app.clone()),
        label: Some(domains.origin.to_string()),
        reason: Reason::UnansweredChallenge,
        message: format!(
            "challenges for {} are not routed: app {} with a tcp port {} is not there",
            domains.value.join(", "),
            port.app(),
            port.index()
        ),
        remedy: "start marathon-acme, or correct MARATHON_ACME_APP_ID and \
                 MARATHON_ACME_PORT_INDEX; to do without it, remove the label or set \
                 MARATHON_ACME_APP_ID to nothing"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::intent::{Backend, RankedAddresses, Route, backend_name};

    /// A service that asks for certificates of these hosts.
    fn asking(app: &str, index: usize, hosts: &[&str]) -> Service {
        let hosts: Vec<Name> = hosts.iter().map(|name| Name::from(*name)).collect();
        let app = AppId::from(app);
        Service {
            backend: Backend {
                name: backend_name(&app, index),
                addresses: RankedAddresses::default(),
                settings: None,
                check_places: None,
            },
            app,
            index,
            route: Arc::new(Route {
                acme_domains: (!hosts.is_empty()).then(|| {
                    Box::new(WithOrigin {
                        value: hosts,
                        origin: "MARATHON_ACME_0_DOMAIN".into(),
                    })
                }),
                ..Route::default()
            }),
        }
    }

    fn texts(hosts: &BTreeSet<Name>) -> Vec<&str> {
        hosts.iter().map(AsRef::as_ref).collect()
    }

    #[test]
    fn a_host_is_routed_while_one_asks_and_one_answers() {
        let (a, b) = (asking("/a", 0, &["x"]), asking("/b", 0, &["x", "y"]));
        let (other, acme) = (asking("/acme", 0, &[]), asking("/acme", 1, &[]));
        let cluster: Name = "/acme_1".into();
        let mut challenges = Challenges::new(AcmePort::new("acme", 1));
        assert_eq!(texts(&challenges.change(None, Some(&a))), ["x"]);
        assert!(challenges.change(Some(&a), Some(&a)).is_empty());
        assert_eq!(texts(&challenges.change(None, Some(&b))), ["x", "y"]);
        assert_eq!(challenges.cluster_for("x"), None);
        assert_eq!(challenges.problems().len(), 2);

        assert!(challenges.change(None, Some(&other)).is_empty());
        assert_eq!(texts(&challenges.change(None, Some(&acme))), ["x", "y"]);
        assert_eq!(challenges.cluster_for("y"), Some(&cluster));
        assert!(challenges.problems().is_empty());

        assert_eq!(texts(&challenges.change(Some(&b), None)), ["x", "y"]);
        assert_eq!(challenges.cluster_for("y"), None);
        assert_eq!(challenges.cluster_for("x"), Some(&cluster));
        assert_eq!(texts(&challenges.change(Some(&acme), None)), ["x"]);
        assert_eq!(challenges.cluster_for("x"), None);
        assert_eq!(challenges.problems().len(), 1);
    }

    #[test]
    fn a_wildcard_takes_what_ends_like_it() {
        let mut challenges = Challenges::new(AcmePort::new("acme", 0));
        let asked = ["a.test", "b.a.test", "test", "xa.test"];
        challenges.change(None, Some(&asking("/a", 0, &asked)));
        let below = |wildcard| challenges.hosts_below(wildcard);
        assert_eq!(texts(&below("*.a.test")), ["b.a.test"]);
        assert_eq!(texts(&below("*")), asked);
        assert!(below("a.test").is_empty());
    }
}
