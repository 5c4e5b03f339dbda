//! `docker-compose.yml` and `Dockerfile` hold together: names, ports, files and identities agree.
//!
//! No engine runs here. What can be tried without one is: the scripts are run, the bootstrap is
//! given to a real Envoy, and with `COMPOSE_BIN` set (`docker compose`) Compose itself reads the
//! file.

mod envoy;
mod file;
mod image;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use file::{Compose, Condition, DAEMON, Service};
use marathon_envoy::commands::bootstrap::{self, ClientFiles, Tls};
use marathon_envoy::settings::Typed;
use serde_json::Value;

use crate::vault_policy::Policy;

/// The services that do their work and end.
const ONE_SHOTS: [&str; 2] = ["hello", "vault-setup"];

#[test]
fn every_image_is_pinned_and_the_daemon_alone_is_built_here() {
    for (name, service) in &Compose::read().services {
        match &service.image {
            None => assert_eq!((&**name, service.build.as_deref()), (DAEMON, Some("."))),
            Some(image) => assert!(image::is_pinned(image), "{name}: {image}"),
        }
    }
}

#[test]
fn every_port_is_on_loopback_and_nobody_elses() {
    let mut taken = BTreeSet::new();
    for (name, service) in &Compose::read().services {
        for port in &service.ports {
            let (outside, inside) = port.rsplit_once(':').unwrap();
            let outside: SocketAddr = outside.parse().unwrap();
            assert!(outside.ip().is_loopback(), "{name}: {port}");
            assert!(taken.insert(outside.port()), "{name}: {port}");
            assert_ne!(inside.parse::<u16>().unwrap(), 0, "{name}: {port}");
        }
    }
    assert!(!taken.is_empty());
}

#[test]
fn who_is_waited_for_exists_and_can_become_what_is_waited_for() {
    let compose = Compose::read();
    for (name, service) in &compose.services {
        for (other, dependency) in &service.depends_on {
            let what = format!("{name} waits for {other}");
            let other = compose.services.get(other).expect(&what);
            match dependency.condition {
                Condition::ServiceStarted => {}
                Condition::ServiceHealthy => assert!(other.healthcheck.is_some(), "{what}"),
                Condition::ServiceCompletedSuccessfully => {
                    assert!(other.restart.is_none(), "{what}");
                    assert!(other.healthcheck.is_none(), "{what}");
                }
            }
        }
    }
}

#[test]
fn whatever_stays_has_a_health_check() {
    let compose = Compose::read();
    let unchecked = compose.services.iter().filter_map(|(name, service)| {
        let Some(check) = &service.healthcheck else {
            return Some(&**name);
        };
        assert_eq!(check.test.first().unwrap(), "CMD", "{name}");
        assert!(check.retries > 0, "{name}");
        for time in [&check.interval, &check.timeout, &check.start_period] {
            assert!(time.ends_with('s') && *time != "0s", "{name}: {time}");
        }
        None
    });
    assert_eq!(unchecked.collect::<Vec<_>>(), ONE_SHOTS);
}

#[test]
fn every_file_and_volume_exists_and_is_used() {
    let compose = Compose::read();
    let services = || compose.services.values();
    let mounted = services().flat_map(|service| &service.configs);
    let mounted: BTreeSet<_> = mounted.map(|mount| &mount.source).collect();
    assert_eq!(mounted, compose.configs.keys().collect());
    let volumes = services().flat_map(|service| &service.volumes);
    let volumes: BTreeSet<_> = volumes
        .map(|mount| mount.split(':').next().unwrap())
        .collect();
    assert_eq!(
        volumes,
        compose.volumes.keys().map(String::as_str).collect()
    );
    for (name, config) in &compose.configs {
        assert_ne!(config.file.is_some(), config.content.is_some(), "{name}");
        if let Some(file) = &config.file {
            let path = format!("{}/{file}", env!("CARGO_MANIFEST_DIR"));
            assert!(std::fs::metadata(path).unwrap().is_file(), "{file}");
        }
    }
}

#[test]
fn written_out_files_are_not_put_into_what_is_read_only() {
    // Compose copies them into the container, and refuses to start it when it cannot:
    // https://github.com/docker/compose/issues/12031
    let compose = Compose::read();
    for (name, service) in &compose.services {
        for mount in &service.configs {
            let copied = compose.configs[&mount.source].content.is_some();
            assert!(!(copied && service.read_only), "{name}: {}", mount.source);
        }
    }
}

#[test]
fn vault_setup_runs_the_script_that_is_mounted() {
    let compose = Compose::read();
    let setup = compose.service("vault-setup");
    assert_eq!(setup.entrypoint, ["sh", setup.target_of("vault-setup")]);
    let policy = setup.target_of("vault-policy");
    let written = format!("vault policy write marathon-envoy {policy}\n");
    assert!(compose.content("vault-setup").contains(&written));
}

#[test]
fn nobody_gains_privileges_and_what_faces_others_has_none() {
    let compose = Compose::read();
    for (name, service) in &compose.services {
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        let added = if name == "vault-setup" {
            &["CHOWN"][..]
        } else {
            &[]
        };
        assert_eq!(service.cap_add, added, "{name}");
    }
    for name in [DAEMON, "envoy", "hello", "prometheus", "vault-setup"] {
        assert_eq!(compose.service(name).cap_drop, ["ALL"], "{name}");
    }
    for name in [DAEMON, "envoy"] {
        let volumes = &compose.service(name).volumes;
        assert_eq!(volumes.len(), 1, "{name} sees its own identity alone");
        assert!(volumes[0].ends_with(":ro"), "{name}: {}", volumes[0]);
    }
    assert!(compose.service(DAEMON).read_only);
    assert_eq!(compose.service("envoy").user.as_deref(), Some("101:101"));
}

/// The port of an address in the daemon's environment.
fn port_of(daemon: &Service, variable: &str) -> u16 {
    let address: SocketAddr = daemon.environment[variable].parse().unwrap();
    assert!(address.ip().is_unspecified(), "{variable}");
    address.port()
}

#[test]
fn every_variable_of_the_daemon_is_a_setting_and_its_value_can_be_read() {
    let table = marathon_envoy::commands::settings_table();
    let rows = table.lines().filter_map(|row| {
        let mut cells = row.split('|').map(|cell| cell.trim().trim_matches('`'));
        Some((cells.nth(1)?, cells.next()?))
    });
    let flags: BTreeMap<_, _> = rows.collect();
    let compose = Compose::read();
    let environment = &compose.service(DAEMON).environment;
    let unknown: Vec<_> = environment
        .keys()
        .filter(|variable| !flags.contains_key(variable.as_str()))
        .collect();
    assert!(unknown.is_empty(), "no settings of the daemon: {unknown:?}");
    let typed = environment
        .iter()
        .map(|(variable, value)| format!("{}={value}", flags[variable.as_str()]));
    Typed::from_flags(typed).unwrap();
}

#[test]
fn prometheus_scrapes_the_daemons_admin_port_and_has_its_alerts() {
    let compose = Compose::read();
    let scraped: Value = serde_saphyr::from_str(&compose.content("prometheus")).unwrap();
    let target = format!(
        "{DAEMON}:{}",
        port_of(compose.service(DAEMON), "ADMIN_LISTEN")
    );
    let job = &scraped["scrape_configs"][0];
    assert_eq!(job["job_name"], "marathon-envoy", "as the alerts have it");
    let rules = compose.service("prometheus").target_of("alerts");
    let folder = compose.service("prometheus").target_of("prometheus");
    let folder = folder.trim_end_matches("prometheus.yml");
    let rules = rules.strip_prefix(folder).unwrap();
    assert_eq!(scraped["rule_files"], serde_json::json!([rules]));
    assert_eq!(
        job["static_configs"][0]["targets"],
        serde_json::json!([target])
    );
    assert!(
        job.get("metrics_path").is_none(),
        "/metrics is the default and right"
    );
}

#[test]
fn the_bootstrap_and_the_files_of_secrets_are_what_the_command_prints() {
    let compose = Compose::read();
    let daemon = compose.service(DAEMON);
    let port = port_of(daemon, "XDS_LISTEN");
    let envoy = compose.service("envoy");
    let identities = envoy.mount_of("envoy-identity");
    let identity = PathBuf::from(format!("{identities}/identity.pem"));
    let client = ClientFiles {
        certificate: identity.clone(),
        key: identity,
        secrets: Some(envoy.target_of("envoy-identity").into()),
    };
    let tls = Tls {
        authority: format!("{identities}/ca.pem").into(),
        authority_secrets: Some(envoy.target_of("envoy-authority").into()),
        names: vec![DAEMON.to_owned()],
        client: Some(client.clone()),
    };
    let printed = bootstrap::yaml(&bootstrap::Config {
        control_planes: vec![format!("{DAEMON}:{port}").parse().unwrap()],
        tls: Some(tls.clone()),
        ..bootstrap::Config::default()
    });
    for (config, printed) in [
        ("envoy-bootstrap", printed),
        ("envoy-identity", client.secrets()),
        ("envoy-authority", tls.authority_secrets_yaml()),
    ] {
        let printed: Value = serde_saphyr::from_str(&printed).unwrap();
        let written: Value = serde_saphyr::from_str(&compose.content(config)).unwrap();
        assert_eq!(written, printed, "{config}");
    }
}

#[test]
fn the_daemon_and_envoy_know_each_other_by_the_names_that_vault_certifies() {
    let compose = Compose::read();
    let daemon = &compose.service(DAEMON).environment;
    let setup = compose.content("vault-setup");
    let bootstrap: Value = serde_saphyr::from_str(&compose.content("envoy-bootstrap")).unwrap();
    let tls = &bootstrap["static_resources"]["clusters"][0]["transport_socket"]["typed_config"];

    let (name, role) = (&daemon["VAULT_PKI_CN"], &daemon["VAULT_PKI_ROLE"]);
    assert_eq!(daemon["VAULT_PKI_ALT_NAMES"], *name);
    assert!(setup.contains(&format!("'{role} allowed_domains={name} ")));
    assert_eq!(tls["sni"], **name);
    let expected = &tls["common_tls_context"]["combined_validation_context"]["default_validation_context"]
        ["match_typed_subject_alt_names"];
    assert_eq!(
        *expected,
        serde_json::json!([{ "san_type": "DNS", "matcher": { "exact": name } }])
    );

    let client = &daemon["XDS_CLIENT_NAMES"];
    assert!(setup.contains(&format!("'{client} allowed_domains={client} ")));
    assert!(setup.contains(&format!("common_name={client} ")));

    let policy = Policy::of_the_repository();
    let issue = format!("{}/issue/{role}", daemon["VAULT_PKI_MOUNT"]);
    assert!(policy.may_update(&issue), "{issue}");
    assert!(!policy.may_update(&format!("{}/issue/{client}", daemon["VAULT_PKI_MOUNT"])));
}

#[test]
fn the_daemon_finds_its_identity_and_the_certificates_where_vault_setup_puts_them() {
    let compose = Compose::read();
    let daemon = compose.service(DAEMON);
    let setup = compose.content("vault-setup");
    let volume = compose.service("vault-setup").mount_of("daemon-identity");
    for (variable, file) in [
        ("VAULT_ROLE_ID_FILE", "role-id"),
        ("VAULT_SECRET_ID_FILE", "secret-id"),
    ] {
        let read = format!("{}/{file}", daemon.mount_of("daemon-identity"));
        assert_eq!(daemon.environment[variable], read);
        // The daemon's user, as the Dockerfile names it.
        let put = format!("put {} {volume}/{file} ", image::user());
        assert!(setup.contains(&put), "{put}");
    }

    let environment = &daemon.environment;
    let (mount, path) = (
        &environment["VAULT_KV_MOUNT"],
        &environment["MARATHON_ACME_KV_PATH"],
    );
    assert!(setup.contains(&format!("vault kv put {mount}/{path}/live ")));
    assert_eq!(environment["VAULT_KV_VERSION"], "2");
    let policy = Policy::of_the_repository();
    assert!(policy.may_read(&format!("{mount}/data/{path}/live")));
    assert!(policy.may_read(&format!(
        "{mount}/data/{path}/certificates/hello.example.test"
    )));
}

#[test]
fn envoys_listeners_are_published_under_their_own_numbers() {
    // A redirect names HTTPS_LISTEN_PORT.
    let compose = Compose::read();
    let daemon = compose.service(DAEMON);
    let published = ["HTTP_LISTEN_PORT", "HTTPS_LISTEN_PORT"].map(|variable| {
        let port = &daemon.environment[variable];
        assert!(port.parse::<u16>().unwrap() >= 1024, "Envoy is not root");
        format!("127.0.0.1:{port}:{port}")
    });
    assert_eq!(compose.service("envoy").ports, published);
}

#[test]
fn compose_reads_the_file_where_there_is_one() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the switch of this test alone, not a setting"
    )]
    let Ok(compose) = std::env::var("COMPOSE_BIN") else {
        println!("not tried: COMPOSE_BIN names no Compose (`docker compose`)");
        return;
    };
    let mut words = compose.split_whitespace();
    let output = Command::new(words.next().expect("COMPOSE_BIN is empty"))
        .args(words)
        .args(["config", "--quiet"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
