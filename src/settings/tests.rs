//! What each setting means, and which values are refused in which words.

use super::*;

fn typed(line: &str) -> Typed {
    Typed::from_flags(line.split_whitespace().map(str::to_owned)).unwrap()
}

fn meant(line: &str) -> Settings {
    typed(line).mean().unwrap()
}

fn refused(line: &str) -> String {
    typed(line).mean().unwrap_err().to_string()
}

#[test]
fn the_defaults_are_those_of_the_manual() {
    let settings = meant("");
    assert_eq!(settings.xds_listen.to_string(), "127.0.0.1:5000");
    assert_eq!(settings.admin_listen.to_string(), "127.0.0.1:5001");
    assert_eq!(
        settings.intent.groups,
        Groups::Named(["external".to_owned()].into())
    );
    assert_eq!(settings.intent.label_prefix, "HAPROXY");
    assert!(settings.intent.use_health && !settings.intent.strict);
    assert_eq!(settings.marathon.resync_interval, Duration::from_secs(300));
    assert_eq!(settings.resources.refresh_delay, Duration::from_millis(200));
    assert_eq!(
        settings.resources.endpoints_refresh_delay,
        Duration::from_secs(1)
    );
    assert_eq!(settings.state.sudden_loss_percent, 50);
    assert!(settings.certificates.is_none() && !settings.xds.secrets);
    assert!(!settings.xds.v2 && !settings.resources.v2);
    assert!(settings.warnings.is_empty());
}

#[test]
fn v2_is_one_switch_for_what_is_written_and_what_is_answered() {
    for line in ["--xds-v2", "--xds-v2 true"] {
        let settings = meant(line);
        assert!(settings.xds.v2 && settings.resources.v2, "{line}");
    }
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
            "--refresh-delay 0.005",
            "REFRESH_DELAY=0.005: Envoy crashes",
        ),
        (
            "--resync-interval 0",
            "RESYNC_INTERVAL=0: it would keep Marathon busy",
        ),
        (
            "--http-listen-port 0",
            "HTTP_LISTEN_PORT=0: Envoy's clients",
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
        "--strict-mode maybe",
    ] {
        let flags = line.split_whitespace().map(str::to_owned);
        assert!(Typed::from_flags(flags).is_err(), "{line}");
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() {
    let settings = meant(
        "--framework-name= --certificates-dir= --marathon-credentials-file= --marathon-cacert= \
         --marathon-leader-hosts=",
    );
    assert_eq!(settings.intent.framework_name, None);
    assert!(settings.certificates.is_none());
    assert_eq!(settings.marathon.credentials_file, None);
    assert_eq!(settings.marathon.ca_file, None);
    assert!(settings.marathon.leader_hosts.is_empty());
}

#[test]
fn a_star_serves_every_group_and_an_app_id_gets_its_slash() {
    let settings = meant("--haproxy-group a,* --framework-name edge/lb");
    assert_eq!(settings.intent.groups, Groups::All);
    assert_eq!(settings.intent.framework_name, Some("/edge/lb".into()));
}

#[test]
fn keys_leave_over_a_unix_socket_or_when_loopback_plaintext_is_allowed() {
    assert!(meant("--xds-listen unix:/run/x.sock").xds.secrets);
    assert!(meant("--xds-plaintext-secrets").xds.secrets);
    assert!(
        !meant("--xds-listen 10.0.0.1:5000 --xds-plaintext")
            .xds
            .secrets
    );
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
