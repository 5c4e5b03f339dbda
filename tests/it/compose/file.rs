//! `docker-compose.yml`, parsed: keys that are not known here are refused.

use std::collections::BTreeMap;
use std::fs;

use serde::Deserialize;
use serde_json::Value;

/// The service that this repository is about.
pub(super) const DAEMON: &str = "marathon-envoy";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Compose {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "x-health")]
    _health: Value,
    #[serde(rename = "x-confined")]
    _confined: Value,
    pub(super) services: BTreeMap<String, Service>,
    pub(super) volumes: BTreeMap<String, Option<()>>,
    pub(super) configs: BTreeMap<String, Config>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Service {
    pub(super) image: Option<String>,
    pub(super) build: Option<String>,
    #[serde(rename = "platform")]
    _platform: Option<String>,
    #[serde(rename = "hostname")]
    _hostname: Option<String>,
    #[serde(default, rename = "init")]
    _init: bool,
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) entrypoint: Vec<String>,
    #[serde(default)]
    pub(super) command: Vec<String>,
    #[serde(default)]
    pub(super) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) read_only: bool,
    #[serde(default)]
    pub(super) cap_drop: Vec<String>,
    #[serde(default)]
    pub(super) cap_add: Vec<String>,
    #[serde(default)]
    pub(super) security_opt: Vec<String>,
    #[serde(default)]
    pub(super) ports: Vec<String>,
    #[serde(default)]
    pub(super) configs: Vec<Mount>,
    #[serde(default)]
    pub(super) volumes: Vec<String>,
    #[serde(default)]
    pub(super) depends_on: BTreeMap<String, Dependency>,
    pub(super) restart: Option<String>,
    pub(super) healthcheck: Option<Healthcheck>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) source: String,
    pub(super) target: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dependency {
    pub(super) condition: Condition,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "Compose spells them so")]
pub(super) enum Condition {
    ServiceStarted,
    ServiceHealthy,
    ServiceCompletedSuccessfully,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Healthcheck {
    pub(super) test: Vec<String>,
    pub(super) interval: String,
    pub(super) timeout: String,
    pub(super) retries: u32,
    pub(super) start_period: String,
}

/// A file that is put into containers: one of the repository, or one that is written out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) file: Option<String>,
    pub(super) content: Option<String>,
}

impl Compose {
    pub(super) fn read() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docker-compose.yml");
        serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    pub(super) fn service(&self, name: &str) -> &Service {
        &self.services[name]
    }

    /// A written-out file as it is in the container.
    pub(super) fn content(&self, config: &str) -> String {
        let content = self.configs[config].content.as_deref().unwrap();
        let literal = content.replace("$$", "\u{0}");
        // Compose would put a variable of whoever runs it there, or nothing.
        assert!(!literal.contains('$'), "{config}: a $ that is not doubled");
        literal.replace('\u{0}', "$")
    }
}

impl Service {
    /// The folder in which a volume is seen.
    pub(super) fn mount_of(&self, volume: &str) -> &str {
        let mut mounts = self.volumes.iter().map(|mount| mount.split(':'));
        let mut mount = mounts.find(|mount| mount.clone().next() == Some(volume));
        mount.as_mut().and_then(|mount| mount.nth(1)).unwrap()
    }

    /// Where a written-out file is seen.
    pub(super) fn target_of(&self, config: &str) -> &str {
        let mut mounts = self.configs.iter();
        let mount = mounts.find(|mount| mount.source == config);
        &mount.unwrap().target
    }
}
