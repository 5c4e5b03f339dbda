//! Who asks for certificates over ACME -> the routes of their challenges.

use std::collections::{BTreeMap, BTreeSet};

use crate::intent::{AcmePort, acme_label};
use crate::snapshot::Name;
use crate::state::app::AppId;
use crate::state::problem::{Problem, Reason, Subject};

/// Where an HTTP-01 challenge is asked for (RFC 8555, section 8.3).
pub(super) const CHALLENGE_PREFIX: &str = "/.well-known/acme-challenge/";

/// The hosts that are to get certificates, who asks for them, and who answers their challenges.
pub(super) struct Challenges {
    /// The port that answers; none: nobody asks either.
    port: Option<AcmePort>,
    /// Its cluster, while the port is there.
    cluster: Option<Name>,
    /// The ports that ask, with their hosts.
    asking: BTreeMap<(AppId, usize), Vec<String>>,
    /// How many ports ask for each host.
    hosts: BTreeMap<String, usize>,
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

    /// Replaces the hosts that one port asks for; the hosts of which that may change something.
    pub(super) fn change(&mut self, app: &AppId, index: usize, hosts: &[String]) -> Vec<String> {
        let key = (app.clone(), index);
        let before = self.asking.remove(&key).unwrap_or_default();
        if before == hosts {
            if !before.is_empty() {
                self.asking.insert(key, before);
            }
            return Vec::new();
        }
        for host in &before {
            if let Some(count) = self.hosts.get_mut(host) {
                *count -= 1;
                if *count == 0 {
                    self.hosts.remove(host);
                }
            }
        }
        for host in hosts {
            *self.hosts.entry(host.clone()).or_default() += 1;
        }
        if !hosts.is_empty() {
            self.asking.insert(key, hosts.to_vec());
        }
        before.into_iter().chain(hosts.iter().cloned()).collect()
    }

    /// Says that a port came, with its cluster, or went; the hosts of which that changes something.
    pub(super) fn note_port(
        &mut self,
        app: &AppId,
        index: usize,
        cluster: Option<&Name>,
    ) -> Vec<String> {
        let answers = self.port.as_ref().is_some_and(|port| port.is(app, index));
        if !answers {
            return Vec::new();
        }
        self.cluster = cluster.cloned();
        self.hosts.keys().cloned().collect()
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
    pub(super) fn hosts_below(&self, wildcard: &str) -> BTreeSet<String> {
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
            .map(|((app, index), hosts)| unanswered(app, *index, hosts, port))
            .collect()
    }
}

fn unanswered(app: &AppId, index: usize, hosts: &[String], port: &AcmePort) -> Problem {
    Problem {
        subject: Subject::App(app.clone()),
        label: Some(acme_label(index)),
        reason: Reason::UnansweredChallenge,
        message: format!(
            "challenges for {} are not routed: app {} with a tcp port {} is not there",
            hosts.join(", "),
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
    use super::*;

    fn hosts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_host_is_routed_while_one_asks_and_one_answers() {
        let (a, b, acme) = ("/a".into(), "/b".into(), "/acme".into());
        let cluster: Name = "/acme_1".into();
        let mut challenges = Challenges::new(AcmePort::new("acme", 1));
        assert_eq!(challenges.change(&a, 0, &hosts(&["x"])), ["x"]);
        assert!(challenges.change(&a, 0, &hosts(&["x"])).is_empty());
        assert_eq!(challenges.change(&b, 0, &hosts(&["x", "y"])), ["x", "y"]);
        assert_eq!(challenges.cluster_for("x"), None);
        assert_eq!(challenges.problems().len(), 2);

        let other = Some(&cluster);
        assert!(challenges.note_port(&acme, 0, other).is_empty());
        assert_eq!(challenges.note_port(&acme, 1, Some(&cluster)), ["x", "y"]);
        assert_eq!(challenges.cluster_for("y"), Some(&cluster));
        assert!(challenges.problems().is_empty());

        assert_eq!(challenges.change(&b, 0, &[]), ["x", "y"]);
        assert_eq!(challenges.cluster_for("y"), None);
        assert_eq!(challenges.cluster_for("x"), Some(&cluster));
        assert_eq!(challenges.note_port(&acme, 1, None), ["x"]);
        assert_eq!(challenges.cluster_for("x"), None);
        assert_eq!(challenges.problems().len(), 1);
    }

    #[test]
    fn a_wildcard_takes_what_ends_like_it() {
        let mut challenges = Challenges::new(AcmePort::new("acme", 0));
        let asked = hosts(&["a.test", "b.a.test", "test", "xa.test"]);
        challenges.change(&"/a".into(), 0, &asked);
        let below = |wildcard| challenges.hosts_below(wildcard).into_iter().collect();
        let list: Vec<String> = below("*.a.test");
        assert_eq!(list, ["b.a.test"]);
        let list: Vec<String> = below("*");
        assert_eq!(list, asked);
        let list: Vec<String> = below("a.test");
        assert!(list.is_empty());
    }
}
