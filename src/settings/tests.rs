//! What each setting means, and which values are refused in which words.

use std::time::Duration;

use super::bad_setting::flag;
use super::*;
use crate::freshness;
use crate::intent::path::{EscapedSlashes, PathRules};
use crate::intent::{AcmePort, IpNetwork};
use crate::labels::Groups;
use crate::marathon::{MarathonLogin, TokenScheme};
use crate::resources::{AccessLog, Underscores};
use crate::server::{AllowList, Security};
use crate::state::event::Source;

fn typed(line: &str) -> Typed {
    Typed::from_flags(line.split_whitespace().map(str::to_owned)).unwrap()
}

fn meant(line: &str) -> Settings {
    typed(line).check().unwrap()
}

fn refused(line: &str) -> String {
    typed(line).check().unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let settings = meant("");
    assert_eq!(settings.xds_listen.to_string(), "127.0.0.1:5000");
    assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:5001");
    assert_eq!(
        settings.labels.groups,
        Groups::Named(["external".to_owned()].into())
    );
    assert_eq!(settings.labels.label_prefix, "HAPROXY");
    assert!(settings.labels.use_health && !settings.labels.strict);
    assert_eq!(settings.marathon.resync_interval, Duration::from_secs(300));
    assert_eq!(settings.freshness, freshness::Config::default());
    assert_eq!(settings.marathon.ping_after, Duration::from_secs(15));
    assert_eq!(settings.marathon.ping_limit, Duration::from_secs(2));
    assert_eq!(settings.xds.server.max_age, Duration::from_secs(900));
    assert_eq!(settings.resources.refresh_delay, Duration::from_millis(200));
    assert_eq!(
        settings.resources.endpoints_refresh_delay,
        Duration::from_secs(1)
    );
    assert_eq!(settings.state, crate::state::Config::default());
    assert!(settings.certificates.is_none() && !settings.security.allows_secrets());
    assert!(settings.v2.is_none());
    assert!(settings.warnings.is_empty());
}

#[test]
fn requests_are_treated_as_the_settings_say() {
    let settings = meant("");
    assert_eq!(settings.resources.trusted_hops, 0);
    assert_eq!(settings.labels.paths, PathRules::default());
    assert!(settings.labels.paths.normalize && settings.labels.paths.merge_slashes);
    let line = "--trusted-hops 2 --normalize-path false --merge-slashes=false \
                --escaped-slashes reject --xds-v2 --xds-max-proxies 7 --xds-max-proxies-per-peer 5";
    let settings = meant(line);
    let expected = PathRules {
        normalize: false,
        merge_slashes: false,
        escaped_slashes: EscapedSlashes::Reject,
    };
    assert_eq!(settings.resources.normalisation.paths, expected);
    assert_eq!(
        settings.labels.paths, expected,
        "labels are judged by the same rules"
    );
    assert_eq!(settings.resources.trusted_hops, 2);
    let v2 = settings.v2.unwrap();
    assert_eq!(v2.trusted_hops, 2);
    assert_eq!(
        (v2.limits.max_proxies, v2.limits.max_proxies_per_peer),
        (7, 5)
    );
}

#[test]
fn v2_is_told_what_v3_is() {
    for line in ["--xds-v2", "--xds-v2 true"] {
        let others = "--refresh-delay 3 --cluster-name here --http-listen-port 81 \
                      --label-prefix-marathon-lb EDGE";
        let settings = meant(&format!("{line} {others}"));
        assert_eq!(settings.labels.label_prefix, "EDGE");
        let (v2, v3) = (settings.v2.unwrap(), settings.resources);
        assert_eq!(
            (v2.cluster_name, v2.http_listen),
            (v3.cluster_name, v3.http_listen)
        );
        assert_eq!(
            (v2.http_listen.port(), v2.https_listen),
            (81, v3.https_listen)
        );
        assert_eq!(v2.refresh_delay, Duration::from_secs(3));
        assert_eq!(v2.endpoints_refresh_delay, Duration::from_secs(3));
    }
}

#[test]
fn a_value_may_be_written_as_people_write_it() {
    for yes in ["true", "True", "yes", "on", "1", " true"] {
        let flags = [format!("--strict-mode={yes}")];
        assert!(Typed::from_flags(flags).unwrap().strict_mode, "{yes}");
    }
    for no in ["false", "FALSE", "no", "off", "0"] {
        assert!(!typed(&format!("--use-marathon-health={no}")).use_marathon_health);
    }
    let settings = meant(
        "--log-format JSON --escaped-slashes Reject --headers-with-underscores DROP \
         --marathon http://a:8080,,http://b:8080",
    );
    assert_eq!(settings.log_format, LogFormat::Json);
    let normalisation = &settings.resources.normalisation;
    assert_eq!(normalisation.paths.escaped_slashes, EscapedSlashes::Reject);
    assert_eq!(normalisation.headers_with_underscores, Underscores::Drop);
    assert_eq!(
        typed("--marathon-token-scheme Token")
            .marathon
            .marathon_token_scheme,
        TokenScheme::Token
    );
    assert_eq!(settings.marathon.marathons.len(), 2);
}

#[test]
fn a_log_of_requests_has_a_place_at_envoy() {
    let place = |value: &str| meant(&format!("--access-log {value}")).resources.access_log;
    assert_eq!(meant("").resources.access_log, None);
    assert_eq!(place("OFF"), None);
    assert_eq!(place("stdout"), Some(AccessLog::Stdout));
    assert_eq!(place("Stderr"), Some(AccessLog::Stderr));
    assert_eq!(
        place("/var/a.log"),
        Some(AccessLog::File("/var/a.log".into()))
    );
    let refused = Typed::from_flags(["--access-log".to_owned(), "a.log".to_owned()]).unwrap_err();
    assert!(
        refused.to_string().contains("write a path from the root"),
        "{refused}"
    );
}

#[test]
fn no_time_is_too_long_for_a_clock() {
    let command = <Typed as clap::Args>::augment_args(clap::Command::new("serve"));
    let mut times = 0;
    for argument in command.get_arguments() {
        let names = argument.get_value_names().unwrap_or_default();
        let is_time = names.iter().any(|name| name == "SECONDS" || name == "TIME");
        let Some(flag) = argument.get_long().filter(|_| is_time) else {
            continue;
        };
        times += 1;
        for wrong in ["1e19", "99999999999", "inf", "nan", "-1", "5x", ""] {
            let typed = Typed::from_flags([format!("--{flag}={wrong}")]);
            assert!(typed.is_err(), "--{flag}={wrong}");
        }
    }
    assert!(times >= 8, "{times} settings are times");
}

#[test]
fn a_bad_value_is_named_with_its_remedy() {
    let cases = [
        (
            "--marathon ftp://m:1",
            "MARATHON=ftp://m:1: the URL of Marathon cannot be used: it does not begin",
        ),
        (
            "--marathon http://user:secret@m:1",
            "MARATHON=(hidden): the URL of Marathon cannot be used: it holds credentials",
        ),
        (
            "--marathon ,",
            "MARATHON=,: the URL of Marathon cannot be used: there is none",
        ),
        (
            "--marathon http://m:99999",
            "MARATHON=http://m:99999: the URL of Marathon cannot be used: its port is not",
        ),
        (
            "--marathon http://m:8080/v2/apps",
            "MARATHON=http://m:8080/v2/apps: the URL of Marathon cannot be used: /v2/apps is within \
             Marathon's API; leave out the path from /v2 on",
        ),
        (
            "--marathon-leader-hosts a,http://x",
            "MARATHON_LEADER_HOSTS=http://x: it is no host; write host or host:port",
        ),
        ("--haproxy-group ,", "HAPROXY_GROUP=,: no group"),
        (
            "--label-prefix-marathon-lb HAPROXY_",
            "LABEL_PREFIX_MARATHON_LB=HAPROXY_: no label",
        ),
        (
            "--xds-listen localhost",
            "XDS_LISTEN=localhost: not an address",
        ),
        ("--xds-listen unix:", "XDS_LISTEN=unix:: no path"),
        (
            "--xds-listen unix:/no/such/socket",
            "XDS_LISTEN=unix:/no/such/socket: its folder does not exist; create it",
        ),
        (
            "--xds-listen unix:/dev/null",
            "XDS_LISTEN=unix:/dev/null: it exists and is not a socket; name a path",
        ),
        (
            "--xds-listen 127.0.0.1:5001",
            "ADMIN_LISTEN=127.0.0.1:5001: it is the port of XDS_LISTEN; give the two",
        ),
        (
            "--xds-listen 127.0.0.1:7000 --admin-listen 0.0.0.0:7000",
            "ADMIN_LISTEN=0.0.0.0:7000: it is the port of XDS_LISTEN",
        ),
        (
            "--cluster-name a/b",
            "CLUSTER_NAME=a/b: Envoy could not send it as a host",
        ),
        (
            "--xds-listen 0.0.0.0:5000",
            "XDS_LISTEN=0.0.0.0:5000: plaintext xDS would be open",
        ),
        (
            "--xds-listen 0.0.0.0:5000 --xds-plaintext --xds-plaintext-secrets",
            "XDS_LISTEN=0.0.0.0:5000: private keys never leave",
        ),
        (
            "--certificates-dir /",
            "CERTIFICATES_DIR=/: private keys have no safe way",
        ),
        (
            "--certificates-dir /no/such --xds-plaintext-secrets",
            "CERTIFICATES_DIR=/no/such: the folder cannot be read",
        ),
        (
            "--default-certificate wild",
            "DEFAULT_CERTIFICATE=wild: there are no certificates",
        ),
        (
            "--framework-name /edge --marathon-acme-app-id edge",
            "MARATHON_ACME_APP_ID=edge: it is FRAMEWORK_NAME too",
        ),
        (
            "--refresh-delay 0.005",
            "REFRESH_DELAY=0.005: Envoy crashes",
        ),
        (
            "--http-listen-port 443",
            "HTTPS_LISTEN_PORT=443: it is the port of the http",
        ),
        ("--log info=loud", "RUST_LOG=info=loud: not a log filter"),
        (
            "--log inof",
            "RUST_LOG=inof: it lets no line of this program through",
        ),
    ];
    for (line, expected) in cases {
        let error = refused(line);
        assert!(error.starts_with(expected), "{line}: {error}");
        assert!(error.contains("; "), "{error} names a remedy");
        assert!(error.contains(" (flag --"), "{error} names the flag");
        assert!(!error.contains("secret@"), "{error} shows a password");
    }
}

#[test]
fn values_that_are_no_numbers_are_refused_as_they_are_typed() {
    for line in [
        "--refresh-delay soon",
        "--refresh-delay -1",
        "--refresh-delay NaN",
        "--sudden-loss-percent 101",
        "--http-listen-port 65536",
        "--marathon-acme-port-index -1",
        "--strict-mode maybe",
    ] {
        let flags = line.split_whitespace().map(str::to_owned);
        assert!(Typed::from_flags(flags).is_err(), "{line}");
    }
}

#[test]
fn the_networks_of_tasks_are_a_list_in_their_order() {
    assert_eq!(meant("").labels.tasks.networks, None);
    let settings = meant("--task-networks=10.2.0.0/16,fd00::/8");
    let networks = ["10.2.0.0/16", "fd00::/8"].map(|text| IpNetwork::parse(text).unwrap());
    assert_eq!(
        settings.labels.tasks.networks.as_deref(),
        Some(&networks[..])
    );
    let words = ["--task-networks=10.2.0.0/33".to_owned()];
    let error = Typed::from_flags(words).unwrap_err().to_string();
    for part in ["--task-networks", "10.2.0.0/33", "10.2.0.0/16"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let settings = meant(
        "--framework-name= --certificates-dir= --marathon-credentials-file= --marathon-cacert= \
         --marathon-token-file= --marathon-service-account-file= --marathon-client-cert= \
         --marathon-client-key= --marathon-leader-hosts=",
    );
    assert_eq!(settings.labels.framework_name, None);
    assert!(settings.certificates.is_none());
    assert_eq!(settings.marathon.login, MarathonLogin::None);
    assert_eq!(settings.marathon.client_certificate, None);
    assert_eq!(settings.marathon.ca_file, None);
    assert!(settings.marathon.leader_hosts.is_empty());
}

#[test]
fn a_star_serves_every_group_and_an_app_id_gets_its_slash() {
    let settings = meant("--haproxy-group a,* --framework-name edge/lb");
    assert_eq!(settings.labels.groups, Groups::All);
    assert_eq!(settings.labels.framework_name, Some("/edge/lb".into()));
}

#[test]
fn challenges_go_to_marathon_acme_unless_it_is_named_otherwise_or_nothing() {
    let acme = |line| meant(line).labels.acme;
    assert_eq!(acme(""), AcmePort::new("/marathon-acme", 0));
    let named = "--marathon-acme-app-id infra/acme --marathon-acme-port-index 2";
    assert_eq!(acme(named), AcmePort::new("/infra/acme", 2));
    assert_eq!(acme("--marathon-acme-app-id="), None);
}

#[test]
fn the_default_certificate_is_a_name_or_none() {
    let name = |line| meant(line).resources.default_certificate;
    assert_eq!(name(""), None);
    assert_eq!(name("--default-certificate="), None);
    let folder = tempfile::tempdir().unwrap();
    let given = format!(
        "--default-certificate wild --xds-plaintext-secrets --certificates-dir {}",
        folder.path().display()
    );
    assert_eq!(name(&given).as_deref(), Some("wild"));
}

#[test]
fn keys_leave_over_a_unix_socket_or_when_loopback_plaintext_is_allowed() {
    for (line, secrets) in [
        ("--xds-listen unix:/run/x.sock", true),
        ("--xds-plaintext-secrets", true),
        ("--xds-listen 10.0.0.1:5000 --xds-plaintext", false),
    ] {
        assert_eq!(
            meant(line).security,
            Security::Plaintext { secrets },
            "{line}"
        );
    }
}

#[test]
fn a_refresh_delay_holds_for_every_kind_and_a_long_one_is_warned_of() {
    let settings = meant("--refresh-delay 30");
    assert_eq!(settings.resources.refresh_delay, Duration::from_secs(30));
    assert_eq!(
        settings.resources.endpoints_refresh_delay,
        Duration::from_secs(30)
    );
    assert_eq!(settings.warnings.len(), 1);
}

#[test]
fn other_crates_are_capped_at_warn() {
    let filter = |text: &str| log::filter(text).unwrap();
    let level = tracing::Level::INFO;
    assert!(filter("info").would_enable("marathon_envoy::xds", &level));
    assert!(!filter("trace").would_enable("hyper::proto", &level));
    assert!(!filter("error,hyper=trace").would_enable("hyper::proto", &level));
    assert!(filter("error,marathon_envoy::xds=info").would_enable("marathon_envoy::xds", &level));
    assert!(!filter("error,marathon_envoy::xds=info").would_enable("marathon_envoy", &level));
}

#[test]
fn crates_that_log_tokens_are_silent_whatever_is_asked_for() {
    let level = tracing::Level::ERROR;
    for text in [
        "trace",
        "trace,vaultrs=trace,rustify::client=trace,reqwest=error",
    ] {
        let filter = log::filter(text).unwrap();
        for target in [
            "vaultrs::api",
            "rustify",
            "rustify::client",
            "reqwest::async_impl",
        ] {
            assert!(!filter.would_enable(target, &level), "{text}: {target}");
        }
        assert!(filter.would_enable("hyper::proto", &level));
    }
}

#[test]
fn what_no_header_can_hold_is_refused_before_it_is_sent_to_vault() {
    let mut typed = typed("--vault-addr https://v --xds-client-names e");
    typed.vault.vault_namespace = Some("ns\n1".to_owned());
    let error = typed.clone().check().unwrap_err().to_string();
    assert!(error.starts_with("VAULT_NAMESPACE"), "{error}");
    typed.vault.vault_namespace = Some("ns1/team".to_owned());
    typed.vault.vault_token = Some("hvs.can ary".to_owned().into());
    let error = typed.clone().check().unwrap_err().to_string();
    assert!(error.starts_with("VAULT_TOKEN=(hidden)"), "{error}");
    typed.vault.vault_token = Some("hvs.token\n".to_owned().into());
    assert!(typed.check().is_ok(), "what is blank around it is left out");
}

/// Files that settings can name: a certificate, its key.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, block) in [("cert", "CERTIFICATE"), ("key", "PRIVATE KEY")] {
            let text = format!("-----BEGIN {block}-----\n-----END {block}-----\n");
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder }
    }

    /// The line with `{cert}` and `{key}` filled in.
    fn fill(&self, line: &str) -> String {
        let path = |name| self.folder.path().join(name).display().to_string();
        line.replace("{cert}", &path("cert"))
            .replace("{key}", &path("key"))
    }
}

#[test]
fn vault_is_off_until_it_or_a_login_is_named() {
    assert!(meant("").vault.is_none());
    assert!(meant("--vault-pki-cn edge").vault.is_none());
    for line in [
        "--vault http://127.0.0.1:8200",
        "--vault-addr https://vault.example",
        "--vault-token canary",
        "--vault-token-file /run/token",
        "--vault-role-id edge",
        "--vault-auth-method none",
    ] {
        let settings = meant(&format!("{line} --xds-client-names edge-1"));
        let vault = settings.vault.as_ref().unwrap();
        assert!(
            vault.store.is_some() && vault.server_certificate.is_some(),
            "{line}"
        );
        assert_eq!(settings.sources(), [Source::Vault], "{line}");
        assert!(!format!("{settings:?}").contains("canary"), "{line}");
    }
}

#[test]
fn the_originals_defaults_of_vault_are_kept() {
    let vault = meant("--vault-token t --xds-client-names e").vault.unwrap();
    assert_eq!(vault.address.as_str(), "http://127.0.0.1:8200");
    let store = vault.store.unwrap();
    assert_eq!((&*store.mount, &*store.prefix), ("secret", "marathon-acme"));
    let serving = vault.server_certificate.unwrap();
    assert_eq!(
        (&*serving.mount, &*serving.role, &*serving.common_name),
        ("pki", "marathon-envoy-poc", "marathon-envoy-poc")
    );
    assert_eq!(serving.clients, crate::vault::ClientAuthorities::Mount);
}

#[test]
fn times_of_vault_are_seconds_or_have_a_unit() {
    for (text, expected) in [
        ("90", 90),
        ("90s", 90),
        ("1500ms", 1),
        ("2m", 120),
        ("72h", 259_200),
    ] {
        let line = format!("--vault-token t --xds-client-names e --vault-pki-ttl {text}");
        let ttl = meant(&line)
            .vault
            .unwrap()
            .server_certificate
            .unwrap()
            .ttl
            .unwrap();
        assert_eq!(ttl.as_secs(), expected, "{text}");
    }
    let words = ["--vault-pki-ttl=1d".to_owned()];
    assert!(Typed::from_flags(words).is_err());
}

#[test]
fn the_xds_port_speaks_tls_with_a_certificate_or_vault_and_plaintext_only_if_told() {
    let files = Files::new();
    let serving = |line: &str| {
        let settings = meant(&files.fill(line));
        let from_vault = settings
            .vault
            .and_then(|vault| vault.server_certificate)
            .is_some();
        let from_files = match settings.security.identity() {
            Some(CertificateSource::Files(_)) => true,
            Some(CertificateSource::Vault(_)) | None => false,
        };
        (from_files, from_vault, settings.security.allows_secrets())
    };
    let names = "--xds-client-names edge-1";
    let files_and_ca = "--xds-cert-file {cert} --xds-key-file {key} --xds-client-ca-file {cert}";
    for (line, expected) in [
        (String::new(), (false, false, false)),
        ("--xds-plaintext-secrets".to_owned(), (false, false, true)),
        (
            "--xds-listen unix:/run/x.sock".to_owned(),
            (false, false, true),
        ),
        (
            "--xds-cert-file {cert} --xds-key-file {key}".to_owned(),
            (true, false, false),
        ),
        (files_and_ca.to_owned(), (true, false, false)),
        (format!("{files_and_ca} {names}"), (true, false, true)),
        (format!("--vault-token t {names}"), (false, true, true)),
        (
            format!("--vault-token t {files_and_ca} {names}"),
            (true, false, true),
        ),
        (
            "--vault-token t --xds-plaintext --vault-certificates false".to_owned(),
            (false, false, false),
        ),
        (
            "--vault-token t --xds-listen unix:/run/x.sock".to_owned(),
            (false, false, true),
        ),
    ] {
        assert_eq!(serving(&line), expected, "{line}");
    }
}

#[test]
fn clients_are_authenticated_off_loopback_and_wherever_a_ca_is() {
    let files = Files::new();
    let clients = |line: &str| match meant(&files.fill(line)).security {
        Security::MutualTls(_, allow_list) => Some(allow_list),
        Security::Tls(_) => None,
        Security::Plaintext { .. } => panic!("{line}: plaintext"),
    };
    let tls = "--xds-cert-file {cert} --xds-key-file {key}";
    assert_eq!(clients(tls), None);
    assert_eq!(
        clients(&format!("{tls} --xds-client-ca-file {{cert}}")),
        Some(AllowList::OfAuthority)
    );
    let open = format!("{tls} --xds-listen 0.0.0.0:5000 --xds-client-auth off");
    assert_eq!(clients(&open), None);
    let named = clients("--vault-token t --xds-client-names Edge-1,*.edge.example").unwrap();
    assert_eq!(
        format!("{named:?}"),
        "Named({\"edge-1\", \"*.edge.example\"})"
    );
}

#[test]
fn what_contradicts_itself_around_tls_and_vault_is_refused() {
    let files = Files::new();
    for (line, expected) in [
        (
            "--vault-addr foo",
            "VAULT_ADDR=foo: it does not begin with http",
        ),
        (
            "--vault-token t",
            "XDS_CLIENT_NAMES=: whoever has any certificate of Vault's PKI",
        ),
        (
            "--vault-token t --xds-plaintext",
            "VAULT_CERTIFICATES=true: private keys have no safe way",
        ),
        (
            "--vault http://a:1 --vault-addr http://b:1 --xds-client-names e",
            "VAULT=(hidden): VAULT_ADDR names another",
        ),
        (
            "--vault-addr http://user:secret@v --xds-client-names e",
            "VAULT_ADDR=(hidden): it holds credentials",
        ),
        (
            "--vault-token t --vault-role-id r --xds-client-names e",
            "VAULT_AUTH_METHOD=(unset): both a token and a role id",
        ),
        (
            "--vault-token t --vault-token-file /t --xds-client-names e",
            "VAULT_TOKEN_FILE=/t: VAULT_TOKEN is set too",
        ),
        (
            "--vault-auth-method cert --xds-client-names e",
            "VAULT_AUTH_METHOD=cert: what it needs is missing",
        ),
        (
            "--vault-token t --vault-client-cert {cert} --xds-client-names e",
            "VAULT_CLIENT_CERT={cert}: its key is missing",
        ),
        (
            "--vault-token t --vault-cacert {key} --xds-client-names e",
            "VAULT_CACERT={key}: there is no CERTIFICATE in it",
        ),
        (
            "--vault-token t --vault-kv-mount a/../b --xds-client-names e",
            "VAULT_KV_MOUNT=a/../b: it is no path",
        ),
        (
            "--xds-cert-file {cert}",
            "XDS_CERT_FILE={cert}: its key is missing",
        ),
        (
            "--xds-cert-file {cert} --xds-key-file {key} --xds-listen 0.0.0.0:5000",
            "XDS_CLIENT_AUTH=require: there is no CA",
        ),
        (
            "--xds-cert-file {cert} --xds-key-file {key} --xds-client-names e",
            "XDS_CLIENT_NAMES=e: no certificate is asked for",
        ),
        (
            "--xds-cert-file {cert} --xds-key-file {key} --xds-client-ca-file {cert} \
             --certificates-dir /",
            "CERTIFICATES_DIR=/: private keys have no safe way",
        ),
        (
            "--xds-client-names e",
            "XDS_CLIENT_NAMES=e: the xDS port speaks plaintext",
        ),
        (
            "--xds-listen unix:/x --xds-cert-file {cert}",
            "XDS_CERT_FILE={cert}: a Unix socket needs no TLS: it is open to its owner alone; take it \
             away, or give XDS_LISTEN an address",
        ),
    ] {
        let error = refused(&files.fill(line));
        let expected = files.fill(expected);
        assert!(error.starts_with(&expected), "{line}: {error}");
        assert!(error.contains("; "), "{error} names a remedy");
        assert!(error.contains(" (flag --"), "{error} names the flag");
        assert!(!error.contains("secret@"), "{error} shows a password");
    }
}

#[test]
fn names_of_the_admin_port_are_names_and_nothing_more() {
    let settings = meant("--admin-hosts=edge-1.example.com,edge-2,");
    let expected = crate::admin::Hosts::new(["edge-1.example.com", "edge-2"]);
    assert_eq!(settings.admin.hosts, expected);
    for wrong in ["http://edge-1", "edge-1:5001", "edge-1/"] {
        let error = refused(&format!("--admin-hosts={wrong}"));
        assert!(error.starts_with("ADMIN_HOSTS="), "{error}");
    }
}

#[test]
fn every_variable_has_the_flag_that_errors_name() {
    let command = <Typed as clap::Args>::augment_args(clap::Command::new("serve"));
    for argument in command.get_arguments() {
        let (Some(variable), Some(long)) = (argument.get_env(), argument.get_long()) else {
            panic!("{argument:?} has no variable or no flag");
        };
        assert_eq!(flag(variable.to_str().unwrap()), format!("--{long}"));
    }
}

#[test]
fn a_record_needs_a_folder_and_may_have_a_key_that_lies_elsewhere() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (state, key) = (path("state"), path("key"));
    std::fs::write(&key, [7; 32]).unwrap();
    let set_mode = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&key, permissions).unwrap();
    };
    set_mode(0o600);
    assert!(meant("").record.is_none() && meant("--state-dir=").record.is_none());
    let settings = meant(&format!(
        "--state-dir {state} --marathon http://a:1/,https://b"
    ));
    let record = settings.record.unwrap();
    assert_eq!(record.folder, std::path::Path::new(&state));
    assert_eq!(record.marathons, ["http://a:1", "https://b"]);
    assert!(record.key.is_none() && settings.warnings.is_empty());
    let with_key = || meant(&format!("--state-dir {state} --state-key-file {key}"));
    assert!(with_key().record.unwrap().key.is_some() && with_key().warnings.is_empty());
    set_mode(0o640);
    assert!(with_key().warnings[0].contains("others may read or write it"));

    let inside = path("state/key");
    let no_key = path("none");
    let short = path("short");
    std::fs::write(&short, "too short").unwrap();
    for (line, words) in [
        (
            format!("--state-key-file {key}"),
            "there is no record to seal",
        ),
        (format!("--state-dir {key}"), "STATE_DIR"),
        (
            format!("--state-dir {state} --state-key-file {inside}"),
            "beside what it seals",
        ),
        (
            format!("--state-dir {state} --state-key-file {no_key}"),
            "cannot be read",
        ),
        (
            format!("--state-dir {state} --state-key-file {short}"),
            "neither 32 bytes nor 64",
        ),
    ] {
        let error = refused(&line);
        assert!(
            error.contains(words) && error.contains("(flag --state-"),
            "{error}"
        );
    }
}

#[test]
fn a_record_without_a_key_beside_vault_is_warned_of() {
    let vault = "--vault-addr http://127.0.0.1:1 --vault-token t --xds-plaintext \
                 --xds-plaintext-secrets";
    let settings = meant(&format!("{vault} --state-dir /nonexistent/state"));
    let warned = |warning: &String| warning.contains("certificates from Vault are not recorded");
    assert!(
        settings.warnings.iter().any(warned),
        "{:?}",
        settings.warnings
    );
}
