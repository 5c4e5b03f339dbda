//! Identity of a proxy, and what it states about itself.

use std::net::IpAddr;
use std::sync::Arc;

/// Identity of a proxy: fleets share node ids, so the address counts too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId {
    /// The id of its node.
    pub node: Arc<str>,
    /// Its address, without the port; none over a Unix socket.
    pub peer: Option<IpAddr>,
    /// Its transport, as `bootstrap --transport` and the metrics spell it.
    pub transport: &'static str,
}

/// Attributes that a proxy states beside its id, from
/// [`envoy.config.core.v3.Node`](https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#config-core-v3-node).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientNode {
    /// The cluster that it is part of; empty if it does not say.
    pub cluster: String,
    /// The name of its program; empty if it does not say. Envoy's is `envoy`.
    pub user_agent: String,
    /// The version of its program, `1.40.0`; empty if it does not say.
    pub version: String,
}

/// Longest kept attribute, in bytes: names of clusters and programs are far shorter, and a row
/// stays for an hour.
const MAX_FACT_BYTES: usize = 256;

impl ClientNode {
    /// The same with every attribute cut to the longest that is kept.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        for fact in [&mut self.cluster, &mut self.user_agent, &mut self.version] {
            fact.truncate(fact.floor_char_boundary(MAX_FACT_BYTES));
            fact.shrink_to_fit();
        }
        self
    }

    /// Returns true if it is Envoy, or names no program.
    pub fn is_envoy(&self) -> bool {
        self.user_agent.is_empty() || self.user_agent == "envoy"
    }

    /// Returns true if it says that it is Envoy, of this version or a later one.
    pub fn is_envoy_since(&self, (major, minor): (u32, u32)) -> bool {
        let mut numbers = self
            .version
            .split('.')
            .map(|number| number.parse::<u32>().ok());
        let version = numbers.next().flatten().zip(numbers.next().flatten());
        self.user_agent == "envoy" && version >= Some((major, minor))
    }

    /// Its version for operators, with the program's name if that is not Envoy. None if it states
    /// neither.
    pub fn program(&self) -> Option<Arc<str>> {
        match (self.is_envoy(), &*self.version) {
            (true, "") => None,
            (true, version) => Some(version.into()),
            (false, "") => Some((*self.user_agent).into()),
            (false, version) => Some(format!("{} {version}", self.user_agent).into()),
        }
    }

    /// Returns true if [`program`](Self::program) equals `program`, without an allocation.
    pub(super) fn is_program(&self, program: Option<&str>) -> bool {
        match (self.is_envoy(), program) {
            (true, program) => self.version == program.unwrap_or_default(),
            (false, None) => false,
            (false, Some(program)) => {
                let version = program.strip_prefix(&*self.user_agent);
                let version = version.map(|rest| rest.strip_prefix(' ').unwrap_or(rest));
                version == Some(&*self.version)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envoy_is_as_old_as_it_says_and_of_no_version_if_it_says_nothing() {
        let is_new = |user_agent: &str, version: &str| {
            let node = ClientNode {
                cluster: String::new(),
                user_agent: user_agent.to_owned(),
                version: version.to_owned(),
            };
            node.is_envoy_since((1, 37))
        };
        for version in ["1.37.0", "1.40.0", "1.100.2", "2.0.0", "1.38.0-dev"] {
            assert!(is_new("envoy", version), "{version}");
        }
        for version in ["1.36.9", "0.99.0", "", "1", "1.x", "v1.40.0"] {
            assert!(!is_new("envoy", version), "{version}");
        }
        assert!(!is_new("", "1.40.0") && !is_new("grpc-go", "1.83.0"));
    }

    #[test]
    fn a_version_is_envoys_unless_something_else_is_said() {
        let program = |user_agent: &str, version: &str| {
            let node = ClientNode {
                cluster: String::new(),
                user_agent: user_agent.to_owned(),
                version: version.to_owned(),
            };
            let program = node.program();
            assert!(node.is_program(program.as_deref()));
            assert!(!node.is_program(Some("9.9.9")));
            program.map(|program| program.to_string())
        };
        assert_eq!(program("envoy", "1.40.0").as_deref(), Some("1.40.0"));
        assert_eq!(program("", "1.40.0").as_deref(), Some("1.40.0"));
        assert_eq!(program("gRPC Go", "1.60").as_deref(), Some("gRPC Go 1.60"));
        assert_eq!(program("gRPC Go", "").as_deref(), Some("gRPC Go"));
        assert_eq!(program("envoy", ""), None);
    }
}
