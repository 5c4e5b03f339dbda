//! Settings of the labels: groups, prefix, health checks, and the apps with a special role.

use std::collections::BTreeSet;

use super::bad_setting::BadSetting;
use super::typed::Typed;
use crate::intent::AcmePort;
use crate::labels::{self, Groups};
use crate::state::app::AppId;

impl Typed {
    /// The settings by which labels are read.
    pub(super) fn labels(&self) -> Result<labels::Config, BadSetting> {
        let groups: BTreeSet<String> = self
            .haproxy_group
            .iter()
            .map(|group| group.trim().to_owned())
            .filter(|group| !group.is_empty())
            .collect();
        if groups.is_empty() {
            return Err(BadSetting {
                variable: "HAPROXY_GROUP",
                value: self.haproxy_group.join(","),
                why: "no group, so no app could be served".into(),
                remedy: "name at least one group, or * for every app",
            });
        }
        let prefix = &self.label_prefix_marathon_lb;
        if prefix.is_empty() || prefix.ends_with('_') || prefix.contains(char::is_whitespace) {
            return Err(BadSetting {
                variable: "LABEL_PREFIX_MARATHON_LB",
                value: prefix.clone(),
                why: "no label can begin like this".into(),
                remedy: "write it as it stands in labels, without the underscore: HAPROXY",
            });
        }
        let framework_name = self.framework_name.as_ref();
        let framework_name = framework_name.filter(|name| !name.is_empty());
        let app_id = |name: &String| AppId::from(format!("/{}", name.trim_matches('/')).as_str());
        let framework_name = framework_name.map(app_id);
        let acme = AcmePort::new(
            &self.marathon_acme_app_id,
            self.marathon_acme_port_index.into(),
        );
        if acme
            .as_ref()
            .is_some_and(|port| Some(port.app()) == framework_name.as_ref())
        {
            return Err(BadSetting {
                variable: "MARATHON_ACME_APP_ID",
                value: self.marathon_acme_app_id.clone(),
                why: "it is FRAMEWORK_NAME too, the app that is never served".into(),
                remedy: "name the app that answers ACME challenges, or leave it empty",
            });
        }
        Ok(labels::Config {
            groups: if groups.contains("*") {
                Groups::All
            } else {
                Groups::Named(groups)
            },
            label_prefix: prefix.clone(),
            strict: self.strict_mode,
            use_health: self.use_marathon_health,
            framework_name,
            acme,
            paths: self.path_rules(),
            ports: self.ports.service_ports()?,
            tasks: self.tasks.check()?,
        })
    }
}
